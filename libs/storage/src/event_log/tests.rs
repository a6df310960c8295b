//! Logs under many writers and followers; `replicas.rs` has them in several processes.

mod replicas;

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{AppendError, EventLog};
use crate::testing::{TestStore, within};
use crate::{NewJob, Queue, QueueSettings, StorageError};

fn events(numbers: impl IntoIterator<Item = u64>) -> Vec<Bytes> {
    numbers.into_iter().map(|number| Bytes::from(number.to_string())).collect()
}

async fn append(test: &TestStore, log: &EventLog, stream: Uuid, first: u64, count: u64) -> Result<(), AppendError> {
    let mut tx = test.store.begin().await.expect("begun");
    log.append(&mut tx, stream, first, &events(first..first + count)).await?;
    tx.commit().await.expect("committed");
    Ok(())
}

/// Follows until `last` and checks that nothing is missing or twice.
async fn follow_to(log: &EventLog, stream: Uuid, after: u64, last: u64) {
    let mut followed = log.follow(stream, after);
    for expected in after + 1..=last {
        let (sequence, event) = within(followed.next()).await.expect("no end").expect("no error");
        assert_eq!((sequence, event), (expected, Bytes::from(expected.to_string())));
    }
}

fn run(log: &EventLog) -> (CancellationToken, JoinHandle<()>) {
    let (log, shutdown) = (log.clone(), CancellationToken::new());
    (shutdown.clone(), tokio::spawn(async move { log.run(shutdown).await }))
}

#[tokio::test]
async fn sequences_are_dense() {
    let test = TestStore::new().await;
    let (log, stream) = (EventLog::new(test.store.clone()), Uuid::now_v7());
    assert_eq!(log.bounds(stream).await.expect("read"), None);
    for (first, fits) in [(0, false), (2, false), (1, true), (1, false), (3, false), (4, true), (8, false)] {
        let appended = append(&test, &log, stream, first, 3).await;
        assert_eq!(appended.is_ok(), fits, "at {first}: {appended:?}");
        assert!(fits || matches!(appended, Err(AppendError::Conflict)));
    }
    assert_eq!(log.bounds(stream).await.expect("read"), Some((1, 6)));
    let tx = test.store.begin().await.expect("begun");
    assert_eq!(log.latest(&tx, stream).await.expect("read"), 6);
    log.delete(&tx, stream).await.expect("deleted");
    assert_eq!(log.latest(&tx, stream).await.expect("read"), 0);
}

