//! The layout of before: one index in the directory itself, which the records called `in-process`. It becomes a folder like the
//! others, and is read on.

use std::path::{Path, PathBuf};

use super::{SHARD, STAMP, Stamp};
use crate::embedder::Space;
use crate::index::IndexError;

/// An index of that layout.
pub(crate) struct Legacy {
    dir: PathBuf,
    stamp: Stamp,
}

impl Legacy {
    /// What the records called it.
    pub(crate) const NAME: &str = "in-process";

    /// The one in `dir`, if there is one.
    pub(crate) fn find(dir: &Path) -> Option<Self> {
        Some(Self { dir: dir.to_owned(), stamp: Stamp::read(&dir.join(STAMP))? })
    }

    /// What its vectors are of.
    pub(crate) fn space(&self) -> Space {
        self.stamp.space()
    }

    /// What the records call it from now on.
    pub(crate) fn name(&self) -> String {
        self.stamp.name()
    }

    /// Moves it into its folder, once the records know its name. A kill in between leaves the rest to the next time. Blocks.
    pub(crate) fn adopt(&self) -> Result<(), IndexError> {
        let folder = self.dir.join(self.name());
        let moved = std::fs::create_dir_all(&folder).and_then(|()| {
            if self.dir.join(SHARD).exists() {
                std::fs::rename(self.dir.join(SHARD), folder.join(SHARD))?;
            }
            std::fs::rename(self.dir.join(STAMP), folder.join(STAMP))
        });
        moved.map_err(|source| IndexError::File { path: folder, source })
    }
}
