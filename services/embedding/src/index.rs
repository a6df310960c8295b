//! The index engine: points with a dense and a sparse vector, found by either or both. [`VectorIndex`] is what an engine must
//! do; [`Index`] opens one off the start-up path and keeps its blocking calls off the async threads.
//!
//! What an index holds is derived: it can be built anew from the file store and the vector ledger at any time.

mod edge;
mod sparse;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use slipway_rpc::ProjectId;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub(crate) use edge::EdgeIndex;

use crate::error::Error;

const SEARCHES_AT_ONCE: usize = 8;
const CLOSING: Duration = Duration::from_secs(5);

/// Whose points: every call of an engine is confined to one tenant's workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tenant {
    /// The project.
    pub(crate) project: ProjectId,
    /// The workspace.
    pub(crate) workspace: Uuid,
}

impl Tenant {
    /// The id of a chunk: the same chunk of the same content at the same path always has the same one.
    pub(crate) fn point_id(&self, path: &str, blob: &str, ordinal: u32) -> Uuid {
        let mut hash = blake3::Hasher::new();
        hash.update(self.project.0.as_bytes()).update(self.workspace.as_bytes());
        hash.update(path.as_bytes()).update(&[0]).update(blob.as_bytes()).update(&[0]).update(&ordinal.to_le_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        uuid::Builder::from_custom_bytes(id).into_uuid()
    }
}

/// A chunk in the index.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    /// See [`Tenant::point_id`].
    pub(crate) id: Uuid,
    /// Its file.
    pub(crate) path: String,
    /// The content hash of its file.
    pub(crate) blob: String,
    /// First line, from 1.
    pub(crate) start_line: u32,
    /// Last line, included.
    pub(crate) end_line: u32,
    /// What it is.
    pub(crate) title: String,
    /// Its lines.
    pub(crate) text: String,
    /// Its dense vector, when that is known.
    pub(crate) vector: Option<Vec<f32>>,
}

/// What to search for. Words or a vector or both; both are fused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    /// Searched by words, when not empty.
    pub(crate) words: String,
    /// Searched by nearness.
    pub(crate) vector: Option<Arc<Vec<f32>>>,
    /// Only these files; `None`: all.
    pub(crate) paths: Option<Vec<String>>,
    /// At most so many hits.
    pub(crate) limit: usize,
}

/// A point that was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// The point, without its vector.
    pub(crate) point: Point,
    /// Comparable within one answer.
    pub(crate) score: f64,
    /// From 1; 0 when not among the nearest.
    pub(crate) dense_rank: u32,
    /// From 1; 0 when not among those found by words.
    pub(crate) lexical_rank: u32,
}

/// An engine. Calls block.
pub(crate) trait VectorIndex: Send + Sync {
    /// Adds points, or replaces those with the same ids.
    fn upsert(&self, tenant: Tenant, points: Vec<Point>) -> Result<(), IndexError>;
    /// Adds dense vectors to points; ids that are not there (any more) are passed over.
    fn set_vectors(&self, tenant: Tenant, vectors: Vec<(Uuid, Vec<f32>)>) -> Result<(), IndexError>;
    /// Removes points.
    fn remove(&self, tenant: Tenant, ids: Vec<Uuid>) -> Result<(), IndexError>;
    /// Removes everything of the tenant's workspace.
    fn clear(&self, tenant: Tenant) -> Result<(), IndexError>;
    /// The ids of all points, or of those without a dense vector.
    fn ids(&self, tenant: Tenant, without_vector: bool) -> Result<Vec<Uuid>, IndexError>;
    /// Some points by their ids.
    fn points(&self, tenant: Tenant, ids: &[Uuid]) -> Result<Vec<Point>, IndexError>;
    /// The best points for a query. No query reaches another tenant's points.
    fn search(&self, tenant: Tenant, query: &Query) -> Result<Vec<Found>, IndexError>;
    /// Makes what was written durable.
    fn flush(&self) -> Result<(), IndexError>;
    /// Rearranges what is large or full of holes, if that is worth while. May take long; nobody waits for it.
    fn optimize(&self) -> Result<bool, IndexError>;
}

