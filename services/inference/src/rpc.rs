//! The gRPC face: decode, call the service, encode.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::ready;
use futures::stream::BoxStream;
use slipway_proto::inference as pb;
use slipway_proto::inference::inference_service_server::InferenceService;
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response, Status};

use crate::convert;
use crate::model::Charge;
use crate::service::{Answered, Inference, Step};

mod accounts;

pub(crate) use accounts::Accounts;

mod cache;
mod keys;

pub(crate) use cache::CacheRpc;
pub(crate) use keys::KeysRpc;

/// The service behind its generated trait.
pub(crate) struct Rpc(pub(crate) Arc<Inference>);

#[tonic::async_trait]
impl InferenceService for Rpc {
    async fn complete(&self, request: Request<pb::CompleteRequest>) -> Result<Response<pb::CompleteResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = convert::prompt(request.into_inner().prompt)?;
        let (whole, journal) = self.0.complete(&ctx, asked).await.map_err(status)?;
        Ok(Response::new(pb::CompleteResponse { completion: Some(convert::completion(whole, &journal)) }))
    }

    type StreamCompleteStream = BoxStream<'static, Result<pb::StreamCompleteResponse, Status>>;

    async fn stream_complete(
        &self,
        request: Request<pb::StreamCompleteRequest>,
    ) -> Result<Response<Self::StreamCompleteStream>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = convert::prompt(request.into_inner().prompt)?;
        let quick = if asked.quick { self.0.quick(&ctx, &asked) } else { None };
        let Answered { answer, journal } = self.0.stream_complete(&ctx, asked).await.map_err(status)?;
        let mut charge = Charge::default();
        let mut event = move |delta| convert::delta(&journal, &mut charge, delta);
        if let Some(quick) = quick {
            let mut event = move |step| match step {
                Step::Delta(delta) => event(delta),
                Step::Quick(quick) => Some(convert::quick(quick)),
            };
            let steps = self.0.with_quick(answer, quick);
            let events = steps.filter_map(move |step| ready(step.map(&mut event).map_err(status).transpose()));
            return Ok(Response::new(events.boxed()));
        }
        // Mapped in place: the reader polls the provider's connection itself.
        let events = answer.filter_map(move |delta| ready(delta.map(&mut event).map_err(status).transpose()));
        Ok(Response::new(events.boxed()))
    }

    type BatchCompleteStream = BoxStream<'static, Result<pb::BatchCompleteResponse, Status>>;

    async fn batch_complete(
        &self,
        request: Request<pb::BatchCompleteRequest>,
    ) -> Result<Response<Self::BatchCompleteStream>, Status> {
        let ctx = Ctx::of(&request)?;
        let prompts = convert::batch(request.into_inner())?;
        Ok(Response::new(self.0.batch(&ctx, prompts).map(|item| Ok(convert::item(item))).boxed()))
    }

    async fn list_models(&self, request: Request<pb::ListModelsRequest>) -> Result<Response<pb::ListModelsResponse>, Status> {
        Ctx::of(&request)?;
        let wanted = convert::list_models(request.into_inner())?;
        let listed = self.0.list_models(wanted).await.map_err(status)?;
        Ok(Response::new(convert::models(listed)))
    }

    async fn list_providers(
        &self,
        request: Request<pb::ListProvidersRequest>,
    ) -> Result<Response<pb::ListProvidersResponse>, Status> {
        Ctx::of(&request)?;
        let (size, token) = convert::list_providers(request.into_inner())?;
        let listed = self.0.list_providers(size, &token).await.map_err(status)?;
        Ok(Response::new(convert::providers(listed)))
    }

    async fn count_tokens(&self, request: Request<pb::CountTokensRequest>) -> Result<Response<pb::CountTokensResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let asked = convert::prompt(request.into_inner().prompt)?;
        let (model, counted) = self.0.count_tokens(&ctx, asked).await.map_err(status)?;
        Ok(Response::new(convert::counted(model, counted)))
    }

    async fn test_connection(
        &self,
        request: Request<pb::TestConnectionRequest>,
    ) -> Result<Response<pb::TestConnectionResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let model = convert::test_connection(request.get_ref())?;
        let tested = self.0.test_connection(&ctx, &model).await.map_err(status)?;
        Ok(Response::new(convert::tested(tested)))
    }
}
