//! Bad fields and other people's ids: refused with the documented reason, and nothing changed.

use super::*;

/// Calls every RPC that takes a workspace and gives the errors.
async fn every_call(user: &User, workspace: &str, revision: &str) -> Vec<(&'static str, Status)> {
    let (mut client, ctx) = (user.client.clone(), &user.ctx);
    let (w, r) = (workspace.to_owned(), revision.to_owned());
    let mut errors = Vec::new();
    let mut note = |name, result: Result<(), Status>| errors.push((name, result.expect_err(name)));
    let request = ctx.request(pb::GetWorkspaceRequest { workspace_id: w.clone() });
    note("GetWorkspace", client.get_workspace(request).await.map(drop));
    let request = ctx.request(pb::DeleteWorkspaceRequest { workspace_id: w.clone() });
    note("DeleteWorkspace", client.delete_workspace(request).await.map(drop));
    note("ImportArchive", user.import(header(&w, &r, pb::ArchiveFormat::Zip), b"x").await.map(drop));
    note("ExportArchive", user.export(&w, &r, pb::ArchiveFormat::Zip).await.map(drop));
    let request = pb::ListFilesRequest { workspace_id: w.clone(), revision_id: r.clone(), ..Default::default() };
    note("ListFiles", user.list_files(request).await.map(drop));
    note("ReadFile", user.read(&w, &r, "a").await.map(drop));
    let request =
        pb::SearchFilesRequest { workspace_id: w.clone(), revision_id: r.clone(), pattern: "x".into(), ..Default::default() };
    note("SearchFiles", client.search_files(ctx.request(request)).await.map(drop));
    note("CommitRevision", user.try_commit(commit(&w, &r, vec![write("a", "evil")])).await.map(drop));
    let request = pb::ListRevisionsRequest { workspace_id: w.clone(), ..Default::default() };
    note("ListRevisions", client.list_revisions(ctx.request(request)).await.map(drop));
    let request = pb::GetRevisionRequest { workspace_id: w.clone(), revision_id: r.clone() };
    note("GetRevision", client.get_revision(ctx.request(request)).await.map(drop));
    let request = pb::DiffRevisionsRequest { workspace_id: w.clone(), from_revision_id: r.clone(), ..Default::default() };
    note("DiffRevisions", client.diff_revisions(ctx.request(request)).await.map(drop));
    let request = pb::RestoreRevisionRequest { workspace_id: w.clone(), revision_id: r.clone(), ..Default::default() };
    note("RestoreRevision", client.restore_revision(ctx.request(request)).await.map(drop));
    note("CreateDownloadLink", user.link(&w, &r, "a", 0).await.map(drop));
    errors
}

#[tokio::test]
async fn another_projects_workspace_does_not_exist() {
    let house = House::start().await;
    let (owner, stranger) = (User::of(&house), User::of(&house));
    let id = owner.workspace("w").await.id;
    let one = owner.commit(&id, vec![write("a", "1")]).await;
    for (name, error) in every_call(&stranger, &id, &one.id).await {
        let (code, reason, _) = refusal(Err::<(), _>(error));
        assert_eq!((code, reason.as_str()), (Code::NotFound, "WORKSPACE_NOT_FOUND"), "{name}");
    }
    // Nor does a revision in another workspace than its own, be it of the same project.
    let mine = stranger.workspace("mine").await.id;
    assert_eq!(reason(stranger.read(&mine, &one.id, "a").await), "REVISION_NOT_FOUND");
    assert_eq!(reason(stranger.try_commit(commit(&mine, &one.id, vec![write("a", "")])).await), "REVISION_NOT_FOUND");
    let other = owner.workspace("other").await.id;
    assert_eq!(reason(owner.export(&other, &one.id, pb::ArchiveFormat::Zip).await), "REVISION_NOT_FOUND");
    assert_eq!(owner.get(&id).await.unwrap().head_revision_id, one.id);
    assert_eq!(owner.read(&id, "", "a").await.unwrap().1, b"1");
}

#[tokio::test]
async fn ids_that_are_none_are_named() {
    let house = House::start().await;
    let user = User::of(&house);
    for bad in ["", "x", "0197-nope", "é\0"] {
        for (name, error) in every_call(&user, bad, "").await {
            let fields = fields(Err::<(), _>(error));
            assert!(fields.iter().any(|f| f.ends_with("workspace_id")), "{name} {fields:?}");
        }
    }
    let missing = Uuid::now_v7().to_string();
    for (name, error) in every_call(&user, &missing, &missing).await {
        assert_eq!(reason(Err::<(), _>(error)), "WORKSPACE_NOT_FOUND", "{name}");
    }
}

