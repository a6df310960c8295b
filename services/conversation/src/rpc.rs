//! The gRPC methods: decode, call the service, encode.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use slipway_proto::conversation as pb;
use slipway_proto::conversation::conversation_service_server::ConversationService;
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response, Status};

use crate::convert;
use crate::service::Conversations;

/// The service as tonic sees it.
pub(crate) struct Rpc {
    service: Conversations,
}

impl Rpc {
    pub(crate) fn new(service: Conversations) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl ConversationService for Rpc {
    type SendMessageStream = BoxStream<'static, Result<pb::SendMessageResponse, Status>>;
    type WatchRunStream = BoxStream<'static, Result<pb::WatchRunResponse, Status>>;

    async fn create_conversation(
        &self,
        request: Request<pb::CreateConversationRequest>,
    ) -> Result<Response<pb::CreateConversationResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let new = convert::new_conversation(request.into_inner()).map_err(status)?;
        let made = self.service.create_conversation(&ctx, new).await.map_err(status)?;
        Ok(Response::new(pb::CreateConversationResponse { conversation: Some(convert::conversation(made)) }))
    }

    async fn get_conversation(
        &self,
        request: Request<pb::GetConversationRequest>,
    ) -> Result<Response<pb::GetConversationResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = convert::id("conversation_id", &request.get_ref().conversation_id).map_err(status)?;
        let found = self.service.get_conversation(ctx.project, id).await.map_err(status)?;
        Ok(Response::new(pb::GetConversationResponse { conversation: Some(convert::conversation(found)) }))
    }

    async fn list_conversations(
        &self,
        request: Request<pb::ListConversationsRequest>,
    ) -> Result<Response<pb::ListConversationsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let size = convert::conversations_page(&request).map_err(status)?;
        let listed = self.service.list_conversations(ctx.project, size, &request.page_token).await;
        let (found, next_page_token) = listed.map_err(status)?;
        let conversations = found.into_iter().map(convert::conversation).collect();
        Ok(Response::new(pb::ListConversationsResponse { conversations, next_page_token }))
    }

    async fn update_conversation(
        &self,
        request: Request<pb::UpdateConversationRequest>,
    ) -> Result<Response<pb::UpdateConversationResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let update = convert::update_conversation(request.into_inner()).map_err(status)?;
        let updated = self.service.update_conversation(ctx.project, update).await.map_err(status)?;
        Ok(Response::new(pb::UpdateConversationResponse { conversation: Some(convert::conversation(updated)) }))
    }

    async fn delete_conversation(
        &self,
        request: Request<pb::DeleteConversationRequest>,
    ) -> Result<Response<pb::DeleteConversationResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = convert::id("conversation_id", &request.get_ref().conversation_id).map_err(status)?;
        self.service.delete_conversation(ctx.project, id).await.map_err(status)?;
        Ok(Response::new(pb::DeleteConversationResponse {}))
    }

    async fn list_messages(
        &self,
        request: Request<pb::ListMessagesRequest>,
    ) -> Result<Response<pb::ListMessagesResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let (id, size) = convert::messages_page(&request).map_err(status)?;
        let listed = self.service.list_messages(ctx.project, id, size, &request.page_token).await;
        let (found, next_page_token) = listed.map_err(status)?;
        let messages = found.into_iter().map(convert::message).collect();
        Ok(Response::new(pb::ListMessagesResponse { messages, next_page_token }))
    }

    async fn send_message(&self, request: Request<pb::SendMessageRequest>) -> Result<Response<Self::SendMessageStream>, Status> {
        let ctx = Ctx::of(&request)?;
        let new = convert::new_message(request.into_inner()).map_err(status)?;
        let events = self.service.send_message(&ctx, new).await.map_err(status)?;
        let responses = events.map(|event| event.map(|event| pb::SendMessageResponse { event: Some(event) }).map_err(status));
        Ok(Response::new(responses.boxed()))
    }

    async fn watch_run(&self, request: Request<pb::WatchRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = convert::id("run_id", &request.get_ref().run_id).map_err(status)?;
        let events = self.service.watch_run(ctx.project, id, request.get_ref().after_sequence).await.map_err(status)?;
        let responses = events.map(|event| event.map(|event| pb::WatchRunResponse { event: Some(event) }).map_err(status));
        Ok(Response::new(responses.boxed()))
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Result<Response<pb::GetRunResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = convert::id("run_id", &request.get_ref().run_id).map_err(status)?;
        let run = self.service.get_run(ctx.project, id).await.map_err(status)?;
        Ok(Response::new(pb::GetRunResponse { run: Some(convert::run(run)) }))
    }

    async fn cancel_run(&self, request: Request<pb::CancelRunRequest>) -> Result<Response<pb::CancelRunResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = convert::id("run_id", &request.get_ref().run_id).map_err(status)?;
        let run = self.service.cancel_run(ctx.project, id).await.map_err(status)?;
        Ok(Response::new(pb::CancelRunResponse { run: Some(convert::run(run)) }))
    }
}
