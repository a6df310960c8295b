//! Overlays: trees of files that are not committed yet; and what a request that reads files can be about.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Head, Kept, Manifest, Revision};

/// Files that began as a revision and may become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlay {
    pub(crate) id: Uuid,
    pub(crate) workspace_id: Uuid,
    /// The revision that it was made of; `None` when the workspace had none.
    pub(crate) base: Option<Head>,
    pub(crate) name: String,
    pub(crate) author_id: Uuid,
    /// Counts the changes, from 1.
    pub(crate) version: u64,
    /// The list of its files, as a revision has it.
    pub(crate) manifest: Kept,
    pub(crate) file_count: u64,
    pub(crate) total_bytes: u64,
    pub(crate) create_time: i64,
    pub(crate) update_time: i64,
    pub(crate) expire_time: i64,
}

impl Overlay {
    /// What the API shows of the version.
    pub(crate) fn etag(&self) -> String {
        self.version.to_string()
    }

    /// The next version, with other files.
    pub(crate) fn with(&self, kept: Kept, manifest: &Manifest, now: i64, expire_time: i64) -> Self {
        Self {
            version: self.version + 1,
            manifest: kept,
            file_count: manifest.entries().len() as u64,
            total_bytes: manifest.total_bytes(),
            update_time: now,
            expire_time,
            ..self.clone()
        }
    }
}

/// What a request reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Head,
    Revision(Uuid),
    Overlay(Uuid),
}

/// A tree that does not change: what the pages of a listing have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Pin {
    Revision(Uuid),
    Overlay { id: Uuid, version: u64 },
}

impl Pin {
    /// Where to look for it again.
    pub(crate) fn at(self) -> At {
        match self {
            Self::Revision(id) => At::Revision(id),
            Self::Overlay { id, .. } => At::Overlay(id),
        }
    }

    /// The revision that it is, if it is one.
    pub(crate) fn revision(self) -> Option<Uuid> {
        match self {
            Self::Revision(id) => Some(id),
            Self::Overlay { .. } => None,
        }
    }
}

/// The files of a revision or of an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) pin: Pin,
    pub(crate) manifest: Kept,
}

impl From<&Revision> for Tree {
    fn from(revision: &Revision) -> Self {
        Self { pin: Pin::Revision(revision.id), manifest: revision.manifest.clone() }
    }
}

impl From<&Overlay> for Tree {
    fn from(overlay: &Overlay) -> Self {
        Self { pin: Pin::Overlay { id: overlay.id, version: overlay.version }, manifest: overlay.manifest.clone() }
    }
}
