//! Secrets: found with path and line before anybody is told of the revision, and never shown.

use std::time::Instant;

use super::*;
use crate::SecretScan;

/// Put together here, so that no scanner takes this file for a leak.
fn key() -> String {
    ["AKIA", "Z7VRSQ5TJN2XMPLQ"].concat()
}

fn values() -> String {
    format!("image: nginx\nreplicas: 2\naws:\n  accessKeyId: {}\n", key())
}

async fn house(secrets: SecretScan) -> House {
    House::with(Settings { secrets, ..Settings::default() }).await
}

async fn page(
    house: &House,
    user: &User,
    request: pb::ListSecretFindingsRequest,
) -> Result<pb::ListSecretFindingsResponse, Status> {
    Ok(house.secrets.clone().list_secret_findings(user.ctx.request(request)).await?.into_inner())
}

async fn found(house: &House, user: &User, workspace: &str, revision: &str) -> pb::ListSecretFindingsResponse {
    let request =
        pb::ListSecretFindingsRequest { workspace_id: workspace.into(), revision_id: revision.into(), ..Default::default() };
    page(house, user, request).await.unwrap()
}

#[tokio::test]
async fn a_planted_key_is_reported_with_path_and_line() {
    let house = house(SecretScan::Report).await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let clean = user.commit(&id, vec![write("a.yaml", "a: 1\n")]).await;
    assert_eq!(clean.secret_findings, Some(0));
    let planted = user.commit(&id, vec![write("deploy/values.yaml", values())]).await;
    assert_eq!(planted.secret_findings, Some(1));
    let listed = found(&house, &user, &id, "").await;
    assert!(listed.scanned && listed.revision_id == planted.id);
    let finding = &listed.findings[0];
    assert_eq!((listed.findings.len(), finding.path.as_str(), finding.line), (1, "deploy/values.yaml", 4));
    assert!(finding.excerpt.contains("accessKeyId: [REDACTED:"), "{}", finding.excerpt);
    assert!(!format!("{listed:?}").contains(&key()));
    for file in ["file-store.db", "file-store.db-wal"] {
        let bytes = std::fs::read(house.dir().join(file)).unwrap_or_default();
        assert!(!bytes.windows(20).any(|w| w == key().as_bytes()), "the secret itself is in {file}");
    }

    let same = user.commit(&id, vec![write("b", "b"), rename("a.yaml", "c.yaml")]).await;
    assert_eq!((same.secret_findings, found(&house, &user, &id, "").await.findings), (Some(1), listed.findings.clone()));
    let moved = user.commit(&id, vec![rename("deploy/values.yaml", "values.yaml")]).await;
    assert_eq!((moved.secret_findings, found(&house, &user, &id, "").await.findings[0].path.as_str()), (Some(1), "values.yaml"));
    let gone = user.commit(&id, vec![delete("values.yaml")]).await;
    assert_eq!((gone.secret_findings, found(&house, &user, &id, &gone.id).await.findings), (Some(0), vec![]));
    assert_eq!(found(&house, &user, &id, &planted.id).await.findings, listed.findings);
    let request = pb::RestoreRevisionRequest { workspace_id: id.clone(), revision_id: planted.id, ..Default::default() };
    let back = user.client.clone().restore_revision(user.ctx.request(request)).await.unwrap().into_inner().revision.unwrap();
    assert_eq!(back.secret_findings, Some(1));
}

