//! Logs that one replica writes and another follows, on a real PostgreSQL and a real NATS. Where it must be shown that a
//! follower was told, the time after which it would look by itself is longer than any test.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use slipway_testkit::nats::NatsServer;
use uuid::Uuid;

use super::super::follow::{Polls, follow};
use super::{EventLog, run};
use crate::testing::{Replica, TestStore, within};
use crate::{StorageError, Store};

const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(20);

type Followed = BoxStream<'static, Result<(u64, Bytes), StorageError>>;

async fn servers() -> Option<(TestStore, NatsServer)> {
    Some((TestStore::postgres().await?, NatsServer::start().await?))
}

/// Whatever it sees, it was told of.
fn told(store: &Store, stream: Uuid, after: u64) -> Followed {
    follow(store.clone(), stream, after, true, Polls { untold: NEVER, told: NEVER, alone: NEVER })
}

fn event(sequence: u64) -> Bytes {
    Bytes::from(format!("event {sequence}"))
}

async fn append(store: &Store, stream: Uuid, first: u64, events: &[Bytes]) {
    let mut tx = store.begin().await.expect("begun");
    EventLog::new(store.clone()).append(&mut tx, stream, first, events).await.expect("appended");
    tx.commit().await.expect("committed");
}

async fn expect(followed: &mut Followed, sequence: u64) {
    let next = within(followed.next()).await.expect("no end").expect("no error");
    assert_eq!(next, (sequence, event(sequence)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_told_what_another_replica_commits() {
    let Some((test, nats)) = servers().await else { return };
    let (here, there) = (test.replica(&nats).await, test.replica(&nats).await);
    let stream = Uuid::now_v7();
    append(&here.store, stream, 1, &[event(1), event(2)]).await;
    let mut followed = told(&there.store, stream, 1);
    expect(&mut followed, 2).await;
    for first in (3..60).step_by(3) {
        append(&here.store, stream, first, &[event(first), event(first + 1), event(first + 2)]).await;
        for sequence in first..first + 3 {
            expect(&mut followed, sequence).await;
        }
    }
    let log = EventLog::new(here.store.clone());
    let (shutdown, running) = run(&log);
    log.append_soon(stream, 60, vec![event(60)], None).await.expect("appended");
    expect(&mut followed, 60).await;
    shutdown.cancel();
    within(running).await.expect("no panic");
    drop(followed);
    assert!(there.store.hub().is_empty(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_announcement_is_noticed_at_the_next() {
    let Some((test, nats)) = servers().await else { return };
    let (here, there, silent) = (test.replica(&nats).await, test.replica(&nats).await, test.another().await);
    let stream = Uuid::now_v7();
    append(&here.store, stream, 1, &[event(1)]).await;
    let mut followed = told(&there.store, stream, 0);
    expect(&mut followed, 1).await;
    append(&silent, stream, 2, &[event(2)]).await;
    append(&here.store, stream, 3, &[event(3)]).await;
    expect(&mut followed, 2).await;
    expect(&mut followed, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_is_only_mentioned() {
    let Some((test, nats)) = servers().await else { return };
    let (here, there) = (test.replica(&nats).await, test.replica(&nats).await);
    let (stream, large) = (Uuid::now_v7(), Bytes::from(vec![b'x'; 3 * 1024 * 1024]));
    append(&here.store, stream, 1, &[event(1)]).await;
    let mut followed = told(&there.store, stream, 0);
    expect(&mut followed, 1).await;
    append(&here.store, stream, 2, std::slice::from_ref(&large)).await;
    let next = within(followed.next()).await.expect("no end").expect("no error");
    assert!(next == (2, large), "whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_followers_look_and_with_it_they_are_told_again() {
    let Some((test, mut nats)) = servers().await else { return };
    let (mut here, mut there) = (test.replica(&nats).await, test.replica(&nats).await);
    let stream = Uuid::now_v7();
    append(&here.store, stream, 1, &[event(1)]).await;
    let polls = Polls { untold: SOON, told: NEVER, alone: NEVER };
    let mut followed = follow(there.store.clone(), stream, 0, true, polls);
    expect(&mut followed, 1).await;

    let both = async |here: &mut Replica, there: &mut Replica| {
        here.link_changed().await;
        there.link_changed().await;
    };
    nats.kill().await.expect("killed");
    both(&mut here, &mut there).await;
    for sequence in 2..5 {
        append(&here.store, stream, sequence, &[event(sequence)]).await;
        expect(&mut followed, sequence).await;
    }
    nats.restart().await.expect("restarted");
    both(&mut here, &mut there).await;
    for sequence in 5..20 {
        append(&here.store, stream, sequence, &[event(sequence)]).await;
        expect(&mut followed, sequence).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_resumes_on_another_replica_from_every_cursor_byte_for_byte() {
    let Some((test, nats)) = servers().await else { return };
    let (here, there) = (test.replica(&nats).await, test.replica(&nats).await);
    let stream = Uuid::now_v7();
    // The first half is there before anybody follows; every batch is of another size.
    let batches: Vec<Vec<u64>> = (1..=8).map(|size| (0..size).map(|at| size * (size - 1) / 2 + at + 1).collect()).collect();
    let (before, after) = batches.split_at(4);
    let write = async |batches: &[Vec<u64>]| {
        for batch in batches {
            let events: Vec<Bytes> = batch.iter().map(|sequence| event(*sequence)).collect();
            append(&here.store, stream, batch[0], &events).await;
        }
    };
    write(before).await;
    let following: Vec<_> = (0..=10)
        .map(|cursor| {
            let mut followed = told(&there.store, stream, cursor);
            tokio::spawn(async move {
                for sequence in cursor + 1..=36 {
                    expect(&mut followed, sequence).await;
                }
            })
        })
        .collect();
    write(after).await;
    for followed in following {
        followed.await.expect("saw everything");
    }
    for cursor in 0..36 {
        expect(&mut told(&there.store, stream, cursor), cursor + 1).await;
    }
    assert!(there.store.hub().is_empty());
}
