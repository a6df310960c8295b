//! The domain of the file store: workspaces, revisions, files, and the rules they keep. No async, no I/O.

mod blame;
mod change;
mod chart;
mod delta;
mod diff;
mod manifest;
mod merge;
mod overlay;
mod pattern;
mod renames;
mod secrets;
mod upload;

use uuid::Uuid;

#[cfg(test)]
pub(crate) use merge::tests as tests_with_git;

pub(crate) use blame::{Blame, BlameRange};
pub(crate) use change::{Change, ChangeError, Expected, apply};
pub(crate) use chart::{ChartIndex, OciReference};
pub(crate) use delta::{Delta, Kept};
pub(crate) use diff::{
    Changed, DiffLine, FileDiff, FileStatus, Hunk, LineKind, Names, Side, changed_files, diff_file, too_large_to_diff,
};
pub(crate) use manifest::{Clash, FileEntry, Manifest, ManifestError, check_tree};
pub(crate) use merge::{Conflict, ConflictKind, ContentMerge, LineClash, Lines, Merged, merge_lines, plan};
pub(crate) use overlay::{At, Overlay, Pin, Tree};
pub(crate) use pattern::{Glob, LineMatch, LineMatcher, PatternError};
pub(crate) use renames::{Print, Rename, Search as RenameSearch, is_binary};
pub(crate) use secrets::{MAX_SCANNED, Secret, SecretReport, find_secrets};
pub(crate) use slipway_edits::{PathError, PathRule, check_length, check_parts, check_path, fold, nfc};
pub(crate) use upload::{Piece, Upload, are_whole};

/// The most files of one revision.
pub(crate) const MAX_FILES: u64 = 20_000;
/// The most bytes of one file.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 30;
/// The most bytes of one revision.
pub(crate) const MAX_REVISION_BYTES: u64 = 4 << 30;

/// A tree of files with a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workspace {
    pub(crate) id: Uuid,
    pub(crate) project_id: Uuid,
    pub(crate) name: String,
    pub(crate) head: Option<Head>,
    pub(crate) create_time: i64,
    pub(crate) update_time: i64,
}

/// The newest revision of a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) revision_id: Uuid,
    pub(crate) number: u64,
}

/// How a revision came to be; the numbers are those of the API and of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RevisionKind {
    Import = 1,
    Commit = 2,
    Restore = 3,
}

impl RevisionKind {
    /// The kind that the table holds as `number`.
    pub(crate) fn from_number(number: i16) -> Option<Self> {
        [Self::Import, Self::Commit, Self::Restore].into_iter().find(|k| *k as i16 == number)
    }
}

/// An immutable state of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) id: Uuid,
    pub(crate) workspace_id: Uuid,
    pub(crate) number: u64,
    pub(crate) parent_id: Option<Uuid>,
    pub(crate) kind: RevisionKind,
    pub(crate) message: String,
    pub(crate) author_id: Uuid,
    /// The list of its files. The manifest's hash is the revision's too.
    pub(crate) manifest: Kept,
    pub(crate) file_count: u64,
    pub(crate) total_bytes: u64,
    pub(crate) restored_from_id: Option<Uuid>,
    pub(crate) plan_id: Option<Uuid>,
    /// The base that its changes were made for, when the head had moved and they were merged.
    pub(crate) merged_base_id: Option<Uuid>,
    pub(crate) create_time: i64,
    /// How many places look like a secret; `None`: nobody has looked.
    pub(crate) secrets: Option<u32>,
}
