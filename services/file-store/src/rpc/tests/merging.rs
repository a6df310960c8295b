//! Commits on a head that has moved: merged as git would, or refused with the reasons, and never half done.

use super::overlays::commit_of;
use super::*;

const BASE: &str = "one\ntwo\nthree\nfour\nfive\nsix\n";

fn merging(workspace: &str, base: &str, changes: Vec<pb::FileChange>) -> pb::CommitRevisionRequest {
    pb::CommitRevisionRequest { merge: true, ..commit(workspace, base, changes) }
}

async fn preview(user: &User, overlay: &str) -> pb::PreviewMergeResponse {
    let request = pb::PreviewMergeRequest { overlay_id: overlay.into() };
    user.overlays.clone().preview_merge(user.ctx.request(request)).await.unwrap().into_inner()
}

#[tokio::test]
async fn changes_of_other_lines_and_files_are_brought_together() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("a", BASE), write("b", "b\n"), write("gone", "gone\n")]).await;
    let head = user.commit(&id, vec![write("a", BASE.replace("one", "ONE")), rename("b", "dir/b"), delete("gone")]).await;
    let changes = vec![write("a", BASE.replace("six", "SIX")), program("new", "new\n")];
    assert_eq!(reason(user.try_commit(commit(&id, &one.id, changes.clone())).await), "BASE_REVISION_STALE");
    let merged = user.try_commit(merging(&id, &one.id, changes)).await.unwrap();
    assert_eq!((merged.number, &merged.parent_id, &merged.merged_base_id), (3, &head.id, &one.id));
    assert_eq!(user.read(&id, "", "a").await.unwrap().1, BASE.replace("one", "ONE").replace("six", "SIX").as_bytes());
    assert_eq!(user.paths(&id, "").await, ["a", "dir/b", "new"]);
    // What was renamed meanwhile is followed.
    user.try_commit(merging(&id, &one.id, vec![write("b", "other\n")])).await.unwrap();
    assert_eq!(user.read(&id, "", "dir/b").await.unwrap().1, b"other\n");
    let followed = user.try_commit(merging(&id, &head.id, vec![rename("a", "A/a")])).await.unwrap();
    assert_eq!(user.paths(&id, &followed.id).await, ["A/a", "dir/b", "new"]);
    let followed = user.try_commit(merging(&id, &merged.id, vec![write("a", BASE)])).await.unwrap();
    assert_eq!((followed.number, user.read(&id, "", "A/a").await.unwrap().1), (6, BASE.as_bytes().to_vec()));
    // On its head there is nothing to merge.
    let plain = user.try_commit(merging(&id, &followed.id, vec![write("z", "")])).await.unwrap();
    assert_eq!(plain.merged_base_id, "");
}

#[tokio::test]
async fn what_cannot_be_merged_is_shown_with_both_sides() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let files = vec![write("text", BASE), write("binary", vec![0, 1]), write("gone", "1\n2\n3\n"), write("same", "s\n")];
    user.commit(&id, files).await;
    let overlay = user.overlay(&id, "").await.unwrap();
    let ours = vec![write("text", BASE.replace("two", "deux")), write("binary", vec![0, 2]), delete("gone"), write("new", "n\n")];
    let head = user.commit(&id, [ours, vec![write("same", "t\n")]].concat()).await;
    let theirs = vec![
        write("text", BASE.replace("two\nthree", "dos\ntres")),
        write("binary", vec![0, 3]),
        write("gone", "1\n2\nthree\n"),
        write("new", "m\n"),
        write("same", "t\n"),
    ];
    let changed = user.change(&overlay.id, theirs).await;
    let shown = preview(&user, &overlay.id).await;
    assert_eq!((&shown.head_revision_id, shown.head_number, shown.hash.as_str()), (&head.id, 2, ""));
    let kinds: Vec<_> = shown.conflicts.iter().map(|c| (c.path.as_str(), c.kind())).collect();
    use pb::ConflictKind as Kind;
    let expected = [("binary", Kind::Binary), ("gone", Kind::ModifyDelete), ("new", Kind::AddAdd), ("text", Kind::Content)];
    assert_eq!((kinds.as_slice(), shown.conflict_count), (expected.as_slice(), 4));
    assert!(shown.conflicts[1].head.is_none() && shown.conflicts[1].change.is_some() && shown.conflicts[2].base.is_none());
    let [hunk] = shown.conflicts[3].hunks.as_slice() else { panic!("{:?}", shown.conflicts[3].hunks) };
    let side = |start, lines: &[&str]| Some(pb::ConflictLines { start, lines: lines.iter().map(|l| (*l).into()).collect() });
    assert_eq!(hunk.base, side(2, &["two", "three"]));
    assert_eq!((hunk.head.clone(), hunk.change.clone()), (side(2, &["deux", "three"]), side(2, &["dos", "tres"])));

    let refused = user.commit_overlay(pb::CommitOverlayRequest { merge: true, ..commit_of(&overlay.id) }).await;
    let (code, reason, facts) = refusal(refused);
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "MERGE_CONFLICT"));
    assert_eq!((facts["path"].as_str(), facts["kind"].as_str(), facts["conflicts"].as_str()), ("binary", "BINARY", "4"));
    assert_eq!((&facts["head_revision_id"], facts["head_number"].as_str()), (&head.id, "2"));
    assert_eq!(user.get_overlay(&overlay.id).await.unwrap(), changed, "nothing is lost");
    assert_eq!(user.get(&id).await.unwrap().head_revision_id, head.id);
    // A folder where the other side has a file.
    let other = user.overlay(&id, &changed.base_revision_id).await.unwrap();
    user.change(&other.id, vec![write("new/file", "1")]).await;
    assert_eq!(preview(&user, &other.id).await.conflicts[0].kind(), Kind::Tree);
}