#[tokio::test]
async fn an_import_is_looked_through_page_by_page() {
    let house = house(SecretScan::Report).await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let large = vec![b'x'; (4 << 20) + 1];
    let (one, two) = (values(), format!("{}{}", values(), values()));
    let archive = archives::tar_gz(&[("b", two.as_bytes()), ("a", one.as_bytes()), ("bin", b"\0"), ("large", &large)]);
    let revision = user.import(header(&id, "", pb::ArchiveFormat::TarGz), &archive).await.unwrap();
    assert_eq!(revision.secret_findings, Some(3));
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListSecretFindingsRequest { workspace_id: id.clone(), page_size: 2, page_token, ..Default::default() };
        let page = page(&house, &user, request).await.unwrap();
        assert_eq!(page.unscanned_files, 1);
        seen.extend(page.findings.into_iter().map(|f| (f.path, f.line)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, [("a".to_owned(), 4), ("b".to_owned(), 4), ("b".to_owned(), 8)]);
}

#[tokio::test]
async fn where_secrets_are_refused_none_lands() {
    let house = house(SecretScan::Refuse).await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    user.commit(&id, vec![write("a", "a")]).await;
    let base = user.get(&id).await.unwrap().head_revision_id;
    let status = user.try_commit(commit(&id, &base, vec![write("x/values.yaml", values()), write("b", "b")])).await.unwrap_err();
    let details = status.get_error_details();
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "x/values.yaml:4");
    assert!(!format!("{status:?}").contains(&key()));
    let (code, reason, facts) = refusal::<()>(Err(status));
    assert_eq!((code, reason.as_str(), facts["findings"].as_str()), (Code::FailedPrecondition, "SECRET_FOUND", "1"));
    let archive = archives::tar_gz(&[("v", values().as_bytes())]);
    assert_eq!(super::reason(user.import(header(&id, &base, pb::ArchiveFormat::TarGz), &archive).await), "SECRET_FOUND");
    assert_eq!(user.get(&id).await.unwrap().head_revision_id, base);
}

#[tokio::test]
async fn what_was_there_before_is_no_reason_to_refuse() {
    let mut house = house(SecretScan::Off).await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let unseen = user.commit(&id, vec![write("values.yaml", values())]).await;
    assert_eq!(unseen.secret_findings, None);
    assert!(!found(&house, &user, &id, "").await.scanned);

    house.settings.secrets = SecretScan::Refuse;
    let house = house.restart().await;
    let user = user.at(&house);
    assert_eq!(found(&house, &user, &id, &unseen.id).await.findings.len(), 1);
    let next = user.commit(&id, vec![write("b", "b")]).await;
    assert_eq!(next.secret_findings, Some(1));
    let again = vec![write("values.yaml", format!("# changed\n{}", values()))];
    assert_eq!(reason(user.try_commit(commit(&id, &next.id, again)).await), "SECRET_FOUND");
    let clean = user.commit(&id, vec![write("values.yaml", "a: 1\n")]).await;
    assert_eq!(clean.secret_findings, Some(0));
}

#[tokio::test]
async fn a_collection_keeps_the_reports_of_what_is_there() {
    let gc = crate::GcSettings { interval_minutes: 0, grace_minutes: 0 };
    let house = House::with(Settings { gc, ..Settings::default() }).await;
    let user = User::of(&house);
    let (id, kept) = (user.workspace("w").await.id, user.workspace("kept").await.id);
    user.commit(&id, vec![write("values.yaml", values())]).await;
    user.commit(&kept, vec![write("values.yaml", format!("#\n{}", values()))]).await;
    let request = pb::DeleteWorkspaceRequest { workspace_id: id.clone() };
    user.client.clone().delete_workspace(user.ctx.request(request)).await.unwrap();
    user.collect().await.unwrap();
    assert_eq!(found(&house, &user, &kept, "").await.findings.len(), 1);
    let request = pb::ListSecretFindingsRequest { workspace_id: id, ..Default::default() };
    assert_eq!(reason(page(&house, &user, request).await), "WORKSPACE_NOT_FOUND");
}

#[tokio::test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "what was measured is to be read")]
async fn what_looking_costs() {
    let files: Vec<_> = (0..20_000).map(|n| (format!("d{}/f{n}.yaml", n % 100), yaml(n))).collect();
    let entries: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), content.as_bytes())).collect();
    let archive = archives::tar_gz(&entries);
    for secrets in [SecretScan::Off, SecretScan::Report] {
        let house = house(secrets).await;
        let user = User::of(&house);
        let id = user.workspace("w").await.id;
        let began = Instant::now();
        user.import(header(&id, "", pb::ArchiveFormat::TarGz), &archive).await.unwrap();
        let imported = began.elapsed();
        let began = Instant::now();
        user.commit(&id, vec![write("d0/f0.yaml", "changed: true\n")]).await;
        println!("{secrets:?}: import of 20,000 files {imported:?}, commit of one {:?}", began.elapsed());
    }
}

fn yaml(n: usize) -> String {
    (0..40).map(|line| format!("key{line}: value of {n} and {line}\n")).collect()
}
