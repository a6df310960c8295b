//! Old rows go, and no budget counts otherwise for it.

use uuid::{NoContext, Timestamp};

use super::*;
use crate::model::Tried;
use crate::money::retention::once;
use crate::store::Ended;

const DAY: i64 = 86_400_000_000;

/// Writes rows of calls that began so many days ago, a dollar's worth of tokens each.
async fn calls(bank: &Bank, project: ProjectId, days: &[i64]) {
    let payer = Payer { project: project.0, ..Payer::of(&bank.ctx, Labels::default()) };
    let row = |days: &i64| {
        let time = now_micros() - days * DAY;
        let seconds = u64::try_from(time / 1_000_000).unwrap();
        let tried = |model: &str| Tried {
            model: model.into(),
            outcome: Outcome::Completed,
            reason: String::new(),
            usage: Usage::default(),
            cost: 1,
            latency_ms: 1,
        };
        let call = Call {
            id: Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, 0)),
            outcome: Outcome::Completed,
            cost: 1_000_000,
            attempts: vec![tried("fake/m"), tried("fake/n")],
            payer: payer.clone(),
            ..begun_call(&bank.ctx, Labels::default(), MODEL, time)
        };
        Ended { call, reservation: None }
    };
    let rows: Vec<_> = days.iter().map(row).collect();
    bank.money.store().record(&rows, now_micros()).await.unwrap();
}

/// How many days ago the rows of a project began.
async fn ages(bank: &Bank, project: ProjectId) -> Vec<i64> {
    let owner = Ok(project.0);
    let filter = CallFilter { owner, span: Span::ALWAYS, user: None, conversation: None, plan: None, model: String::new() };
    let rows = bank.money.store().list_calls(&filter, None, 10_000).await.unwrap();
    rows.iter().map(|row| (now_micros() - row.create_time) / DAY).collect()
}

#[tokio::test]
async fn rows_go_when_they_are_old_enough_and_no_budget_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&database(&dir).await).await;
    let (mine, other) = (bank.ctx.project, ProjectId(Uuid::from_u128(9)));
    for project in [mine, other] {
        calls(&bank, project, &[0, 40, 100, 400]).await;
    }
    // The window of a budget without an end has begun, and another one's would begin with all rows.
    let total = bank.budget(SubjectKind::Project, WindowKind::Total, 100_000_000).await;
    let month = bank.budget(SubjectKind::User, WindowKind::Month, 100_000_000).await;
    bank.call(10, 1, 1).await.unwrap();
    let before = (bank.standing(&total).await.spent, bank.standing(&month).await.spent);
    assert_eq!(before.0.micros, 4_000_002);

    assert_eq!(once(bank.money.store(), 90, now_micros()).await.unwrap(), 2, "of the other project");
    assert_eq!((ages(&bank, other).await, ages(&bank, mine).await.len()), (vec![0, 40], 5));
    assert_eq!((bank.standing(&total).await.spent, bank.standing(&month).await.spent), before);

    bank.money.store().delete_budget(total.id).await.unwrap();
    assert_eq!(once(bank.money.store(), 90, now_micros()).await.unwrap(), 2);
    assert_eq!(ages(&bank, mine).await, [0, 0, 40]);
    assert_eq!(bank.standing(&month).await.spent, before.1);
    assert_eq!(once(bank.money.store(), 90, now_micros()).await.unwrap(), 0);
}

#[tokio::test]
async fn rows_of_this_month_stay_and_the_rest_goes_in_small_steps() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&database(&dir).await).await;
    let project = bank.ctx.project;
    calls(&bank, project, &[0; 3]).await;
    calls(&bank, project, &[35; 700]).await;
    let organisation = bank.budget(SubjectKind::Organisation, WindowKind::Total, 1).await;
    assert_eq!(once(bank.money.store(), 1, now_micros()).await.unwrap(), 0, "the organisation's budget counts them");
    bank.money.store().delete_budget(organisation.id).await.unwrap();
    let step = bank.money.store().delete_calls(now_micros() - 30 * DAY, Uuid::nil(), 500).await.unwrap();
    assert_eq!((step.rows, step.after.is_some()), (500, true));
    assert_eq!(once(bank.money.store(), 1, now_micros()).await.unwrap(), 200);
    assert_eq!(ages(&bank, project).await, [0; 3]);
}
