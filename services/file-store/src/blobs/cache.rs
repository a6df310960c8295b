//! A disk cache in front of a bucket: what is written goes through it, what is read comes into it, and what nobody touches
//! for long enough leaves it. It never makes a call fail: what it has is checked by its hash whenever it is opened, what is
//! damaged is fetched again, and a disk that takes nothing only costs the way to the bucket.
//!
//! A workspace that nobody touches thereby leaves the disk content by content, and comes back with the next reads. Each
//! content is a file named by its hash, whose time of modification is when it was last used: that is all that a restart needs.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use blake3::{Hash, Hasher};
use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use tempfile::NamedTempFile;

use super::BlobError;
use crate::clock::Clock;

/// How exactly the files remember when they were last used, in microseconds.
const EXACT: i64 = 60 * 1_000_000;

/// The cache; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct DiskCache {
    dir: Arc<Path>,
    max: u64,
    idle: Duration,
    clock: Clock,
    index: Arc<Mutex<Index>>,
}

/// What lies on the disk.
#[derive(Debug, Default)]
struct Index {
    files: HashMap<Hash, Cached>,
    /// The same, by when they were last used.
    order: BTreeSet<(i64, [u8; 32])>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Cached {
    size: u64,
    used: i64,
}

impl DiskCache {
    /// Opens the cache, and counts what an earlier process left in it.
    pub(super) fn open(dir: &Path, max: u64, idle: Duration, clock: Clock) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut index = Index::default();
        for file in std::fs::read_dir(dir)? {
            let file = file?;
            let hash = file.file_name().to_str().and_then(|name| Hash::from_hex(name).ok());
            match hash {
                Some(hash) => {
                    let metadata = file.metadata()?;
                    index.insert(hash, Cached { size: metadata.len(), used: micros(metadata.modified()?) });
                }
                // Half-written when a process died.
                None => drop(std::fs::remove_file(file.path())),
            }
        }
        let cache = Self { dir: dir.into(), max, idle, clock, index: Arc::new(Mutex::new(index)) };
        cache.shrink();
        Ok(cache)
    }

    /// A content that is there and whole, open for reading: nobody can take it away any more.
    pub(super) async fn open_file(&self, hash: Hash) -> Option<File> {
        let cached = self.lock().files.get(&hash).copied()?;
        let (cache, now) = (self.clone(), self.clock.now());
        let open = move || cache.open_whole(hash, cached, now);
        match tokio::task::spawn_blocking(open).await {
            Ok(Ok(Some(file))) => Some(file),
            Ok(Ok(None)) => {
                tracing::warn!(%hash, "a cached content is damaged; fetching it again");
                self.remove(hash);
                None
            }
            Ok(Err(_)) | Err(_) => {
                self.remove(hash);
                None
            }
        }
    }

    fn open_whole(&self, hash: Hash, cached: Cached, now: i64) -> io::Result<Option<File>> {
        let file = File::open(self.path(hash))?;
        if Hasher::new().update_reader(&file)?.finalize() != hash {
            return Ok(None);
        }
        self.lock().insert(hash, Cached { used: now, ..cached });
        if now - cached.used > EXACT {
            file.set_modified(time(now))?;
        }
        Ok(Some(file))
    }

    /// Takes in a content piece by piece, and opens it. `None`: the disk does not take it.
    pub(super) async fn take_in(
        &self,
        hash: Hash,
        mut pieces: impl Stream<Item = Result<Bytes, BlobError>> + Unpin,
    ) -> Result<Option<File>, BlobError> {
        let Ok(mut file) = NamedTempFile::new_in(&self.dir) else { return Ok(None) };
        while let Some(piece) = pieces.try_next().await? {
            let write = move || file.write_all(&piece).map(|()| file);
            match tokio::task::spawn_blocking(write).await? {
                Ok(back) => file = back,
                Err(_) => return Ok(None),
            }
        }
        let cache = self.clone();
        // The caller reads what it was given, even when it is too large to stay.
        Ok(tokio::task::spawn_blocking(move || cache.keep(hash, file)).await?.ok())
    }

    fn keep(&self, hash: Hash, file: NamedTempFile) -> io::Result<File> {
        let now = self.clock.now();
        file.as_file().set_modified(time(now))?;
        let size = file.as_file().metadata()?.len();
        let reader = file.reopen()?;
        file.persist(self.path(hash))?;
        self.lock().insert(hash, Cached { size, used: now });
        self.shrink();
        Ok(reader)
    }

    /// Takes in a content that is in memory, if the disk does.
    pub(super) async fn write_through(&self, hash: Hash, content: Bytes) {
        if self.lock().files.contains_key(&hash) {
            return;
        }
        let piece = Box::pin(futures::stream::once(async move { Ok(content) }));
        if !matches!(self.take_in(hash, piece).await, Ok(Some(_))) {
            tracing::debug!(%hash, "a content does not go into the cache");
        }
    }

    /// Removes what nobody used for long; how many contents that was.
    pub(super) fn evict_idle(&self) -> usize {
        let before = self.clock.ago(self.idle);
        let mut evicted = 0;
        while let Some(hash) = self.oldest(|index, used| used < before && index.bytes > 0) {
            self.remove(hash);
            evicted += 1;
        }
        evicted
    }

    /// Removes what was not used for longest until the rest fits.
    fn shrink(&self) {
        while let Some(hash) = self.oldest(|index, _| index.bytes > self.max) {
            self.remove(hash);
        }
    }

    fn oldest(&self, leaves: impl Fn(&Index, i64) -> bool) -> Option<Hash> {
        let index = self.lock();
        let (used, hash) = index.order.first()?;
        leaves(&index, *used).then(|| Hash::from_bytes(*hash))
    }

    /// Removes one content.
    pub(super) fn remove(&self, hash: Hash) {
        self.lock().remove(hash);
        // When it does not go, the next process counts it again.
        let _ = std::fs::remove_file(self.path(hash));
    }

    fn path(&self, hash: Hash) -> PathBuf {
        self.dir.join(hash.to_hex().as_str())
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn insert(&mut self, hash: Hash, cached: Cached) {
        self.remove(hash);
        self.files.insert(hash, cached);
        self.order.insert((cached.used, *hash.as_bytes()));
        self.bytes += cached.size;
    }

    fn remove(&mut self, hash: Hash) {
        if let Some(cached) = self.files.remove(&hash) {
            self.order.remove(&(cached.used, *hash.as_bytes()));
            self.bytes -= cached.size;
        }
    }
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn time(micros: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros.unsigned_abs())
}

#[cfg(test)]
mod tests;
