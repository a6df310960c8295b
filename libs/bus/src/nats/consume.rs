//! Delivering: from a durable consumer on the server to a handler, through every failure of the connection.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{AckKind, Message};
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::connect::Link;
use super::{Nats, PREFIX, consumer, delay, message, unavailable};
use crate::in_process::consumer_span;
use crate::{BusError, Event, Handler};

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// Messages asked for at once: what one replica has asked for, another does not get.
const AT_ONCE: usize = 16;
/// A silent server is noticed after two of them.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How patient we and the server are with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long an event to be published waits for a connection before the bus is said to be away.
    pub(crate) connection: Duration,
    /// After a consumer died, its event waits so long for the next one.
    pub(crate) ack_wait: Duration,
    /// How often the server is told that a handler is still at it.
    pub(crate) progress_every: Duration,
    /// The pause after an event is refused for the first time; it doubles.
    pub(crate) redeliver_first: Duration,
    pub(crate) redeliver_last: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connection: Duration::from_secs(5),
            ack_wait: Duration::from_secs(10),
            progress_every: Duration::from_secs(3),
            redeliver_first: Duration::from_millis(200),
            redeliver_last: Duration::from_secs(30),
        }
    }
}

#[derive(Clone)]
pub(super) struct Subscription {
    pub(super) consumer: String,
    pub(super) subject: String,
    pub(super) handler: Arc<dyn Handler>,
}

/// Delivers to one subscription until `shutdown`.
pub(super) async fn consume(nats: &Nats, to: &Subscription, shutdown: &CancellationToken) {
    let mut link = nats.link.clone();
    let mut failures = 0;
    loop {
        let begun = async {
            link.connected().await;
            messages(nats, to).await
        };
        let begun = tokio::select! {
            () = shutdown.cancelled() => return,
            begun = begun => begun,
        };
        match begun {
            Ok(messages) => {
                failures = 0;
                if deliver(nats, messages, to, &mut link, shutdown).await.is_break() {
                    return;
                }
            }
            Err(error) => {
                failures += 1;
                nats.forget_stream().await;
                tracing::warn!(consumer = to.consumer, error = &error as &dyn std::error::Error, "waiting for the bus");
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(delay(RETRY_FIRST, RETRY_LAST, failures)) => {}
        }
    }
}

async fn messages(nats: &Nats, to: &Subscription) -> Result<pull::Stream, BusError> {
    let (stream, filter) = (nats.stream().await?, format!("{PREFIX}{}", to.subject));
    let consumer = consumer::ensure(&stream, &to.consumer, filter, nats.patience.ack_wait).await?;
    consumer.stream().max_messages_per_batch(AT_ONCE).heartbeat(HEARTBEAT).messages().await.map_err(unavailable)
}

/// Hands messages over until the connection ends (`Continue`) or `shutdown` (`Break`).
async fn deliver(
    nats: &Nats,
    mut messages: pull::Stream,
    to: &Subscription,
    link: &mut Link,
    shutdown: &CancellationToken,
) -> ControlFlow<()> {
    loop {
        let message = tokio::select! {
            () = shutdown.cancelled() => return ControlFlow::Break(()),
            // What was asked for on the old connection does not come on the new one.
            () = link.changed() => return ControlFlow::Continue(()),
            message = messages.next() => message,
        };
        match message {
            Some(Ok(message)) => deliver_one(nats, message, to, link.clone()).await,
            Some(Err(error)) => {
                tracing::warn!(consumer = to.consumer, error = &error as &dyn std::error::Error, "the bus broke off");
                return ControlFlow::Continue(());
            }
            None => return ControlFlow::Continue(()),
        }
    }
}

async fn deliver_one(nats: &Nats, message: Message, to: &Subscription, mut link: Link) {
    if message.info().is_ok_and(|info| info.delivered > 1) {
        nats.redelivered.fetch_add(1, Ordering::Relaxed);
    }
    let answer = match message::read(&message) {
        Ok(event) => {
            let span = consumer_span(&to.consumer, &event);
            handle_alive(nats, &message, to, &event).instrument(span).await
        }
        // Not one of ours: no later delivery can make it readable.
        Err(error) => {
            tracing::error!(consumer = to.consumer, subject = %message.subject, error = %error, "an unreadable event is dropped");
            AckKind::Term
        }
    };
    let answered = tokio::select! {
        answered = message.double_ack_with(answer) => answered,
        () = link.changed() => Err("the connection broke off".into()),
    };
    // When the answer is lost the server delivers again, which consumers are built for.
    if let Err(error) = answered {
        tracing::warn!(consumer = to.consumer, error = %error, "the answer to an event is lost; it will come again");
    }
}

/// Runs the handler, telling the server that we are at it, and says how to answer.
async fn handle_alive(nats: &Nats, message: &Message, to: &Subscription, event: &Event) -> AckKind {
    let patience = &nats.patience;
    let delivered = message.info().map_or(1, |info| info.delivered.max(1));
    let mut handled = to.handler.handle(event, u32::try_from(delivered).unwrap_or(u32::MAX));
    let result = loop {
        match tokio::time::timeout(patience.progress_every, &mut handled).await {
            Ok(result) => break result,
            // A lost progress report costs at most one more delivery.
            Err(_) => drop(message.ack_with(AckKind::Progress).await),
        }
    };
    match result {
        Ok(()) => AckKind::Ack,
        Err(error) => {
            let pause = delay(patience.redeliver_first, patience.redeliver_last, delivered.unsigned_abs() - 1);
            tracing::warn!(error = %error, delivered, pause_ms = pause.as_millis() as u64, "event not taken; again later");
            AckKind::Nak(Some(pause))
        }
    }
}
