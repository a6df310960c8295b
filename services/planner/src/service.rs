//! The use cases: decide, store, and hand out what to follow. The work itself is done by jobs, so that it goes on when
//! the caller leaves.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use slipway_proto::inference::{Message, Role};
use slipway_rpc::{Check, Ctx, now_micros};
use slipway_storage::page;
use slipway_storage::requests::Claim;
use slipway_storage::{Tx, crash};
use uuid::Uuid;

use crate::clients::{About, Neighbours};
use crate::convert::{Approval, NewPlan, PlanList, Question, RequestKey, Revision};
use crate::error::Error;
use crate::events::Happened;
use crate::intent::{self, Situation};
use crate::model::{Base, Brief, Intent, Plan, PlanState, PlanVersion, QueuedJob, RevisionBrief, Usage};
use crate::prompt;
use crate::settings::Settings;
use crate::store::PlanStore;
use crate::stream::{Follow, Until};

/// How many plans are read at a time.
const PLANS_READ: u64 = 50;
/// How large a page of plans may grow; one plan is always on it.
const PAGE_BYTES: usize = 2 << 20;
/// The longest request with its instructions, in characters: every version carries all of them.
const MAX_WHOLE_REQUEST: usize = 100_000;

const CREATE: &str = "CreatePlan";
const REVISE: &str = "RevisePlan";
const APPROVE: &str = "ApprovePlan";

/// The planner; cheap to clone.
#[derive(Clone)]
pub(crate) struct Planner {
    pub(crate) store: PlanStore,
    pub(crate) neighbours: Neighbours,
    pub(crate) settings: Arc<Settings>,
}

/// Where a listing goes on.
#[derive(Serialize, Deserialize)]
struct Cursor {
    before: Uuid,
}

impl Planner {
    pub(crate) async fn get_plan(&self, ctx: &Ctx, id: Uuid) -> Result<Plan, Error> {
        self.store.find_plan(ctx.project.0, id).await?.ok_or(Error::PlanNotFound(id))
    }

    /// The plans of a page, and the token of the next.
    pub(crate) async fn list_plans(&self, ctx: &Ctx, list: PlanList) -> Result<(Vec<Plan>, String), Error> {
        let filter = list.workspace_id.map(|id| id.to_string()).unwrap_or_default();
        let scope = format!("ListPlans/{}/{filter}", ctx.project);
        let mut before = match list.page_token.as_str() {
            "" => None,
            token => Some(page::decode::<Cursor>(&scope, token).ok_or(Error::PageTokenInvalid)?.before),
        };
        let (mut plans, mut bytes) = (Vec::new(), 0);
        // A few at a time: a page of the largest plans would fit no client's memory, nor its limit of a response.
        let limit = (u64::from(list.page_size) + 1).min(PLANS_READ);
        loop {
            let some = self.store.list_plans(ctx.project.0, list.workspace_id, before, limit).await?;
            let whole = (some.len() as u64) < limit;
            for plan in some {
                bytes += plan.size();
                let full = plans.len() >= list.page_size as usize || (bytes > PAGE_BYTES && !plans.is_empty());
                if let Some(before) = before.filter(|_| full) {
                    return Ok((plans, page::encode(&scope, &Cursor { before })));
                }
                before = Some(plan.id);
                plans.push(plan);
            }
            if whole {
                return Ok((plans, String::new()));
            }
        }
    }

