//! Moving a workspace to our engine, when the model or the format has changed. It is filled beside the one that searches answer
//! from: its chunks are written there, their vectors computed or taken from the ledger, and all of it is looked at; then the
//! record moves in one transaction. What is committed meanwhile is built where the workspace is, and follows before the move.
//!
//! A kill leaves the workspace where it was: the record says where that is, and what was written elsewhere is found again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use slipway_proto::filestore::FileEntry;
use slipway_rpc::{Ctx, ProjectId};
use slipway_storage::{JobError, Lease};
use uuid::Uuid;

use super::build::{Attempt, Building, Purpose, Stop, ids_of, text_hash};
use super::{BuildJob, Service};
use crate::embedder;
use crate::error::Error;
use crate::index::{IndexError, Query, Tenant, VectorIndex};
use crate::model::chunk::embedded_text;
use crate::model::state::{Mode, WorkspaceIndex};
use crate::store::{Built, IndexedFile};

/// Files whose chunks are compared with what the file store has.
const SAMPLE: usize = 8;
/// Hits among which a chunk must be that is searched for by its own vector; others of its file may be equal to it.
const NEIGHBOURS: usize = 10;
/// What a vector is like itself, but for rounding.
const SAME: f64 = 0.99;
/// Chunks between two looks at the lease.
const BATCH: usize = 32;

/// What has been written to our engine: the file's content, and its chunks.
type Staged = HashMap<String, IndexedFile>;

impl Service {
    pub(super) async fn move_workspace(self: Arc<Self>, lease: Lease) -> Result<(), JobError> {
        let job: BuildJob = serde_json::from_slice(&lease.payload).map_err(|e| JobError::Fatal(e.into()))?;
        let tenant = Tenant { project: ProjectId(lease.project_id), workspace: job.workspace };
        let moved = {
            let _building = Building::start(&self.building);
            // A batch of vectors takes seconds: a stop does not wait for it.
            tokio::select! {
                () = lease.lost.cancelled() => Err(Stop::LeaseLost),
                moved = self.bring_over(tenant, &lease) => moved,
            }
        };
        self.written.store(true, Ordering::Relaxed);
        match moved {
            Ok(()) => {}
            Err(Stop::LeaseLost) => return Err(JobError::LeaseLost),
            // The workspace is where it was, and is searched there. Whoever looks for what is elsewhere asks again.
            Err(error) if lease.last_attempt => {
                tracing::warn!(error = &error as &dyn std::error::Error, workspace_id = %job.workspace, "a workspace cannot move yet");
            }
            Err(error) => return Err(JobError::Retry(Box::new(error))),
        }
        let tx = self.records.begin().await?;
        lease.complete(&tx).await?;
        tx.commit().await?;
        self.notify(job.workspace);
        self.move_on().await;
        Ok(())
    }

    /// Until it has moved, or has nothing to move.
    async fn bring_over(&self, tenant: Tenant, lease: &Lease) -> Result<(), Stop> {
        let engine = self.index.engine().await.map_err(Error::from)?;
        let mut staged = Staged::new();
        loop {
            let Some(index) = self.records.find_index(tenant.project, tenant.workspace).await? else {
                // It was deleted meanwhile: so is what was written for it.
                return Ok(engine.clear(tenant).await.map_err(Error::from)?);
            };
            if index.revision.is_none() || index.engine == engine.name() || lease.exhausted {
                return Ok(());
            }
            let attempt = Attempt { tenant, lease, engine: engine.clone(), index, purpose: Purpose::Move };
            if self.try_to_move(&attempt, &mut staged).await? {
                self.notify(tenant.workspace);
                return Ok(());
            }
        }
    }

