//! What the bus promises with a server between: through deaths, duplicates, slow handlers and changed settings; on the
//! current NATS server and on the one that Debian ships.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use async_trait::async_trait;
use futures::StreamExt as _;
use slipway_testkit::nats::NatsServer;
use slipway_testkit::suite::free_port;
use tokio::sync::Notify;

use super::{PATIENCE, Recorder, Running, conforms, event};
use crate::nats::consume::Patience;
use crate::{Bus, Event, Handler, HandlerError, Settings};

const ACK_WAIT: Duration = Duration::from_millis(1000);
const REDELIVER: Duration = Duration::from_millis(100);

/// As in life, but in less time.
pub(super) fn patience() -> Patience {
    Patience {
        connection: Duration::from_millis(500),
        ack_wait: ACK_WAIT,
        progress_every: Duration::from_millis(300),
        redeliver_first: REDELIVER,
        redeliver_last: REDELIVER * 4,
    }
}

async fn bus(server: &NatsServer) -> Bus {
    let settings = Settings { url: server.url(), ..Settings::default() };
    Bus::on(&settings, patience()).await.expect("an address")
}

/// A bus with one consumer.
async fn subscribed(server: &NatsServer, consumer: &str, handler: Arc<dyn Handler>) -> Running {
    let bus = bus(server).await;
    bus.subscribe(consumer, ">", handler).await.expect("subscribed");
    Running::start(&bus)
}

pub(super) async fn jetstream(server: &NatsServer) -> jetstream::Context {
    jetstream::new(async_nats::connect(server.url()).await.expect("connected"))
}

