//! Overlays: read like a revision, changed by compare-and-swap, committed once, and never short of a content.

use super::*;

impl User {
    pub(super) async fn overlay(&self, workspace: &str, base: &str) -> Result<pb::Overlay, Status> {
        let request =
            pb::CreateOverlayRequest { workspace_id: workspace.into(), base_revision_id: base.into(), ..Default::default() };
        Ok(self.overlays.clone().create_overlay(self.ctx.request(request)).await?.into_inner().overlay.unwrap())
    }

    pub(super) async fn get_overlay(&self, id: &str) -> Result<pb::Overlay, Status> {
        let request = pb::GetOverlayRequest { overlay_id: id.into() };
        Ok(self.overlays.clone().get_overlay(self.ctx.request(request)).await?.into_inner().overlay.unwrap())
    }

    pub(super) async fn try_change(&self, request: pb::ChangeOverlayRequest) -> Result<pb::Overlay, Status> {
        Ok(self.overlays.clone().change_overlay(self.ctx.request(request)).await?.into_inner().overlay.unwrap())
    }

    pub(super) async fn change(&self, overlay: &str, changes: Vec<pb::FileChange>) -> pb::Overlay {
        self.try_change(change(overlay, changes)).await.unwrap()
    }

    pub(super) async fn commit_overlay(&self, request: pb::CommitOverlayRequest) -> Result<pb::Revision, Status> {
        Ok(self.overlays.clone().commit_overlay(self.ctx.request(request)).await?.into_inner().revision.unwrap())
    }

    pub(super) async fn delete_overlay(&self, id: &str) -> Result<(), Status> {
        let request = pb::DeleteOverlayRequest { overlay_id: id.into() };
        self.overlays.clone().delete_overlay(self.ctx.request(request)).await.map(drop)
    }

    pub(super) async fn list_overlays(&self, workspace: &str) -> Vec<pb::Overlay> {
        let request = pb::ListOverlaysRequest { workspace_id: workspace.into(), page_size: 1_000, ..Default::default() };
        self.overlays.clone().list_overlays(self.ctx.request(request)).await.unwrap().into_inner().overlays
    }

    /// The contents of an overlay, by path, each checked.
    pub(super) async fn overlay_files(&self, workspace: &str, overlay: &str) -> Result<Vec<(pb::FileEntry, Vec<u8>)>, Status> {
        let request = pb::ListFilesRequest { workspace_id: workspace.into(), overlay_id: overlay.into(), ..Default::default() };
        let mut files = Vec::new();
        for entry in self.list_files(request).await?.files {
            let request = pb::ReadFileRequest {
                workspace_id: workspace.into(),
                overlay_id: overlay.into(),
                path: entry.path.clone(),
                ..Default::default()
            };
            let (found, content) = self.read_request(request).await?;
            assert_eq!((&found, blake3::hash(&content).to_hex().as_str()), (&entry, entry.hash.as_str()));
            files.push((entry, content));
        }
        Ok(files)
    }
}

pub(super) fn change(overlay: &str, changes: Vec<pb::FileChange>) -> pb::ChangeOverlayRequest {
    pb::ChangeOverlayRequest { overlay_id: overlay.into(), changes, ..Default::default() }
}

pub(super) fn commit_of(overlay: &str) -> pb::CommitOverlayRequest {
    pb::CommitOverlayRequest { overlay_id: overlay.into(), ..Default::default() }
}

fn texts(files: &[(pb::FileEntry, Vec<u8>)]) -> Vec<(&str, &str)> {
    files.iter().map(|(entry, content)| (entry.path.as_str(), std::str::from_utf8(content).unwrap())).collect()
}

