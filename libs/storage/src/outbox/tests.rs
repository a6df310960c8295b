//! The outbox against a bus that refuses, vanishes and crashes between handing over and marking; `nats.rs` has a real one.

mod nats;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use slipway_bus::{Bus, BusError, Event, Handler, Transport};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Relay, append};
use crate::testing::{TestStore, eventually, within};

/// A bus that does as it is told.
#[derive(Default)]
struct Fake {
    published: Mutex<Vec<Event>>,
    away: AtomicBool,
    /// Refuses events of the entity `stubborn` so many times.
    refuse: AtomicU32,
    /// Stops for ever once it has so many.
    stall_at: Option<usize>,
    stalled: Notify,
}

#[async_trait]
impl Transport for Fake {
    async fn publish(&self, event: &Event) -> Result<(), BusError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(BusError::Unavailable("away".into()));
        }
        let refused = || self.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if event.entity_id == "stubborn" && refused() {
            return Err(BusError::Refused { consumer: "c".to_owned(), source: "no".into() });
        }
        let published = {
            let mut all = self.published.lock().expect("not poisoned");
            all.push(event.clone());
            all.len()
        };
        if self.stall_at == Some(published) {
            self.stalled.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn subscribe(&self, _: &str, _: &str, _: Arc<dyn Handler>) -> Result<(), BusError> {
        Ok(())
    }

    async fn run(&self, _: CancellationToken) {}
}

impl Fake {
    fn published(&self) -> Vec<Event> {
        self.published.lock().expect("not poisoned").clone()
    }
}

fn event(entity: &str, number: usize) -> Event {
    Event {
        id: Uuid::now_v7(),
        subject: "revision.committed".to_owned(),
        entity_id: entity.to_owned(),
        traceparent: String::new(),
        payload: Bytes::from(number.to_string()),
    }
}

async fn store(test: &TestStore, events: &[Event]) {
    for event in events {
        let mut tx = test.store.begin().await.expect("begun");
        append(&mut tx, event).await.expect("appended");
        tx.commit().await.expect("committed");
    }
}

fn relay(test: &TestStore, bus: &Arc<Fake>) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let shutdown = CancellationToken::new();
    let relay = Relay::new(test.store.clone(), Bus::new(bus.clone()));
    (shutdown.clone(), tokio::spawn(relay.run(shutdown)))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_leave_in_order_and_once() {
    let (test, bus) = (TestStore::new().await, Arc::new(Fake::default()));
    let events: Vec<Event> = (0..300).map(|number| event("w", number)).collect();
    store(&test, &events[..200]).await;
    let (shutdown, running) = relay(&test, &bus);
    store(&test, &events[200..]).await;
    let mut dropped = test.store.begin().await.expect("begun");
    append(&mut dropped, &event("w", 999)).await.expect("appended");
    drop(dropped);
    eventually(|| async { test.count("SELECT count(*) FROM outbox WHERE sent_time IS NULL").await == 0 }).await;
    shutdown.cancel();
    within(running).await.expect("no panic");
    assert_eq!(bus.published(), events);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_bus_loses_nothing() {
    let (test, bus) = (TestStore::new().await, Arc::new(Fake::default()));
    bus.away.store(true, Ordering::SeqCst);
    let events: Vec<Event> = (0..10).map(|number| event("w", number)).collect();
    let (shutdown, running) = relay(&test, &bus);
    store(&test, &events).await;
    assert!(bus.published().is_empty());
    bus.away.store(false, Ordering::SeqCst);
    eventually(|| async { bus.published().len() == 10 }).await;
    shutdown.cancel();
    within(running).await.expect("no panic");
    assert_eq!(bus.published(), events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_holds_back_its_entity_only() {
    let (test, bus) = (TestStore::new().await, Arc::new(Fake { refuse: 2.into(), ..Fake::default() }));
    let events: Vec<Event> = (0..20).map(|number| event(if number % 2 == 0 { "stubborn" } else { "w" }, number)).collect();
    store(&test, &events).await;
    let (shutdown, running) = relay(&test, &bus);
    eventually(|| async { bus.published().len() == 20 }).await;
    shutdown.cancel();
    within(running).await.expect("no panic");
    let published = bus.published();
    assert!(published[..10].iter().all(|event| event.entity_id == "w"), "others go first");
    for entity in ["w", "stubborn"] {
        let of = |events: &[Event]| events.iter().filter(|e| e.entity_id == entity).map(|e| e.id).collect::<Vec<_>>();
        assert_eq!(of(&published), of(&events), "{entity} in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_marking_repeats_but_does_not_lose() {
    let (test, first) = (TestStore::new().await, Arc::new(Fake { stall_at: Some(5), ..Fake::default() }));
    let events: Vec<Event> = (0..10).map(|number| event("w", number)).collect();
    store(&test, &events).await;
    let (_, running) = relay(&test, &first);
    within(first.stalled.notified()).await;
    running.abort();

    let second = Arc::new(Fake::default());
    let (shutdown, running) = relay(&test, &second);
    eventually(|| async { test.count("SELECT count(*) FROM outbox WHERE sent_time IS NULL").await == 0 }).await;
    shutdown.cancel();
    within(running).await.expect("no panic");
    let ids: HashSet<Uuid> = first.published().iter().chain(&second.published()).map(|event| event.id).collect();
    assert_eq!(ids.len(), 10);
    let published = second.published();
    assert_eq!(published, events[10 - published.len()..], "in order, to the end");
}
