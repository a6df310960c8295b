//! The use cases: searching, choosing files, embedding, and following the file store.

mod build;
mod reindex;
mod search;
mod vectors;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_rpc::Ctx;
use slipway_storage::{NewJob, Queue, QueueSettings, Tx};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use reindex::Step;
pub(crate) use search::{Search, SearchAnswer, Selection};

use crate::clients::Files;
use crate::embedder::{self, Embedding};
use crate::error::Error;
use crate::index::{DirLock, EdgeIndex, Index, Tenant};
use crate::model::state::{Model, WorkspaceIndex};
use crate::store::{Records, Wanted};

const BUILDS: &str = "embedding.build";
const BUILDS_AT_ONCE: usize = 4;
const VECTORS: &str = "embedding.vectors";
/// Workspaces whose vectors are computed in turn, so that a large one does not keep the others waiting.
const VECTORS_AT_ONCE: usize = 4;
const MANIFESTS_KEPT: u64 = 500;
const WATCHERS_BEHIND: usize = 256;
const TIDY_EVERY: Duration = Duration::from_secs(30);

/// The paths of a build's files and the hash of what each holds.
pub(crate) type Manifest = HashMap<String, String>;

/// What a build job carries.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct BuildJob {
    workspace: Uuid,
    build: u64,
    /// Chunk every file again.
    anew: bool,
}

/// The service.
pub(crate) struct Service {
    records: Records,
    index: Index,
    embedding: Embedding,
    files: Files,
    builds: Queue,
    vectors: Queue,
    /// The workspace whose index has changed.
    changed: broadcast::Sender<Uuid>,
    manifests: moka::future::Cache<(Tenant, u64), Arc<Manifest>>,
    /// One build of a workspace at a time.
    building: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>,
    written: AtomicBool,
}

impl Service {
    pub(crate) fn new(records: Records, index: Index, embedding: Embedding, files: Files) -> Self {
        let queue = |kind, at_once| Queue::new(records.store().clone(), QueueSettings::new(kind, at_once));
        Self {
            builds: queue(BUILDS, BUILDS_AT_ONCE),
            vectors: queue(VECTORS, VECTORS_AT_ONCE),
            changed: broadcast::channel(WATCHERS_BEHIND).0,
            manifests: moka::future::Cache::new(MANIFESTS_KEPT),
            building: Mutex::default(),
            written: AtomicBool::new(false),
            records,
            index,
            embedding,
            files,
        }
    }

    /// The index of a workspace.
    pub(crate) async fn get_index(&self, ctx: &Ctx, workspace: Uuid) -> Result<WorkspaceIndex, Error> {
        // Until the engine is open nobody knows whether it still holds what the record says.
        self.index.engine().await?;
        self.records.find_index(ctx.project, workspace).await?.ok_or(Error::IndexNotFound)
    }

    /// Whether there is an embedding model.
    pub(crate) fn model(&self) -> Model {
        match self.embedding.state() {
            embedder::State::Loading => Model::Loading,
            embedder::State::Ready(_) => Model::Ready,
            embedder::State::Absent(why) => Model::Absent(why.to_string()),
        }
    }

    /// Embeds texts with the model that the index uses.
    pub(crate) async fn embed_texts(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
        match self.embedding.settled().await {
            embedder::State::Ready(embedder) => self.embedding.embed(&embedder, texts, true).await,
            embedder::State::Absent(why) => Err(Error::EmbedderUnavailable(why.to_string())),
            embedder::State::Loading => Err(Error::EmbedderUnavailable("the embedding model is being loaded".to_owned())),
        }
    }

    /// A workspace has a new head: notes it, and queues the build that brings the index there.
    pub(crate) async fn revision_committed(&self, wanted: Wanted, traceparent: &str) -> Result<(), Error> {
        let mut tx = self.records.begin().await?;
        if let Some(index) = self.records.want(&tx, wanted, false).await? {
            self.enqueue_build(&mut tx, &index, false, traceparent).await?;
        }
        tx.commit().await?;
        self.notify(wanted.tenant.workspace);
        Ok(())
    }

    /// A workspace is gone: so is everything of it here.
    pub(crate) async fn workspace_deleted(&self, tenant: Tenant) -> Result<(), Error> {
        let tx = self.records.begin().await?;
        self.records.delete_workspace(&tx, tenant).await?;
        tx.commit().await?;
        // A build that is under way finds its record gone and stops; what it has written goes with the rest.
        let lock = self.lock_of(tenant.workspace);
        let _building = lock.lock().await;
        self.clear(tenant).await?;
        self.written.store(true, Ordering::Relaxed);
        self.notify(tenant.workspace);
        Ok(())
    }

