//! The bus on NATS JetStream: one stream, one durable pull consumer per subscription.
//!
//! A consumer has one message out at a time, so that a refused event holds back what follows it and order is kept
//! through redelivery, also when replicas share the consumer. Handlers are expected to be short (write a row, wake a
//! worker); long ones are kept alive by progress acknowledgements.
//!
//! `connect.rs` connects, `stream.rs` and `consumer.rs` keep on the server what should be there, `message.rs` is the form of
//! an event, `consume.rs` delivers, `live.rs` is the volatile lane, `cells.rs` keeps the cells.

pub(crate) mod cells;
mod connect;
pub(crate) mod consume;
mod consumer;
pub(crate) mod live;
mod message;
mod stream;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::{self, stream::Stream};
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use cells::Table;
use connect::Link;
use consume::{Patience, Subscription, consume};
use live::Lane;

use crate::event::{check_consumer, check_subject};
use crate::{BoxError, BusError, Event, Handler, Settings, Transport};

const PREFIX: &str = "slipway.";

pub(crate) struct Nats {
    jetstream: jetstream::Context,
    link: Link,
    replicas: usize,
    patience: Patience,
    redelivered: AtomicU64,
    /// `None` until the server has confirmed it, and again after a failure: a server may come back empty.
    stream: tokio::sync::Mutex<Option<Stream>>,
    subscriptions: Mutex<Vec<Subscription>>,
}

/// Connects all: the events, the cells, and the lane beside them.
pub(crate) async fn connect(settings: &Settings, patience: Patience) -> Result<(Nats, Table, Lane), BusError> {
    let (client, link) = connect::connect(connect::options(settings)?, settings).await?;
    let jetstream = jetstream::new(client);
    let table = Table::new(jetstream.clone(), link.clone(), settings.replicas);
    let nats = Nats {
        jetstream,
        link,
        replicas: settings.replicas,
        patience,
        redelivered: AtomicU64::new(0),
        stream: tokio::sync::Mutex::new(None),
        subscriptions: Mutex::new(Vec::new()),
    };
    Ok((nats, table, Lane::connect(settings).await?))
}

impl Nats {
    async fn stream(&self) -> Result<Stream, BusError> {
        let mut known = self.stream.lock().await;
        if let Some(stream) = &*known {
            return Ok(stream.clone());
        }
        let made = stream::ensure(&self.jetstream, &stream::EVENTS, self.replicas).await?;
        Ok(known.insert(made).clone())
    }

    async fn forget_stream(&self) {
        *self.stream.lock().await = None;
    }

    /// What is given to a client without a connection is sent later, whatever its sender believes by then.
    async fn connected(&self) -> Result<Link, BusError> {
        let mut link = self.link.clone();
        let connected = tokio::time::timeout(self.patience.connection, link.connected()).await;
        connected.map(|()| link).map_err(|_| unavailable("there is no connection to NATS"))
    }

    async fn store(&self, event: &Event) -> Result<(), BusError> {
        self.stream().await?;
        let (subject, headers) = (message::subject(event), message::headers(event));
        let stored = self.jetstream.publish_with_headers(subject, headers, event.payload.clone()).await.map_err(unavailable)?;
        stored.await.map(drop).map_err(unavailable)
    }
}

#[async_trait]
impl Transport for Nats {
    async fn publish(&self, event: &Event) -> Result<(), BusError> {
        check_subject(&event.subject, false)?;
        let mut link = self.connected().await?;
        let stored = tokio::select! {
            stored = self.store(event) => stored,
            // No answer comes any more; the event may be stored all the same, and will be recognised.
            () = link.changed() => Err(unavailable("the connection to NATS broke off")),
        };
        if stored.is_err() {
            self.forget_stream().await;
        }
        stored
    }

    async fn subscribe(&self, consumer: &str, subject: &str, handler: Arc<dyn Handler>) -> Result<(), BusError> {
        check_consumer(consumer)?;
        check_subject(subject, true)?;
        let mut all = self.subscriptions.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if all.iter().any(|s| s.consumer == consumer) {
            return Err(BusError::Invalid(format!("there is a consumer {consumer} already")));
        }
        all.push(Subscription { consumer: consumer.to_owned(), subject: subject.to_owned(), handler });
        Ok(())
    }

    async fn run(&self, shutdown: CancellationToken) {
        let subscriptions = self.subscriptions.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let consumers = subscriptions.iter().map(|subscription| consume(self, subscription, &shutdown));
        futures::future::join_all(consumers).await;
        shutdown.cancelled().await;
    }

    fn redeliveries(&self) -> u64 {
        self.redelivered.load(Ordering::Relaxed)
    }

    async fn reconnected(&self) {
        let mut link = self.link.clone();
        if link.is_connected() {
            link.lost().await;
        }
        link.connected().await;
    }
}

/// `first`, doubled each time, never more than `last`.
fn delay(first: Duration, last: Duration, times: u64) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(last)
}

fn unavailable(error: impl Into<BoxError>) -> BusError {
    BusError::Unavailable(error.into())
}
