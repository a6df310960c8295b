//! The use cases of reading: list files, read one, search all.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use slipway_rpc::Ctx;
use slipway_storage::page;
use uuid::Uuid;

use super::{FileStore, Page, PageRequest, cursor, cut_page};
use crate::blobs::BlobError;
use crate::error::Error;
use crate::model::{At, FileEntry, Glob, LineMatch, LineMatcher, Pin};

/// Larger files are not searched.
const MAX_SEARCHED: u64 = 4 << 20;
/// How many files are read ahead while one is searched.
const SEARCH_AHEAD: usize = 4;

/// What to search for.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) workspace_id: Uuid,
    pub(crate) at: At,
    pub(crate) matcher: LineMatcher,
    pub(crate) glob: Glob,
    pub(crate) limit: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Searched {
    /// By path and line.
    pub(crate) matches: Vec<(String, LineMatch)>,
    pub(crate) truncated: bool,
    pub(crate) revision_id: Option<Uuid>,
}

/// Where a listing of files goes on: in the tree it began with, though the head may have moved.
#[derive(Serialize, Deserialize)]
struct FileCursor {
    tree: Pin,
    path: String,
}

impl FileStore {
    /// The files of a revision or overlay, by path, and which revision that is.
    pub(crate) async fn list_files(
        &self,
        ctx: &Ctx,
        workspace: Uuid,
        at: At,
        pattern: &str,
        request: PageRequest,
    ) -> Result<(Option<Uuid>, Page<FileEntry>), Error> {
        let glob = Glob::new(pattern)?;
        let scope = format!("ListFiles/{}/{workspace}/{at:?}/{pattern}", ctx.project);
        let after: Option<FileCursor> = cursor(&scope, &request.token)?;
        let before = after.as_ref().map(|cursor| cursor.tree);
        let Some(tree) = self.tree_again(ctx, workspace, at, before).await? else {
            return Ok((None, Page { items: Vec::new(), next: String::new() }));
        };
        let manifest = self.manifest(&tree.manifest).await?;
        let rest = manifest.after(after.as_ref().map(|cursor| cursor.path.as_str()));
        let rows: Vec<_> = rest.iter().filter(|e| glob.matches(&e.path)).take(request.size + 1).cloned().collect();
        let token = |e: &FileEntry| page::encode(&scope, &FileCursor { tree: tree.pin, path: e.path.clone() });
        Ok((tree.pin.revision(), cut_page(rows, request.size, |e| e.path.len() + 96, token)))
    }

    /// One file: its entry, and its bytes from an offset on, piece by piece; no more than `length` of them unless that is 0.
    pub(crate) async fn read_file(
        &self,
        ctx: &Ctx,
        workspace: Uuid,
        at: At,
        path: String,
        (offset, length): (u64, u64),
    ) -> Result<(FileEntry, impl Stream<Item = Result<bytes::Bytes, BlobError>> + Send + use<>), Error> {
        let tree = self.tree_some(ctx, workspace, at).await?;
        let manifest = self.manifest(&tree.manifest).await?;
        let Some(entry) = manifest.find(&path).cloned() else { return Err(Error::FileNotFound { path }) };
        if offset > entry.size {
            return Err(Error::OffsetBeyond { size: entry.size });
        }
        let end = if length == 0 { entry.size } else { entry.size.min(offset.saturating_add(length)) };
        let content = self.blobs.read(entry.hash, entry.size, offset..end);
        Ok((entry, content))
    }

    /// The lines that match, by path and line.
    pub(crate) async fn search_files(&self, ctx: &Ctx, search: Search) -> Result<Searched, Error> {
        let Search { workspace_id, at, matcher, glob, limit } = search;
        let Some(tree) = self.tree(ctx, workspace_id, at).await? else { return Ok(Searched::default()) };
        let manifest = self.manifest(&tree.manifest).await?;
        let mut found = Searched { revision_id: tree.pin.revision(), ..Searched::default() };
        let candidates: Vec<FileEntry> =
            manifest.entries().iter().filter(|e| e.size <= MAX_SEARCHED && glob.matches(&e.path)).cloned().collect();
        let matcher = Arc::new(matcher);
        let searched = stream::iter(candidates).map(|entry| self.search_file(entry, matcher.clone(), limit + 1));
        let mut searched = searched.buffered(SEARCH_AHEAD);
        while let Some((path, lines)) = searched.try_next().await? {
            for line in lines {
                if found.matches.len() == limit {
                    found.truncated = true;
                    return Ok(found);
                }
                found.matches.push((path.clone(), line));
            }
        }
        Ok(found)
    }

    async fn search_file(
        &self,
        entry: FileEntry,
        matcher: Arc<LineMatcher>,
        limit: usize,
    ) -> Result<(String, Vec<LineMatch>), Error> {
        let content = self.blobs.get(entry.hash).await?;
        let find = move || if content.contains(&0) { Vec::new() } else { find_lines(&content, &matcher, limit) };
        Ok((entry.path, tokio::task::spawn_blocking(find).await?))
    }
}

/// A file that is not UTF-8 text has no lines.
fn find_lines(content: &[u8], matcher: &LineMatcher, limit: usize) -> Vec<LineMatch> {
    std::str::from_utf8(content).map(|text| matcher.find(text, limit)).unwrap_or_default()
}