    /// Stages the build that searches answer from, and moves to it. False when they answer from another one by then.
    async fn try_to_move(&self, attempt: &Attempt<'_>, staged: &mut Staged) -> Result<bool, Stop> {
        let Attempt { tenant, engine, index, .. } = attempt;
        let Some(revision) = index.revision else { return Ok(false) };
        let ctx = Ctx::background(index.project, index.user, "");
        let listed = self.files.list(&ctx, tenant.workspace, revision).await.map_err(Error::from)?;
        let paths: HashSet<&str> = listed.iter().map(|file| file.path.as_str()).collect();
        staged.retain(|path, _| paths.contains(path.as_str()));
        let same = |file: &&FileEntry| staged.get(&file.path).is_none_or(|known| known.blob != file.hash);
        let new: Vec<FileEntry> = listed.iter().filter(same).cloned().collect();
        for file in self.write_new(attempt, new, &ctx).await? {
            staged.insert(file.path.clone(), file);
        }
        let live: HashSet<Uuid> = staged.values().flat_map(|file| ids_of(*tenant, file)).collect();
        // What is left of attempts before this one, and of a time when the workspace was here before. Nobody answers from it.
        let mut stale = engine.ids(*tenant, false).await.map_err(Error::from)?;
        stale.retain(|id| !live.contains(id));
        engine.remove(*tenant, index.built, stale).await.map_err(Error::from)?;
        let by_vectors = match self.model_to_fill(index).await {
            Some(model) => {
                self.fill_staged(attempt, &live, &model).await?;
                true
            }
            None => false,
        };
        engine.flush().await.map_err(Error::from)?;
        self.verify(attempt, staged, &listed, by_vectors).await?;
        self.move_record(attempt, staged, &live).await
    }

    /// The model that fills the vectors before the move. None, and they follow after it, when there is none to wait for and
    /// searches go by words anyway.
    async fn model_to_fill(&self, index: &WorkspaceIndex) -> Option<embedder::State> {
        let model = self.models.ours.settled().await;
        let by_words = index.mode(&self.model_of(&index.engine)).0 == Mode::Lexical;
        (!by_words || matches!(model, embedder::State::Ready(_))).then_some(model)
    }

    /// Vectors for what lacks them in our engine: from the ledger, or computed and put there.
    async fn fill_staged(&self, attempt: &Attempt<'_>, live: &HashSet<Uuid>, model: &embedder::State) -> Result<(), Stop> {
        let Attempt { tenant, engine, lease, .. } = attempt;
        let without = engine.ids(*tenant, true).await.map_err(Error::from)?;
        let mut waiting: Vec<Uuid> = without.into_iter().filter(|id| live.contains(id)).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let embedder = match model {
            embedder::State::Ready(embedder) => embedder,
            embedder::State::Absent(why) => return Err(Error::EmbedderUnavailable(why.to_string()).into()),
            embedder::State::Loading => return Err(Error::EmbedderUnavailable("the model is being loaded".to_owned()).into()),
        };
        waiting.sort_unstable();
        for ids in waiting.chunks(embedder.batch(false).max(BATCH)) {
            if lease.lost.is_cancelled() {
                return Err(Stop::LeaseLost);
            }
            let points = engine.points(*tenant, ids.to_vec()).await.map_err(Error::from)?;
            let (vectors, _) = self.vectors_of(*tenant, &points, embedder).await?;
            engine.set_vectors(*tenant, vectors).await.map_err(Error::from)?;
        }
        Ok(())
    }

