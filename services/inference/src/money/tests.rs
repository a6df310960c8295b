//! Calls through the meter, to the ledger.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{StreamExt as _, stream};
use slipway_bus::Bus;
use slipway_rpc::{Caller, Ctx, IdentityKey, OrganisationId, ProjectId, Running, Scope, UserId};
use slipway_storage::{Durability, StoreSettings};
use slipway_testkit::postgres::{Postgres, store_url};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::error::{Kind, ProviderError};
use crate::model::{Delta, Finish, Message, Role, Span, SubjectKind, THRESHOLDS, WindowKind};
use crate::provider::Deltas;
use crate::route::Journal;
use crate::store::{CallFilter, RequestKey, SumFilter};

mod limits;
mod lost;
mod retention;
mod rows;

/// One process with a ledger. What a call costs is told by the tokens: a dollar for a million of either kind.
struct Bank {
    money: Money,
    ctx: Ctx,
    _running: Running,
}

const MODEL: &str = "fake/m";
const SETTINGS: &str = "[providers.fake]\nbase_url = \"http://127.0.0.1:9/v1\"\n\
     [providers.fake.prices.m]\ninput_micros = 1000000\noutput_micros = 1000000\n";

async fn database(dir: &TempDir) -> StoreSettings {
    let url = store_url(dir.path(), "inference").await.unwrap();
    StoreSettings { url, durability: Durability::Process, ..StoreSettings::default() }
}

async fn bank(settings: &StoreSettings) -> Bank {
    let mut server = Server::new(IdentityKey::new(&IdentityKey::generate()).unwrap());
    let store = LedgerStore::open(settings).await.unwrap();
    let settings: Settings = toml::from_str(SETTINGS).unwrap();
    let catalogue = Arc::new(Catalogue::open(&settings, Metrics::new()).unwrap());
    let money = Money::build(&settings, store, catalogue, Metrics::new(), &mut server).await.unwrap();
    Bank { money, ctx: ctx(), _running: server.start().await }
}

/// A caller of the project and the organisation of these tests.
fn ctx() -> Ctx {
    let user = UserId(Uuid::from_u128(3));
    let caller =
        Caller { organisation: OrganisationId(Uuid::from_u128(1)), token: "ci".into(), ..Caller::new(user, Scope::Write) };
    Ctx::new(caller, ProjectId(Uuid::from_u128(2)), "r".into(), None, String::new())
}

fn request(max_output_tokens: u32) -> Request {
    Request { messages: vec![Message::new(Role::User, "hello")], max_output_tokens, ..Request::default() }
}

fn completed(input: u64, output: u64) -> Delta {
    let usage = Usage { input, output, ..Usage::default() };
    Delta::Completed { finish: Finish::Stop, usage, reasoning_state: None }
}

fn deltas(all: Vec<Result<Delta, ProviderError>>) -> Deltas {
    stream::iter(all).boxed()
}

impl Bank {
    async fn begin(&self, max_output_tokens: u32) -> Result<Meter, Error> {
        self.money.begin(&self.ctx, &[MODEL], Labels::default(), &request(max_output_tokens)).await
    }

    /// A whole call with these tokens.
    async fn call(&self, max_output_tokens: u32, input: u64, output: u64) -> Result<(), Error> {
        let meter = self.begin(max_output_tokens).await?;
        let answer = meter.measure(deltas(vec![Ok(Delta::Started), Ok(completed(input, output))]), Journal::default());
        for delta in answer.collect::<Vec<_>>().await {
            delta?;
        }
        Ok(())
    }

    async fn rows(&self) -> Vec<Call> {
        let owner = Ok(self.ctx.project.0);
        let filter = CallFilter { owner, span: Span::ALWAYS, user: None, conversation: None, plan: None, model: String::new() };
        self.money.store().list_calls(&filter, None, 10_000).await.unwrap()
    }

    /// The rows, once there are so many.
    async fn wait_for_rows(&self, count: usize) -> Vec<Call> {
        let enough = async {
            loop {
                let rows = self.rows().await;
                if rows.len() >= count {
                    return rows;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), enough).await.expect("the rows come")
    }

    async fn budget(&self, kind: SubjectKind, window: WindowKind, limit_micros: i64) -> Budget {
        let budget = Budget {
            id: Uuid::now_v7(),
            organisation: self.ctx.caller.organisation.0,
            project: if kind == SubjectKind::Organisation { Uuid::nil() } else { self.ctx.project.0 },
            name: format!("{} {}", kind.name(), window.name()),
            kind,
            subject: String::new(),
            window,
            limit_micros: Some(limit_micros),
            limit_tokens: None,
            thresholds: THRESHOLDS.to_vec(),
            refuse_unpriced: false,
            version: 1,
            create_time: now_micros(),
            update_time: now_micros(),
        };
        let key = RequestKey { method: "CreateBudget", id: String::new(), payload_hash: [0; 32] };
        let budget = self.money.store().create_budget(self.ctx.project.0, &budget, &key).await.unwrap();
        self.money.budgets().changed().await.unwrap();
        budget
    }

    /// What a budget says of our caller now.
    async fn standing(&self, budget: &Budget) -> crate::model::Standing {
        let payer = Payer::of(&self.ctx, Labels::default());
        let subject = budget.subject_of(&payer).unwrap();
        let window = WindowRef { span: budget.window.span(now_micros()), budget: Arc::new(budget.clone()), subject };
        self.money.store().get_standing(&window).await.unwrap()
    }

    /// Stops everything as a server does that is asked to.
    async fn stop(self) {
        self._running.stop().await;
    }
}
