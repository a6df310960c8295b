//! Append-only logs: what a streaming call replays and follows. Sequences are dense from 1; an event is seen only once
//! it is committed, and every follower sees all of them in order, whenever it came.
//!
//! `mod.rs` appends and reads, `writer.rs` commits for many streams at once and `share.rs` what else belongs to them,
//! `follow.rs` follows, `hub.rs` tells followers here and elsewhere, `codec.rs` is the format.

mod codec;
mod follow;
mod hub;
mod share;
mod writer;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{JobError, Lease, StorageError, Store, Tx};

use follow::Polls;

pub(crate) use hub::Hub;

/// Batches that may wait for the writer; callers wait when there are more.
const MAX_WAITING: usize = 4096;

/// Why events were not appended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The log does not end where these events begin: there is another writer.
    #[error("another writer appended to the log")]
    Conflict,
    /// The writer's lease is no longer valid.
    #[error("the writer's lease is lost")]
    LeaseLost,
    /// The group-commit writer has ended.
    #[error("the event log is shut down")]
    Closed,
    /// The database failed; nothing was appended.
    #[error("the events cannot be stored")]
    Storage(#[from] StorageError),
}

impl From<AppendError> for JobError {
    fn from(error: AppendError) -> JobError {
        match error {
            AppendError::LeaseLost => JobError::LeaseLost,
            other => JobError::Retry(Box::new(other)),
        }
    }
}

/// The event logs of one store; cheap to clone.
#[derive(Clone)]
pub struct EventLog {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    waiting: mpsc::Sender<Waiting>,
    received: Mutex<Option<mpsc::Receiver<Waiting>>>,
}

/// What waits for the group commit.
enum Waiting {
    Batch(Batch),
    Share(Box<dyn share::Share>),
}

/// Events for one log.
struct Batch {
    stream: Uuid,
    first: u64,
    events: Vec<Bytes>,
    lease: Option<(Uuid, i64)>,
    done: oneshot::Sender<Result<(), AppendError>>,
}

impl EventLog {
    /// The logs in `store`.
    pub fn new(store: Store) -> EventLog {
        let (waiting, received) = mpsc::channel(MAX_WAITING);
        EventLog { inner: Arc::new(Inner { store, waiting, received: Mutex::new(Some(received)) }) }
    }

    /// Appends in the caller's transaction. The first event must be the next one of the log, else [`AppendError::Conflict`].
    pub async fn append(&self, tx: &mut Tx, stream: Uuid, first_sequence: u64, events: &[Bytes]) -> Result<(), AppendError> {
        if events.is_empty() {
            return Ok(());
        }
        let insert = insert(tx.store(), stream, first_sequence, events);
        match tx.conn().execute_raw(insert).await.map_err(StorageError::from) {
            Ok(done) if done.rows_affected() == 1 => {}
            Ok(_) => return Err(AppendError::Conflict),
            Err(error) => return Err(error.into()),
        }
        self.publish_after(tx, stream, first_sequence, events.to_vec());
        Ok(())
    }

    /// As [`EventLog::append`], but with the statements that were put off by [`Tx::later`]: what would be a conflict is
    /// [`StorageError::Stale`] then.
    pub fn append_later(&self, tx: &mut Tx, stream: Uuid, first_sequence: u64, events: Vec<Bytes>) {
        if !events.is_empty() {
            tx.later(insert(tx.store(), stream, first_sequence, &events));
            self.publish_after(tx, stream, first_sequence, events);
        }
    }

    fn publish_after(&self, tx: &mut Tx, stream: Uuid, first_sequence: u64, events: Vec<Bytes>) {
        let store = self.inner.store.clone();
        tx.after_commit(move || hub::publish(&store, stream, first_sequence, events));
    }

