//! Tests of the whole service through its API: a real server on a temporary directory, called over its local channel.

mod archives;
mod beside_git;
mod buckets;
mod charts;
mod compare;
mod deltas;
mod documents;
mod edits;
mod garbage;
mod git;
mod histories;
mod links;
mod merging;
mod overlays;
mod quotas;
mod reading;
mod refusals;
mod replicas;
mod revisions;
mod secrets;
mod uploads;
mod watching;
mod workspaces;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use prost::Message as _;
use slipway_bus::{Bus, Event, Handler, HandlerError};
use slipway_proto::events::Event as EventPayload;
use slipway_proto::filestore as pb;
use slipway_proto::filestore::file_store_service_client::FileStoreServiceClient;
use slipway_proto::filestore::overlay_service_client::OverlayServiceClient;
use slipway_proto::filestore::secret_service_client::SecretServiceClient;
use slipway_proto::filestore::transfer_service_client::TransferServiceClient;
use slipway_rpc::{Caller, Channel, Ctx, IdentityKey, ProjectId, Running, Scope, Server, UserId};
use slipway_storage::{Durability, StoreSettings};
use slipway_testkit::postgres::Postgres;
use tokio::sync::Notify;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::clock::Clock;
use crate::garbage::Collector;
use crate::{Deps, Settings, build, build_with};

pub(super) type Client = FileStoreServiceClient<Channel>;
pub(super) type Overlays = OverlayServiceClient<Channel>;

/// Where links lead.
pub(super) const GATEWAY: &str = "https://gateway.example";

/// A file store that runs, and what it told the bus.
pub(super) struct House {
    pub(super) client: Client,
    pub(super) overlays: Overlays,
    pub(super) secrets: SecretServiceClient<Channel>,
    pub(super) transfer: TransferServiceClient<Channel>,
    pub(super) channel: Channel,
    pub(super) clock: Clock,
    pub(super) collector: Collector,
    running: Option<Running>,
    told: Arc<Told>,
    place: Place,
    settings: Settings,
}

/// Where a file store keeps what it has.
#[derive(Clone)]
struct Place {
    dir: Arc<tempfile::TempDir>,
    database: String,
}

#[derive(Default)]
struct Told {
    events: Mutex<Vec<Event>>,
    more: Notify,
}

#[async_trait]
impl Handler for Told {
    async fn handle(&self, event: &Event, _: u32) -> Result<(), HandlerError> {
        self.events.lock().unwrap().push(event.clone());
        self.more.notify_waiters();
        Ok(())
    }
}

impl House {
    pub(super) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    pub(super) async fn with(settings: Settings) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let database = slipway_testkit::postgres::store_url(dir.path(), "file-store").await.unwrap();
        Self::open(Place { dir, database }, settings, Clock::default()).await
    }

    /// Two replicas on one PostgreSQL database, or loudly nothing. Each has a directory of its own.
    pub(super) async fn replicas(settings: Settings) -> Option<[Self; 2]> {
        let database = Postgres::shared().await?.database().await.unwrap();
        let clock = Clock::default();
        let open = || {
            let place = Place { dir: Arc::new(tempfile::tempdir().unwrap()), database: database.clone() };
            Self::open(place, settings.clone(), clock.clone())
        };
        Some([open().await, open().await])
    }

    async fn open(place: Place, settings: Settings, clock: Clock) -> Self {
        let key = IdentityKey::new(&IdentityKey::generate()).unwrap();
        let mut server = Server::new(key);
        let bus = Bus::in_process();
        let told = Arc::new(Told::default());
        bus.subscribe("test", ">", told.clone()).await.unwrap();
        let store = StoreSettings { url: place.database.clone(), durability: Durability::Process, ..Default::default() };
        let gateway = Some(GATEWAY.to_owned());
        let documents = slipway_documents::Worker::new(place.dir.path().join("worker"));
        let deps = Deps { data_dir: place.dir.path().to_owned(), store, bus, gateway, documents };
        // Nobody here dies with a request on the way.
        let collector = build_with(&settings, deps, &mut server, clock.clone(), Duration::ZERO).await.unwrap();
        let client = Client::new(server.channel());
        let overlays = Overlays::new(server.channel());
        let secrets = SecretServiceClient::new(server.channel());
        let transfer = TransferServiceClient::new(server.channel());
        let channel = server.channel();
        let running = Some(server.start().await);
        Self { client, overlays, channel, secrets, transfer, clock, collector, running, told, place, settings }
    }

    /// Stops and starts again on the same directory.
    pub(super) async fn restart(mut self) -> Self {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        Self::open(self.place.clone(), self.settings.clone(), self.clock.clone()).await
    }

    pub(super) fn dir(&self) -> &Path {
        self.place.dir.path()
    }

    /// The first `n` events, once there are as many.
    pub(super) async fn events(&self, n: usize) -> Vec<(String, EventPayload)> {
        loop {
            let more = self.told.more.notified();
            let seen: Vec<Event> = self.told.events.lock().unwrap().clone();
            if seen.len() >= n {
                let decode = |e: &Event| (e.subject.clone(), EventPayload::decode(e.payload.clone()).unwrap());
                return seen.iter().map(decode).collect();
            }
            more.await;
        }
    }
}

