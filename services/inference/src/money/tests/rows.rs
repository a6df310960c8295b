//! One row a call, however it ends, and sums that are the sums of rows.

use super::*;
use crate::model::{Seam, estimate_request};
use crate::store::Dimension;

fn text(text: &str) -> Result<Delta, ProviderError> {
    Ok(Delta::Text(text.into()))
}

fn broken(kind: Kind) -> Result<Delta, ProviderError> {
    Err(ProviderError::new(kind, "fake", "it failed"))
}

#[tokio::test]
async fn every_end_leaves_one_row() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&database(&dir).await).await;
    let counted = Usage { input: 30, output: 1, ..Usage::default() };
    let input = estimate_request(&request(10));
    // What comes, the outcome, the reason, tokens in and out, whether they are our own estimate.
    let ends = vec![
        (vec![broken(Kind::Auth)], Outcome::Failed, "PROVIDER_AUTH_FAILED", 0, 0, false),
        (vec![broken(Kind::TimeoutBeforeAnswer)], Outcome::Failed, "PROVIDER_TIMEOUT", input, 0, true),
        (
            vec![Ok(Delta::Started), text("eightchr"), broken(Kind::Network)],
            Outcome::Failed,
            "PROVIDER_UNAVAILABLE",
            input,
            2,
            true,
        ),
        (
            vec![Ok(Delta::Usage(counted)), text("eightchr"), broken(Kind::Server)],
            Outcome::Failed,
            "PROVIDER_UNAVAILABLE",
            30,
            2,
            true,
        ),
        (
            vec![Ok(Delta::Started), Ok(Delta::Usage(counted)), broken(Kind::Server)],
            Outcome::Failed,
            "PROVIDER_UNAVAILABLE",
            30,
            1,
            false,
        ),
        (vec![Ok(Delta::Started), text("hi")], Outcome::Failed, "PROVIDER_UNAVAILABLE", input, 1, true),
        // Last, because it teaches how the provider counts.
        (vec![Ok(Delta::Started), text("hi"), Ok(completed(7, 5))], Outcome::Completed, "", 7, 5, false),
    ];
    for (n, (all, outcome, reason, input, output, estimated)) in ends.into_iter().enumerate() {
        let answer = bank.begin(10).await.unwrap().measure(deltas(all), Journal::default()).collect::<Vec<_>>().await;
        if let Some(Ok(last)) = answer.last()
            && outcome == Outcome::Completed
        {
            assert!(matches!(last, Delta::Completed { .. }));
            let Ok(Delta::Charged(charge)) = &answer[answer.len() - 2] else { panic!("{answer:?}") };
            assert_eq!((charge.micros, charge.version.as_deref()), (12, Some("settings")));
        }
        // It is there before the end has come through.
        let rows = bank.rows().await;
        assert_eq!(rows.len(), n + 1);
        let row = &rows[0];
        assert_eq!((row.outcome, row.reason.as_str()), (outcome, reason));
        assert_eq!((row.usage.input, row.usage.output, row.usage.estimated), (input, output, estimated), "{row:?}");
        assert_eq!(row.cost, (input + output) as i64);
    }
}

#[tokio::test]
async fn who_leaves_pays_for_what_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&database(&dir).await).await;
    let endless = || stream::iter(vec![Ok(Delta::Started), text("eightchr")]).chain(stream::pending()).boxed();
    let mut answer = bank.begin(10).await.unwrap().measure(endless(), Journal::default());
    answer.next().await;
    answer.next().await;
    drop(answer);
    let row = bank.wait_for_rows(1).await.remove(0);
    assert_eq!((row.outcome, row.usage.output, row.usage.estimated), (Outcome::Cancelled, 2, true));
    assert!(row.first_token_ms.is_some());

    let late = Ctx::new(bank.ctx.caller.clone(), bank.ctx.project, "r".into(), Some(Instant::now()), String::new());
    let meter = bank.money.begin(&late, &[MODEL], Labels::default(), &request(10)).await.unwrap();
    drop(meter.measure(endless(), Journal::default()));
    let row = bank.wait_for_rows(2).await.remove(0);
    assert_eq!((row.outcome, row.reason.as_str()), (Outcome::Failed, "DEADLINE_EXCEEDED"));
}

#[tokio::test]
async fn calls_that_are_under_way_at_the_end_leave_their_rows() {
    let dir = tempfile::tempdir().unwrap();
    let settings = database(&dir).await;
    let bank = bank(&settings).await;
    let answers: Vec<_> = join_all((0..20).map(|_| bank.begin(10))).await.into_iter().map(Result::unwrap).collect();
    let stopping = tokio::spawn(bank.stop());
    drop(answers);
    stopping.await.unwrap();
    assert_eq!(super::bank(&settings).await.rows().await.len(), 20);
}

