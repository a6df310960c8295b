//! `slipway budget`

use slipway_proto::inference as pb;
use slipway_proto::inference::{
    BudgetStatus, BudgetSubject, BudgetWindow, CreateBudgetRequest, DeleteBudgetRequest, GetBudgetStatusRequest,
    ListBudgetsRequest, ListBudgetsResponse,
};
use uuid::Uuid;

use super::{Api, required};
use crate::args::{Budget, Subject, Window};
use crate::output::{Out, Table, bar, dollars, time};

const BAR: usize = 16;

/// Makes, lists, shows or deletes budgets.
pub(crate) async fn budget(api: &Api, out: &Out, command: Budget) -> anyhow::Result<()> {
    match command {
        Budget::Create { name, of, subject, per, dollars, tokens, alert, refuse_unpriced } => {
            let request = CreateBudgetRequest {
                request_id: Uuid::now_v7().to_string(),
                name,
                subject_kind: subject_kind(of).into(),
                subject,
                window: window(per).into(),
                limit_micros: dollars,
                limit_tokens: tokens,
                thresholds: alert,
                refuse_unpriced,
            };
            let answer = api.budgets.clone().create_budget(request).await?.into_inner();
            if out.json("inference.v1.CreateBudgetResponse", &answer)? {
                return Ok(());
            }
            let made = required(answer.budget, "budget")?;
            out.line(format!("{} {} {}", out.paint.green("✓"), made.id, limit(&made)))
        }
        Budget::List => list(api, out).await,
        Budget::Status { id: Some(id), subject } => {
            let status = status(api, id, subject).await?;
            if out.json("inference.v1.BudgetStatus", &status)? {
                return Ok(());
            }
            show(out, &[status])
        }
        Budget::Status { id: None, .. } => {
            let mut all = Vec::new();
            for budget in all_budgets(api).await?.budgets {
                // Of each conversation or plan: which one would it be?
                let each = matches!(budget.subject_kind(), BudgetSubject::Conversation | BudgetSubject::Plan);
                if each && budget.subject.is_empty() {
                    continue;
                }
                all.push(status(api, budget.id, String::new()).await?);
            }
            if out.is_json() {
                return all.iter().try_for_each(|status| out.json("inference.v1.BudgetStatus", status).map(drop));
            }
            show(out, &all)
        }
        Budget::Delete { id } => {
            let answer = api.budgets.clone().delete_budget(DeleteBudgetRequest { budget_id: id.clone() }).await?.into_inner();
            if out.json("inference.v1.DeleteBudgetResponse", &answer)? {
                return Ok(());
            }
            out.line(format!("{id} is deleted"))
        }
    }
}

async fn status(api: &Api, budget_id: String, subject: String) -> anyhow::Result<BudgetStatus> {
    let request = GetBudgetStatusRequest { budget_id, subject };
    required(api.budgets.clone().get_budget_status(request).await?.into_inner().status, "status")
}

async fn all_budgets(api: &Api) -> anyhow::Result<ListBudgetsResponse> {
    let mut all = ListBudgetsResponse::default();
    loop {
        let request = ListBudgetsRequest { page_size: 1000, page_token: std::mem::take(&mut all.next_page_token) };
        let page = api.budgets.clone().list_budgets(request).await?.into_inner();
        all.budgets.extend(page.budgets);
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn list(api: &Api, out: &Out) -> anyhow::Result<()> {
    let all = all_budgets(api).await?;
    if out.json("inference.v1.ListBudgetsResponse", &all)? {
        return Ok(());
    }
    if all.budgets.is_empty() {
        return out.line("no budgets");
    }
    let mut table = Table::plain(&["id", "name", "whose", "limit"], out.paint);
    for budget in &all.budgets {
        table.row([budget.id.clone(), budget.name.clone(), whose(budget, &budget.subject), limit(budget)]);
    }
    out.line(table.text())
}

fn show(out: &Out, all: &[BudgetStatus]) -> anyhow::Result<()> {
    if all.is_empty() {
        return out.line("no budgets");
    }
    let mut table = Table::plain(&["name", "whose", "limit", "spent", "reserved", "left", "", "full again"], out.paint);
    for status in all {
        let budget = status.budget.clone().unwrap_or_default();
        let both = |micros: i64, tokens: i64| amounts(budget.limit_micros.map(|_| micros), budget.limit_tokens.map(|_| tokens));
        let reset = if status.reset_time.is_some() { time(status.reset_time.as_ref()) } else { "never".to_owned() };
        let bar = match (budget.limit_micros, budget.limit_tokens) {
            (Some(limit), _) => bar(status.spent_micros + status.reserved_micros, limit, BAR),
            (None, limit) => bar(status.spent_tokens + status.reserved_tokens, limit.unwrap_or(0), BAR),
        };
        table.row([
            budget.name.clone(),
            whose(&budget, &status.subject),
            limit(&budget),
            both(status.spent_micros, status.spent_tokens),
            both(status.reserved_micros, status.reserved_tokens),
            amounts(status.left_micros, status.left_tokens),
            bar,
            reset,
        ]);
    }
    out.line(table.text())
}

fn subject_kind(of: Subject) -> BudgetSubject {
    match of {
        Subject::Organisation => BudgetSubject::Organisation,
        Subject::Project => BudgetSubject::Project,
        Subject::User => BudgetSubject::User,
        Subject::Token => BudgetSubject::Token,
        Subject::Conversation => BudgetSubject::Conversation,
        Subject::Plan => BudgetSubject::Plan,
    }
}

fn window(per: Window) -> BudgetWindow {
    match per {
        Window::Day => BudgetWindow::Day,
        Window::Month => BudgetWindow::Month,
        Window::Total => BudgetWindow::Total,
    }
}

fn whose(budget: &pb::Budget, subject: &str) -> String {
    let kind = budget.subject_kind().as_str_name().trim_start_matches("BUDGET_SUBJECT_").to_lowercase();
    match (budget.subject_kind(), subject) {
        (BudgetSubject::Organisation | BudgetSubject::Project, _) => kind,
        (_, "") => format!("each {kind}"),
        (_, subject) => format!("{kind} {subject}"),
    }
}

fn limit(budget: &pb::Budget) -> String {
    let per = match budget.window() {
        BudgetWindow::Day => " a day",
        BudgetWindow::Month => " a month",
        BudgetWindow::Total | BudgetWindow::Unspecified => " in all",
    };
    amounts(budget.limit_micros, budget.limit_tokens) + per
}

fn amounts(micros: Option<i64>, tokens: Option<i64>) -> String {
    let both = [micros.map(|m| format!("${}", dollars(m))), tokens.map(|t| format!("{t} tokens"))];
    both.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_read_well() {
        let budget = pb::Budget {
            subject_kind: BudgetSubject::User.into(),
            window: BudgetWindow::Day.into(),
            limit_micros: Some(2_500_000),
            limit_tokens: Some(10),
            ..Default::default()
        };
        assert_eq!((whose(&budget, ""), limit(&budget)), ("each user".into(), "$2.50, 10 tokens a day".into()));
        assert_eq!(whose(&budget, "u"), "user u");
    }
}
