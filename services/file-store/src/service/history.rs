//! The use cases of histories: in which revisions a file changed, and which one each of its lines comes from.

use std::collections::VecDeque;
use std::sync::Arc;

use blake3::Hash;
use bytes::Bytes;
use futures::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use slipway_rpc::Ctx;
use slipway_storage::page;
use uuid::Uuid;

use super::{FileStore, Page, PageRequest, cursor};
use crate::error::Error;
use crate::model::{Blame, BlameRange, FileEntry, FileStatus, Manifest, Revision, is_binary};

/// How many revisions one call for a history looks at.
const LOOKED_AT: usize = 500;
/// How many revisions are read at once.
const READ: u64 = 100;
/// The largest file whose lines are told apart.
const MAX_BLAMED: u64 = 4 << 20;

/// What became of a file in a revision.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) revision: Revision,
    pub(crate) status: FileStatus,
    /// The file in that revision, and in the one before.
    pub(crate) new: Option<FileEntry>,
    pub(crate) old: Option<FileEntry>,
    /// For a renamed file, in percent.
    pub(crate) similarity: u32,
}

/// A file whose history is asked for.
#[derive(Debug)]
pub(crate) struct HistoryRequest {
    pub(crate) workspace_id: Uuid,
    pub(crate) path: String,
    /// `None`: the head.
    pub(crate) revision: Option<Uuid>,
    pub(crate) page: PageRequest,
}

/// Where a history goes on.
#[derive(Serialize, Deserialize)]
struct HistoryCursor {
    /// The revision to look at next.
    number: u64,
    /// The file's name in it.
    path: String,
    /// Whether anything was found before.
    found: bool,
}

/// A way back through the revisions, along one file.
struct Walk {
    workspace: Uuid,
    path: String,
    /// Those that were read, the newest first; the first is the next to be compared with the one before it.
    revisions: VecDeque<Revision>,
    /// The revision to read on below.
    below: u64,
}

/// Where a step back leads to.
enum Step {
    Changed(Box<Event>),
    Same,
    End,
}

impl FileStore {
    /// The revisions in which a file changed, the newest first.
    pub(crate) async fn file_history(&self, ctx: &Ctx, request: HistoryRequest) -> Result<Page<Event>, Error> {
        let HistoryRequest { workspace_id, path, revision, page } = request;
        let named = revision.map(|id| id.to_string()).unwrap_or_default();
        let scope = format!("ListFileHistory/{}/{workspace_id}/{named}/{path}", ctx.project);
        let after: Option<HistoryCursor> = cursor(&scope, &page.token)?;
        let start = self.resolve_some(ctx, workspace_id, revision).await?;
        let mut found = after.as_ref().is_some_and(|cursor| cursor.found);
        let mut walk = match after {
            Some(cursor) => Walk::new(workspace_id, cursor.path, cursor.number + 1),
            None => Walk::new(workspace_id, path.clone(), start.number + 1),
        };
        let mut items = Vec::new();
        for _ in 0..LOOKED_AT {
            match self.step(ctx, &mut walk).await? {
                Step::Changed(event) => items.push(*event),
                Step::Same => {}
                Step::End if items.is_empty() && !found => return Err(Error::FileNotFound { path }),
                Step::End => return Ok(Page { items, next: String::new() }),
            }
            if items.len() == page.size {
                break;
            }
        }
        found |= !items.is_empty();
        let Some(number) = walk.next_number() else { return Ok(Page { items, next: String::new() }) };
        let next = page::encode(&scope, &HistoryCursor { number, path: walk.path, found });
        Ok(Page { items, next })
    }

    /// Which revision each line of a file comes from, found going back.
    pub(crate) async fn blame_file(
        self: Arc<Self>,
        ctx: Ctx,
        workspace: Uuid,
        revision: Option<Uuid>,
        path: String,
    ) -> Result<impl Stream<Item = Result<Vec<(Event, BlameRange)>, Error>> + Send + use<>, Error> {
        let start = self.resolve_some(&ctx, workspace, revision).await?;
        let Some(file) = self.manifest(&start.manifest).await?.find(&path).cloned() else {
            return Err(Error::FileNotFound { path });
        };
        let content = self.text_of(&file).await?.ok_or(Error::NotText { path: path.clone() })?;
        let state = Blaming {
            store: self,
            ctx,
            walk: Walk::new(workspace, path, start.number + 1),
            blame: Blame::new(&content),
            content,
        };
        Ok(stream::try_unfold(state, |mut state| async move {
            while !state.blame.is_complete() {
                let found = state.advance().await?;
                if !found.is_empty() {
                    return Ok(Some((found, state)));
                }
            }
            Ok(None)
        }))
    }

