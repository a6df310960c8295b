//! The use case of comparing two revisions.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use slipway_rpc::Ctx;
use slipway_storage::page;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::{FileStore, PAGE_BYTES, Page, PageRequest, cursor};
use crate::error::Error;
use crate::model::{At, Changed, FileDiff, FileEntry, Names, Pin, Side, changed_files, diff_file, too_large_to_diff};

/// After this long a difference need no longer be the shortest.
const PATIENCE: Duration = Duration::from_secs(1);
/// Files from this size on are compared a few at a time.
const LARGE: u64 = 4 << 20;

/// What to compare.
#[derive(Debug)]
pub(crate) struct DiffRequest {
    pub(crate) workspace_id: Uuid,
    pub(crate) from: Uuid,
    pub(crate) to: At,
    pub(crate) context: usize,
    pub(crate) page: PageRequest,
}

/// Where a comparison goes on: with the tree it began with, though the head may have moved.
#[derive(Serialize, Deserialize)]
struct DiffCursor {
    to: Pin,
    path: String,
}

impl FileStore {
    /// The files that differ, by path. A page ends when the next file would take it beyond what fits into a message.
    pub(crate) async fn diff_revisions(&self, ctx: &Ctx, request: DiffRequest) -> Result<Page<FileDiff>, Error> {
        let DiffRequest { workspace_id, from, to, context, page } = request;
        let scope = format!("DiffRevisions/{}/{workspace_id}/{from}/{to:?}/{context}", ctx.project);
        let after: Option<DiffCursor> = cursor(&scope, &page.token)?;
        let before = after.as_ref().map(|cursor| cursor.to);
        let from = self.resolve_some(ctx, workspace_id, Some(from)).await?;
        let to = self.tree_again(ctx, workspace_id, to, before).await?.ok_or(Error::WorkspaceEmpty)?;
        let (old, new) = (self.manifest(&from.manifest).await?, self.manifest(&to.manifest).await?);
        let renames = self.renames_between((from.manifest.hash, &old), (to.manifest.hash, &new)).await?;
        let changed = changed_files(&old, &new, &renames);
        let done = after.map_or(0, |cursor| changed.partition_point(|c| c.path <= cursor.path.as_str()));

        let mut items: Vec<FileDiff> = Vec::new();
        let mut bytes = 0;
        for file in &changed[done..] {
            if items.len() == page.size {
                break;
            }
            let diff = self.diff(file, context).await?;
            bytes += diff.weight();
            if bytes > PAGE_BYTES && !items.is_empty() {
                break;
            }
            items.push(diff);
        }
        let more = done + items.len() < changed.len();
        let token = |diff: &FileDiff| page::encode(&scope, &DiffCursor { to: to.pin, path: diff.path.clone() });
        let next = items.last().filter(|_| more).map(token).unwrap_or_default();
        Ok(Page { items, next })
    }

    async fn diff(&self, changed: &Changed<'_>, context: usize) -> Result<FileDiff, Error> {
        if changed.similarity.is_some() && changed.old.map(|e| e.hash) == changed.new.map(|e| e.hash) {
            return Ok(FileDiff::moved(changed));
        }
        if too_large_to_diff(changed) {
            return Ok(FileDiff::binary(changed));
        }
        let large = [changed.old, changed.new].into_iter().flatten().any(|e| e.size >= LARGE);
        let permit = if large { Some(self.heavy_call().await?) } else { None };
        let (old, new) = (self.side(changed.old).await?, self.side(changed.new).await?);
        let names = changed.names();
        Ok(tokio::task::spawn_blocking(move || compare(&names, old, new, context, permit)).await?)
    }

    async fn side(&self, entry: Option<&FileEntry>) -> Result<Option<(Bytes, bool)>, Error> {
        let Some(entry) = entry else { return Ok(None) };
        Ok(Some((self.blobs.get(entry.hash).await?, entry.executable)))
    }
}

fn compare(
    names: &Names,
    old: Option<(Bytes, bool)>,
    new: Option<(Bytes, bool)>,
    context: usize,
    _permit: Option<OwnedSemaphorePermit>,
) -> FileDiff {
    diff_file(names, as_side(&old), as_side(&new), context, Some(Instant::now() + PATIENCE))
}

fn as_side(side: &Option<(Bytes, bool)>) -> Option<Side<'_>> {
    side.as_ref().map(|(content, executable)| Side { content, executable: *executable })
}
