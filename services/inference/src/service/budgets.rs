//! The use cases of budgets. Who owns one may change it; to everybody else it is not there.

use std::sync::Arc;

use slipway_rpc::{Ctx, now_micros};
use slipway_storage::page;
use uuid::Uuid;

use super::Inference;
use crate::error::Error;
use crate::model::{Budget, Standing, SubjectKind, THRESHOLDS, WindowKind};
use crate::store::{RequestKey, WindowRef};

/// A budget to make.
#[derive(Clone, Debug)]
pub(crate) struct NewBudget {
    pub(crate) name: String,
    pub(crate) kind: SubjectKind,
    pub(crate) subject: String,
    pub(crate) window: WindowKind,
    pub(crate) limit_micros: Option<i64>,
    pub(crate) limit_tokens: Option<i64>,
    /// Empty: the usual ones.
    pub(crate) thresholds: Vec<u8>,
    pub(crate) refuse_unpriced: bool,
    pub(crate) key: RequestKey,
}

/// What to change of a budget; what is absent stays.
#[derive(Clone, Debug)]
pub(crate) struct BudgetChange {
    pub(crate) id: Uuid,
    /// Empty: whatever it is.
    pub(crate) etag: String,
    pub(crate) name: Option<String>,
    /// `Some(None)`: no longer limited.
    pub(crate) limit_micros: Option<Option<i64>>,
    /// `Some(None)`: no longer limited.
    pub(crate) limit_tokens: Option<Option<i64>>,
    /// Empty: they stay.
    pub(crate) thresholds: Vec<u8>,
    pub(crate) refuse_unpriced: Option<bool>,
}

/// A page of budgets.
pub(crate) struct Budgets {
    pub(crate) budgets: Vec<Budget>,
    pub(crate) next_page_token: String,
}

impl Inference {
    /// Makes a budget.
    pub(crate) async fn create_budget(&self, ctx: &Ctx, new: NewBudget) -> Result<Budget, Error> {
        let of_organisation = new.kind == SubjectKind::Organisation;
        if of_organisation && !ctx.caller.administers_organisation() {
            return Err(Error::NotOfOrganisation);
        }
        let now = now_micros();
        let budget = Budget {
            id: Uuid::now_v7(),
            organisation: ctx.caller.organisation.0,
            project: if of_organisation { Uuid::nil() } else { ctx.project.0 },
            name: new.name,
            kind: new.kind,
            subject: new.subject,
            window: new.window,
            limit_micros: new.limit_micros,
            limit_tokens: new.limit_tokens,
            thresholds: if new.thresholds.is_empty() { THRESHOLDS.to_vec() } else { new.thresholds },
            refuse_unpriced: new.refuse_unpriced,
            version: 1,
            create_time: now,
            update_time: now,
        };
        let budget = self.money.store().create_budget(ctx.project.0, &budget, &new.key).await?;
        self.money.budgets().changed().await?;
        Ok(budget)
    }

    /// A budget of the caller's project or organisation.
    pub(crate) async fn get_budget(&self, ctx: &Ctx, id: Uuid) -> Result<Budget, Error> {
        let organisation = ctx.caller.organisation.0;
        self.money.store().find_budget(ctx.project.0, organisation, id).await?.ok_or(Error::BudgetNotFound)
    }

    /// Changes a budget. Without an etag the last change wins.
    pub(crate) async fn update_budget(&self, ctx: &Ctx, change: BudgetChange) -> Result<Budget, Error> {
        loop {
            let mut budget = self.own_budget(ctx, change.id).await?;
            if !change.etag.is_empty() && change.etag != budget.etag() {
                return Err(Error::EtagMismatch { etag: budget.etag() });
            }
            apply(&mut budget, &change)?;
            if self.money.store().update_budget(&budget).await? {
                self.money.budgets().changed().await?;
                return Ok(budget);
            }
        }
    }

    /// Deletes a budget with what it knows of its windows; the ledger stays.
    pub(crate) async fn delete_budget(&self, ctx: &Ctx, id: Uuid) -> Result<(), Error> {
        let budget = self.own_budget(ctx, id).await?;
        if !self.money.store().delete_budget(budget.id).await? {
            return Err(Error::BudgetNotFound);
        }
        self.money.budgets().changed().await?;
        Ok(())
    }

    /// The budgets of the caller's project and organisation.
    pub(crate) async fn list_budgets(&self, ctx: &Ctx, size: u32, token: &str) -> Result<Budgets, Error> {
        let scope = format!("ListBudgets/{}/{}", ctx.project, ctx.caller.organisation);
        let after: Option<Uuid> =
            if token.is_empty() { None } else { Some(page::decode(&scope, token).ok_or(Error::PageToken)?) };
        let (project, organisation) = (ctx.project.0, ctx.caller.organisation.0);
        let mut budgets = self.money.store().list_budgets(project, organisation, after, u64::from(size) + 1).await?;
        let more = budgets.len() > size as usize;
        budgets.truncate(size as usize);
        let last = budgets.last().filter(|_| more).map(|budget| page::encode(&scope, &budget.id));
        Ok(Budgets { budgets, next_page_token: last.unwrap_or_default() })
    }

    /// How a budget stands now for one of its subjects.
    pub(crate) async fn get_budget_status(&self, ctx: &Ctx, id: Uuid, subject: String) -> Result<(Budget, Standing), Error> {
        let budget = Arc::new(self.get_budget(ctx, id).await?);
        let subject = match (budget.kind, budget.subject.as_str(), subject.as_str()) {
            (kind, ..) if !kind.has_subjects() => String::new(),
            (_, only, _) if !only.is_empty() => only.to_owned(),
            (SubjectKind::User, _, "") => ctx.caller.user.to_string(),
            (SubjectKind::Token, _, "") => ctx.caller.token.to_string(),
            (_, _, _) => subject,
        };
        let window = WindowRef { span: budget.window.span(now_micros()), budget: budget.clone(), subject };
        let standing = self.money.store().get_standing(&window).await?;
        Ok((Arc::unwrap_or_clone(budget), standing))
    }

    /// A budget that the caller may change.
    async fn own_budget(&self, ctx: &Ctx, id: Uuid) -> Result<Budget, Error> {
        let budget = self.get_budget(ctx, id).await?;
        match budget.kind == SubjectKind::Organisation && !ctx.caller.administers_organisation() {
            true => Err(Error::NotOfOrganisation),
            false => Ok(budget),
        }
    }
}

fn apply(budget: &mut Budget, change: &BudgetChange) -> Result<(), Error> {
    if let Some(name) = &change.name {
        budget.name.clone_from(name);
    }
    budget.limit_micros = change.limit_micros.unwrap_or(budget.limit_micros);
    budget.limit_tokens = change.limit_tokens.unwrap_or(budget.limit_tokens);
    if !change.thresholds.is_empty() {
        budget.thresholds.clone_from(&change.thresholds);
    }
    budget.refuse_unpriced = change.refuse_unpriced.unwrap_or(budget.refuse_unpriced);
    budget.version += 1;
    budget.update_time = now_micros();
    if budget.limit_micros.is_none() && budget.limit_tokens.is_none() { Err(Error::NoLimit) } else { Ok(()) }
}
