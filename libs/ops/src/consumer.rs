//! Consumers that poison does not stop: an event that was delivered too often is put aside as a dead letter of kind
//! `event.<consumer>`, and what follows it gets its turn. Redriven, it goes to the same handler once more, as a job.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use prost::Message as _;
use slipway_bus::{Bus, Event, Handler, HandlerError};
use slipway_proto::events::Event as Payload;
use slipway_rpc::{BuildError, Server};
use slipway_storage::{JobError, Lease, NewJob, Queue, QueueSettings, Store, dead_letters};
use uuid::Uuid;

const PREFIX: &str = "event.";

/// Has `handler` called for events of `subject`. `kind` is that of its dead letters, and names the durable consumer after the
/// prefix: `event.embedding-revisions` is the consumer `embedding-revisions`. The dead letters are kept in `store`.
pub async fn subscribe(
    bus: &Bus,
    store: &Store,
    kind: &'static str,
    subject: &str,
    handler: Arc<dyn Handler>,
    server: &mut Server,
) -> Result<(), BuildError> {
    let name = kind.strip_prefix(PREFIX).ok_or_else(|| BuildError::new(format!("{kind} does not begin with {PREFIX}")))?;
    let consumer = Consumer { kind, store: store.clone(), handler: handler.clone(), max_deliveries: bus.max_deliveries() };
    let subscribed = bus.subscribe(name, subject, Arc::new(consumer)).await;
    subscribed.map_err(|e| BuildError::of(format!("the consumer {name} cannot follow {subject}"), e))?;
    let queue = Queue::new(store.clone(), QueueSettings::new(kind, 1));
    let (store, shutdown) = (store.clone(), server.shutdown());
    server.add_task(kind, async move {
        queue.run(shutdown, move |lease| deliver_again(store.clone(), handler.clone(), lease).boxed()).await;
    });
    Ok(())
}

struct Consumer {
    kind: &'static str,
    store: Store,
    handler: Arc<dyn Handler>,
    max_deliveries: u32,
}

#[async_trait]
impl Handler for Consumer {
    async fn handle(&self, event: &Event, delivery: u32) -> Result<(), HandlerError> {
        // Beyond the last delivery nobody lived to refuse it: it takes the process with it.
        let taken = match delivery > self.max_deliveries {
            true => Err(HandlerError::new("every delivery ended with its process")),
            false => call(&*self.handler, event, delivery).await,
        };
        match taken {
            Err(error) if delivery >= self.max_deliveries => self.put_aside(event, delivery, &error).await,
            taken => taken,
        }
    }
}

impl Consumer {
    async fn put_aside(&self, event: &Event, delivery: u32, error: &HandlerError) -> Result<(), HandlerError> {
        let (kind, said) = (self.kind, error.to_string());
        let letter =
            Letter { subject: event.subject.clone(), entity_id: event.entity_id.clone(), payload: event.payload.clone() };
        let job = NewJob {
            kind,
            key: event.id.to_string(),
            project_id: project_of(event),
            payload: letter.encode_to_vec(),
            traceparent: event.traceparent.clone(),
        };
        dead_letters::put_aside(&self.store, job, delivery.min(self.max_deliveries), &said).await?;
        tracing::error!(kind, event_id = %event.id, deliveries = delivery, error = said, "an event is put aside as a dead letter");
        Ok(())
    }
}

/// What of an event a job has no columns for.
#[derive(Clone, PartialEq, prost::Message)]
struct Letter {
    #[prost(string, tag = "1")]
    subject: String,
    #[prost(string, tag = "2")]
    entity_id: String,
    #[prost(bytes = "bytes", tag = "3")]
    payload: Bytes,
}

/// A redriven event. Its handler is idempotent by the event's id, so that the job may well end in a transaction of its own.
async fn deliver_again(store: Store, handler: Arc<dyn Handler>, lease: Lease) -> Result<(), JobError> {
    let letter = Letter::decode(lease.payload.as_slice()).map_err(|e| JobError::Fatal(e.into()))?;
    let event = Event {
        id: lease.key.parse::<Uuid>().map_err(|e| JobError::Fatal(e.into()))?,
        subject: letter.subject,
        entity_id: letter.entity_id,
        traceparent: lease.traceparent.clone(),
        payload: letter.payload,
    };
    call(&*handler, &event, lease.attempt).await.map_err(|error| JobError::Retry(error.into_source()))?;
    let tx = store.begin().await?;
    lease.complete(&tx).await?;
    Ok(tx.commit().await?)
}

/// A panic of the handler is a refusal: it would end the relay, or the whole bus.
async fn call(handler: &dyn Handler, event: &Event, delivery: u32) -> Result<(), HandlerError> {
    let called = AssertUnwindSafe(handler.handle(event, delivery)).catch_unwind().await;
    called.unwrap_or_else(|_| Err(HandlerError::new("the handler panicked; the log says where")))
}

/// Who may see the letter. An event that cannot be read is nobody's; the log has its id.
fn project_of(event: &Event) -> Uuid {
    let read = Payload::decode(event.payload.clone()).ok();
    read.and_then(|payload| payload.project_id.parse().ok()).unwrap_or_default()
}
