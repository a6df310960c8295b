//! The conversation service: where people talk to Slipway.
//!
//! It owns `slipway.conversation.v1.ConversationService` and the tables `conversation`, `message` and `run`, with an event
//! log per run and the queue of runs. It publishes no events; its replicas use the bus's live lane. It calls planner (what is asked for; plans), embedding
//! (what the workspace says), inference (the answer) and file-store (does the workspace exist; a revision's number).
//!
//! A message is accepted in one transaction: message, run, first events, job. A worker then answers it under a lease, in
//! batches of events and one last transaction: answer, last events, run, conversation, job. Streams only ever follow the
//! event log, so that it makes no difference who watches, how often, or whether anyone does.

mod answers;
mod clients;
mod convert;
mod error;
mod model;
mod prompt;
mod rpc;
mod run;
mod service;
mod settings;
pub mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use slipway_bus::Bus;
use slipway_proto::conversation::conversation_service_server::ConversationServiceServer;
use slipway_rpc::{BuildError, Channel, Server};
use slipway_storage::{EventLog, Queue, QueueSettings, StoreSettings};
use tokio_util::task::TaskTracker;

use clients::Clients;
use run::{Registry, Worker};
use service::Conversations;
use store::Records;

pub use settings::Settings;

/// The kind of the jobs in the queue of runs.
pub(crate) const JOB_KIND: &str = "run";

/// What the service needs from the process that it runs in.
pub struct Deps {
    /// Where its state lives.
    pub store: StoreSettings,
    /// How its replicas hear of each other.
    pub bus: Bus,
    /// The way to the planner.
    pub planner: Channel,
    /// The way to the embedding service.
    pub embedding: Channel,
    /// The way to the inference service.
    pub inference: Channel,
    /// The way to the file store.
    pub file_store: Channel,
}

/// Opens and migrates the store, and registers the service and its background tasks with the server.
pub async fn build(settings: &Settings, deps: Deps, server: &mut Server) -> Result<(), BuildError> {
    settings.check().map_err(BuildError::new)?;
    let opened = Records::open(&deps.store).await;
    let records = opened.map_err(|e| BuildError::of("the conversation service cannot open its store", e))?;
    records.store().join(deps.bus.live());
    slipway_ops::register(server, "conversation", records.store().clone());
    let log = EventLog::new(records.store().clone());
    let queue = Queue::new(records.store().clone(), queue_settings(settings));
    let clients = Clients::new(deps.planner, deps.embedding, deps.inference, deps.file_store);
    let (registry, settings) = (Arc::new(Registry::default()), Arc::new(settings.clone()));
    let worker = Worker {
        records: records.clone(),
        log: log.clone(),
        clients: clients.clone(),
        registry: registry.clone(),
        settings: settings.clone(),
    };
    let shutdown = server.shutdown();
    let calls = TaskTracker::new();
    let service = Conversations {
        records,
        log: log.clone(),
        queue: queue.clone(),
        clients,
        registry,
        settings,
        calls: calls.clone(),
        shutdown: shutdown.clone(),
    };
    server.add_service(ConversationServiceServer::new(rpc::Rpc::new(service)));

    let stop = shutdown.clone();
    server.add_task("conversation.log", async move { log.run(stop).await });
    let (stop, runs) = (shutdown.clone(), worker.clone());
    server.add_task("conversation.runs", async move { queue.run(stop, move |lease| runs.clone().handle(lease).boxed()).await });
    let stop = shutdown.clone();
    server.add_task("conversation.cancels", async move {
        stop.run_until_cancelled(worker.heed_cancels()).await;
    });
    server.add_task("conversation.calls", async move {
        shutdown.cancelled().await;
        calls.close();
        calls.wait().await;
    });
    Ok(())
}

fn queue_settings(settings: &Settings) -> QueueSettings {
    QueueSettings {
        lease: Duration::from_secs(settings.lease_seconds),
        max_attempts: settings.max_attempts,
        backoff_base: Duration::from_millis(250),
        backoff_max: Duration::from_secs(5),
        ..QueueSettings::new(JOB_KIND, settings.concurrency)
    }
}
