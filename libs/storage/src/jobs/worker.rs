//! The loop of a queue: claims jobs, runs handlers, renews leases, settles what handlers answer.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use super::{Handler, Inner, JobError, Lease, Started, backoff, table};
use crate::{BoxError, StorageError, crash};

/// The pauses while the database is away, before anything is taken.
const RETRY_FIRST: Duration = Duration::from_millis(125);
const RETRY_LAST: Duration = Duration::from_secs(5);
const CLAIM_AT_ONCE: usize = 64;
/// A job that outlived its attempts because workers died gets so many more chances to have its failure recorded.
const LAST_RITES: u32 = 3;
const SAID_AT_MOST: usize = 2000;

struct Worker {
    inner: Arc<Inner>,
    handler: Handler,
    shutdown: CancellationToken,
    held: Mutex<HashMap<Uuid, Lease>>,
    /// Jobs may be waiting for a slot: the end of a handler is a reason to look.
    starved: std::sync::atomic::AtomicBool,
}

/// A lease whose handler is running.
pub(super) async fn run(inner: Arc<Inner>, shutdown: CancellationToken, handler: Handler) {
    let kind = inner.settings.kind;
    let receiver = inner.handed_over.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    let Some(mut handed_over) = receiver else {
        tracing::error!(kind, "the queue is running already");
        return;
    };
    let (held, starved) = (Mutex::default(), true.into());
    let worker = Arc::new(Worker { inner: inner.clone(), handler, shutdown, held, starved });
    worker.take_over().await;

    let stopped = CancellationToken::new();
    let work = async {
        worker.work(&mut handed_over).await;
        stopped.cancel();
    };
    tokio::join!(work, worker.keep_alive(&stopped));

    match table::release(&inner.store, kind).await {
        Ok(0) => {}
        Ok(released) => {
            inner.wake_others();
            tracing::info!(kind, released, "jobs are given back");
        }
        Err(error) => tracing::warn!(kind, error = &error as &dyn std::error::Error, "leases are left to run out"),
    }
    *inner.handed_over.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(handed_over);
}

