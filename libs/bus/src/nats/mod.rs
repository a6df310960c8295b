//! The bus on NATS JetStream: one stream, one durable pull consumer per subscription.
//!
//! A consumer has one message out at a time, so that a refused event holds back what follows it and order is kept
//! through redelivery. Handlers are expected to be short (write a row, wake a worker); long ones are kept alive by
//! progress acknowledgements.
//!
//! `connect.rs` connects, `live.rs` is the volatile lane.

mod connect;
pub(crate) mod live;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, AckKind, Message, stream};
use async_trait::async_trait;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use connect::{RECONNECT_FIRST, RECONNECT_LAST};
use live::Lane;

use crate::event::{check_consumer, check_subject};
use crate::in_process::consumer_span;
use crate::{BoxError, BusError, Event, Handler, Transport};

const STREAM: &str = "SLIPWAY";
const PREFIX: &str = "slipway.";
/// The server leaves duplicates of a message id out for this long; later ones are for the consumers to recognise.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// How long a consumer may be away before events pass it by.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// After a consumer died, its event waits so long for the next one.
const ACK_WAIT: Duration = Duration::from_secs(10);
const PROGRESS_EVERY: Duration = Duration::from_secs(3);
const REDELIVER_FIRST: Duration = Duration::from_millis(200);
const REDELIVER_LAST: Duration = Duration::from_secs(30);

const HEADER_ID: &str = "Nats-Msg-Id";
const HEADER_ENTITY: &str = "Slipway-Entity-Id";
const HEADER_TRACE: &str = "traceparent";

pub(crate) struct Nats {
    jetstream: jetstream::Context,
    /// `None` until the server has confirmed it, and again after a failure: a server may come back empty.
    stream: tokio::sync::Mutex<Option<stream::Stream>>,
    subscriptions: Mutex<Vec<Subscription>>,
}

#[derive(Clone)]
struct Subscription {
    consumer: String,
    subject: String,
    handler: Arc<dyn Handler>,
}

/// Connects both: the events, and the lane beside them.
pub(crate) async fn connect(url: &str) -> Result<(Nats, Lane), BusError> {
    let client = connect::connect(connect::options(), url).await?;
    let jetstream = jetstream::new(client);
    let nats = Nats { jetstream, stream: tokio::sync::Mutex::new(None), subscriptions: Mutex::new(Vec::new()) };
    Ok((nats, Lane::connect(connect::options(), url).await?))
}

impl Nats {
    /// Creates the stream when it is missing.
    async fn stream(&self) -> Result<stream::Stream, BusError> {
        let mut known = self.stream.lock().await;
        if let Some(stream) = &*known {
            return Ok(stream.clone());
        }
        let config = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec![format!("{PREFIX}>")],
            storage: stream::StorageType::File,
            max_age: KEPT,
            duplicate_window: DUPLICATE_WINDOW,
            ..Default::default()
        };
        let made = self.jetstream.get_or_create_stream(config).await.map_err(unavailable)?;
        Ok(known.insert(made).clone())
    }

    async fn forget_stream(&self) {
        *self.stream.lock().await = None;
    }

    /// Delivers to one subscription until `shutdown`, through every failure of the connection.
    async fn consume(&self, subscription: &Subscription, shutdown: &CancellationToken) {
        let mut failures = 0;
        loop {
            let ended = tokio::select! {
                () = shutdown.cancelled() => return,
                messages = self.messages(subscription) => messages,
            };
            match ended {
                Ok(messages) => {
                    failures = 0;
                    if deliver(messages, subscription, shutdown).await.is_break() {
                        return;
                    }
                }
                Err(error) => {
                    failures += 1;
                    self.forget_stream().await;
                    tracing::warn!(
                        consumer = subscription.consumer,
                        error = &error as &dyn std::error::Error,
                        "waiting for the bus"
                    );
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(delay(RECONNECT_FIRST, RECONNECT_LAST, failures)) => {}
            }
        }
    }

    async fn messages(&self, subscription: &Subscription) -> Result<pull::Stream, BusError> {
        let config = pull::Config {
            durable_name: Some(subscription.consumer.clone()),
            filter_subject: format!("{PREFIX}{}", subscription.subject),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: 1,
            ..Default::default()
        };
        let consumer = self.stream().await?.create_consumer(config).await.map_err(unavailable)?;
        consumer.stream().max_messages_per_batch(16).heartbeat(Duration::from_secs(5)).messages().await.map_err(unavailable)
    }
}

