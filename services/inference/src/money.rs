//! What calls cost: priced before and after, limited by budgets, written down exactly once however they end.
//!
//! A call [begins](Money::begin) here: its price is looked up, its cost estimated, and where budgets limit its payer, room
//! is reserved in the database before any provider is called. The [`Meter`] it gets watches the answer go by and leaves one
//! row for the ledger when it ends, is cut off, fails or is dropped. No call writes to the database by itself: two tasks
//! commit what has gathered while they wrote the last time.

mod cost;
mod estimate;
mod known;
mod leases;
mod ledger;
mod meter;
mod prices;
mod reserving;
mod retention;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use slipway_rpc::{Ctx, Server, now_micros};
use slipway_telemetry::Metrics;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::catalogue::Catalogue;
use crate::error::Error;
use crate::model::{Budget, Call, Charge, Labels, Outcome, Payer, Request, Spent, Usage, split_model};
use crate::settings::Settings;
use crate::store::{LedgerStore, Reservation, Wanted, WindowRef};

pub(crate) use estimate::Estimate;
pub(crate) use known::KnownBudgets;
pub(crate) use meter::Meter;

use estimate::{Habits, Size};
use ledger::Ledger;
use prices::Prices;
use reserving::Reserving;

/// How long a reservation holds without a sign of life from its process.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// Prices, budgets and the ledger; cheap to clone.
#[derive(Clone)]
pub(crate) struct Money {
    inner: Arc<Inner>,
}

struct Inner {
    store: LedgerStore,
    prices: Prices,
    habits: Habits,
    budgets: Arc<KnownBudgets>,
    ledger: Ledger,
    reserving: Reserving,
    metrics: Metrics,
}

impl Money {
    /// Wires everything and gives the server what has to run beside the calls.
    pub(crate) async fn build(
        settings: &Settings,
        store: LedgerStore,
        catalogue: Arc<Catalogue>,
        metrics: Metrics,
        server: &mut Server,
    ) -> Result<Self, Error> {
        let budgets = Arc::new(KnownBudgets::new(store.clone()));
        budgets.refresh().await?;
        let (ledger, rows) = Ledger::new();
        let (reserving, requests) = Reserving::new();
        // Calls may be under way until the server is drained, and each leaves a row.
        server.add_task("inference ledger", ledger::run(store.clone(), rows, server.drained()));
        server.add_task("inference reservations", reserving::run(store.clone(), requests, server.drained()));
        if settings.ledger.keep_days > 0 {
            let old = retention::run(store.clone(), settings.ledger.keep_days, server.shutdown());
            server.add_task("inference ledger retention", old);
        }
        server.add_task("inference leases", leases::run(store.clone(), server.drained()));
        server.add_task("inference budgets", budgets.clone().follow(server.shutdown()));
        let prices = Prices::new(settings, catalogue);
        let habits = Habits::default();
        Ok(Self { inner: Arc::new(Inner { store, prices, habits, budgets, ledger, reserving, metrics }) })
    }

    /// The tables.
    pub(crate) fn store(&self) -> &LedgerStore {
        &self.inner.store
    }

    /// The budgets as this process knows them.
    pub(crate) fn budgets(&self) -> &KnownBudgets {
        &self.inner.budgets
    }

    /// What a request will use and cost; `model` is `provider/model`.
    pub(crate) async fn estimate(&self, model: &str, request: &Request) -> (Estimate, Option<Arc<str>>) {
        let price = self.inner.prices.find(model, now_micros());
        let size = Size::count(model, request).await;
        (self.inner.habits.estimate(model, request, size, price.as_ref()), price.map(|quote| quote.price.version))
    }

    /// Begins a call, or refuses it for want of money. `models`: what was asked for, and what may answer in its place.
    pub(crate) async fn begin(&self, ctx: &Ctx, models: &[&str], labels: Labels, request: &Request) -> Result<Meter, Error> {
        let inner = &self.inner;
        let (begun, now) = (Instant::now(), now_micros());
        let asked = models.first().copied().unwrap_or_default();
        let quote = |model: &str| inner.prices.find(model, now);
        let payer = Payer::of(ctx, labels);
        let windows = self.windows(&payer, now);
        let price = quote(asked);
        let limited = !windows.is_empty();
        let size = if limited { Size::count(asked, request).await } else { Size::guess(request) };
        let expected = inner.habits.estimate(asked, request, size, price.as_ref());
        // Ready for the most expensive of those that may answer.
        let mut reserve = expected.reserve;
        for other in models.iter().skip(1).filter(|_| limited) {
            let size = Size::count(other, request).await;
            reserve = reserve.max(inner.habits.estimate(other, request, size, quote(other).as_ref()).reserve);
        }
        let unpriced = models.iter().copied().find(|model| quote(model).is_none());
        // A place in the queue, so that there is room for the row whenever and however the call ends.
        let place = inner.ledger.place().await?;
        let call = Call {
            usage: Usage { input: expected.input, output: expected.longest, estimated: true, ..Usage::default() },
            price_version: price.map(|quote| quote.price.version),
            estimate: expected.cost,
            ..begun_call(ctx, labels, asked, now)
        };
        let reservation = self.reserve(&call, windows, unpriced, reserve).await?;
        let sample = if limited { None } else { self.sample(asked, request, &expected) };
        let (input, deadline) = (expected.input, ctx.deadline);
        let opened = meter::Opened { call, reservation, place, size, sample, input, begun, deadline };
        Ok(Meter::new(self.clone(), opened))
    }

