//! The use case of importing from Git: the tip of a branch as one revision, or its last commits as one each.
//!
//! The contents of all commits are written first; then all revisions land in one transaction, or none does. What Git has and
//! a workspace has not, links and other repositories, is left out and named.

use std::collections::HashMap;
use std::path::PathBuf;

use blake3::{Hash, Hasher};
use bytes::Bytes;
use futures::TryStreamExt as _;
use slipway_rpc::Ctx;
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::FileStore;
use super::revisions::{Base, Draft};
use super::writing::Writing;
use crate::archive::{Budget, Limits};
use crate::blobs::PIECE;
use crate::error::Error;
use crate::fetch::Guard;
use crate::git::{GitBlobs, GitCommit, GitEntry, GitError, GitSource, Repository};
use crate::model::{ChangeError, FileEntry, Manifest, Revision, RevisionKind, check_path, nfc};
use crate::store::RequestKey;

/// How many names of what was left out are given.
const MAX_NAMED: usize = 100;
/// The most characters of a revision's message.
const MAX_MESSAGE: usize = 2_000;

/// Where a history is.
#[derive(Clone, Debug)]
pub(crate) enum GitFrom {
    /// An `https://` address.
    Url(String),
    /// A bundle that was uploaded.
    Bundle(Hash),
}

/// A history to import.
#[derive(Debug)]
pub(crate) struct GitImport {
    pub(crate) workspace_id: Uuid,
    pub(crate) from: GitFrom,
    /// Empty: what the repository calls `HEAD`.
    pub(crate) reference: String,
    /// Only what is below this folder; empty: everything.
    pub(crate) folder: String,
    /// How many commits become revisions.
    pub(crate) commits: u32,
    pub(crate) base: Option<Uuid>,
    /// Empty: the commit's.
    pub(crate) message: String,
    pub(crate) key: RequestKey,
}

/// What came of an import.
#[derive(Debug)]
pub(crate) struct GitImported {
    pub(crate) revision: Revision,
    pub(crate) revisions: u32,
    /// The commit that the last revision is.
    pub(crate) commit: String,
    /// Links and the like, of the last commit.
    pub(crate) skipped: Vec<String>,
}

/// What is known of the blobs of a repository.
type Known = HashMap<String, (Hash, u64)>;

impl FileStore {
    /// Makes revisions of commits.
    pub(crate) async fn import_git(&self, ctx: &Ctx, import: GitImport) -> Result<GitImported, Error> {
        self.get_workspace(ctx, import.workspace_id).await?;
        if let Some(revision) = self.find_first(ctx, import.workspace_id, &import.key).await? {
            return Ok(GitImported { revision, revisions: 0, commit: String::new(), skipped: Vec::new() });
        }
        let permit = self.heavy_call().await?;
        let (limit, time) = (self.import.max_mib << 20, std::time::Duration::from_secs(self.import.timeout_seconds));
        let repository = Repository::create(&self.spool, limit, time).await?;
        let (source, _bundle) = self.source(ctx, &import.from).await?;
        let tip = repository.bring(&source, &import.reference, import.commits).await?;
        let commits = repository.commits(&tip, import.commits).await?;
        let writing = self.start_writing().await?;
        let (mut blobs, mut known) = (repository.blobs()?, Known::new());
        let (mut drafts, mut skipped): (Vec<Draft>, _) = (Vec::new(), Vec::new());
        for (n, commit) in commits.iter().enumerate() {
            let entries = repository.entries(&commit.id).await?;
            let manifest;
            (manifest, skipped) = self.take_files(&writing, &mut blobs, &mut known, entries, &import.folder).await?;
            let last = n + 1 == commits.len();
            let message = message(commit, if last { &import.message } else { "" });
            let draft = match drafts.last() {
                None => self.draft(ctx, &writing, import.workspace_id, Base::Exactly(import.base), message, manifest).await?,
                // One that follows another of this import brings what that one has not.
                Some(Draft { manifest: before, .. }) => {
                    self.draft_after(&writing, (import.workspace_id, Base::Any), Some(before), message, manifest).await?
                }
            };
            drafts.push(Draft { kind: RevisionKind::Import, ..draft });
        }
        drop(permit);
        let revisions = u32::try_from(drafts.len()).unwrap_or(u32::MAX);
        let revision = self.land_all(ctx, drafts, writing, &import.key).await?;
        Ok(GitImported { revision, revisions, commit: tip, skipped })
    }

