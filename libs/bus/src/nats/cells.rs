//! The cells on JetStream: a stream in memory that keeps the last message of each subject. A swap is a message that the server
//! takes only after the one that it names; a read asks the stream's leader, so that nothing old is read.

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::{HeaderMap, header, jetstream};
use bytes::Bytes;

use super::connect::Link;
use super::{stream, unavailable};
use crate::BusError;
use crate::cells::{Cell, Revision};

/// Not under the events' `slipway.`.
pub(super) const PREFIX: &str = "slipway-cells.";

/// One process's way to the stream.
pub(crate) struct Table {
    jetstream: jetstream::Context,
    link: Link,
    replicas: usize,
    /// With the connection on which the server confirmed it: it lives in memory, and may be gone with that.
    stream: tokio::sync::Mutex<Option<(u64, Stream)>>,
}

impl Table {
    pub(super) fn new(jetstream: jetstream::Context, link: Link, replicas: usize) -> Table {
        Table { jetstream, link, replicas, stream: tokio::sync::Mutex::new(None) }
    }

    pub(crate) async fn read(&self, key: &str) -> Result<Option<Cell>, BusError> {
        self.attempt(async |connection| self.find(key, connection).await).await
    }

    pub(crate) async fn swap(&self, key: &str, of: Option<Revision>, value: Bytes) -> Result<Option<Revision>, BusError> {
        self.attempt(async |connection| match of {
            Some(of) if of.connection != connection => Ok(None),
            of => self.store(key, of.map_or(0, |of| of.sequence), value.clone(), connection).await,
        })
        .await
    }

    /// Does it on the connection that stands. The first one is waited for; one that was lost is not, because callers can
    /// do without.
    async fn attempt<T>(&self, work: impl AsyncFnOnce(u64) -> Result<T, BusError>) -> Result<T, BusError> {
        let mut link = self.link.clone();
        if link.was_lost() {
            return Err(unavailable("there is no connection to NATS"));
        }
        link.connected().await;
        let connection = link.number();
        let done = tokio::select! {
            done = work(connection) => done,
            () = link.changed() => Err(unavailable("the connection to NATS broke off")),
        };
        if done.is_err() {
            *self.stream.lock().await = None;
        }
        done
    }

    async fn stream(&self, connection: u64) -> Result<Stream, BusError> {
        let mut known = self.stream.lock().await;
        if let Some((of, stream)) = &*known
            && *of == connection
        {
            return Ok(stream.clone());
        }
        let made = stream::ensure(&self.jetstream, &stream::CELLS, self.replicas).await?;
        Ok(known.insert((connection, made)).1.clone())
    }

    async fn find(&self, key: &str, connection: u64) -> Result<Option<Cell>, BusError> {
        let stream = self.stream(connection).await?;
        match stream.get_last_raw_message_by_subject(&format!("{PREFIX}{key}")).await {
            Ok(message) => {
                let revision = Revision { sequence: message.sequence, connection };
                Ok(Some(Cell { revision, value: message.payload }))
            }
            Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn store(&self, key: &str, after: u64, value: Bytes, connection: u64) -> Result<Option<Revision>, BusError> {
        self.stream(connection).await?;
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, after.to_string());
        let sent = self.jetstream.publish_with_headers(format!("{PREFIX}{key}"), headers, value).await.map_err(unavailable)?;
        match sent.await {
            Ok(stored) => Ok(Some(Revision { sequence: stored.sequence, connection })),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }
}
