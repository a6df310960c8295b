//! `ProviderKeyService`: decode, call the service, encode.

use std::sync::Arc;

use slipway_proto::inference as pb;
use slipway_proto::inference::provider_key_service_server::ProviderKeyService;
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response, Status};

use crate::convert;
use crate::service::Inference;

/// The service behind its generated trait.
pub(crate) struct KeysRpc(pub(crate) Arc<Inference>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ProviderKeyService for KeysRpc {
    async fn create_provider_key(&self, request: Request<pb::CreateProviderKeyRequest>) -> Answer<pb::CreateProviderKeyResponse> {
        let ctx = Ctx::of(&request)?;
        let new = convert::new_key(request.into_inner())?;
        let key = self.0.create_provider_key(&ctx, new).await.map_err(status)?;
        Ok(Response::new(pb::CreateProviderKeyResponse { provider_key: Some(convert::provider_key(key)) }))
    }

    async fn list_provider_keys(&self, request: Request<pb::ListProviderKeysRequest>) -> Answer<pb::ListProviderKeysResponse> {
        let ctx = Ctx::of(&request)?;
        let size = convert::list_keys(request.get_ref())?;
        let listed = self.0.list_provider_keys(&ctx, size, &request.get_ref().page_token).await.map_err(status)?;
        Ok(Response::new(convert::keys(listed)))
    }

    async fn rotate_provider_key(&self, request: Request<pb::RotateProviderKeyRequest>) -> Answer<pb::RotateProviderKeyResponse> {
        let ctx = Ctx::of(&request)?;
        let (id, key) = convert::rotation(request.into_inner())?;
        let key = self.0.rotate_provider_key(&ctx, id, &key).await.map_err(status)?;
        Ok(Response::new(pb::RotateProviderKeyResponse { provider_key: Some(convert::provider_key(key)) }))
    }

    async fn rewrap_provider_keys(
        &self,
        request: Request<pb::RewrapProviderKeysRequest>,
    ) -> Answer<pb::RewrapProviderKeysResponse> {
        let ctx = Ctx::of(&request)?;
        let done = self.0.rewrap_provider_keys(&ctx).await.map_err(status)?;
        Ok(Response::new(pb::RewrapProviderKeysResponse {
            rewrapped: done.of_project,
            encryption_key_id: done.current,
            old_encryption_key_ids: done.old,
        }))
    }

    async fn delete_provider_key(&self, request: Request<pb::DeleteProviderKeyRequest>) -> Answer<pb::DeleteProviderKeyResponse> {
        let ctx = Ctx::of(&request)?;
        let id = convert::key_id(&request.get_ref().provider_key_id)?;
        self.0.delete_provider_key(&ctx, id).await.map_err(status)?;
        Ok(Response::new(pb::DeleteProviderKeyResponse {}))
    }
}