    /// Checks the address, or fetches the bundle into a file that goes when the second value is dropped.
    async fn source(&self, ctx: &Ctx, from: &GitFrom) -> Result<(GitSource, Option<tempfile::TempPath>), Error> {
        match from {
            GitFrom::Url(address) => {
                let guard = Guard::new(&self.import);
                let url = guard.check(address)?;
                let host = url.host_str().unwrap_or_default().to_owned();
                let port = url.port_or_known_default().unwrap_or(443);
                let addresses = guard.resolve(&host, port).await?;
                Ok((GitSource::Url { url: url.into(), host, port, addresses }, None))
            }
            GitFrom::Bundle(hash) => {
                let path = self.spool_upload(ctx, *hash).await?;
                Ok((GitSource::Bundle(PathBuf::from(&path)), Some(path)))
            }
        }
    }

    async fn spool_upload(&self, ctx: &Ctx, hash: Hash) -> Result<tempfile::TempPath, Error> {
        let size = self.uploaded(ctx, hash).await?;
        let dir = self.spool.clone();
        let make = move || tempfile::NamedTempFile::new_in(dir);
        let (file, path) = tokio::task::spawn_blocking(make).await??.into_parts();
        let mut file = tokio::fs::File::from_std(file);
        let mut pieces = std::pin::pin!(self.blobs.read(hash, size, 0..size));
        while let Some(piece) = pieces.try_next().await? {
            file.write_all(&piece).await?;
        }
        file.flush().await?;
        Ok(path)
    }

    /// The files of a commit. A content that an earlier commit had is not read again.
    async fn take_files(
        &self,
        writing: &Writing,
        blobs: &mut GitBlobs,
        known: &mut Known,
        entries: Vec<GitEntry>,
        folder: &str,
    ) -> Result<(Manifest, Vec<String>), Error> {
        let limits = Limits::default();
        let mut budget = Budget::new(&limits, u64::MAX);
        let (mut files, mut skipped) = (Vec::new(), Vec::new());
        for GitEntry { path, id, size, executable, file } in entries {
            let Some(path) = below(&path, folder) else { continue };
            if !file {
                if skipped.len() < MAX_NAMED {
                    skipped.push(path.to_owned());
                }
                continue;
            }
            let path = nfc(path);
            check_path(&path)?;
            if path.split('/').any(|part| part.eq_ignore_ascii_case(".git")) {
                return Err(GitError::Forbidden(path).into());
            }
            budget.spend_file(&path, size)?;
            let (hash, size) = match known.get(&id) {
                Some(content) => *content,
                None => {
                    let content = self.take_blob(writing, blobs, &id).await?;
                    known.insert(id, content);
                    content
                }
            };
            files.push(FileEntry { path, size, hash, executable });
        }
        if files.is_empty() && !folder.is_empty() {
            return Err(Error::FolderEmpty { path: folder.to_owned() });
        }
        let manifest = Manifest::new(files).map_err(|e| Error::Change(ChangeError::Result(e)))?;
        Ok((manifest, skipped))
    }

    /// Writes one content: a small one from memory, another through a file.
    async fn take_blob(&self, writing: &Writing, blobs: &mut GitBlobs, id: &str) -> Result<(Hash, u64), Error> {
        let size = blobs.ask(id).await?;
        if size <= PIECE {
            let content: Bytes = blobs.read(PIECE).await?;
            let hash = blake3::hash(&content);
            self.put(writing, hash, content).await?;
            return Ok((hash, size));
        }
        let dir = self.spool.clone();
        let file = tokio::task::spawn_blocking(move || tempfile::tempfile_in(dir)).await??;
        let (mut file, mut hasher) = (tokio::fs::File::from_std(file), Hasher::new());
        loop {
            let piece = blobs.read(PIECE).await?;
            if piece.is_empty() {
                break;
            }
            hasher.update(&piece);
            file.write_all(&piece).await?;
        }
        file.flush().await?;
        let mut file = file.into_std().await;
        std::io::Seek::rewind(&mut file)?;
        let hash = hasher.finalize();
        self.put_file(writing, hash, file).await?;
        Ok((hash, size))
    }
}

/// The path below a folder, if it is there.
fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    if folder.is_empty() {
        return Some(path);
    }
    path.strip_prefix(folder)?.strip_prefix('/')
}

fn message(commit: &GitCommit, given: &str) -> String {
    let text = if given.is_empty() { &commit.message } else { given };
    // A message of a revision holds no control characters but these.
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).take(MAX_MESSAGE).collect()
}
