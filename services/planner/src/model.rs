//! The plan and its rules: states with only legal transitions, steps, usage, intents. No I/O and no async.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use slipway_rpc::Origin;
use thiserror::Error;
use uuid::Uuid;

/// The most steps that a plan may have.
pub const MAX_STEPS: usize = 100;

/// Where a plan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlanState {
    /// Being made.
    Drafting,
    /// Waits for review.
    Ready,
    /// Approved and being applied.
    Applying,
    /// Applied. Final.
    Applied,
    /// Rejected. Final.
    Rejected,
    /// Failed. Final.
    Failed,
}

impl PlanState {
    /// Every state, for tests and tables.
    pub const ALL: [PlanState; 6] = [Self::Drafting, Self::Ready, Self::Applying, Self::Applied, Self::Rejected, Self::Failed];

    /// True where the transition is legal.
    pub fn may_become(self, next: PlanState) -> bool {
        use PlanState::*;
        matches!(
            (self, next),
            (Drafting, Ready | Failed) | (Ready, Drafting | Applying | Rejected) | (Applying, Applied | Failed)
        )
    }

    /// True where nothing follows.
    pub fn is_final(self) -> bool {
        Self::ALL.iter().all(|next| !self.may_become(*next))
    }

    /// The name in tables and error metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drafting => "drafting",
            Self::Ready => "ready",
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }

    /// The state of a name.
    pub fn find(name: &str) -> Option<PlanState> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// What a step does to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepAction {
    /// Makes a file that does not exist.
    Create,
    /// Changes a file.
    Update,
    /// Deletes a file.
    Delete,
}

impl StepAction {
    /// The name in prompts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Its edits are made.
    Done,
    /// Its edits could not be made.
    Failed,
}

/// One file of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// From 1.
    pub number: u32,
    /// The file.
    pub path: String,
    /// What is done to it.
    pub action: StepAction,
    /// What exactly is to be changed, and why.
    pub reason: String,
    /// Where it stands.
    pub state: StepState,
}

/// Why a plan failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The error reason without its prefix.
    pub reason: String,
    /// What happened and what to do.
    pub message: String,
}

impl Failure {
    /// A failure of a reason that is ours.
    pub fn new(reason: &str, message: impl Into<String>) -> Failure {
        Failure { reason: reason.to_owned(), message: message.into() }
    }

    /// The model gave no usable plan.
    pub fn unusable(message: impl Into<String>) -> Failure {
        Failure::new("PLAN_UNUSABLE", message)
    }

    /// An edit could not be made.
    pub fn edit(message: impl Into<String>) -> Failure {
        Failure::new("EDIT_FAILED", message)
    }

    /// The workspace moved while the plan was being applied.
    pub fn base_moved() -> Failure {
        Failure::new("PLAN_BASE_MOVED", "the workspace has moved since the plan was made; make a new plan on its present head")
    }
}

/// What model calls used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the requests.
    pub input_tokens: u64,
    /// Tokens of the answers.
    pub output_tokens: u64,
    /// The cached part of the input.
    pub cached_input_tokens: u64,
    /// The reasoning part of the output.
    pub reasoning_tokens: u64,
    /// True when any of it is an estimate.
    pub estimated: bool,
}

impl Usage {
    /// Adds what another call used.
    pub fn add(&mut self, other: Usage) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(other.cached_input_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
        self.estimated |= other.estimated;
    }
}

/// A revision that a plan is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The revision.
    pub revision_id: Uuid,
    /// Its hash.
    pub hash: String,
}

/// A plan. Times are microseconds since the epoch, UTC.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// UUIDv7.
    pub id: Uuid,
    /// The project that owns it.
    pub project_id: Uuid,
    /// The workspace that it changes.
    pub workspace_id: Uuid,
    /// The conversation that it came from.
    pub conversation_id: Option<Uuid>,
    /// The request, with the instructions that revised it.
    pub request: String,
    /// One or two sentences on what it does.
    pub summary: String,
    /// Where it stands.
    pub state: PlanState,
    /// From 1.
    pub version: u32,
    /// What it was made for.
    pub base: Base,
    /// The steps.
    pub steps: Vec<Step>,
    /// The files that were looked at while drafting: context for the edits.
    pub looked_at: Vec<String>,
    /// The revision that it made.
    pub applied_revision_id: Option<Uuid>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The model that is asked; empty: the default.
    pub model: String,
    /// What its model calls used.
    pub usage: Usage,
    /// The newest sequence of its events.
    pub last_sequence: u64,
    /// Who made it.
    pub created_by: Uuid,
    /// When it was made.
    pub create_time: i64,
    /// When it last changed.
    pub update_time: i64,
}

/// A transition that no plan makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a plan that is {from} cannot become {to}", from = from.as_str(), to = to.as_str())]
pub struct IllegalTransition {
    /// Where the plan stands.
    pub from: PlanState,
    /// Where it cannot go.
    pub to: PlanState,
}

