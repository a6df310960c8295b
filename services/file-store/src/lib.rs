//! The file store: workspaces and their revisions, the only owner of file contents.
//!
//! It serves `slipway.filestore.v1.FileStoreService`, owns the tables `workspace` and `revision` and the blobs, publishes
//! `revision.committed` and `workspace.deleted`, and calls nobody.
//!
//! A content is a blob named by its BLAKE3 hash, and so is a manifest, the list of a revision's files; a row of `revision`
//! names its manifest. Blobs are written and flushed first, then one transaction moves the workspace's head, adds the
//! revision, remembers the request and queues the event: whatever is visible is whole.

mod archive;
mod blobs;
mod convert;
mod error;
mod events;
mod model;
mod rpc;
mod service;
mod settings;
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use slipway_bus::Bus;
use slipway_proto::filestore::file_store_service_server::FileStoreServiceServer;
use slipway_rpc::{BuildError, Server};
use slipway_storage::outbox::Relay;
use slipway_storage::{Durability, StoreSettings};

pub use settings::Settings;
pub use store::Migrator;

/// What the file store stands on.
pub struct Deps {
    /// The directory of the suite's data: contents go to `blobs` below it, uploads lie in `spool` while they are worked on.
    pub data_dir: PathBuf,
    /// The database of workspaces and revisions.
    pub store: StoreSettings,
    /// Where events go.
    pub bus: Bus,
}

/// Opens and migrates the database, wires the service and registers it with `server`. Nothing runs before the server does.
pub async fn build(settings: &Settings, deps: Deps, server: &mut Server) -> Result<(), BuildError> {
    settings.check().map_err(|what| BuildError::new(format!("file_store.{what}")))?;
    let blob_dir = settings.blobs.clone().unwrap_or_else(|| deps.data_dir.join("blobs"));
    let spool = deps.data_dir.join("spool");
    for dir in [&blob_dir, &spool] {
        let failed = |e| BuildError::of(format!("the directory {} cannot be made", dir.display()), e);
        tokio::fs::create_dir_all(dir).await.map_err(failed)?;
    }
    let durable = deps.store.durability == Durability::Power;
    let blobs = blobs::Blobs::local(&blob_dir, durable).map_err(|e| BuildError::of("the blob store cannot be opened", e))?;
    let store = store::WorkspaceStore::open(&deps.store).await;
    let store = store.map_err(|e| BuildError::of("the database of the file store cannot be opened", e))?;

    let relay = Relay::new(store.database(), deps.bus);
    server.add_task("file-store outbox", relay.run(server.shutdown()));
    let service = service::FileStore::new(store, blobs, spool, settings.manifest_cache_mib << 20, settings.heavy_calls);
    server.add_service(FileStoreServiceServer::new(rpc::Rpc::new(Arc::new(service))));
    Ok(())
}
