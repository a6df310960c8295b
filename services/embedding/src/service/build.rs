//! A build: brings the index of a workspace to a revision. Only files whose content is new there are read, chunked and
//! written; the record then moves to the revision in one transaction, and what is no longer of use is removed.
//!
//! Searches answer from the revision before until the record moves. Words are searchable from then on; vectors that are not
//! known yet follow in a job of their own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt as _, TryStreamExt as _};
use slipway_documents::{Format, MAX_DOCUMENT};
use slipway_proto::filestore::FileEntry;
use slipway_rpc::{Ctx, Fault, Reason};
use slipway_storage::{JobError, Lease, crash};
use uuid::Uuid;

use super::{BuildJob, Service};
use crate::error::Error;
use crate::index::{Point, Tenant, VectorIndex};
use crate::model::chunk::{Chunk, MAX_FILE_BYTES, chunk, embedded_text, text_of};
use crate::model::select::Digest;
use crate::model::state::{State, WorkspaceIndex};
use crate::store::{Built, IndexedFile};

const READS_AT_ONCE: usize = 8;
const POINTS_AT_ONCE: usize = 512;

/// How a build, or a move, stopped short.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error("a newer build has taken its place, or the workspace is gone")]
    Superseded,
    #[error("the lease is lost")]
    LeaseLost,
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<slipway_storage::StorageError> for Stop {
    fn from(error: slipway_storage::StorageError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<slipway_storage::LeaseLost> for Stop {
    fn from(_: slipway_storage::LeaseLost) -> Self {
        Self::LeaseLost
    }
}

/// The files of the revision, against what the index holds.
struct Difference {
    kept: Vec<IndexedFile>,
    new: Vec<FileEntry>,
    removed: Vec<String>,
}

/// What an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To bring the workspace to what is wanted.
    Build,
    /// To bring what searches answer from to another engine.
    Move,
}

/// One attempt at a build, or at a move.
pub(super) struct Attempt<'a> {
    pub(super) tenant: Tenant,
    pub(super) lease: &'a Lease,
    /// What is written to.
    pub(super) engine: Arc<dyn VectorIndex>,
    /// The record as it was when the attempt began: the build and the revision to come to.
    pub(super) index: WorkspaceIndex,
    pub(super) purpose: Purpose,
}

impl Attempt<'_> {
    fn build(&self) -> u64 {
        match self.purpose {
            Purpose::Build => self.index.wanted,
            Purpose::Move => self.index.built,
        }
    }

    fn revision(&self) -> Uuid {
        match (self.purpose, self.index.revision) {
            (Purpose::Move, Some(revision)) => revision,
            _ => self.index.wanted_revision,
        }
    }
}

/// Counts a build as under way.
pub(super) struct Building<'a>(&'a AtomicUsize);

