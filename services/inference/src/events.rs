//! What this service tells the others: `budget.threshold_reached`. It consumes nothing.

use bytes::Bytes;
use prost::Message as _;
use slipway_bus::Event;
use slipway_proto::events::event::Event as Kind;
use slipway_proto::events::{BudgetThresholdReached, Event as Payload};
use slipway_rpc::timestamp;
use uuid::Uuid;

use crate::model::{Budget, Standing};

/// A budget has reached a threshold in a window.
pub(crate) fn threshold_reached(budget: &Budget, standing: &Standing, percent: u8, time: i64) -> Event {
    let end = Some(standing.span).filter(|span| !span.is_endless());
    let reached = BudgetThresholdReached {
        budget_id: budget.id.to_string(),
        name: budget.name.clone(),
        subject_kind: budget.kind.name().to_owned(),
        subject: standing.subject.clone(),
        threshold_percent: percent.into(),
        spent_micros: standing.spent.micros,
        limit_micros: budget.limit_micros,
        spent_tokens: standing.spent.tokens,
        limit_tokens: budget.limit_tokens,
        window_start_time: end.map(|span| timestamp(span.start)),
        reset_time: end.map(|span| timestamp(span.end)),
    };
    let id = Uuid::now_v7();
    let payload = Payload {
        id: id.to_string(),
        create_time: Some(timestamp(time)),
        ignorable: true,
        // Of the organisation's budgets it is no project's.
        project_id: if budget.project.is_nil() { String::new() } else { budget.project.to_string() },
        user_id: String::new(),
        traceparent: String::new(),
        event: Some(Kind::BudgetThresholdReached(reached)),
    };
    Event {
        id,
        subject: "budget.threshold_reached".to_owned(),
        entity_id: budget.id.to_string(),
        traceparent: String::new(),
        payload: Bytes::from(payload.encode_to_vec()),
    }
}
