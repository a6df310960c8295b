//! Between the API's messages about budgets and the model.

use prost::Message as _;
use slipway_proto::inference as pb;
use slipway_rpc::{Check, Fault, timestamp};
use uuid::Uuid;

use crate::model::{Budget, Standing, SubjectKind, WindowKind};
use crate::service::{BudgetChange, Budgets, NewBudget};
use crate::store::RequestKey;

const MAX_NAME: usize = 100;
const MAX_REQUEST_ID: usize = 100;
const MAX_SUBJECT: usize = 200;
const MAX_ETAG: usize = 100;
const MAX_THRESHOLDS: usize = 10;
/// A billion dollars; a quadrillion tokens.
const MAX_LIMIT: i64 = 1_000_000_000_000_000;

/// A budget to make.
pub(crate) fn new_budget(mut request: pb::CreateBudgetRequest) -> Result<NewBudget, Fault> {
    let mut check = Check::new();
    let id = check.text("request_id", &std::mem::take(&mut request.request_id), 0, MAX_REQUEST_ID);
    let payload_hash = if id.is_empty() { [0; 32] } else { *blake3::hash(&request.encode_to_vec()).as_bytes() };
    let kind = subject_kind(request.subject_kind);
    check.ensure(kind.is_some(), "subject_kind", "is required");
    let window = window(request.window);
    check.ensure(window.is_some(), "window", "is required");
    let (kind, window) = (kind.unwrap_or(SubjectKind::Project), window.unwrap_or(WindowKind::Total));
    let subject = check.text("subject", &request.subject, 0, MAX_SUBJECT);
    check_subject(&mut check, kind, &subject);
    let limited = request.limit_micros.is_some() || request.limit_tokens.is_some();
    check.ensure(limited, "limit_micros", "is required where limit_tokens is absent");
    let new = NewBudget {
        name: check.text("name", &request.name, 1, MAX_NAME),
        kind,
        subject,
        window,
        limit_micros: limit(&mut check, "limit_micros", request.limit_micros),
        limit_tokens: limit(&mut check, "limit_tokens", request.limit_tokens),
        thresholds: thresholds(&mut check, request.thresholds),
        refuse_unpriced: request.refuse_unpriced,
        key: RequestKey { method: "CreateBudget", id, payload_hash },
    };
    check.finish()?;
    Ok(new)
}

fn subject_kind(number: i32) -> Option<SubjectKind> {
    Some(match pb::BudgetSubject::try_from(number).ok()? {
        pb::BudgetSubject::Unspecified => return None,
        pb::BudgetSubject::Organisation => SubjectKind::Organisation,
        pb::BudgetSubject::Project => SubjectKind::Project,
        pb::BudgetSubject::User => SubjectKind::User,
        pb::BudgetSubject::Token => SubjectKind::Token,
        pb::BudgetSubject::Conversation => SubjectKind::Conversation,
        pb::BudgetSubject::Plan => SubjectKind::Plan,
    })
}

fn window(number: i32) -> Option<WindowKind> {
    Some(match pb::BudgetWindow::try_from(number).ok()? {
        pb::BudgetWindow::Unspecified => return None,
        pb::BudgetWindow::Day => WindowKind::Day,
        pb::BudgetWindow::Month => WindowKind::Month,
        pb::BudgetWindow::Total => WindowKind::Total,
    })
}

/// Ids have one spelling, or a budget would never meet its calls.
fn check_subject(check: &mut Check, kind: SubjectKind, subject: &str) {
    match kind {
        SubjectKind::Organisation | SubjectKind::Project => {
            check.ensure(subject.is_empty(), "subject", "is for budgets of a user, token, conversation or plan");
        }
        SubjectKind::Token => {}
        SubjectKind::User | SubjectKind::Conversation | SubjectKind::Plan => {
            let parsed = check.optional_uuid("subject", subject);
            let one_spelling = parsed.is_none_or(|id| id.to_string() == subject);
            check.ensure(one_spelling, "subject", "is not in lower case");
        }
    }
}