    /// Looks at what is to be answered from: every chunk is there, with its vector, and some are what the file store has.
    async fn verify(&self, attempt: &Attempt<'_>, staged: &Staged, listed: &[FileEntry], by_vectors: bool) -> Result<(), Stop> {
        let Attempt { tenant, engine, index, .. } = attempt;
        let wrong =
            |what: String| Stop::Failed(IndexError::Engine(format!("the new index is not what was written: {what}")).into());
        let present: HashSet<Uuid> = engine.ids(*tenant, false).await.map_err(Error::from)?.into_iter().collect();
        let without: HashSet<Uuid> = engine.ids(*tenant, true).await.map_err(Error::from)?.into_iter().collect();
        for file in staged.values() {
            if !ids_of(*tenant, file).all(|id| present.contains(&id) && !(by_vectors && without.contains(&id))) {
                return Err(wrong(format!("{} is not there as a whole", file.path)));
            }
        }
        let Some(revision) = index.revision else { return Ok(()) };
        let ctx = Ctx::background(index.project, index.user, "");
        let with_chunks = listed.iter().filter(|file| staged.get(&file.path).is_some_and(|known| known.chunk_count > 0));
        let every = (staged.len() / SAMPLE).max(1);
        for file in with_chunks.step_by(every).take(SAMPLE) {
            let (_, expected, _) = self.read_points(*tenant, revision, file.clone(), &ctx).await?;
            let mut found = engine.points(*tenant, expected.iter().map(|point| point.id).collect()).await.map_err(Error::from)?;
            found.sort_by_key(|point| expected.iter().position(|other| other.id == point.id));
            if found != expected {
                return Err(wrong(format!("the chunks of {} are others", file.path)));
            }
            if let Some(point) = expected.into_iter().next().filter(|_| by_vectors)
                && !self.is_found_by_its_vector(*tenant, engine.as_ref(), &point).await?
            {
                return Err(wrong(format!("a chunk of {} is not found by its vector", file.path)));
            }
        }
        Ok(())
    }

    async fn is_found_by_its_vector(
        &self,
        tenant: Tenant,
        engine: &dyn VectorIndex,
        point: &crate::index::Point,
    ) -> Result<bool, Error> {
        let known = self.records.find_vectors(tenant, &self.space().model, &[text_hash(point)]).await?;
        let Some(vector) = known.into_values().next() else { return Ok(false) };
        let paths = Some(vec![point.path.clone()]);
        let query = Query { words: String::new(), vector: Some(Arc::new(vector)), paths, limit: NEIGHBOURS };
        let found = engine.search(tenant, query).await?;
        let equal = |text: &str| text == embedded_text(&point.path, &point.title, &point.text);
        Ok(found.iter().any(|hit| {
            let it = &hit.point;
            hit.score > SAME && (it.id == point.id || equal(&embedded_text(&it.path, &it.title, &it.text)))
        }))
    }

    /// In one transaction, fenced by the lease: from now on searches answer from our engine. False when the workspace is no
    /// longer what was staged.
    async fn move_record(&self, attempt: &Attempt<'_>, staged: &Staged, live: &HashSet<Uuid>) -> Result<bool, Stop> {
        let Attempt { tenant, engine, index, lease, .. } = attempt;
        let without = engine.ids(*tenant, true).await.map_err(Error::from)?;
        let missing = without.iter().filter(|id| live.contains(id)).count() as u64;
        let built = Built {
            build: index.built,
            engine: engine.name().to_owned(),
            revision: index.revision.unwrap_or_default(),
            number: index.revision_number,
            files: staged.len() as u64,
            chunks: live.len() as u64,
            vectors: live.len() as u64 - missing,
        };
        let known = self.records.list_files(*tenant).await?;
        let mut tx = self.records.begin().await?;
        if !self.records.set_moved(&tx, *tenant, &built, &index.engine).await? {
            return Ok(false);
        }
        let removed: Vec<String> = known.into_iter().map(|file| file.path).filter(|path| !staged.contains_key(path)).collect();
        let files: Vec<IndexedFile> = staged.values().cloned().collect();
        self.records.change_files(&tx, *tenant, &files, &removed).await?;
        lease.check(&tx).await?;
        if missing > 0 {
            self.enqueue_vectors(&mut tx, *tenant, index.built, "").await?;
        }
        tx.commit().await?;
        tracing::info!(
            workspace_id = %tenant.workspace,
            from = index.engine,
            to = built.engine,
            chunks = built.chunks,
            vectors = built.vectors,
            "a workspace has moved to another index"
        );
        Ok(true)
    }
}
