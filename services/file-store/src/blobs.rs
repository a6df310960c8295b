//! Blobs: contents by their BLAKE3 hash, in a local directory or an S3 bucket. Written and flushed before anything refers
//! to them; a name stands for one content, so that a write needs no condition and may be repeated.
//!
//! Manifests, and in a directory contents up to [`PIECE`], are packed where that saves space. The name is always the hash of the content
//! itself, and tells both forms apart: no more is needed to read what was written before there was packing.

mod cache;
mod error;
mod link;
mod pieces;
mod reader;
mod s3;
mod sweep;

#[cfg(test)]
pub(crate) mod tests;

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use blake3::Hash;
use bytes::Bytes;
use moka::future::Cache;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _};

use crate::clock::Clock;
use crate::packed;
use crate::settings::CacheSettings;
use cache::DiskCache;
pub(crate) use error::BlobError;
pub(crate) use pieces::{PIECE_BYTES, Sums};
pub(crate) use reader::Reader;
use s3::Bucket;

/// How much is read or written at a time.
pub(crate) const PIECE: u64 = 1 << 20;
/// An object store wants parts of at least 5 MiB.
const PART: usize = 8 << 20;
/// The most bytes that are unpacked: more than a manifest with the most files and the longest paths has.
const MAX_PACKED: usize = 32 << 20;
/// What takes less time than handing it to another thread does.
const INLINE: usize = 8 << 10;
/// How long the caller waits for a failed upload to be cleared away.
const ABORT: Duration = Duration::from_secs(5);
/// How many hashes are remembered as safely there.
const KNOWN: u64 = 100_000;

/// The blob store; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    store: Arc<dyn ObjectStore>,
    place: Place,
    /// Written or seen there by this process, to the end, and the epoch of garbage collection that it was in. What another process wrote is
    /// simply written again: that is as quick as making sure of it, and mends what a power cut left half-done.
    known: Cache<Hash, i64>,
    cache: Option<DiskCache>,
}

/// Where blobs lie.
#[derive(Clone, Debug)]
enum Place {
    Dir(PathBuf),
    Bucket(Bucket),
}

impl Blobs {
    /// Blobs in a directory. `durable`: they survive a power cut.
    pub(crate) fn local(dir: &Path, durable: bool) -> Result<Self, object_store::Error> {
        Ok(Self::new(Arc::new(LocalFileSystem::new_with_prefix(dir)?.with_fsync(durable)), Place::Dir(dir.to_owned())))
    }

    fn new(store: Arc<dyn ObjectStore>, place: Place) -> Self {
        Self { store, place, known: Cache::new(KNOWN), cache: None }
    }

    /// With a disk cache in `dir`.
    pub(crate) fn cached(self, dir: &Path, settings: &CacheSettings, clock: Clock) -> std::io::Result<Self> {
        let cache = DiskCache::open(dir, settings.mib << 20, settings.idle(), clock)?;
        Ok(Self { cache: Some(cache), ..self })
    }

    /// Removes from the cache what nobody used for long; how many contents that was.
    pub(crate) async fn evict_idle(&self) -> usize {
        let Some(cache) = self.cache.clone() else { return 0 };
        tokio::task::spawn_blocking(move || cache.evict_idle()).await.unwrap_or(0)
    }

    /// Whether this process wrote the blob in this epoch, so that it is there.
    pub(crate) async fn is_known(&self, hash: Hash, epoch: i64) -> bool {
        self.known.get(&hash).await == Some(epoch)
    }

    /// That the blob was seen there in this epoch.
    pub(crate) async fn remember(&self, hash: Hash, epoch: i64) {
        self.known.insert(hash, epoch).await;
    }

    /// Writes a content that is in memory. When this returns, it is safe.
    pub(crate) async fn put(&self, hash: Hash, content: Bytes, epoch: i64) -> Result<(), BlobError> {
        self.put_small(hash, content).await?;
        self.known.insert(hash, epoch).await;
        Ok(())
    }

    /// The same of what is only ever read whole, and never by a link.
    pub(crate) async fn put_packed(&self, hash: Hash, content: Bytes, epoch: i64) -> Result<(), BlobError> {
        let stored = packed(content.clone()).await?;
        self.store.put(&key(&hash), stored.into()).await?;
        self.write_through(hash, content).await;
        self.known.insert(hash, epoch).await;
        Ok(())
    }

    /// Those of a bucket stay as they are, since a link leads to the object itself; and so do those that are read in ranges.
    async fn put_small(&self, hash: Hash, content: Bytes) -> Result<(), BlobError> {
        let packs = matches!(self.place, Place::Dir(_)) && content.len() as u64 <= PIECE;
        let stored = if packs { packed(content.clone()).await? } else { content.clone() };
        self.store.put(&key(&hash), stored.into()).await?;
        self.write_through(hash, content).await;
        Ok(())
    }

