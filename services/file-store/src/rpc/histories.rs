//! `slipway.filestore.v1.HistoryService`: decode, call the use case, encode.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use slipway_proto::filestore as pb;
use slipway_proto::filestore::history_service_server::HistoryService;
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response, Status};

use super::Answer;
use crate::convert;
use crate::service::FileStore;

/// The service behind its tonic trait.
pub(crate) struct Histories {
    service: Arc<FileStore>,
}

impl Histories {
    pub(crate) fn new(service: Arc<FileStore>) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl HistoryService for Histories {
    async fn list_file_history(&self, request: Request<pb::ListFileHistoryRequest>) -> Answer<pb::ListFileHistoryResponse> {
        let ctx = Ctx::of(&request)?;
        let asked = convert::file_history(request.into_inner()).map_err(status)?;
        let page = self.service.file_history(&ctx, asked).await.map_err(status)?;
        Ok(Response::new(convert::history(page)))
    }

    type BlameFileStream = BoxStream<'static, Result<pb::BlameFileResponse, Status>>;

    async fn blame_file(&self, request: Request<pb::BlameFileRequest>) -> Answer<Self::BlameFileStream> {
        let ctx = Ctx::of(&request)?;
        let (workspace, revision, path) = convert::blame(request.into_inner()).map_err(status)?;
        let found = self.service.clone().blame_file(ctx, workspace, revision, path).await.map_err(status)?;
        Ok(Response::new(found.map_ok(convert::blamed).map_err(status).boxed()))
    }

    type WatchChangesStream = BoxStream<'static, Result<pb::WatchChangesResponse, Status>>;

    async fn watch_changes(&self, request: Request<pb::WatchChangesRequest>) -> Answer<Self::WatchChangesStream> {
        let ctx = Ctx::of(&request)?;
        let (workspace, after) = convert::watch(request.get_ref()).map_err(status)?;
        let changes = self.service.clone().watch_changes(ctx, workspace, after).await.map_err(status)?;
        Ok(Response::new(changes.map_ok(convert::change).map_err(status).boxed()))
    }
}
