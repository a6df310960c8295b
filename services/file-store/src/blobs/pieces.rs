//! Pieces of uploads: objects below `uploads/`, which is no blob's name, until the whole becomes a blob.

use std::path::Path;

use blake3::{Hash, Hasher};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use object_store::path::Path as Key;
use object_store::{Error as StoreError, MultipartUpload, ObjectStore as _, ObjectStoreExt as _, PutPayload};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{ABORT, BlobError, Blobs, PART, Place, key};

/// The folder of all pieces.
const UPLOADS: &str = "uploads";

/// How a content that was put together turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) blake3: Hash,
    pub(crate) sha256: [u8; 32],
}

/// Both checksums at once.
#[derive(Default)]
struct Summing {
    blake3: Hasher,
    sha256: Sha256,
}

impl Summing {
    fn sums(self) -> Sums {
        Sums { blake3: self.blake3.finalize(), sha256: self.sha256.finalize().into() }
    }
}

impl Blobs {
    /// Keeps a piece. When this returns, it is safe.
    pub(crate) async fn put_piece(&self, upload: Uuid, name: Uuid, content: Bytes) -> Result<(), BlobError> {
        self.store.put(&piece_key(upload, name), PutPayload::from_bytes(content)).await?;
        Ok(())
    }

    /// Removes one piece that came to nothing.
    pub(crate) async fn remove_piece(&self, upload: Uuid, name: Uuid) -> Result<(), BlobError> {
        match self.store.delete(&piece_key(upload, name)).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes everything that was kept for an upload, and what broken writes left of it.
    pub(crate) async fn remove_pieces(&self, upload: Uuid) -> Result<(), BlobError> {
        if let Place::Dir(dir) = &self.place {
            let dir = dir.join(UPLOADS).join(upload.to_string());
            return tokio::task::spawn_blocking(move || remove_dir(&dir)).await?.map_err(BlobError::Spool);
        }
        let mut pieces = self.store.list(Some(&Key::from_iter([UPLOADS, &upload.to_string()])));
        while let Some(piece) = pieces.try_next().await? {
            match self.store.delete(&piece.location).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The checksums of what the pieces are together.
    pub(crate) async fn sum_pieces(&self, upload: Uuid, names: &[Uuid]) -> Result<Sums, BlobError> {
        let mut summing = Summing::default();
        for name in names {
            summing = self.take_piece(upload, *name, summing).await?.0;
        }
        Ok(summing.sums())
    }

    /// Makes a blob of the pieces, if they are what they must be: nothing is there before that is known. Gives the checksums.
    pub(crate) async fn join_pieces(
        &self,
        upload: Uuid,
        names: &[Uuid],
        hash: Hash,
        good: impl Fn(&Sums) -> bool + Send,
        epoch: i64,
    ) -> Result<Sums, BlobError> {
        let mut target = self.store.put_multipart(&key(&hash)).await?;
        let sent = self.send_pieces(upload, names, target.as_mut()).await;
        if let Ok(sums) = &sent
            && good(sums)
        {
            target.complete().await?;
            self.known.insert(hash, epoch).await;
            return sent;
        }
        if !matches!(tokio::time::timeout(ABORT, target.abort()).await, Ok(Ok(()))) {
            tracing::warn!(%hash, "the parts of a failed upload stay behind");
        }
        sent
    }

    /// In parts that all but the last have the size that an object store wants, however the pieces were cut.
    async fn send_pieces(&self, upload: Uuid, names: &[Uuid], target: &mut dyn MultipartUpload) -> Result<Sums, BlobError> {
        let (mut summing, mut rest) = (Summing::default(), BytesMut::new());
        for name in names {
            let content;
            (summing, content) = self.take_piece(upload, *name, summing).await?;
            if rest.is_empty() && content.len() == PART {
                target.put_part(content.into()).await?;
                continue;
            }
            rest.extend_from_slice(&content);
            while rest.len() >= PART {
                target.put_part(rest.split_to(PART).freeze().into()).await?;
            }
        }
        if !rest.is_empty() {
            target.put_part(rest.freeze().into()).await?;
        }
        Ok(summing.sums())
    }

    async fn take_piece(&self, upload: Uuid, name: Uuid, mut summing: Summing) -> Result<(Summing, Bytes), BlobError> {
        let content = self.store.get(&piece_key(upload, name)).await?.bytes().await?;
        let sum = move || {
            summing.blake3.update(&content);
            summing.sha256.update(&content);
            (summing, content)
        };
        Ok(tokio::task::spawn_blocking(sum).await?)
    }
}

/// How many bytes a piece has, but the last of a call.
pub(crate) const PIECE_BYTES: usize = PART;

fn piece_key(upload: Uuid, name: Uuid) -> Key {
    Key::from_iter([UPLOADS, &upload.to_string(), &name.to_string()])
}

fn remove_dir(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
