//! The durable consumer of a subscription, as the server keeps it: what was acknowledged, shared by replicas.

use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::Stream;

use super::unavailable;
use crate::BusError;

/// Makes the consumer, or changes the one that is there to what it should be; it keeps its place.
pub(super) async fn ensure(
    stream: &Stream,
    name: &str,
    filter: String,
    ack_wait: Duration,
) -> Result<Consumer<pull::Config>, BusError> {
    let wanted = pull::Config {
        durable_name: Some(name.to_owned()),
        filter_subject: filter,
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait,
        max_ack_pending: 1,
        ..Default::default()
    };
    let deliver_policy = match find(stream, name).await? {
        None => wanted.deliver_policy,
        Some(found) if found.config.filter_subject == wanted.filter_subject => found.config.deliver_policy,
        Some(found) => make_way(stream, name, &found).await?,
    };
    stream.create_consumer(pull::Config { deliver_policy, ..wanted }).await.map_err(unavailable)
}

async fn find(stream: &Stream, name: &str) -> Result<Option<consumer::Info>, BusError> {
    match stream.consumer_info(name).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => Ok(None),
        Err(error) => Err(unavailable(error)),
    }
}

/// Removes a consumer of another subject; the next one begins after what it had acknowledged. Changed in place, it would
/// pass over what waits for it on a server before 2.10.
async fn make_way(stream: &Stream, name: &str, found: &consumer::Info) -> Result<DeliverPolicy, BusError> {
    tracing::info!(consumer = name, before = found.config.filter_subject, "the consumer's subject changes");
    // Fails when another replica was quicker: then ours is tried again, and finds the new one.
    stream.delete_consumer(name).await.map_err(unavailable)?;
    Ok(DeliverPolicy::ByStartSequence { start_sequence: found.ack_floor.stream_sequence + 1 })
}
