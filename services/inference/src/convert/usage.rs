//! Between the API's messages about usage and the model.

use slipway_proto::inference as pb;
use slipway_rpc::{Check, Fault, timestamp};

use super::MAX_MODEL;
use crate::model::{Call, Charge, Outcome, Purpose, Tried};
use crate::service::{CallQuery, Calls, Estimated, UsageQuery, UsageSums};
use crate::store::{Dimension, Sum};

const MAX_DIMENSIONS: usize = 3;

/// What to add up.
pub(crate) fn usage_query(request: pb::GetUsageRequest) -> Result<UsageQuery, Fault> {
    let mut check = Check::new();
    check.ensure(request.group_by.len() <= MAX_DIMENSIONS, "group_by", "has more than 3 dimensions");
    let mut by = Vec::new();
    for (n, number) in request.group_by.into_iter().enumerate() {
        let field = format!("group_by[{n}]");
        match dimension(number) {
            None => check.fail(&field, "is not a known dimension"),
            Some(dimension) if by.contains(&dimension) => check.fail(&field, "is there twice"),
            Some(dimension) => by.push(dimension),
        }
    }
    let (start, end) = span(&mut check, request.start_time, request.end_time);
    check.finish()?;
    Ok(UsageQuery { by, start, end, whole_organisation: request.whole_organisation })
}

fn dimension(number: i32) -> Option<Dimension> {
    Some(match pb::UsageDimension::try_from(number).ok()? {
        pb::UsageDimension::Unspecified => return None,
        pb::UsageDimension::Day => Dimension::Day,
        pb::UsageDimension::Model => Dimension::Model,
        pb::UsageDimension::Provider => Dimension::Provider,
        pb::UsageDimension::Project => Dimension::Project,
        pb::UsageDimension::User => Dimension::User,
        pb::UsageDimension::Token => Dimension::Token,
        pb::UsageDimension::Conversation => Dimension::Conversation,
        pb::UsageDimension::Plan => Dimension::Plan,
    })
}

type Time = Option<prost_types::Timestamp>;

fn span(check: &mut Check, start: Time, end: Time) -> (Option<i64>, Option<i64>) {
    let (start, end) = (time(check, "start_time", start), time(check, "end_time", end));
    if let (Some(start), Some(end)) = (start, end) {
        check.ensure(start <= end, "end_time", "is before start_time");
    }
    (start, end)
}

fn time(check: &mut Check, field: &str, time: Time) -> Option<i64> {
    let time = time?;
    let micros = time.seconds.checked_mul(1_000_000).and_then(|s| s.checked_add(i64::from(time.nanos) / 1_000));
    // The years that a timestamp may have.
    let sane = micros.filter(|_| (-62_135_596_800..=253_402_300_799).contains(&time.seconds) && time.nanos >= 0);
    check.ensure(sane.is_some(), field, "is not a time");
    sane
}

/// Which calls to list.
pub(crate) fn call_query(request: pb::ListCallsRequest) -> Result<CallQuery, Fault> {
    let mut check = Check::new();
    let (start, end) = span(&mut check, request.start_time, request.end_time);
    let query = CallQuery {
        start,
        end,
        user: check.optional_uuid("user_id", &request.user_id),
        conversation: check.optional_uuid("conversation_id", &request.conversation_id),
        plan: check.optional_uuid("plan_id", &request.plan_id),
        model: check.text("model", &request.model, 0, MAX_MODEL),
        whole_organisation: request.whole_organisation,
        page_size: check.page_size("page_size", request.page_size, 50, 1_000),
        page_token: request.page_token,
    };
    check.finish()?;
    Ok(query)
}

/// Sums.
pub(crate) fn usage_sums(sums: UsageSums) -> pb::GetUsageResponse {
    let by = sums.by;
    pb::GetUsageResponse {
        sums: sums.sums.into_iter().map(|s| sum(&by, s)).collect(),
        total: Some(sum(&[], sums.total)),
        cut: sums.cut,
    }
}

