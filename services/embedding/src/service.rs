//! The use cases: searching, choosing files, embedding, and following the file store.

mod audit;
mod build;
mod choose;
mod digests;
mod engine;
mod reindex;
mod search;
mod ties;
mod vectors;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
pub(crate) use reindex::Step;
pub(crate) use search::{Hit, Search, SearchAnswer, Selection};

use crate::clients::Files;
use crate::embedder::{self, Embedding, Space};
use crate::error::Error;
use crate::index::{Index, Tenant};
use crate::model::state::{Model, WorkspaceIndex};
use crate::store::{Records, Wanted};

const BUILDS: &str = "embedding.build";
const BUILDS_AT_ONCE: usize = 4;
const VECTORS: &str = "embedding.vectors";
/// Workspaces whose vectors are computed in turn, so that a large one does not keep the others waiting.
const VECTORS_AT_ONCE: usize = 4;
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

/// The service.
pub(crate) struct Service {
    records: Records,
    index: Index,
    chooser: Chooser,
    embedding: Embedding,
    files: Files,
    builds: Queue,
    vectors: Queue,
    /// The workspace whose index has changed.
    changed: broadcast::Sender<Uuid>,
    /// By workspace, build and revision: a build of a revision is the same on every replica, for ever.
    manifests: moka::future::Cache<(Tenant, u64, Option<Uuid>), Arc<Manifest>>,
    /// Builds under way in this process.
    building: AtomicUsize,
    written: AtomicBool,
}

impl Service {
    pub(crate) fn new(records: Records, index: Index, embedding: Embedding, files: Files, lease: Duration) -> Self {
        let settings = |kind, at_once| QueueSettings { lease, ..QueueSettings::new(kind, at_once) };
        let queue = |kind, at_once| Queue::new(records.store().clone(), settings(kind, at_once));
        Self {
            builds: queue(BUILDS, BUILDS_AT_ONCE),
            vectors: queue(VECTORS, VECTORS_AT_ONCE),
            changed: broadcast::channel(WATCHERS_BEHIND).0,
            manifests: moka::future::Cache::new(MANIFESTS_KEPT),
            building: AtomicUsize::new(0),
            written: AtomicBool::new(false),
            chooser: Chooser::new(index.clone()),
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
            embedder::State::Ready(_) => match self.embedding.trouble() {
                Some(why) => Model::Failing(why),
                None => Model::Ready,
            },
            embedder::State::Absent(why) => Model::Absent(why.to_string()),
        }
    }

    /// The same for a search: one that has failed is asked again after a rest.
    fn model_to_ask(&self) -> Model {
        match self.model() {
            Model::Failing(_) if !self.embedding.rests() => Model::Ready,
            model => model,
        }
    }

    /// What the vectors are of.
    pub(crate) fn space(&self) -> &Space {
        self.embedding.space()
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
            Some(dir) => self.embedding.load(dir, shutdown).await,
            None => self.embedding.set_absent("no embedding model: embedding.model_dir is not set".to_owned()),
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

    /// Removes a workspace from the engine.
    async fn clear(&self, tenant: Tenant) -> Result<(), Error> {
        let engine = self.index.engine().await?;
        engine.clear(tenant).await?;
        Ok(engine.flush().await?)
    }

    async fn enqueue_build(&self, tx: &mut Tx, index: &WorkspaceIndex, traceparent: &str) -> Result<(), Error> {
        let payload = serde_json::to_vec(&BuildJob { workspace: index.workspace }).unwrap_or_default();
        let (key, project_id, traceparent) = (index.workspace.to_string(), index.project.0, traceparent.to_owned());
        let job = NewJob { kind: BUILDS, key, project_id, payload, traceparent };
        Ok(self.builds.enqueue_and_start(tx, job).await?)
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
