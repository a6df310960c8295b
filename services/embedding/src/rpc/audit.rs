//! The tonic trait of audits.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use slipway_proto::embedding::audit_service_server::AuditService;
use slipway_proto::embedding::{AuditIndexRequest, AuditIndexResponse};
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response, Status};

use super::Rpc;
use crate::convert;

#[tonic::async_trait]
impl AuditService for Rpc {
    type AuditIndexStream = BoxStream<'static, Result<AuditIndexResponse, Status>>;

    async fn audit_index(&self, request: Request<AuditIndexRequest>) -> Result<Response<Self::AuditIndexStream>, Status> {
        let ctx = Ctx::of(&request)?;
        let (workspace, repair) = convert::audit_index(request.get_ref()).map_err(status)?;
        let steps = self.0.audit(&ctx, workspace, repair).await.map_err(status)?;
        let responses = steps.scan(0, |sequence, step| {
            *sequence += 1;
            std::future::ready(Some(step.map_err(status).map(|step| convert::audit_index_response(step, *sequence))))
        });
        Ok(Response::new(responses.boxed()))
    }
}
