//! Revisions: committed by compare-and-swap, restored without loss, told once.

use std::task::Poll;

use slipway_proto::events::event::Event as Kind;

use super::*;

async fn revisions(user: &User, workspace: &str, size: u32, token: &str) -> Result<pb::ListRevisionsResponse, Status> {
    let request = pb::ListRevisionsRequest { workspace_id: workspace.into(), page_size: size, page_token: token.into() };
    Ok(user.client.clone().list_revisions(user.ctx.request(request)).await?.into_inner())
}

pub(super) async fn restore(
    user: &User,
    workspace: &str,
    revision: &str,
    base: &str,
    request_id: &str,
) -> Result<pb::Revision, Status> {
    let request = pb::RestoreRevisionRequest {
        workspace_id: workspace.into(),
        revision_id: revision.into(),
        base_revision_id: base.into(),
        message: String::new(),
        request_id: request_id.into(),
    };
    Ok(user.client.clone().restore_revision(user.ctx.request(request)).await?.into_inner().revision.unwrap())
}

#[tokio::test]
async fn a_commit_is_the_new_head_and_is_told() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let plan_id = Uuid::now_v7().to_string();
    let request = pb::CommitRevisionRequest {
        message: "first".into(),
        plan_id: plan_id.clone(),
        ..commit(&id, "", vec![write("a", "1\n"), program("run.sh", "x")])
    };
    let one = user.try_commit(request).await.unwrap();
    assert_eq!((one.number, one.parent_id.as_str(), one.message.as_str()), (1, "", "first"));
    assert_eq!((one.file_count, one.total_bytes, &one.plan_id), (2, 3, &plan_id));
    assert_eq!((one.kind(), one.author_id.clone()), (pb::RevisionKind::Commit, user.ctx.caller.user.to_string()));
    let two = user.commit(&id, vec![rename("a", "b/c"), write("new", "")]).await;
    assert_eq!((two.number, &two.parent_id), (2, &one.id));
    let head = user.get(&id).await.unwrap();
    assert_eq!((&head.head_revision_id, head.head_number), (&two.id, 2));
    assert_eq!(user.paths(&id, "").await, ["b/c", "new", "run.sh"]);
    assert_eq!(user.paths(&id, &one.id).await, ["a", "run.sh"]);

    let events = house.events(2).await;
    for (event, revision) in events.iter().zip([&one, &two]) {
        assert_eq!(event.0, "revision.committed");
        let Some(Kind::RevisionCommitted(told)) = &event.1.event else { panic!() };
        assert_eq!((&told.workspace_id, &told.revision_id, told.number), (&id, &revision.id, revision.number));
        assert_eq!(told.parent_revision_id, revision.parent_id);
        assert_eq!(event.1.user_id, user.ctx.caller.user.to_string());
    }
}

#[tokio::test]
async fn the_same_files_have_the_same_hash() {
    let house = House::start().await;
    let user = User::of(&house);
    let (left, right) = (user.workspace("l").await.id, user.workspace("r").await.id);
    let one = user.commit(&left, vec![write("a", "1"), write("b", "2")]).await;
    let same = user.commit(&left, vec![write("a", "1")]).await;
    assert_eq!((same.number, &same.hash), (2, &one.hash));
    user.commit(&right, vec![write("b", "2")]).await;
    assert_eq!(user.commit(&right, vec![write("a", "1")]).await.hash, one.hash);
    assert_ne!(user.commit(&right, vec![program("a", "1")]).await.hash, one.hash);
}

#[tokio::test]
async fn a_stale_base_is_aborted_with_the_head() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("a", "1")]).await;
    let two = user.commit(&id, vec![write("a", "2")]).await;
    for base in ["", &one.id] {
        let (code, reason, facts) = refusal(user.try_commit(commit(&id, base, vec![write("a", "3")])).await);
        assert_eq!((code, reason.as_str()), (Code::Aborted, "BASE_REVISION_STALE"));
        assert_eq!((&facts["head_revision_id"], facts["head_number"].as_str()), (&two.id, "2"));
    }
    assert_eq!(
        reason(user.try_commit(commit(&id, &Uuid::now_v7().to_string(), vec![write("a", "3")])).await),
        "REVISION_NOT_FOUND"
    );
    assert_eq!(user.read(&id, "", "a").await.unwrap().1, b"2");
}

#[tokio::test]
async fn of_many_commits_on_one_base_one_wins() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("a", "0")]).await;
    let commits = (0..20).map(|n| {
        let (user, request) = (user.clone(), commit(&id, &one.id, vec![write("a", format!("{n}"))]));
        async move { user.try_commit(request).await }
    });
    let results = futures::future::join_all(commits).await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 19));
    for refused in lost {
        let (_, reason, facts) = refusal(refused);
        assert_eq!((reason.as_str(), &facts["head_revision_id"]), ("BASE_REVISION_STALE", &won[0].as_ref().unwrap().id));
    }
    assert_eq!(user.get(&id).await.unwrap().head_number, 2);
}

#[tokio::test]
async fn twenty_identical_commits_make_one_revision() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let request = pb::CommitRevisionRequest { request_id: "once".into(), ..commit(&id, "", vec![write("a", "1")]) };
    let calls = (0..20).map(|_| {
        let (user, request) = (user.clone(), request.clone());
        async move { user.try_commit(request).await.unwrap().id }
    });
    let ids = futures::future::join_all(calls).await;
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(user.get(&id).await.unwrap().head_number, 1);
    // Still the first result when the head has moved on, and after a restart.
    user.commit(&id, vec![write("a", "2")]).await;
    let house = house.restart().await;
    let user = User { client: house.client.clone(), ..user };
    assert_eq!(user.try_commit(request.clone()).await.unwrap().id, ids[0]);
    let other = pb::CommitRevisionRequest { message: "other".into(), ..request };
    let (code, reason, facts) = refusal(user.try_commit(other).await);
    assert_eq!((code, reason.as_str(), &facts["first_id"]), (Code::AlreadyExists, "REQUEST_ID_REUSED", &ids[0]));
}

