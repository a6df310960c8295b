//! Language models behind one interface: `slipway.inference.v1.InferenceService`.
//!
//! Owns the providers: those that settings and the environment turn on, each by its own protocol, and `builtin/rules`, a
//! deterministic rule engine that needs no key and no network. Keeps no state, publishes nothing, calls no neighbour.

mod builtin;
mod cache;
mod canonical;
mod cassette;
mod catalogue;
mod convert;
mod error;
mod model;
mod privacy;
mod provider;
mod route;
mod rpc;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod tokens;
mod traffic;

use std::sync::Arc;

use slipway_proto::inference::cache_service_server::CacheServiceServer;
use slipway_proto::inference::inference_service_server::InferenceServiceServer;
use slipway_rpc::{BuildError, Server};
use slipway_telemetry::Metrics;

pub use settings::{
    BreakerSettings, CacheSettings, CatalogueSettings, PrivacySettings, ProviderKind, ProviderSettings, RecordingMode,
    RecordingsSettings, Settings,
};
pub use traffic::{RecordError, Recorded, Recording, record};

use cache::Cache;
use catalogue::Catalogue;
use privacy::Privacy;
use provider::Providers;
use route::Router;
use rpc::{CacheRpc, Rpc};
use service::Inference;

// A prompt may hold 8 MiB of messages, and tools besides.
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// What this service needs of others.
#[derive(Debug, Default)]
pub struct Deps {
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
    let catalogue = Catalogue::open(&in_force, deps.metrics).map_err(|e| BuildError::of("inference.catalogue", e))?;
    let catalogue = Arc::new(catalogue);
    server.add_task("catalogue", catalogue.clone().watch(server.shutdown()));
    let privacy = Privacy::new(&in_force.privacy).map_err(|e| BuildError::of("inference.privacy", e))?;
    let router = Router::new(in_force, providers, catalogue.clone());
    let inference = Arc::new(Inference::new(router, catalogue, privacy, cache));
    server.add_service(CacheServiceServer::new(CacheRpc(inference.clone())));
    server.add_service(InferenceServiceServer::new(Rpc(inference)).max_decoding_message_size(MAX_REQUEST_BYTES));
    Ok(())
}
