//! `slipway.filestore.v1.EditService`: decode, call the use case, encode.

use std::sync::Arc;

use slipway_proto::filestore as pb;
use slipway_proto::filestore::edit_service_server::EditService;
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response};

use super::Answer;
use crate::convert;
use crate::service::FileStore;

/// The service behind its tonic trait.
pub(crate) struct EditRpc {
    service: Arc<FileStore>,
}

impl EditRpc {
    pub(crate) fn new(service: Arc<FileStore>) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl EditService for EditRpc {
    async fn edit_overlay(&self, request: Request<pb::EditOverlayRequest>) -> Answer<pb::EditOverlayResponse> {
        let ctx = Ctx::of(&request)?;
        let change = convert::edit_overlay(request.into_inner()).map_err(status)?;
        let (overlay, done) = self.service.edit_overlay(&ctx, change).await.map_err(status)?;
        Ok(Response::new(convert::edited(overlay, done)))
    }

    async fn view_file(&self, request: Request<pb::ViewFileRequest>) -> Answer<pb::ViewFileResponse> {
        let ctx = Ctx::of(&request)?;
        let (workspace, at, path, lines) = convert::view_file(request.into_inner()).map_err(status)?;
        let (file, view) = self.service.view_file(&ctx, workspace, at, path, lines).await.map_err(status)?;
        Ok(Response::new(convert::viewed(file, view)))
    }
}
