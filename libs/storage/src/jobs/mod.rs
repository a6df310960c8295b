//! Long work as rows with leases: a job is taken by one worker at a time, kept alive by heartbeats, tried again with
//! back-off, and fenced by a token, so that a worker which lost its lease cannot write any more.
//!
//! `mod.rs` is what callers see, `table.rs` the statements, `worker.rs` the loop.

mod table;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use rand::Rng;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{BoxError, StorageError, Store, Tx};

pub(crate) use table::{DEAD, LEASED, QUEUED, is_open};

/// A job to be done.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// What sort of work; each kind has its own queue.
    pub kind: &'static str,
    /// Unique per kind: what is queued or running already is not queued again.
    pub key: String,
    /// The tenant.
    pub project_id: Uuid,
    /// What the handler needs to know.
    pub payload: Vec<u8>,
    /// W3C trace context of the call that asked for the work; may be empty.
    pub traceparent: String,
}

/// What became of [`Queue::enqueue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The job's id.
    pub id: Uuid,
    /// False when a job of that kind and key was waiting or running already; it stays as it is. A dead one is replaced.
    pub created: bool,
}

/// How a queue works.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// The kind of job.
    pub kind: &'static str,
    /// How many run at once in this process.
    pub concurrency: usize,
    /// How long a worker may be silent before another takes the job over.
    pub lease: Duration,
    /// After so many attempts a job is dead.
    pub max_attempts: u32,
    /// The pause after the first failure; it doubles.
    pub backoff_base: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// How often to look without being woken, for jobs whose time has come and those whose announcement got lost.
    pub poll: Duration,
}

impl QueueSettings {
    /// The defaults: a lease of 15 s, 5 attempts, pauses from 500 ms to one minute, a look every 500 ms.
    pub fn new(kind: &'static str, concurrency: usize) -> QueueSettings {
        QueueSettings {
            kind,
            concurrency,
            lease: Duration::from_secs(15),
            max_attempts: 5,
            backoff_base: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            poll: Duration::from_millis(500),
        }
    }
}

/// How a handler did not do the work.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Not now: another attempt after a pause, while there are any left.
    #[error("the attempt failed")]
    Retry(#[source] BoxError),
    /// Not ever.
    #[error("the job cannot be done")]
    Fatal(#[source] BoxError),
    /// Somebody else has the job now, or should have.
    #[error("the lease is lost")]
    LeaseLost,
}

impl From<LeaseLost> for JobError {
    fn from(_: LeaseLost) -> JobError {
        JobError::LeaseLost
    }
}

impl From<StorageError> for JobError {
    fn from(error: StorageError) -> JobError {
        JobError::Retry(Box::new(error))
    }
}

/// The job is no longer ours, or the database could not say that it is: roll back and stop.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the lease on job {job_id} is lost")]
pub struct LeaseLost {
    /// The job.
    pub job_id: Uuid,
    /// Why we do not know, when the database failed.
    #[source]
    pub source: Option<StorageError>,
}

/// The right to do one job, for now.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The job.
    pub id: Uuid,
    /// Its key.
    pub key: String,
    /// The tenant.
    pub project_id: Uuid,
    /// What was queued.
    pub payload: Vec<u8>,
    /// Counts every start of the job, from 1; more than 1 means that an earlier one did not finish it.
    pub attempt: u32,
    /// The fencing token: higher with every lease of the job.
    pub token: i64,
    /// Cancelled when the lease is lost or the process shuts down: stop soon, writing nothing more.
    pub lost: CancellationToken,
    /// W3C trace context of the call that asked for the work; may be empty. The handler already runs within it.
    pub traceparent: String,
    /// No other attempt follows: a failure must be recorded now.
    pub last_attempt: bool,
    /// The attempts were used up by workers that died: do not try the work again, record its failure.
    pub exhausted: bool,
    /// Attempts that count: without those a shutdown cut short.
    tries: u32,
    progress: Arc<Progress>,
}

/// How far the handler got with ending the job; shared with the worker.
#[derive(Debug)]
struct Progress {
    /// When the lease ends unless it is renewed, by this process's clock.
    until: Mutex<Instant>,
    /// `complete` was called: a missing row is no loss.
    completing: AtomicBool,
    /// The transaction of `complete` is committed.
    completed: AtomicBool,
}

