//! The use cases: searching, choosing files, embedding, and following the file store.

mod audit;
mod build;
mod choose;
mod digests;
mod engine;
mod models;
mod moving;
mod reindex;
mod search;
mod switch;
mod ties;
mod vectors;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_rpc::Ctx;
use slipway_storage::{NewJob, Queue, QueueSettings, Tx};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use audit::{Audited, Finding, Kind};
pub(crate) use build::points_of;
pub(crate) use choose::{Chooser, Corpus};
pub(crate) use engine::Source;
pub(crate) use models::{Making, Models};
pub(crate) use reindex::Step;
pub(crate) use search::{Hit, Search, SearchAnswer, Selection};

use crate::clients::Files;
use crate::embedder::{self, Space};
use crate::error::Error;
use crate::index::{Index, IndexError, Server, Tenant, VectorIndex};
use crate::model::state::{Model, WorkspaceIndex};
use crate::store::{Records, Wanted};

const BUILDS: &str = "embedding.build";
const BUILDS_AT_ONCE: usize = 4;
const VECTORS: &str = "embedding.vectors";
/// Workspaces whose vectors are computed in turn, so that a large one does not keep the others waiting.
const VECTORS_AT_ONCE: usize = 4;
const MOVES: &str = "embedding.moves";
/// Workspaces that move to another engine at once: what is searched and built has the rest of the machine.
const MOVES_AT_ONCE: usize = 2;
const MANIFESTS_KEPT: u64 = 500;
const WATCHERS_BEHIND: usize = 256;

/// The files of a build, by path.
pub(crate) type Manifest = HashMap<String, Entry>;

/// A file of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The hash of its content.
    pub(crate) blob: String,
    /// How many chunks it has.
    pub(crate) chunks: usize,
}

/// What a build job carries: it brings the workspace to whatever is wanted when it starts. There is one for a workspace at
/// a time, so that the job's lease is the right to build: no two replicas build the same one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct BuildJob {
    workspace: Uuid,
}

/// What a vectors job carries.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct VectorsJob {
    workspace: Uuid,
    build: u64,
}

/// What is said of an index beside its record.
#[derive(Debug)]
pub(crate) struct Described {
    /// The model of its vectors.
    pub(crate) model: Model,
    /// What they are of, when that is known.
    pub(crate) space: Option<Space>,
    /// The model that it is moving to.
    pub(crate) moving_to: Option<String>,
}

/// The service.
pub(crate) struct Service {
    records: Records,
    index: Index,
    chooser: Chooser,
    models: Models,
    files: Files,
    builds: Queue,
    vectors: Queue,
    moves: Queue,
    /// The server that the engine is on, if it is on one.
    server: OnceLock<Server>,
    /// One at a time ends a switch.
    switching: tokio::sync::Mutex<()>,
    /// The workspace whose index has changed.
    changed: broadcast::Sender<Uuid>,
    /// By workspace, build, revision and engine: a build of a revision is the same on every replica, for ever.
    manifests: moka::future::Cache<(Tenant, u64, Option<Uuid>, String), Arc<Manifest>>,
    /// Builds under way in this process.
    building: AtomicUsize,
    written: AtomicBool,
}

impl Service {
    pub(crate) fn new(records: Records, index: Index, models: Models, files: Files, lease: Duration) -> Self {
        let settings = |kind, at_once| QueueSettings { lease, ..QueueSettings::new(kind, at_once) };
        let queue = |kind, at_once| Queue::new(records.store().clone(), settings(kind, at_once));
        Self {
            builds: queue(BUILDS, BUILDS_AT_ONCE),
            vectors: queue(VECTORS, VECTORS_AT_ONCE),
            moves: queue(MOVES, MOVES_AT_ONCE),
            server: OnceLock::new(),
            switching: tokio::sync::Mutex::default(),
            changed: broadcast::channel(WATCHERS_BEHIND).0,
            manifests: moka::future::Cache::new(MANIFESTS_KEPT),
            building: AtomicUsize::new(0),
            written: AtomicBool::new(false),
            chooser: Chooser::new(index.clone()),
            records,
            index,
            models,
            files,
        }
    }

