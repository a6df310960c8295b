//! The stream of a re-index.

use futures::StreamExt as _;
use slipway_proto::embedding::reindex_response::Event;
use slipway_proto::embedding::{ReindexRequest, ReindexResponse};
use slipway_rpc::{Fault, Reason};

use super::*;

async fn reindex(world: &World, project: ProjectId, workspace: Uuid) -> Result<Vec<ReindexResponse>, Status> {
    let request = ctx(project).request(ReindexRequest { workspace_id: workspace.to_string() });
    let stream = world.client().reindex(request).await?.into_inner();
    let steps: Vec<_> = tokio::time::timeout(PATIENCE, stream.collect()).await.expect("the stream ends");
    steps.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_re_index_tells_its_progress_and_ends_ready() {
    let embedder = Arc::new(CountingEmbedder::default());
    let world = World::start(Model::Counting(embedder.clone())).await;
    let (p, w) = (project(1), Uuid::now_v7());
    world.commit(p, w, &chart()).await;
    world.hybrid(p, w, 1).await;
    world.files.take_reads();
    embedder.texts.store(0, Ordering::SeqCst);
    let steps = reindex(&world, p, w).await.unwrap();
    let stored: Vec<_> = steps.iter().filter(|s| s.sequence > 0).map(|s| s.sequence).collect();
    assert_eq!(stored, (1..=stored.len() as u64).collect::<Vec<_>>());
    let Some(Event::Ready(index)) = &steps.last().unwrap().event else { panic!("{steps:?}") };
    assert_eq!((index.revision_number, index.state()), (1, IndexState::Ready));
    assert!(steps.iter().rev().skip(1).all(|s| matches!(s.event, Some(Event::Progress(_) | Event::Heartbeat(_)))));
    assert_eq!(world.files.take_reads(), 6, "every file is chunked again");
    assert_eq!(embedder.texts.load(Ordering::SeqCst), 0, "the vectors are known");
    assert_eq!(world.search(p, w, "gateway replicas").await.unwrap().mode(), SearchMode::Hybrid);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_was_never_indexed_can_be() {
    let world = World::start(Model::None).await;
    let (p, w) = (project(1), Uuid::now_v7());
    world.files.commit(p, w, &chart());
    let steps = reindex(&world, p, w).await.unwrap();
    assert!(matches!(steps.last().unwrap().event, Some(Event::Ready(_))));
    assert!(!world.search(p, w, "gateway").await.unwrap().hits.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_workspaces_are_not_indexed() {
    let world = World::start(Model::None).await;
    let (p, w) = (project(1), Uuid::now_v7());
    world.commit(p, w, &chart()).await;
    let refused = reindex(&world, p, Uuid::now_v7()).await.unwrap_err();
    assert_eq!(Fault::from_status(&refused).reason(), Reason::WorkspaceNotFound);
    let refused = reindex(&world, project(2), w).await.unwrap_err();
    assert_eq!(Fault::from_status(&refused).reason(), Reason::WorkspaceNotFound);
    let refused = reindex(&world, p, Uuid::nil()).await.unwrap_err();
    assert_eq!(Fault::from_status(&refused).reason(), Reason::WorkspaceNotFound);
    world.stop().await;
}