impl Progress {
    fn new(until: Instant) -> Self {
        Self { until: Mutex::new(until), completing: AtomicBool::default(), completed: AtomicBool::default() }
    }

    fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn extend(&self, until: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

impl Lease {
    /// Fencing: fails unless the job is still ours, and keeps it so until the transaction ends.
    pub async fn check(&self, tx: &Tx) -> Result<(), LeaseLost> {
        let held = table::is_held(tx, self.id, self.token).await.map_err(|error| self.lost(Some(error)))?;
        if held { Ok(()) } else { Err(self.lost(None)) }
    }

    /// Whether the lease can still be ours, by the clock and without asking anybody. For what a transaction cannot take back, such
    /// as a call that costs: a process that was stopped for a while, and goes on in the middle, finds out before it.
    pub fn check_clock(&self) -> Result<(), LeaseLost> {
        if Instant::now() < self.progress.until() { Ok(()) } else { Err(self.lost(None)) }
    }

    /// Ends the job in the caller's transaction, together with its result.
    pub async fn complete(&self, tx: &Tx) -> Result<(), LeaseLost> {
        self.progress.completing.store(true, Ordering::Release);
        let deleted = table::delete(tx, self.id, self.token).await.map_err(|error| self.lost(Some(error)))?;
        if !deleted {
            return Err(self.lost(None));
        }
        self.completed_after(tx);
        Ok(())
    }

    /// As [`Lease::complete`], with the statements that were put off by [`Tx::later`]: a lost lease is
    /// [`StorageError::Stale`] then.
    pub fn complete_later(&self, tx: &Tx) {
        self.progress.completing.store(true, Ordering::Release);
        tx.later(table::deletion(tx.store(), self.id, self.token));
        self.completed_after(tx);
    }

    fn completed_after(&self, tx: &Tx) {
        let progress = self.progress.clone();
        tx.add_hook(Box::new(move || progress.completed.store(true, Ordering::Release)));
    }

    fn lost(&self, source: Option<StorageError>) -> LeaseLost {
        LeaseLost { job_id: self.id, source }
    }
}

type Handler = Arc<dyn Fn(Lease) -> BoxFuture<'static, Result<(), JobError>> + Send + Sync>;

/// The jobs of one kind; cheap to clone. One per kind and process.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    settings: QueueSettings,
    /// One permit per handler that may run.
    slots: Arc<Semaphore>,
    wake: Notify,
    /// Whether `run` is there to receive what `enqueue_and_start` hands over.
    running: AtomicBool,
    hand_over: mpsc::Sender<Started>,
    handed_over: Mutex<Option<mpsc::Receiver<Started>>>,
}

/// A job that was leased as it was inserted, with the slot kept for it.
struct Started {
    lease: Lease,
    slot: OwnedSemaphorePermit,
}

impl Queue {
    /// The queue of `settings.kind` in `store`.
    pub fn new(store: Store, settings: QueueSettings) -> Queue {
        let concurrency = settings.concurrency.max(1);
        let (hand_over, handed_over) = mpsc::channel(concurrency);
        Queue {
            inner: Arc::new(Inner {
                store,
                settings,
                slots: Arc::new(Semaphore::new(concurrency)),
                wake: Notify::new(),
                running: AtomicBool::new(false),
                hand_over,
                handed_over: Mutex::new(Some(handed_over)),
            }),
        }
    }

    /// Adds a job to the transaction; workers are woken once it is committed.
    pub async fn enqueue(&self, tx: &mut Tx, job: NewJob) -> Result<Enqueued, StorageError> {
        let enqueued = table::insert(tx, &job, None).await?;
        let inner = self.inner.clone();
        tx.after_commit(move || inner.wake_worker());
        Ok(enqueued)
    }

    /// Adds a job that starts in this process as soon as the transaction is committed, without another look at the
    /// database. When as many run as may, or `run` is not running, it is simply queued.
    pub async fn enqueue_and_start(&self, tx: &mut Tx, job: NewJob) -> Result<(), StorageError> {
        if !self.inner.running.load(Ordering::Acquire) {
            return self.enqueue(tx, job).await.map(drop);
        }
        let Ok(slot) = self.inner.slots.clone().try_acquire_owned() else {
            return self.enqueue(tx, job).await.map(drop);
        };
        let enqueued = table::insert(tx, &job, Some(self.inner.settings.lease)).await?;
        if enqueued.created {
            self.start_after(tx, enqueued.id, job, slot);
        }
        Ok(())
    }

