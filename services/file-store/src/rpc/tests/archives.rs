//! Archives through the API: there and back, refused whole, idempotent.

use pb::ArchiveFormat::{TarGz, Zip};
use pb::import_archive_request::Part;

use super::*;

pub(super) fn tar_gz(files: &[(&str, &[u8])]) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn symlink() -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "evil", "/etc/passwd").unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

pub(super) fn files_below(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

#[tokio::test]
async fn an_export_imports_as_the_same_files_and_the_same_bytes() {
    let house = House::start().await;
    let user = User::of(&house);
    let large: Vec<u8> = (0..3_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[..1].to_vec()).collect();
    let flat =
        vec![write("a b.yaml", "a: 1\n"), program("bin/run.sh", "#!/bin/sh\n"), write("empty", ""), write("é/日本", large)];
    let one_top = vec![write("chart/values.yaml", "1"), write("chart/templates/x", "2")];
    for changes in [flat, one_top, vec![write("gone", ""), delete("gone")]] {
        let id = user.workspace("w").await.id;
        let one = user.commit(&id, changes).await;
        for format in [TarGz, Zip] {
            let archive = user.export(&id, "", format).await.unwrap();
            let copy = user.workspace("copy").await.id;
            let imported = user.import(header(&copy, "", format), &archive).await.unwrap();
            assert_eq!((imported.number, imported.kind(), imported.message.as_str()), (1, pb::RevisionKind::Import, "import"));
            assert_eq!((&imported.hash, imported.file_count, imported.total_bytes), (&one.hash, one.file_count, one.total_bytes));
            assert!(user.export(&copy, &imported.id, format).await.unwrap() == archive);
        }
    }
}

#[tokio::test]
async fn an_import_replaces_what_was_there() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("old", "1")]).await;
    let archive = tar_gz(&[("chart/values.yaml", b"a: 1\n"), ("chart/Chart.yaml", b"name: x\n")]);
    let (code, reason, facts) = refusal(user.import(header(&id, "", TarGz), &archive).await);
    assert_eq!((code, reason.as_str(), &facts["head_revision_id"]), (Code::Aborted, "BASE_REVISION_STALE", &one.id));
    let unknown = Uuid::now_v7().to_string();
    assert_eq!(super::reason(user.import(header(&id, &unknown, TarGz), &archive).await), "BASE_REVISION_STALE");
    let two = user.import(header(&id, &one.id, TarGz), &archive).await.unwrap();
    assert_eq!((two.number, &two.parent_id), (2, &one.id));
    assert_eq!(user.paths(&id, "").await, ["Chart.yaml", "values.yaml"]);
    assert_eq!(user.paths(&id, &one.id).await, ["old"]);
}

#[tokio::test]
async fn a_refused_archive_leaves_nothing_behind() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let before = files_below(&house.dir().join("blobs"));
    let good = tar_gz(&[("x/a", b"1"), ("x/b", b"2")]);
    let evil = tar_gz(&[("a", b"unique content"), ("con", b"")]);
    for (archive, format, expected, fact) in [
        (symlink(), TarGz, "ARCHIVE_INVALID", Some(("entry", "evil"))),
        (evil, TarGz, "PATH_INVALID", Some(("path", "con"))),
        (good.clone(), Zip, "ARCHIVE_INVALID", None),
        (good[..good.len() - 4].to_vec(), TarGz, "ARCHIVE_INVALID", None),
        (Vec::new(), TarGz, "ARCHIVE_INVALID", None),
    ] {
        let (code, reason, facts) = refusal(user.import(header(&id, "", format), &archive).await);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, expected));
        if let Some((name, value)) = fact {
            assert_eq!(facts[name], value);
        }
    }
    assert_eq!(user.get(&id).await.unwrap().head_number, 0);
    assert_eq!(files_below(&house.dir().join("blobs")), before);
    assert_eq!(files_below(&house.dir().join("spool")), 0);
}

