//! Typed clients of the neighbours: planner, embedding, inference, file-store. They speak the model's types; plans and
//! their events stay as the planner sent them, since a run hands them on unchanged.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use slipway_proto::embedding::embedding_service_client::EmbeddingServiceClient;
use slipway_proto::embedding::{SearchMode, SearchRequest};
use slipway_proto::filestore::file_store_service_client::FileStoreServiceClient;
use slipway_proto::filestore::{GetRevisionRequest, GetWorkspaceRequest};
use slipway_proto::inference::inference_service_client::InferenceServiceClient;
use slipway_proto::inference::{FinishReason, Prompt, StreamCompleteRequest, stream_complete_response::Event as Piece};
use slipway_proto::planner::planner_service_client::PlannerServiceClient;
use slipway_proto::planner::{
    ApprovePlanRequest, ClassifyIntentRequest, CreatePlanRequest, GetPlanRequest, Plan, PlanEvent, WatchPlanRequest,
};
use slipway_rpc::{Channel, Ctx, Fault, Reason};
use uuid::Uuid;

use crate::convert;
use crate::model::{Citation, Intent, PlanRef, Usage};
use crate::prompt::{Source, Turn};

/// How long a quick answer of a neighbour may take.
const QUICK: Duration = Duration::from_secs(10);
/// How long a neighbour may take that may have to ask a model.
const PATIENT: Duration = Duration::from_secs(60);
/// The longest query that a search takes, in characters.
const MAX_QUERY: usize = 4_000;

/// Events of a plan as they come.
pub(crate) type PlanEvents = BoxStream<'static, Result<PlanEvent, Fault>>;

/// What a model writes, as it writes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Written {
    Text(String),
    Reasoning(String),
    Ended { refused: bool, usage: Option<Usage> },
}

/// What a search found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) citations: Vec<Citation>,
    pub(crate) sources: Vec<Source>,
}

/// The neighbours.
#[derive(Clone)]
pub(crate) struct Clients {
    planner: PlannerServiceClient<Channel>,
    embedding: EmbeddingServiceClient<Channel>,
    inference: InferenceServiceClient<Channel>,
    file_store: FileStoreServiceClient<Channel>,
}

impl Clients {
    pub(crate) fn new(planner: Channel, embedding: Channel, inference: Channel, file_store: Channel) -> Self {
        Self {
            planner: PlannerServiceClient::new(planner),
            embedding: EmbeddingServiceClient::new(embedding),
            inference: InferenceServiceClient::new(inference),
            file_store: FileStoreServiceClient::new(file_store),
        }
    }

    /// Fails unless the caller's project has the workspace.
    pub(crate) async fn require_workspace(&self, ctx: &Ctx, workspace_id: Uuid) -> Result<(), Fault> {
        let request = GetWorkspaceRequest { workspace_id: workspace_id.to_string() };
        self.file_store.clone().get_workspace(within(ctx, QUICK).request(request)).await.map_err(fault)?;
        Ok(())
    }

    /// The number of a revision, for people.
    pub(crate) async fn get_revision_number(&self, ctx: &Ctx, workspace_id: Uuid, revision_id: &str) -> Result<u64, Fault> {
        let request = GetRevisionRequest { workspace_id: workspace_id.to_string(), revision_id: revision_id.to_owned() };
        let response = self.file_store.clone().get_revision(within(ctx, QUICK).request(request)).await.map_err(fault)?;
        response.into_inner().revision.map(|r| r.number).ok_or_else(|| broken("the file store"))
    }

    /// What a message asks for.
    pub(crate) async fn classify(
        &self,
        ctx: &Ctx,
        text: &str,
        (workspace_id, conversation_id): (Uuid, Uuid),
        open_plan: Option<&Plan>,
        model: &str,
    ) -> Result<Intent, Fault> {
        let request = ClassifyIntentRequest {
            text: text.to_owned(),
            workspace_id: workspace_id.to_string(),
            open_plan_id: open_plan.map(|p| p.id.clone()).unwrap_or_default(),
            model: model.to_owned(),
            conversation_id: conversation_id.to_string(),
        };
        let response = self.planner.clone().classify_intent(within(ctx, PATIENT).request(request)).await.map_err(fault)?;
        response.into_inner().intent.and_then(convert::intent_of).ok_or_else(|| broken("the planner"))
    }

    /// The places of the workspace that a question is about; none when it has no index yet.
    pub(crate) async fn search(&self, ctx: &Ctx, workspace_id: Uuid, question: &str, limit: u32) -> Result<Found, Fault> {
        let request = SearchRequest {
            workspace_id: workspace_id.to_string(),
            query: question.chars().take(MAX_QUERY).collect(),
            limit,
            mode: SearchMode::Unspecified.into(),
            glob: String::new(),
        };
        match self.embedding.clone().search(within(ctx, QUICK).request(request)).await.map_err(fault) {
            Ok(response) => Ok(found(response.into_inner())),
            Err(fault) if fault.reason() == Reason::IndexNotFound => Ok(Found { citations: Vec::new(), sources: Vec::new() }),
            Err(fault) => Err(fault),
        }
    }

