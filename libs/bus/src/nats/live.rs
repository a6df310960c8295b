//! The volatile lane on core NATS, over a connection of its own that does not echo. Its subjects lie outside the stream's.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream::{self, BoxStream, StreamExt as _};

use super::connect::{self, Link};
use crate::live::Signal;
use crate::{BusError, Settings};

/// Not under the stream's `slipway.`: what is said here is stored nowhere.
const PREFIX: &str = "slipway-live.";
/// Nobody listens to it, so that the server itself answers, after everything that it was sent before.
const NOBODY: &str = "slipway-live.nobody";
/// What may wait to be sent. It bounds the memory that a server which does not read costs.
const WAITING: usize = 512;
/// Messages of one topic that may wait for its listener; more are dropped, which it finds out by itself.
const UNHEARD: usize = 1024;
const ANSWER: Duration = Duration::from_secs(1);

/// One process's connection for announcements.
pub(crate) struct Lane {
    client: Client,
    link: Link,
}

impl Lane {
    /// As patient as the bus itself.
    pub(super) async fn connect(settings: &Settings) -> Result<Lane, BusError> {
        let options = connect::options(settings)?.no_echo().client_capacity(WAITING).subscription_capacity(UNHEARD);
        let (client, link) = connect::connect(options, settings).await?;
        Ok(Lane { client, link })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.link.is_connected()
    }

    pub(crate) fn announce(&self, topic: &str, payload: Bytes) {
        // Later it would be old news.
        if !self.is_connected() {
            return;
        }
        let publish = tokio::task::unconstrained(self.client.publish(format!("{PREFIX}{topic}"), payload));
        match publish.now_or_never() {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(topic, error = &error as &dyn std::error::Error, "an announcement is lost"),
            None => tracing::debug!(topic, "an announcement is dropped: too many wait"),
        }
    }

    pub(crate) fn listen(&self, topic: &str) -> BoxStream<'static, Signal> {
        let listening = Listening {
            client: self.client.clone(),
            subject: format!("{PREFIX}{topic}"),
            link: self.link.clone(),
            subscriber: None,
            settled: false,
        };
        stream::unfold(listening, |mut listening| async move {
            let signal = listening.next().await?;
            Some((signal, listening))
        })
        .boxed()
    }
}

/// One listener's way from no connection to being sure that it hears everything.
struct Listening {
    client: Client,
    subject: String,
    link: Link,
    /// The client subscribes again by itself after a reconnect.
    subscriber: Option<Subscriber>,
    /// The server has the subscription.
    settled: bool,
}

impl Listening {
    /// `None` when the process's connection is gone for good.
    async fn next(&mut self) -> Option<Signal> {
        if !self.settled {
            self.settle().await?;
            self.settled = true;
            return Some(Signal::Look);
        }
        let subscriber = self.subscriber.as_mut()?;
        tokio::select! {
            biased;
            message = subscriber.next() => message.map(|message| Signal::Said(message.payload)),
            () = self.link.changed() => {
                self.settled = false;
                Some(Signal::Look)
            }
        }
    }

    /// Subscribes once there is a connection, and waits until the server must have heard of it.
    async fn settle(&mut self) -> Option<()> {
        self.link.connected().await;
        if self.subscriber.is_none() {
            self.subscriber = Some(self.client.subscribe(self.subject.clone()).await.ok()?);
        }
        let request = async_nats::Request::new().timeout(Some(ANSWER));
        match self.client.send_request(NOBODY, request).await {
            Err(error) if error.kind() != RequestErrorKind::NoResponders => {
                // The caller looks for itself now, and hears what comes, if anything does.
                tracing::debug!(subject = self.subject, error = &error as &dyn std::error::Error, "the bus does not answer");
            }
            _ => {}
        }
        Some(())
    }
}
