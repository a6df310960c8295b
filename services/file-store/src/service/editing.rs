//! The use cases of edits: what the edit engine makes of an overlay's files becomes its next version.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use slipway_rpc::Ctx;
use uuid::Uuid;

use super::FileStore;
use crate::edit::{self, Done, Edit, MAX_EDITED, Refusal, View};
use crate::error::Error;
use crate::model::{At, Change, FileEntry, Manifest};

/// How many files are read at once.
const READS: usize = 8;
/// How much of a file is shown at once, in bytes.
const MAX_SHOWN: usize = 256 << 10;

impl FileStore {
    /// The changes that edits come to on these files, and what was done for each. Edits carry the place of what said them.
    pub(super) async fn edit(&self, files: &Manifest, edits: Vec<(usize, Edit)>) -> Result<(Vec<Change>, Vec<Done>), Error> {
        let mut contents: BTreeMap<String, Option<Bytes>> = BTreeMap::new();
        let mut wanted: Vec<FileEntry> = Vec::new();
        for path in edits.iter().flat_map(|(_, edit)| edit.paths()) {
            if contents.insert(path.to_owned(), None).is_none() {
                wanted.extend(files.find(path).cloned());
            }
        }
        let read = stream::iter(wanted).map(|entry| async move { Ok::<_, Error>((self.content(&entry).await?, entry.path)) });
        let mut read = read.buffer_unordered(READS);
        while let Some((content, path)) = read.try_next().await? {
            contents.insert(path, Some(content));
        }
        drop(read);
        let (at, edits): (Vec<usize>, Vec<Edit>) = edits.into_iter().unzip();
        let batch = tokio::task::spawn_blocking(move || edit::apply(contents, &edits)).await?;
        let mut done = Vec::with_capacity(at.len());
        for (index, outcome) in at.into_iter().zip(batch.outcomes) {
            done.push(outcome.map_err(|refusal| Error::EditRefused { index, refusal })?);
        }
        Ok((batch.changes, done))
    }

    /// Lines of a file with their numbers, from the first to the last that are asked for, as far as they fit.
    pub(crate) async fn view_file(
        &self,
        ctx: &Ctx,
        workspace: Uuid,
        at: At,
        path: String,
        (first, last): (usize, usize),
    ) -> Result<(FileEntry, View), Error> {
        let tree = self.tree_some(ctx, workspace, at).await?;
        let manifest = self.manifest(&tree.manifest).await?;
        let Some(entry) = manifest.find(&path).cloned() else { return Err(Error::FileNotFound { path }) };
        let content = self.content(&entry).await?;
        let refuse = |refusal| Error::EditRefused { index: 0, refusal };
        let text = edit::as_text(&path, &content).map_err(refuse)?;
        match edit::view(text, first, last, MAX_SHOWN) {
            Ok(view) => Ok((entry, view)),
            Err(lines) => Err(refuse(Refusal::BeyondEnd { path, lines, line: first })),
        }
    }

    /// A content, as far as the engine wants to see it: of one that is too large it only needs to know that it is.
    async fn content(&self, entry: &FileEntry) -> Result<Bytes, Error> {
        if entry.size > MAX_EDITED as u64 {
            return Err(Error::EditRefused { index: 0, refusal: Refusal::too_large(&entry.path) });
        }
        Ok(self.blobs.get(entry.hash).await?)
    }
}
