//! `slipway.filestore.v1.FileStoreService`: decode, call the use case, encode. The other services of the package are beside.

mod documents;
mod edits;
mod histories;
mod overlays;
mod secrets;
mod transfer;

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use slipway_proto::filestore as pb;
use slipway_proto::filestore::file_store_service_server::FileStoreService;
use slipway_proto::filestore::import_archive_request::Part as UploadPart;
use slipway_proto::filestore::read_file_response::Part as ReadPart;
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response, Status, Streaming};

use crate::convert;
use crate::error::Error;
use crate::service::FileStore;

pub(crate) use documents::DocumentRpc;
pub(crate) use edits::EditRpc;
pub(crate) use histories::Histories;
pub(crate) use overlays::Overlays;
pub(crate) use secrets::SecretsRpc;
pub(crate) use transfer::TransferRpc;

/// The service behind its tonic trait.
pub(crate) struct Rpc {
    service: Arc<FileStore>,
}

impl Rpc {
    pub(crate) fn new(service: Arc<FileStore>) -> Self {
        Self { service }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl FileStoreService for Rpc {
    async fn create_workspace(&self, request: Request<pb::CreateWorkspaceRequest>) -> Answer<pb::CreateWorkspaceResponse> {
        let ctx = Ctx::of(&request)?;
        let (name, key) = convert::create_workspace(request.into_inner()).map_err(status)?;
        let workspace = self.service.create_workspace(&ctx, name, &key).await.map_err(status)?;
        Ok(Response::new(pb::CreateWorkspaceResponse { workspace: Some(convert::workspace(workspace)) }))
    }

    async fn get_workspace(&self, request: Request<pb::GetWorkspaceRequest>) -> Answer<pb::GetWorkspaceResponse> {
        let ctx = Ctx::of(&request)?;
        let id = convert::workspace_id(&request.get_ref().workspace_id).map_err(status)?;
        let workspace = self.service.get_workspace(&ctx, id).await.map_err(status)?;
        Ok(Response::new(pb::GetWorkspaceResponse { workspace: Some(convert::workspace(workspace)) }))
    }

    async fn list_workspaces(&self, request: Request<pb::ListWorkspacesRequest>) -> Answer<pb::ListWorkspacesResponse> {
        let ctx = Ctx::of(&request)?;
        let page = convert::list_workspaces(request.into_inner()).map_err(status)?;
        let page = self.service.list_workspaces(&ctx, page).await.map_err(status)?;
        let workspaces = page.items.into_iter().map(convert::workspace).collect();
        Ok(Response::new(pb::ListWorkspacesResponse { workspaces, next_page_token: page.next }))
    }

    async fn delete_workspace(&self, request: Request<pb::DeleteWorkspaceRequest>) -> Answer<pb::DeleteWorkspaceResponse> {
        let ctx = Ctx::of(&request)?;
        let id = convert::workspace_id(&request.get_ref().workspace_id).map_err(status)?;
        self.service.delete_workspace(&ctx, id).await.map_err(status)?;
        Ok(Response::new(pb::DeleteWorkspaceResponse {}))
    }

    async fn import_archive(&self, request: Request<Streaming<pb::ImportArchiveRequest>>) -> Answer<pb::ImportArchiveResponse> {
        let ctx = Ctx::of(&request)?;
        let mut parts = request.into_inner();
        let Some(UploadPart::Header(header)) = parts.message().await?.and_then(|message| message.part) else {
            return Err(status(convert::bad_upload("header", "must come first")));
        };
        let import = convert::import(header).map_err(status)?;
        let mut upload = self.service.start_upload(&ctx, import.workspace_id).await.map_err(status)?;
        if let Some(hash) = import.content {
            self.service.fetch_upload(&ctx, &mut upload, hash).await.map_err(status)?;
        }
        while let Some(message) = parts.message().await? {
            match message.part {
                Some(UploadPart::Chunk(_)) if import.content.is_some() => {
                    return Err(status(convert::bad_upload("chunk", "excludes header.content_hash")));
                }
                Some(UploadPart::Chunk(chunk)) if chunk.len() <= convert::MAX_CHUNK => {
                    upload.write(chunk).await.map_err(status)?
                }
                Some(UploadPart::Chunk(_)) => return Err(status(convert::bad_upload("chunk", "is larger than 1 MiB"))),
                Some(UploadPart::Header(_)) => return Err(status(convert::bad_upload("header", "must come once"))),
                None => return Err(status(convert::bad_upload("chunk", "is required"))),
            }
        }
        let revision = self.service.import(&ctx, import, upload).await.map_err(status)?;
        Ok(Response::new(pb::ImportArchiveResponse { revision: Some(convert::revision(revision)) }))
    }

    type ExportArchiveStream = BoxStream<'static, Result<pb::ExportArchiveResponse, Status>>;

    async fn export_archive(&self, request: Request<pb::ExportArchiveRequest>) -> Answer<Self::ExportArchiveStream> {
        let ctx = Ctx::of(&request)?;
        let (workspace, at, format) = convert::export(request.get_ref()).map_err(status)?;
        let chunks = self.service.export(&ctx, workspace, at, format).await.map_err(status)?;
        Ok(Response::new(chunks.map_ok(|chunk| pb::ExportArchiveResponse { chunk }).map_err(status).boxed()))
    }

    async fn list_files(&self, request: Request<pb::ListFilesRequest>) -> Answer<pb::ListFilesResponse> {
        let ctx = Ctx::of(&request)?;
        let (workspace, at, glob, page) = convert::list_files(request.into_inner()).map_err(status)?;
        let files = self.service.list_files(&ctx, workspace, at, &glob, page).await.map_err(status)?;
        Ok(Response::new(convert::files(files)))
    }

    type ReadFileStream = BoxStream<'static, Result<pb::ReadFileResponse, Status>>;

    async fn read_file(&self, request: Request<pb::ReadFileRequest>) -> Answer<Self::ReadFileStream> {
        let ctx = Ctx::of(&request)?;
        let part = (request.get_ref().offset, request.get_ref().length);
        let (workspace, at, path) = convert::read_file(request.into_inner()).map_err(status)?;
        let (entry, content) = self.service.read_file(&ctx, workspace, at, path, part).await.map_err(status)?;
        let first = ReadPart::File(convert::file_entry(entry));
        let chunks = content.map_ok(ReadPart::Chunk).map_err(|e| status(Error::from(e)));
        let parts = stream::once(async { Ok(first) }).chain(chunks);
        Ok(Response::new(parts.map_ok(|part| pb::ReadFileResponse { part: Some(part) }).boxed()))
    }

    async fn search_files(&self, request: Request<pb::SearchFilesRequest>) -> Answer<pb::SearchFilesResponse> {
        let ctx = Ctx::of(&request)?;
        let search = convert::search(request.get_ref()).map_err(status)?;
        let found = self.service.search_files(&ctx, search).await.map_err(status)?;
        Ok(Response::new(convert::searched(found)))
    }

    async fn commit_revision(&self, request: Request<pb::CommitRevisionRequest>) -> Answer<pb::CommitRevisionResponse> {
        let ctx = Ctx::of(&request)?;
        let commit = convert::commit(request.into_inner()).map_err(status)?;
        let revision = self.service.commit(&ctx, commit).await.map_err(status)?;
        Ok(Response::new(pb::CommitRevisionResponse { revision: Some(convert::revision(revision)) }))
    }

    async fn list_revisions(&self, request: Request<pb::ListRevisionsRequest>) -> Answer<pb::ListRevisionsResponse> {
        let ctx = Ctx::of(&request)?;
        let (workspace, page) = convert::list_revisions(request.into_inner()).map_err(status)?;
        let page = self.service.list_revisions(&ctx, workspace, page).await.map_err(status)?;
        let revisions = page.items.into_iter().map(convert::revision).collect();
        Ok(Response::new(pb::ListRevisionsResponse { revisions, next_page_token: page.next }))
    }

    async fn get_revision(&self, request: Request<pb::GetRevisionRequest>) -> Answer<pb::GetRevisionResponse> {
        let ctx = Ctx::of(&request)?;
        let message = request.get_ref();
        let (workspace, id) = convert::revision_ref(&message.workspace_id, &message.revision_id).map_err(status)?;
        let revision = self.service.get_revision(&ctx, workspace, id).await.map_err(status)?;
        Ok(Response::new(pb::GetRevisionResponse { revision: Some(convert::revision(revision)) }))
    }

    async fn diff_revisions(&self, request: Request<pb::DiffRevisionsRequest>) -> Answer<pb::DiffRevisionsResponse> {
        let ctx = Ctx::of(&request)?;
        let diff = convert::diff(request.into_inner()).map_err(status)?;
        let page = self.service.diff_revisions(&ctx, diff).await.map_err(status)?;
        let files = page.items.into_iter().map(convert::file_diff).collect();
        Ok(Response::new(pb::DiffRevisionsResponse { files, next_page_token: page.next }))
    }

    async fn restore_revision(&self, request: Request<pb::RestoreRevisionRequest>) -> Answer<pb::RestoreRevisionResponse> {
        let ctx = Ctx::of(&request)?;
        let restore = convert::restore(request.into_inner()).map_err(status)?;
        let revision = self.service.restore(&ctx, restore).await.map_err(status)?;
        Ok(Response::new(pb::RestoreRevisionResponse { revision: Some(convert::revision(revision)) }))
    }

    async fn create_download_link(
        &self,
        request: Request<pb::CreateDownloadLinkRequest>,
    ) -> Answer<pb::CreateDownloadLinkResponse> {
        let ctx = Ctx::of(&request)?;
        let (workspace, revision, path, ttl) = convert::link(request.into_inner()).map_err(status)?;
        let link = self.service.create_download_link(&ctx, workspace, revision, path, ttl).await.map_err(status)?;
        Ok(Response::new(convert::linked(link)))
    }

    async fn collect_garbage(&self, request: Request<pb::CollectGarbageRequest>) -> Answer<pb::CollectGarbageResponse> {
        let ctx = Ctx::of(&request)?;
        let (report, end_time) = self.service.collect_garbage(&ctx).await.map_err(status)?;
        Ok(Response::new(pb::CollectGarbageResponse { collection: Some(convert::collection(report, end_time)) }))
    }
}

#[cfg(test)]
mod tests;
