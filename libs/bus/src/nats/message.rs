//! An event as a NATS message: the subject says what happened, headers say the rest.

use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use uuid::Uuid;

use super::PREFIX;
use crate::{BoxError, Event};

/// What the server recognises duplicates by.
const ID: &str = "Nats-Msg-Id";
const ENTITY: &str = "Slipway-Entity-Id";
const TRACE: &str = "traceparent";

pub(super) fn subject(event: &Event) -> String {
    format!("{PREFIX}{}", event.subject)
}

pub(super) fn headers(event: &Event) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ID, event.id.to_string());
    headers.insert(ENTITY, event.entity_id.as_str());
    if !event.traceparent.is_empty() {
        headers.insert(TRACE, event.traceparent.as_str());
    }
    headers
}

pub(super) fn read(message: &Message) -> Result<Event, BoxError> {
    let header = |name: &str| message.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str());
    let subject = message.subject.as_str().strip_prefix(PREFIX).ok_or("the subject is not ours")?;
    Ok(Event {
        id: Uuid::parse_str(header(ID).ok_or("there is no event id")?)?,
        subject: subject.to_owned(),
        entity_id: header(ENTITY).unwrap_or_default().to_owned(),
        traceparent: header(TRACE).unwrap_or_default().to_owned(),
        payload: message.payload.clone(),
    })
}
