//! The use cases of edits: what the edit engine makes of an overlay's files becomes its next version.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use slipway_edits::{self as edits, Done, Edit, MAX_EDITED, Refusal, View};
use slipway_rpc::Ctx;
use uuid::Uuid;

use super::FileStore;
use crate::error::Error;
use crate::model::{At, Change, Expected, FileEntry, Manifest, Names, Side, diff_file};

/// How many files are read at once.
const READS: usize = 8;
/// How much of a file is shown at once, in bytes.
const MAX_SHOWN: usize = 256 << 10;
/// Lines around a change in what is told of it.
const CONTEXT: usize = 3;
/// How long the shortest way to tell a change is sought, and those of a call together.
const DIFF_TIME: Duration = Duration::from_millis(200);
const DIFFS_TIME: Duration = Duration::from_secs(2);

/// What was done for an edit, and the change in unified format.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) done: Done,
    pub(crate) unified: String,
}

impl FileStore {
    /// The changes that edits come to on these files, and what was done for each. Edits carry the place of what said them.
    pub(super) async fn edit(&self, files: &Manifest, edits: Vec<(usize, Edit)>) -> Result<(Vec<Change>, Vec<Made>), Error> {
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
        let (batch, unified) = tokio::task::spawn_blocking(move || make(contents, &edits)).await?;
        let mut made = Vec::with_capacity(at.len());
        for ((index, outcome), unified) in at.into_iter().zip(batch.outcomes).zip(unified) {
            made.push(Made { done: outcome.map_err(|refusal| Error::EditRefused { index, refusal })?, unified });
        }
        Ok((batch.changes.into_iter().map(change).collect(), made))
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
        let text = edits::as_text(&path, &content).map_err(refuse)?;
        match edits::view(text, first, last, MAX_SHOWN) {
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

/// Makes the edits; each change that was made in unified format, and nothing for one that was not.
fn make(contents: BTreeMap<String, Option<Bytes>>, edits: &[Edit]) -> (edits::Batch, Vec<String>) {
    let end = Instant::now() + DIFFS_TIME;
    let mut unified = Vec::with_capacity(edits.len());
    let batch = edits::apply(contents, edits, &mut |done, step| {
        let (old, new) = (step.before.map(side), step.after.map(side));
        unified.push(match step.before == step.after {
            true => String::new(),
            false => {
                let deadline = end.min(Instant::now() + DIFF_TIME);
                diff_file(&Names::same(&done.path), old, new, CONTEXT, Some(deadline)).unified
            }
        });
    });
    unified.resize(edits.len(), String::new());
    (batch, unified)
}

fn side(content: &Bytes) -> Side<'_> {
    Side { content, executable: false }
}

fn change(change: edits::Change) -> Change {
    let expected = Expected::Whatever;
    match change {
        edits::Change::Write { path, content } => Change::Write { path, content, executable: None, expected },
        edits::Change::Delete { path } => Change::Delete { path, expected },
        edits::Change::Rename { path, new_path } => Change::Rename { path, new_path, expected },
    }
}
