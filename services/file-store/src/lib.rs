//! The file store: workspaces and their revisions, the only owner of file contents.
//!
//! It serves the services of `slipway.filestore.v1`, owns the tables `workspace`, `revision`, `overlay`, `project_usage`, `upload`,
//! `upload_piece`, `secret_report`, `garbage` and `collection` and the blobs, publishes
//! `revision.committed` and `workspace.deleted`, and calls nobody.
//!
//! A content is a blob named by its BLAKE3 hash, and so is a manifest, the list of a revision's files; a row of `revision`
//! names its manifest, and so does one of `overlay`, whose files are not committed yet. A manifest that differs from an
//! earlier one in a few files is no blob: the row has the differences. Blobs are written and flushed first, then one transaction moves the workspace's head, adds the
//! revision, remembers the request and queues the event: whatever is visible is whole.

mod archive;
mod blobs;
mod clock;
mod convert;
mod error;
mod events;
mod fetch;
mod garbage;
mod git;
mod model;
mod packed;
mod rpc;
mod service;
mod settings;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use slipway_bus::Bus;
use slipway_proto::filestore::document_service_server::DocumentServiceServer;
use slipway_proto::filestore::edit_service_server::EditServiceServer;
use slipway_proto::filestore::file_store_service_server::FileStoreServiceServer;
use slipway_proto::filestore::history_service_server::HistoryServiceServer;
use slipway_proto::filestore::overlay_service_server::OverlayServiceServer;
use slipway_proto::filestore::secret_service_server::SecretServiceServer;
use slipway_proto::filestore::transfer_service_server::TransferServiceServer;
use slipway_rpc::{BuildError, Server};
use slipway_storage::outbox::Relay;
use slipway_storage::{Durability, StoreSettings};

use blobs::Blobs;
use clock::Clock;
use garbage::Collector;
pub use settings::{
    CacheSettings, GcSettings, ImportSettings, LinkSettings, LinkWay, OverlaySettings, QuotaSettings, S3Settings, SecretScan,
    Settings, UploadSettings,
};
pub use store::Migrator;
use tokio_util::sync::CancellationToken;

/// How often idle contents are looked for.
const TIDY: Duration = Duration::from_secs(3600);

/// What the file store stands on.
pub struct Deps {
    /// The directory of the suite's data: contents go to `blobs` below it, uploads lie in `spool` while they are worked on.
    pub data_dir: PathBuf,
    /// The database of workspaces and revisions.
    pub store: StoreSettings,
    /// Where events go.
    pub bus: Bus,
    /// Where the gateway of this process is reached, if there is one in it.
    pub gateway: Option<String>,
    /// What takes the text out of documents.
    pub documents: slipway_documents::Worker,
}

/// Opens and migrates the database, wires the service and registers it with `server`. Nothing runs before the server does.
pub async fn build(settings: &Settings, deps: Deps, server: &mut Server) -> Result<(), BuildError> {
    build_with(settings, deps, server, Clock::default(), garbage::QUARANTINE).await.map(drop)
}

async fn build_with(
    settings: &Settings,
    deps: Deps,
    server: &mut Server,
    clock: Clock,
    quarantine: Duration,
) -> Result<Collector, BuildError> {
    settings.check().map_err(|what| BuildError::new(format!("file_store.{what}")))?;
    let spool = deps.data_dir.join("spool");
    make_dir(&spool).await?;
    let blobs = open_blobs(settings, &deps, &clock).await?;
    let store = store::WorkspaceStore::open(&deps.store).await;
    let store = store.map_err(|e| BuildError::of("the database of the file store cannot be opened", e))?;

    store.database().join(deps.bus.live());
    slipway_ops::register(server, "file-store", store.database());
    let relay = Relay::new(store.database(), deps.bus);
    server.add_task("file-store outbox", relay.run(server.shutdown()));
    let collector = Collector::new(store.clone(), blobs.clone(), &settings.gc, clock.clone(), quarantine);
    if settings.cache.mib > 0 {
        server.add_task("file-store cache", tidy_cache(blobs.clone(), server.shutdown()));
    }
    server.add_task("file-store garbage", collector.clone().run(server.shutdown()));
    let links = service::Links::new(&settings.links, deps.gateway, server.key().links());
    let tidying = (collector.clone(), clock);
    let service = Arc::new(service::FileStore::new(store, blobs, spool, settings, tidying, links, deps.documents));
    server.add_service(HistoryServiceServer::new(rpc::Histories::new(service.clone())));
    server.add_service(OverlayServiceServer::new(rpc::Overlays::new(service.clone())));
    server.add_service(DocumentServiceServer::new(rpc::DocumentRpc::new(service.clone())));
    server.add_service(EditServiceServer::new(rpc::EditRpc::new(service.clone())));
    server.add_service(SecretServiceServer::new(rpc::SecretsRpc::new(service.clone())));
    server.add_service(TransferServiceServer::new(rpc::TransferRpc::new(service.clone())));
    server.add_service(FileStoreServiceServer::new(rpc::Rpc::new(service)));
    Ok(collector)
}

/// Opens the blob store that the settings name.
async fn open_blobs(settings: &Settings, deps: &Deps, clock: &Clock) -> Result<Blobs, BuildError> {
    let failed = |e| BuildError::of("the blob store cannot be opened", e);
    let Some(s3) = &settings.s3 else {
        let dir = settings.blobs.clone().unwrap_or_else(|| deps.data_dir.join("blobs"));
        make_dir(&dir).await?;
        return Blobs::local(&dir, deps.store.durability == Durability::Power).map_err(failed);
    };
    let blobs = Blobs::s3(s3).map_err(failed)?;
    blobs.check().await.map_err(|e| BuildError::of(format!("the bucket {} cannot be used: {e}", s3.bucket), e))?;
    if settings.cache.mib == 0 {
        return Ok(blobs);
    }
    let dir = deps.data_dir.join("cache");
    let failed = |e| BuildError::of(format!("the cache in {} cannot be opened", dir.display()), e);
    blobs.cached(&dir, &settings.cache, clock.clone()).map_err(failed)
}

/// Has idle contents leave the cache, from time to time.
async fn tidy_cache(blobs: Blobs, shutdown: CancellationToken) {
    let mut look = tokio::time::interval(TIDY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = look.tick() => {}
        }
        let contents = blobs.evict_idle().await;
        if contents > 0 {
            tracing::info!(contents, "contents that nobody used leave the cache");
        }
    }
}

async fn make_dir(dir: &Path) -> Result<(), BuildError> {
    let failed = |e| BuildError::of(format!("the directory {} cannot be made", dir.display()), e);
    tokio::fs::create_dir_all(dir).await.map_err(failed)
}
