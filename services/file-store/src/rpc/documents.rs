//! `slipway.filestore.v1.DocumentService`: decode, call the use case, encode.

use std::sync::Arc;

use slipway_proto::filestore as pb;
use slipway_proto::filestore::document_service_server::DocumentService;
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response};

use super::Answer;
use crate::convert;
use crate::service::FileStore;

/// The service behind its tonic trait.
pub(crate) struct DocumentRpc {
    service: Arc<FileStore>,
}

impl DocumentRpc {
    pub(crate) fn new(service: Arc<FileStore>) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl DocumentService for DocumentRpc {
    async fn get_document_text(&self, request: Request<pb::GetDocumentTextRequest>) -> Answer<pb::GetDocumentTextResponse> {
        let ctx = Ctx::of(&request)?;
        let (workspace, at, path) = convert::document(request.into_inner()).map_err(status)?;
        let (file, text) = self.service.document_text(&ctx, workspace, at, path).await.map_err(status)?;
        Ok(Response::new(convert::document_text(file, text)))
    }
}