fn sum(by: &[Dimension], sum: Sum) -> pb::UsageSum {
    let mut out = pb::UsageSum {
        calls: sum.calls,
        unfinished_calls: sum.unfinished,
        unpriced_calls: sum.unpriced,
        cache_hits: sum.cache_hits,
        input_tokens: sum.usage.input,
        output_tokens: sum.usage.output,
        cached_input_tokens: sum.usage.cached_input,
        cache_write_tokens: sum.usage.cache_write,
        reasoning_tokens: sum.usage.reasoning,
        image_tokens: sum.usage.images,
        cost_micros: sum.cost,
        ..Default::default()
    };
    for (dimension, name) in by.iter().zip(sum.names) {
        match dimension {
            Dimension::Day => out.day = name,
            Dimension::Model => out.model = name,
            Dimension::Provider => out.provider = name,
            Dimension::Project => out.project_id = name,
            Dimension::User => out.user_id = name,
            Dimension::Token => out.token = name,
            Dimension::Conversation => out.conversation_id = name,
            Dimension::Plan => out.plan_id = name,
        }
    }
    out
}

/// A page of calls.
pub(crate) fn calls(page: Calls) -> pb::ListCallsResponse {
    pb::ListCallsResponse { calls: page.calls.into_iter().map(call).collect(), next_page_token: page.next_page_token }
}

fn call(call: Call) -> pb::Call {
    let charge = Charge { micros: call.cost, version: call.price_version.clone() };
    pb::Call {
        id: call.id.to_string(),
        create_time: Some(timestamp(call.create_time)),
        project_id: call.payer.project.to_string(),
        user_id: call.payer.user.to_string(),
        token: call.payer.token.to_string(),
        conversation_id: call.payer.conversation.map(|id| id.to_string()).unwrap_or_default(),
        plan_id: call.payer.plan.map(|id| id.to_string()).unwrap_or_default(),
        model: call.model.to_string(),
        outcome: outcome(call.outcome).into(),
        reason: call.reason,
        priced: call.price_version.is_some(),
        usage: Some(super::usage(call.usage, &charge)),
        estimate_micros: call.estimate,
        latency_ms: count(call.latency_ms),
        first_token_ms: call.first_token_ms.map(count),
        cache_hit: call.cache_hit,
        attempts: call.attempts.into_iter().map(attempt).collect(),
        purpose: purpose(call.purpose).into(),
    }
}

fn attempt(attempt: Tried) -> pb::CallAttempt {
    pb::CallAttempt {
        model: attempt.model.to_string(),
        outcome: outcome(attempt.outcome).into(),
        reason: attempt.reason,
        input_tokens: attempt.usage.input,
        output_tokens: attempt.usage.output,
        cost_micros: attempt.cost,
        latency_ms: count(attempt.latency_ms),
    }
}

fn outcome(outcome: Outcome) -> pb::CallOutcome {
    match outcome {
        Outcome::Completed => pb::CallOutcome::Completed,
        Outcome::Cancelled => pb::CallOutcome::Cancelled,
        Outcome::Failed => pb::CallOutcome::Failed,
        Outcome::Lost => pb::CallOutcome::Lost,
    }
}

fn purpose(purpose: Purpose) -> pb::CallPurpose {
    match purpose {
        Purpose::Answer => pb::CallPurpose::Answer,
        Purpose::Quick => pb::CallPurpose::QuickAnswer,
        Purpose::Embedding => pb::CallPurpose::Embedding,
        Purpose::Prefetch => pb::CallPurpose::Prefetch,
    }
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// An estimate.
pub(crate) fn estimated(estimated: Estimated) -> pb::EstimateCostResponse {
    let Estimated { model, estimate, price } = estimated;
    pb::EstimateCostResponse {
        model,
        input_tokens: estimate.input,
        output_tokens: estimate.output,
        cost_micros: estimate.cost,
        reserve_micros: estimate.reserve,
        priced: price.version.is_some(),
        price_version: price.version.map(|v| v.to_string()).unwrap_or_default(),
    }
}