    /// As [`Queue::enqueue_and_start`] for a job whose key is not in the queue, with the statements that were put off by
    /// [`Tx::later`].
    pub fn start_later(&self, tx: &mut Tx, job: NewJob) {
        let inner = self.inner.clone();
        let running = inner.running.load(Ordering::Acquire);
        let slot = inner.slots.clone().try_acquire_owned().ok().filter(|_| running);
        let (id, lease) = (Uuid::now_v7(), slot.as_ref().map(|_| inner.settings.lease));
        tx.later(table::insert_new(tx.store(), id, &job, lease));
        match slot {
            Some(slot) => self.start_after(tx, id, job, slot),
            None => tx.after_commit(move || inner.wake_worker()),
        }
    }

    fn start_after(&self, tx: &mut Tx, id: Uuid, job: NewJob, slot: OwnedSemaphorePermit) {
        let lease = self.inner.lease_of(table::Claimed {
            id,
            key: job.key,
            project_id: job.project_id,
            payload: job.payload,
            attempt: 1,
            released: 0,
            token: 1,
            traceparent: job.traceparent,
        });
        let hand_over = self.inner.hand_over.clone();
        // There is room: a slot is kept for every job handed over. After the end of `run` the lease runs out by itself.
        tx.after_commit(move || drop(hand_over.try_send(Started { lease, slot })));
    }

    /// Takes a job out of the queue in the caller's transaction, unless a worker has it. False when one does: then nothing
    /// changes. A job that is dead, or was never there, is nobody's either.
    pub async fn withdraw(&self, tx: &Tx, key: &str) -> Result<bool, StorageError> {
        table::withdraw(tx, self.inner.settings.kind, key).await
    }

    /// Takes a job away in the caller's transaction, even from a worker that has it, which finds its lease lost.
    pub async fn discard(&self, tx: &Tx, key: &str) -> Result<(), StorageError> {
        table::discard(tx, self.inner.settings.kind, key).await
    }

    /// Works until `shutdown`: takes jobs, keeps their leases alive, ends or re-queues them. Then it takes no more, cancels
    /// `lost` of those that run, waits for their handlers and releases the leases, so that another process may go on at once.
    ///
    /// A handler ends its job by [`Lease::complete`]; `Ok` without it counts as a failed attempt.
    pub async fn run(
        &self,
        shutdown: CancellationToken,
        handler: impl Fn(Lease) -> BoxFuture<'static, Result<(), JobError>> + Send + Sync + 'static,
    ) {
        worker::run(self.inner.clone(), shutdown, Arc::new(handler)).await;
    }
}

impl Inner {
    /// Has a job looked for that was just committed: here, and elsewhere when there is no room for it here.
    fn wake_worker(&self) {
        self.wake.notify_one();
        if !self.running.load(Ordering::Acquire) || self.slots.available_permits() == 0 {
            self.wake_others();
        }
    }

    fn wake_others(&self) {
        self.store.announce(&self.topic(), Bytes::new());
    }

    fn topic(&self) -> String {
        format!("jobs.{}", self.settings.kind)
    }

    fn lease_of(&self, claimed: table::Claimed) -> Lease {
        // What was given back in an orderly shutdown is not held against the job.
        let tries = claimed.attempt.saturating_sub(claimed.released);
        Lease {
            id: claimed.id,
            key: claimed.key,
            project_id: claimed.project_id,
            payload: claimed.payload,
            attempt: claimed.attempt,
            token: claimed.token,
            lost: CancellationToken::new(),
            traceparent: claimed.traceparent,
            last_attempt: tries >= self.settings.max_attempts,
            exhausted: tries > self.settings.max_attempts,
            tries,
            progress: Arc::new(Progress::new(Instant::now() + self.settings.lease)),
        }
    }
}

/// The pause after the `failures`-th failure in a row: `base` doubled each time up to `max`, less up to half of it by
/// chance, so that those who failed together do not come back together.
pub(crate) fn backoff(base: Duration, max: Duration, failures: u32) -> Duration {
    let full = base.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max);
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}
