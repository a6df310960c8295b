//! A run: the work on one message, and what a worker needs to know to do it.

use serde::{Deserialize, Serialize};
use slipway_rpc::{Origin, ProjectId};
use uuid::Uuid;

/// Where a run stands. Everything but RUNNING is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RunState {
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl RunState {
    /// True when nothing can come after it.
    pub(crate) fn is_final(self) -> bool {
        self != Self::Running
    }

    /// Whether a run in this state may go on to `next`.
    pub(crate) fn may_become(self, next: Self) -> bool {
        !self.is_final() && next.is_final()
    }
}

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum IntentKind {
    Converse,
    Plan,
    Proceed,
    Render,
    OffTopic,
    Unclear,
}

/// A classified intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) kind: IntentKind,
    pub(crate) confidence: f64,
    pub(crate) reason: String,
    pub(crate) by_rule: bool,
}

impl Intent {
    /// Without a workspace there is nothing to change: no need to ask anyone.
    pub(crate) fn without_workspace() -> Self {
        let reason = "the conversation is about no workspace, so there is nothing to change".to_owned();
        Self { kind: IntentKind::Converse, confidence: 1.0, reason, by_rule: true }
    }
}

/// What model calls used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) cached_input_tokens: u64,
    pub(crate) reasoning_tokens: u64,
    pub(crate) estimated: bool,
    /// In micro-units of US dollars.
    #[serde(default)]
    pub(crate) cost_micros: i64,
    /// The price list; empty: the price is not known.
    #[serde(default)]
    pub(crate) price_version: String,
}

impl Usage {
    /// What was used since `earlier`, when both count the same calls.
    pub(crate) fn since(self, earlier: &Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(earlier.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(earlier.output_tokens),
            cached_input_tokens: self.cached_input_tokens.saturating_sub(earlier.cached_input_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_sub(earlier.reasoning_tokens),
            estimated: self.estimated,
            cost_micros: self.cost_micros.saturating_sub(earlier.cost_micros).max(0),
            price_version: self.price_version,
        }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// The error reason without its prefix.
    pub(crate) reason: String,
    /// What happened and what to do.
    pub(crate) message: String,
}

/// The plan that a run is about to apply, as it was reviewed. Stored before the approval is sent, so that whoever takes
/// the run over approves the same thing or nothing, and relays the plan's events from the same place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanRef {
    pub(crate) plan_id: Uuid,
    pub(crate) version: u32,
    pub(crate) base_revision_id: String,
    /// The newest sequence of the plan's events before the approval.
    pub(crate) after_sequence: u64,
    /// What making the plan had used.
    pub(crate) usage: Usage,
}

/// The work on one message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: Uuid,
    pub(crate) project: ProjectId,
    pub(crate) conversation_id: Uuid,
    pub(crate) user_message_id: Uuid,
    /// The number of the message that it answers; the answer gets the next one.
    pub(crate) user_message_number: u64,
    pub(crate) answer_message_id: Option<Uuid>,
    pub(crate) state: RunState,
    pub(crate) intent: Option<Intent>,
    pub(crate) plan_id: Option<Uuid>,
    pub(crate) plan_ref: Option<PlanRef>,
    pub(crate) attempt: u32,
    pub(crate) model: String,
    pub(crate) usage: Option<Usage>,
    pub(crate) failure: Option<Failure>,
    pub(crate) cancel_requested: bool,
    /// The newest sequence when the run has ended; while it is going, the event log knows.
    pub(crate) last_sequence: u64,
    pub(crate) create_time: i64,
    pub(crate) update_time: i64,
}

impl Run {
    /// Ends the run. A run ends once: false when it had ended before, and then nothing changes.
    pub(crate) fn end(&mut self, state: RunState, failure: Option<Failure>, now: i64) -> bool {
        if !self.state.may_become(state) {
            return false;
        }
        self.state = state;
        self.failure = failure;
        self.update_time = now;
        true
    }
}

/// What a worker is handed with a run: all that it needs to begin without reading what was just written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) run: Run,
    /// On whose behalf.
    #[serde(flatten)]
    pub(crate) origin: Origin,
    pub(crate) workspace_id: Option<Uuid>,
    /// The plan that may be waiting for review.
    pub(crate) open_plan_id: Option<Uuid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [RunState; 4] = [RunState::Running, RunState::Completed, RunState::Failed, RunState::Cancelled];

    #[test]
    fn a_run_ends_once() {
        for from in ALL {
            for to in ALL {
                let legal = from == RunState::Running && to != RunState::Running;
                assert_eq!(from.may_become(to), legal, "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn usage_since_never_goes_below_zero() {
        let before = Usage { input_tokens: 10, output_tokens: 5, ..Usage::default() };
        let after = Usage { input_tokens: 25, output_tokens: 5, estimated: true, ..Usage::default() };
        assert_eq!(after.since(&before), Usage { input_tokens: 15, estimated: true, ..Usage::default() });
        assert_eq!(Usage::default().since(&before).input_tokens, 0);
        let priced = |cost_micros| Usage { cost_micros, price_version: "list".into(), ..Usage::default() };
        assert_eq!(priced(7).since(&priced(5)), priced(2));
        assert_eq!(priced(5).since(&priced(7)), priced(0));
    }
}
