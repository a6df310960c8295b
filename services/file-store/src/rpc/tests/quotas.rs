//! Quotas: of a file, a workspace and a project, of bytes and of overlays, named when they are reached, and not to be passed by
//! two at once.

use slipway_testkit::s3::S3;

use super::*;
use crate::QuotaSettings;

const MIB: usize = 1 << 20;

fn limits(file_mib: u64, workspace_mib: u64, project_mib: u64) -> Settings {
    Settings { quotas: QuotaSettings { file_mib, workspace_mib, project_mib }, ..Settings::default() }
}

/// What is refused, and whose it is.
#[track_caller]
fn quota<T: std::fmt::Debug>(result: Result<T, Status>) -> (String, String) {
    let status = result.expect_err("this must be refused");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.reason, "QUOTA_EXCEEDED");
    (info.metadata["quota"].clone(), details.quota_failure().unwrap().violations[0].subject.clone())
}

fn bytes(path: &str, n: usize, fill: u8) -> pb::FileChange {
    write(path, vec![fill; n])
}

#[tokio::test]
async fn each_quota_is_named_when_it_is_reached() {
    let house = House::with(limits(2, 3, 5)).await;
    let user = User::of(&house);
    let (one, two) = (user.workspace("one").await.id, user.workspace("two").await.id);
    let large = user.try_commit(commit(&one, "", vec![bytes("large", 2 * MIB + 1, 0)])).await;
    assert_eq!(quota(large), ("file".into(), "file:large".into()));
    user.commit(&one, vec![bytes("a", 2 * MIB, 1)]).await;
    let first = user.commit(&one, vec![bytes("same", 2 * MIB, 1)]).await;
    let over = user.try_commit(commit(&one, &first.id, vec![bytes("b", MIB + 1, 2)])).await;
    assert_eq!(quota(over), ("workspace".into(), format!("workspace:{one}")));
    assert_eq!(user.get(&one).await.unwrap().head_revision_id, first.id, "nothing is changed");
    // What is renamed or there already costs nothing; what is deleted is in the history still.
    let moved = user.commit(&one, vec![rename("a", "c"), bytes("d", 2 * MIB, 1), bytes("e", MIB, 3)]).await;
    let emptied = user.commit(&one, vec![delete("c"), delete("d"), delete("e"), delete("same"), write("f", "")]).await;
    assert_eq!(quota(user.try_commit(commit(&one, &emptied.id, vec![write("g", "1")])).await).0, "workspace");
    let request = pb::RestoreRevisionRequest { workspace_id: one.clone(), revision_id: moved.id, ..Default::default() };
    user.client.clone().restore_revision(user.ctx.request(request)).await.unwrap();

    let second = user.commit(&two, vec![bytes("a", 2 * MIB, 1)]).await;
    let over = user.try_commit(commit(&two, &second.id, vec![write("b", "1")])).await;
    assert_eq!(quota(over), ("project".into(), format!("project:{}", user.ctx.project)));
    let overlay = user.overlay(&two, "").await.unwrap();
    user.change(&overlay.id, vec![write("b", "1")]).await;
    assert_eq!(quota(user.commit_overlay(overlays::commit_of(&overlay.id)).await).0, "project");
    // Another project has its own, and a workspace that goes gives back what it had.
    let stranger = User::of(&house);
    let id = stranger.workspace("w").await.id;
    stranger.commit(&id, vec![bytes("a", 2 * MIB, 1)]).await;
    let request = pb::DeleteWorkspaceRequest { workspace_id: one };
    user.client.clone().delete_workspace(user.ctx.request(request)).await.unwrap();
    user.commit_overlay(overlays::commit_of(&overlay.id)).await.unwrap();
}

#[tokio::test]
async fn there_is_a_last_overlay() {
    let overlays = crate::OverlaySettings { max_of_workspace: 2, max_of_project: 3, ..Default::default() };
    let house = House::with(Settings { overlays, ..Settings::default() }).await;
    let user = User::of(&house);
    let (one, two) = (user.workspace("one").await.id, user.workspace("two").await.id);
    let full = |result: Result<pb::Overlay, Status>| {
        let (code, reason, facts) = refusal(result);
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "OVERLAYS_FULL"));
        (facts["quota"].clone(), facts["limit"].clone())
    };
    let of = |quota: &str, limit: &str| (quota.to_owned(), limit.to_owned());
    let at_once = futures::future::join_all((0..6).map(|_| user.overlay(&one, ""))).await;
    let (made, refused): (Vec<_>, Vec<_>) = at_once.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (2, 4));
    assert!(refused.into_iter().all(|result| full(result) == of("workspace", "2")));
    user.overlay(&two, "").await.unwrap();
    assert_eq!(full(user.overlay(&two, "").await), of("project", "3"));
    // What was made is changed and committed as ever; one that goes makes room; another project has its own.
    let first = made.into_iter().find_map(Result::ok).unwrap();
    user.change(&first.id, vec![write("a", "1")]).await;
    user.commit_overlay(overlays::commit_of(&first.id)).await.unwrap();
    user.overlay(&two, "").await.unwrap();
    let stranger = User::of(&house);
    let id = stranger.workspace("w").await.id;
    stranger.overlay(&id, "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_do_not_pass_a_project_s_quota_together() {
    let Some(server) = S3::shared().await else { return };
    let settings = Settings { quotas: limits(1, 8, 3).quotas, ..buckets::on(server) };
    let Some(houses) = House::replicas(settings).await else { return };
    let user = User::of(&houses[0]);
    let mut workspaces = Vec::new();
    for n in 0..8 {
        workspaces.push(user.workspace(&format!("w{n}")).await.id);
    }
    let commits = workspaces.iter().enumerate().map(|(n, id)| {
        let user = user.at(&houses[n % 2]);
        let request = commit(id, "", vec![bytes("a", MIB, u8::try_from(n).unwrap())]);
        tokio::spawn(async move { user.try_commit(request).await })
    });
    let results: Vec<_> = futures::future::join_all(commits).await.into_iter().map(Result::unwrap).collect();
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (3, 5));
    for refused in lost {
        assert_eq!(quota(refused).0, "project");
    }
}