#[tokio::test]
async fn a_log_is_read_from_everywhere() {
    let test = TestStore::new().await;
    let (log, stream) = (EventLog::new(test.store.clone()), Uuid::now_v7());
    let mut first = 1;
    for count in (1..=20).chain([1; 80]) {
        append(&test, &log, stream, first, count).await.expect("appended");
        first += count;
    }
    let last = first - 1;
    for after in 0..=last {
        follow_to(&log, stream, after, last.min(after + 30)).await;
        let read = log.read(stream, after, 7).await.expect("read");
        let expected: Vec<u64> = (after + 1..=last.min(after + 7)).collect();
        assert_eq!(read.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), expected);
    }
    follow_to(&log, stream, 0, last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_see_everything_while_it_is_written() {
    let test = TestStore::new().await;
    let (log, stream) = (EventLog::new(test.store.clone()), Uuid::now_v7());
    let (shutdown, writer) = run(&log);
    let followers: Vec<_> = (0..20)
        .map(|after| {
            let log = log.clone();
            tokio::spawn(async move { follow_to(&log, stream, after * 10, 500).await })
        })
        .collect();
    // By turns alone and in a group: both are announced.
    for batch in 0..100 {
        let first = batch * 5 + 1;
        if batch % 3 == 0 {
            append(&test, &log, stream, first, 5).await.expect("appended");
        } else {
            log.append_soon(stream, first, events(first..first + 5), None).await.expect("appended");
        }
    }
    for follower in followers {
        follower.await.expect("saw everything");
    }
    shutdown.cancel();
    within(writer).await.expect("no panic");
    assert!(test.store.hub().is_empty(), "nobody is remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_other_processes_and_a_deleted_beginning() {
    let test = TestStore::new().await;
    let (here, there) = (EventLog::new(test.store.clone()), EventLog::new(test.another().await));
    let stream = Uuid::now_v7();
    append(&test, &here, stream, 1, 10).await.expect("appended");
    let mut followed = there.follow(stream, 9);
    assert_eq!(within(followed.next()).await.expect("no end").expect("no error").0, 10);
    append(&test, &here, stream, 11, 1).await.expect("appended");
    assert_eq!(within(followed.next()).await.expect("no end").expect("no error").0, 11);

    let tx = test.store.begin().await.expect("begun");
    let cut = test.store.statement("DELETE FROM event_log WHERE first_sequence = 1", []);
    sea_orm::ConnectionTrait::execute_raw(tx.conn(), cut).await.expect("deleted");
    tx.commit().await.expect("committed");
    assert_eq!(here.bounds(stream).await.expect("read"), Some((11, 11)));
    assert_eq!(within(here.follow(stream, 0).next()).await.expect("no end").expect("no error").0, 11);
}

#[tokio::test]
async fn nothing_is_seen_before_the_commit() {
    let test = TestStore::new().await;
    let (log, stream) = (EventLog::new(test.store.clone()), Uuid::now_v7());
    let mut followed = log.follow(stream, 0);
    let mut tx = test.store.begin().await.expect("begun");
    log.append(&mut tx, stream, 1, &events([1])).await.expect("appended");
    assert!(tokio::time::timeout(Duration::from_millis(50), followed.next()).await.is_err(), "not yet");
    drop(tx);
    let mut tx = test.store.begin().await.expect("begun");
    log.append(&mut tx, stream, 1, &events([7])).await.expect("appended");
    tx.commit().await.expect("committed");
    assert_eq!(within(followed.next()).await.expect("no end").expect("no error"), (1, Bytes::from("7")));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_share_transactions() {
    let test = TestStore::new().await;
    let log = EventLog::new(test.store.clone());
    let streams: Vec<Uuid> = (0..500).map(|_| Uuid::now_v7()).collect();
    // Queued up before the writer starts, so that how they are grouped is certain.
    let waiting: Vec<_> = streams
        .iter()
        .map(|stream| {
            let batches: Vec<_> = (1..=5).map(|first| log.append_soon(*stream, first, events([first]), None)).collect();
            tokio::spawn(join_all(batches))
        })
        .collect();
    while log.inner.waiting.capacity() > super::MAX_WAITING - 2500 {
        tokio::task::yield_now().await;
    }
    let (shutdown, writer) = run(&log);
    for stream in waiting {
        for appended in stream.await.expect("no panic") {
            appended.expect("appended");
        }
    }
    // Batches that follow each other became one row; a stream cut by the end of a group has two.
    assert!(test.count("SELECT count(*) FROM event_log").await <= 510);
    for stream in &streams {
        assert_eq!(log.bounds(*stream).await.expect("read"), Some((1, 5)));
    }
    shutdown.cancel();
    within(writer).await.expect("no panic");
    assert!(matches!(log.append_soon(streams[0], 6, events([6]), None).await, Err(AppendError::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_in_a_group_concern_their_writer_only() {
    let test = TestStore::new().await;
    let (log, one, other) = (EventLog::new(test.store.clone()), Uuid::now_v7(), Uuid::now_v7());
    let batches = [(one, 1), (one, 1), (other, 5), (one, 2), (other, 1), (one, 2)];
    let waiting = batches.map(|(stream, first)| log.append_soon(stream, first, events([first]), None));
    let appending = tokio::spawn(join_all(waiting));
    while log.inner.waiting.capacity() > super::MAX_WAITING - 6 {
        tokio::task::yield_now().await;
    }
    let (shutdown, writer) = run(&log);
    let fits: Vec<bool> = appending.await.expect("no panic").iter().map(Result::is_ok).collect();
    // A batch that does not fit is refused and does not take those of other writers with it.
    assert_eq!(fits.iter().filter(|fits| **fits).count(), 3);
    assert_eq!([fits[0] ^ fits[1], fits[3] ^ fits[5], fits[4], fits[2]], [true, true, true, false]);
    shutdown.cancel();
    within(writer).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_of_many_is_committed_together_and_a_failure_takes_back_its_own_only() {
    let test = TestStore::new().await;
    let log = EventLog::new(test.store.clone());
    let streams: Vec<Uuid> = (0..40).map(|_| Uuid::now_v7()).collect();
    let (shutdown, writer) = run(&log);
    let writing = streams.iter().enumerate().map(|(number, stream)| {
        let (log, stream) = (log.clone(), *stream);
        let again = log.clone();
        tokio::spawn(async move {
            log.write(move |tx| {
                again.append_later(tx, stream, 1, events([1]));
                // One says no, one panics, one finds no room for its event.
                let answer = match number {
                    7 => Err(AppendError::Conflict),
                    8 => panic!("on purpose"),
                    _ => Ok(number),
                };
                if number == 9 {
                    again.append_later(tx, stream, 3, events([3]));
                }
                std::future::ready(answer).boxed()
            })
            .await
        })
    });
    for (number, written) in join_all(writing).await.into_iter().enumerate() {
        match (number, written.expect("no panic")) {
            (7, Err(AppendError::Conflict)) => {}
            (8, Err(AppendError::Storage(StorageError::Interrupted))) => {}
            (9, Err(AppendError::Storage(StorageError::Stale))) => {}
            (_, made) => assert_eq!(made.expect("written"), number),
        }
    }
    for (number, stream) in streams.iter().enumerate() {
        let expected = (!(7..=9).contains(&number)).then_some((1, 1));
        assert_eq!(log.bounds(*stream).await.expect("read"), expected, "{number}");
    }
    shutdown.cancel();
    within(writer).await.expect("no panic");
    let (late, again) = (Uuid::now_v7(), log.clone());
    let written = log.write(move |tx| {
        again.append_later(tx, late, 1, events([1]));
        std::future::ready(Ok::<_, StorageError>(())).boxed()
    });
    written.await.expect("without the writer too");
    assert_eq!(log.bounds(late).await.expect("read"), Some((1, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_appends_nothing() {
    let test = TestStore::new().await;
    let (log, stream) = (EventLog::new(test.store.clone()), Uuid::now_v7());
    let (shutdown, writer) = run(&log);
    let queue = Queue::new(test.store.clone(), QueueSettings::new("run", 1));
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let worker = tokio::spawn({
        let (queue, shutdown) = (queue.clone(), shutdown.clone());
        async move {
            let handler = move |lease: crate::Lease| {
                let sender = sender.clone();
                FutureExt::boxed(async move {
                    sender.send(lease.clone()).await.expect("received");
                    lease.lost.cancelled().await;
                    Err(crate::JobError::LeaseLost)
                })
            };
            queue.run(shutdown, handler).await;
        }
    });
    let mut tx = test.store.begin().await.expect("begun");
    let (key, project_id) = ("k".to_owned(), Uuid::now_v7());
    let job = NewJob { kind: "run", key, project_id, payload: vec![], traceparent: String::new() };
    queue.enqueue(&mut tx, job).await.expect("enqueued");
    tx.commit().await.expect("committed");
    let lease = within(receiver.recv()).await.expect("leased");

    log.append_soon(stream, 1, events([1]), Some(&lease)).await.expect("the lease is good");
    let mut stale = lease.clone();
    stale.token -= 1;
    let refused = log.append_soon(stream, 2, events([2]), Some(&stale)).await;
    assert!(matches!(refused, Err(AppendError::LeaseLost)), "{refused:?}");
    log.append_soon(stream, 2, events([2]), Some(&lease)).await.expect("the lease is good");
    shutdown.cancel();
    within(worker).await.expect("no panic");
    within(writer).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_share_a_sequence() {
    let test = TestStore::new().await;
    let stream = Uuid::now_v7();
    let mut writers = Vec::new();
    for store in [test.store.clone(), test.another().await] {
        let log = EventLog::new(store.clone());
        let (shutdown, running) = run(&log);
        let writing = tokio::spawn(async move {
            let mut written = 0;
            for attempt in 0..1000 {
                let next = log.bounds(stream).await.expect("read").map_or(1, |(_, latest)| latest + 1);
                let appended = if attempt % 2 == 0 {
                    log.append_soon(stream, next, events([next]), None).await
                } else {
                    let mut tx = store.begin().await.expect("begun");
                    let appended = log.append(&mut tx, stream, next, &events([next])).await;
                    tx.commit().await.expect("a conflict leaves the transaction usable");
                    appended
                };
                match appended {
                    Ok(()) => written += 1,
                    Err(AppendError::Conflict) => {}
                    Err(error) => panic!("{error}"),
                }
                if written == 100 {
                    break;
                }
            }
            shutdown.cancel();
            running.await.expect("no panic");
            written
        });
        writers.push(writing);
    }
    let mut written = 0;
    for writer in writers {
        written += within(writer).await.expect("no panic");
    }
    let log = EventLog::new(test.store.clone());
    assert_eq!(log.bounds(stream).await.expect("read"), Some((1, written)));
    follow_to(&log, stream, 0, written).await;
}
