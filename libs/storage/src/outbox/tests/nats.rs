//! Two replicas' relays, a real PostgreSQL, and a real NATS that goes away.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use slipway_bus::{Bus, Event, Handler, HandlerError};
use slipway_testkit::nats::NatsServer;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Relay, event, store};
use crate::testing::{TestStore, eventually};

/// A consumer as they all should be: what comes again changes nothing.
#[derive(Default)]
struct Idempotent {
    known: Mutex<HashSet<Uuid>>,
    taken: Mutex<Vec<Event>>,
}

#[async_trait]
impl Handler for Idempotent {
    async fn handle(&self, event: &Event, _: u32) -> Result<(), HandlerError> {
        if self.known.lock().expect("not poisoned").insert(event.id) {
            self.taken.lock().expect("not poisoned").push(event.clone());
        }
        Ok(())
    }
}

impl Idempotent {
    fn taken(&self) -> Vec<Event> {
        self.taken.lock().expect("not poisoned").clone()
    }
}

/// A replica: its relay and its bus.
async fn replica(test: &TestStore, nats: &NatsServer, consumer: &Arc<Idempotent>, tasks: &mut JoinSet<()>) -> CancellationToken {
    let (bus, shutdown) = (Bus::nats(&nats.url()).await.expect("an address"), CancellationToken::new());
    bus.subscribe("consumer", "revision.committed", consumer.clone()).await.expect("subscribed");
    tasks.spawn(Relay::new(test.another().await, bus.clone()).run(shutdown.clone()));
    let stop = shutdown.clone();
    tasks.spawn(async move { bus.run(stop).await });
    shutdown
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_while_nats_is_away_arrives_in_order_and_once() {
    for mut nats in NatsServer::every().await {
        let Some(test) = TestStore::postgres().await else { return };
        let (consumer, mut tasks) = (Arc::new(Idempotent::default()), JoinSet::new());
        let replicas = [replica(&test, &nats, &consumer, &mut tasks).await, replica(&test, &nats, &consumer, &mut tasks).await];
        let events: Vec<Event> = (0..60).map(|number| event("w", number)).collect();
        store(&test, &events[..10]).await;
        let unsent = "SELECT count(*) FROM outbox WHERE sent_time IS NULL";
        eventually(|| async { consumer.taken().len() == 10 && test.count(unsent).await == 0 }).await;

        nats.kill().await.expect("killed");
        // Whoever commits does not notice.
        store(&test, &events[10..]).await;
        assert_eq!(test.count(unsent).await, 50);
        nats.restart().await.expect("restarted");
        eventually(|| async { consumer.taken().len() == 60 }).await;
        assert_eq!(consumer.taken(), events, "in order");
        eventually(|| async { test.count(unsent).await == 0 }).await;
        replicas.iter().for_each(CancellationToken::cancel);
        while tasks.join_next().await.is_some() {}
    }
}
