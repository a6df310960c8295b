//! The use cases of usage: sums, lists, estimates. The caller's project, or for those who administer it the organisation.

use slipway_rpc::{Ctx, now_micros};
use slipway_storage::page;
use uuid::Uuid;

use super::{Asked, Inference};
use crate::error::Error;
use crate::model::{Call, Charge, Request, Span};
use crate::money::Estimate;
use crate::store::{CallFilter, Dimension, Sum, SumFilter};

/// The most sums of one answer.
const MAX_SUMS: usize = 10_000;
const DEFAULT_SPAN_MICROS: i64 = 30 * 86_400_000_000;

/// What to add up.
#[derive(Clone, Debug)]
pub(crate) struct UsageQuery {
    pub(crate) by: Vec<Dimension>,
    pub(crate) start: Option<i64>,
    pub(crate) end: Option<i64>,
    pub(crate) whole_organisation: bool,
}

/// What was used.
pub(crate) struct UsageSums {
    pub(crate) by: Vec<Dimension>,
    pub(crate) sums: Vec<Sum>,
    pub(crate) total: Sum,
    pub(crate) cut: bool,
}

/// Which calls to list.
#[derive(Clone, Debug)]
pub(crate) struct CallQuery {
    pub(crate) start: Option<i64>,
    pub(crate) end: Option<i64>,
    pub(crate) user: Option<Uuid>,
    pub(crate) conversation: Option<Uuid>,
    pub(crate) plan: Option<Uuid>,
    pub(crate) model: String,
    pub(crate) whole_organisation: bool,
    pub(crate) page_size: u32,
    pub(crate) page_token: String,
}

/// A page of calls.
pub(crate) struct Calls {
    pub(crate) calls: Vec<Call>,
    pub(crate) next_page_token: String,
}

/// An estimate, for a model.
pub(crate) struct Estimated {
    pub(crate) model: String,
    pub(crate) estimate: Estimate,
    pub(crate) price: Charge,
}

impl Inference {
    /// Adds calls up.
    pub(crate) async fn get_usage(&self, ctx: &Ctx, query: UsageQuery) -> Result<UsageSums, Error> {
        let end = query.end.unwrap_or_else(|| now_micros().saturating_add(1));
        let start = query.start.unwrap_or(end.saturating_sub(DEFAULT_SPAN_MICROS));
        let filter = SumFilter { owner: owner(ctx, query.whole_organisation)?, span: Span { start, end } };
        let store = self.money.store();
        let total = store.sum_calls(&filter, &[], 1).await?.pop().unwrap_or_default();
        let mut sums = match query.by.is_empty() {
            true => Vec::new(),
            false => store.sum_calls(&filter, &query.by, MAX_SUMS + 1).await?,
        };
        let cut = sums.len() > MAX_SUMS;
        sums.truncate(MAX_SUMS);
        Ok(UsageSums { by: query.by, sums, total, cut })
    }

    /// Lists calls, the newest first.
    pub(crate) async fn list_calls(&self, ctx: &Ctx, query: CallQuery) -> Result<Calls, Error> {
        let owner = owner(ctx, query.whole_organisation)?;
        let scope = format!("ListCalls/{owner:?}/{:?}/{:?}/{:?}/{}", query.user, query.conversation, query.plan, query.model);
        let before: Option<Uuid> = match query.page_token.as_str() {
            "" => None,
            token => Some(page::decode(&scope, token).ok_or(Error::PageToken)?),
        };
        let span = Span { start: query.start.unwrap_or(0), end: query.end.unwrap_or(i64::MAX) };
        let (user, conversation, plan) = (query.user, query.conversation, query.plan);
        let filter = CallFilter { owner, span, user, conversation, plan, model: query.model };
        let size = query.page_size as usize;
        let mut calls = self.money.store().list_calls(&filter, before, size as u64 + 1).await?;
        let more = calls.len() > size;
        calls.truncate(size);
        let last = calls.last().filter(|_| more).map(|call| page::encode(&scope, &call.id));
        Ok(Calls { calls, next_page_token: last.unwrap_or_default() })
    }

    /// What a prompt would use and cost.
    pub(crate) async fn estimate_cost(&self, asked: Asked) -> Result<Estimated, Error> {
        let target = self.providers().get(&asked.model)?;
        let request = Request { model: target.model, ..asked.request };
        let (estimate, version) = self.money.estimate(&target.id, &request).await;
        Ok(Estimated { model: target.id.to_string(), price: Charge { micros: estimate.cost, version }, estimate })
    }
}

/// Whose calls: the project's, or the organisation's.
fn owner(ctx: &Ctx, whole_organisation: bool) -> Result<Result<Uuid, Uuid>, Error> {
    match whole_organisation {
        false => Ok(Ok(ctx.project.0)),
        true if ctx.caller.administers_organisation() => Ok(Err(ctx.caller.organisation.0)),
        true => Err(Error::NotOfOrganisation),
    }
}