    /// The index of a workspace.
    pub(crate) async fn get_index(&self, ctx: &Ctx, workspace: Uuid) -> Result<WorkspaceIndex, Error> {
        // Until the engine is open nobody knows whether it still holds what the record says.
        self.index.engine().await?;
        self.records.find_index(ctx.project, workspace).await?.ok_or(Error::IndexNotFound)
    }

    /// Whether there is an embedding model: ours.
    pub(crate) fn model(&self) -> Model {
        models::state_of(&self.models.ours)
    }

    /// The same of the model of an engine.
    pub(crate) fn model_of(&self, engine: &str) -> Model {
        match self.models.of(engine) {
            Ok(embedding) => models::state_of(&embedding),
            Err(why) => Model::Absent(why.to_string()),
        }
    }

    /// What our vectors are of.
    pub(crate) fn space(&self) -> &Space {
        self.models.ours.space()
    }

    /// What the vectors of an engine are of, when that is known.
    pub(crate) fn space_of(&self, engine: &str) -> Option<Space> {
        self.models.of(engine).ok().map(|embedding| embedding.space().clone())
    }

    /// What is to be said of an index beside its record.
    pub(crate) fn described(&self, index: &WorkspaceIndex) -> Described {
        let ours = self.index.ours().unwrap_or_default();
        let moves = index.built > 0 && index.engine != ours;
        Described {
            model: self.model_of(&index.engine),
            space: self.space_of(&index.engine),
            moving_to: moves.then(|| self.space().model.clone()),
        }
    }

    /// The engine of that name. Another replica may have begun one that is not open here yet.
    async fn engine_named(&self, name: &str) -> Result<Arc<dyn VectorIndex>, Error> {
        let missing = match self.index.engines().await?.named(name) {
            Err(error @ IndexError::Missing(_)) => error,
            found => return Ok(found?),
        };
        let Some(server) = self.server.get() else { return Err(missing.into()) };
        let other: Arc<dyn VectorIndex> = Arc::new(server.other(name).await?.ok_or(missing)?);
        self.models.add(name, "the index is moving to another model; until this process knows it, search is by words");
        self.index.add(other.clone());
        Ok(other)
    }

    /// Embeds texts with the model that the index uses.
    pub(crate) async fn embed_texts(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
        match self.models.ours.settled().await {
            embedder::State::Ready(embedder) => self.models.ours.embed(&embedder, texts, true).await,
            embedder::State::Absent(why) => Err(Error::EmbedderUnavailable(why.to_string())),
            embedder::State::Loading => Err(Error::EmbedderUnavailable("the embedding model is being loaded".to_owned())),
        }
    }