impl Plan {
    /// The job that a plan in this state waits for.
    pub fn job(&self) -> Option<PlanJob> {
        let work = match self.state {
            PlanState::Drafting => Work::Draft,
            PlanState::Applying => Work::Apply,
            _ => return None,
        };
        Some(PlanJob { plan_id: self.id, version: self.version, work })
    }

    /// About how many bytes it takes in a response.
    pub fn size(&self) -> usize {
        let steps: usize = self.steps.iter().map(|s| 20 + s.path.len() + s.reason.len()).sum();
        let failure = self.failure.as_ref().map_or(0, |f| f.message.len());
        500 + self.request.len() + self.summary.len() + steps + failure
    }

    /// Moves to another state, if that is legal.
    pub fn become_state(&mut self, to: PlanState) -> Result<(), IllegalTransition> {
        if !self.state.may_become(to) {
            return Err(IllegalTransition { from: self.state, to });
        }
        self.state = to;
        Ok(())
    }

    /// Starts the next version on another base: what was proposed, and any approval of it, is void.
    pub fn revise(&mut self, instructions: &str, base: Base) -> Result<(), IllegalTransition> {
        self.become_state(PlanState::Drafting)?;
        self.version += 1;
        self.request = format!("{}\n\n{instructions}", self.request);
        self.base = base;
        self.summary.clear();
        self.steps.clear();
        self.looked_at.clear();
        Ok(())
    }

    /// Takes the drafted steps and waits for review.
    pub fn propose(&mut self, summary: String, steps: Vec<Step>) -> Result<(), IllegalTransition> {
        self.become_state(PlanState::Ready)?;
        self.summary = summary;
        self.steps = steps;
        Ok(())
    }

    /// Ends as applied.
    pub fn applied(&mut self, revision: Uuid) -> Result<(), IllegalTransition> {
        self.become_state(PlanState::Applied)?;
        self.applied_revision_id = Some(revision);
        Ok(())
    }

    /// Ends as failed.
    pub fn fail(&mut self, failure: Failure) -> Result<(), IllegalTransition> {
        self.become_state(PlanState::Failed)?;
        self.failure = Some(failure);
        Ok(())
    }
}

/// One version of a plan: where its events begin, and who approved it. An approval never outlives its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanVersion {
    /// UUIDv7: the result of the request that made it.
    pub id: Uuid,
    /// Its plan.
    pub plan_id: Uuid,
    /// From 1.
    pub version: u32,
    /// The revision that it was made for.
    pub base_revision_id: Uuid,
    /// What its draft starts from.
    pub brief: Brief,
    /// The sequence of its `drafting` event.
    pub draft_sequence: u64,
    /// The sequence of its `applying` event, once approved.
    pub apply_sequence: Option<u64>,
    /// Who approved it.
    pub approved_by: Option<Uuid>,
}

/// What a finished step left of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFile {
    /// The step.
    pub step: u32,
    /// The file.
    pub path: String,
    /// Its content.
    pub content: FileContent,
}

/// The content of a finished file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// The step had nothing to change.
    Unchanged,
    /// The whole content.
    Written(String),
    /// The file is gone.
    Deleted,
}

/// What a job does for a plan's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Make the plan.
    Draft,
    /// Apply the approved plan.
    Apply,
}

/// What a draft starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    /// What is asked for.
    pub request: String,
    /// When revising: the steps before, and what to do otherwise.
    pub revision: Option<RevisionBrief>,
}

/// What a revised draft starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionBrief {
    /// The summary before.
    pub summary: String,
    /// The steps before.
    pub steps: Vec<Step>,
    /// What to do otherwise.
    pub instructions: String,
}

/// A durable job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanJob {
    /// The plan.
    pub plan_id: Uuid,
    /// Its version.
    pub version: u32,
    /// What to do.
    pub work: Work,
}

impl PlanJob {
    /// The key that makes the job unique.
    pub fn key(&self) -> String {
        let work = match self.work {
            Work::Draft => "draft",
            Work::Apply => "apply",
        };
        format!("{}/{}/{work}", self.plan_id, self.version)
    }
}

/// A job as it is queued.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct QueuedJob {
    /// What to do.
    #[serde(flatten)]
    pub(crate) job: PlanJob,
    /// On whose behalf; absent where nobody is left to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
}

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntentKind {
    /// An answer.
    Converse,
    /// A change to files.
    Plan,
    /// To go on with the plan that waits for review.
    Proceed,
    /// To see the files rendered.
    Render,
    /// Something that this assistant is not for.
    OffTopic,
    /// Cannot be told.
    Unclear,
}

/// A classified intent.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// What is asked for.
    pub kind: IntentKind,
    /// 0.0 to 1.0.
    pub confidence: f64,
    /// Why, for people.
    pub reason: String,
    /// True when no model was called.
    pub by_rule: bool,
}
