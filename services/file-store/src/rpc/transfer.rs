//! `slipway.filestore.v1.TransferService`: decode, call the use case, encode.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use slipway_proto::filestore as pb;
use slipway_proto::filestore::transfer_service_server::TransferService;
use slipway_proto::filestore::upload_part_request::Part;
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response, Status, Streaming};

use super::Answer;
use crate::convert::{self, bad_upload, upload};
use crate::service::FileStore;

/// The service behind its tonic trait.
pub(crate) struct TransferRpc {
    service: Arc<FileStore>,
}

impl TransferRpc {
    pub(crate) fn new(service: Arc<FileStore>) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl TransferService for TransferRpc {
    async fn begin_upload(&self, request: Request<pb::BeginUploadRequest>) -> Answer<pb::BeginUploadResponse> {
        let ctx = Ctx::of(&request)?;
        let begin = convert::begin_upload(request.into_inner()).map_err(status)?;
        let begun = self.service.begin_upload(&ctx, begin).await.map_err(status)?;
        Ok(Response::new(pb::BeginUploadResponse { upload: Some(upload(begun)) }))
    }

    async fn upload_part(&self, request: Request<Streaming<pb::UploadPartRequest>>) -> Answer<pb::UploadPartResponse> {
        let ctx = Ctx::of(&request)?;
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = parts.message().await?.and_then(|message| message.part) else {
            return Err(status(bad_upload("header", "must come first")));
        };
        let (id, offset) = convert::upload_part(&header).map_err(status)?;
        let mut part = self.service.start_part(&ctx, id, offset).await.map_err(status)?;
        while let Some(message) = parts.message().await? {
            match message.part {
                Some(Part::Chunk(chunk)) if chunk.len() <= convert::MAX_CHUNK => {
                    self.service.write_part(&ctx, &mut part, chunk).await.map_err(status)?
                }
                Some(Part::Chunk(_)) => return Err(status(bad_upload("chunk", "is larger than 1 MiB"))),
                Some(Part::Header(_)) => return Err(status(bad_upload("header", "must come once"))),
                None => return Err(status(bad_upload("chunk", "is required"))),
            }
        }
        let ended = self.service.end_part(&ctx, part).await.map_err(status)?;
        Ok(Response::new(pb::UploadPartResponse { upload: Some(upload(ended)) }))
    }

    async fn get_upload(&self, request: Request<pb::GetUploadRequest>) -> Answer<pb::GetUploadResponse> {
        let ctx = Ctx::of(&request)?;
        let id = convert::upload_id(&request.get_ref().upload_id).map_err(status)?;
        let found = self.service.get_upload(&ctx, id).await.map_err(status)?;
        Ok(Response::new(pb::GetUploadResponse { upload: Some(upload(found)) }))
    }

    async fn finish_upload(&self, request: Request<pb::FinishUploadRequest>) -> Answer<pb::FinishUploadResponse> {
        let ctx = Ctx::of(&request)?;
        let id = convert::upload_id(&request.get_ref().upload_id).map_err(status)?;
        let finished = self.service.finish_upload(&ctx, id).await.map_err(status)?;
        Ok(Response::new(pb::FinishUploadResponse { upload: Some(upload(finished)) }))
    }

    async fn create_upload_link(&self, request: Request<pb::CreateUploadLinkRequest>) -> Answer<pb::CreateUploadLinkResponse> {
        let ctx = Ctx::of(&request)?;
        let (id, content_type, ttl) = convert::upload_link(request.get_ref()).map_err(status)?;
        let link = self.service.create_upload_link(&ctx, id, content_type, ttl).await.map_err(status)?;
        Ok(Response::new(convert::upload_linked(link)))
    }

    async fn import_git(&self, request: Request<pb::ImportGitRequest>) -> Answer<pb::ImportGitResponse> {
        let ctx = Ctx::of(&request)?;
        let import = convert::import_git(request.into_inner()).map_err(status)?;
        let imported = self.service.import_git(&ctx, import).await.map_err(status)?;
        Ok(Response::new(convert::git_imported(imported)))
    }

    async fn import_chart(&self, request: Request<pb::ImportChartRequest>) -> Answer<pb::ImportChartResponse> {
        let ctx = Ctx::of(&request)?;
        let import = convert::import_chart(request.into_inner()).map_err(status)?;
        let imported = self.service.import_chart(&ctx, import).await.map_err(status)?;
        Ok(Response::new(convert::chart_imported(imported)))
    }

    type ExportGitStream = BoxStream<'static, Result<pb::ExportGitResponse, Status>>;

    async fn export_git(&self, request: Request<pb::ExportGitRequest>) -> Answer<Self::ExportGitStream> {
        let ctx = Ctx::of(&request)?;
        let (workspace, revision, branch) = convert::export_git(request.get_ref()).map_err(status)?;
        let chunks = self.service.export_git(&ctx, workspace, revision, branch).await.map_err(status)?;
        Ok(Response::new(chunks.map_ok(|chunk| pb::ExportGitResponse { chunk }).map_err(status).boxed()))
    }

    async fn delete_upload(&self, request: Request<pb::DeleteUploadRequest>) -> Answer<pb::DeleteUploadResponse> {
        let ctx = Ctx::of(&request)?;
        let id = convert::upload_id(&request.get_ref().upload_id).map_err(status)?;
        self.service.delete_upload(&ctx, id).await.map_err(status)?;
        Ok(Response::new(pb::DeleteUploadResponse {}))
    }
}