    /// Begins a call that a kept or shared answer answers: it costs nothing.
    pub(crate) async fn hit(&self, ctx: &Ctx, model: &str, labels: Labels) -> Result<Meter, Error> {
        let call = begun_call(ctx, labels, model, now_micros());
        let (place, begun) = (self.inner.ledger.place().await?, Instant::now());
        let (size, deadline) = (Size::default(), ctx.deadline);
        let opened = meter::Opened { call, reservation: None, place, size, sample: None, input: 0, begun, deadline };
        Ok(Meter::new(self.clone(), opened).free())
    }

    /// Counts a request that no budget waits for, beside the call: only the first few of a model that costs something, to
    /// learn how its provider counts.
    fn sample(&self, model: &str, request: &Request, expected: &Estimate) -> Option<JoinHandle<u64>> {
        let wanted = expected.cost > 0 && self.inner.habits.wants_samples(model);
        wanted.then(|| estimate::count_apart(model, request))
    }

    /// The windows of all budgets that a payer falls under.
    fn windows(&self, payer: &Payer, now: i64) -> Vec<WindowRef> {
        let window = |(budget, subject): (Arc<Budget>, String)| {
            let span = budget.window.span(now);
            WindowRef { budget, subject, span }
        };
        self.inner.budgets.of(payer).into_iter().map(window).collect()
    }

    /// Room for the longest answer in every budget that limits it; `None` where none does.
    async fn reserve(
        &self,
        call: &Call,
        mut windows: Vec<WindowRef>,
        unpriced: Option<&str>,
        micros: i64,
    ) -> Result<Option<Reservation>, Error> {
        if let Some(model) = unpriced
            && let Some(refusing) = windows.iter().find(|w| w.budget.refuse_unpriced)
        {
            let standing = self.inner.store.get_standing(refusing).await?;
            return Err(Error::Unpriced { budget: Box::new((*refusing.budget).clone()), standing, model: model.to_string() });
        }
        // What costs nothing needs no room where only money is limited.
        windows.retain(|w| w.budget.limit_tokens.is_some() || (w.budget.limit_micros.is_some() && micros > 0));
        if windows.is_empty() {
            return Ok(None);
        }
        let amount = Spent { micros, tokens: call.tokens() };
        self.inner.reserving.reserve(Wanted { call: call.clone(), windows, amount }).await.map(Some)
    }

    /// What usage of a model costs; what the provider says goes before the list, and the operator before both.
    fn charge(&self, model: &str, time: i64, usage: &Usage) -> Charge {
        cost::charge(self.inner.prices.find(model, time).as_ref(), usage)
    }

    /// Learns from an answer that came to its end. `size`: of its request, as found for the model that was asked for.
    fn ended(&self, call: &Call, asked: &str, size: Size) {
        if call.outcome == Outcome::Completed && !call.cache_hit {
            let plain = call.attempts.is_empty() && *call.model == *asked;
            self.inner.habits.learn(&call.model, if plain { size } else { Size::default() }, &call.usage);
        }
        let (provider, model) = split_model(&call.model).unwrap_or(("", &call.model));
        self.inner.metrics.model_call(provider, model, call.usage.input, call.usage.output, call.cost);
    }
}

/// A call of which nothing is known yet but who makes it.
fn begun_call(ctx: &Ctx, labels: Labels, model: &str, now: i64) -> Call {
    Call {
        id: Uuid::now_v7(),
        payer: Payer::of(ctx, labels),
        purpose: labels.purpose,
        create_time: now,
        model: model.into(),
        outcome: Outcome::Cancelled,
        reason: String::new(),
        usage: Usage::default(),
        cost: 0,
        price_version: None,
        estimate: 0,
        latency_ms: 0,
        first_token_ms: None,
        cache_hit: false,
        attempts: Vec::new(),
    }
}
