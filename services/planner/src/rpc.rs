//! `slipway.planner.v1.PlannerService` over gRPC: decode, call the use case, encode.

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use slipway_proto::planner as proto;
use slipway_proto::planner::plan_event::Event;
use slipway_proto::planner::planner_service_server::PlannerService;
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response, Status};

use crate::service::Planner;
use crate::stream::Follow;
use crate::{convert, events};

/// The planner behind its API.
pub(crate) struct Rpc(pub(crate) Planner);

type Answers<T> = BoxStream<'static, Result<T, Status>>;

impl Rpc {
    fn answers<T>(&self, follow: Follow, answer: fn(proto::PlanEvent) -> T) -> Answers<T>
    where
        T: Send + 'static,
    {
        self.0.follow(follow).map(move |event| event.map(answer).map_err(status)).boxed()
    }
}

#[tonic::async_trait]
impl PlannerService for Rpc {
    type CreatePlanStream = Answers<proto::CreatePlanResponse>;
    type RevisePlanStream = Answers<proto::RevisePlanResponse>;
    type ApprovePlanStream = Answers<proto::ApprovePlanResponse>;
    type WatchPlanStream = Answers<proto::WatchPlanResponse>;

    async fn classify_intent(
        &self,
        request: Request<proto::ClassifyIntentRequest>,
    ) -> Result<Response<proto::ClassifyIntentResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let question = convert::question(request.into_inner()).map_err(status)?;
        let intent = self.0.classify_intent(&ctx, question).await.map_err(status)?;
        Ok(Response::new(proto::ClassifyIntentResponse { intent: Some(convert::intent(&intent)) }))
    }

    async fn create_plan(&self, request: Request<proto::CreatePlanRequest>) -> Result<Response<Self::CreatePlanStream>, Status> {
        let ctx = Ctx::of(&request)?;
        let new = convert::new_plan(request.into_inner()).map_err(status)?;
        let follow = self.0.create_plan(&ctx, new).await.map_err(status)?;
        Ok(Response::new(self.answers(follow, |event| proto::CreatePlanResponse { event: Some(event) })))
    }

    async fn get_plan(&self, request: Request<proto::GetPlanRequest>) -> Result<Response<proto::GetPlanResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = convert::plan_id(&request.into_inner().plan_id).map_err(status)?;
        let plan = self.0.get_plan(&ctx, id).await.map_err(status)?;
        Ok(Response::new(proto::GetPlanResponse { plan: Some(convert::plan(&plan)) }))
    }

    async fn list_plans(&self, request: Request<proto::ListPlansRequest>) -> Result<Response<proto::ListPlansResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let list = convert::plan_list(request.into_inner()).map_err(status)?;
        let (plans, next_page_token) = self.0.list_plans(&ctx, list).await.map_err(status)?;
        Ok(Response::new(proto::ListPlansResponse { plans: plans.iter().map(convert::plan).collect(), next_page_token }))
    }

    async fn revise_plan(&self, request: Request<proto::RevisePlanRequest>) -> Result<Response<Self::RevisePlanStream>, Status> {
        let ctx = Ctx::of(&request)?;
        let revision = convert::revision(request.into_inner()).map_err(status)?;
        let follow = self.0.revise_plan(&ctx, revision).await.map_err(status)?;
        Ok(Response::new(self.answers(follow, |event| proto::RevisePlanResponse { event: Some(event) })))
    }

    async fn approve_plan(
        &self,
        request: Request<proto::ApprovePlanRequest>,
    ) -> Result<Response<Self::ApprovePlanStream>, Status> {
        let ctx = Ctx::of(&request)?;
        let approval = convert::approval(request.into_inner()).map_err(status)?;
        let follow = self.0.approve_plan(&ctx, approval).await.map_err(status)?;
        Ok(Response::new(self.answers(follow, |event| proto::ApprovePlanResponse { event: Some(event) })))
    }

    async fn reject_plan(
        &self,
        request: Request<proto::RejectPlanRequest>,
    ) -> Result<Response<proto::RejectPlanResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let (id, version) = convert::rejection(request.get_ref()).map_err(status)?;
        let plan = self.0.reject_plan(&ctx, id, version).await.map_err(status)?;
        Ok(Response::new(proto::RejectPlanResponse { plan: Some(convert::plan(&plan)) }))
    }

    async fn watch_plan(&self, request: Request<proto::WatchPlanRequest>) -> Result<Response<Self::WatchPlanStream>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let id = convert::plan_id(&request.plan_id).map_err(status)?;
        let (plan, follow) = self.0.watch_plan(&ctx, id, request.after_sequence).await.map_err(status)?;
        let answer = |event| proto::WatchPlanResponse { event: Some(event) };
        let snapshot = events::passing(id, Event::Snapshot(convert::plan(&plan)));
        let first = stream::once(async move { Ok(answer(snapshot)) });
        Ok(Response::new(first.chain(self.answers(follow, answer)).boxed()))
    }
}