#[async_trait]
impl Transport for Nats {
    async fn publish(&self, event: &Event) -> Result<(), BusError> {
        check_subject(&event.subject, false)?;
        self.stream().await?;
        let mut headers = HeaderMap::new();
        headers.insert(HEADER_ID, event.id.to_string());
        headers.insert(HEADER_ENTITY, event.entity_id.as_str());
        if !event.traceparent.is_empty() {
            headers.insert(HEADER_TRACE, event.traceparent.as_str());
        }
        let subject = format!("{PREFIX}{}", event.subject);
        let stored = async {
            let ack = self.jetstream.publish_with_headers(subject, headers, event.payload.clone()).await?;
            ack.await
        };
        match stored.await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.forget_stream().await;
                Err(unavailable(error))
            }
        }
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
        let consumers = subscriptions.iter().map(|subscription| self.consume(subscription, &shutdown));
        futures::future::join_all(consumers).await;
        shutdown.cancelled().await;
    }
}

/// Hands messages over until the connection ends (`Continue`) or `shutdown` (`Break`).
async fn deliver(mut messages: pull::Stream, to: &Subscription, shutdown: &CancellationToken) -> ControlFlow<()> {
    loop {
        let message = tokio::select! {
            () = shutdown.cancelled() => return ControlFlow::Break(()),
            message = messages.next() => message,
        };
        match message {
            Some(Ok(message)) => deliver_one(message, to).await,
            Some(Err(error)) => {
                tracing::warn!(consumer = to.consumer, error = &error as &dyn std::error::Error, "the bus broke off");
                return ControlFlow::Continue(());
            }
            None => return ControlFlow::Continue(()),
        }
    }
}

async fn deliver_one(message: Message, to: &Subscription) {
    let answer = match read(&message) {
        Ok(event) => {
            let span = consumer_span(&to.consumer, &event);
            handle_alive(&message, to, &event).instrument(span).await
        }
        // Not one of ours: no later delivery can make it readable.
        Err(error) => {
            tracing::error!(consumer = to.consumer, subject = %message.subject, error = %error, "an unreadable event is dropped");
            AckKind::Term
        }
    };
    // When the answer is lost the server delivers again, which consumers are built for.
    if let Err(error) = message.double_ack_with(answer).await {
        tracing::warn!(consumer = to.consumer, error = %error, "the answer to an event is lost; it will come again");
    }
}

/// Runs the handler, telling the server that we are at it, and says how to answer.
async fn handle_alive(message: &Message, to: &Subscription, event: &Event) -> AckKind {
    let mut handled = to.handler.handle(event);
    let result = loop {
        match tokio::time::timeout(PROGRESS_EVERY, &mut handled).await {
            Ok(result) => break result,
            // A lost progress report costs at most one more delivery.
            Err(_) => drop(message.ack_with(AckKind::Progress).await),
        }
    };
    match result {
        Ok(()) => AckKind::Ack,
        Err(error) => {
            let delivered = message.info().map_or(1, |info| info.delivered.max(1) as u64);
            let pause = delay(REDELIVER_FIRST, REDELIVER_LAST, delivered - 1);
            tracing::warn!(error = %error, delivered, pause_ms = pause.as_millis() as u64, "event not taken; again later");
            AckKind::Nak(Some(pause))
        }
    }
}

fn read(message: &Message) -> Result<Event, BoxError> {
    let header = |name: &str| message.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str());
    let subject = message.subject.as_str().strip_prefix(PREFIX).ok_or("the subject is not ours")?;
    Ok(Event {
        id: Uuid::parse_str(header(HEADER_ID).ok_or("there is no event id")?)?,
        subject: subject.to_owned(),
        entity_id: header(HEADER_ENTITY).unwrap_or_default().to_owned(),
        traceparent: header(HEADER_TRACE).unwrap_or_default().to_owned(),
        payload: message.payload.clone(),
    })
}

/// `first`, doubled each time, never more than `last`.
fn delay(first: Duration, last: Duration, times: u64) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(last)
}

fn unavailable(error: impl Into<BoxError>) -> BusError {
    BusError::Unavailable(error.into())
}
