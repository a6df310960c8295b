//! Between the API's messages and the model. Validation lives here: every limit of `planner.proto` is checked once.

use prost::Message as _;
use slipway_proto::inference;
use slipway_proto::planner as proto;
use slipway_rpc::{Check, Fault, timestamp};
use uuid::Uuid;

use crate::model::{Intent, IntentKind, Plan, PlanState, Step, StepAction, StepState, Usage};

const MAX_REQUEST: usize = 32_000;
const MAX_MESSAGE: usize = 100_000;
const MAX_MODEL: usize = 200;
const MAX_REQUEST_ID: usize = 100;
const MAX_PAGE_TOKEN: usize = 1_000;

/// What makes a call idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestKey {
    /// The caller's id; empty: not idempotent.
    pub(crate) id: String,
    /// The hash of the request without the id.
    pub(crate) hash: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewPlan {
    pub(crate) workspace_id: Uuid,
    pub(crate) request: String,
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) model: String,
    pub(crate) key: RequestKey,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) plan_id: Uuid,
    pub(crate) version: u32,
    pub(crate) instructions: String,
    pub(crate) key: RequestKey,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Approval {
    pub(crate) plan_id: Uuid,
    pub(crate) version: u32,
    pub(crate) base_revision_id: Uuid,
    pub(crate) key: RequestKey,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) text: String,
    pub(crate) workspace: bool,
    pub(crate) open_plan_id: Option<Uuid>,
    pub(crate) model: String,
    pub(crate) conversation: Option<Uuid>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlanList {
    pub(crate) workspace_id: Option<Uuid>,
    pub(crate) page_size: u32,
    pub(crate) page_token: String,
}

pub(crate) fn new_plan(mut request: proto::CreatePlanRequest) -> Result<NewPlan, Fault> {
    let key = RequestKey { id: std::mem::take(&mut request.request_id), hash: hash(&request.encode_to_vec()) };
    let mut check = Check::new();
    check.text("request_id", &key.id, 0, MAX_REQUEST_ID);
    let new = NewPlan {
        workspace_id: check.uuid("workspace_id", &request.workspace_id),
        request: check.text("request", &request.request, 1, MAX_REQUEST),
        conversation_id: check.optional_uuid("conversation_id", &request.conversation_id),
        model: check.text("model", &request.model, 0, MAX_MODEL),
        key,
    };
    check.finish()?;
    Ok(new)
}

pub(crate) fn revision(mut request: proto::RevisePlanRequest) -> Result<Revision, Fault> {
    let key = RequestKey { id: std::mem::take(&mut request.request_id), hash: hash(&request.encode_to_vec()) };
    let mut check = Check::new();
    check.text("request_id", &key.id, 0, MAX_REQUEST_ID);
    let revision = Revision {
        plan_id: check.uuid("plan_id", &request.plan_id),
        version: version(&mut check, request.version),
        instructions: check.text("instructions", &request.instructions, 1, MAX_REQUEST),
        key,
    };
    check.finish()?;
    Ok(revision)
}

pub(crate) fn approval(mut request: proto::ApprovePlanRequest) -> Result<Approval, Fault> {
    let key = RequestKey { id: std::mem::take(&mut request.request_id), hash: hash(&request.encode_to_vec()) };
    let mut check = Check::new();
    check.text("request_id", &key.id, 0, MAX_REQUEST_ID);
    let approval = Approval {
        plan_id: check.uuid("plan_id", &request.plan_id),
        version: version(&mut check, request.version),
        base_revision_id: check.uuid("base_revision_id", &request.base_revision_id),
        key,
    };
    check.finish()?;
    Ok(approval)
}

pub(crate) fn rejection(request: &proto::RejectPlanRequest) -> Result<(Uuid, u32), Fault> {
    let mut check = Check::new();
    let rejection = (check.uuid("plan_id", &request.plan_id), version(&mut check, request.version));
    check.finish()?;
    Ok(rejection)
}

pub(crate) fn plan_id(id: &str) -> Result<Uuid, Fault> {
    let mut check = Check::new();
    let id = check.uuid("plan_id", id);
    check.finish()?;
    Ok(id)
}

pub(crate) fn plan_list(request: proto::ListPlansRequest) -> Result<PlanList, Fault> {
    let mut check = Check::new();
    let list = PlanList {
        workspace_id: check.optional_uuid("workspace_id", &request.workspace_id),
        page_size: check.page_size("page_size", request.page_size, 50, 1_000),
        page_token: check.text("page_token", &request.page_token, 0, MAX_PAGE_TOKEN),
    };
    check.finish()?;
    Ok(list)
}

pub(crate) fn question(request: proto::ClassifyIntentRequest) -> Result<Question, Fault> {
    let mut check = Check::new();
    let text = request.text;
    // White space alone is a message, too: it is unclear.
    check.ensure(!text.is_empty(), "text", "is required");
    check.text("text", text.trim(), 0, MAX_MESSAGE);
    let question = Question {
        workspace: check.optional_uuid("workspace_id", &request.workspace_id).is_some(),
        open_plan_id: check.optional_uuid("open_plan_id", &request.open_plan_id),
        model: check.text("model", &request.model, 0, MAX_MODEL),
        conversation: check.optional_uuid("conversation_id", &request.conversation_id),
        text,
    };
    check.finish()?;
    Ok(question)
}

fn version(check: &mut Check, version: u32) -> u32 {
    check.ensure(version > 0, "version", "is required");
    version
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    blake3::hash(bytes).as_bytes().to_vec()
}

