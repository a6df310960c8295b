//! [`EdgeIndex`]: the engine in this process, on qdrant-edge. Nothing outside this folder but [`super::sparse`] knows
//! qdrant-edge.
//!
//! An index directory has a folder for each make, `in-process_<model>_<dimensions>_v<format>`: when the model or the format
//! changes, the new one is filled beside the old one, which goes when nothing is in it any more.
//!
//! This version of the engine neither replays nor trims its write-ahead log: what must last is flushed, and a log that has
//! grown out of proportion is a reason to build the index anew.

mod legacy;
mod lock;
mod request;
mod shard;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub(crate) use legacy::Legacy;
pub(crate) use lock::DirLock;
use shard::Shard;

use super::{FORMAT, Found, IndexError, Point, Query, Tenant, VectorIndex, make_of};
use crate::embedder::Space;

/// What the files in a folder were made by.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    format: u32,
    engine: String,
    model: String,
    dimensions: usize,
}

impl Stamp {
    fn of(space: &Space, format: u32) -> Self {
        Self { format, engine: ENGINE.to_owned(), model: space.model.clone(), dimensions: space.dimensions }
    }

    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    fn space(&self) -> Space {
        Space { model: self.model.clone(), dimensions: self.dimensions }
    }

    /// What the records call an index of this make, and its folder is called.
    fn name(&self) -> String {
        format!("{KIN}{}", make_of(&self.space(), self.format))
    }
}

/// What the names of the engines of this kind begin with.
const KIN: &str = "in-process_";
const ENGINE: &str = "qdrant-edge 0.7";
const STAMP: &str = "stamp.json";
const SHARD: &str = "shard";
/// The log only grows; beyond this a new index is smaller than the log of the old one.
const WAL_LIMIT_BYTES: u64 = 1 << 30;
const CLOSING: Duration = Duration::from_secs(5);

/// A shard in a folder of our own.
pub(crate) struct EdgeIndex {
    name: String,
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
    /// Opens the index of `space` in `dir`. True with it when it had to be begun anew: then the caller forgets what it knew to
    /// be in it, and says so by [`EdgeIndex::confirm`]. Blocks.
    pub(crate) fn open(dir: &Path, lock: DirLock, space: &Space) -> Result<(Self, bool), IndexError> {
        Self::open_format(dir, lock, space, FORMAT)
    }

    /// The same as if the format were another.
    pub(crate) fn open_format(dir: &Path, lock: DirLock, space: &Space, format: u32) -> Result<(Self, bool), IndexError> {
        let stamp = Stamp::of(space, format);
        let dir = dir.join(stamp.name());
        let (shard, begun_anew) = match load(&dir, &stamp) {
            Some(shard) => (shard, false),
            None => (begin(&dir, space.dimensions)?, true),
        };
        Ok((Self::of(dir, stamp, shard, lock), begun_anew))
    }

    /// Opens another one in `dir`, whatever it is of; `None` when it is not there or not sound. Blocks.
    pub(crate) fn other(dir: &Path, lock: DirLock, name: &str) -> Option<Self> {
        if !name.starts_with(KIN) || name.contains(['/', '\\']) {
            return None;
        }
        let dir = dir.join(name);
        let stamp = Stamp::read(&dir.join(STAMP)).filter(|stamp| stamp.name() == name && stamp.engine == ENGINE)?;
        let shard = load(&dir, &stamp)?;
        Some(Self::of(dir, stamp, shard, lock))
    }

    /// Removes the folders of indexes that are not among `kept`. Blocks.
    pub(crate) fn remove_others(dir: &Path, kept: &HashSet<String>) -> Result<(), IndexError> {
        let failed = |source| IndexError::File { path: dir.to_owned(), source };
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(KIN) && !kept.contains(&name) {
                tracing::info!(name, "a search index that nothing is in any more is removed");
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    fn of(dir: PathBuf, stamp: Stamp, shard: Shard, lock: DirLock) -> Self {
        let gone = CancellationToken::new();
        let held = Held { shard, _lock: lock, _gone: gone.clone().drop_guard() };
        Self { name: stamp.name(), dir, stamp, held: Mutex::new(Some(Arc::new(held))), gone }
    }

    /// Marks the index as one to be opened again. Until then, opening it begins it anew.
    pub(crate) fn confirm(&self) -> Result<(), IndexError> {
        let bytes = serde_json::to_vec(&self.stamp).map_err(|e| IndexError::Engine(e.to_string()))?;
        let (path, draft) = (self.dir.join(STAMP), self.dir.join("stamp.draft"));
        // Whole or not at all.
        let written = std::fs::write(&draft, bytes).and_then(|()| std::fs::rename(&draft, &path));
        written.map_err(|source| IndexError::File { path, source })
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
        &self.name
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

    async fn destroy(&self) -> Result<(), IndexError> {
        self.close().await;
        let dir = self.dir.clone();
        let removed = tokio::task::spawn_blocking(move || remove(&dir)).await;
        removed.map_err(|panic| IndexError::Engine(panic.to_string()))?
    }

    async fn close(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last one to let go writes what is not written yet.
        let closing = tokio::task::spawn_blocking(move || drop(held));
        // What takes longer is optimizing; it loses nothing when the process ends.
        let _ = tokio::time::timeout(CLOSING, futures::future::join(closing, self.gone.cancelled())).await;
    }
}

/// What is in a folder, if it is of that make and sound.
fn load(dir: &Path, expected: &Stamp) -> Option<Shard> {
    let shard_dir = dir.join(SHARD);
    let found = Stamp::read(&dir.join(STAMP));
    if found.as_ref() == Some(expected) && wal_bytes(&shard_dir) <= WAL_LIMIT_BYTES {
        match Shard::load(&shard_dir, expected.dimensions) {
            Ok(shard) => return Some(shard),
            Err(error) => tracing::error!(error = %error, "the search index is damaged and is built anew"),
        }
    } else if shard_dir.exists() {
        tracing::info!(?found, "the search index is of another make or has outgrown its log, and is built anew");
    }
    None
}

fn begin(dir: &Path, dimensions: usize) -> Result<Shard, IndexError> {
    let shard_dir = dir.join(SHARD);
    remove(dir)?;
    std::fs::create_dir_all(&shard_dir).map_err(|source| IndexError::File { path: dir.to_owned(), source })?;
    Shard::create(&shard_dir, dimensions)
}

/// Removes a folder. What is left of it by a kill is none that would be opened again.
fn remove(dir: &Path) -> Result<(), IndexError> {
    for gone in [std::fs::remove_file(dir.join(STAMP)), std::fs::remove_dir_all(dir)] {
        match gone {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(IndexError::File { path: dir.to_owned(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

fn wal_bytes(shard: &Path) -> u64 {
    let entries: Vec<PathBuf> = std::fs::read_dir(shard.join("wal")).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.iter().filter_map(|path| path.metadata().ok()).map(|m| m.len()).sum()
}

#[cfg(test)]
pub(crate) mod tests;