#[tokio::test]
async fn fields_over_their_limits_are_named() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let mut client = user.client.clone();
    for name in ["", "   ", &"é".repeat(201), "a\0b", "bell\u{7}"] {
        let request = pb::CreateWorkspaceRequest { name: name.into(), request_id: "r".repeat(101) };
        assert_eq!(fields(client.create_workspace(user.ctx.request(request)).await), ["name", "request_id"]);
    }
    let request = pb::CreateWorkspaceRequest { name: "é".repeat(200), request_id: "r".repeat(100) };
    client.create_workspace(user.ctx.request(request)).await.unwrap();
    let request = pb::ListWorkspacesRequest { page_size: 1_001, ..Default::default() };
    assert_eq!(fields(client.list_workspaces(user.ctx.request(request)).await), ["page_size"]);
    let request = pb::ListRevisionsRequest { workspace_id: id.clone(), page_size: 1_001, ..Default::default() };
    assert_eq!(fields(client.list_revisions(user.ctx.request(request)).await), ["page_size"]);
    let request =
        pb::ListFilesRequest { workspace_id: id.clone(), page_size: 5_001, glob: "g".repeat(501), ..Default::default() };
    assert_eq!(fields(user.list_files(request).await), ["glob", "page_size"]);
    for pattern in [String::new(), "p".repeat(1_001), "a\0".into()] {
        let request = pb::SearchFilesRequest {
            workspace_id: id.clone(),
            pattern,
            limit: 1_001,
            glob: "g".repeat(501),
            ..Default::default()
        };
        assert_eq!(fields(client.search_files(user.ctx.request(request)).await), ["pattern", "glob", "limit"]);
    }
    let request = pb::DiffRevisionsRequest {
        workspace_id: id.clone(),
        to_revision_id: "x".into(),
        context_lines: Some(101),
        page_size: 1_001,
        ..Default::default()
    };
    assert_eq!(
        fields(client.diff_revisions(user.ctx.request(request)).await),
        ["from_revision_id", "to_revision_id", "context_lines", "page_size"]
    );
    let request = pb::RestoreRevisionRequest { workspace_id: id.clone(), message: "m".repeat(2_001), ..Default::default() };
    assert_eq!(fields(client.restore_revision(user.ctx.request(request)).await), ["revision_id", "message"]);
    assert_eq!(fields(user.read(&id, "", "").await), ["path"]);
}

#[tokio::test]
async fn commits_are_checked_before_anything_else() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let try_commit = |changes| user.try_commit(commit(&id, "", changes));
    assert_eq!(fields(try_commit(vec![]).await), ["changes"]);
    assert_eq!(fields(try_commit((0..1_001).map(|n| write(&format!("{n}"), "")).collect()).await), ["changes"]);
    assert_eq!(fields(try_commit(vec![pb::FileChange { change: None }]).await), ["changes[0]"]);
    let large = vec![write("ok", ""), write("large", vec![0; (3 << 20) + 1])];
    assert_eq!(fields(try_commit(large).await), ["changes[1].write.content"]);
    let empty = vec![write("", ""), delete(""), rename("", "")];
    assert_eq!(
        fields(try_commit(empty).await),
        ["changes[0].write.path", "changes[1].delete.path", "changes[2].rename.path", "changes[2].rename.new_path"]
    );
    let request = pb::CommitRevisionRequest {
        plan_id: "x".into(),
        base_revision_id: "y".into(),
        message: "a\0".into(),
        request_id: "r".repeat(101),
        ..commit(&id, "", vec![write("a", "")])
    };
    assert_eq!(fields(user.try_commit(request).await), ["base_revision_id", "plan_id", "message", "request_id"]);
    for bad in ["../x", "/abs", "a//b", "a/./b", "a\0b", "a\\b", "c:", "nul", "e\u{301}", &"x".repeat(256), &"a/".repeat(600)] {
        for change in [write(bad, ""), delete(bad), rename(bad, "x"), rename("x", bad)] {
            let (code, reason, facts) = refusal(try_commit(vec![change]).await);
            assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "PATH_INVALID"), "{bad:?}");
            assert!(facts["path"].starts_with(&bad[..bad.len().min(4)]));
        }
        assert_eq!(reason(user.read(&id, "", bad).await), "PATH_INVALID");
    }
    assert_eq!(reason(try_commit(vec![write("a", vec![0; 3 << 20]), write("b", vec![0; 3 << 20])]).await), "MESSAGE_TOO_LARGE");
    try_commit(vec![write("a", vec![0; 3 << 20])]).await.unwrap();
}
