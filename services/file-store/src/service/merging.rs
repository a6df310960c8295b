//! Bringing two sides together: reads what a merge must read, and writes what it makes.

use std::collections::HashMap;
use std::sync::Arc;

use blake3::Hash;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use slipway_rpc::Ctx;
use uuid::Uuid;

use super::FileStore;
use super::writing::Writing;
use crate::error::Error;
use crate::model::{
    Conflict, ConflictKind, ContentMerge, FileEntry, Head, Manifest, ManifestError, Merged, Print, Rename, RenameSearch,
    is_binary, merge_lines, plan,
};

/// Larger files are not merged line by line, nor compared to find renames.
const MAX_MERGED: u64 = 16 << 20;
/// No more bytes than this are read to find renames.
const MAX_COMPARED: u64 = 256 << 20;
const READS: usize = 4;

/// What became of a merge.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The files, and the contents that are new.
    Clean(Manifest, Vec<(Hash, Bytes)>),
    Conflicts(Vec<Conflict>),
}

/// What a merge would make.
#[derive(Debug)]
pub(crate) struct Preview {
    pub(crate) head: Option<Head>,
    pub(crate) outcome: Outcome,
}

impl FileStore {
    /// What a commit of the overlay would make now.
    pub(crate) async fn preview_merge(&self, ctx: &Ctx, overlay: Uuid) -> Result<Preview, Error> {
        let (overlay, theirs) = self.open_overlay(ctx, overlay).await?;
        let head = self.get_workspace(ctx, overlay.workspace_id).await?.head;
        let base = overlay.base.map(|base| base.revision_id);
        let (base, ours) = tokio::try_join!(
            self.files_of(ctx, overlay.workspace_id, base),
            self.files_of(ctx, overlay.workspace_id, head.map(|head| head.revision_id))
        )?;
        Ok(Preview { head, outcome: self.merge(base, ours, theirs).await? })
    }

    /// The files of a revision; none where there is no revision.
    pub(super) async fn files_of(&self, ctx: &Ctx, workspace: Uuid, revision: Option<Uuid>) -> Result<Arc<Manifest>, Error> {
        let Some(id) = revision else { return Ok(Arc::default()) };
        let revision = self.store.find_revision(ctx.project, workspace, id).await?.ok_or(Error::RevisionNotFound)?;
        self.manifest(&revision.manifest).await
    }

    /// Merges, and writes the contents that are new.
    pub(super) async fn merge_into(
        &self,
        writing: &Writing,
        base: Arc<Manifest>,
        head: (Option<Head>, Arc<Manifest>),
        theirs: Arc<Manifest>,
    ) -> Result<Manifest, Error> {
        let (head, ours) = head;
        match self.merge(base, ours, theirs).await? {
            Outcome::Clean(manifest, contents) => {
                for (hash, content) in contents {
                    self.put(writing, hash, content).await?;
                }
                Ok(manifest)
            }
            Outcome::Conflicts(conflicts) => {
                let count = conflicts.len();
                let first = conflicts.into_iter().next().ok_or(Error::Corrupt("a merge without a result has no conflict"))?;
                Err(Error::MergeConflict { first: Box::new(first), count, head })
            }
        }
    }

