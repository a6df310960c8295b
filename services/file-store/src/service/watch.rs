//! The use case of watching a workspace: its revisions are the log, and their numbers the cursor, so that a watcher misses
//! nothing that was committed, whenever and on whichever replica it came or comes again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream};
use slipway_rpc::Ctx;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::FileStore;
use crate::error::Error;
use crate::model::{Revision, Workspace};

/// How often a watcher looks for what other replicas committed. What this one did it hears of at once.
const LOOK: Duration = Duration::from_millis(500);
/// A stream on which nothing else was sent for so long says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many revisions are read at once.
const READ: u64 = 100;

/// What a watcher is told.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// The workspace as it is now; first.
    Snapshot(Workspace),
    Revision(Revision),
    /// The workspace is gone; last.
    Deleted,
    Heartbeat,
}

/// A watcher on its way.
struct Watching {
    store: Arc<FileStore>,
    ctx: Ctx,
    workspace: Uuid,
    /// The number of the last revision that was told.
    after: u64,
    ready: VecDeque<Change>,
    landed: watch::Receiver<u64>,
    told: Instant,
    over: bool,
}

impl FileStore {
    /// What becomes of a workspace after its revision number `after`: a snapshot, what there is, and then what comes.
    pub(crate) async fn watch_changes(
        self: Arc<Self>,
        ctx: Ctx,
        workspace: Uuid,
        after: u64,
    ) -> Result<impl Stream<Item = Result<Change, Error>> + Send + use<>, Error> {
        let landed = self.landed.subscribe();
        let found = self.get_workspace(&ctx, workspace).await?;
        let latest = found.head.map_or(0, |head| head.number);
        if after > latest {
            return Err(Error::CursorOutOfRange { oldest: 1, latest });
        }
        let ready = VecDeque::from([Change::Snapshot(found)]);
        let watching = Watching { store: self, ctx, workspace, after, ready, landed, told: Instant::now(), over: false };
        Ok(stream::try_unfold(
            watching,
            |mut watching| async move { Ok(watching.next().await?.map(|change| (change, watching))) },
        ))
    }

    /// Wakes the watchers: something is committed.
    pub(super) fn announce(&self) {
        self.landed.send_modify(|count| *count += 1);
    }
}

impl Watching {
    async fn next(&mut self) -> Result<Option<Change>, Error> {
        while !self.over {
            if let Some(change) = self.ready.pop_front() {
                self.over = matches!(change, Change::Deleted);
                self.told = Instant::now();
                return Ok(Some(change));
            }
            self.landed.mark_unchanged();
            self.look().await?;
            if !self.ready.is_empty() {
                continue;
            }
            if self.told.elapsed() >= HEARTBEAT {
                self.ready.push_back(Change::Heartbeat);
                continue;
            }
            // Either way there is a look.
            let _ = tokio::time::timeout(LOOK, self.landed.changed()).await;
        }
        Ok(None)
    }

    /// Reads what came since.
    async fn look(&mut self) -> Result<(), Error> {
        let project = self.ctx.project;
        let Some(found) = self.store.store.find_workspace(project, self.workspace).await? else {
            self.ready.push_back(Change::Deleted);
            return Ok(());
        };
        if found.head.is_none_or(|head| head.number <= self.after) {
            return Ok(());
        }
        let revisions = self.store.store.list_revisions_after(project, self.workspace, self.after, READ).await?;
        self.after = revisions.last().map_or(self.after, |revision| revision.number);
        self.ready.extend(revisions.into_iter().map(Change::Revision));
        Ok(())
    }
}
