//! [`EdgeIndex`]: the engine in this process, on qdrant-edge. Nothing outside this folder but [`super::sparse`] knows
//! qdrant-edge.
//!
//! This version of the engine neither replays nor trims its write-ahead log: what must last is flushed, and a log that has
//! grown out of proportion is a reason to build the index anew.

mod lock;
mod request;
mod shard;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub(crate) use lock::DirLock;
use shard::Shard;

use super::{FORMAT, Found, IndexError, Point, Query, Tenant, VectorIndex};
use crate::embedder::Space;

/// What the files in the directory were made by; another value is another index.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    format: u32,
    engine: String,
    model: String,
    dimensions: usize,
}

impl Stamp {
    fn of(space: &Space) -> Self {
        Self { format: FORMAT, engine: ENGINE.to_owned(), model: space.model.clone(), dimensions: space.dimensions }
    }
}

const NAME: &str = "in-process";
const ENGINE: &str = "qdrant-edge 0.7";
const STAMP: &str = "stamp.json";
const SHARD: &str = "shard";
/// The log only grows; beyond this a new index is smaller than the log of the old one.
const WAL_LIMIT_BYTES: u64 = 1 << 30;
const CLOSING: Duration = Duration::from_secs(5);

/// A shard in a directory of our own.
pub(crate) struct EdgeIndex {
    dir: PathBuf,
    stamp: Stamp,
    /// `None` once it was let go.
    held: Mutex<Option<Arc<Held>>>,
    gone: CancellationToken,
}

/// A shard with the lock on its directory. They go in this order: shard, lock, and then the word that both are gone.
struct Held {
    shard: Shard,
    _lock: DirLock,
    _gone: DropGuard,
}

impl EdgeIndex {
    /// Opens the index in `dir`. True with it when it had to be begun anew: then the caller forgets what it knew to be in
    /// it, and says so by [`EdgeIndex::confirm`]. Blocks.
    pub(crate) fn open(dir: &Path, lock: DirLock, space: &Space) -> Result<(Self, bool), IndexError> {
        let stamp = Stamp::of(space);
        let (shard, begun_anew) = match load(dir, &stamp) {
            Some(shard) => (shard, false),
            None => (begin(dir, space.dimensions)?, true),
        };
        let gone = CancellationToken::new();
        let held = Held { shard, _lock: lock, _gone: gone.clone().drop_guard() };
        Ok((Self { dir: dir.to_owned(), stamp, held: Mutex::new(Some(Arc::new(held))), gone }, begun_anew))
    }

    /// Marks the index as one to be opened again. Until then, opening it begins it anew.
    pub(crate) fn confirm(&self) -> Result<(), IndexError> {
        let bytes = serde_json::to_vec(&self.stamp).map_err(|e| IndexError::Engine(e.to_string()))?;
        let path = self.dir.join(STAMP);
        std::fs::write(&path, bytes).map_err(|source| IndexError::File { path, source })
    }

    fn held(&self) -> Result<Arc<Held>, IndexError> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(IndexError::Closed)
    }

    /// Runs `work` on a blocking thread.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shard) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let held = self.held()?;
        let done = tokio::task::spawn_blocking(move || work(&held.shard)).await;
        done.map_err(|panic| IndexError::Engine(panic.to_string()))?
    }
}

#[async_trait]
impl VectorIndex for EdgeIndex {
    fn name(&self) -> &str {
        NAME
    }

    async fn upsert(&self, tenant: Tenant, build: u64, points: Vec<Point>) -> Result<(), IndexError> {
        self.run(move |shard| shard.upsert(tenant, build, points)).await
    }

    async fn set_vectors(&self, tenant: Tenant, vectors: Vec<(Uuid, Vec<f32>)>) -> Result<(), IndexError> {
        self.run(move |shard| shard.set_vectors(tenant, vectors)).await
    }

    async fn remove(&self, tenant: Tenant, build: u64, ids: Vec<Uuid>) -> Result<(), IndexError> {
        self.run(move |shard| shard.remove(tenant, build, &ids)).await
    }

    async fn clear(&self, tenant: Tenant) -> Result<(), IndexError> {
        self.run(move |shard| shard.clear(tenant)).await
    }

    async fn ids(&self, tenant: Tenant, without_vector: bool) -> Result<Vec<Uuid>, IndexError> {
        self.run(move |shard| shard.ids(tenant, without_vector)).await
    }

    async fn points(&self, tenant: Tenant, ids: Vec<Uuid>) -> Result<Vec<Point>, IndexError> {
        self.run(move |shard| shard.points(tenant, &ids)).await
    }

    async fn present(&self, ids: Vec<Uuid>) -> Result<Vec<Uuid>, IndexError> {
        self.run(move |shard| shard.present(&ids)).await
    }

    async fn erase(&self, ids: Vec<Uuid>) -> Result<(), IndexError> {
        self.run(move |shard| shard.erase(&ids)).await
    }

    async fn search(&self, tenant: Tenant, query: Query) -> Result<Vec<Found>, IndexError> {
        self.run(move |shard| shard.search(tenant, &query)).await
    }

    async fn flush(&self) -> Result<(), IndexError> {
        self.run(Shard::flush).await
    }

    async fn optimize(&self) -> Result<bool, IndexError> {
        self.run(Shard::optimize).await
    }

    async fn take_over(&self) -> Result<(), IndexError> {
        Ok(())
    }

    async fn close(&self) {
        drop(self.held.lock().unwrap_or_else(PoisonError::into_inner).take());
        // What takes longer is optimizing; it loses nothing when the process ends.
        let _ = tokio::time::timeout(CLOSING, self.gone.cancelled()).await;
    }
}

/// What is in the directory, if it is of our make and sound.
fn load(dir: &Path, ours: &Stamp) -> Option<Shard> {
    let shard_dir = dir.join(SHARD);
    let found = std::fs::read(dir.join(STAMP)).ok().and_then(|bytes| serde_json::from_slice::<Stamp>(&bytes).ok());
    if found.as_ref() == Some(ours) && wal_bytes(&shard_dir) <= WAL_LIMIT_BYTES {
        match Shard::load(&shard_dir, ours.dimensions) {
            Ok(shard) => return Some(shard),
            Err(error) => tracing::error!(error = %error, "the search index is damaged and is built anew"),
        }
    } else if shard_dir.exists() {
        tracing::info!(?found, "the search index is of another make or has outgrown its log, and is built anew");
    }
    None
}

fn begin(dir: &Path, dimensions: usize) -> Result<Shard, IndexError> {
    let failed = |source| IndexError::File { path: dir.to_owned(), source };
    let (shard_dir, stamp) = (dir.join(SHARD), dir.join(STAMP));
    if shard_dir.exists() {
        std::fs::remove_dir_all(&shard_dir).map_err(failed)?;
    }
    if stamp.exists() {
        std::fs::remove_file(stamp).map_err(failed)?;
    }
    std::fs::create_dir_all(&shard_dir).map_err(failed)?;
    Shard::create(&shard_dir, dimensions)
}

fn wal_bytes(shard: &Path) -> u64 {
    let entries: Vec<PathBuf> = std::fs::read_dir(shard.join("wal")).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.iter().filter_map(|path| path.metadata().ok()).map(|m| m.len()).sum()
}

#[cfg(test)]
pub(crate) mod tests;
