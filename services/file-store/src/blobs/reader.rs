//! One content that is being read: from the cache's file, or from the object store range by range.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use blake3::Hash;
use bytes::Bytes;
use futures::stream::{self, Stream, TryStreamExt as _};

use super::{BlobError, Blobs, PIECE};

/// An open content. Whoever puts its parts together checks the hash.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    hash: Hash,
    from: Source,
}

#[derive(Clone, Debug)]
enum Source {
    File(Arc<File>),
    /// A small one, or one that is packed.
    Memory(Bytes),
    /// One that lies there as it is.
    Store(Blobs),
}

impl Blobs {
    /// Opens a content of a known size; with a cache it is in there afterwards, when the disk takes it.
    pub(crate) async fn open(&self, hash: Hash, size: u64) -> Result<Reader, BlobError> {
        let Some(cache) = &self.cache else { return self.open_stored(hash, size).await };
        if let Some(file) = cache.open_file(hash).await {
            return Ok(Reader { hash, from: Source::File(Arc::new(file)) });
        }
        let store = self.open_stored(hash, size).await?;
        let taken = cache.take_in(hash, Box::pin(store.clone().pieces(size, 0..size))).await?;
        Ok(taken.map_or(store, |file| Reader { hash, from: Source::File(Arc::new(file)) }))
    }

    async fn open_stored(&self, hash: Hash, size: u64) -> Result<Reader, BlobError> {
        let from = if size == 0 {
            Source::Memory(Bytes::new())
        } else if size <= PIECE || self.stored_size(hash).await? != size {
            Source::Memory(self.fetch(hash).await?)
        } else {
            Source::Store(self.clone())
        };
        Ok(Reader { hash, from })
    }

    /// Part of a content of a known size, piece by piece. Damage is an error at the end, if it is the whole that is read.
    pub(crate) fn read(
        &self,
        hash: Hash,
        size: u64,
        part: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, BlobError>> + Send + use<> {
        let blobs = self.clone();
        let opened = stream::once(async move { Ok::<_, BlobError>(blobs.open(hash, size).await?.pieces(size, part)) });
        opened.try_flatten()
    }
}

impl Reader {
    /// Part of the content.
    pub(crate) async fn range(&self, range: Range<u64>) -> Result<Bytes, BlobError> {
        match &self.from {
            Source::Store(blobs) => blobs.get_range(self.hash, range).await,
            Source::Memory(content) => within(content, range).ok_or(BlobError::Damaged(self.hash)),
            Source::File(file) => {
                let file = file.clone();
                let read = move || read_range(&file, range);
                tokio::task::spawn_blocking(read).await?.map_err(BlobError::Spool)
            }
        }
    }

    /// Part of the content; all of it is checked at its end.
    fn pieces(self, size: u64, part: Range<u64>) -> impl Stream<Item = Result<Bytes, BlobError>> + Send + use<> {
        let (last, whole) = (part.end, part == (0..size));
        stream::try_unfold((self, blake3::Hasher::new(), part.start), move |(reader, mut hasher, at)| async move {
            if at >= last {
                return Ok(None);
            }
            let end = last.min(at + PIECE);
            let piece = reader.range(at..end).await?;
            hasher.update(&piece);
            if piece.len() as u64 != end - at || (whole && end == last && hasher.finalize() != reader.hash) {
                return Err(BlobError::Damaged(reader.hash));
            }
            Ok(Some((piece, (reader, hasher, end))))
        })
    }
}

/// Nothing, where the content is shorter than somebody says.
fn within(content: &Bytes, range: Range<u64>) -> Option<Bytes> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (start <= end && end <= content.len()).then(|| content.slice(start..end))
}

fn read_range(file: &File, range: Range<u64>) -> std::io::Result<Bytes> {
    let length = usize::try_from(range.end - range.start).map_err(std::io::Error::other)?;
    let mut piece = vec![0; length];
    file.read_exact_at(&mut piece, range.start)?;
    Ok(piece.into())
}