pub(crate) fn plan(plan: &Plan) -> proto::Plan {
    proto::Plan {
        id: plan.id.to_string(),
        project_id: plan.project_id.to_string(),
        workspace_id: plan.workspace_id.to_string(),
        conversation_id: plan.conversation_id.map(|id| id.to_string()).unwrap_or_default(),
        request: plan.request.clone(),
        summary: plan.summary.clone(),
        state: state(plan.state).into(),
        version: plan.version,
        base_revision_id: plan.base.revision_id.to_string(),
        base_revision_hash: plan.base.hash.clone(),
        steps: plan.steps.iter().map(step).collect(),
        applied_revision_id: plan.applied_revision_id.map(|id| id.to_string()).unwrap_or_default(),
        failure: plan.failure.as_ref().map(|f| proto::PlanFailure { reason: f.reason.clone(), message: f.message.clone() }),
        model: plan.model.clone(),
        usage: Some(usage(&plan.usage)),
        last_sequence: plan.last_sequence,
        create_time: Some(timestamp(plan.create_time)),
        update_time: Some(timestamp(plan.update_time)),
    }
}

pub(crate) fn step(step: &Step) -> proto::Step {
    let action = match step.action {
        StepAction::Create => proto::StepAction::Create,
        StepAction::Update => proto::StepAction::Update,
        StepAction::Delete => proto::StepAction::Delete,
    };
    let state = match step.state {
        StepState::Pending => proto::StepState::Pending,
        StepState::Done => proto::StepState::Done,
        StepState::Failed => proto::StepState::Failed,
    };
    proto::Step {
        number: step.number,
        path: step.path.clone(),
        action: action.into(),
        reason: step.reason.clone(),
        state: state.into(),
    }
}

fn state(state: PlanState) -> proto::PlanState {
    match state {
        PlanState::Drafting => proto::PlanState::Drafting,
        PlanState::Ready => proto::PlanState::Ready,
        PlanState::Applying => proto::PlanState::Applying,
        PlanState::Applied => proto::PlanState::Applied,
        PlanState::Rejected => proto::PlanState::Rejected,
        PlanState::Failed => proto::PlanState::Failed,
    }
}

pub(crate) fn usage(usage: &Usage) -> inference::Usage {
    inference::Usage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_input_tokens: usage.cached_input_tokens,
        reasoning_tokens: usage.reasoning_tokens,
        estimated: usage.estimated,
        ..inference::Usage::default()
    }
}

pub(crate) fn usage_of(usage: &inference::Usage) -> Usage {
    Usage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_input_tokens: usage.cached_input_tokens,
        reasoning_tokens: usage.reasoning_tokens,
        estimated: usage.estimated,
    }
}

pub(crate) fn intent(intent: &Intent) -> proto::Intent {
    let kind = match intent.kind {
        IntentKind::Converse => proto::IntentKind::Converse,
        IntentKind::Plan => proto::IntentKind::Plan,
        IntentKind::Proceed => proto::IntentKind::Proceed,
        IntentKind::Render => proto::IntentKind::Render,
        IntentKind::OffTopic => proto::IntentKind::OffTopic,
        IntentKind::Unclear => proto::IntentKind::Unclear,
    };
    proto::Intent { kind: kind.into(), confidence: intent.confidence, reason: intent.reason.clone(), by_rule: intent.by_rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fault: Fault) -> Vec<String> {
        fault.violations().iter().map(|v| v.field.clone()).collect()
    }

    #[test]
    fn every_bad_field_is_named() {
        let long = "x".repeat(40_000);
        let request = proto::CreatePlanRequest {
            workspace_id: "x".into(),
            request: long.clone(),
            conversation_id: "y".into(),
            model: long.clone(),
            request_id: long.clone(),
        };
        assert_eq!(fields(new_plan(request).unwrap_err()), ["request_id", "workspace_id", "request", "conversation_id", "model"]);
        assert_eq!(fields(new_plan(proto::CreatePlanRequest::default()).unwrap_err()), ["workspace_id", "request"]);
        assert_eq!(fields(revision(proto::RevisePlanRequest::default()).unwrap_err()), ["plan_id", "version", "instructions"]);
        assert_eq!(
            fields(approval(proto::ApprovePlanRequest::default()).unwrap_err()),
            ["plan_id", "version", "base_revision_id"]
        );
        assert_eq!(fields(rejection(&proto::RejectPlanRequest::default()).unwrap_err()), ["plan_id", "version"]);
        assert_eq!(fields(plan_id("").unwrap_err()), ["plan_id"]);
        let list = proto::ListPlansRequest { workspace_id: "x".into(), page_size: 1_001, page_token: long };
        assert_eq!(fields(plan_list(list).unwrap_err()), ["workspace_id", "page_size", "page_token"]);
        assert_eq!(fields(question(proto::ClassifyIntentRequest::default()).unwrap_err()), ["text"]);
        let nul = proto::ClassifyIntentRequest { text: "a\0b".into(), open_plan_id: "x".into(), ..Default::default() };
        assert_eq!(fields(question(nul).unwrap_err()), ["text", "open_plan_id"]);
    }

    #[test]
    fn the_request_id_is_no_part_of_the_hash() {
        let request = |id: &str, text: &str| proto::CreatePlanRequest {
            workspace_id: Uuid::nil().to_string(),
            request: text.into(),
            request_id: id.into(),
            ..Default::default()
        };
        let hash = |id: &str, text: &str| new_plan(request(id, text)).unwrap().key.hash;
        assert_eq!(hash("a", "x"), hash("b", "x"));
        assert_ne!(hash("a", "x"), hash("a", "y"));
    }
}