    /// Does `work` in a write transaction and commits it: on SQLite, which writes one at a time, in the next transaction of
    /// [`EventLog::run`], together with what others have; on PostgreSQL in its own. When the work of one fails, only that
    /// is taken back; the work of the others is then done once more, which is why it may be called more than once. It must
    /// not wait for anything but the database, nor for another transaction.
    pub async fn write<T, E>(
        &self,
        mut work: impl for<'a> FnMut(&'a mut Tx) -> BoxFuture<'a, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
    {
        let store = &self.inner.store;
        let shared = store.backend() == DbBackend::Sqlite && self.is_running();
        // Closed when the writer is shut down; what comes after is written without it.
        let place = if shared { self.inner.waiting.reserve().await.ok() } else { None };
        let Some(place) = place else {
            let mut tx = store.begin().await?;
            let made = AssertUnwindSafe(async { work(&mut tx).await }).catch_unwind().await;
            let made = made.unwrap_or_else(|_| Err(StorageError::Interrupted.into()))?;
            tx.commit().await?;
            return Ok(made);
        };
        let (share, answered) = share::Asked::new(work);
        place.send(Waiting::Share(Box::new(share)));
        answered.await.unwrap_or_else(|_| Err(StorageError::Interrupted.into()))
    }

    fn is_running(&self) -> bool {
        self.inner.received.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_none()
    }

    /// Appends together with what other streams have, in the next transaction of [`EventLog::run`]; resolves once it is
    /// committed. With a lease, only while that lease is valid.
    ///
    /// Batches are taken in the order in which their futures are first polled. A caller may have several of a stream on
    /// their way if it polls them in order, as `FuturesOrdered` does.
    pub fn append_soon(
        &self,
        stream: Uuid,
        first_sequence: u64,
        events: Vec<Bytes>,
        lease: Option<&Lease>,
    ) -> impl Future<Output = Result<(), AppendError>> + Send + use<> {
        let waiting = self.inner.waiting.clone();
        let lease = lease.map(|lease| (lease.id, lease.token));
        async move {
            if events.is_empty() {
                return Ok(());
            }
            let (done, answer) = oneshot::channel();
            let batch = Batch { stream, first: first_sequence, events, lease, done };
            waiting.send(Waiting::Batch(batch)).await.map_err(|_| AppendError::Closed)?;
            answer.await.unwrap_or(Err(AppendError::Closed))
        }
    }

    /// Commits what [`EventLog::append_soon`] and [`EventLog::write`] are given, until `shutdown`; what was taken by then is still committed. To be
    /// shut down after those that append.
    pub async fn run(&self, shutdown: CancellationToken) {
        let received = self.inner.received.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        match received {
            Some(received) => writer::run(&self.inner.store, received, shutdown).await,
            None => tracing::error!("the event log's writer was started before"),
        }
    }

