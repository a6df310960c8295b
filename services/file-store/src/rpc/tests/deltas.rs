//! Manifests that are kept as what is different in them: read as if they were whole, however they came to be, and never
//! without the root that they need.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::model::{FileEntry, Manifest};

const FILES: usize = 200;

/// Nothing is remembered, so that each manifest is read as it is kept.
async fn house() -> House {
    House::with(Settings { gc: garbage::grace(0), manifest_cache_mib: 0, ..Settings::default() }).await
}

fn path(n: usize) -> String {
    format!("d{}/f{n}", n % 7)
}

fn many(content: &str) -> Vec<pb::FileChange> {
    (0..FILES).map(|n| write(&path(n), content)).collect()
}

/// What a revision or overlay lists has the hash that it says.
async fn check(user: &User, request: pb::ListFilesRequest, hash: &str) {
    let files = user.list_files(pb::ListFilesRequest { page_size: 1_000, ..request }).await.unwrap().files;
    let entry = |f: pb::FileEntry| FileEntry {
        path: f.path,
        size: f.size,
        hash: blake3::Hash::from_hex(f.hash).unwrap(),
        executable: f.executable,
    };
    let manifest = Manifest::new(files.into_iter().map(entry).collect()).unwrap();
    assert_eq!(blake3::hash(&manifest.encode()).to_hex().as_str(), hash);
}

async fn check_revisions(user: &User, workspace: &str) -> Vec<pb::Revision> {
    let request = pb::ListRevisionsRequest { workspace_id: workspace.to_owned(), page_size: 1_000, ..Default::default() };
    let revisions = user.client.clone().list_revisions(user.ctx.request(request)).await.unwrap().into_inner().revisions;
    for revision in &revisions {
        let (workspace_id, revision_id) = (workspace.to_owned(), revision.id.clone());
        check(user, pb::ListFilesRequest { workspace_id, revision_id, ..Default::default() }, &revision.hash).await;
    }
    revisions
}

fn blob(house: &House, hash: &str) -> PathBuf {
    house.dir().join("blobs").join(&hash[..2]).join(&hash[2..])
}

#[tokio::test]
async fn a_commit_of_a_file_writes_no_list_of_all() {
    let house = house().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let first = user.commit(&id, many("same")).await;
    for n in 0..60 {
        user.commit(&id, vec![write(&path(n), format!("{n}"))]).await;
    }
    user.commit(&id, vec![delete(&path(3)), rename(&path(4), "new/name"), program(&path(5), "5")]).await;
    let revisions = check_revisions(&user, &id).await;
    assert_eq!(revisions.len(), 62);
    let roots = house.collector.manifests().await;
    assert_eq!(roots.len(), 2, "the first, and one after three times the root of 200 files had changed");
    assert!(roots.contains(&first.hash) && !roots.contains(&revisions[0].hash));

    assert_eq!(user.collect().await.unwrap().removed, 0);
    let house = house.restart().await;
    let user = User { ctx: user.ctx.clone(), ..User::of(&house) };
    check_revisions(&user, &id).await;
    assert_eq!(user.read(&id, "", "new/name").await.unwrap().1, b"4");
    let restored = revisions::restore(&user, &id, &revisions[30].id, "", "").await.unwrap();
    assert_eq!(restored.hash, revisions[30].hash);
    user.commit(&id, vec![write("after", "a restore")]).await;
    check_revisions(&user, &id).await;
    assert_eq!(house.collector.manifests().await, roots);
}

