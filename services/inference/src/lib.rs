//! Language models behind one interface: `slipway.inference.v1.InferenceService`, with `UsageService` and `BudgetService` for
//! what they cost.
//!
//! Owns the providers: those that settings and the environment turn on, each by its own protocol, and `builtin/rules`, a
//! deterministic rule engine that needs no key and no network. Owns the tables `call`, `call_attempt`, `budget`,
//! `budget_window`, `reservation` and `provider_key`, publishes `budget.threshold_reached`, and calls no neighbour.

mod builtin;
mod cache;
mod canonical;
mod cassette;
mod catalogue;
mod convert;
mod error;
mod events;
mod keys;
mod model;
mod money;
mod privacy;
mod provider;
mod route;
mod rpc;
mod service;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod tokens;
mod traffic;

use std::sync::Arc;

use slipway_bus::Bus;
use slipway_proto::inference::budget_service_server::BudgetServiceServer;
use slipway_proto::inference::cache_service_server::CacheServiceServer;
use slipway_proto::inference::inference_service_server::InferenceServiceServer;
use slipway_proto::inference::provider_key_service_server::ProviderKeyServiceServer;
use slipway_proto::inference::usage_service_server::UsageServiceServer;
use slipway_rpc::{BuildError, Server};
use slipway_storage::StoreSettings;
use slipway_storage::outbox::Relay;
use slipway_telemetry::Metrics;

pub use settings::{
    BatchSettings, BreakerSettings, CacheSettings, CatalogueSettings, KeysSettings, LedgerSettings, PrefetchRule,
    PrefetchSettings, PriceSettings, PrivacySettings, ProviderKind, ProviderSettings, QuickSettings, RecordingMode,
    RecordingsSettings, SemanticSettings, Settings,
};
pub use store::Migrator;
pub use traffic::{RecordError, Recorded, Recording, record};

use cache::Cache;
use catalogue::Catalogue;
use keys::Keys;
use money::Money;
use privacy::Privacy;
use provider::Providers;
use route::Router;
use rpc::{Accounts, CacheRpc, KeysRpc, Rpc};
use service::{Beside, Inference};
use store::LedgerStore;

// A prompt may hold 8 MiB of messages, and tools besides.
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// What this service needs of others.
pub struct Deps {
    /// The database of the ledger and the budgets.
    pub store: StoreSettings,
    /// Where events go.
    pub bus: Bus,
    /// Where it counts.
    pub metrics: Metrics,
}

/// Wires the service and registers it. Connects to no provider yet. The process must have installed its TLS provider
/// (`rustls::crypto::ring`) when a provider is configured.
pub async fn build(settings: &Settings, deps: Deps, server: &mut Server) -> Result<(), BuildError> {
    settings.check().map_err(BuildError::new)?;
    let in_force = settings.in_force(|name| std::env::var(name).ok());
    settings::check_addresses(&in_force).map_err(BuildError::new)?;
    let names: Vec<_> = in_force.providers.keys().map(String::as_str).collect();
    tracing::info!(default_model = in_force.default_model, providers = names.join(" "), "models configured");
    let providers =
        Providers::new(&in_force, &deps.metrics).map_err(|e| BuildError::of("a model provider's client cannot be made", e))?;
    let cache = Cache::new(&in_force.cache, &deps.metrics);
    let catalogue = Catalogue::open(&in_force, deps.metrics.clone()).map_err(|e| BuildError::of("inference.catalogue", e))?;
    let catalogue = Arc::new(catalogue);
    server.add_task("catalogue", catalogue.clone().watch(server.shutdown()));
    let privacy = Privacy::new(&in_force.privacy).map_err(|e| BuildError::of("inference.privacy", e))?;
    let store = LedgerStore::open(&deps.store).await;
    let store = store.map_err(|e| BuildError::of("the database of the ledger cannot be opened", e))?;
    store.database().join(deps.bus.live());
    slipway_ops::register(server, "inference", store.database());
    let relay = Relay::new(store.database(), deps.bus);
    server.add_task("inference outbox", relay.run(server.shutdown()));
    let keys = Keys::open(&in_force.keys, store.clone()).await;
    let keys = keys.map_err(|e| BuildError::of("inference.keys", e))?;
    let beside = Beside::new(&in_force, deps.metrics.clone(), server);
    let beside = beside.map_err(|e| BuildError::of("inference.prefetch.rules", e))?;
    let money = Money::build(&in_force, store, catalogue.clone(), deps.metrics, server).await;
    let money = money.map_err(|e| BuildError::of("the budgets cannot be read", e))?;
    let router = Router::new(in_force, providers, catalogue.clone());
    let inference = Arc::new(Inference::new(router, catalogue, privacy, cache, money, keys, beside));
    server.add_service(CacheServiceServer::new(CacheRpc(inference.clone())));
    server.add_service(ProviderKeyServiceServer::new(KeysRpc(inference.clone())));
    let service = InferenceServiceServer::new(Rpc(inference.clone()));
    server.add_service(service.max_decoding_message_size(MAX_REQUEST_BYTES));
    let accounts = Accounts(inference);
    // An estimate brings the prompt.
    server.add_service(UsageServiceServer::new(accounts.clone()).max_decoding_message_size(MAX_REQUEST_BYTES));
    server.add_service(BudgetServiceServer::new(accounts));
    Ok(())
}