    /// Has a model answer; dropping the stream closes the call.
    pub(crate) async fn stream_complete(
        &self,
        ctx: &Ctx,
        conversation_id: Uuid,
        model: &str,
        turns: Vec<Turn>,
    ) -> Result<BoxStream<'static, Result<Written, Fault>>, Fault> {
        let messages = turns.into_iter().map(convert::prompt_message).collect();
        let (model, conversation_id) = (model.to_owned(), conversation_id.to_string());
        let prompt = Prompt { model, messages, conversation_id, ..Prompt::default() };
        let request = StreamCompleteRequest { prompt: Some(prompt) };
        let response = self.inference.clone().stream_complete(ctx.request(request)).await.map_err(fault)?;
        let written = response.into_inner().filter_map(|piece| {
            let written = match piece {
                Ok(piece) => written(piece.event).map(Ok),
                Err(status) => Some(Err(fault(status))),
            };
            std::future::ready(written)
        });
        Ok(written.boxed())
    }

    /// Makes a plan; the same request id again follows the same plan from its first event.
    pub(crate) async fn create_plan(
        &self,
        ctx: &Ctx,
        workspace_id: Uuid,
        conversation_id: Uuid,
        request: &str,
        model: &str,
        request_id: String,
    ) -> Result<PlanEvents, Fault> {
        let request = CreatePlanRequest {
            workspace_id: workspace_id.to_string(),
            request: request.to_owned(),
            conversation_id: conversation_id.to_string(),
            model: model.to_owned(),
            request_id,
        };
        let mut planner = self.planner.clone();
        let events = opened(PATIENT, planner.create_plan(ctx.request(request))).await?;
        Ok(plan_events(events.map(|r| r.map(|r| r.event))))
    }

    /// Approves a plan as it was reviewed, and follows how it is applied; the same request id again follows the same apply
    /// from its first event.
    pub(crate) async fn approve_plan(&self, ctx: &Ctx, plan: &PlanRef, request_id: String) -> Result<PlanEvents, Fault> {
        let request = ApprovePlanRequest {
            plan_id: plan.plan_id.to_string(),
            version: plan.version,
            base_revision_id: plan.base_revision_id.clone(),
            request_id,
        };
        let mut planner = self.planner.clone();
        let events = opened(PATIENT, planner.approve_plan(ctx.request(request))).await?;
        Ok(plan_events(events.map(|r| r.map(|r| r.event))))
    }

    /// Follows a plan from after a sequence; the first event is a snapshot.
    pub(crate) async fn watch_plan(&self, ctx: &Ctx, plan_id: &str, after_sequence: u64) -> Result<PlanEvents, Fault> {
        let request = WatchPlanRequest { plan_id: plan_id.to_owned(), after_sequence };
        let mut planner = self.planner.clone();
        let events = opened(PATIENT, planner.watch_plan(ctx.request(request))).await?;
        Ok(plan_events(events.map(|r| r.map(|r| r.event))))
    }

    /// One plan; `None` when it is gone.
    pub(crate) async fn find_plan(&self, ctx: &Ctx, plan_id: Uuid) -> Result<Option<Plan>, Fault> {
        let request = GetPlanRequest { plan_id: plan_id.to_string() };
        match self.planner.clone().get_plan(within(ctx, QUICK).request(request)).await.map_err(fault) {
            Ok(response) => Ok(response.into_inner().plan),
            Err(fault) if fault.reason() == Reason::PlanNotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// The context with a deadline of its own: a neighbour that hangs must not hold a run for ever.
fn within(ctx: &Ctx, limit: Duration) -> Ctx {
    let mut ctx = ctx.clone();
    let own = Instant::now() + limit;
    ctx.deadline = Some(ctx.deadline.map_or(own, |theirs| theirs.min(own)));
    ctx
}

/// A stream that the planner must begin in time; it then sends heartbeats.
async fn opened<T>(limit: Duration, call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>) -> Result<T, Fault> {
    let answer = tokio::time::timeout(limit, call).await;
    let silent = |_| Fault::new(Reason::ServiceUnavailable, format!("the planner did not answer in {limit:?}; try again"));
    Ok(answer.map_err(silent)?.map_err(fault)?.into_inner())
}

fn fault(status: tonic::Status) -> Fault {
    Fault::from_status(&status)
}

/// A neighbour answered something that its API does not allow.
fn broken(who: &str) -> Fault {
    Fault::new(Reason::Internal, format!("{who} gave an answer that cannot be understood"))
}

fn plan_events(events: impl futures::Stream<Item = Result<Option<PlanEvent>, tonic::Status>> + Send + 'static) -> PlanEvents {
    events.map(|event| event.map_err(fault)?.ok_or_else(|| broken("the planner"))).boxed()
}

fn written(piece: Option<Piece>) -> Option<Written> {
    match piece? {
        Piece::TextDelta(text) => Some(Written::Text(text)),
        Piece::ReasoningDelta(text) => Some(Written::Reasoning(text)),
        Piece::Completed(ended) => {
            let refused = ended.finish_reason() == FinishReason::ContentFilter;
            Some(Written::Ended { refused, usage: ended.usage.map(convert::usage_of) })
        }
        // No tools are offered, so none are called; no model is asked to go on from another's words.
        Piece::Started(_) | Piece::ToolCallDelta(_) | Piece::Seam(_) | Piece::QuickAnswer(_) => None,
    }
}

fn found(response: slipway_proto::embedding::SearchResponse) -> Found {
    let mut found = Found { citations: Vec::new(), sources: Vec::new() };
    for (hit, index) in response.hits.into_iter().zip(1..) {
        found.citations.push(Citation {
            index,
            revision_id: response.revision_id.clone(),
            path: hit.path.clone(),
            start_line: hit.start_line,
            end_line: hit.end_line,
            score: hit.score,
        });
        let (start_line, end_line) = (hit.start_line, hit.end_line);
        found.sources.push(Source { index, path: hit.path, start_line, end_line, text: hit.text });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_planner_that_is_silent_is_away() {
        let fault = opened::<()>(Duration::from_millis(1), std::future::pending()).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::ServiceUnavailable, "the run is tried again");
        assert_eq!(opened(PATIENT, async { Ok(tonic::Response::new(7)) }).await.unwrap(), 7);
    }
}
