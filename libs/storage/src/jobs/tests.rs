//! Leases, takeover, fencing, attempts and shutdown, with workers that behave and workers that do not;
//! `replicas.rs` has them in several processes.

mod replicas;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{JobError, Lease, NewJob, Queue, QueueSettings, backoff, table};
use crate::Store;
use crate::testing::{TestStore, eventually, within};

const KIND: &str = "work";

fn settings() -> QueueSettings {
    QueueSettings {
        backoff_base: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        max_attempts: 3,
        ..QueueSettings::new(KIND, 4)
    }
}

fn job(key: &str) -> NewJob {
    NewJob {
        kind: KIND,
        key: key.to_owned(),
        project_id: Uuid::now_v7(),
        payload: b"payload".to_vec(),
        traceparent: String::new(),
    }
}

struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(
        queue: &Queue,
        handler: impl Fn(Lease) -> BoxFuture<'static, Result<(), JobError>> + Send + Sync + 'static,
    ) -> Running {
        let (queue, shutdown) = (queue.clone(), CancellationToken::new());
        let task = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { queue.run(shutdown, handler).await }
        });
        Running { shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        within(self.task).await.expect("no panic");
    }
}

async fn enqueue(store: &Store, queue: &Queue, key: &str) -> super::Enqueued {
    let mut tx = store.begin().await.expect("begun");
    let enqueued = queue.enqueue(&mut tx, job(key)).await.expect("enqueued");
    tx.commit().await.expect("committed");
    enqueued
}

async fn complete(store: &Store, lease: &Lease) -> Result<(), JobError> {
    let tx = store.begin().await?;
    lease.check(&tx).await?;
    lease.complete(&tx).await?;
    Ok(tx.commit().await?)
}

/// Completes each job and tells about it.
fn completing(store: &Store, seen: &mpsc::Sender<Lease>) -> impl Fn(Lease) -> BoxFuture<'static, Result<(), JobError>> + use<> {
    let (store, seen) = (store.clone(), seen.clone());
    move |lease| {
        let (store, seen) = (store.clone(), seen.clone());
        async move {
            complete(&store, &lease).await?;
            seen.send(lease).await.expect("received");
            Ok(())
        }
        .boxed()
    }
}