#[tokio::test]
async fn changes_that_do_not_fit_change_nothing() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("a", "1"), write("b/c", "2")]).await;
    for (changes, path) in [
        (vec![write("new", ""), delete("missing")], "missing"),
        (vec![rename("missing", "x")], "missing"),
        (vec![rename("a", "b/c")], "b/c"),
        (vec![write("B/C", "")], "b/c"),
        (vec![write("a/under", "")], "a"),
        (vec![write("b", "")], "b"),
    ] {
        let (code, reason, facts) = refusal(user.try_commit(commit(&id, &one.id, changes)).await);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "CHANGE_CONFLICT"));
        assert_eq!(facts["path"].to_lowercase(), path);
    }
    assert_eq!(user.get(&id).await.unwrap().head_revision_id, one.id);
}

#[tokio::test]
async fn a_restore_destroys_nothing() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("a", "1"), program("run", "x")]).await;
    let two = user.commit(&id, vec![write("a", "2"), delete("run"), write("b", "")]).await;
    let three = restore(&user, &id, &one.id, &two.id, "r").await.unwrap();
    assert_eq!((three.number, three.kind(), three.message.as_str()), (3, pb::RevisionKind::Restore, "restore revision 1"));
    assert_eq!((&three.restored_from_id, &three.parent_id, &three.hash), (&one.id, &two.id, &one.hash));
    assert_eq!((three.file_count, three.total_bytes), (one.file_count, one.total_bytes));
    assert_eq!(user.paths(&id, "").await, ["a", "run"]);
    assert!(user.read(&id, "", "run").await.unwrap().0.executable);
    assert_eq!(user.read(&id, &two.id, "a").await.unwrap().1, b"2");
    assert_eq!(restore(&user, &id, &one.id, &two.id, "r").await.unwrap().id, three.id);
    assert_eq!(reason(restore(&user, &id, &two.id, &two.id, "").await), "BASE_REVISION_STALE");
    let four = restore(&user, &id, &two.id, "", "").await.unwrap();
    assert_eq!((four.number, &four.hash), (4, &two.hash));
    assert_eq!(reason(restore(&user, &id, &Uuid::now_v7().to_string(), "", "").await), "REVISION_NOT_FOUND");
    let listed = revisions(&user, &id, 0, "").await.unwrap().revisions;
    assert_eq!(listed.iter().map(|r| r.number).collect::<Vec<_>>(), [4, 3, 2, 1]);
    assert_eq!(listed[3], one);
}

#[tokio::test]
async fn revisions_are_got_and_listed_in_pages() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(user.commit(&id, vec![write("a", format!("{n}"))]).await);
    }
    let first = revisions(&user, &id, 2, "").await.unwrap();
    user.commit(&id, vec![write("a", "later")]).await;
    let second = revisions(&user, &id, 3, &first.next_page_token).await.unwrap();
    assert_eq!(second.next_page_token, "");
    let seen: Vec<_> = first.revisions.into_iter().chain(second.revisions).collect();
    made.reverse();
    assert_eq!(seen, made);
    let get = |revision: &str| {
        let request = pb::GetRevisionRequest { workspace_id: id.clone(), revision_id: revision.into() };
        let (mut client, request) = (user.client.clone(), user.ctx.request(request));
        async move { Ok::<_, Status>(client.get_revision(request).await?.into_inner().revision.unwrap()) }
    };
    assert_eq!(get(&made[2].id).await.unwrap(), made[2]);
    assert_eq!(get("").await.unwrap().number, 6);
    let other = user.workspace("other").await.id;
    assert_eq!(reason(revisions(&user, &other, 2, &first.next_page_token).await), "PAGE_TOKEN_INVALID");
    // Long messages end a page before it gets too large for a message.
    for _ in 0..2 {
        let message = "é".repeat(2_000);
        let base = user.get(&other).await.unwrap().head_revision_id;
        user.try_commit(pb::CommitRevisionRequest { message, ..commit(&other, &base, vec![write("a", "")]) }).await.unwrap();
    }
    assert_eq!(revisions(&user, &other, 1_000, "").await.unwrap().revisions.len(), 2);
}

/// A call that is dropped after `polls` looks at it, as when the caller goes away in the middle.
async fn interrupted<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_commit_that_is_broken_off_is_whole_or_not_there() {
    let house = House::start().await;
    let user = User::of(&house);
    for polls in 1..40 {
        let id = user.workspace("w").await.id;
        let changes = vec![write("a", format!("content {polls}")), write("b", "2")];
        let request = pb::CommitRevisionRequest { request_id: format!("r{polls}"), ..commit(&id, "", changes) };
        interrupted(user.try_commit(request.clone()), polls).await;
        let between = user.get(&id).await.unwrap();
        if between.head_number > 0 {
            assert_eq!(user.paths(&id, "").await, ["a", "b"]);
        }
        let made = user.try_commit(request).await.unwrap();
        assert_eq!(made.number, 1);
        assert!(between.head_number == 0 || between.head_revision_id == made.id);
        assert_eq!(user.read(&id, "", "a").await.unwrap().1, format!("content {polls}").as_bytes());
    }
}