    /// A content that lines can be told apart in.
    async fn text_of(&self, file: &FileEntry) -> Result<Option<Bytes>, Error> {
        if file.size > MAX_BLAMED {
            return Ok(None);
        }
        let content = self.blobs.get(file.hash).await?;
        Ok((!is_binary(&content) && std::str::from_utf8(&content).is_ok()).then_some(content))
    }

    /// Compares the next revision with the one before it.
    async fn step(&self, ctx: &Ctx, walk: &mut Walk) -> Result<Step, Error> {
        if walk.revisions.len() < 2 && walk.below > 1 {
            let more = self.store.list_revisions(ctx.project, walk.workspace, Some(walk.below), READ).await?;
            walk.below = more.last().map_or(1, |revision| revision.number);
            walk.revisions.extend(more);
        }
        let Some(revision) = walk.revisions.pop_front() else { return Ok(Step::End) };
        let before = walk.revisions.front();
        if before.is_some_and(|before| before.manifest.hash == revision.manifest.hash) {
            return Ok(Step::Same);
        }
        let files = self.manifest(&revision.manifest).await?;
        let files_before = match before {
            Some(before) => self.manifest(&before.manifest).await?,
            None => Arc::default(),
        };
        let (new, old) = (files.find(&walk.path).cloned(), files_before.find(&walk.path).cloned());
        let (status, old, similarity) = match (&new, old) {
            (None, None) => return Ok(Step::Same),
            (Some(new), Some(old)) if *new == old => return Ok(Step::Same),
            (Some(_), Some(old)) => (FileStatus::Modified, Some(old), 0),
            (None, Some(old)) => (FileStatus::Deleted, Some(old), 0),
            (Some(new), None) => match self.name_before(before, (revision.manifest.hash, &files), &new.path).await? {
                Some((old, similarity)) => (FileStatus::Renamed, Some(old), similarity),
                None => (FileStatus::Added, None, 0),
            },
        };
        if let Some(old) = &old {
            walk.path.clone_from(&old.path);
        }
        Ok(Step::Changed(Box::new(Event { revision, status, new, old, similarity })))
    }

    /// The file that was renamed to `path`, if one was.
    async fn name_before(
        &self,
        before: Option<&Revision>,
        (hash, files): (Hash, &Manifest),
        path: &str,
    ) -> Result<Option<(FileEntry, u32)>, Error> {
        let Some(before) = before else { return Ok(None) };
        let files_before = self.manifest(&before.manifest).await?;
        let renames = self.renames_between((before.manifest.hash, &files_before), (hash, files)).await?;
        Ok(renames.iter().find(|rename| rename.to.path == path).map(|rename| (rename.from.clone(), rename.similarity)))
    }
}

impl Walk {
    /// From the newest revision below the number `below`.
    fn new(workspace: Uuid, path: String, below: u64) -> Self {
        Self { workspace, path, revisions: VecDeque::new(), below }
    }

    /// The revision that is looked at next; `None` when there is none.
    fn next_number(&self) -> Option<u64> {
        self.revisions.front().map(|revision| revision.number)
    }
}

/// A file whose lines are being told apart.
struct Blaming {
    store: Arc<FileStore>,
    ctx: Ctx,
    walk: Walk,
    blame: Blame,
    /// As far back as the walk is.
    content: Bytes,
}

impl Blaming {
    /// One step back. Gives the lines that the revision wrote.
    async fn advance(&mut self) -> Result<Vec<(Event, BlameRange)>, Error> {
        let event = match self.store.step(&self.ctx, &mut self.walk).await? {
            Step::Changed(event) => *event,
            Step::Same => return Ok(Vec::new()),
            // Every file was added by some revision, which took all the lines that were left.
            Step::End => return Err(Error::Corrupt("a file is in no revision")),
        };
        let before = match &event.old {
            Some(old) => self.store.text_of(old).await?,
            None => None,
        };
        let (content, mut blame) = (self.content.clone(), std::mem::take(&mut self.blame));
        let (before, blame, found) = tokio::task::spawn_blocking(move || {
            // What was not text before has no line of this.
            let before = before.unwrap_or_default();
            let found = blame.step(&before, &content);
            (before, blame, found)
        })
        .await?;
        (self.content, self.blame) = (before, blame);
        Ok(found.into_iter().map(|range| (event.clone(), range)).collect())
    }
}
