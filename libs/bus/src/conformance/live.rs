//! What the volatile lane promises: who hears what, what is never heard, and that nobody waits for anybody.

use std::time::Duration;

use bytes::Bytes;
use slipway_testkit::nats::NatsServer;

use super::{PATIENCE, Recorder, Running};
use crate::{Bus, Listener, Live, Signal};

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn within<T>(waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waiting).await.expect("it happens in time")
}

/// A listener that hears what is announced from now on.
async fn listening(live: &Live, topic: &str) -> Listener {
    let mut listener = live.listen(topic);
    assert_eq!(within(listener.next()).await, Signal::Look, "the first signal");
    listener
}

async fn connected(server: &NatsServer) -> Bus {
    Bus::nats(&server.url()).await.expect("connected")
}

/// The suite for processes that have each other.
async fn conforms(here: &Live, there: &Live) {
    let mut others = listening(here, "conversation.log.1").await;
    let mut own = listening(there, "conversation.log.1").await;
    let mut apart = listening(here, "conversation.log.2").await;
    for number in ["one", "two", "three"] {
        there.announce("conversation.log.1", text(number));
    }
    there.announce("conversation.log.2", text("apart"));
    for number in ["one", "two", "three"] {
        assert_eq!(within(others.next()).await, Signal::Said(text(number)), "in order");
    }
    assert_eq!(within(apart.next()).await, Signal::Said(text("apart")), "and nothing of other topics");
    here.announce("conversation.log.1", text("back"));
    assert_eq!(within(own.next()).await, Signal::Said(text("back")), "what it said itself it does not hear");
    drop(others);
    there.announce("conversation.log.1", text("missed"));
    // Whoever hears of this topic, the server has dealt with what was said before.
    let _round_trip = listening(there, "conversation.log.3").await;
    let mut again = listening(here, "conversation.log.1").await;
    there.announce("conversation.log.1", text("heard"));
    assert_eq!(within(again.next()).await, Signal::Said(text("heard")), "what nobody listened to is not kept");
}

async fn passes_over_bad_topics(live: &Live) {
    for bad in ["", "a b", "a.*", "a.>", "a..b"] {
        live.announce(bad, text("nobody hears it"));
        hears_nothing(&mut live.listen(bad)).await;
    }
}

async fn hears_nothing(listener: &mut Listener) {
    let heard = tokio::time::timeout(Duration::from_millis(50), listener.next()).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[tokio::test]
async fn a_process_alone_hears_nothing() {
    let live = Bus::in_process().live().clone();
    assert!(live.is_alone() && !live.is_connected());
    passes_over_bad_topics(&live).await;
    let mut listener = live.listen("a");
    live.announce("a", text("one"));
    hears_nothing(&mut listener).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_conforms() {
    let Some(server) = NatsServer::start().await else { return };
    let (here, there) = (connected(&server).await, connected(&server).await);
    assert!(!here.live().is_alone());
    passes_over_bad_topics(here.live()).await;
    conforms(here.live(), there.live()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_stores_no_announcement() {
    let Some(server) = NatsServer::start().await else { return };
    let (here, there) = (connected(&server).await, connected(&server).await);
    let everything = Recorder::refusing(0);
    here.subscribe("everything", ">", everything.clone()).await.expect("subscribed");
    let running = Running::start(&here);
    let mut heard = listening(here.live(), "a.b").await;
    // What is announced without a connection is dropped.
    let _connected = listening(there.live(), "a.c").await;
    there.live().announce("a.b", text("one"));
    assert_eq!(within(heard.next()).await, Signal::Said(text("one")));
    let event = super::event("revision.committed", "w", "");
    running.publish(&event).await;
    assert_eq!(everything.wait_for(1).await, [event], "the only one in the stream");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_says_when_to_look() {
    let Some(mut server) = NatsServer::start().await else { return };
    let (here, there) = (connected(&server).await, connected(&server).await);
    let mut listener = listening(here.live(), "a").await;
    let mut other = listening(there.live(), "b").await;
    server.kill().await.expect("killed");
    assert_eq!(within(listener.next()).await, Signal::Look, "the way is closed");
    assert_eq!(within(other.next()).await, Signal::Look, "there too");
    assert!(!here.live().is_connected());
    // More than may wait, so that it would block if anything were kept.
    for _ in 0..10_000 {
        there.live().announce("a", text("lost"));
    }
    server.restart().await.expect("restarted");
    assert_eq!(within(listener.next()).await, Signal::Look, "the way is open");
    assert_eq!(within(other.next()).await, Signal::Look);
    there.live().announce("a", text("heard"));
    assert_eq!(within(listener.next()).await, Signal::Said(text("heard")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_may_come_up_after_its_listeners() {
    let Some(mut server) = NatsServer::start().await else { return };
    server.kill().await.expect("killed");
    let (here, there) = (connected(&server).await, connected(&server).await);
    let (mut listener, mut other) = (here.live().listen("a"), there.live().listen("b"));
    hears_nothing(&mut listener).await;
    server.restart().await.expect("restarted");
    assert_eq!(within(listener.next()).await, Signal::Look);
    assert_eq!(within(other.next()).await, Signal::Look);
    there.live().announce("a", text("heard"));
    assert_eq!(within(listener.next()).await, Signal::Said(text("heard")));
}