#[tokio::test]
async fn an_overlay_is_read_searched_compared_and_exported_without_a_revision() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let base = user.commit(&id, vec![write("a", "one\n"), write("b", "two\n"), program("run.sh", "x\n")]).await;
    let overlay = user.overlay(&id, "").await.unwrap();
    assert_eq!((&overlay.base_revision_id, overlay.base_number, &overlay.hash), (&base.id, 1, &base.hash));
    let changed = user.change(&overlay.id, vec![write("a", "uno\n"), rename("b", "c/b"), write("new", "nuevo\n")]).await;
    assert_ne!(changed.etag, overlay.etag);
    assert_eq!((changed.file_count, changed.total_bytes), (4, 16));
    let files = user.overlay_files(&id, &overlay.id).await.unwrap();
    assert_eq!(texts(&files), [("a", "uno\n"), ("c/b", "two\n"), ("new", "nuevo\n"), ("run.sh", "x\n")]);
    assert!(files[3].0.executable);
    assert_eq!(user.paths(&id, "").await, ["a", "b", "run.sh"], "the workspace is as it was");

    let search = pb::SearchFilesRequest {
        workspace_id: id.clone(),
        overlay_id: overlay.id.clone(),
        pattern: "nuevo".into(),
        ..Default::default()
    };
    let found = user.client.clone().search_files(user.ctx.request(search)).await.unwrap().into_inner();
    assert_eq!((found.matches.len(), found.matches[0].path.as_str(), found.revision_id.as_str()), (1, "new", ""));
    let diff = pb::DiffRevisionsRequest {
        workspace_id: id.clone(),
        from_revision_id: base.id.clone(),
        to_overlay_id: overlay.id.clone(),
        ..Default::default()
    };
    let diff = user.client.clone().diff_revisions(user.ctx.request(diff)).await.unwrap().into_inner();
    assert!(diff.files[0].unified.contains("-one\n+uno\n"), "{}", diff.files[0].unified);
    let export = pb::ExportArchiveRequest {
        workspace_id: id.clone(),
        overlay_id: overlay.id.clone(),
        format: pb::ArchiveFormat::TarGz.into(),
        ..Default::default()
    };
    let parts = user.client.clone().export_archive(user.ctx.request(export)).await.unwrap().into_inner();
    let archive: Vec<u8> = parts.map_ok(|part| part.chunk.to_vec()).try_concat().await.unwrap();

    let request = pb::CommitOverlayRequest { message: "all".into(), request_id: "once".into(), ..commit_of(&overlay.id) };
    let revision = user.commit_overlay(request.clone()).await.unwrap();
    assert_eq!((revision.number, &revision.parent_id, &revision.hash), (2, &base.id, &changed.hash));
    assert_eq!(user.export(&id, "", pb::ArchiveFormat::TarGz).await.unwrap(), archive);
    assert_eq!(user.commit_overlay(request).await.unwrap().id, revision.id, "the same request, the same revision");
    assert_eq!(reason(user.get_overlay(&overlay.id).await), "OVERLAY_NOT_FOUND");
    assert_eq!(reason(user.commit_overlay(commit_of(&overlay.id)).await), "OVERLAY_NOT_FOUND");
    assert_eq!(house.events(2).await[1].0, "revision.committed");
}

#[tokio::test]
async fn an_overlay_of_an_empty_workspace_makes_its_first_revision() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let overlay = user.overlay(&id, "").await.unwrap();
    assert_eq!((overlay.base_revision_id.as_str(), overlay.file_count), ("", 0));
    assert!(user.overlay_files(&id, &overlay.id).await.unwrap().is_empty());
    user.change(&overlay.id, vec![write("a", "1")]).await;
    assert_eq!(user.commit_overlay(commit_of(&overlay.id)).await.unwrap().number, 1);
    assert_eq!(user.read(&id, "", "a").await.unwrap().1, b"1");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_at_once_none_is_lost_and_an_etag_lets_one_win() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let overlay = user.overlay(&id, "").await.unwrap();
    let writers = (0..8).map(|n| {
        let (user, overlay) = (user.clone(), overlay.id.clone());
        tokio::spawn(async move { user.change(&overlay, vec![write(&format!("f{n}"), format!("{n}"))]).await })
    });
    futures::future::join_all(writers).await.into_iter().for_each(|made| drop(made.unwrap()));
    let now = user.get_overlay(&overlay.id).await.unwrap();
    assert_eq!(now.file_count, 8);

    let racers = (0..8).map(|n| {
        let request =
            pb::ChangeOverlayRequest { expected_etag: now.etag.clone(), ..change(&now.id, vec![write("f0", format!("r{n}"))]) };
        let user = user.clone();
        tokio::spawn(async move { user.try_change(request).await })
    });
    let results: Vec<_> = futures::future::join_all(racers).await.into_iter().map(Result::unwrap).collect();
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    let won = won.into_iter().next().unwrap().unwrap();
    for refused in lost {
        let (code, reason, facts) = refusal(refused);
        assert_eq!((code, reason.as_str(), &facts["etag"]), (Code::Aborted, "ETAG_MISMATCH", &won.etag));
    }
    let stale = pb::CommitOverlayRequest { expected_etag: now.etag, ..commit_of(&now.id) };
    assert_eq!(reason(user.commit_overlay(stale).await), "ETAG_MISMATCH");
    let seen = pb::CommitOverlayRequest { expected_etag: won.etag, ..commit_of(&now.id) };
    assert_eq!(user.commit_overlay(seen).await.unwrap().file_count, 8);
}