impl Worker {
    async fn take_over(&self) {
        let kind = self.inner.settings.kind;
        let mut failures = 0;
        loop {
            match table::take_over(&self.inner.store, kind).await {
                Ok(0) => return,
                Ok(jobs) => return tracing::info!(kind, jobs, "jobs of an earlier process are taken over"),
                Err(error) => tracing::warn!(kind, error = &error as &dyn std::error::Error, "waiting for the database"),
            }
            failures += 1;
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(backoff(RETRY_FIRST, RETRY_LAST, failures)) => {}
            }
        }
    }

    /// Claims and runs until shutdown, then waits for the handlers.
    async fn work(self: &Arc<Self>, handed_over: &mut tokio::sync::mpsc::Receiver<Started>) {
        let inner = &self.inner;
        let mut tasks = JoinSet::new();
        let mut poll = tokio::time::interval(inner.settings.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut others = inner.store.listen(&inner.topic());
        inner.running.store(true, Ordering::Release);
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break,
                Some(started) = handed_over.recv() => self.start(&mut tasks, started),
                () = inner.wake.notified() => self.claim(&mut tasks).await,
                _ = others.next() => {
                    // One look is enough for everything that was announced by now.
                    while others.next().now_or_never().is_some() {}
                    self.claim(&mut tasks).await;
                }
                _ = poll.tick() => self.claim(&mut tasks).await,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
        }
        inner.running.store(false, Ordering::Release);
        for lease in self.lock().values() {
            lease.lost.cancel();
        }
        while tasks.join_next().await.is_some() {}
        self.settle_handed_over(handed_over).await;
    }

    /// Waits for transactions that are about to hand a job over: each holds a slot. What they hand over is not started.
    async fn settle_handed_over(&self, handed_over: &mut tokio::sync::mpsc::Receiver<Started>) {
        let slots = self.inner.settings.concurrency.max(1) as u32;
        let all = self.inner.slots.acquire_many(slots);
        tokio::pin!(all);
        loop {
            tokio::select! {
                biased;
                Some(started) = handed_over.recv() => drop(started),
                _ = &mut all => return,
            }
        }
    }

    /// Claims as many jobs as there are free slots.
    async fn claim(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        let (inner, settings) = (&self.inner, &self.inner.settings);
        let mut slots = Vec::new();
        while slots.len() < CLAIM_AT_ONCE {
            match inner.slots.clone().try_acquire_owned() {
                Ok(slot) => slots.push(slot),
                Err(_) => break,
            }
        }
        // Set before looking, so that a handler that ends meanwhile does not miss it.
        self.starved.store(true, Ordering::Release);
        if slots.is_empty() {
            return;
        }
        let wanted = slots.len();
        match table::claim(&inner.store, settings.kind, settings.lease, wanted).await {
            Ok(claimed) => {
                if !claimed.is_empty() {
                    crash::point("job.claimed");
                }
                if claimed.len() < wanted {
                    self.starved.store(false, Ordering::Release);
                } else {
                    inner.wake.notify_one();
                }
                for (claimed, slot) in claimed.into_iter().zip(slots) {
                    self.start(tasks, Started { lease: inner.lease_of(claimed), slot });
                }
            }
            Err(error) => {
                tracing::warn!(kind = settings.kind, error = &error as &dyn std::error::Error, "no jobs can be claimed");
            }
        }
    }

    fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>, started: Started) {
        let Started { lease, slot } = started;
        self.lock().insert(lease.id, lease.clone());
        let span = tracing::info_span!(
            "job",
            otel.kind = "consumer",
            kind = self.inner.settings.kind,
            job_id = %lease.id,
            key = lease.key,
            attempt = lease.attempt,
        );
        slipway_bus::trace::set_parent(&span, &lease.traceparent);
        let worker = self.clone();
        tasks.spawn(async move { worker.handle(lease, slot).await }.instrument(span));
    }

    async fn handle(&self, lease: Lease, slot: OwnedSemaphorePermit) {
        let handler = self.handler.clone();
        let given = lease.clone();
        let answer = if lease.tries <= self.inner.settings.max_attempts + LAST_RITES {
            // The call itself belongs inside: it may panic too.
            let attempt = AssertUnwindSafe(async move { handler(given).await });
            attempt.catch_unwind().await.unwrap_or_else(|panic| Err(JobError::Retry(said(&*panic).into())))
        } else {
            Err(JobError::Fatal("every worker that took the job died".into()))
        };
        if let Err(error) = self.settle(&lease, answer).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the end of an attempt cannot be stored; its lease runs out"
            );
        }
        self.lock().remove(&lease.id);
        drop(slot);
        if self.starved.load(Ordering::Acquire) {
            self.inner.wake.notify_one();
        }
    }

    async fn settle(&self, lease: &Lease, answer: Result<(), JobError>) -> Result<(), StorageError> {
        if lease.progress.completed.load(Ordering::Acquire) {
            crash::point("job.completed");
            return Ok(());
        }
        let store = &self.inner.store;
        // What a shutdown cut short is given back with all the rest, once every handler has ended.
        let cut_short = self.shutdown.is_cancelled();
        match answer {
            Ok(()) if !table::is_open(store, lease.id, lease.token).await? => Ok(()),
            Ok(()) => self.fail(lease, "the handler ended without completing the job".into()).await,
            Err(JobError::LeaseLost | JobError::Retry(_)) if cut_short => Ok(()),
            Err(JobError::LeaseLost) => self.fail(lease, "the handler found its lease lost".into()).await,
            Err(JobError::Retry(error)) => self.fail(lease, error).await,
            Err(JobError::Fatal(error)) => {
                let said = chain(&*error);
                tracing::error!(error = said, "the job is dead");
                table::bury(store, lease.id, lease.token, &said).await
            }
        }
    }

    /// Another attempt, or none. Does nothing when the job is somebody else's by now.
    async fn fail(&self, lease: &Lease, error: BoxError) -> Result<(), StorageError> {
        let (store, settings) = (&self.inner.store, &self.inner.settings);
        let said = chain(&*error);
        if lease.last_attempt {
            tracing::error!(error = said, attempt = lease.attempt, "the job is dead: no attempt is left");
            return table::bury(store, lease.id, lease.token, &said).await;
        }
        let pause = backoff(settings.backoff_base, settings.backoff_max, lease.attempt);
        tracing::warn!(error = said, attempt = lease.attempt, "the attempt failed; again in {pause:?}");
        table::retry(store, lease.id, lease.token, pause, &said).await
    }

    /// Renews the leases at a third of their length, until `stopped`.
    async fn keep_alive(&self, stopped: &CancellationToken) {
        let every = self.inner.settings.lease / 3;
        loop {
            tokio::select! {
                () = stopped.cancelled() => return,
                () = tokio::time::sleep(every) => self.beat().await,
            }
        }
    }

    async fn beat(&self) {
        let ids: Vec<Uuid> = self.lock().keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let lease = self.inner.settings.lease;
        let until = Instant::now() + lease;
        let extended = table::extend(&self.inner.store, &ids, lease).await;
        if extended.is_ok() {
            crash::point("job.renewed");
        }
        if let Err(error) = &extended {
            tracing::warn!(error = error as &dyn std::error::Error, "leases cannot be renewed");
        }
        let held = self.lock();
        // Only those asked for: others were started meanwhile.
        for id in ids {
            let Some(lease) = held.get(&id) else { continue };
            let ours = match &extended {
                Ok(extended) => extended.contains(&(id, lease.token)),
                Err(_) => {
                    if lease.check_clock().is_err() {
                        lease.lost.cancel();
                    }
                    continue;
                }
            };
            if ours {
                lease.progress.extend(until);
            } else if !lease.progress.completing.load(Ordering::Acquire) {
                tracing::warn!(job_id = %id, "a lease is lost");
                lease.lost.cancel();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Lease>> {
        self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// An error with its causes, in a length that fits a row.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said += &format!(": {error}");
        source = error.source();
    }
    if let Some((at, _)) = said.char_indices().nth(SAID_AT_MOST) {
        said.truncate(at);
    }
    said
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", said.unwrap_or("no message"))
}