impl<'a> Building<'a> {
    pub(super) fn start(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Building<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service {
    pub(super) async fn build(self: Arc<Self>, lease: Lease) -> Result<(), JobError> {
        let job: BuildJob = serde_json::from_slice(&lease.payload).map_err(|e| JobError::Fatal(e.into()))?;
        let tenant = Tenant { project: slipway_rpc::ProjectId(lease.project_id), workspace: job.workspace };
        let _building = Building::start(&self.building);
        let built = self.bring(tenant, &lease).await;
        self.written.store(true, Ordering::Relaxed);
        let settled = match built {
            Ok(()) | Err(Stop::Superseded) => self.finish(tenant, &lease, None).await,
            Err(Stop::LeaseLost) => Err(JobError::LeaseLost),
            Err(Stop::Failed(error)) if is_gone(&error) => {
                tracing::info!(workspace_id = %job.workspace, "the workspace is gone; so is its index");
                self.forget(tenant, &lease).await
            }
            // What is away comes back: this attempt was the last one of this job, but not of the build.
            Err(Stop::Failed(error)) if lease.last_attempt && error.is_of_absence() => {
                tracing::warn!(error = &error as &dyn std::error::Error, workspace_id = %job.workspace, "indexing waits");
                self.finish(tenant, &lease, None).await
            }
            Err(Stop::Failed(error)) if lease.last_attempt => {
                tracing::error!(error = &error as &dyn std::error::Error, workspace_id = %job.workspace, "indexing has failed");
                self.finish(tenant, &lease, Some(reason_of(&error))).await
            }
            Err(Stop::Failed(error)) => Err(JobError::Retry(Box::new(error))),
        };
        self.notify(job.workspace);
        if settled.is_ok() {
            self.move_on().await;
        }
        settled
    }

    /// Brings the index to what is wanted, and leaves nothing behind that is of no use.
    async fn bring(&self, tenant: Tenant, lease: &Lease) -> Result<(), Stop> {
        let Some(index) = self.records.find_index(tenant.project, tenant.workspace).await? else {
            return Err(Stop::Superseded);
        };
        let engine = self.index.engines().await.map_err(Error::from)?.home(&index.engine);
        let attempt = Attempt { tenant, lease, engine, index, purpose: Purpose::Build };
        if attempt.index.state() == State::Indexing {
            if lease.exhausted {
                return Err(Stop::Failed(Error::Fault(Fault::new(Reason::Internal, "every attempt ended with its process"))));
            }
            self.move_index(&attempt).await?;
        }
        self.sweep(&attempt).await
    }

    async fn move_index(&self, attempt: &Attempt<'_>) -> Result<(), Stop> {
        let started = std::time::Instant::now();
        let Attempt { tenant, lease, engine, index, .. } = attempt;
        let ctx = Ctx::background(index.project, index.user, &lease.traceparent);
        let listed = self.files.list(&ctx, tenant.workspace, index.wanted_revision).await.map_err(Error::from)?;
        let present: HashSet<Uuid> = engine.ids(*tenant, false).await.map_err(Error::from)?.into_iter().collect();
        let known = self.records.list_files(*tenant).await?;
        // What another engine has, and how it was chunked for that one, says nothing of ours.
        let anew = index.anew > index.built || index.engine != engine.name();
        let mut difference = compare(*tenant, listed, &known, &present, anew);

        let new = self.write_new(attempt, std::mem::take(&mut difference.new), &ctx).await?;
        engine.flush().await.map_err(Error::from)?;
        crash::point("embedding.points_written");
        self.still_wanted(attempt).await?;

        let live: HashSet<Uuid> = difference.kept.iter().chain(&new).flat_map(|file| ids_of(*tenant, file)).collect();
        let without = engine.ids(*tenant, true).await.map_err(Error::from)?;
        let missing = without.iter().filter(|id| live.contains(id)).count() as u64;
        let built = Built {
            build: attempt.build(),
            engine: engine.name().to_owned(),
            revision: index.wanted_revision,
            number: index.wanted_number,
            files: (difference.kept.len() + new.len()) as u64,
            chunks: live.len() as u64,
            vectors: live.len() as u64 - missing,
        };
        self.move_to(attempt, &built, &new, &difference.removed).await?;
        crash::point("embedding.moved");
        self.notify(tenant.workspace);
        tracing::info!(
            workspace_id = %tenant.workspace,
            engine = built.engine,
            revision = index.wanted_number,
            new_files = new.len(),
            chunks = built.chunks,
            vectors = built.vectors,
            elapsed = ?started.elapsed(),
            "the index has moved"
        );
        Ok(())
    }

    /// Removes what the index no longer answers from: chunks of builds before, and of attempts that were broken off. A build
    /// that was overtaken removes nothing of a later one: the engine sees to it.
    async fn sweep(&self, attempt: &Attempt<'_>) -> Result<(), Stop> {
        let tenant = attempt.tenant;
        // Read before the files: what is newer than the files is newer than this build, too.
        let Some(index) = self.records.find_index(tenant.project, tenant.workspace).await? else {
            return Err(Stop::Superseded);
        };
        let files = self.records.list_files(tenant).await?;
        let live: HashSet<Uuid> = files.iter().flat_map(|file| ids_of(tenant, file)).collect();
        let mut stale = attempt.engine.ids(tenant, false).await.map_err(Error::from)?;
        stale.retain(|id| !live.contains(id));
        if !stale.is_empty() && index.engine == attempt.engine.name() {
            attempt.engine.remove(tenant, index.built, stale).await.map_err(Error::from)?;
        }
        Ok(())
    }

    /// Reads, chunks and writes files, and returns them with how many chunks each has.
    pub(super) async fn write_new(
        &self,
        attempt: &Attempt<'_>,
        files: Vec<FileEntry>,
        ctx: &Ctx,
    ) -> Result<Vec<IndexedFile>, Stop> {
        let (tenant, revision) = (attempt.tenant, attempt.revision());
        let reads = futures::stream::iter(files.into_iter().map(|file| self.read_points(tenant, revision, file, ctx)));
        let mut reads = std::pin::pin!(reads.buffered(READS_AT_ONCE));
        let (mut written, mut waiting) = (Vec::new(), Vec::new());
        while let Some((file, points, digest)) = reads.try_next().await? {
            self.chooser.note(tenant, &file.path, &file.blob, digest).await;
            written.push(file);
            waiting.extend(points);
            if waiting.len() >= POINTS_AT_ONCE {
                self.write(attempt, std::mem::take(&mut waiting)).await?;
                self.still_wanted(attempt).await?;
            }
        }
        self.write(attempt, waiting).await?;
        Ok(written)
    }

    pub(super) async fn read_points(
        &self,
        tenant: Tenant,
        revision: Uuid,
        file: FileEntry,
        ctx: &Ctx,
    ) -> Result<(IndexedFile, Vec<Point>, Digest), Error> {
        let FileEntry { path, size, hash: blob, .. } = file;
        let document = Format::of_path(&path).is_some_and(Format::is_opaque);
        if size > if document { MAX_DOCUMENT } else { MAX_FILE_BYTES } {
            return Ok((IndexedFile { path, blob, chunk_count: 0 }, Vec::new(), Digest::default()));
        }
        let bytes = match document {
            true => self.files.text(ctx, tenant.workspace, revision, &path).await?.into_bytes(),
            false => self.files.read(ctx, tenant.workspace, revision, &path).await?,
        };
        let chunked = tokio::task::spawn_blocking(move || {
            let points = points_of(tenant, &path, &blob, &bytes);
            let digest = Digest::of(points.iter().map(|p| p.text.as_str()));
            (IndexedFile { chunk_count: points.len() as u64, path, blob }, points, digest)
        });
        Ok(chunked.await.map_err(|panic| Fault::internal(panic.to_string()))?)
    }

    /// Writes points, with the vectors that are known.
    async fn write(&self, attempt: &Attempt<'_>, mut points: Vec<Point>) -> Result<(), Error> {
        let hashes: Vec<_> = points.iter().map(text_hash).collect();
        let known = match self.space_of(attempt.engine.name()) {
            Some(space) => self.records.find_vectors(attempt.tenant, &space.model, &hashes).await?,
            None => HashMap::new(),
        };
        for (point, hash) in points.iter_mut().zip(&hashes) {
            point.vector = known.get(hash).cloned();
        }
        Ok(attempt.engine.upsert(attempt.tenant, attempt.build(), points).await?)
    }

    /// In one transaction, fenced by the lease: the record moves, the files change, the vectors are asked for.
    async fn move_to(&self, attempt: &Attempt<'_>, built: &Built, new: &[IndexedFile], removed: &[String]) -> Result<(), Stop> {
        let tenant = attempt.tenant;
        let mut tx = self.records.begin().await?;
        if !self.records.set_built(&tx, tenant, built, &attempt.index.engine).await? {
            return Err(Stop::Superseded);
        }
        self.records.change_files(&tx, tenant, new, removed).await?;
        attempt.lease.check(&tx).await?;
        if built.vectors < built.chunks {
            self.enqueue_vectors(&mut tx, tenant, built.build, &attempt.lease.traceparent).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Whether this build is the newest that is wanted, and the lease is ours.
    async fn still_wanted(&self, attempt: &Attempt<'_>) -> Result<(), Stop> {
        if attempt.lease.lost.is_cancelled() {
            return Err(Stop::LeaseLost);
        }
        match self.records.find_index(attempt.tenant.project, attempt.tenant.workspace).await? {
            // What is built meanwhile follows.
            Some(_) if attempt.purpose == Purpose::Move => Ok(()),
            Some(index) if index.wanted == attempt.build() && index.built < attempt.build() => Ok(()),
            _ => Err(Stop::Superseded),
        }
    }

    /// Ends the job, with a failure that is for good or without one, and starts the next one if more is wanted by now. Whoever
    /// wants more changes the record first and then queues the job: either they find this job gone, or we find what they want.
    async fn finish(&self, tenant: Tenant, lease: &Lease, failure: Option<String>) -> Result<(), JobError> {
        let mut tx = self.records.begin().await?;
        let Some(mut index) = self.records.lock_index(&tx, tenant).await? else {
            drop(tx);
            return self.forget(tenant, lease).await;
        };
        if let Some(failure) = failure {
            self.records.set_failed(&tx, tenant, index.wanted, &failure).await?;
            index.failed = index.wanted;
        }
        lease.complete(&tx).await?;
        if index.state() == State::Indexing {
            let queued = self.enqueue_build(&mut tx, &index, &lease.traceparent).await;
            queued.map_err(|e| JobError::Retry(Box::new(e)))?;
        }
        Ok(tx.commit().await?)
    }

    /// The workspace is gone, whether or not its event has come: so is what was written for it.
    async fn forget(&self, tenant: Tenant, lease: &Lease) -> Result<(), JobError> {
        self.clear(tenant).await.map_err(|e| JobError::Retry(Box::new(e)))?;
        let tx = self.records.begin().await?;
        self.records.delete_workspace(&tx, tenant).await?;
        lease.complete(&tx).await?;
        Ok(tx.commit().await?)
    }
}

/// A file stays as it is when its content is the same and all its chunks are there.
fn compare(tenant: Tenant, listed: Vec<FileEntry>, known: &[IndexedFile], present: &HashSet<Uuid>, anew: bool) -> Difference {
    let mut before: HashMap<&str, &IndexedFile> = known.iter().map(|file| (file.path.as_str(), file)).collect();
    let (mut kept, mut new) = (Vec::new(), Vec::new());
    for file in listed {
        let same = before.remove(file.path.as_str()).filter(|known| known.blob == file.hash && !anew);
        match same {
            Some(known) if ids_of(tenant, known).all(|id| present.contains(&id)) => kept.push(known.clone()),
            _ => new.push(file),
        }
    }
    let mut removed: Vec<String> = before.into_keys().map(str::to_owned).collect();
    removed.sort();
    Difference { kept, new, removed }
}

/// The ids of a file's chunks.
pub(super) fn ids_of(tenant: Tenant, file: &IndexedFile) -> impl Iterator<Item = Uuid> {
    (0..u32::try_from(file.chunk_count).unwrap_or(u32::MAX)).map(move |ordinal| tenant.point_id(&file.path, &file.blob, ordinal))
}

/// The chunks of a file, as they are indexed; none for one that is passed over.
pub(crate) fn points_of(tenant: Tenant, path: &str, blob: &str, bytes: &[u8]) -> Vec<Point> {
    let chunks = text_of(bytes).map(|text| chunk(path, text)).unwrap_or_default();
    let point = |(chunk, ordinal): (Chunk, u32)| Point {
        id: tenant.point_id(path, blob, ordinal),
        path: path.to_owned(),
        blob: blob.to_owned(),
        start_line: chunk.start_line,
        end_line: chunk.end_line,
        title: chunk.title,
        text: chunk.text,
        vector: None,
    };
    chunks.into_iter().zip(0..).map(point).collect()
}

/// The key of a point's vector in the ledger.
pub(super) fn text_hash(point: &Point) -> [u8; 32] {
    *blake3::hash(embedded_text(&point.path, &point.title, &point.text).as_bytes()).as_bytes()
}

fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Fault(fault) if fault.reason() == Reason::WorkspaceNotFound)
}

/// The failure as GetIndex shows it: what is ours to mend is in the log.
fn reason_of(error: &Error) -> String {
    match error {
        Error::Fault(fault) => format!("the files cannot be read: {}", fault.message()),
        other => other.to_string(),
    }
}
