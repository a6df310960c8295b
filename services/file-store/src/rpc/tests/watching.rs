//! Watching a workspace: every revision once, in order, from any cursor, on any replica, until it is deleted.

use slipway_proto::filestore::history_service_client::HistoryServiceClient;
use slipway_proto::filestore::watch_changes_response::Event as Watched;
use slipway_testkit::s3::S3;
use tonic::Streaming;

use super::*;

impl User {
    async fn watch(&self, workspace: &str, after: u64) -> Result<Streaming<pb::WatchChangesResponse>, Status> {
        let request = pb::WatchChangesRequest { workspace_id: workspace.into(), after_sequence: after };
        let mut client = HistoryServiceClient::new(self.channel.clone());
        Ok(client.watch_changes(self.ctx.request(request)).await?.into_inner())
    }
}

/// The next thing that is no heartbeat.
async fn next(stream: &mut Streaming<pb::WatchChangesResponse>) -> Option<(u64, Watched)> {
    loop {
        let message = stream.message().await.unwrap()?;
        let event = message.event.unwrap();
        assert_eq!(message.ignorable, matches!(event, Watched::Heartbeat(_)));
        if !message.ignorable {
            return Some((message.sequence, event));
        }
    }
}

#[track_caller]
fn revision(told: Option<(u64, Watched)>) -> pb::Revision {
    let Some((sequence, Watched::Revision(revision))) = told else { panic!("{told:?}") };
    assert_eq!(sequence, revision.number);
    revision
}

#[tokio::test]
async fn every_revision_is_told_once_from_any_cursor_until_the_end() {
    let house = House::start().await;
    let user = User::of(&house);
    let id = user.workspace("w").await.id;
    let mut early = user.watch(&id, 0).await.unwrap();
    let Some((0, Watched::Snapshot(snapshot))) = next(&mut early).await else { panic!("no snapshot first") };
    assert_eq!((snapshot.id.as_str(), snapshot.head_number), (id.as_str(), 0));
    let mut made = Vec::new();
    for n in 0..3 {
        made.push(user.commit(&id, vec![write("a", format!("{n}"))]).await);
        assert_eq!(revision(next(&mut early).await), made[n]);
    }
    let mut late = user.watch(&id, 1).await.unwrap();
    let Some((0, Watched::Snapshot(snapshot))) = next(&mut late).await else { panic!("no snapshot first") };
    assert_eq!(snapshot.head_number, 3);
    for revision_made in &made[1..] {
        assert_eq!(&revision(next(&mut late).await), revision_made);
    }
    let (code, reason, facts) = refusal(user.watch(&id, 4).await);
    assert_eq!((code, reason.as_str(), facts["latest"].as_str()), (Code::OutOfRange, "CURSOR_OUT_OF_RANGE", "3"));
    assert_eq!(refusal(User::of(&house).watch(&id, 0).await).1, "WORKSPACE_NOT_FOUND");

    let request = pb::DeleteWorkspaceRequest { workspace_id: id };
    user.client.clone().delete_workspace(user.ctx.request(request)).await.unwrap();
    for stream in [&mut early, &mut late] {
        assert!(matches!(next(stream).await, Some((0, Watched::Deleted(_)))));
        assert!(next(stream).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_replica_commits_is_told_in_order() {
    let Some(server) = S3::shared().await else { return };
    let Some([here, there]) = House::replicas(buckets::on(server)).await else { return };
    let user = User::of(&here);
    let id = user.workspace("w").await.id;
    let mut stream = user.watch(&id, 0).await.unwrap();
    assert!(matches!(next(&mut stream).await, Some((0, Watched::Snapshot(_)))));
    let elsewhere = user.at(&there);
    for n in 1..=20 {
        let who = if n % 3 == 0 { &user } else { &elsewhere };
        who.commit(&id, vec![write("a", format!("{n}"))]).await;
    }
    for n in 1..=20 {
        assert_eq!(revision(next(&mut stream).await).number, n);
    }
}
