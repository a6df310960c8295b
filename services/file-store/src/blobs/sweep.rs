//! What garbage collection needs of the blob store: list all, remove one, clear away what broken writes left.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use blake3::Hash;
use futures::stream::{Stream, TryStreamExt as _};
use object_store::{Error as StoreError, ObjectStoreExt as _};

use super::{BlobError, Blobs, Place, key};

/// A blob as it lies in the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    pub(crate) hash: Hash,
    pub(crate) size: u64,
    /// When it was last written, in microseconds since 1970 by the store's clock.
    pub(crate) time: i64,
}

impl Blobs {
    /// Every blob, in no order. What does not have the name of a blob is none of ours.
    pub(crate) fn list(&self) -> impl Stream<Item = Result<Listed, BlobError>> + Send + Unpin + use<> {
        let blobs = self.store.list(None).map_err(BlobError::from);
        Box::pin(blobs.try_filter_map(|object| async move {
            let name: String = object.location.parts().map(|part| part.as_ref().to_owned()).collect();
            let time = object.last_modified.timestamp_micros();
            Ok(Hash::from_hex(&name).ok().map(|hash| Listed { hash, size: object.size, time }))
        }))
    }

    /// Removes a blob, which may be gone already.
    pub(crate) async fn remove(&self, hash: Hash) -> Result<(), BlobError> {
        self.known.invalidate(&hash).await;
        if let Some(cache) = &self.cache {
            cache.remove(hash);
        }
        match self.store.delete(&key(&hash)).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a blob is there.
    pub(crate) async fn exists(&self, hash: Hash) -> Result<bool, BlobError> {
        match self.store.head(&key(&hash)).await.map_err(BlobError::from) {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes what writes that were broken off before `before` left in the local directory; how many files it was. In a
    /// bucket that is the business of a lifecycle rule.
    pub(crate) async fn remove_remains(&self, before: i64) -> Result<u64, BlobError> {
        let Place::Dir(dir) = &self.place else { return Ok(0) };
        let dir = dir.clone();
        tokio::task::spawn_blocking(move || remove_remains(&dir, before)).await?.map_err(BlobError::Spool)
    }
}

/// The object store writes to `name#number` beside the name and renames it at the end.
fn remove_remains(dir: &Path, before: i64) -> std::io::Result<u64> {
    let mut removed = 0;
    for folder in std::fs::read_dir(dir)? {
        let folder = folder?;
        if !folder.file_type()?.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(folder.path())? {
            let path = file?.path();
            if is_remains(&path) && modified(&path).is_some_and(|time| time < before) {
                std::fs::remove_file(&path)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

fn is_remains(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('#'));
    name.is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// `None`: it went meanwhile.
fn modified(path: &PathBuf) -> Option<i64> {
    let since: Duration = std::fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok()
}
