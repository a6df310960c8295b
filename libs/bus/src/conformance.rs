//! What every transport promises, as tests that run on each of them; `nats.rs` has what only a server can promise,
//! `credentials.rs` whom it lets in, `live.rs` the volatile lane, `cells.rs` the cells.

mod cells;
mod credentials;
mod live;
mod nats;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Bus, BusError, Event, Handler, HandlerError};

const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps what it takes, after refusing as often as it is told.
#[derive(Default)]
struct Recorder {
    taken: Mutex<Vec<Event>>,
    /// When each delivery came, and which of its event it was.
    came: Mutex<Vec<Instant>>,
    deliveries: Mutex<Vec<u32>>,
    seen: AtomicU32,
    refuse: AtomicU32,
    changed: Notify,
}

#[async_trait]
impl Handler for Recorder {
    async fn handle(&self, event: &Event, delivery: u32) -> Result<(), HandlerError> {
        self.seen.fetch_add(1, Ordering::SeqCst);
        self.came.lock().expect("not poisoned").push(Instant::now());
        self.deliveries.lock().expect("not poisoned").push(delivery);
        let refuse = self.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if refuse {
            return Err(HandlerError::new("not now"));
        }
        self.taken.lock().expect("not poisoned").push(event.clone());
        self.changed.notify_one();
        Ok(())
    }
}

impl Recorder {
    fn refusing(times: u32) -> Arc<Recorder> {
        Arc::new(Recorder { refuse: times.into(), ..Recorder::default() })
    }

    fn taken(&self) -> Vec<Event> {
        self.taken.lock().expect("not poisoned").clone()
    }

    async fn wait_for(&self, count: usize) -> Vec<Event> {
        self.wait_until(|taken| taken.len() >= count).await
    }

    async fn wait_until(&self, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let waiting = async {
            while !enough(&self.taken()) {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the events arrive");
        self.taken()
    }
}

struct Running {
    bus: Bus,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(bus: &Bus) -> Running {
        let (bus, shutdown) = (bus.clone(), CancellationToken::new());
        let task = tokio::spawn({
            let (bus, shutdown) = (bus.clone(), shutdown.clone());
            async move { bus.run(shutdown).await }
        });
        Running { bus, shutdown, task }
    }

    /// Publishes as the outbox does: until it is taken.
    async fn publish(&self, event: &Event) {
        let publishing = async {
            while let Err(error) = self.bus.publish(event).await {
                assert!(!matches!(error, BusError::Invalid(_)), "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, publishing).await.expect("the event is taken");
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it stops").expect("without a panic");
    }
}

fn event(subject: &str, entity: &str, payload: &'static str) -> Event {
    Event {
        id: Uuid::now_v7(),
        subject: subject.to_owned(),
        entity_id: entity.to_owned(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        payload: Bytes::from_static(payload.as_bytes()),
    }
}

/// The suite. `bus` is fresh.
async fn conforms(bus: Bus) {
    let (revisions, everything, stubborn) = (Recorder::refusing(0), Recorder::refusing(0), Recorder::refusing(2));
    bus.subscribe("revisions", "revision.committed", revisions.clone()).await.expect("subscribed");
    bus.subscribe("everything", ">", everything.clone()).await.expect("subscribed");
    bus.subscribe("stubborn", "workspace.*", stubborn.clone()).await.expect("subscribed");
    let again = bus.subscribe("revisions", "x", revisions.clone()).await;
    assert!(matches!(again, Err(BusError::Invalid(_))), "names are unique");
    let running = Running::start(&bus);

    arrives_whole_and_in_order(&running, &revisions).await;
    comes_again_until_taken(&running, &stubborn).await;
    let all = everything.wait_for(103).await;
    assert_eq!(distinct(&all), 103, "a wildcard sees every subject");
    assert_eq!(revisions.taken().len(), 100, "and others only their own");
    for bad in ["", "a b", "a.*", "a.>"] {
        assert!(matches!(bus.publish(&event(bad, "w", "")).await, Err(BusError::Invalid(_))), "{bad:?}");
    }
    running.stop().await;
}

async fn arrives_whole_and_in_order(running: &Running, revisions: &Recorder) {
    let sent: Vec<Event> = (0..100).map(|_| event("revision.committed", "w-1", "payload")).collect();
    for event in &sent {
        running.publish(event).await;
    }
    assert_eq!(revisions.wait_for(100).await, sent, "whole, in order, once each");
}

async fn comes_again_until_taken(running: &Running, stubborn: &Recorder) {
    let sent = [1, 2, 3].map(|_| event("workspace.deleted", "w-2", ""));
    for event in &sent {
        running.publish(event).await;
    }
    assert_eq!(stubborn.wait_for(3).await, sent, "what follows a refused event waits for it");
    assert_eq!(*stubborn.deliveries.lock().expect("not poisoned"), [1, 2, 3, 1, 1], "each event's deliveries are counted");
}

fn distinct(events: &[Event]) -> usize {
    events.iter().map(|event| event.id).collect::<std::collections::HashSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_process_conforms() {
    conforms(Bus::in_process()).await;
}

#[tokio::test]
async fn in_process_says_who_refused() {
    let bus = Bus::in_process();
    let (first, second) = (Recorder::refusing(1), Recorder::refusing(0));
    bus.subscribe("first", ">", first.clone()).await.expect("subscribed");
    bus.subscribe("second", ">", second.clone()).await.expect("subscribed");
    let sent = event("revision.committed", "w", "");
    let Err(BusError::Refused { consumer, source }) = bus.publish(&sent).await else { panic!("it was refused") };
    assert_eq!((consumer.as_str(), source.to_string().as_str()), ("first", "not now"));
    assert_eq!(second.taken().len(), 1, "others get it all the same");
    bus.publish(&sent).await.expect("taken");
}