#[tokio::test]
async fn a_change_is_made_once_whole_or_not_at_all() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    user.commit(&id, vec![write("a", "1")]).await;
    let overlay = user.overlay(&id, "").await.unwrap();
    let request = pb::ChangeOverlayRequest { request_id: "r".into(), ..change(&overlay.id, vec![rename("a", "b")]) };
    let one = user.try_change(request.clone()).await.unwrap();
    assert_eq!(user.try_change(request).await.unwrap(), one);
    assert_eq!(reason(user.try_change(change(&overlay.id, vec![write("c", "2"), delete("a")])).await), "CHANGE_CONFLICT");
    assert_eq!(reason(user.try_change(change(&overlay.id, vec![write("../c", "2")])).await), "PATH_INVALID");
    assert_eq!(fields(user.try_change(change(&overlay.id, Vec::new())).await), ["changes"]);
    assert_eq!(user.get_overlay(&overlay.id).await.unwrap(), one);
    // The head moves on: what was made for the older one is not simply put on top.
    user.commit(&id, vec![write("z", "1")]).await;
    assert_eq!(reason(user.commit_overlay(commit_of(&overlay.id)).await), "BASE_REVISION_STALE");
    assert_eq!(user.get_overlay(&overlay.id).await.unwrap(), one);
}

#[tokio::test]
async fn overlays_are_listed_expire_and_go_with_their_workspace() {
    let house = House::start().await;
    let user = User::of(&house);
    let (id, other) = (user.workspace("w").await.id, user.workspace("other").await.id);
    user.commit(&id, vec![write("a", "1")]).await;
    let one = user.overlay(&id, "").await.unwrap();
    let two = user.overlay(&id, "").await.unwrap();
    let request = pb::ListOverlaysRequest { workspace_id: id.clone(), page_size: 1, ..Default::default() };
    let page = user.overlays.clone().list_overlays(user.ctx.request(request.clone())).await.unwrap().into_inner();
    assert_eq!(page.overlays, std::slice::from_ref(&two));
    let request = pb::ListOverlaysRequest { page_token: page.next_page_token, ..request };
    let page = user.overlays.clone().list_overlays(user.ctx.request(request)).await.unwrap().into_inner();
    assert_eq!((page.overlays, page.next_page_token.as_str()), (vec![one.clone()], ""));

    let elsewhere = pb::ListFilesRequest { workspace_id: other, overlay_id: one.id.clone(), ..Default::default() };
    assert_eq!(reason(user.list_files(elsewhere).await), "OVERLAY_NOT_FOUND");
    let both = pb::ListFilesRequest {
        workspace_id: id.clone(),
        overlay_id: one.id.clone(),
        revision_id: one.base_revision_id.clone(),
        ..Default::default()
    };
    assert_eq!(fields(user.list_files(both).await), ["overlay_id"]);
    let stranger = User::of(&house);
    assert_eq!(reason(stranger.get_overlay(&one.id).await), "OVERLAY_NOT_FOUND");
    assert_eq!(reason(stranger.try_change(change(&one.id, vec![write("a", "2")])).await), "OVERLAY_NOT_FOUND");
    assert_eq!(reason(stranger.commit_overlay(commit_of(&one.id)).await), "OVERLAY_NOT_FOUND");
    assert_eq!(reason(stranger.delete_overlay(&one.id).await), "OVERLAY_NOT_FOUND");

    user.delete_overlay(&one.id).await.unwrap();
    assert_eq!(reason(user.delete_overlay(&one.id).await), "OVERLAY_NOT_FOUND");
    house.clock.advance(Duration::from_secs(14 * 24 * 3600 - 60));
    let two = user.change(&two.id, vec![write("a", "kept alive")]).await;
    house.clock.advance(Duration::from_secs(14 * 24 * 3600 - 60));
    assert_eq!(user.get_overlay(&two.id).await.unwrap(), two);
    house.clock.advance(Duration::from_secs(120));
    assert_eq!(reason(user.get_overlay(&two.id).await), "OVERLAY_NOT_FOUND");
    assert!(user.list_overlays(&id).await.is_empty());

    let three = user.overlay(&id, "").await.unwrap();
    let request = pb::DeleteWorkspaceRequest { workspace_id: id };
    user.client.clone().delete_workspace(user.ctx.request(request)).await.unwrap();
    assert_eq!(reason(user.get_overlay(&three.id).await), "OVERLAY_NOT_FOUND");
}

