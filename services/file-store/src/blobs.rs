//! Blobs: contents by their BLAKE3 hash, in an object store. Written and flushed before anything refers to them.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use blake3::{Hash, Hasher};
use bytes::Bytes;
use futures::stream::{self, Stream};
use moka::future::Cache;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};

/// How much is read or written at a time.
pub(crate) const PIECE: u64 = 1 << 20;
/// An object store wants parts of at least 5 MiB.
const PART: usize = 8 << 20;
/// How many hashes are remembered as safely there.
const KNOWN: u64 = 100_000;

/// Why a blob could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobError {
    #[error("the object store failed")]
    Store(#[from] object_store::Error),
    #[error("the content of blob {0} is not what its name says")]
    Damaged(Hash),
    #[error("a spooled content cannot be read")]
    Spool(#[source] std::io::Error),
    #[error("a worker thread died")]
    Worker(#[from] tokio::task::JoinError),
}

/// The blob store; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// Written by this process, to the end. What another process wrote is simply written again: that is as quick as
    /// making sure of it, and mends what a power cut left half-done.
    known: Cache<Hash, ()>,
}

impl Blobs {
    /// Blobs in a directory. `durable`: they survive a power cut.
    pub(crate) fn local(dir: &Path, durable: bool) -> Result<Self, object_store::Error> {
        Ok(Self::new(Arc::new(LocalFileSystem::new_with_prefix(dir)?.with_fsync(durable))))
    }

    fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, known: Cache::new(KNOWN) }
    }

    /// Writes a content that is in memory. When this returns, it is safe.
    pub(crate) async fn put(&self, hash: Hash, content: Bytes) -> Result<(), BlobError> {
        if self.known.contains_key(&hash) {
            return Ok(());
        }
        self.store.put(&key(&hash), PutPayload::from_bytes(content)).await?;
        self.known.insert(hash, ()).await;
        Ok(())
    }

    /// Writes a content that is in a file, from where the file stands. When this returns, it is safe.
    pub(crate) async fn put_file(&self, hash: Hash, file: File) -> Result<(), BlobError> {
        if self.known.contains_key(&hash) {
            return Ok(());
        }
        let mut upload = self.store.put_multipart(&key(&hash)).await?;
        let mut file = file;
        loop {
            let (back, part) = tokio::task::spawn_blocking(move || read_part(file)).await?.map_err(BlobError::Spool)?;
            file = back;
            if part.is_empty() {
                break;
            }
            if let Err(error) = upload.put_part(part.into()).await {
                upload.abort().await?;
                return Err(error.into());
            }
        }
        upload.complete().await?;
        self.known.insert(hash, ()).await;
        Ok(())
    }

    /// A whole content, which is known to be small enough for memory.
    pub(crate) async fn get(&self, hash: Hash) -> Result<Bytes, BlobError> {
        let content = self.store.get(&key(&hash)).await?.bytes().await?;
        if blake3::hash(&content) == hash { Ok(content) } else { Err(BlobError::Damaged(hash)) }
    }

    /// Part of a content. Whoever puts the parts together checks the hash.
    pub(crate) async fn get_range(&self, hash: Hash, range: Range<u64>) -> Result<Bytes, BlobError> {
        Ok(self.store.get_range(&key(&hash), range).await?)
    }

    /// A content piece by piece. Damage is an error at the end.
    pub(crate) fn read(&self, hash: Hash, size: u64) -> impl Stream<Item = Result<Bytes, BlobError>> + Send + use<> {
        stream::try_unfold((self.clone(), Hasher::new(), 0), move |(blobs, mut hasher, at)| async move {
            if at >= size {
                return Ok(None);
            }
            let end = size.min(at + PIECE);
            let piece = blobs.get_range(hash, at..end).await?;
            hasher.update(&piece);
            if piece.len() as u64 != end - at || (end == size && hasher.finalize() != hash) {
                return Err(BlobError::Damaged(hash));
            }
            Ok(Some((piece, (blobs, hasher, end))))
        })
    }
}

/// Two levels, so that no directory gets very large.
fn key(hash: &Hash) -> Key {
    let hex = hash.to_hex();
    Key::from_iter([&hex[..2], &hex[2..]])
}

fn read_part(file: File) -> std::io::Result<(File, Bytes)> {
    let mut part = Vec::new();
    (&file).take(PART as u64).read_to_end(&mut part)?;
    Ok((file, part.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use futures::TryStreamExt as _;

    use super::*;

    fn blobs(durable: bool) -> (tempfile::TempDir, Blobs) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(dir.path(), durable).unwrap();
        (dir, blobs)
    }

    #[tokio::test]
    async fn what_is_put_comes_back_whole_and_in_pieces() {
        for durable in [false, true] {
            let (_dir, blobs) = blobs(durable);
            for size in [0, 1, 1 << 20, (9 << 20) + 3] {
                let content: Vec<u8> = (0..size).map(|n: usize| (n % 251) as u8).collect();
                let hash = blake3::hash(&content);
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(&content).unwrap();
                file.rewind().unwrap();
                blobs.put_file(hash, file).await.unwrap();
                blobs.put(hash, content.clone().into()).await.unwrap();
                assert!(blobs.get(hash).await.unwrap() == content);
                let pieces: Vec<Bytes> = blobs.read(hash, size as u64).try_collect().await.unwrap();
                assert!(pieces.concat() == content && pieces.iter().all(|p| p.len() as u64 <= PIECE));
            }
        }
    }

    #[tokio::test]
    async fn damage_is_noticed_and_mended_by_the_next_put() {
        let (dir, blobs) = blobs(false);
        let hash = blake3::hash(b"content");
        blobs.put(hash, Bytes::from_static(b"content")).await.unwrap();
        let hex = hash.to_hex();
        let path = dir.path().join(&hex[..2]).join(&hex[2..]);
        std::fs::write(&path, b"c0ntent").unwrap();
        assert!(matches!(blobs.get(hash).await, Err(BlobError::Damaged(_))));
        let read: Result<Vec<Bytes>, _> = blobs.read(hash, 7).try_collect().await;
        assert!(matches!(read, Err(BlobError::Damaged(_))));
        let restarted = Blobs::local(dir.path(), false).unwrap();
        restarted.put(hash, Bytes::from_static(b"content")).await.unwrap();
        assert_eq!(restarted.get(hash).await.unwrap(), "content");
    }

    #[tokio::test]
    async fn many_may_write_the_same_at_once() {
        let (_dir, blobs) = blobs(true);
        let hash = blake3::hash(b"same");
        let puts = (0..32).map(|_| blobs.put(hash, Bytes::from_static(b"same")));
        futures::future::try_join_all(puts).await.unwrap();
        assert_eq!(blobs.get(hash).await.unwrap(), "same");
    }
}
