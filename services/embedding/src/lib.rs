//! The embedding service: chunks, vectors, search. The only owner of vectors.
//!
//! - RPCs: `slipway.embedding.v1.EmbeddingService`, `slipway.embedding.v1.AuditService`.
//! - Tables: `workspace_index` (how far each index is, and in which engine), `index_file` (what searches answer from), `vector`
//!   (the ledger of what was embedded), `engine` (which engines were asked for, and the models of their vectors). The engine's files in `index_dir` are derived from these and from the file store.
//! - Consumes `revision.committed` and `workspace.deleted`; publishes nothing.
//! - Calls file-store, for the files that it indexes.
//!
//! A revision is searchable by words as soon as its build has moved the record; vectors that are not known yet are computed
//! by a second job, and searches fuse them in once most of them are there.
//!
//! The engine is in this process, where one process owns an index directory, or on a Qdrant server, where any number of
//! replicas work on one PostgreSQL: a workspace is built by one of them at a time.

mod clients;
mod convert;
mod embedder;
mod error;
pub mod evaluation;
mod events;
mod index;
mod model;
mod rpc;
mod service;
mod settings;
pub mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use slipway_bus::Bus;
use slipway_proto::embedding::audit_service_server::AuditServiceServer;
use slipway_proto::embedding::embedding_service_server::EmbeddingServiceServer;
use slipway_rpc::{BuildError, Channel, Server};
use slipway_storage::StoreSettings;

pub use settings::{EmbedderKind, EmbedderSettings, Qdrant, Settings};

/// EmbedTexts takes 256 texts of 32,000 characters.
const MAX_MESSAGE_BYTES: usize = 34 << 20;
/// How long another replica waits for a worker that has fallen silent.
const LEASE: Duration = Duration::from_secs(15);

/// What the service is given.
pub struct Deps {
    /// Where the index is kept unless the settings say otherwise.
    pub data_dir: PathBuf,
    /// Its database.
    pub store: StoreSettings,
    /// Where it hears of revisions.
    pub bus: Bus,
    /// Its neighbour.
    pub file_store: Channel,
}

/// Opens and migrates the store, locks the index, wires the service and registers it with its tasks. The engine and the
/// model are opened in the background: searches wait for the engine, and go by words until the model is there.
pub async fn build(settings: &Settings, deps: Deps, server: &mut Server) -> Result<(), BuildError> {
    build_with(settings, deps, server, Parts::default()).await
}

/// What the tests of this crate put in the place of what is made.
struct Parts {
    embedder: Option<Arc<dyn embedder::Embedder>>,
    engine: Option<service::Source>,
    lease: Duration,
}

impl Default for Parts {
    fn default() -> Self {
        Self { embedder: None, engine: None, lease: LEASE }
    }
}

async fn build_with(settings: &Settings, deps: Deps, server: &mut Server, parts: Parts) -> Result<(), BuildError> {
    settings.check().map_err(BuildError::new)?;
    let records = store::Records::open(&deps.store)
        .await
        .map_err(|e| BuildError::of("the embedding service's database cannot be opened", e))?;
    records.store().join(deps.bus.live());
    let store = records.store().clone();
    let source = match parts.engine {
        Some(given) => given,
        None => source(settings, &deps, records.is_shared())?,
    };
    let embedding = embedder::Embedding::start(settings.embedder.space())
        .map_err(|e| BuildError::of("the embedding threads cannot be started", e))?;
    let given = parts.embedder.map(|embedder| embedding.set(embedder)).is_some();
    let provided = !given && settings.embedder.kind != EmbedderKind::InProcess;
    if provided {
        let completed = settings.embedder.completed(|name| std::env::var(name).ok());
        let remote = embedder::Remote::new(completed);
        embedding.set(Arc::new(remote.map_err(|e| BuildError::of("embedding.embedder cannot be used", e))?));
    }
    let files = clients::Files::new(deps.file_store);
    let making = service::Making { settings: settings.embedder.clone(), model_dir: settings.model_dir() };
    let models = service::Models::new(embedding, making);
    let service = Arc::new(service::Service::new(records, index::Index::opening(), models, files, parts.lease));
    slipway_ops::register(server, "embedding", store.clone());
    events::subscribe(&deps.bus, &store, &service, server).await?;

    server.add_service(EmbeddingServiceServer::new(rpc::Rpc(service.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES));
    server.add_service(AuditServiceServer::new(rpc::Rpc(service.clone())));
    let shutdown = server.shutdown();
    server.add_task("embedding-index", {
        // Searches that are under way still need it.
        let (service, shutdown, drained) = (service.clone(), shutdown.clone(), server.drained());
        async move {
            match service.open_index(source, &shutdown).await {
                Ok(()) => {
                    drained.cancelled().await;
                    service.close_index().await;
                }
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the search index cannot be opened"),
            }
        }
    });
    if !given {
        let model_dir = settings.model_dir();
        let (service, shutdown) = (service.clone(), shutdown.clone());
        server.add_task("embedding-model", async move {
            let ready = if provided { Ok(()) } else { service.load_model(model_dir, &shutdown).await };
            let queued = match ready {
                Ok(()) => service.fill_in_all(&shutdown).await,
                failed => failed,
            };
            if let Err(error) = queued {
                tracing::error!(error = &error as &dyn std::error::Error, "what lacks vectors cannot be queued");
            }
            shutdown.cancelled().await;
        });
    }
    server.add_task("embedding-builds", service.clone().run_builds(shutdown.clone()));
    server.add_task("embedding-vectors", service.clone().run_vectors(shutdown.clone()));
    server.add_task("embedding-moves", service.clone().run_moves(shutdown.clone()));
    server.add_task("embedding-tidying", async move { service.run_tidying(shutdown).await });
    Ok(())
}

/// The engine that the settings name. Only the one in this process owns a directory, and locks it.
fn source(settings: &Settings, deps: &Deps, shared: bool) -> Result<service::Source, BuildError> {
    let failed = |e: index::IndexError| BuildError::of(e.to_string(), e);
    if let Some(qdrant) = &settings.qdrant {
        return Ok(service::Source::Server(Box::new(index::Server::of(qdrant, &settings.embedder.space()).map_err(failed)?)));
    }
    if shared {
        tracing::warn!(
            "the search index is in this process and no other replica sees it: to run several, set embedding.qdrant.url"
        );
    }
    let dir = settings.index_dir(&deps.data_dir);
    let lock = index::DirLock::take(&dir).map_err(failed)?;
    Ok(service::Source::InProcess(dir, lock))
}