    /// The events after sequence `after`, each with its own: first the stored ones, then each as it is committed. Never a
    /// gap, never a repetition, no end. After an error the stream may be polled on.
    pub fn follow(&self, stream: Uuid, after: u64) -> BoxStream<'static, Result<(u64, Bytes), StorageError>> {
        follow::follow(self.inner.store.clone(), stream, after, true, Polls::default())
    }

    /// The events of a log that the caller is about to begin: as [`EventLog::follow`] from 0, without looking for what cannot
    /// be there yet. To be called before the transaction that appends the first event is committed.
    pub fn follow_new(&self, stream: Uuid) -> BoxStream<'static, Result<(u64, Bytes), StorageError>> {
        follow::follow(self.inner.store.clone(), stream, 0, false, Polls::default())
    }

    /// At least one and about `limit` events after sequence `after`; none when there are none.
    pub async fn read(&self, stream: Uuid, after: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, StorageError> {
        let mut found = Vec::new();
        let mut last = after;
        while found.len() < limit {
            let batches = read_batches(&self.inner.store, stream, last).await?;
            if batches.is_empty() {
                break;
            }
            for (first, events) in batches {
                found.extend((first..).zip(events).filter(|(sequence, _)| *sequence > last));
                last = found.last().map_or(last, |(sequence, _)| *sequence);
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// The oldest and the latest sequence of a log; `None` when it is empty.
    pub async fn bounds(&self, stream: Uuid) -> Result<Option<(u64, u64)>, StorageError> {
        let sql = "SELECT (SELECT first_sequence FROM event_log WHERE stream_id = $1 ORDER BY first_sequence LIMIT 1), \
                   (SELECT last_sequence FROM event_log WHERE stream_id = $1 ORDER BY first_sequence DESC LIMIT 1)";
        let store = &self.inner.store;
        let row = store.read().query_one_raw(store.statement(sql, [stream.into()])).await?;
        let Some(row) = row else { return Ok(None) };
        let oldest: Option<i64> = row.try_get_by_index(0)?;
        let latest: Option<i64> = row.try_get_by_index(1)?;
        Ok(oldest.zip(latest).map(|(oldest, latest)| (oldest as u64, latest as u64)))
    }

    /// The latest sequence of a log as the transaction sees it; 0 when it is empty.
    pub async fn latest(&self, tx: &Tx, stream: Uuid) -> Result<u64, StorageError> {
        let sql = "SELECT last_sequence FROM event_log WHERE stream_id = $1 ORDER BY first_sequence DESC LIMIT 1";
        let row = tx.conn().query_one_raw(tx.store().statement(sql, [stream.into()])).await?;
        Ok(row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?.unwrap_or(0) as u64)
    }

    /// Deletes a log.
    pub async fn delete(&self, tx: &Tx, stream: Uuid) -> Result<(), StorageError> {
        let delete = tx.store().statement("DELETE FROM event_log WHERE stream_id = $1", [stream.into()]);
        tx.conn().execute_raw(delete).await?;
        Ok(())
    }
}

/// Appends where the log ends just before `first`. The select finds writers before us, the constraint those beside us (on
/// PostgreSQL).
fn insert(store: &Store, stream: Uuid, first: u64, events: &[Bytes]) -> Statement {
    let sql = "INSERT INTO event_log (stream_id, first_sequence, last_sequence, payload) \
               SELECT $1, $2, $3, $4 WHERE COALESCE((SELECT last_sequence FROM event_log \
               WHERE stream_id = $1 ORDER BY first_sequence DESC LIMIT 1), 0) = $2 - 1 ON CONFLICT DO NOTHING";
    let mut payload = Vec::new();
    codec::encode(events, &mut payload);
    let last = first + events.len() as u64 - 1;
    store.statement(sql, [stream.into(), (first as i64).into(), (last as i64).into(), payload.into()])
}

/// The next stored batches that contain events after `after`, in order.
async fn read_batches(store: &Store, stream: Uuid, after: u64) -> Result<Vec<(u64, Vec<Bytes>)>, StorageError> {
    // The inner select finds the batch that `after` is in or next to by the index, however long the log is.
    let sql = "SELECT first_sequence, payload FROM event_log WHERE stream_id = $1 AND last_sequence > $2 \
               AND first_sequence >= COALESCE((SELECT first_sequence FROM event_log WHERE stream_id = $1 \
               AND first_sequence <= $2 + 1 ORDER BY first_sequence DESC LIMIT 1), 0) ORDER BY first_sequence LIMIT 64";
    let after = i64::try_from(after).unwrap_or(i64::MAX - 1);
    let rows = store.read().query_all_raw(store.statement(sql, [stream.into(), after.into()])).await?;
    rows.iter().map(|row| read_batch(row, stream)).collect()
}

fn read_batch(row: &QueryResult, stream: Uuid) -> Result<(u64, Vec<Bytes>), StorageError> {
    let first: i64 = row.try_get_by_index(0)?;
    let payload = Bytes::from(row.try_get_by_index::<Vec<u8>>(1)?);
    let events = codec::decode(&payload)
        .ok_or_else(|| StorageError::Corrupt(format!("the batch at {first} of event log {stream} is broken")))?;
    Ok((first as u64, events))
}
