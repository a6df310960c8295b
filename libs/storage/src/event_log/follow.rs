//! Following a log: the database for what was, the hub for what comes, the database again whenever they do not meet.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use sea_orm::DbBackend;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use uuid::Uuid;

use super::hub::News;
use super::read_batches;
use crate::{StorageError, Store};

/// How long a quiet follower waits before it looks into the database by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Polls {
    /// When other replicas cannot tell what they commit.
    pub(super) untold: Duration,
    /// When they do: an announcement may still get lost.
    pub(super) told: Duration,
    /// On SQLite there are no others; this only guards against a commit whose hooks were cut off.
    pub(super) alone: Duration,
}

impl Default for Polls {
    fn default() -> Self {
        Polls { untold: Duration::from_millis(250), told: Duration::from_secs(2), alone: Duration::from_secs(1) }
    }
}

/// `behind`: there may be something in the database already.
pub(super) fn follow(
    store: Store,
    stream: Uuid,
    after: u64,
    behind: bool,
    polls: Polls,
) -> BoxStream<'static, Result<(u64, Bytes), StorageError>> {
    // First subscribed, then read: what is committed in between comes twice and is passed over once.
    let live = Some(store.hub().subscribe(&store, stream, behind));
    let follower = Follower { store, stream, live, last: after, ready: VecDeque::new(), behind, polls };
    stream::unfold(follower, |mut follower| async move {
        let next = follower.next().await;
        Some((next, follower))
    })
    .boxed()
}

struct Follower {
    store: Store,
    stream: Uuid,
    /// `Some` until dropped.
    live: Option<Receiver<News>>,
    /// The sequence of the event handed out last.
    last: u64,
    /// What follows `last` without a gap.
    ready: VecDeque<Bytes>,
    /// There may be something in the database.
    behind: bool,
    polls: Polls,
}

impl Follower {
    async fn next(&mut self) -> Result<(u64, Bytes), StorageError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.last += 1;
                return Ok((self.last, event));
            }
            if self.behind {
                self.catch_up().await?;
            } else {
                self.wait().await;
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), StorageError> {
        let batches = read_batches(&self.store, self.stream, self.last).await?;
        self.behind = !batches.is_empty();
        for (first, events) in batches {
            if self.ready.is_empty() && first > self.last + 1 {
                // The beginning of the log was deleted: what is there is what there is.
                self.last = first - 1;
            }
            self.take(first, &events);
        }
        Ok(())
    }

    async fn wait(&mut self) {
        let poll = self.poll();
        let Some(live) = &mut self.live else {
            self.behind = true;
            return tokio::time::sleep(poll).await;
        };
        match tokio::time::timeout(poll, live.recv()).await {
            Ok(Ok(News::Committed(committed))) => self.behind = !self.take(committed.first, &committed.events),
            Ok(Ok(News::Look) | Err(RecvError::Lagged(_))) | Err(_) => self.behind = true,
            Ok(Err(RecvError::Closed)) => self.live = None,
        }
    }

    fn poll(&self) -> Duration {
        match self.store.backend() {
            DbBackend::Sqlite => self.polls.alone,
            _ if self.store.live().is_connected() => self.polls.told,
            _ => self.polls.untold,
        }
    }

    /// Adds what is new of a batch; false when something is missing before it.
    fn take(&mut self, first: u64, events: &[Bytes]) -> bool {
        let next = self.last + self.ready.len() as u64 + 1;
        if first > next {
            return false;
        }
        let known = usize::try_from(next - first).unwrap_or(usize::MAX);
        self.ready.extend(events.iter().skip(known).cloned());
        true
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.live = None;
        self.store.hub().leave(self.stream);
    }
}