#[tokio::test]
async fn files_over_the_limit_are_refused_and_those_at_it_are_not() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let over = tar_gz(&[("big", &vec![0; (64 << 20) + 1])]);
    let (_, reason, facts) = refusal(user.import(header(&id, "", TarGz), &over).await);
    assert_eq!(
        (reason.as_str(), facts["limit_bytes"].as_str(), facts["entry"].as_str()),
        ("ARCHIVE_TOO_LARGE", "67108864", "big")
    );
    let at = tar_gz(&[("big", &vec![0; 64 << 20])]);
    assert_eq!(user.import(header(&id, "", TarGz), &at).await.unwrap().total_bytes, 64 << 20);
    let (entry, content) = user.read(&id, "", "big").await.unwrap();
    assert_eq!((entry.size, content.len()), (64 << 20, 64 << 20));
}

#[tokio::test]
async fn an_import_is_idempotent_by_header_and_bytes() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let once = pb::ImportArchiveHeader { request_id: "once".into(), ..header(&id, "", TarGz) };
    let archive = tar_gz(&[("a", b"1")]);
    let first = user.import(once.clone(), &archive).await.unwrap();
    assert_eq!(user.import(once.clone(), &archive).await.unwrap(), first);
    assert_eq!(reason(user.import(once.clone(), &tar_gz(&[("a", b"2")])).await), "REQUEST_ID_REUSED");
    let other = pb::ImportArchiveHeader { message: "other".into(), ..once };
    assert_eq!(reason(user.import(other, &archive).await), "REQUEST_ID_REUSED");
    assert_eq!(user.get(&id).await.unwrap().head_number, 1);
}

#[tokio::test]
async fn an_upload_is_a_header_and_then_chunks() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let head = || upload(Part::Header(header(&id, "", TarGz)));
    let chunk = |n: usize| upload(Part::Chunk(vec![0; n].into()));
    assert_eq!(fields(user.import_parts(vec![]).await), ["header"]);
    assert_eq!(fields(user.import_parts(vec![chunk(1), head()]).await), ["header"]);
    assert_eq!(fields(user.import_parts(vec![pb::ImportArchiveRequest { part: None }]).await), ["header"]);
    assert_eq!(fields(user.import_parts(vec![head(), head()]).await), ["header"]);
    assert_eq!(fields(user.import_parts(vec![head(), chunk((1 << 20) + 1)]).await), ["chunk"]);
    assert_eq!(fields(user.import_parts(vec![head(), pb::ImportArchiveRequest { part: None }]).await), ["chunk"]);
    let bad =
        pb::ImportArchiveHeader { format: 9, workspace_id: "x".into(), base_revision_id: "y".into(), ..header(&id, "", Zip) };
    assert_eq!(fields(user.import(bad, b"").await), ["header.workspace_id", "header.format", "header.base_revision_id"]);
    let part = Bytes::from(vec![0; 1 << 20]);
    let parts = (0..257).map(|_| upload(Part::Chunk(part.clone())));
    let (_, reason, facts) = refusal(user.import_parts([head()].into_iter().chain(parts).collect()).await);
    assert_eq!((reason.as_str(), facts["limit_bytes"].as_str()), ("ARCHIVE_TOO_LARGE", "268435456"));
    assert_eq!(files_below(&house.dir().join("spool")), 0);
}

#[tokio::test]
async fn an_export_needs_a_revision() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    assert_eq!(reason(user.export(&id, "", TarGz).await), "REVISION_NOT_FOUND");
    assert_eq!(fields(user.export(&id, "x", pb::ArchiveFormat::Unspecified).await), ["revision_id", "format"]);
    let missing = Uuid::now_v7().to_string();
    assert_eq!(reason(user.export(&id, &missing, Zip).await), "REVISION_NOT_FOUND");
    assert_eq!(reason(user.export(&missing, "", Zip).await), "WORKSPACE_NOT_FOUND");
}

#[tokio::test]
async fn a_caller_who_leaves_stops_the_export() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    user.commit(&id, (0..200).map(|n| write(&format!("f{n}"), vec![n as u8; 10_000])).collect()).await;
    let request = pb::ExportArchiveRequest { workspace_id: id.clone(), format: TarGz.into(), ..Default::default() };
    let mut chunks = user.client.clone().export_archive(user.ctx.request(request)).await.unwrap().into_inner();
    assert!(chunks.message().await.unwrap().is_some());
    drop(chunks);
    assert!(!user.export(&id, "", Zip).await.unwrap().is_empty());
}