#[tokio::test]
async fn overlays_merges_and_imports_are_kept_as_deltas_too() {
    let house = house().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    user.commit(&id, many("same")).await;
    let head = user.commit(&id, vec![write(&path(0), "zero")]).await;
    let overlay = user.overlay(&id, "").await.unwrap();
    assert_eq!(overlay.hash, head.hash);
    for n in 0..5 {
        let overlay = user.change(&overlay.id, vec![write("new", format!("{n}"))]).await;
        let (workspace_id, overlay_id) = (id.clone(), overlay.id.clone());
        check(&user, pb::ListFilesRequest { workspace_id, overlay_id, ..Default::default() }, &overlay.hash).await;
    }
    user.commit(&id, vec![write(&path(1), "one")]).await;
    user.collect().await.unwrap();
    let merge = pb::CommitOverlayRequest { merge: true, ..overlays::commit_of(&overlay.id) };
    user.commit_overlay(merge).await.unwrap();
    assert_eq!(user.read(&id, "", &path(1)).await.unwrap().1, b"one");
    assert_eq!(user.read(&id, "", "new").await.unwrap().1, b"4");
    let revisions = check_revisions(&user, &id).await;
    assert_eq!(house.collector.manifests().await.len(), 1);

    let bundle = user.export_git(&house, &id, "").await.unwrap();
    let copy = user.workspace("copy").await.id;
    let request = pb::ImportGitRequest { workspace_id: copy.clone(), commits: 100, ..Default::default() };
    user.import_bundle(&house, &bundle, request).await.unwrap();
    let copied = check_revisions(&user, &copy).await;
    let hashes = |revisions: &[pb::Revision]| revisions.iter().map(|r| r.hash.clone()).collect::<Vec<_>>();
    assert_eq!(hashes(&copied), hashes(&revisions));
    assert_eq!(house.collector.manifests().await.len(), 1, "they have the same root");

    // The root stays for those who need it, whoever else goes.
    garbage::delete_workspace(&user, &id).await.unwrap();
    user.collect().await.unwrap();
    check_revisions(&user, &copy).await;
    house.clock.advance(Duration::from_secs(400 * 3_600));
    user.collect().await.unwrap();
    assert_eq!(garbage::there(&house).await, garbage::referenced(&house, &user).await);
    garbage::delete_workspace(&user, &copy).await.unwrap();
    user.collect().await.unwrap();
    assert_eq!(garbage::there(&house).await, BTreeSet::new());
}

#[tokio::test]
async fn what_was_written_before_there_was_packing_is_read() {
    let house = house().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let long = "replicas: 3\n".repeat(1_000);
    let first = user.commit(&id, many(&long)).await;
    let second = user.commit(&id, vec![write("a", "1")]).await;
    let mut packed = 0;
    for hash in garbage::there(&house).await {
        let content = house.collector.blobs().fetch(blake3::Hash::from_hex(&hash).unwrap()).await.unwrap();
        let file = blob(&house, &hash);
        packed += usize::from(std::fs::metadata(&file).unwrap().len() < content.len() as u64);
        std::fs::write(file, content).unwrap();
    }
    assert_eq!(packed, 2, "the manifest and the long content");
    check_revisions(&user, &id).await;
    assert_eq!(user.read(&id, &first.id, &path(9)).await.unwrap().1, long.as_bytes());
    assert_eq!(user.read(&id, &second.id, "a").await.unwrap().1, b"1");
    assert_eq!(user.collect().await.unwrap().removed, 0);
}

#[tokio::test]
async fn a_damaged_root_is_told_and_stops_the_collector() {
    let house = house().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let root = user.commit(&id, many("same")).await.hash;
    user.commit(&id, vec![write("a", "1")]).await;
    let file = blob(&house, &root);
    let whole = std::fs::read(&file).unwrap();
    for damaged in [&whole[..whole.len() / 2], b"", b"slipway manifest 1\n"] {
        std::fs::write(&file, damaged).unwrap();
        assert_eq!(user.read(&id, "", "a").await.unwrap_err().code(), Code::Internal);
        assert!(user.collect().await.unwrap_err().message().contains(&root));
    }
    std::fs::write(&file, whole).unwrap();
    check_revisions(&user, &id).await;
    user.collect().await.unwrap();
}
