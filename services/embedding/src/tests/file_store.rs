//! A file store in memory: as much of it as this service calls.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use prost::Message as _;
use slipway_bus::Event;
use slipway_proto::events::event::Event as Kind;
use slipway_proto::events::{Event as Payload, RevisionCommitted, WorkspaceDeleted};
use slipway_proto::filestore::file_store_service_server::{FileStoreService, FileStoreServiceServer};
use slipway_proto::filestore::*;
use slipway_rpc::{Ctx, Fault, ProjectId, Reason};
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

const PAGE: usize = 4;

type Files = BTreeMap<String, Bytes>;
type Committed = (Uuid, Arc<Files>);

/// The workspaces of a test; clones share them.
#[derive(Clone, Default)]
pub(crate) struct FileStore(Arc<Shared>);

#[derive(Default)]
struct Shared {
    workspaces: Mutex<BTreeMap<Uuid, (ProjectId, Vec<Committed>)>>,
    reads: AtomicUsize,
    away: AtomicBool,
    lost: Mutex<Option<String>>,
}

impl FileStore {
    pub(crate) fn service(&self) -> FileStoreServiceServer<Self> {
        FileStoreServiceServer::new(self.clone())
    }

    /// Adds a revision with exactly these files, and makes its event.
    pub(crate) fn commit(&self, project: ProjectId, workspace: Uuid, files: &[(&str, &str)]) -> Event {
        let mut workspaces = self.0.workspaces.lock().unwrap();
        let (_, revisions) = workspaces.entry(workspace).or_insert((project, Vec::new()));
        let revision = Uuid::now_v7();
        revisions.push((
            revision,
            Arc::new(files.iter().map(|(path, text)| ((*path).to_owned(), Bytes::from((*text).to_owned()))).collect()),
        ));
        let number = revisions.len() as u64;
        let (workspace_id, revision_id) = (workspace.to_string(), revision.to_string());
        let kind =
            Kind::RevisionCommitted(RevisionCommitted { workspace_id, revision_id, number, ..RevisionCommitted::default() });
        event("revision.committed", project, workspace, kind)
    }

    /// Removes a workspace, and makes the event.
    pub(crate) fn delete(&self, project: ProjectId, workspace: Uuid) -> Event {
        self.0.workspaces.lock().unwrap().remove(&workspace);
        event(
            "workspace.deleted",
            project,
            workspace,
            Kind::WorkspaceDeleted(WorkspaceDeleted { workspace_id: workspace.to_string() }),
        )
    }

    /// The number of a workspace's head.
    pub(crate) fn number(&self, workspace: Uuid) -> u64 {
        self.0.workspaces.lock().unwrap().get(&workspace).map_or(0, |(_, revisions)| revisions.len() as u64)
    }

    /// How many files were read since this was last asked.
    pub(crate) fn take_reads(&self) -> usize {
        self.0.reads.swap(0, Ordering::SeqCst)
    }

    /// Has every call fail, or work again.
    pub(crate) fn set_away(&self, away: bool) {
        self.0.away.store(away, Ordering::SeqCst);
    }

    /// Loses the content of a file.
    pub(crate) fn lose(&self, path: &str) {
        *self.0.lost.lock().unwrap() = Some(path.to_owned());
    }

    /// Has it again.
    pub(crate) fn find_again(&self) {
        *self.0.lost.lock().unwrap() = None;
    }

    fn revision<T>(&self, request: &Request<T>, workspace: &str, revision: &str) -> Result<(Uuid, u64, Arc<Files>), Status> {
        let ctx = Ctx::of(request)?;
        if self.0.away.load(Ordering::SeqCst) {
            return Err(Fault::new(Reason::ServiceUnavailable, "away").into());
        }
        let missing = || Status::from(Fault::new(Reason::WorkspaceNotFound, "no such workspace"));
        let workspaces = self.0.workspaces.lock().unwrap();
        let (_, revisions) = workspaces
            .get(&workspace.parse::<Uuid>().unwrap())
            .filter(|(project, _)| *project == ctx.project)
            .ok_or_else(missing)?;
        let at = revisions.iter().position(|(id, _)| id.to_string() == revision).unwrap_or(revisions.len() - 1);
        let (id, files) = revisions[at].clone();
        Ok((id, at as u64 + 1, files))
    }
}

fn event(subject: &str, project: ProjectId, workspace: Uuid, kind: Kind) -> Event {
    let id = Uuid::now_v7();
    let payload = Payload {
        id: id.to_string(),
        project_id: project.to_string(),
        user_id: Uuid::from_u128(7).to_string(),
        event: Some(kind),
        ..Payload::default()
    };
    Event {
        id,
        subject: subject.to_owned(),
        entity_id: workspace.to_string(),
        traceparent: String::new(),
        payload: payload.encode_to_vec().into(),
    }
}