    /// A workspace has a new head: notes it, and queues the build that brings the index there.
    pub(crate) async fn revision_committed(&self, wanted: Wanted, traceparent: &str) -> Result<(), Error> {
        let mut tx = self.records.begin().await?;
        if let Some(index) = self.records.want(&tx, wanted, false).await? {
            self.enqueue_build(&mut tx, &index, traceparent).await?;
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
        // A build that is under way, here or elsewhere, finds its record gone, and clears what it has written meanwhile.
        self.clear(tenant).await?;
        self.written.store(true, Ordering::Relaxed);
        self.notify(tenant.workspace);
        Ok(())
    }

    /// Loads the embedding model as soon as there is one.
    pub(crate) async fn load_model(&self, dir: Option<PathBuf>, shutdown: &CancellationToken) -> Result<(), Error> {
        match dir {
            Some(dir) => self.models.ours.load(dir, shutdown).await,
            None => self.models.ours.set_absent("no embedding model: embedding.model_dir is not set".to_owned()),
        }
        Ok(())
    }

    /// Has what was indexed without a model filled in, when there is one.
    pub(crate) async fn fill_in_all(&self, shutdown: &CancellationToken) -> Result<(), Error> {
        if self.model() != Model::Ready {
            return Ok(());
        }
        if !self.can_work(shutdown).await {
            return Ok(());
        }
        self.fill_in(true).await
    }

    /// Has vectors computed for what lacks them; what the model failed at only if `failed`.
    async fn fill_in(&self, failed: bool) -> Result<(), Error> {
        let engine = self.index.engine().await?;
        let mut tx = self.records.begin().await?;
        for index in self.records.list_without_vectors(engine.name()).await? {
            if !index.vector_failure.is_empty() && !failed {
                continue;
            }
            let tenant = Tenant { project: index.project, workspace: index.workspace };
            self.enqueue_vectors(&mut tx, tenant, index.built, "").await?;
        }
        Ok(tx.commit().await?)
    }

    /// Works on builds until `shutdown`.
    pub(crate) async fn run_builds(self: Arc<Self>, shutdown: CancellationToken) {
        if !self.can_work(&shutdown).await {
            return;
        }
        let queue = self.builds.clone();
        queue.run(shutdown, move |lease| Box::pin(self.clone().build(lease))).await;
    }

    /// Waits for the engine: a replica that has none yet takes no job from one that has.
    async fn can_work(&self, shutdown: &CancellationToken) -> bool {
        tokio::select! {
            () = shutdown.cancelled() => false,
            opened = self.index.opened() => opened,
        }
    }

    /// Works on vectors until `shutdown`.
    pub(crate) async fn run_vectors(self: Arc<Self>, shutdown: CancellationToken) {
        if !self.can_work(&shutdown).await {
            return;
        }
        let queue = self.vectors.clone();
        queue.run(shutdown, move |lease| Box::pin(self.clone().compute_vectors(lease))).await;
    }

    /// Works on moves to another engine until `shutdown`.
    pub(crate) async fn run_moves(self: Arc<Self>, shutdown: CancellationToken) {
        if !self.can_work(&shutdown).await {
            return;
        }
        let queue = self.moves.clone();
        queue.run(shutdown, move |lease| Box::pin(self.clone().move_workspace(lease))).await;
    }

    /// Removes a workspace from the engines.
    async fn clear(&self, tenant: Tenant) -> Result<(), Error> {
        for engine in self.index.engines().await?.all() {
            engine.clear(tenant).await?;
            engine.flush().await?;
        }
        Ok(())
    }

    async fn enqueue_build(&self, tx: &mut Tx, index: &WorkspaceIndex, traceparent: &str) -> Result<(), Error> {
        let payload = serde_json::to_vec(&BuildJob { workspace: index.workspace }).unwrap_or_default();
        let (key, project_id, traceparent) = (index.workspace.to_string(), index.project.0, traceparent.to_owned());
        let job = NewJob { kind: BUILDS, key, project_id, payload, traceparent };
        Ok(self.builds.enqueue_and_start(tx, job).await?)
    }

    async fn enqueue_move(&self, tx: &mut Tx, index: &WorkspaceIndex) -> Result<(), Error> {
        let payload = serde_json::to_vec(&BuildJob { workspace: index.workspace }).unwrap_or_default();
        let (key, project_id, traceparent) = (index.workspace.to_string(), index.project.0, String::new());
        let job = NewJob { kind: MOVES, key, project_id, payload, traceparent };
        Ok(self.moves.enqueue_and_start(tx, job).await?)
    }

    async fn enqueue_vectors(&self, tx: &mut Tx, tenant: Tenant, build: u64, traceparent: &str) -> Result<(), Error> {
        let payload = serde_json::to_vec(&VectorsJob { workspace: tenant.workspace, build }).unwrap_or_default();
        let (key, project_id) = (format!("{}:{build}", tenant.workspace), tenant.project.0);
        let job = NewJob { kind: VECTORS, key, project_id, payload, traceparent: traceparent.to_owned() };
        Ok(self.vectors.enqueue_and_start(tx, job).await?)
    }

    fn notify(&self, workspace: Uuid) {
        // Nobody may be watching.
        let _ = self.changed.send(workspace);
    }
}
