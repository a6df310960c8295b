//! Several replicas of the service on one PostgreSQL and one engine. The engine is the one in process, which they share here as
//! they would a server.

use std::collections::HashSet;

use async_trait::async_trait;
use slipway_proto::embedding::ReindexRequest;
use slipway_proto::embedding::reindex_response::Event;
use slipway_storage::sea_orm::{ConnectionTrait as _, Statement};
use slipway_testkit::postgres::Postgres;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::*;
use crate::index::{EdgeIndex, Found, IndexError, Point, Query, Tenant, VectorIndex, open_for_test};
use crate::model::chunk::{chunk, text_of};
use crate::service::Source;

/// Short, so that what a dead replica had is taken over soon.
const LEASE: Duration = Duration::from_secs(2);

/// The shared engine as one replica has it: its writes can be held up.
struct Shared {
    engine: Arc<EdgeIndex>,
    held_up: watch::Sender<bool>,
    /// Writes that wait.
    waiting: watch::Sender<usize>,
}

#[async_trait]
impl VectorIndex for Shared {
    fn name(&self) -> &str {
        self.engine.name()
    }

    async fn upsert(&self, tenant: Tenant, build: u64, points: Vec<Point>) -> Result<(), IndexError> {
        if *self.held_up.borrow() {
            self.waiting.send_modify(|n| *n += 1);
            self.held_up.subscribe().wait_for(|held_up| !held_up).await.unwrap();
        }
        self.engine.upsert(tenant, build, points).await
    }

    async fn set_vectors(&self, tenant: Tenant, vectors: Vec<(Uuid, Vec<f32>)>) -> Result<(), IndexError> {
        self.engine.set_vectors(tenant, vectors).await
    }

    async fn remove(&self, tenant: Tenant, build: u64, ids: Vec<Uuid>) -> Result<(), IndexError> {
        self.engine.remove(tenant, build, ids).await
    }

    async fn clear(&self, tenant: Tenant) -> Result<(), IndexError> {
        self.engine.clear(tenant).await
    }

    async fn ids(&self, tenant: Tenant, without_vector: bool) -> Result<Vec<Uuid>, IndexError> {
        self.engine.ids(tenant, without_vector).await
    }

    async fn points(&self, tenant: Tenant, ids: Vec<Uuid>) -> Result<Vec<Point>, IndexError> {
        self.engine.points(tenant, ids).await
    }

    async fn present(&self, ids: Vec<Uuid>) -> Result<Vec<Uuid>, IndexError> {
        self.engine.present(ids).await
    }

    async fn erase(&self, ids: Vec<Uuid>) -> Result<(), IndexError> {
        self.engine.erase(ids).await
    }

    async fn search(&self, tenant: Tenant, query: Query) -> Result<Vec<Found>, IndexError> {
        self.engine.search(tenant, query).await
    }

    async fn flush(&self) -> Result<(), IndexError> {
        self.engine.flush().await
    }

    async fn optimize(&self) -> Result<bool, IndexError> {
        self.engine.optimize().await
    }

    async fn take_over(&self) -> Result<(), IndexError> {
        self.engine.take_over().await
    }

    async fn destroy(&self) -> Result<(), IndexError> {
        self.engine.destroy().await
    }

    /// The others go on with it.
    async fn close(&self) {}
}

/// A replica on a runtime of its own, which can be killed as a process can.
struct Replica {
    runtime: Runtime,
    engine: Arc<Shared>,
    world: World,
}

impl Replica {
    async fn start(url: &str, files: &FileStore, engine: &Arc<EdgeIndex>, embedder: &Arc<CountingEmbedder>) -> Replica {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let engine = Arc::new(Shared { engine: engine.clone(), held_up: watch::channel(false).0, waiting: watch::channel(0).0 });
        let parts = Parts { engine: Some(Source::Given(engine.clone())), lease: LEASE, ..Parts::default() };
        let (url, files, embedder) = (url.to_owned(), files.clone(), embedder.clone());
        let world = runtime.spawn(async move {
            World::start_with(tempfile::tempdir().unwrap(), &url, files, Model::Counting(embedder), parts).await
        });
        let world = world.await.unwrap();
        Replica { runtime, engine, world }
    }

    /// Publishes as the replica's own process would.
    async fn publish(&self, event: slipway_bus::Event) {
        let bus = self.world.bus.clone();
        self.runtime.spawn(async move { bus.publish(&event).await.unwrap() }).await.unwrap();
    }

    async fn writes_wait(&self, count: usize) {
        let mut waiting = self.engine.waiting.subscribe();
        tokio::time::timeout(PATIENCE, waiting.wait_for(|n| *n >= count)).await.expect("writes come").unwrap();
    }

    /// Ends it between two instructions: nothing is given back, nothing is said.
    fn kill(self) {
        self.runtime.shutdown_background();
    }

    /// Ends it in order.
    async fn stop(self) {
        let Replica { runtime, world, .. } = self;
        runtime.spawn(world.stop()).await.unwrap();
        runtime.shutdown_background();
    }
}

async fn two(files: &FileStore) -> Option<(Replica, Replica, Arc<EdgeIndex>, TempDir, String)> {
    let url = Postgres::shared().await?.database().await.unwrap();
    let (dir, engine) = open_for_test();
    let (engine, embedder) = (Arc::new(engine), Arc::new(CountingEmbedder::default()));
    let first = Replica::start(&url, files, &engine, &embedder).await;
    let second = Replica::start(&url, files, &engine, &embedder).await;
    Some((first, second, engine, dir, url))
}

