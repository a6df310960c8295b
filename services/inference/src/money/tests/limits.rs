//! Budgets: never passed, whoever comes at once, and told of once.

use prost::Message as _;
use slipway_proto::events::event::Event as Fact;
use slipway_rpc::{Fault, Reason};
use slipway_storage::outbox::Relay;

use super::*;

/// Tokens that a call with such a limit reserves and, at most, uses.
async fn reserve_of(bank: &Bank, max_output_tokens: u32) -> i64 {
    bank.money.estimate(MODEL, &request(max_output_tokens)).await.0.reserve
}

/// Has `count` calls made at once by all of these, and returns how many were answered. Each uses all that it reserves.
async fn rush(banks: &[&Bank], count: usize, max_output_tokens: u32) -> usize {
    let input = banks[0].money.estimate(MODEL, &request(max_output_tokens)).await.0.input;
    let calls = (0..count).map(|n| banks[n % banks.len()].call(max_output_tokens, input, max_output_tokens.into()));
    let answers = join_all(calls).await;
    for refused in answers.iter().filter_map(|a| a.as_ref().err()) {
        assert!(matches!(refused, Error::BudgetExhausted { .. }), "{refused}");
    }
    answers.iter().filter(|a| a.is_ok()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_at_once_never_pass_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&database(&dir).await).await;
    let reserve = reserve_of(&bank, 100).await;
    let budget = bank.budget(SubjectKind::Project, WindowKind::Month, 20 * reserve + reserve / 2).await;
    assert_eq!(rush(&[&bank], 500, 100).await, 20);
    let standing = bank.standing(&budget).await;
    assert_eq!((standing.spent.micros, standing.reserved.micros), (20 * reserve, 0));
    assert_eq!(bank.rows().await.iter().map(|r| r.cost).sum::<i64>(), standing.spent.micros);
}

/// Two processes, as far as the database can tell.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_never_pass_a_limit_together() {
    let Some(server) = Postgres::shared().await else { return };
    let settings = StoreSettings { url: server.database().await.unwrap(), ..StoreSettings::default() };
    let (one, other) = (bank(&settings).await, bank(&settings).await);
    let reserve = reserve_of(&one, 100).await;
    let mut budgets = Vec::new();
    for (kind, window, times) in [
        (SubjectKind::Organisation, WindowKind::Total, 40),
        (SubjectKind::Project, WindowKind::Day, 31),
        (SubjectKind::User, WindowKind::Month, 50),
    ] {
        budgets.push(one.budget(kind, window, times * reserve + reserve / 3).await);
    }
    other.money.budgets().refresh().await.unwrap();
    assert_eq!(rush(&[&one, &other], 500, 100).await, 31);
    for budget in &budgets {
        let standing = other.standing(budget).await;
        assert_eq!((standing.spent.micros, standing.reserved.micros), (31 * reserve, 0), "{}", budget.name);
    }
    assert_eq!(one.rows().await.len(), 31);
}

#[tokio::test]
async fn the_budget_that_blocks_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&database(&dir).await).await;
    bank.budget(SubjectKind::User, WindowKind::Total, 1).await;
    let wide = bank.budget(SubjectKind::Organisation, WindowKind::Day, 2).await;
    bank.budget(SubjectKind::Project, WindowKind::Total, 1_000_000).await;
    let fault = Fault::from(bank.begin(10).await.err().unwrap());
    assert_eq!(fault.reason(), Reason::BudgetExhausted);
    assert!(fault.message().contains("organisation day") && fault.message().contains("midnight"), "{fault}");
    // One that has no room for it does not stand in the way of what is free.
    bank.money.begin(&bank.ctx, &["builtin/rules"], Labels::default(), &request(10)).await.unwrap();
    bank.money.begin(&bank.ctx, &["fake/unpriced"], Labels::default(), &request(10)).await.unwrap();
    let stranger = Ctx::background(ProjectId(Uuid::from_u128(9)), UserId(Uuid::from_u128(9)), "");
    bank.money.begin(&stranger, &[MODEL], Labels::default(), &request(10)).await.unwrap();
    let change = Budget { version: 2, limit_micros: Some(1_000_000), refuse_unpriced: true, ..wide };
    assert!(bank.money.store().update_budget(&change).await.unwrap());
    bank.money.budgets().changed().await.unwrap();
    let fault = Fault::from(bank.begin(10).await.err().unwrap());
    assert!(fault.message().contains("user total") && fault.message().contains("raise its limit"), "{fault}");
    let unpriced = bank.money.begin(&bank.ctx, &["fake/unpriced"], Labels::default(), &request(10)).await.err().unwrap();
    assert!(Fault::from(unpriced).message().contains("without a price"));
}