fn limit(check: &mut Check, field: &str, limit: Option<i64>) -> Option<i64> {
    check.ensure(limit.is_none_or(|l| (0..=MAX_LIMIT).contains(&l)), field, format!("is not between 0 and {MAX_LIMIT}"));
    limit
}

fn thresholds(check: &mut Check, all: Vec<u32>) -> Vec<u8> {
    check.ensure(all.len() <= MAX_THRESHOLDS, "thresholds", "are more than 10");
    let mut percents: Vec<u8> = Vec::new();
    for percent in all {
        match u8::try_from(percent).ok().filter(|p| (1..=100).contains(p)) {
            Some(percent) => percents.push(percent),
            None => check.fail("thresholds", "are not all between 1 and 100"),
        }
    }
    percents.sort_unstable();
    percents.dedup();
    percents
}

/// What to change of a budget.
pub(crate) fn budget_change(request: pb::UpdateBudgetRequest) -> Result<BudgetChange, Fault> {
    let mut check = Check::new();
    let cleared = |clear: bool, limit: Option<i64>| if clear { Some(None) } else { limit.map(Some) };
    for (clear, limit, field) in [
        (request.clear_limit_micros, request.limit_micros, "clear_limit_micros"),
        (request.clear_limit_tokens, request.limit_tokens, "clear_limit_tokens"),
    ] {
        check.ensure(!clear || limit.is_none(), field, "contradicts the limit beside it");
    }
    let change = BudgetChange {
        id: check.uuid("budget_id", &request.budget_id),
        etag: check.text("etag", &request.etag, 0, MAX_ETAG),
        name: request.name.map(|name| check.text("name", &name, 1, MAX_NAME)),
        limit_micros: cleared(request.clear_limit_micros, limit(&mut check, "limit_micros", request.limit_micros)),
        limit_tokens: cleared(request.clear_limit_tokens, limit(&mut check, "limit_tokens", request.limit_tokens)),
        thresholds: thresholds(&mut check, request.thresholds),
        refuse_unpriced: request.refuse_unpriced,
    };
    check.finish()?;
    Ok(change)
}

/// One id of a request and nothing else.
pub(crate) fn budget_id(id: &str) -> Result<Uuid, Fault> {
    let mut check = Check::new();
    let id = check.uuid("budget_id", id);
    check.finish().map(|()| id)
}

/// A page of budgets.
pub(crate) fn list_budgets(request: pb::ListBudgetsRequest) -> Result<(u32, String), Fault> {
    let mut check = Check::new();
    let size = check.page_size("page_size", request.page_size, 50, 1_000);
    check.finish().map(|()| (size, request.page_token))
}

/// Which budget, for which of its subjects.
pub(crate) fn status_query(request: pb::GetBudgetStatusRequest) -> Result<(Uuid, String), Fault> {
    let mut check = Check::new();
    let query = (check.uuid("budget_id", &request.budget_id), check.text("subject", &request.subject, 0, MAX_SUBJECT));
    check.finish().map(|()| query)
}

/// A budget.
pub(crate) fn budget(budget: Budget) -> pb::Budget {
    pb::Budget {
        id: budget.id.to_string(),
        etag: budget.etag(),
        subject_kind: budget.kind as i32,
        window: budget.window as i32,
        project_id: if budget.project.is_nil() { String::new() } else { budget.project.to_string() },
        name: budget.name,
        subject: budget.subject,
        limit_micros: budget.limit_micros,
        limit_tokens: budget.limit_tokens,
        thresholds: budget.thresholds.into_iter().map(u32::from).collect(),
        refuse_unpriced: budget.refuse_unpriced,
        create_time: Some(timestamp(budget.create_time)),
        update_time: Some(timestamp(budget.update_time)),
    }
}

