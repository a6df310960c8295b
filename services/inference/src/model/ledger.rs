//! A call as the ledger keeps it: who pays, what was used, how it ended. Numbers and names, never a word of what was said.

use std::sync::Arc;

use slipway_rpc::Ctx;
use uuid::Uuid;

use super::Usage;

/// What a caller says that a call is for. Labels: they open nothing, and limit only who sets them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    /// The conversation.
    pub(crate) conversation: Option<Uuid>,
    /// The plan.
    pub(crate) plan: Option<Uuid>,
    /// Why it is made. Never the caller's word.
    pub(crate) purpose: Purpose,
}

/// Why a call is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Somebody has asked for its answer.
    #[default]
    Answer = 0,
    /// A short answer beside a detailed one.
    Quick = 1,
    /// To know whether a kept answer is to a question that means the same.
    Embedding = 2,
    /// Somebody is likely to ask for its answer next.
    Prefetch = 3,
}

impl Purpose {
    /// The purpose of a number.
    pub(crate) fn from_number(number: i16) -> Option<Self> {
        [Self::Answer, Self::Quick, Self::Embedding, Self::Prefetch].into_iter().find(|p| *p as i16 == number)
    }
}

/// Who pays for a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Payer {
    /// Nil: none is named.
    pub(crate) organisation: Uuid,
    /// The tenant.
    pub(crate) project: Uuid,
    /// The user.
    pub(crate) user: Uuid,
    /// The access token's name; empty when not known.
    pub(crate) token: Arc<str>,
    /// The conversation, if the call is for one.
    pub(crate) conversation: Option<Uuid>,
    /// The plan, if the call is for one.
    pub(crate) plan: Option<Uuid>,
}

impl Payer {
    /// The caller, with what the call is for.
    pub(crate) fn of(ctx: &Ctx, labels: Labels) -> Self {
        Self {
            organisation: ctx.caller.organisation.0,
            project: ctx.project.0,
            user: ctx.caller.user.0,
            token: ctx.caller.token.clone(),
            conversation: labels.conversation,
            plan: labels.plan,
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The answer is whole.
    Completed = 1,
    /// The caller went away.
    Cancelled = 2,
    /// It failed, or its deadline passed.
    Failed = 3,
    /// The process that made the call died.
    Lost = 4,
}

impl Outcome {
    /// The outcome of a number.
    pub(crate) fn from_number(number: i16) -> Option<Self> {
        [Self::Completed, Self::Cancelled, Self::Failed, Self::Lost].into_iter().find(|o| *o as i16 == number)
    }
}

/// One of several tries to answer a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tried {
    /// `provider/model`.
    pub(crate) model: Arc<str>,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// When it failed: why.
    pub(crate) reason: String,
    /// What it used.
    pub(crate) usage: Usage,
    /// What it cost, in micro-dollars.
    pub(crate) cost: i64,
    /// How long it took, in milliseconds.
    pub(crate) latency_ms: i64,
}

/// A call that has ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    /// UUIDv7.
    pub(crate) id: Uuid,
    /// Who pays.
    pub(crate) payer: Payer,
    /// Why it was made.
    pub(crate) purpose: Purpose,
    /// When it began, in microseconds since 1970: the window that it counts in.
    pub(crate) create_time: i64,
    /// `provider/model`.
    pub(crate) model: Arc<str>,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// When it failed: the stable reason.
    pub(crate) reason: String,
    /// What all attempts used.
    pub(crate) usage: Usage,
    /// What all attempts cost, in micro-dollars.
    pub(crate) cost: i64,
    /// The price list; `None`: the price is not known.
    pub(crate) price_version: Option<Arc<str>>,
    /// What it was expected to cost.
    pub(crate) estimate: i64,
    /// From its beginning to its end.
    pub(crate) latency_ms: i64,
    /// From its beginning to the first word.
    pub(crate) first_token_ms: Option<i64>,
    /// It was answered from a cache.
    pub(crate) cache_hit: bool,
    /// What was tried, when that was more than one call.
    pub(crate) attempts: Vec<Tried>,
}

impl Call {
    /// The tokens that budgets count.
    pub(crate) fn tokens(&self) -> i64 {
        let tokens = self.usage.input.saturating_add(self.usage.output);
        i64::try_from(tokens).unwrap_or(i64::MAX)
    }
}

/// What a call cost, as its caller is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    /// Micro-dollars.
    pub(crate) micros: i64,
    /// The price list; `None`: the price is not known.
    pub(crate) version: Option<Arc<str>>,
}