#[tokio::test]
async fn an_overlay_that_merges_makes_what_its_preview_says() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let one = user.commit(&id, vec![write("a", BASE)]).await;
    let overlay = user.overlay(&id, "").await.unwrap();
    user.change(&overlay.id, vec![rename("a", "b"), write("c", "c")]).await;
    user.commit(&id, vec![write("a", BASE.replace("four", "FOUR"))]).await;
    let shown = preview(&user, &overlay.id).await;
    assert_eq!(shown.conflict_count, 0);
    assert_eq!(reason(user.commit_overlay(commit_of(&overlay.id)).await), "BASE_REVISION_STALE");
    let request = pb::CommitOverlayRequest { merge: true, request_id: "m".into(), ..commit_of(&overlay.id) };
    let merged = user.commit_overlay(request.clone()).await.unwrap();
    assert_eq!((&merged.hash, &merged.merged_base_id), (&shown.hash, &one.id));
    assert_eq!(user.read(&id, "", "b").await.unwrap().1, BASE.replace("four", "FOUR").as_bytes());
    assert_eq!(user.commit_overlay(request).await.unwrap(), merged);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_merging_commits_at_once_every_one_lands() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let text: String = (0..80).map(|n| format!("line {n}\n")).collect();
    let base = user.commit(&id, vec![write("a", text.clone())]).await;
    let writers = (0..6).map(|n| {
        let (user, changed) = (user.clone(), text.replace(&format!("line {}\n", n * 10), &format!("writer {n}\n")));
        let request = merging(&id, &base.id, vec![write("a", changed)]);
        tokio::spawn(async move { user.try_commit(request).await.unwrap() })
    });
    futures::future::join_all(writers).await.into_iter().for_each(|made| drop(made.unwrap()));
    let merged = String::from_utf8(user.read(&id, "", "a").await.unwrap().1).unwrap();
    assert_eq!((0..6).filter(|n| merged.contains(&format!("writer {n}\n"))).count(), 6, "{merged}");
    assert_eq!(user.get(&id).await.unwrap().head_number, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_writers_of_one_file_who_expect_it_one_wins_and_others_pass() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    user.commit(&id, vec![write("a", "0"), write("b", "0")]).await;
    let hash = blake3::hash(b"0").to_hex().to_string();
    let expecting = |path: &str, content: String| {
        let write =
            pb::WriteFile { path: path.into(), content: content.into(), expected_hash: Some(hash.clone()), ..Default::default() };
        pb::FileChange { change: Some(pb::file_change::Change::Write(write)) }
    };
    let writers = (0..6).map(|n| {
        let (user, request) = (user.clone(), commit(&id, "", vec![expecting("a", format!("a{n}"))]));
        tokio::spawn(async move { user.try_commit(request).await })
    });
    let writers: Vec<_> = writers.collect();
    // Somebody else writes another file at the same time: that is no conflict.
    user.try_commit(commit(&id, "", vec![expecting("b", "b".into())])).await.unwrap();
    let results: Vec<_> = futures::future::join_all(writers).await.into_iter().map(Result::unwrap).collect();
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 5));
    let now = String::from_utf8(user.read(&id, "", "a").await.unwrap().1).unwrap();
    for refused in lost {
        let (_, reason, facts) = refusal(refused);
        assert_eq!((reason.as_str(), &facts["current_content"]), ("CHANGE_CONFLICT", &now));
    }
    assert_eq!(user.read(&id, "", "b").await.unwrap().1, b"b");
}