#[tokio::test]
async fn what_was_spent_before_counts() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&database(&dir).await).await;
    bank.call(100, 60, 40).await.unwrap();
    let budget = bank.budget(SubjectKind::Project, WindowKind::Month, 10_000).await;
    assert_eq!(bank.standing(&budget).await.spent.micros, 100, "before the window has begun");
    bank.call(100, 10, 1).await.unwrap();
    let standing = bank.standing(&budget).await;
    assert_eq!((standing.spent.micros, standing.spent.tokens, standing.reserved.micros), (111, 111, 0));
}

#[tokio::test]
async fn room_comes_back_when_less_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&database(&dir).await).await;
    let reserve = reserve_of(&bank, 100).await;
    let budget = bank.budget(SubjectKind::Token, WindowKind::Day, reserve + 10).await;
    let held = bank.begin(100).await.unwrap();
    assert_eq!(bank.standing(&budget).await.reserved.micros, reserve);
    assert!(bank.begin(100).await.is_err());
    held.measure(deltas(vec![Ok(completed(4, 4))]), Journal::default()).collect::<Vec<_>>().await;
    bank.call(100, 1, 1).await.unwrap();
    assert_eq!(bank.standing(&budget).await.spent.micros, 10);
    // Tokens are limited for themselves.
    let mut tokens = bank.budget(SubjectKind::Project, WindowKind::Day, 0).await;
    (tokens.limit_micros, tokens.limit_tokens, tokens.version) = (None, Some(50), 2);
    bank.money.store().update_budget(&tokens).await.unwrap();
    bank.money.budgets().changed().await.unwrap();
    assert!(bank.begin(100).await.is_err());
    bank.begin(20).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_force_at_once_whoever_reads_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let bank = Arc::new(bank(&database(&dir).await).await);
    let budget = bank.budget(SubjectKind::Project, WindowKind::Day, 1).await;
    let payer = Payer::of(&bank.ctx, Labels::default());
    let mut reading = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let bank = bank.clone();
        reading.spawn(async move {
            loop {
                bank.money.budgets().refresh().await.unwrap();
            }
        });
    }
    for version in 2..60 {
        assert!(bank.money.store().update_budget(&Budget { version, ..budget.clone() }).await.unwrap());
        bank.money.budgets().changed().await.unwrap();
        tokio::task::yield_now().await;
        let known = bank.money.budgets().of(&payer);
        assert_eq!(known[0].0.version, version);
    }
    reading.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thresholds_are_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&database(&dir).await).await;
    let reserve = reserve_of(&bank, 100).await;
    let budget = bank.budget(SubjectKind::Project, WindowKind::Day, 10 * reserve).await;
    assert_eq!(rush(&[&bank], 50, 100).await, 10);
    assert_eq!(rush(&[&bank], 5, 100).await, 0);

    let bus = Bus::in_process();
    let heard = Arc::new(Heard::default());
    bus.subscribe("test", "budget.threshold_reached", heard.clone()).await.unwrap();
    let (relay, end) = (Relay::new(bank.money.store().database(), bus.clone()), CancellationToken::new());
    let relaying = tokio::spawn(relay.run(end.clone()));
    let running = tokio::spawn({
        let end = end.clone();
        async move { bus.run(end).await }
    });
    tokio::time::timeout(Duration::from_secs(30), heard.until_quiet(1)).await.expect("events come");
    end.cancel();
    let _ = tokio::join!(relaying, running);
    let mut percents: Vec<u32> = heard.events.lock().unwrap().iter().map(|e| e.threshold_percent).collect();
    percents.sort_unstable();
    assert_eq!(percents.iter().filter(|p| **p == 100).count(), 1, "{percents:?}");
    percents.dedup();
    assert_eq!(percents.len(), heard.events.lock().unwrap().len(), "each once: {percents:?}");
    let last = heard.events.lock().unwrap().iter().find(|e| e.threshold_percent == 100).cloned().unwrap();
    assert_eq!(
        (last.budget_id, last.limit_micros, last.subject_kind.as_str()),
        (budget.id.to_string(), Some(10 * reserve), "project")
    );
    assert!(last.reset_time.is_some());
}

/// Whoever listens to alerts.
#[derive(Default)]
struct Heard {
    events: std::sync::Mutex<Vec<slipway_proto::events::BudgetThresholdReached>>,
    more: tokio::sync::Notify,
}

impl Heard {
    /// Until there is one at 100 percent, which is the last of them.
    async fn until_quiet(&self, hundreds: usize) {
        while self.events.lock().unwrap().iter().filter(|e| e.threshold_percent == 100).count() < hundreds {
            self.more.notified().await;
        }
    }
}

#[async_trait::async_trait]
impl slipway_bus::Handler for Heard {
    async fn handle(&self, event: &slipway_bus::Event, _delivery: u32) -> Result<(), slipway_bus::HandlerError> {
        let payload = slipway_proto::events::Event::decode(event.payload.clone()).unwrap();
        let Some(Fact::BudgetThresholdReached(reached)) = payload.event else { panic!("{payload:?}") };
        self.events.lock().unwrap().push(reached);
        self.more.notify_one();
        Ok(())
    }
}
