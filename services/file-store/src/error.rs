//! What can go wrong in the file store, and which stable reason each error has.

use std::time::Duration;

use slipway_edits::{Candidate, MAX_SHOWN, Refusal};
use slipway_rpc::{Fault, Reason, Violation};
use slipway_storage::StorageError;
use uuid::Uuid;

use crate::archive::{ArchiveError, MAX_ARCHIVE_BYTES};
use crate::blobs::BlobError;
use crate::fetch::FetchError;
use crate::git::GitError;
use crate::model::{ChangeError, Conflict, Head, ManifestError, PathError, PatternError, Secret};

/// When to ask again for what an object store that is away has.
const STORE_BACK: Duration = Duration::from_secs(2);

/// An error of a use case.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no such workspace")]
    WorkspaceNotFound,
    #[error("the workspace has no such revision")]
    RevisionNotFound,
    #[error("the workspace has no revision yet")]
    WorkspaceEmpty,
    #[error("there is no such overlay; it may have been committed or have expired")]
    OverlayNotFound,
    #[error("the overlay was changed since its etag was read; read it and try again")]
    EtagMismatch { etag: String },
    #[error("the revision has no such file")]
    FileNotFound { path: String },
    #[error("the file is not UTF-8 text, or larger than 4 MiB")]
    NotText { path: String },
    #[error("{why}")]
    DocumentUnreadable { path: String, why: String },
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("the archive is larger than {MAX_ARCHIVE_BYTES} bytes")]
    UploadTooLarge,
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("{error}")]
    Unexpected { error: Box<ChangeError>, content: String },
    #[error("the base is not the head of the workspace")]
    Stale { head: Option<Head> },
    #[error("both sides changed {}", first.path)]
    MergeConflict { first: Box<Conflict>, count: usize, head: Option<Head> },
    #[error("the files hold what looks like a secret; take it out, or have it allowed by `file_store.secrets = \"report\"`")]
    SecretFound { found: Vec<Secret> },
    #[error("there is no such upload; it may have expired")]
    UploadNotFound,
    #[error("the upload goes on at byte {committed}")]
    UploadOffset { committed: u64 },
    #[error("the upload was announced with {size} bytes, and more came")]
    UploadTooLong { size: u64 },
    #[error("the upload has {committed} of {size} bytes; send the rest")]
    UploadIncomplete { committed: u64, size: u64 },
    #[error("the bytes of the upload do not have the {checksum} checksum that was announced; begin a new upload")]
    UploadCorrupt { checksum: &'static str },
    #[error("no finished upload of the project has brought this content; upload it first")]
    ContentNotFound { hash: blake3::Hash },
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("{0}")]
    Git(#[from] GitError),
    #[error("what came is not what was announced: it has the digest {digest}")]
    ImportCorrupt { digest: String },
    #[error("the repository has no files below {path:?}")]
    FolderEmpty { path: String },
    #[error("the file {path:?} cannot be in a Git repository")]
    NotForGit { path: String },
    #[error("the file has {size} bytes")]
    OffsetBeyond { size: u64 },
    #[error("the project has {limit} uploads; finish and commit some, or delete them")]
    UploadsFull { limit: u64 },
    #[error("the {quota} has {limit} overlays; commit some, or delete them")]
    OverlaysFull { quota: &'static str, limit: u64 },
    #[error("{refusal}")]
    EditRefused { index: usize, refusal: Refusal },
    #[error("the request id was used for another payload")]
    RequestIdReused { first_id: Uuid },
    #[error("the page token was not made by this call with these arguments")]
    PageTokenInvalid,
    #[error("the table of workspaces failed")]
    Store(#[from] StorageError),
    #[error("the blob store failed")]
    Blob(#[from] BlobError),
    #[error("the server does not know where its gateway is reached: set `file_store.links.url`")]
    LinkUnsupported,
    #[error("the collection of garbage failed: {0}")]
    NotCollected(String),
    #[error("contents that the change needs were just removed as unused; send it again")]
    Swept,
    #[error("the cursor is beyond revision {latest}, which is the newest")]
    CursorOutOfRange { oldest: u64, latest: u64 },
    #[error("the {quota} would have {bytes} bytes, and may have {limit}; ask for more, or delete what is not needed")]
    Quota { quota: &'static str, subject: String, bytes: u64, limit: u64 },
    #[error("a stored value cannot be read: {0}")]
    Corrupt(&'static str),
    #[error("a file of ours failed")]
    Io(#[from] std::io::Error),
    #[error("a worker thread died")]
    Worker(#[from] tokio::task::JoinError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::WorkspaceNotFound => Self::new(Reason::WorkspaceNotFound, message),
            Error::RevisionNotFound | Error::WorkspaceEmpty => Self::new(Reason::RevisionNotFound, message),
            Error::OverlayNotFound => Self::new(Reason::OverlayNotFound, message),
            Error::EtagMismatch { etag } => Self::new(Reason::EtagMismatch, message).with("etag", etag),
            Error::FileNotFound { path } => Self::new(Reason::FileNotFound, message).with("path", path),
            Error::NotText { path } => Self::new(Reason::FileNotText, message).with("path", path),
            Error::DocumentUnreadable { path, .. } => Self::new(Reason::DocumentUnreadable, message).with("path", path),
            Error::Path(e) => Self::new(Reason::PathInvalid, message).with("path", e.path),
            Error::Pattern(_) => Self::new(Reason::PatternInvalid, message),
            Error::Archive(e) => refuse_archive(e, message),
            Error::UploadTooLarge => Self::new(Reason::ArchiveTooLarge, message).with("limit_bytes", MAX_ARCHIVE_BYTES),
            Error::Change(e) => refuse_change(&e, message),
            Error::Unexpected { error, content } => refuse_change(&error, message).with("current_content", content),
            Error::Stale { head: None } => {
                Self::new(Reason::BaseRevisionStale, "the workspace has no revision yet; send no base revision")
                    .with("head_revision_id", "")
                    .with("head_number", 0)
            }
            Error::Stale { head: Some(head) } => {
                let message = format!("the workspace is at revision {}; read it and try again", head.number);
                Self::new(Reason::BaseRevisionStale, message)
                    .with("head_revision_id", head.revision_id)
                    .with("head_number", head.number)
            }
            Error::MergeConflict { first, count, head } => Self::new(Reason::MergeConflict, message)
                .with("path", &first.path)
                .with("kind", first.kind.name())
                .with("conflicts", count)
                .with("head_revision_id", head.map(|head| head.revision_id.to_string()).unwrap_or_default())
                .with("head_number", head.map_or(0, |head| head.number)),
            Error::SecretFound { found } => refuse_secrets(&found, message),
            Error::UploadNotFound => Self::new(Reason::UploadNotFound, message),
            Error::UploadOffset { committed } => Self::new(Reason::UploadOffsetWrong, message).with("committed_bytes", committed),
            Error::UploadTooLong { .. } => {
                Self::invalid(vec![Violation { field: "chunk".to_owned(), description: format!("goes too far: {message}") }])
            }
            Error::UploadIncomplete { committed, size } => {
                Self::new(Reason::UploadIncomplete, message).with("committed_bytes", committed).with("size", size)
            }
            Error::UploadCorrupt { checksum } => Self::new(Reason::UploadCorrupt, message).with("checksum", checksum),
            Error::ContentNotFound { hash } => Self::new(Reason::ContentNotFound, message).with("content_hash", hash.to_hex()),
            Error::Fetch(e) => refuse_fetch(e, message),
            Error::Git(e) => refuse_git(e, message),
            Error::ImportCorrupt { .. } | Error::FolderEmpty { .. } => Self::new(Reason::ImportRefused, message),
            Error::NotForGit { path } => Self::new(Reason::ExportUnsupported, message).with("path", path),
            Error::OffsetBeyond { size } => {
                let description = format!("is beyond the file's {size} bytes");
                Self::invalid(vec![Violation { field: "offset".to_owned(), description }])
            }
            Error::UploadsFull { limit } => Self::new(Reason::UploadsFull, message).with("limit", limit),
            Error::OverlaysFull { quota, limit } => {
                Self::new(Reason::OverlaysFull, message).with("quota", quota).with("limit", limit)
            }
            Error::EditRefused { index, refusal } => refuse_edit(index, refusal, message),
            Error::RequestIdReused { first_id } => Self::new(Reason::RequestIdReused, message).with("first_id", first_id),
            Error::PageTokenInvalid => Self::new(Reason::PageTokenInvalid, message),
            Error::CursorOutOfRange { oldest, latest } => {
                Self::new(Reason::CursorOutOfRange, message).with("oldest", oldest).with("latest", latest)
            }
            Error::Quota { quota, subject, bytes, limit } => Self::new(Reason::QuotaExceeded, message)
                .with("quota", quota)
                .with("limit_bytes", limit)
                .with("bytes", bytes)
                .quota(format!("{quota}:{subject}"), format!("would have {bytes} bytes, and may have {limit}")),
            Error::LinkUnsupported => Self::new(Reason::LinkUnsupported, message),
            Error::NotCollected(_) => Self::new(Reason::ServiceUnavailable, message).retry_after(STORE_BACK),
            Error::Swept => Self::new(Reason::ServiceUnavailable, message).retry_after(STORE_BACK),
            Error::Blob(BlobError::Away(e)) => {
                Self::new(Reason::ServiceUnavailable, BlobError::AWAY).retry_after(STORE_BACK).source(e)
            }
            Error::Blob(BlobError::Refused(what, e)) => Self::new(Reason::BlobStoreRefused, what).source(e),
            Error::Blob(BlobError::Full(e)) => Self::full(e),
            Error::Io(e) if e.kind() == std::io::ErrorKind::StorageFull => Self::full(e),
            Error::Store(source) => source.into(),
            Error::Blob(_) | Error::Corrupt(_) | Error::Io(_) | Error::Worker(_) => Self::internal(error),
        }
    }
}

fn refuse_archive(error: ArchiveError, message: String) -> Fault {
    match error {
        ArchiveError::Entry { entry, .. } => Fault::new(Reason::ArchiveInvalid, message).with("entry", entry),
        ArchiveError::Damaged { .. } => Fault::new(Reason::ArchiveInvalid, message),
        ArchiveError::Path { error } => Fault::new(Reason::PathInvalid, message).with("path", error.path),
        ArchiveError::TooLarge { entry, limit: (name, limit), .. } => {
            Fault::new(Reason::ArchiveTooLarge, message).with("entry", entry).with(name, limit)
        }
        ArchiveError::Io(_) => Fault::internal(error),
    }
}

/// Whether another try may help is not ours to say when somebody else refuses.
fn refuse_fetch(error: FetchError, message: String) -> Fault {
    match error {
        FetchError::Refused(_) | FetchError::TooLarge { .. } => Fault::new(Reason::ImportRefused, message),
        FetchError::Status { status, .. } if status < 500 => Fault::new(Reason::ImportRefused, message),
        FetchError::Status { .. } => Fault::new(Reason::ImportFailed, message),
        FetchError::Failed { source, .. } => Fault::new(Reason::ImportFailed, message).source(source),
        FetchError::Io(_) | FetchError::Client(_) => Fault::internal(error),
    }
}

fn refuse_git(error: GitError, message: String) -> Fault {
    match error {
        GitError::Missing(source) => Fault::new(Reason::ImportRefused, message).source(source),
        GitError::Io(_) => Fault::internal(error),
        _ => Fault::new(Reason::ImportRefused, message),
    }
}

/// Each place is named; the secret itself is not.
fn refuse_secrets(found: &[Secret], message: String) -> Fault {
    let fault = Fault::new(Reason::SecretFound, message).with("findings", found.len());
    found.iter().fold(fault, |fault, secret| {
        fault.violation(format!("{}:{}", secret.path, secret.line), format!("looks like a secret: {}", secret.rule))
    })
}

/// How much of the difference to the nearest place is told, in bytes: the details of an error travel in a header.
const MAX_DIFF: usize = 1_500;

fn refuse_edit(index: usize, refusal: Refusal, message: String) -> Fault {
    let fault = |reason| Fault::new(reason, message.clone()).with("edit", index);
    match refusal {
        Refusal::NotFound { path, candidates, .. } => {
            let place = |c: &Candidate| format!("{}-{} {:.0}%", c.first_line, c.last_line, c.similarity * 100.0);
            let nearest: Vec<String> = candidates.iter().map(place).collect();
            let diff = candidates.into_iter().next().map(|c| c.diff).unwrap_or_default();
            let cut = (0..=diff.len().min(MAX_DIFF)).rev().find(|at| diff.is_char_boundary(*at)).unwrap_or(0);
            fault(Reason::EditNotFound).with("path", path).with("nearest", nearest.join(", ")).with("diff", &diff[..cut])
        }
        Refusal::Ambiguous { path, count, lines } => {
            let lines: Vec<String> = lines.iter().take(MAX_SHOWN).map(usize::to_string).collect();
            fault(Reason::EditAmbiguous).with("path", path).with("count", count).with("lines", lines.join(", "))
        }
        Refusal::NoFile { path } => fault(Reason::FileNotFound).with("path", path),
        Refusal::FileExists { path } => fault(Reason::ChangeConflict).with("path", path),
        Refusal::Path(error) => fault(Reason::PathInvalid).with("path", error.path),
        Refusal::Exhausting => fault(Reason::EditMalformed),
        Refusal::Malformed { line, .. } => fault(Reason::EditMalformed).with("line", line),
        Refusal::Partial { path, line, .. } | Refusal::BeyondEnd { path, line, .. } => {
            fault(Reason::EditMalformed).with("path", path).with("line", line)
        }
        Refusal::Unreadable { path, .. } => fault(Reason::FileNotText).with("path", path),
        Refusal::NothingChanges { path } | Refusal::TooLarge { path, .. } | Refusal::Unproven { path, .. } => {
            fault(Reason::EditMalformed).with("path", path)
        }
    }
}

/// A result beyond the limits is a field over its limit; everything else does not fit the base.
fn refuse_change(error: &ChangeError, message: String) -> Fault {
    let path = match error {
        ChangeError::Missing { path, .. } | ChangeError::Taken { path, .. } => path,
        ChangeError::Unexpected { path, present, .. } => {
            let present = present.as_ref().map(|entry| entry.hash.to_hex().to_string()).unwrap_or_default();
            return Fault::new(Reason::ChangeConflict, message).with("path", path).with("current_hash", present);
        }
        ChangeError::Result(ManifestError::Clash(clash)) => clash.path(),
        ChangeError::Result(_) => {
            return Fault::invalid(vec![Violation {
                field: "changes".to_owned(),
                description: format!("go too far: {message}"),
            }]);
        }
    };
    Fault::new(Reason::ChangeConflict, message).with("path", path)
}