#[tokio::test]
async fn pages_of_an_overlay_that_changed_do_not_mix() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    user.commit(&id, vec![write("a", "1"), write("b", "2"), write("c", "3")]).await;
    let overlay = user.overlay(&id, "").await.unwrap();
    let request = pb::ListFilesRequest { workspace_id: id, overlay_id: overlay.id.clone(), page_size: 2, ..Default::default() };
    let page = user.list_files(request.clone()).await.unwrap();
    let next = pb::ListFilesRequest { page_token: page.next_page_token, ..request };
    assert_eq!(user.list_files(next.clone()).await.unwrap().files[0].path, "c");
    user.change(&overlay.id, vec![write("b2", "")]).await;
    assert_eq!(reason(user.list_files(next).await), "ETAG_MISMATCH");
}

fn expecting(path: &str, content: &str, hash: &str) -> pb::FileChange {
    let (content, expected_hash) = (Bytes::copy_from_slice(content.as_bytes()), Some(hash.to_owned()));
    let write = pb::WriteFile { path: path.into(), content, expected_hash, ..Default::default() };
    pb::FileChange { change: Some(pb::file_change::Change::Write(write)) }
}

#[tokio::test]
async fn a_file_that_is_not_the_expected_one_is_shown() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("a", "first\n"), write("large", "x".repeat(257))]).await;
    let overlay = user.overlay(&id, "").await.unwrap();
    let (hash, large) = (blake3::hash(b"first\n").to_hex(), blake3::hash("x".repeat(257).as_bytes()).to_hex());
    user.change(&overlay.id, vec![expecting("a", "second\n", &hash), expecting("new", "", "")]).await;
    let second = blake3::hash(b"second\n").to_hex();
    for (stale, path, present, content) in [
        (expecting("a", "third\n", &hash), "a", second.as_str(), Some("second\n")),
        (expecting("large", "", &hash), "large", large.as_str(), None),
        (expecting("none", "", &hash), "none", "", None),
    ] {
        let (code, reason, facts) = refusal(user.try_change(change(&overlay.id, vec![stale])).await);
        assert_eq!((code, reason.as_str(), facts["path"].as_str()), (Code::FailedPrecondition, "CHANGE_CONFLICT", path));
        assert_eq!((facts["current_hash"].as_str(), facts.get("current_content").map(String::as_str)), (present, content));
    }
    let refused = user.try_commit(commit(&id, &one.id, vec![expecting("a", "2", &second)])).await;
    assert_eq!(refusal(refused).2["current_hash"], hash.as_str());
    assert_eq!(
        fields(user.try_commit(commit(&id, &one.id, vec![expecting("a", "2", "12")])).await),
        ["changes[0].write.expected_hash"]
    );
}