fn entry(path: &str, content: &Bytes) -> FileEntry {
    FileEntry { path: path.to_owned(), size: content.len() as u64, hash: hash_of(content), executable: false }
}

/// The hash of a file's content.
pub(crate) fn hash_of(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

type Answer<T> = Result<Response<T>, Status>;

fn unused<T>() -> Answer<T> {
    Err(Status::unimplemented("the embedding service does not call this"))
}

#[tonic::async_trait]
impl FileStoreService for FileStore {
    type ExportArchiveStream = BoxStream<'static, Result<ExportArchiveResponse, Status>>;
    type ReadFileStream = BoxStream<'static, Result<ReadFileResponse, Status>>;

    async fn get_workspace(&self, request: Request<GetWorkspaceRequest>) -> Answer<GetWorkspaceResponse> {
        let (head, number, _) = self.revision(&request, &request.get_ref().workspace_id, "")?;
        let workspace = Workspace { head_revision_id: head.to_string(), head_number: number, ..Workspace::default() };
        Ok(Response::new(GetWorkspaceResponse { workspace: Some(workspace) }))
    }

    /// Few files a page, so that paging is exercised.
    async fn list_files(&self, request: Request<ListFilesRequest>) -> Answer<ListFilesResponse> {
        let message = request.get_ref();
        let (id, _, files) = self.revision(&request, &message.workspace_id, &message.revision_id)?;
        let from: usize = message.page_token.parse().unwrap_or(0);
        let page = files.iter().skip(from).take(PAGE).map(|(path, content)| entry(path, content)).collect();
        let next_page_token = if from + PAGE < files.len() { (from + PAGE).to_string() } else { String::new() };
        Ok(Response::new(ListFilesResponse { files: page, revision_id: id.to_string(), next_page_token }))
    }

    async fn read_file(&self, request: Request<ReadFileRequest>) -> Answer<Self::ReadFileStream> {
        let message = request.get_ref();
        let (_, _, files) = self.revision(&request, &message.workspace_id, &message.revision_id)?;
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        if self.0.lost.lock().unwrap().as_deref() == Some(message.path.as_str()) {
            return Err(Fault::new(Reason::Internal, "the content is lost").into());
        }
        let content =
            files.get(&message.path).cloned().ok_or_else(|| Status::from(Fault::new(Reason::FileNotFound, "no such file")))?;
        let mut parts = vec![read_file_response::Part::File(entry(&message.path, &content))];
        parts.extend(content.chunks(1_000).map(|chunk| read_file_response::Part::Chunk(Bytes::copy_from_slice(chunk))));
        let messages = parts.into_iter().map(|part| Ok(ReadFileResponse { part: Some(part) }));
        Ok(Response::new(futures::stream::iter(messages).boxed()))
    }

    async fn create_workspace(&self, _: Request<CreateWorkspaceRequest>) -> Answer<CreateWorkspaceResponse> {
        unused()
    }

    async fn list_workspaces(&self, _: Request<ListWorkspacesRequest>) -> Answer<ListWorkspacesResponse> {
        unused()
    }

    async fn delete_workspace(&self, _: Request<DeleteWorkspaceRequest>) -> Answer<DeleteWorkspaceResponse> {
        unused()
    }

    async fn import_archive(&self, _: Request<Streaming<ImportArchiveRequest>>) -> Answer<ImportArchiveResponse> {
        unused()
    }

    async fn export_archive(&self, _: Request<ExportArchiveRequest>) -> Answer<Self::ExportArchiveStream> {
        unused()
    }

    async fn search_files(&self, _: Request<SearchFilesRequest>) -> Answer<SearchFilesResponse> {
        unused()
    }

    async fn commit_revision(&self, _: Request<CommitRevisionRequest>) -> Answer<CommitRevisionResponse> {
        unused()
    }

    async fn list_revisions(&self, _: Request<ListRevisionsRequest>) -> Answer<ListRevisionsResponse> {
        unused()
    }

    async fn get_revision(&self, _: Request<GetRevisionRequest>) -> Answer<GetRevisionResponse> {
        unused()
    }

    async fn diff_revisions(&self, _: Request<DiffRevisionsRequest>) -> Answer<DiffRevisionsResponse> {
        unused()
    }

    async fn restore_revision(&self, _: Request<RestoreRevisionRequest>) -> Answer<RestoreRevisionResponse> {
        unused()
    }

    async fn create_download_link(&self, _: Request<CreateDownloadLinkRequest>) -> Answer<CreateDownloadLinkResponse> {
        unused()
    }

    async fn collect_garbage(&self, _: Request<CollectGarbageRequest>) -> Answer<CollectGarbageResponse> {
        unused()
    }
}