    /// Writes a content that is in a file, from where the file stands. When this returns, it is safe.
    pub(crate) async fn put_file(&self, hash: Hash, file: File, epoch: i64) -> Result<(), BlobError> {
        let (file, first) = next_part(file).await?;
        if first.len() < PART {
            self.put_small(hash, first).await?;
        } else {
            self.upload(hash, file, first).await?;
        }
        self.known.insert(hash, epoch).await;
        Ok(())
    }

    /// In parts, of which the first is read. They become an object together or not at all.
    async fn upload(&self, hash: Hash, file: File, first: Bytes) -> Result<(), BlobError> {
        let mut upload = self.store.put_multipart(&key(&hash)).await?;
        match send_parts(upload.as_mut(), file, first).await {
            Ok(()) => Ok(()),
            Err(error) => {
                if !matches!(tokio::time::timeout(ABORT, upload.abort()).await, Ok(Ok(()))) {
                    tracing::warn!(%hash, "the parts of a failed upload stay behind");
                }
                Err(error)
            }
        }
    }

    async fn write_through(&self, hash: Hash, content: Bytes) {
        if let Some(cache) = &self.cache {
            cache.write_through(hash, content).await;
        }
    }

    /// A whole content, which is known to be small enough for memory.
    pub(crate) async fn get(&self, hash: Hash) -> Result<Bytes, BlobError> {
        if let Some(cache) = &self.cache
            && let Some(file) = cache.open_file(hash).await
        {
            return tokio::task::spawn_blocking(move || read_whole(file)).await?.map_err(BlobError::Spool);
        }
        let content = self.fetch(hash).await?;
        self.write_through(hash, content.clone()).await;
        Ok(content)
    }

    /// As [`Self::get`], past the cache: for whoever reads everything once.
    pub(crate) async fn fetch(&self, hash: Hash) -> Result<Bytes, BlobError> {
        let stored = self.store.get(&key(&hash)).await?.bytes().await?;
        if stored.len() < INLINE {
            return plain(hash, stored).ok_or(BlobError::Damaged(hash));
        }
        tokio::task::spawn_blocking(move || plain(hash, stored)).await?.ok_or(BlobError::Damaged(hash))
    }

    /// How many bytes a blob takes where it lies.
    async fn stored_size(&self, hash: Hash) -> Result<u64, BlobError> {
        Ok(self.store.head(&key(&hash)).await?.size)
    }

    async fn get_range(&self, hash: Hash, range: Range<u64>) -> Result<Bytes, BlobError> {
        Ok(self.store.get_range(&key(&hash), range).await?)
    }
}

/// As it is kept, if that saves anything.
async fn packed(content: Bytes) -> Result<Bytes, BlobError> {
    let short = content.len() < INLINE;
    let pack = move || packed::pack_if_smaller(&content).map_or(content, Bytes::from);
    if short { Ok(pack()) } else { Ok(tokio::task::spawn_blocking(pack).await?) }
}

/// The content with this hash, which may be stored as it is or packed. Nothing has to say which: only one of both has the hash,
/// and what somebody sent that only looks packed is never unpacked.
fn plain(hash: Hash, stored: Bytes) -> Option<Bytes> {
    if blake3::hash(&stored) == hash {
        return Some(stored);
    }
    packed::unpack(&stored, MAX_PACKED).filter(|content| blake3::hash(content) == hash).map(Bytes::from)
}

/// Two levels, so that no directory gets very large.
fn key(hash: &Hash) -> Key {
    let hex = hash.to_hex();
    Key::from_iter([&hex[..2], &hex[2..]])
}

async fn send_parts(upload: &mut dyn MultipartUpload, mut file: File, mut part: Bytes) -> Result<(), BlobError> {
    while !part.is_empty() {
        upload.put_part(part.into()).await?;
        (file, part) = next_part(file).await?;
    }
    upload.complete().await?;
    Ok(())
}

async fn next_part(file: File) -> Result<(File, Bytes), BlobError> {
    tokio::task::spawn_blocking(move || read_part(file)).await?.map_err(BlobError::Spool)
}

fn read_part(file: File) -> std::io::Result<(File, Bytes)> {
    let mut part = Vec::new();
    (&file).take(PART as u64).read_to_end(&mut part)?;
    Ok((file, part.into()))
}

/// From the start, wherever the file stands.
fn read_whole(mut file: File) -> std::io::Result<Bytes> {
    file.rewind()?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(content.into())
}
