//! The bus: facts that services tell each other, in process or over NATS JetStream.
//!
//! Delivery is at least once and in order per entity. The durable part is the sender's outbox (in `slipway-storage`);
//! a transport answers a `publish` only when the event is safe (NATS) or taken by every consumer (in process).
//! Consumers are idempotent by event id. Beside the events runs a volatile lane, [`Live`], on which replicas tell each
//! other what was just committed, and there are [`Cells`], small values that replicas share.

pub mod cells;
mod error;
mod event;
mod in_process;
mod live;
mod nats;
mod settings;
pub mod trace;

#[cfg(test)]
mod conformance;

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use nats::consume::Patience;

pub use cells::Cells;
pub use error::{BoxError, BusError, HandlerError};
pub use event::{Event, subject_matches};
pub use live::{Listener, Live, Signal};
pub use settings::Settings;

/// What a consumer does with one event.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Takes the event. `Ok` acknowledges it; `Err` has it delivered again, later. `delivery` counts from 1: those that were
    /// refused, and on NATS also those that ended with their process.
    async fn handle(&self, event: &Event, delivery: u32) -> Result<(), HandlerError>;
}

/// A way for events to travel. Two exist: in process and NATS JetStream; both pass one conformance suite.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Hands the event over. `Ok` means that it is safe and the sender may forget it.
    async fn publish(&self, event: &Event) -> Result<(), BusError>;

    /// Adds a consumer of `subject`, which may contain the wildcards `*` (one word) and `>` (the rest). `consumer` is
    /// a durable name: replicas of one service share it and each event goes to one of them. Made before `run`.
    async fn subscribe(&self, consumer: &str, subject: &str, handler: Arc<dyn Handler>) -> Result<(), BusError>;

    /// Delivers until `shutdown`; returns when no handler is running any more.
    async fn run(&self, shutdown: CancellationToken);

    /// How many deliveries so far were not the first of their event.
    fn redeliveries(&self) -> u64 {
        0
    }

    /// Waits until a server that cannot be reached, or will not be, can be reached again; for ever where there is none.
    async fn reconnected(&self) {
        std::future::pending().await
    }
}

/// A handle on the transport that the settings chose; cheap to clone.
#[derive(Clone)]
pub struct Bus {
    transport: Arc<dyn Transport>,
    live: Live,
    cells: Cells,
    max_deliveries: u32,
}

impl Bus {
    /// Wraps a transport of a process that is alone.
    pub fn new(transport: Arc<dyn Transport>) -> Bus {
        let max_deliveries = Settings::default().max_deliveries;
        Bus { transport, live: Live::alone(), cells: Cells::in_process(), max_deliveries }
    }

    /// A bus within this process: `publish` calls the handlers.
    pub fn in_process() -> Bus {
        Bus::new(Arc::new(in_process::InProcess::default()))
    }

    /// The bus that the settings name. NATS need not be up yet: until it is, `publish` fails and subscriptions wait.
    pub async fn connect(settings: &Settings) -> Result<Bus, BusError> {
        if settings.servers().is_empty() {
            return Ok(Bus { max_deliveries: settings.max_deliveries, ..Bus::in_process() });
        }
        Bus::on(settings, Patience::default()).await
    }

    /// A bus on one NATS server with JetStream, at `nats://host:port`.
    pub async fn nats(url: &str) -> Result<Bus, BusError> {
        Bus::on(&Settings { url: url.to_owned(), ..Settings::default() }, Patience::default()).await
    }

    async fn on(settings: &Settings, patience: Patience) -> Result<Bus, BusError> {
        let (nats, table, lane) = nats::connect(settings, patience).await?;
        Ok(Bus {
            transport: Arc::new(nats),
            live: Live::on(lane),
            cells: Cells::on(table),
            max_deliveries: settings.max_deliveries,
        })
    }

    /// The volatile lane to the replicas of this process.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The cells that the replicas of this process share.
    pub fn cells(&self) -> &Cells {
        &self.cells
    }

    /// After how many deliveries a consumer is to put aside an event that it cannot take.
    pub fn max_deliveries(&self) -> u32 {
        self.max_deliveries
    }

    /// See [`Transport::publish`].
    pub async fn publish(&self, event: &Event) -> Result<(), BusError> {
        self.transport.publish(event).await
    }

    /// See [`Transport::subscribe`].
    pub async fn subscribe(&self, consumer: &str, subject: &str, handler: Arc<dyn Handler>) -> Result<(), BusError> {
        self.transport.subscribe(consumer, subject, handler).await
    }

    /// See [`Transport::run`].
    pub async fn run(&self, shutdown: CancellationToken) {
        self.transport.run(shutdown).await;
    }

    /// See [`Transport::redeliveries`].
    pub fn redeliveries(&self) -> u64 {
        self.transport.redeliveries()
    }

    /// See [`Transport::reconnected`].
    pub async fn reconnected(&self) {
        self.transport.reconnected().await;
    }
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bus")
    }
}