fn ids_of(tenant: Tenant, files: &[(&str, &str)]) -> HashSet<Uuid> {
    let chunks = |path: &str, text: &str| {
        let blob = file_store::hash_of(text.as_bytes());
        let count = text_of(text.as_bytes()).map_or(0, |text| chunk(path, text).len());
        (0..count as u32).map(|ordinal| tenant.point_id(path, &blob, ordinal)).collect::<Vec<_>>()
    };
    files.iter().flat_map(|(path, text)| chunks(path, text)).collect()
}

/// Waits until the engine holds exactly these.
async fn settles(engine: &EdgeIndex, tenant: Tenant, expected: &HashSet<Uuid>) {
    let start = Instant::now();
    loop {
        let ids: HashSet<Uuid> = engine.ids(tenant, false).await.unwrap().into_iter().collect();
        if ids == *expected && engine.ids(tenant, true).await.unwrap().is_empty() {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{} chunks, not {}", ids.len(), expected.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until nothing is queued and no lease is left.
async fn no_jobs(url: &str) {
    let store = slipway_storage::Store::open(&store(url), "embedding").await.unwrap();
    let start = Instant::now();
    while !store.read().query_all_raw(Statement::from_string(store.backend(), "SELECT id FROM job")).await.unwrap().is_empty() {
        assert!(start.elapsed() < PATIENCE, "jobs are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_revisions_and_a_kill_end_at_the_head_with_exactly_its_chunks() {
    let files = FileStore::default();
    let Some((first, second, engine, _dir, url)) = two(&files).await else { return };
    let tenant = Tenant { project: project(1), workspace: Uuid::now_v7() };
    let texts: Vec<_> = (0..20).map(|n| format!("# Revision {n}\n\ntext{n} of the revision\n")).collect();
    // Files change, go, and come back as they were: what one build removes, a later one needs.
    let revision = |n: usize| {
        let mut files = chart();
        files.push(("changing.md", &texts[n]));
        files.push(("coming-and-going.md", &texts[n % 3]));
        files.remove(n % 4);
        files
    };
    for n in 0..10 {
        let event = files.commit(tenant.project, tenant.workspace, &revision(n));
        if n % 2 == 0 { first.publish(event).await } else { second.publish(event).await }
    }
    // The first one is caught in the middle of a build, which it starts when nobody else is at it, and dies there.
    second.world.hybrid(tenant.project, tenant.workspace, 10).await;
    settles(&engine, tenant, &ids_of(tenant, &revision(9))).await;
    no_jobs(&url).await;
    first.engine.held_up.send_replace(true);
    first.publish(files.commit(tenant.project, tenant.workspace, &revision(10))).await;
    first.writes_wait(1).await;
    second.publish(files.commit(tenant.project, tenant.workspace, &revision(11))).await;
    first.kill();
    for n in 12..20 {
        second.publish(files.commit(tenant.project, tenant.workspace, &revision(n))).await;
    }
    let head = revision(19);
    second.world.hybrid(tenant.project, tenant.workspace, 20).await;
    settles(&engine, tenant, &ids_of(tenant, &head)).await;
    no_jobs(&url).await;
    let index = second.world.index(tenant.project, tenant.workspace).await.unwrap();
    assert_eq!(index.file_count as usize, head.len());
    assert_eq!(index.chunk_count as usize, engine.ids(tenant, false).await.unwrap().len());
    assert_eq!(paths(&second.world.search(tenant.project, tenant.workspace, "text19").await.unwrap())[0], "changing.md");

    // One that starts later finds everything there, and forgets nothing.
    let third = Replica::start(&url, &files, &engine, &Arc::default()).await;
    let index = third.world.index(tenant.project, tenant.workspace).await.unwrap();
    assert_eq!((index.state(), index.revision_number), (IndexState::Ready, 20));
    assert_eq!(paths(&third.world.search(tenant.project, tenant.workspace, "text19").await.unwrap())[0], "changing.md");
    third.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_busy_replica_is_asked_another_one_does_and_takes_over_when_it_dies() {
    let files = FileStore::default();
    let Some((first, second, engine, _dir, _url)) = two(&files).await else { return };
    let tenant = |n: u128| Tenant { project: project(1), workspace: Uuid::from_u128(n) };
    first.engine.held_up.send_replace(true);
    for n in 1..=4 {
        first.publish(files.commit(project(1), tenant(n).workspace, &chart())).await;
    }
    first.writes_wait(4).await;

    // Whoever does the work: the one that was asked tells how it goes.
    files.commit(project(1), tenant(5).workspace, &chart());
    let request = ctx(project(1)).request(ReindexRequest { workspace_id: tenant(5).workspace.to_string() });
    let mut steps = first.world.client().reindex(request).await.unwrap().into_inner();
    let last = tokio::time::timeout(PATIENCE, async {
        let mut last = None;
        while let Some(step) = steps.message().await.unwrap() {
            last = step.event;
        }
        last
    });
    assert!(matches!(last.await.expect("the stream ends"), Some(Event::Ready(_))));

    first.kill();
    for n in 1..=4 {
        second.world.hybrid(project(1), tenant(n).workspace, 1).await;
        settles(&engine, tenant(n), &ids_of(tenant(n), &chart())).await;
    }
    second.stop().await;
}