    pub(crate) async fn create_plan(&self, ctx: &Ctx, new: NewPlan) -> Result<Follow, Error> {
        if !new.key.id.is_empty() {
            // The same request again is answered from what it made, however the workspace is by now.
            let tx = self.store.begin().await?;
            if let Some(follow) = self.created_before(&tx, ctx, &new).await? {
                return Ok(follow);
            }
        }
        let base = self.neighbours.find_head(ctx, new.workspace_id).await?.ok_or(Error::WorkspaceEmpty)?;
        if !new.model.is_empty() && !self.neighbours.serves_model(ctx, &new.model).await? {
            return Err(Error::ModelNotFound(new.model));
        }
        let mut tx = self.store.begin().await?;
        if let Some(follow) = self.created_before(&tx, ctx, &new).await? {
            return Ok(follow);
        }
        let brief = Brief { request: new.request.clone(), revision: None };
        let key = new.key.clone();
        let mut plan = drafting(ctx, new, base);
        self.store.insert_plan(&tx, &plan).await?;
        self.store.remember(&tx, ctx.project.0, CREATE, &key, plan.id).await?;
        let follow = self.start_draft(&mut tx, ctx, &mut plan, brief).await?.0;
        tx.commit().await?;
        crash::point("planner.accepted");
        Ok(follow)
    }

    pub(crate) async fn revise_plan(&self, ctx: &Ctx, revision: Revision) -> Result<Follow, Error> {
        if !revision.key.id.is_empty() {
            let tx = self.store.begin().await?;
            if let Some(follow) = self.revised_before(&tx, ctx, &revision).await? {
                return Ok(follow);
            }
        }
        // The plan may be revised by the same call meanwhile: whether it can be is looked at in the transaction.
        let plan = self.get_plan(ctx, revision.plan_id).await?;
        let base = self.neighbours.find_head(ctx, plan.workspace_id).await?.ok_or(Error::WorkspaceEmpty)?;
        let mut tx = self.store.begin().await?;
        if let Some(follow) = self.revised_before(&tx, ctx, &revision).await? {
            return Ok(follow);
        }
        let mut plan = self.get_plan_in(&tx, ctx, revision.plan_id).await?;
        check_reviewed(&plan, revision.version)?;
        let before = RevisionBrief {
            summary: plan.summary.clone(),
            steps: plan.steps.clone(),
            instructions: revision.instructions.clone(),
        };
        let brief = Brief { request: plan.request.clone(), revision: Some(before) };
        if plan.request.chars().count() + revision.instructions.chars().count() > MAX_WHOLE_REQUEST {
            let mut check = Check::new();
            check.fail("instructions", "would make the request longer than 100000 characters; make a new plan");
            check.finish()?;
        }
        plan.revise(&revision.instructions, base)?;
        let (follow, version) = self.start_draft(&mut tx, ctx, &mut plan, brief).await?;
        self.store.remember(&tx, ctx.project.0, REVISE, &revision.key, version).await?;
        tx.commit().await?;
        Ok(follow)
    }

    pub(crate) async fn approve_plan(&self, ctx: &Ctx, approval: Approval) -> Result<Follow, Error> {
        if !approval.key.id.is_empty() {
            let tx = self.store.begin().await?;
            if let Some(follow) = self.approved_before(&tx, ctx, &approval).await? {
                return Ok(follow);
            }
        }
        // The plan may be approved by the same call meanwhile: whether it can be is looked at in the transaction.
        let plan = self.get_plan(ctx, approval.plan_id).await?;
        let head = self.neighbours.find_head_id(ctx, plan.workspace_id).await?;
        let mut tx = self.store.begin().await?;
        if let Some(follow) = self.approved_before(&tx, ctx, &approval).await? {
            return Ok(follow);
        }
        let mut plan = self.get_plan_in(&tx, ctx, approval.plan_id).await?;
        // The state first: an approval that came second may find the head moved by the first one.
        check_reviewed(&plan, approval.version)?;
        if head != Some(approval.base_revision_id) || plan.base.revision_id != approval.base_revision_id {
            return Err(Error::BaseMoved { base: plan.base.revision_id, head });
        }
        let version = self.store.find_version_in(&tx, ctx.project.0, plan.id, plan.version).await?;
        let version = version.ok_or_else(|| Error::Corrupt(format!("version {} of plan {}", plan.version, plan.id)))?;
        plan.become_state(PlanState::Applying)?;
        let follow = Follow { plan_id: plan.id, after: plan.last_sequence, until: Until::ApplyEnds };
        self.store.approve_version(&tx, &version, ctx.caller.user.0, plan.last_sequence + 1).await?;
        self.store.remember(&tx, ctx.project.0, APPROVE, &approval.key, version.id).await?;
        self.store.record(&mut tx, &mut plan, &[Happened::Applying]).await?;
        self.start_job(&mut tx, ctx, &plan).await?;
        tx.commit().await?;
        crash::point("planner.approved");
        Ok(follow)
    }

