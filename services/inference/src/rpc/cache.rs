//! The gRPC face of kept answers.

use std::sync::Arc;

use slipway_proto::inference as pb;
use slipway_proto::inference::cache_service_server::CacheService;
use slipway_rpc::Ctx;
use tonic::{Request, Response, Status};

use crate::convert;
use crate::service::Inference;

/// The service behind its generated trait.
pub(crate) struct CacheRpc(pub(crate) Arc<Inference>);

#[tonic::async_trait]
impl CacheService for CacheRpc {
    async fn get_cache_stats(
        &self,
        request: Request<pb::GetCacheStatsRequest>,
    ) -> Result<Response<pb::GetCacheStatsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        Ok(Response::new(convert::stats(self.0.cache_stats(&ctx))))
    }

    async fn clear_cache(&self, request: Request<pb::ClearCacheRequest>) -> Result<Response<pb::ClearCacheResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        Ok(Response::new(convert::cleared(self.0.clear_cache(&ctx).await)))
    }
}