/// Tells about each job and hangs until its lease is lost.
fn hanging(seen: &mpsc::Sender<Lease>) -> impl Fn(Lease) -> BoxFuture<'static, Result<(), JobError>> + use<> {
    let seen = seen.clone();
    move |lease| {
        let seen = seen.clone();
        async move {
            seen.send(lease.clone()).await.expect("received");
            lease.lost.cancelled().await;
            Err(JobError::LeaseLost)
        }
        .boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_is_done_once() {
    let test = TestStore::new().await;
    let queue = Queue::new(test.store.clone(), settings());
    let (seen, mut done) = mpsc::channel(400);
    for number in 0..100 {
        enqueue(&test.store, &queue, &format!("before-{number}")).await;
    }
    let running = Running::start(&queue, completing(&test.store, &seen));
    for number in 0..100 {
        let mut tx = test.store.begin().await.expect("begun");
        queue.enqueue_and_start(&mut tx, job(&format!("after-{number}"))).await.expect("enqueued");
        tx.commit().await.expect("committed");
    }
    let mut keys = std::collections::HashSet::new();
    for _ in 0..200 {
        let lease = within(done.recv()).await.expect("done");
        assert_eq!((lease.attempt, lease.payload.as_slice()), (1, b"payload".as_slice()));
        assert!(keys.insert(lease.key), "once each");
    }
    running.stop().await;
    assert!(done.try_recv().is_err());
    assert_eq!(test.count("SELECT count(*) FROM job").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_the_work() {
    let test = TestStore::new().await;
    if test.is_sqlite() {
        return;
    }
    let (seen, mut done) = mpsc::channel(400);
    let stores = [test.store.clone(), test.another().await];
    let queues = stores.clone().map(|store| Queue::new(store, settings()));
    let running = [0, 1].map(|at| Running::start(&queues[at], completing(&stores[at], &seen)));
    for number in 0..200 {
        enqueue(&stores[number % 2], &queues[number % 2], &number.to_string()).await;
    }
    let mut keys = std::collections::HashSet::new();
    for _ in 0..200 {
        let lease = within(done.recv()).await.expect("done");
        assert!(keys.insert(lease.key) && lease.attempt == 1, "once each");
    }
    for running in running {
        running.stop().await;
    }
    assert!(done.try_recv().is_err());
}

#[tokio::test]
async fn a_key_is_queued_once_and_a_rolled_back_job_never() {
    let test = TestStore::new().await;
    let queue = Queue::new(test.store.clone(), settings());
    let first = enqueue(&test.store, &queue, "k").await;
    let again = enqueue(&test.store, &queue, "k").await;
    assert_eq!((first.created, again.created, again.id), (true, false, first.id));
    let mut tx = test.store.begin().await.expect("begun");
    queue.enqueue(&mut tx, job("dropped")).await.expect("enqueued");
    drop(tx);
    assert_eq!(test.count("SELECT count(*) FROM job").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_started_job_needs_no_claim() {
    let test = TestStore::new().await;
    let queue = Queue::new(test.store.clone(), QueueSettings { concurrency: 1, ..settings() });
    let (seen, mut started) = mpsc::channel(10);
    let running = Running::start(&queue, hanging(&seen));
    eventually(|| async { queue.inner.running.load(Ordering::SeqCst) }).await;
    let mut tx = test.store.begin().await.expect("begun");
    queue.enqueue_and_start(&mut tx, job("first")).await.expect("enqueued");
    // There is one slot and it is kept, so this one is only queued.
    queue.enqueue_and_start(&mut tx, job("second")).await.expect("enqueued");
    queue.enqueue_and_start(&mut tx, job("first")).await.expect("there already");
    tx.commit().await.expect("committed");
    let lease = within(started.recv()).await.expect("started");
    assert_eq!((lease.key.as_str(), lease.attempt, lease.token), ("first", 1, 1));
    assert_eq!(test.count("SELECT count(*) FROM job WHERE state = 0 AND job_key = 'second'").await, 1);
    let mut dropped = test.store.begin().await.expect("begun");
    queue.enqueue_and_start(&mut dropped, job("third")).await.expect("enqueued");
    drop(dropped);
    running.stop().await;
    assert!(started.try_recv().is_err(), "nothing starts in a shutdown");
    assert_eq!(test.count("SELECT count(*) FROM job WHERE state = 0").await, 2, "all is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_job_is_tried_again_and_then_dead() {
    let test = TestStore::new().await;
    let queue = Queue::new(test.store.clone(), settings());
    let (seen, mut tried) = mpsc::channel(10);
    let running = Running::start(&queue, move |lease| {
        let seen = seen.clone();
        async move {
            let number = lease.attempt;
            seen.send(lease).await.expect("received");
            match number {
                1 => Err(JobError::Retry("it rained".into())),
                2 => panic!("a bug"),
                _ => Ok(()),
            }
        }
        .boxed()
    });
    enqueue(&test.store, &queue, "k").await;
    for expected in 1..=3 {
        let lease = within(tried.recv()).await.expect("tried");
        assert_eq!((lease.attempt, lease.token, lease.last_attempt), (expected, i64::from(expected), expected == 3));
    }
    eventually(|| async { test.count("SELECT count(*) FROM job WHERE state = 2").await == 1 }).await;
    let because = "SELECT count(*) FROM job WHERE last_error LIKE '%without completing%' AND due_time IS NULL";
    assert_eq!(test.count(because).await, 1);
    // Asked for anew, a dead job begins anew.
    assert!(enqueue(&test.store, &queue, "k").await.created);
    let lease = within(tried.recv()).await.expect("tried");
    assert_eq!(lease.attempt, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_failure_is_the_last() {
    let test = TestStore::new().await;
    let queue = Queue::new(test.store.clone(), settings());
    let tried = Arc::new(AtomicU32::new(0));
    let running = Running::start(&queue, {
        let tried = tried.clone();
        move |_| {
            tried.fetch_add(1, Ordering::SeqCst);
            async { Err(JobError::Fatal("never".into())) }.boxed()
        }
    });
    enqueue(&test.store, &queue, "k").await;
    eventually(|| async { test.count("SELECT count(*) FROM job WHERE state = 2 AND last_error = 'never'").await == 1 }).await;
    running.stop().await;
    assert_eq!(tried.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_process_is_followed_at_once_and_fenced_off() {
    let test = TestStore::new().await;
    // Elsewhere the dead one might be alive, and its lease has to run out.
    let lease = if test.is_sqlite() { settings().lease } else { Duration::from_millis(300) };
    let queue = Queue::new(test.store.clone(), QueueSettings { lease, ..settings() });
    let (seen, mut started) = mpsc::channel(10);
    let crashed = Running::start(&queue, hanging(&seen));
    enqueue(&test.store, &queue, "k").await;
    let old = within(started.recv()).await.expect("started");
    crashed.task.abort();

    let (second, began) = (test.another().await, Instant::now());
    let queue = Queue::new(second.clone(), settings());
    let (seen, mut done) = mpsc::channel(10);
    let running = Running::start(&queue, completing(&second, &seen));
    let new = within(done.recv()).await.expect("done");
    assert!(began.elapsed() < Duration::from_secs(7), "nobody waits for the lease");
    assert_eq!((new.id, new.attempt, new.token), (old.id, 2, old.token + 1));
    running.stop().await;

    let tx = test.store.begin().await.expect("begun");
    assert!(old.check(&tx).await.is_err());
    assert!(old.complete(&tx).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_worker_loses_its_lease() {
    let test = TestStore::new().await;
    let lease = Duration::from_millis(200);
    let queue = Queue::new(test.store.clone(), QueueSettings { lease, concurrency: 1, ..settings() });
    let (seen, mut started) = mpsc::channel(10);
    let running = Running::start(&queue, hanging(&seen));
    enqueue(&test.store, &queue, "k").await;
    let first = within(started.recv()).await.expect("started");
    tokio::time::sleep(lease * 3).await;
    let tx = test.store.begin().await.expect("begun");
    first.check(&tx).await.expect("heartbeats keep it");
    drop(tx);

    // Another takes it, as if we had been silent for too long; a heartbeat may come in between.
    let (thief, steal) = (test.another().await, test.store.statement("UPDATE job SET due_time = 0", []));
    eventually(|| async {
        sea_orm::ConnectionTrait::execute_raw(thief.write(), steal.clone()).await.expect("updated");
        let stolen = table::claim(&thief, KIND, lease, 1).await.expect("claimed");
        stolen.first().is_some_and(|stolen| stolen.token == 2)
    })
    .await;
    within(first.lost.cancelled()).await;
    running.stop().await;
}

/// One thread, which the handler stops: as a process that is frozen in the middle of its work.
#[tokio::test]
async fn a_worker_that_was_stopped_learns_it_from_the_clock() {
    let test = TestStore::new().await;
    let lease = Duration::from_millis(300);
    let queue = Queue::new(test.store.clone(), QueueSettings { lease, ..settings() });
    let (seen, mut answers) = mpsc::channel(10);
    let running = Running::start(&queue, move |held| {
        let seen = seen.clone();
        async move {
            let before = held.check_clock().is_ok();
            std::thread::sleep(lease * 2);
            let _ = seen.send((before, held.check_clock().is_ok())).await;
            Err(JobError::LeaseLost)
        }
        .boxed()
    });
    enqueue(&test.store, &queue, "k").await;
    assert_eq!(within(answers.recv()).await, Some((true, false)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_shutdown_costs_no_attempt() {
    let test = TestStore::new().await;
    let (seen, mut started) = mpsc::channel(10);
    for round in 1..=5 {
        let store = test.another().await;
        let queue = Queue::new(store.clone(), settings());
        let running = Running::start(&queue, hanging(&seen));
        if round == 1 {
            enqueue(&store, &queue, "k").await;
        }
        let lease = within(started.recv()).await.expect("started");
        assert_eq!((lease.attempt, lease.last_attempt, lease.exhausted), (round, false, false));
        running.stop().await;
        assert!(lease.lost.is_cancelled());
        assert_eq!(test.count("SELECT count(*) FROM job WHERE state = 0").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_kills_its_workers_ends() {
    let test = TestStore::new().await;
    let queue = Queue::new(test.store.clone(), settings());
    enqueue(&test.store, &queue, "k").await;
    for _ in 0..3 {
        let claimed = table::claim(&test.another().await, KIND, Duration::ZERO, 1).await.expect("claimed");
        assert_eq!(claimed.len(), 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (seen, mut started) = mpsc::channel(10);
    let running = Running::start(&queue, completing(&test.store, &seen));
    let lease = within(started.recv()).await.expect("started");
    assert!(lease.exhausted && lease.last_attempt, "its failure can still be recorded");
    running.stop().await;

    enqueue(&test.store, &queue, "k").await;
    for _ in 0..6 {
        table::claim(&test.another().await, KIND, Duration::ZERO, 1).await.expect("claimed");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let running = Running::start(&queue, completing(&test.store, &seen));
    eventually(|| async { test.count("SELECT count(*) FROM job WHERE state = 2").await == 1 }).await;
    running.stop().await;
    assert!(started.try_recv().is_err(), "no handler was called");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_beyond_the_slots_follow_without_waiting_for_the_poll() {
    let test = TestStore::new().await;
    let queue = Queue::new(test.store.clone(), QueueSettings { concurrency: 2, ..settings() });
    let (seen, mut done) = mpsc::channel(100);
    for number in 0..40 {
        enqueue(&test.store, &queue, &number.to_string()).await;
    }
    let began = Instant::now();
    let running = Running::start(&queue, completing(&test.store, &seen));
    for _ in 0..40 {
        within(done.recv()).await.expect("done");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "twenty rounds of polling would take ten");
    running.stop().await;
}

#[test]
fn pauses_grow_and_differ() {
    let (base, max) = (Duration::from_millis(100), Duration::from_secs(1));
    for (failures, full) in [(0, 100), (1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (60, 1000)] {
        let full = Duration::from_millis(full);
        for _ in 0..20 {
            let pause = backoff(base, max, failures);
            assert!(pause >= full / 2 && pause <= full, "{failures}: {pause:?}");
        }
    }
}
