//! The bus within one process: publishing is calling the handlers. Nothing is stored here; the outbox is the memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::event::{check_consumer, check_subject};
use crate::{BusError, Event, Handler, HandlerError, Transport, subject_matches, trace};

#[derive(Default)]
pub(crate) struct InProcess {
    subscriptions: RwLock<Vec<Subscription>>,
    /// How often each consumer has refused an event that it has not taken yet.
    refusals: Mutex<HashMap<(String, Uuid), u32>>,
}

#[derive(Clone)]
struct Subscription {
    consumer: String,
    subject: String,
    handler: Arc<dyn Handler>,
}

impl InProcess {
    /// A copy, so that no lock is held while handlers run.
    fn consumers_of(&self, subject: &str) -> Vec<Subscription> {
        let all = self.subscriptions.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        all.iter().filter(|s| subject_matches(&s.subject, subject)).cloned().collect()
    }

    fn refusals(&self) -> MutexGuard<'_, HashMap<(String, Uuid), u32>> {
        self.refusals.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Hands the event to one consumer, and keeps count.
    async fn deliver(&self, to: &Subscription, event: &Event) -> Result<(), HandlerError> {
        let of = (to.consumer.clone(), event.id);
        let refused = self.refusals().get(&of).copied().unwrap_or_default();
        let taken = to.handler.handle(event, refused + 1).instrument(consumer_span(&to.consumer, event)).await;
        match taken {
            Ok(()) => drop(self.refusals().remove(&of)),
            Err(_) => drop(self.refusals().insert(of, refused + 1)),
        }
        taken
    }
}

#[async_trait]
impl Transport for InProcess {
    /// Every consumer gets its turn even when one before it refused: what is delivered again is then less.
    async fn publish(&self, event: &Event) -> Result<(), BusError> {
        check_subject(&event.subject, false)?;
        let mut refused = None;
        for subscription in self.consumers_of(&event.subject) {
            if let Err(error) = self.deliver(&subscription, event).await {
                let source = error.into_source();
                refused.get_or_insert(BusError::Refused { consumer: subscription.consumer, source });
            }
        }
        refused.map_or(Ok(()), Err)
    }

    async fn subscribe(&self, consumer: &str, subject: &str, handler: Arc<dyn Handler>) -> Result<(), BusError> {
        check_consumer(consumer)?;
        check_subject(subject, true)?;
        let mut all = self.subscriptions.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if all.iter().any(|s| s.consumer == consumer) {
            return Err(BusError::Invalid(format!("there is a consumer {consumer} already")));
        }
        all.push(Subscription { consumer: consumer.to_owned(), subject: subject.to_owned(), handler });
        Ok(())
    }

    /// Handlers run within `publish`, so there is only the end to wait for.
    async fn run(&self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
    }
}

/// The span of one delivery, a child of the call that caused the event.
pub(crate) fn consumer_span(consumer: &str, event: &Event) -> tracing::Span {
    let span = tracing::info_span!(
        "consume",
        otel.kind = "consumer",
        consumer,
        subject = %event.subject,
        event_id = %event.id,
        entity_id = %event.entity_id,
    );
    trace::set_parent(&span, &event.traceparent);
    span
}
