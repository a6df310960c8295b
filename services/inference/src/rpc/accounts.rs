//! `UsageService` and `BudgetService`: decode, call the service, encode.

use std::sync::Arc;

use slipway_proto::inference as pb;
use slipway_proto::inference::budget_service_server::BudgetService;
use slipway_proto::inference::usage_service_server::UsageService;
use slipway_rpc::{Ctx, status};
use tonic::{Request, Response, Status};

use crate::convert;
use crate::service::Inference;

/// The services behind their generated traits.
#[derive(Clone)]
pub(crate) struct Accounts(pub(crate) Arc<Inference>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl UsageService for Accounts {
    async fn get_usage(&self, request: Request<pb::GetUsageRequest>) -> Answer<pb::GetUsageResponse> {
        let ctx = Ctx::of(&request)?;
        let query = convert::usage_query(request.into_inner())?;
        let sums = self.0.get_usage(&ctx, query).await.map_err(status)?;
        Ok(Response::new(convert::usage_sums(sums)))
    }

    async fn list_calls(&self, request: Request<pb::ListCallsRequest>) -> Answer<pb::ListCallsResponse> {
        let ctx = Ctx::of(&request)?;
        let query = convert::call_query(request.into_inner())?;
        let page = self.0.list_calls(&ctx, query).await.map_err(status)?;
        Ok(Response::new(convert::calls(page)))
    }

    async fn estimate_cost(&self, request: Request<pb::EstimateCostRequest>) -> Answer<pb::EstimateCostResponse> {
        Ctx::of(&request)?;
        let asked = convert::prompt(request.into_inner().prompt)?;
        let estimated = self.0.estimate_cost(asked).await.map_err(status)?;
        Ok(Response::new(convert::estimated(estimated)))
    }
}

#[tonic::async_trait]
impl BudgetService for Accounts {
    async fn create_budget(&self, request: Request<pb::CreateBudgetRequest>) -> Answer<pb::CreateBudgetResponse> {
        let ctx = Ctx::of(&request)?;
        let new = convert::new_budget(request.into_inner())?;
        let budget = self.0.create_budget(&ctx, new).await.map_err(status)?;
        Ok(Response::new(pb::CreateBudgetResponse { budget: Some(convert::budget(budget)) }))
    }

    async fn get_budget(&self, request: Request<pb::GetBudgetRequest>) -> Answer<pb::GetBudgetResponse> {
        let ctx = Ctx::of(&request)?;
        let id = convert::budget_id(&request.get_ref().budget_id)?;
        let budget = self.0.get_budget(&ctx, id).await.map_err(status)?;
        Ok(Response::new(pb::GetBudgetResponse { budget: Some(convert::budget(budget)) }))
    }

    async fn update_budget(&self, request: Request<pb::UpdateBudgetRequest>) -> Answer<pb::UpdateBudgetResponse> {
        let ctx = Ctx::of(&request)?;
        let change = convert::budget_change(request.into_inner())?;
        let budget = self.0.update_budget(&ctx, change).await.map_err(status)?;
        Ok(Response::new(pb::UpdateBudgetResponse { budget: Some(convert::budget(budget)) }))
    }

    async fn delete_budget(&self, request: Request<pb::DeleteBudgetRequest>) -> Answer<pb::DeleteBudgetResponse> {
        let ctx = Ctx::of(&request)?;
        let id = convert::budget_id(&request.get_ref().budget_id)?;
        self.0.delete_budget(&ctx, id).await.map_err(status)?;
        Ok(Response::new(pb::DeleteBudgetResponse {}))
    }

    async fn list_budgets(&self, request: Request<pb::ListBudgetsRequest>) -> Answer<pb::ListBudgetsResponse> {
        let ctx = Ctx::of(&request)?;
        let (size, token) = convert::list_budgets(request.into_inner())?;
        let page = self.0.list_budgets(&ctx, size, &token).await.map_err(status)?;
        Ok(Response::new(convert::budgets(page)))
    }

    async fn get_budget_status(&self, request: Request<pb::GetBudgetStatusRequest>) -> Answer<pb::GetBudgetStatusResponse> {
        let ctx = Ctx::of(&request)?;
        let (id, subject) = convert::status_query(request.into_inner())?;
        let (budget, standing) = self.0.get_budget_status(&ctx, id, subject).await.map_err(status)?;
        Ok(Response::new(pb::GetBudgetStatusResponse { status: Some(convert::budget_status(budget, standing)) }))
    }
}