/// Somebody in a project.
#[derive(Clone)]
pub(super) struct User {
    pub(super) ctx: Ctx,
    pub(super) client: Client,
    pub(super) overlays: Overlays,
    pub(super) channel: Channel,
}

impl User {
    pub(super) fn of(house: &House) -> Self {
        let caller = Caller::new(UserId(Uuid::now_v7()), Scope::Write);
        let ctx = Ctx::new(caller, ProjectId(Uuid::now_v7()), "test".to_owned(), None, String::new());
        Self { ctx, client: house.client.clone(), overlays: house.overlays.clone(), channel: house.channel.clone() }
    }

    /// The same somebody at another replica.
    pub(super) fn at(&self, house: &House) -> Self {
        Self {
            ctx: self.ctx.clone(),
            client: house.client.clone(),
            overlays: house.overlays.clone(),
            channel: house.channel.clone(),
        }
    }

    pub(super) async fn workspace(&self, name: &str) -> pb::Workspace {
        let request = pb::CreateWorkspaceRequest { name: name.to_owned(), request_id: String::new() };
        self.client.clone().create_workspace(self.ctx.request(request)).await.unwrap().into_inner().workspace.unwrap()
    }

    pub(super) async fn get(&self, id: &str) -> Result<pb::Workspace, Status> {
        let request = pb::GetWorkspaceRequest { workspace_id: id.to_owned() };
        Ok(self.client.clone().get_workspace(self.ctx.request(request)).await?.into_inner().workspace.unwrap())
    }

    pub(super) async fn try_commit(&self, request: pb::CommitRevisionRequest) -> Result<pb::Revision, Status> {
        Ok(self.client.clone().commit_revision(self.ctx.request(request)).await?.into_inner().revision.unwrap())
    }

    /// Commits on the head.
    pub(super) async fn commit(&self, workspace: &str, changes: Vec<pb::FileChange>) -> pb::Revision {
        let base = self.get(workspace).await.unwrap().head_revision_id;
        self.try_commit(commit(workspace, &base, changes)).await.unwrap()
    }

    pub(super) async fn list_files(&self, request: pb::ListFilesRequest) -> Result<pb::ListFilesResponse, Status> {
        Ok(self.client.clone().list_files(self.ctx.request(request)).await?.into_inner())
    }

    /// The whole content of a file, and its entry.
    pub(super) async fn read(&self, workspace: &str, revision: &str, path: &str) -> Result<(pb::FileEntry, Vec<u8>), Status> {
        let request = pb::ReadFileRequest {
            workspace_id: workspace.into(),
            revision_id: revision.into(),
            path: path.into(),
            ..Default::default()
        };
        self.read_request(request).await
    }

    pub(super) async fn read_request(&self, request: pb::ReadFileRequest) -> Result<(pb::FileEntry, Vec<u8>), Status> {
        let mut parts = self.client.clone().read_file(self.ctx.request(request)).await?.into_inner();
        let Some(pb::read_file_response::Part::File(entry)) = parts.message().await?.unwrap().part else {
            panic!("no entry first")
        };
        let mut content = Vec::new();
        while let Some(message) = parts.message().await? {
            let Some(pb::read_file_response::Part::Chunk(chunk)) = message.part else { panic!("a second entry") };
            assert!(chunk.len() <= 1 << 20);
            content.extend_from_slice(&chunk);
        }
        Ok((entry, content))
    }

    /// Collects garbage now.
    pub(super) async fn collect(&self) -> Result<pb::GarbageCollection, Status> {
        let response = self.client.clone().collect_garbage(self.ctx.request(pb::CollectGarbageRequest {})).await?;
        Ok(response.into_inner().collection.unwrap())
    }

    /// A link to a file; 0 seconds: as long as is usual.
    pub(super) async fn link(
        &self,
        workspace: &str,
        revision: &str,
        path: &str,
        seconds: u32,
    ) -> Result<pb::CreateDownloadLinkResponse, Status> {
        let request = pb::CreateDownloadLinkRequest {
            workspace_id: workspace.into(),
            revision_id: revision.into(),
            path: path.into(),
            ttl_seconds: seconds,
        };
        Ok(self.client.clone().create_download_link(self.ctx.request(request)).await?.into_inner())
    }