    /// Merges what two sides made of `base`.
    pub(super) async fn merge(&self, base: Arc<Manifest>, ours: Arc<Manifest>, theirs: Arc<Manifest>) -> Result<Outcome, Error> {
        let _permit = self.heavy_call().await?;
        // As git does, which follows no file without content here.
        let our_renames = self.renames(&base, &ours, false).await?;
        let their_renames = self.renames(&base, &theirs, false).await?;
        let mut plan = tokio::task::spawn_blocking(move || plan(&base, &ours, &theirs, &our_renames, &their_renames)).await?;
        let merges = stream::iter(std::mem::take(&mut plan.contents)).map(|file| self.merge_file(file));
        let mut merged = merges.buffered(READS);
        let mut contents = Vec::new();
        while let Some(result) = merged.try_next().await? {
            match result {
                Ok((entry, content)) => {
                    contents.push((entry.hash, content));
                    plan.files.push(entry);
                }
                Err(conflict) => plan.conflicts.push(*conflict),
            }
        }
        if !plan.conflicts.is_empty() {
            plan.conflicts.sort_by(|a, b| a.path.cmp(&b.path));
            return Ok(Outcome::Conflicts(plan.conflicts));
        }
        match Manifest::new(plan.files) {
            Ok(manifest) => Ok(Outcome::Clean(manifest, contents)),
            Err(ManifestError::Clash(clash)) => {
                let path = clash.path().to_owned();
                let (kind, lines) = (ConflictKind::Tree, Vec::new());
                Ok(Outcome::Conflicts(vec![Conflict { path, kind, base: None, ours: None, theirs: None, lines }]))
            }
            Err(error) => Err(Error::Change(error.into())),
        }
    }

    async fn merge_file(&self, file: ContentMerge) -> Result<Result<(FileEntry, Bytes), Box<Conflict>>, Error> {
        if [&file.base, &file.ours, &file.theirs].iter().any(|entry| entry.size > MAX_MERGED) {
            return Ok(Err(Box::new(file.conflict(ConflictKind::Binary, Vec::new()))));
        }
        let (base, ours, theirs) =
            tokio::try_join!(self.blobs.get(file.base.hash), self.blobs.get(file.ours.hash), self.blobs.get(file.theirs.hash))?;
        Ok(tokio::task::spawn_blocking(move || merge_contents(&file, &base, &ours, &theirs)).await?)
    }

    /// As [`Self::renames`], remembered. Of files without content, too.
    pub(super) async fn renames_between(
        &self,
        old: (Hash, &Manifest),
        new: (Hash, &Manifest),
    ) -> Result<Arc<Vec<Rename>>, Error> {
        if let Some(known) = self.renames.get(&(old.0, new.0)).await {
            return Ok(known);
        }
        let found = Arc::new(self.renames(old.1, new.1, true).await?);
        self.renames.insert((old.0, new.0), found.clone()).await;
        Ok(found)
    }

    /// The files of `old` that have another name in `new`.
    pub(super) async fn renames(&self, old: &Manifest, new: &Manifest, empty: bool) -> Result<Vec<Rename>, Error> {
        let search = RenameSearch::new(old, new, empty);
        let (mut left, mut hashes) = (MAX_COMPARED, Vec::new());
        for entry in search.to_compare() {
            if entry.size <= left.min(MAX_MERGED) {
                left -= entry.size;
                hashes.push(entry.hash);
            }
        }
        let prints = stream::iter(hashes).map(|hash| async move {
            let content = self.blobs.get(hash).await?;
            Ok::<_, Error>((hash, tokio::task::spawn_blocking(move || Print::of(&content)).await?))
        });
        let prints: HashMap<Hash, Print> = prints.buffer_unordered(READS).try_collect().await?;
        Ok(tokio::task::spawn_blocking(move || search.finish(&prints)).await?)
    }
}

fn merge_contents(file: &ContentMerge, base: &[u8], ours: &[u8], theirs: &[u8]) -> Result<(FileEntry, Bytes), Box<Conflict>> {
    if [base, ours, theirs].into_iter().any(is_binary) {
        return Err(Box::new(file.conflict(ConflictKind::Binary, Vec::new())));
    }
    match merge_lines(base, ours, theirs) {
        Merged::Clean(content) => {
            let hash = blake3::hash(&content);
            let entry = FileEntry { path: file.path.clone(), size: content.len() as u64, hash, executable: file.executable };
            Ok((entry, content.into()))
        }
        Merged::Conflict(lines) => Err(Box::new(file.conflict(ConflictKind::Content, lines))),
    }
}