    pub(crate) async fn reject_plan(&self, ctx: &Ctx, id: Uuid, version: u32) -> Result<Plan, Error> {
        let mut tx = self.store.begin().await?;
        let mut plan = self.get_plan_in(&tx, ctx, id).await?;
        check_reviewed(&plan, version)?;
        plan.become_state(PlanState::Rejected)?;
        self.store.record(&mut tx, &mut plan, &[Happened::Rejected]).await?;
        tx.commit().await?;
        Ok(plan)
    }

    /// The plan as it is now, and what to follow after the cursor.
    pub(crate) async fn watch_plan(&self, ctx: &Ctx, id: Uuid, after: u64) -> Result<(Plan, Follow), Error> {
        let plan = self.get_plan(ctx, id).await?;
        if after > plan.last_sequence {
            let oldest = self.store.log().bounds(id).await?.map_or(0, |(oldest, _)| oldest);
            return Err(Error::CursorOutOfRange { oldest, latest: plan.last_sequence });
        }
        let over = plan.state.is_final() && after == plan.last_sequence;
        let until = if over { Until::Over } else { Until::Final };
        Ok((plan, Follow { plan_id: id, after, until }))
    }

    pub(crate) async fn classify_intent(&self, ctx: &Ctx, question: Question) -> Result<Intent, Error> {
        let open_plan = match question.open_plan_id {
            Some(id) => self.get_plan(ctx, id).await?.state == PlanState::Ready,
            None => false,
        };
        let situation = Situation { workspace: question.workspace, open_plan };
        match intent::find_by_rule(&question.text, situation) {
            Some(intent) => Ok(intent),
            None => self.ask_for_intent(ctx, &question, situation).await,
        }
    }

    async fn ask_for_intent(&self, ctx: &Ctx, question: &Question, situation: Situation) -> Result<Intent, Error> {
        let messages = vec![message(Role::System, prompt::INTENT_SYSTEM), message(Role::User, &prompt::intent(&question.text))];
        let timeout = self.settings.model_timeout();
        let tools = prompt::classify_intent();
        let about = About { model: &question.model, conversation: question.conversation, plan: None };
        let completion = self.neighbours.complete(ctx, timeout, about, messages, &tools).await?;
        let answer = completion.tool_calls.first().map_or(completion.text.as_str(), |call| call.arguments_json.as_str());
        Ok(intent::of_model(answer, situation))
    }

    /// What the same request made before, if it was made.
    async fn created_before(&self, tx: &Tx, ctx: &Ctx, new: &NewPlan) -> Result<Option<Follow>, Error> {
        match self.store.claim(tx, ctx.project.0, CREATE, &new.key).await? {
            Claim::New => Ok(None),
            Claim::Same { result_id } => Ok(Some(Follow { plan_id: result_id, after: 0, until: Until::DraftEnds })),
            Claim::Reused { first_id } => Err(Error::RequestIdReused { first_id }),
        }
    }

    async fn revised_before(&self, tx: &Tx, ctx: &Ctx, revision: &Revision) -> Result<Option<Follow>, Error> {
        let version = self.version_before(tx, ctx, REVISE, &revision.key).await?;
        Ok(version.map(|v| Follow { plan_id: v.plan_id, after: v.draft_sequence - 1, until: Until::DraftEnds }))
    }

