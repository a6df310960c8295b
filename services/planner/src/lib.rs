//! The planner: a request becomes a reviewed plan, and an approved plan becomes one revision of a workspace, or none.
//!
//! Owns `slipway.planner.v1.PlannerService`, the tables `plan`, `plan_version` and `plan_file`, and the events of plans.
//! Its neighbours are file-store (what plans are made on and committed to), embedding (which files matter) and inference
//! (the models). It publishes no events and consumes none; its replicas use the bus's live lane.
//!
//! What must hold:
//! - A plan changes state only by the transitions of [`model::PlanState::may_become`].
//! - An approval is bound to a version and a base revision. No file is written but by the one commit of an approved apply.
//! - Each step of an apply is kept when it is finished; a worker that takes over goes on after the last one.

mod apply;
mod clients;
mod convert;
mod draft;
mod edit;
mod error;
mod events;
mod intent;
pub mod model;
mod path;
mod prompt;
mod rpc;
mod service;
mod settings;
mod store;
mod stream;
mod submission;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use slipway_bus::Bus;
use slipway_proto::planner::planner_service_server::PlannerServiceServer;
use slipway_rpc::{BuildError, Channel, Server};
use slipway_storage::{QueueSettings, StoreSettings};

pub use settings::Settings;
pub use store::Migrator;

use clients::Neighbours;
use rpc::Rpc;
use service::Planner;
use store::PlanStore;

/// What the planner is given.
pub struct Deps {
    /// Where its state lives.
    pub store: StoreSettings,
    /// How its replicas hear of each other; the planner neither publishes nor consumes events.
    pub bus: Bus,
    /// Workspaces and their revisions.
    pub file_store: Channel,
    /// The search index.
    pub embedding: Channel,
    /// Language models.
    pub inference: Channel,
}

/// Opens and migrates the store, registers the service and its background tasks. Nothing runs before the server does.
pub async fn build(settings: &Settings, deps: Deps, server: &mut Server) -> Result<(), BuildError> {
    settings.check().map_err(BuildError::new)?;
    let queue = QueueSettings {
        lease: Duration::from_millis(settings.lease_ms),
        max_attempts: settings.max_attempts,
        backoff_base: Duration::from_millis(settings.retry_ms),
        ..QueueSettings::new(store::JOB_KIND, settings.concurrency)
    };
    let store = PlanStore::open(&deps.store, deps.bus.live(), queue).await;
    let store = store.map_err(|e| BuildError::of("the planner's store cannot be opened", e))?;
    let neighbours = Neighbours::new(deps.file_store, deps.embedding, deps.inference);
    let planner = Planner { store, neighbours, settings: Arc::new(settings.clone()) };
    slipway_ops::register(server, "planner", planner.store.database());
    server.add_service(PlannerServiceServer::new(Rpc(planner.clone())));
    let shutdown = server.shutdown();
    server.add_task("planner jobs", async move {
        if let Err(error) = worker::adopt(&planner).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "plans without a job are not looked for");
        }
        let queue = planner.store.queue().clone();
        queue.run(shutdown, move |lease| worker::handle(planner.clone(), lease)).await;
    });
    Ok(())
}
