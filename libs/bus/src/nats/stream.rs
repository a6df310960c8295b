//! The one stream that keeps the events, in files, until every consumer had a week's time to take them.
//!
//! From its acknowledgement on an event is the stream's: the outbox that sent it does not send it again. A server whose files
//! are lost has lost what consumers had not taken yet; a cluster keeps them on several servers (`bus.replicas`).

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, StorageType, Stream};

use super::{PREFIX, unavailable};
use crate::BusError;

const STREAM: &str = "SLIPWAY";
/// The server leaves duplicates of a message id out for this long; later ones are for the consumers to recognise.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// How long a consumer may be away before events pass it by.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Creates the stream when it is missing, and changes it when the settings are others now. What operators set besides
/// (limits, placement) stays.
pub(super) async fn ensure(jetstream: &Context, replicas: usize) -> Result<Stream, BusError> {
    let wanted = wanted(Config { name: STREAM.to_owned(), storage: StorageType::File, ..Config::default() }, replicas);
    let stream = jetstream.get_or_create_stream(wanted).await.map_err(unavailable)?;
    let found = stream.cached_info().config.clone();
    let wanted = self::wanted(found.clone(), replicas);
    if wanted == found {
        return Ok(stream);
    }
    match jetstream.update_stream(&wanted).await {
        Ok(_) => tracing::info!(stream = STREAM, replicas, "the stream is changed to what the settings say"),
        // Events travel on it all the same.
        Err(error) => tracing::warn!(stream = STREAM, error = &error as &dyn std::error::Error, "the stream stays as it is"),
    }
    Ok(stream)
}

fn wanted(base: Config, replicas: usize) -> Config {
    Config {
        subjects: vec![format!("{PREFIX}>")],
        max_age: KEPT,
        duplicate_window: DUPLICATE_WINDOW,
        num_replicas: replicas,
        ..base
    }
}