    /// The paths of a revision.
    pub(super) async fn paths(&self, workspace: &str, revision: &str) -> Vec<String> {
        let request = pb::ListFilesRequest { workspace_id: workspace.into(), revision_id: revision.into(), ..Default::default() };
        self.list_files(request).await.unwrap().files.into_iter().map(|f| f.path).collect()
    }

    pub(super) async fn import(&self, header: pb::ImportArchiveHeader, archive: &[u8]) -> Result<pb::Revision, Status> {
        let mut parts = vec![upload(pb::import_archive_request::Part::Header(header))];
        let chunk = |chunk: &[u8]| upload(pb::import_archive_request::Part::Chunk(Bytes::copy_from_slice(chunk)));
        parts.extend(archive.chunks(1 << 20).map(chunk));
        self.import_parts(parts).await
    }

    pub(super) async fn import_parts(&self, parts: Vec<pb::ImportArchiveRequest>) -> Result<pb::Revision, Status> {
        let request = self.ctx.request(futures::stream::iter(parts));
        Ok(self.client.clone().import_archive(request).await?.into_inner().revision.unwrap())
    }

    pub(super) async fn export(&self, workspace: &str, revision: &str, format: pb::ArchiveFormat) -> Result<Vec<u8>, Status> {
        let request = pb::ExportArchiveRequest {
            workspace_id: workspace.into(),
            revision_id: revision.into(),
            format: format.into(),
            ..Default::default()
        };
        let chunks = self.client.clone().export_archive(self.ctx.request(request)).await?.into_inner();
        let chunks: Vec<_> = chunks.try_collect().await?;
        assert!(chunks.iter().all(|c| c.chunk.len() <= 1 << 20));
        Ok(chunks.iter().flat_map(|c| c.chunk.to_vec()).collect())
    }
}

pub(super) fn upload(part: pb::import_archive_request::Part) -> pb::ImportArchiveRequest {
    pb::ImportArchiveRequest { part: Some(part) }
}

pub(super) fn header(workspace: &str, base: &str, format: pb::ArchiveFormat) -> pb::ImportArchiveHeader {
    pb::ImportArchiveHeader {
        workspace_id: workspace.into(),
        format: format.into(),
        base_revision_id: base.into(),
        ..Default::default()
    }
}

pub(super) fn commit(workspace: &str, base: &str, changes: Vec<pb::FileChange>) -> pb::CommitRevisionRequest {
    pb::CommitRevisionRequest { workspace_id: workspace.into(), base_revision_id: base.into(), changes, ..Default::default() }
}

pub(super) fn write(path: &str, content: impl Into<Vec<u8>>) -> pb::FileChange {
    let content = Bytes::from(content.into());
    let change = pb::file_change::Change::Write(pb::WriteFile { path: path.into(), content, ..Default::default() });
    pb::FileChange { change: Some(change) }
}

pub(super) fn program(path: &str, content: &str) -> pb::FileChange {
    let content = Bytes::copy_from_slice(content.as_bytes());
    let write = pb::WriteFile { path: path.into(), content, executable: Some(true), ..Default::default() };
    let change = pb::file_change::Change::Write(write);
    pb::FileChange { change: Some(change) }
}

pub(super) fn delete(path: &str) -> pb::FileChange {
    let delete = pb::DeleteFile { path: path.into(), ..Default::default() };
    pb::FileChange { change: Some(pb::file_change::Change::Delete(delete)) }
}

pub(super) fn rename(path: &str, new_path: &str) -> pb::FileChange {
    let rename = pb::RenameFile { path: path.into(), new_path: new_path.into(), ..Default::default() };
    pb::FileChange { change: Some(pb::file_change::Change::Rename(rename)) }
}

/// The code, the reason and the facts of an error.
#[track_caller]
pub(super) fn refusal<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String, HashMap<String, String>) {
    let status = result.expect_err("this must be refused");
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "slipway.dev");
    (status.code(), info.reason.clone(), info.metadata.clone())
}

#[track_caller]
pub(super) fn reason<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    refusal(result).1
}

/// The fields that an INVALID_ARGUMENT names.
#[track_caller]
pub(super) fn fields<T: std::fmt::Debug>(result: Result<T, Status>) -> Vec<String> {
    let status = result.expect_err("this must be refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    details.bad_request().unwrap_or_else(|| panic!("{status:?}")).field_violations.iter().map(|v| v.field.clone()).collect()
}
