//! `slipway.filestore.v1.SecretService`: decode, call the use case, encode.

use std::sync::Arc;

use slipway_proto::filestore as pb;
use slipway_proto::filestore::secret_service_server::SecretService;
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response, Status};

use crate::convert;
use crate::service::FileStore;

/// The service behind its tonic trait.
pub(crate) struct SecretsRpc {
    service: Arc<FileStore>,
}

impl SecretsRpc {
    pub(crate) fn new(service: Arc<FileStore>) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl SecretService for SecretsRpc {
    async fn list_secret_findings(
        &self,
        request: Request<pb::ListSecretFindingsRequest>,
    ) -> Result<Response<pb::ListSecretFindingsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let (workspace, revision, page) = convert::list_secrets(request.into_inner()).map_err(status)?;
        let secrets = self.service.list_secrets(&ctx, workspace, revision, page).await.map_err(status)?;
        Ok(Response::new(convert::secrets(secrets)))
    }
}
