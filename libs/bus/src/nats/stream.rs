//! The streams: one keeps the events, in files, until every consumer had a week's time to take them; one keeps the cells.
//!
//! From its acknowledgement on an event is the stream's: the outbox that sent it does not send it again. A server whose files
//! are lost has lost what consumers had not taken yet; a cluster keeps them on several servers (`bus.replicas`).

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, StorageType, Stream};

use super::{PREFIX, cells, unavailable};
use crate::BusError;
use crate::cells::KEPT as CELLS_KEPT;

/// The server leaves duplicates of a message id out for this long; later ones are for the consumers to recognise.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// How long a consumer may be away before events pass it by.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a stream is to be.
pub(super) struct Kind {
    name: &'static str,
    storage: StorageType,
    prefix: &'static str,
    max_age: Duration,
    /// How many messages of one subject it keeps, where that is ours to say.
    of_a_subject: Option<i64>,
}

pub(super) const EVENTS: Kind =
    Kind { name: "SLIPWAY", storage: StorageType::File, prefix: PREFIX, max_age: KEPT, of_a_subject: None };
pub(super) const CELLS: Kind = Kind {
    name: "SLIPWAY_CELLS",
    storage: StorageType::Memory,
    prefix: cells::PREFIX,
    max_age: CELLS_KEPT,
    of_a_subject: Some(1),
};

/// Creates the stream when it is missing, and changes it when the settings are others now. What operators set besides
/// (limits, placement) stays.
pub(super) async fn ensure(jetstream: &Context, kind: &Kind, replicas: usize) -> Result<Stream, BusError> {
    let new = Config { name: kind.name.to_owned(), storage: kind.storage, ..Config::default() };
    let stream = jetstream.get_or_create_stream(kind.wanted(new, replicas)).await.map_err(unavailable)?;
    let found = stream.cached_info().config.clone();
    let wanted = kind.wanted(found.clone(), replicas);
    if wanted == found {
        return Ok(stream);
    }
    match jetstream.update_stream(&wanted).await {
        Ok(_) => tracing::info!(stream = kind.name, replicas, "the stream is changed to what the settings say"),
        // It does its work all the same.
        Err(error) => tracing::warn!(stream = kind.name, error = &error as &dyn std::error::Error, "the stream stays as it is"),
    }
    Ok(stream)
}

impl Kind {
    fn wanted(&self, base: Config, replicas: usize) -> Config {
        Config {
            subjects: vec![format!("{}>", self.prefix)],
            max_age: self.max_age,
            max_messages_per_subject: self.of_a_subject.unwrap_or(base.max_messages_per_subject),
            duplicate_window: DUPLICATE_WINDOW,
            num_replicas: replicas,
            ..base
        }
    }
}
