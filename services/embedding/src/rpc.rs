//! The tonic trait: decode, call the service, encode.

mod audit;

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use slipway_proto::embedding::embedding_service_server::EmbeddingService;
use slipway_proto::embedding::{
    EmbedTextsRequest, EmbedTextsResponse, GetIndexRequest, GetIndexResponse, ReindexRequest, ReindexResponse, SearchRequest,
    SearchResponse, SelectFilesRequest, SelectFilesResponse,
};
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response, Status};

use crate::convert;
use crate::service::{Service, Step};

/// The service behind its RPCs.
pub(crate) struct Rpc(pub(crate) Arc<Service>);

#[tonic::async_trait]
impl EmbeddingService for Rpc {
    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let search = convert::search(request.get_ref()).map_err(status)?;
        let answer = self.0.search(&ctx, &search).await.map_err(status)?;
        Ok(Response::new(convert::search_response(answer)))
    }

    async fn select_files(&self, request: Request<SelectFilesRequest>) -> Result<Response<SelectFilesResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let (workspace, text, limit) = convert::select_files(request.get_ref()).map_err(status)?;
        let selection = self.0.select_files(&ctx, workspace, &text, limit).await.map_err(status)?;
        Ok(Response::new(convert::select_files_response(selection)))
    }

    async fn get_index(&self, request: Request<GetIndexRequest>) -> Result<Response<GetIndexResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let workspace = convert::workspace(&request.get_ref().workspace_id).map_err(status)?;
        let index = self.0.get_index(&ctx, workspace).await.map_err(status)?;
        let state = self.0.described(&index);
        Ok(Response::new(GetIndexResponse { index: Some(convert::index(&index, &state)) }))
    }

    type ReindexStream = BoxStream<'static, Result<ReindexResponse, Status>>;

    async fn reindex(&self, request: Request<ReindexRequest>) -> Result<Response<Self::ReindexStream>, Status> {
        let ctx = Ctx::of(&request)?;
        let workspace = convert::workspace(&request.get_ref().workspace_id).map_err(status)?;
        let steps = self.0.reindex(&ctx, workspace).await.map_err(status)?;
        let service = self.0.clone();
        let responses = steps.scan(0, move |sequence, step| {
            let response = step.map_err(status).map(|step| {
                let heartbeat = matches!(step, Step::Heartbeat);
                *sequence += u64::from(!heartbeat);
                convert::reindex_response(&step, if heartbeat { 0 } else { *sequence }, |index| service.described(index))
            });
            std::future::ready(Some(response))
        });
        Ok(Response::new(responses.boxed()))
    }

    async fn embed_texts(&self, request: Request<EmbedTextsRequest>) -> Result<Response<EmbedTextsResponse>, Status> {
        Ctx::of(&request)?;
        let texts = convert::texts(request.into_inner()).map_err(status)?;
        let vectors = self.0.embed_texts(texts).await.map_err(status)?;
        Ok(Response::new(convert::embed_texts_response(vectors, self.0.space())))
    }
}