/// Why an engine failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// The directory is in use.
    #[error("the search index in {0} is in use by another process; stop that one or choose another data directory")]
    Locked(PathBuf),
    /// A file could not be read or written.
    #[error("the search index in {path} cannot be opened")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The process is shutting down.
    #[error("the search index is closed")]
    Closed,
    /// The engine refused or panicked.
    #[error("the search engine failed: {0}")]
    Engine(String),
}

/// The right to use an index directory; held for the life of the process.
#[derive(Debug)]
pub(crate) struct DirLock(#[allow(dead_code, reason = "held, never read")] File);

impl DirLock {
    /// Makes the directory when it is missing and locks it.
    pub(crate) fn take(dir: &Path) -> Result<Self, IndexError> {
        let failed = |source| IndexError::File { path: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(IndexError::Locked(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// The engine of this process; cheap to clone.
#[derive(Clone)]
pub(crate) struct Index {
    state: watch::Sender<State>,
    gone: CancellationToken,
    searches: Arc<Semaphore>,
}

/// Whether there is an engine.
#[derive(Clone)]
pub(crate) enum State {
    /// It is being opened.
    Opening,
    /// It is there.
    Open(Arc<Held>),
    /// It was let go.
    Closed,
}

/// An engine with the lock on its directory. They go in this order: engine, lock, and then the word that both are gone.
pub(crate) struct Held {
    engine: Box<dyn VectorIndex>,
    _lock: DirLock,
    _gone: DropGuard,
}

impl Index {
    /// An index whose engine is still to come; calls wait for [`Index::set`].
    pub(crate) fn opening() -> Self {
        Self {
            state: watch::channel(State::Opening).0,
            gone: CancellationToken::new(),
            searches: Arc::new(Semaphore::new(SEARCHES_AT_ONCE)),
        }
    }

    /// Gives it its engine.
    pub(crate) fn set(&self, engine: Box<dyn VectorIndex>, lock: DirLock) {
        self.state.send_replace(State::Open(Arc::new(Held { engine, _lock: lock, _gone: self.gone.clone().drop_guard() })));
    }

    /// Lets go of the engine, and waits a while until calls that are under way have ended and the directory is free.
    pub(crate) async fn close(&self) {
        let before = self.state.send_replace(State::Closed);
        if matches!(before, State::Open(_)) {
            drop(before);
            // What takes longer is optimizing; it loses nothing when the process ends.
            let _ = tokio::time::timeout(CLOSING, self.gone.cancelled()).await;
        }
    }

    /// Waits until the engine is open, or closed.
    pub(crate) async fn opened(&self) -> State {
        let mut state = self.state.subscribe();
        // The sender is ours: it cannot be closed.
        state.wait_for(|s| !matches!(s, State::Opening)).await.map_or(State::Closed, |s| s.clone())
    }

    /// Runs a search on a blocking thread.
    pub(crate) async fn search(&self, tenant: Tenant, query: Query) -> Result<Vec<Found>, Error> {
        // Never closed.
        let _permit = self.searches.acquire().await.ok();
        self.run(move |engine| engine.search(tenant, &query)).await
    }

    /// Runs `work` with the engine on a blocking thread, once there is an engine.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn VectorIndex) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, Error> {
        let State::Open(held) = self.opened().await else { return Err(IndexError::Closed.into()) };
        let done = tokio::task::spawn_blocking(move || work(held.engine.as_ref())).await;
        Ok(done.map_err(|panic| IndexError::Engine(panic.to_string()))??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_used_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::take(dir.path()).unwrap();
        let refused = DirLock::take(dir.path()).unwrap_err();
        assert!(matches!(refused, IndexError::Locked(_)) && refused.to_string().contains("in use by another process"));
        drop(held);
        DirLock::take(dir.path()).unwrap();
    }

    #[test]
    fn ids_depend_on_everything_that_a_chunk_is_of() {
        let tenant = |p, w| Tenant { project: ProjectId(Uuid::from_u128(p)), workspace: Uuid::from_u128(w) };
        let ids = [
            tenant(1, 1).point_id("a", "h", 0),
            tenant(2, 1).point_id("a", "h", 0),
            tenant(1, 2).point_id("a", "h", 0),
            tenant(1, 1).point_id("b", "h", 0),
            tenant(1, 1).point_id("a", "i", 0),
            tenant(1, 1).point_id("a", "h", 1),
        ];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert_eq!(ids[0], tenant(1, 1).point_id("a", "h", 0));
    }
}