    async fn approved_before(&self, tx: &Tx, ctx: &Ctx, approval: &Approval) -> Result<Option<Follow>, Error> {
        let Some(version) = self.version_before(tx, ctx, APPROVE, &approval.key).await? else { return Ok(None) };
        let first = version.apply_sequence.ok_or_else(|| Error::Corrupt(format!("the approval of plan {}", version.plan_id)))?;
        Ok(Some(Follow { plan_id: version.plan_id, after: first - 1, until: Until::ApplyEnds }))
    }

    /// The version that the same request made or approved before.
    async fn version_before(&self, tx: &Tx, ctx: &Ctx, method: &str, key: &RequestKey) -> Result<Option<PlanVersion>, Error> {
        let (id, same) = match self.store.claim(tx, ctx.project.0, method, key).await? {
            Claim::New => return Ok(None),
            Claim::Same { result_id } => (result_id, true),
            Claim::Reused { first_id } => (first_id, false),
        };
        let version = self.store.find_version_by_id(tx, ctx.project.0, id).await?;
        let version = version.ok_or_else(|| Error::Corrupt(format!("the plan version {id}")))?;
        if !same {
            return Err(Error::RequestIdReused { first_id: version.plan_id });
        }
        Ok(Some(version))
    }

    /// Stores the plan's present version with its first event and its job. Gives what to follow, and the version's id.
    async fn start_draft(&self, tx: &mut Tx, ctx: &Ctx, plan: &mut Plan, brief: Brief) -> Result<(Follow, Uuid), Error> {
        let follow = Follow { plan_id: plan.id, after: plan.last_sequence, until: Until::DraftEnds };
        let version = PlanVersion {
            id: Uuid::now_v7(),
            plan_id: plan.id,
            version: plan.version,
            base_revision_id: plan.base.revision_id,
            brief,
            draft_sequence: plan.last_sequence + 1,
            apply_sequence: None,
            approved_by: None,
        };
        self.store.insert_version(tx, plan.project_id, &version).await?;
        self.store.record(tx, plan, &[Happened::Drafting]).await?;
        self.start_job(tx, ctx, plan).await?;
        Ok((follow, version.id))
    }

    async fn start_job(&self, tx: &mut Tx, ctx: &Ctx, plan: &Plan) -> Result<(), Error> {
        match plan.job() {
            Some(job) => {
                let job = QueuedJob { job, origin: Some((&ctx.caller).into()) };
                self.store.start(tx, plan.project_id, job, ctx.traceparent()).await
            }
            None => Err(Error::StateConflict(plan.state)),
        }
    }

    async fn get_plan_in(&self, tx: &Tx, ctx: &Ctx, id: Uuid) -> Result<Plan, Error> {
        self.store.find_plan_in(tx, ctx.project.0, id).await?.ok_or(Error::PlanNotFound(id))
    }
}

fn drafting(ctx: &Ctx, new: NewPlan, base: Base) -> Plan {
    let now = now_micros();
    Plan {
        id: Uuid::now_v7(),
        project_id: ctx.project.0,
        workspace_id: new.workspace_id,
        conversation_id: new.conversation_id,
        request: new.request,
        summary: String::new(),
        state: PlanState::Drafting,
        version: 1,
        base,
        steps: Vec::new(),
        looked_at: Vec::new(),
        applied_revision_id: None,
        failure: None,
        model: new.model,
        usage: Usage::default(),
        last_sequence: 0,
        created_by: ctx.caller.user.0,
        create_time: now,
        update_time: now,
    }
}

/// Only a plan that waits for review, in the version that was reviewed, is acted upon.
fn check_reviewed(plan: &Plan, version: u32) -> Result<(), Error> {
    if plan.version != version {
        return Err(Error::VersionStale { version: plan.version });
    }
    if plan.state != PlanState::Ready {
        return Err(Error::StateConflict(plan.state));
    }
    Ok(())
}

/// A message of a prompt.
pub(crate) fn message(role: Role, text: &str) -> Message {
    Message { role: role.into(), text: text.to_owned(), ..Message::default() }
}