/// A page of budgets.
pub(crate) fn budgets(page: Budgets) -> pb::ListBudgetsResponse {
    pb::ListBudgetsResponse { budgets: page.budgets.into_iter().map(budget).collect(), next_page_token: page.next_page_token }
}

/// How a budget stands.
pub(crate) fn budget_status(of: Budget, standing: Standing) -> pb::BudgetStatus {
    let left = |limit: Option<i64>, spent: i64, reserved: i64| limit.map(|l| l.saturating_sub(spent).saturating_sub(reserved));
    let end = Some(standing.span).filter(|span| !span.is_endless());
    let (spent, reserved) = (standing.spent, standing.reserved);
    pb::BudgetStatus {
        left_micros: left(of.limit_micros, spent.micros, reserved.micros),
        left_tokens: left(of.limit_tokens, spent.tokens, reserved.tokens),
        budget: Some(budget(of)),
        subject: standing.subject,
        window_start_time: end.map(|span| timestamp(span.start)),
        reset_time: end.map(|span| timestamp(span.end)),
        spent_micros: spent.micros,
        reserved_micros: reserved.micros,
        spent_tokens: spent.tokens,
        reserved_tokens: reserved.tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> pb::CreateBudgetRequest {
        pb::CreateBudgetRequest {
            name: "b".into(),
            subject_kind: pb::BudgetSubject::Project.into(),
            window: pb::BudgetWindow::Day.into(),
            limit_micros: Some(1),
            ..Default::default()
        }
    }

    fn fields(request: pb::CreateBudgetRequest) -> Vec<String> {
        new_budget(request).unwrap_err().violations().iter().map(|v| v.field.clone()).collect()
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert_eq!(new_budget(request()).unwrap().thresholds, [0u8; 0], "the usual ones");
        assert_eq!(fields(pb::CreateBudgetRequest::default()), ["subject_kind", "window", "limit_micros", "name"]);
        assert_eq!(fields(pb::CreateBudgetRequest { subject: "x".into(), ..request() }), ["subject"]);
        let user = pb::CreateBudgetRequest { subject_kind: pb::BudgetSubject::User.into(), ..request() };
        assert_eq!(fields(pb::CreateBudgetRequest { subject: "x".into(), ..user.clone() }), ["subject"]);
        let upper = "0197A000-0000-7000-8000-00000000000A";
        assert_eq!(fields(pb::CreateBudgetRequest { subject: upper.into(), ..user }), ["subject"]);
        assert_eq!(fields(pb::CreateBudgetRequest { limit_micros: Some(-1), ..request() }), ["limit_micros"]);
        assert_eq!(fields(pb::CreateBudgetRequest { thresholds: vec![0], ..request() }), ["thresholds"]);
        let sorted = new_budget(pb::CreateBudgetRequest { thresholds: vec![90, 10, 90], ..request() }).unwrap();
        assert_eq!(sorted.thresholds, [10, 90]);
    }

    #[test]
    fn numbers_of_the_api_are_those_of_the_tables() {
        for kind in SubjectKind::ALL {
            assert_eq!(subject_kind(kind as i32), Some(kind));
        }
        for kind in WindowKind::ALL {
            assert_eq!(window(kind as i32), Some(kind));
        }
    }

    #[test]
    fn a_limit_is_set_or_taken_away() {
        let change = |clear, limit_micros| {
            let budget_id = Uuid::now_v7().to_string();
            budget_change(pb::UpdateBudgetRequest { budget_id, clear_limit_micros: clear, limit_micros, ..Default::default() })
        };
        assert_eq!(change(false, None).unwrap().limit_micros, None);
        assert_eq!(change(false, Some(5)).unwrap().limit_micros, Some(Some(5)));
        assert_eq!(change(true, None).unwrap().limit_micros, Some(None));
        assert!(change(true, Some(5)).is_err());
    }
}
