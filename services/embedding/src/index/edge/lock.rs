//! The right to use an index directory.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;

use crate::index::IndexError;

/// The right to use an index directory; held until the last of the engines in it is let go.
#[derive(Clone, Debug)]
pub(crate) struct DirLock(#[allow(dead_code, reason = "held, never read")] Arc<File>);

impl DirLock {
    /// Makes the directory when it is missing and locks it.
    pub(crate) fn take(dir: &Path) -> Result<Self, IndexError> {
        let failed = |source| IndexError::File { path: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(Arc::new(file))),
            Err(TryLockError::WouldBlock) => Err(IndexError::Locked(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
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
}