fn events<const N: usize>() -> [Event; N] {
    std::array::from_fn(|_| event("revision.committed", "w", ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms() {
    for server in NatsServer::every().await {
        conforms(Bus::nats(&server.url()).await.expect("connected")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_outlives_its_server() {
    for mut server in NatsServer::every().await {
        let recorder = Recorder::refusing(0);
        let running = subscribed(&server, "recorder", recorder.clone()).await;
        let [before, after] = events();
        running.publish(&before).await;
        recorder.wait_for(1).await;
        server.kill().await.expect("killed");
        let failed = running.bus.publish(&after).await.expect_err("nobody is there");
        assert!(failed.is_unavailable(), "{failed}");
        server.restart().await.expect("restarted");
        running.publish(&after).await;
        // The server may have died before it stored the acknowledgement: then the first one comes again.
        let mut taken = recorder.wait_until(|taken| taken.contains(&after)).await;
        taken.dedup();
        assert_eq!(taken, [before, after]);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_events_for_consumers_that_are_away_and_drops_duplicates() {
    for server in NatsServer::every().await {
        let publisher = Running::start(&bus(&server).await);
        let sent = events::<3>();
        for event in sent.iter().chain(&sent) {
            publisher.publish(event).await;
        }
        for expected in [3, 0] {
            // The second time the same durable consumer finds everything acknowledged.
            let recorder = Recorder::refusing(0);
            let late = subscribed(&server, "late", recorder.clone()).await;
            assert_eq!(recorder.wait_for(expected).await, sent[..expected]);
            late.stop().await;
            assert_eq!(recorder.seen.load(Ordering::SeqCst), expected as u32);
        }
        publisher.stop().await;
    }
}

#[tokio::test]
async fn it_may_come_up_later() {
    let port = free_port().expect("a port");
    let settings = Settings { url: format!("nats://127.0.0.1:{port}"), ..Settings::default() };
    let bus = Bus::on(&settings, patience()).await.expect("the server need not be there");
    let failed = bus.publish(&event("revision.committed", "w", "")).await.expect_err("nobody is there");
    assert!(failed.is_unavailable(), "{failed}");
}

/// Takes longer over its first event than the server waits.
struct Slow(Arc<Recorder>);

#[async_trait]
impl Handler for Slow {
    async fn handle(&self, event: &Event, delivery: u32) -> Result<(), HandlerError> {
        let first = self.0.seen.fetch_add(1, Ordering::SeqCst) == 0;
        if first {
            tokio::time::sleep(ACK_WAIT * 5 / 2).await;
        }
        self.0.handle(event, delivery).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_is_still_at_it_is_not_called_again() {
    for server in NatsServer::every().await {
        let recorder = Recorder::refusing(0);
        let running = subscribed(&server, "slow", Arc::new(Slow(recorder.clone()))).await;
        let sent = events::<2>();
        for event in &sent {
            running.publish(event).await;
        }
        assert_eq!(recorder.wait_for(2).await, sent, "once each");
        assert_eq!(recorder.seen.load(Ordering::SeqCst), 4, "begun twice, ended twice");
        running.stop().await;
    }
}

/// Never ends, as if its process hung or died.
#[derive(Default)]
struct Stuck(Notify);

#[async_trait]
impl Handler for Stuck {
    async fn handle(&self, _: &Event, _: u32) -> Result<(), HandlerError> {
        self.0.notify_one();
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_of_a_dead_replica_goes_to_another() {
    for server in NatsServer::every().await {
        let (stuck, recorder) = (Arc::new(Stuck::default()), Recorder::refusing(0));
        let dying = subscribed(&server, "shared", stuck.clone()).await;
        let sent = events::<3>();
        for event in &sent {
            dying.publish(event).await;
        }
        tokio::time::timeout(PATIENCE, stuck.0.notified()).await.expect("begun");
        let alive = subscribed(&server, "shared", recorder.clone()).await;
        dying.task.abort();
        assert_eq!(recorder.wait_for(3).await, sent, "in order, none left out");
        alive.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_comes_again_after_growing_pauses() {
    for server in NatsServer::every().await {
        let recorder = Recorder::refusing(4);
        let running = subscribed(&server, "stubborn", recorder.clone()).await;
        let sent = events::<2>();
        for event in &sent {
            running.publish(event).await;
        }
        assert_eq!(recorder.wait_for(2).await, sent, "what follows waits");
        assert_eq!(running.bus.redeliveries(), 4);
        let came = recorder.came.lock().expect("not poisoned").clone();
        let pauses: Vec<Duration> = came.windows(2).map(|two| two[1] - two[0]).collect();
        for (pause, least) in pauses.iter().zip([1, 2, 4, 4]) {
            assert!(*pause >= REDELIVER * least, "{pauses:?}");
        }
        running.stop().await;
    }
}

/// One of several replicas: what it takes, it shares.
struct Replica {
    own: AtomicU32,
    all: Arc<Recorder>,
}

#[async_trait]
impl Handler for Replica {
    async fn handle(&self, event: &Event, delivery: u32) -> Result<(), HandlerError> {
        self.own.fetch_add(1, Ordering::SeqCst);
        self.all.handle(event, delivery).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_work_and_keep_the_order() {
    for server in NatsServer::every().await {
        let all = Recorder::refusing(0);
        let replicas = [0, 1].map(|own: u32| Arc::new(Replica { own: own.into(), all: all.clone() }));
        replicas.iter().for_each(|replica| replica.own.store(0, Ordering::SeqCst));
        let first = subscribed(&server, "shared", replicas[0].clone()).await;
        let second = subscribed(&server, "shared", replicas[1].clone()).await;
        let sent: Vec<Event> = (0..100).map(|_| event("revision.committed", "w", "")).collect();
        for event in &sent {
            first.publish(event).await;
        }
        assert_eq!(all.wait_for(100).await, sent, "each once, in order");
        let shares = replicas.each_ref().map(|replica| replica.own.load(Ordering::SeqCst));
        assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
        first.stop().await;
        second.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_becomes_what_it_should_be_and_keeps_its_place() {
    for server in NatsServer::every().await {
        let sent = events::<2>();
        for (number, ack_wait) in [ACK_WAIT, ACK_WAIT * 7].into_iter().enumerate() {
            let settings = Settings { url: server.url(), ..Settings::default() };
            let bus = Bus::on(&settings, Patience { ack_wait, ..patience() }).await.expect("an address");
            let subject = ["revision.committed", "revision.>"][number];
            let recorder = Recorder::refusing(0);
            bus.subscribe("changing", subject, recorder.clone()).await.expect("subscribed");
            let running = Running::start(&bus);
            running.publish(&sent[number]).await;
            assert_eq!(recorder.wait_for(1).await, sent[number..=number]);
            running.stop().await;
            let stream = jetstream(&server).await.get_stream("SLIPWAY").await.expect("a stream");
            let found = stream.consumer_info("changing").await.expect("a consumer").config;
            assert_eq!((found.ack_wait, found.filter_subject), (ack_wait, format!("slipway.{subject}")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_becomes_what_it_should_be_and_keeps_what_operators_set() {
    for server in NatsServer::every().await {
        let old = stream::Config {
            name: "SLIPWAY".to_owned(),
            subjects: vec!["slipway.>".to_owned()],
            max_age: Duration::from_secs(60),
            max_bytes: 123_456_789,
            ..stream::Config::default()
        };
        let jetstream = jetstream(&server).await;
        jetstream.create_stream(old).await.expect("created");
        bus(&server).await.publish(&event("revision.committed", "w", "")).await.expect("published");
        let found = jetstream.get_stream("SLIPWAY").await.expect("a stream");
        let found = &found.cached_info().config;
        assert_eq!((found.max_age, found.max_bytes), (Duration::from_secs(7 * 24 * 3600), 123_456_789));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_empty_gets_its_stream_and_consumers_again() {
    for mut server in NatsServer::every().await {
        let recorder = Recorder::refusing(0);
        let running = subscribed(&server, "recorder", recorder.clone()).await;
        let sent = events::<3>();
        running.publish(&sent[0]).await;
        recorder.wait_for(1).await;
        server.restart_empty().await.expect("restarted");
        for event in &sent[1..] {
            running.publish(event).await;
        }
        assert_eq!(recorder.wait_for(3).await, sent);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_and_trace_travel_in_headers() {
    for server in NatsServer::every().await {
        let client = async_nats::connect(server.url()).await.expect("connected");
        let mut wire = client.subscribe("slipway.>").await.expect("subscribed");
        client.flush().await.expect("flushed");
        let sent = event("revision.committed", "w-1", "payload");
        bus(&server).await.publish(&sent).await.expect("published");
        let message = tokio::time::timeout(PATIENCE, wire.next()).await.expect("in time").expect("a message");
        let headers = message.headers.expect("headers");
        let header = |name: &str| headers.get(name).expect("a header").as_str().to_owned();
        assert_eq!(message.subject.as_str(), "slipway.revision.committed");
        assert_eq!(header("traceparent"), sent.traceparent);
        assert_eq!(header("Nats-Msg-Id"), sent.id.to_string());
        assert_eq!(header("Slipway-Entity-Id"), "w-1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_loses_a_server_and_no_event() {
    let Some(mut servers) = NatsServer::cluster().await else { return };
    let url = servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(", ");
    let settings = Settings { url, replicas: 3, ..Settings::default() };
    settings.check().expect("good settings");
    let bus = Bus::on(&settings, patience()).await.expect("addresses");
    let recorder = Recorder::refusing(0);
    bus.subscribe("recorder", ">", recorder.clone()).await.expect("subscribed");
    let running = Running::start(&bus);
    let sent = events::<6>();
    for event in &sent[..3] {
        running.publish(event).await;
    }
    let stream = jetstream(&servers[0]).await.get_stream("SLIPWAY").await.expect("a stream");
    let info = stream.cached_info();
    assert_eq!(info.config.num_replicas, 3);
    let leader = info.cluster.as_ref().and_then(|cluster| cluster.leader.clone()).expect("a leader");
    let number: usize = leader.trim_start_matches('n').parse().expect("a number");
    servers[number].kill().await.expect("killed");
    for event in &sent[3..] {
        running.publish(event).await;
    }
    let taken = recorder.wait_until(|taken| sent.iter().all(|event| taken.contains(event))).await;
    let mut once: Vec<Event> = Vec::new();
    for event in taken {
        if sent.contains(&event) && !once.contains(&event) {
            once.push(event);
        }
    }
    assert_eq!(once, sent, "in order");
    running.stop().await;
}