#[tokio::test]
async fn attempts_are_part_of_the_call() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&database(&dir).await).await;
    let journal = Journal::default();
    // One that counted, one that spoke and did not count, and the one that answers.
    journal.begin("fake/unpriced".into(), 0);
    journal.used(Usage { input: 5, output: 3, ..Usage::default() });
    journal.failed(&ProviderError::new(Kind::Overloaded, "fake", "busy"));
    journal.begin(MODEL.into(), 0);
    journal.first_token();
    journal.failed(&ProviderError::new(Kind::Network, "fake", "cut"));
    journal.begin(MODEL.into(), 1);
    journal.used(Usage { input: 10, output: 2, ..Usage::default() });
    journal.answered();
    let seam = Seam { failed: MODEL.into(), model: MODEL.into(), kind: Kind::Network, offset: 8 };
    let all = vec![Ok(Delta::Answering(MODEL.into())), text("eightchr"), Ok(Delta::Seam(Box::new(seam))), Ok(completed(99, 99))];
    let input = estimate_request(&request(10));
    bank.begin(10).await.unwrap().measure(deltas(all), journal).collect::<Vec<_>>().await;
    let row = bank.rows().await.remove(0);
    let spoken = input as i64 + 2;
    assert_eq!((row.cost, row.usage.input, row.usage.output), (12 + spoken, 15 + input, 7));
    let tried: Vec<_> = row.attempts.iter().map(|a| (&*a.model, a.outcome, a.reason.as_str(), a.cost)).collect();
    let expected = [
        ("fake/unpriced", Outcome::Failed, "PROVIDER_OVERLOADED", 0),
        (MODEL, Outcome::Failed, "PROVIDER_UNAVAILABLE", spoken),
        (MODEL, Outcome::Completed, "", 12),
    ];
    assert_eq!(tried, expected);
}

/// Not the same numbers each time, but the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test]
async fn sums_are_the_sums_of_rows() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&database(&dir).await).await;
    for seed in [1, 77, 4_711] {
        let mut dice = Dice(seed);
        let calls: Vec<_> =
            (0..60).map(|_| (dice.roll(5_000), dice.roll(3_000), dice.roll(4), dice.roll(3), dice.roll(3))).collect();
        join_all(calls.into_iter().map(|(input, output, model, conversation, user)| {
            let model = format!("fake/{}", ["m", "n", "o", "p"][model as usize]);
            let conversation = (conversation > 0).then(|| Uuid::from_u128(conversation.into()));
            let caller = Caller { user: UserId(Uuid::from_u128(user.into())), ..bank.ctx.caller.clone() };
            let ctx = Ctx::new(caller, bank.ctx.project, "r".into(), None, String::new());
            let money = bank.money.clone();
            async move {
                let labels = Labels { conversation, ..Labels::default() };
                let meter = money.begin(&ctx, &[model.as_str()], labels, &request(10)).await.unwrap();
                meter.measure(deltas(vec![Ok(completed(input, output))]), Journal::default()).collect::<Vec<_>>().await;
            }
        }))
        .await;
    }
    let rows = bank.rows().await;
    assert_eq!(rows.len(), 180);
    let (whole, filter) = (|| rows.iter(), SumFilter { owner: Ok(bank.ctx.project.0), span: Span::ALWAYS });
    let total = bank.money.store().sum_calls(&filter, &[], 1).await.unwrap().remove(0);
    assert_eq!(total.cost, whole().map(|r| r.cost).sum::<i64>());
    assert_eq!(total.usage.input, whole().map(|r| r.usage.input).sum::<u64>());
    assert_eq!(total.unpriced, whole().filter(|r| r.price_version.is_none()).count() as u64);
    let name = |row: &Call, dimension| match dimension {
        Dimension::Model => row.model.to_string(),
        Dimension::User => row.payer.user.to_string(),
        _ => row.payer.conversation.map(|id| id.to_string()).unwrap_or_default(),
    };
    for by in [vec![Dimension::Model], vec![Dimension::User, Dimension::Conversation], vec![Dimension::Conversation]] {
        let sums = bank.money.store().sum_calls(&filter, &by, 1_000).await.unwrap();
        let mut expected: BTreeMap<Vec<String>, (u64, i64)> = BTreeMap::new();
        for row in &rows {
            let sum = expected.entry(by.iter().map(|d| name(row, *d)).collect()).or_default();
            *sum = (sum.0 + 1, sum.1 + row.cost);
        }
        let found: BTreeMap<_, _> = sums.into_iter().map(|s| (s.names, (s.calls, s.cost))).collect();
        assert_eq!(found, expected, "{by:?}");
    }
}

#[tokio::test]
async fn how_a_provider_counts_is_learned_also_where_no_budget_applies() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&database(&dir).await).await;
    let ours = bank.money.estimate(MODEL, &request(10)).await.0.input;
    // The vocabulary is read by now, and the count is quicker than the row.
    for _ in 0..20 {
        let meter = bank.begin(10).await.unwrap();
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        meter.measure(deltas(vec![Ok(Delta::Started), Ok(completed(2 * ours, 5))]), Journal::default()).collect::<Vec<_>>().await;
    }
    let theirs = bank.money.estimate(MODEL, &request(10)).await.0.input;
    assert_eq!(theirs, 2 * ours);
    // What no budget waits for is guessed, and that guess is set right as well.
    bank.begin(10).await.unwrap();
    let row = bank.wait_for_rows(21).await.remove(0);
    assert_eq!((row.usage.input, row.outcome), (2 * ours, Outcome::Cancelled));
}