    /// Opens the engine. One that had to be begun anew is filled again by builds of every workspace.
    pub(crate) async fn open_index(&self, dir: PathBuf, lock: DirLock) -> Result<(), Error> {
        let opened = tokio::task::spawn_blocking(move || EdgeIndex::open(&dir, lock)).await;
        let (engine, begun_anew) =
            opened.map_err(|panic| Error::Index(crate::index::IndexError::Engine(panic.to_string())))??;
        if begun_anew {
            let mut tx = self.records.begin().await?;
            for index in self.records.forget_all(&tx).await? {
                self.enqueue_build(&mut tx, &index, true, "").await?;
            }
            tx.commit().await?;
            engine.confirm()?;
        }
        self.index.set(Arc::new(engine));
        Ok(())
    }

    /// Removes a workspace from the engine.
    async fn clear(&self, tenant: Tenant) -> Result<(), Error> {
        let engine = self.index.engine().await?;
        engine.clear(tenant).await?;
        Ok(engine.flush().await?)
    }

    async fn tidy(&self) -> Result<(), Error> {
        let engine = self.index.engine().await?;
        engine.optimize().await?;
        Ok(engine.flush().await?)
    }

    /// Lets go of the engine.
    pub(crate) async fn close_index(&self) {
        self.index.close().await;
    }

    /// Loads the embedding model as soon as there is one, and then has what was indexed without it filled in.
    pub(crate) async fn load_model(&self, dir: Option<PathBuf>, shutdown: &CancellationToken) -> Result<(), Error> {
        match dir {
            Some(dir) => self.embedding.load(dir, shutdown).await,
            None => self.embedding.set_absent("no embedding model: embedding.model_dir is not set".to_owned()),
        }
        if self.model() != Model::Ready {
            return Ok(());
        }
        let mut tx = self.records.begin().await?;
        for index in self.records.list_without_vectors().await? {
            self.enqueue_vectors(&mut tx, &index, "").await?;
        }
        Ok(tx.commit().await?)
    }

    /// Works on builds until `shutdown`.
    pub(crate) async fn run_builds(self: Arc<Self>, shutdown: CancellationToken) {
        let queue = self.builds.clone();
        queue.run(shutdown, move |lease| Box::pin(self.clone().build(lease))).await;
    }

    /// Works on vectors until `shutdown`.
    pub(crate) async fn run_vectors(self: Arc<Self>, shutdown: CancellationToken) {
        let queue = self.vectors.clone();
        queue.run(shutdown, move |lease| Box::pin(self.clone().compute_vectors(lease))).await;
    }

    /// Has the engine rearrange itself now and then, when it was written to and no build is under way.
    pub(crate) async fn run_tidying(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(TIDY_EVERY) => {}
            }
            let idle = self.building.lock().unwrap_or_else(PoisonError::into_inner).values().all(|lock| lock.try_lock().is_ok());
            if !idle || !self.written.swap(false, Ordering::Relaxed) {
                continue;
            }
            // It may take minutes: a stop does not wait for it.
            let tidied = tokio::select! {
                () = shutdown.cancelled() => return,
                tidied = self.tidy() => tidied,
            };
            if let Err(error) = tidied {
                tracing::warn!(error = &error as &dyn std::error::Error, "the search index cannot be tidied");
            }
        }
    }

    async fn enqueue_build(&self, tx: &mut Tx, index: &WorkspaceIndex, anew: bool, traceparent: &str) -> Result<(), Error> {
        let job = BuildJob { workspace: index.workspace, build: index.wanted, anew };
        self.builds.enqueue_and_start(tx, new_job(BUILDS, index, job, traceparent)).await?;
        Ok(())
    }

    async fn enqueue_vectors(&self, tx: &mut Tx, index: &WorkspaceIndex, traceparent: &str) -> Result<(), Error> {
        let job = BuildJob { workspace: index.workspace, build: index.built, anew: false };
        self.vectors.enqueue_and_start(tx, new_job(VECTORS, index, job, traceparent)).await?;
        Ok(())
    }

    fn notify(&self, workspace: Uuid) {
        // Nobody may be watching.
        let _ = self.changed.send(workspace);
    }

    fn lock_of(&self, workspace: Uuid) -> Arc<tokio::sync::Mutex<()>> {
        let mut building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        building.retain(|_, lock| Arc::strong_count(lock) > 1);
        building.entry(workspace).or_default().clone()
    }
}

fn new_job(kind: &'static str, index: &WorkspaceIndex, job: BuildJob, traceparent: &str) -> NewJob {
    NewJob {
        kind,
        key: format!("{}:{}", job.workspace, job.build),
        project_id: index.project.0,
        // Three plain fields: they always have a JSON form.
        payload: serde_json::to_vec(&job).unwrap_or_default(),
        traceparent: traceparent.to_owned(),
    }
}
