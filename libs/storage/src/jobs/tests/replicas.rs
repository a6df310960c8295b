//! Queues that several replicas work on, on a real PostgreSQL and a real NATS. None of them looks by itself.

use std::time::Duration;

use slipway_testkit::nats::NatsServer;
use tokio::sync::mpsc;

use super::{Queue, QueueSettings, Running, completing, enqueue, hanging, settings};
use crate::Store;
use crate::testing::{TestStore, within};

const NEVER: Duration = Duration::from_secs(3600);

async fn servers() -> Option<(TestStore, NatsServer)> {
    Some((TestStore::postgres().await?, NatsServer::start().await?))
}

fn queue(store: &Store) -> Queue {
    Queue::new(store.clone(), QueueSettings { poll: NEVER, concurrency: 1, ..settings() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_room_here_wakes_another_replica() {
    let Some((test, nats)) = servers().await else { return };
    let (here, there) = (test.replica(&nats).await, test.replica(&nats).await);
    let (busy, idle) = (queue(&here.store), queue(&there.store));
    let (started, mut starts) = mpsc::channel(10);
    let (done, mut ends) = mpsc::channel(10);
    let (hangs, works) = (Running::start(&busy, hanging(&started)), Running::start(&idle, completing(&there.store, &done)));
    // Both replicas may take the first ones; in the end one hangs here, and what follows can only run there.
    let mut number = 0;
    while starts.try_recv().is_err() {
        number += 1;
        enqueue(&here.store, &busy, &number.to_string()).await;
        tokio::select! {
            _ = within(starts.recv()) => break,
            _ = within(ends.recv()) => {}
        }
    }
    for key in ["a", "b", "c"] {
        enqueue(&here.store, &busy, key).await;
        assert_eq!(within(ends.recv()).await.expect("done").key, key);
    }
    // What an orderly end gives back is taken at once.
    hangs.stop().await;
    assert_eq!(within(ends.recv()).await.expect("done").attempt, 2);
    works.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_replica_that_does_not_work_wakes_one_that_does() {
    let Some((test, nats)) = servers().await else { return };
    let (here, there) = (test.replica(&nats).await, test.replica(&nats).await);
    let (done, mut ends) = mpsc::channel(10);
    let works = Running::start(&queue(&there.store), completing(&there.store, &done));
    for key in ["a", "b", "c"] {
        enqueue(&here.store, &queue(&here.store), key).await;
        assert_eq!(within(ends.recv()).await.expect("done").key, key);
    }
    works.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_replicas_look_by_themselves() {
    let Some((test, mut nats)) = servers().await else { return };
    let (mut here, mut there) = (test.replica(&nats).await, test.replica(&nats).await);
    let (done, mut ends) = mpsc::channel(10);
    let looking = Queue::new(there.store.clone(), QueueSettings { poll: Duration::from_millis(20), ..settings() });
    let works = Running::start(&looking, completing(&there.store, &done));
    nats.kill().await.expect("killed");
    here.link_changed().await;
    there.link_changed().await;
    enqueue(&here.store, &queue(&here.store), "k").await;
    assert_eq!(within(ends.recv()).await.expect("done").key, "k");
    works.stop().await;
}
