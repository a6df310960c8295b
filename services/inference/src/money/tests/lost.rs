//! Reservations whose process is gone: charged in full, once, and corrected should it have been alive after all.

use super::*;
use crate::store::Ended;

const MINUTE: i64 = 60_000_000;

#[tokio::test]
async fn a_dead_process_has_used_what_it_reserved() {
    let dir = tempfile::tempdir().unwrap();
    let settings = database(&dir).await;
    let dead = bank(&settings).await;
    let budget = dead.budget(SubjectKind::Project, WindowKind::Day, 1_000_000).await;
    let reserve = dead.money.estimate(MODEL, &request(100)).await.0.reserve;
    let held = dead.begin(100).await.unwrap();
    let other = LedgerStore::open(&settings).await.unwrap();
    assert_eq!(other.sweep(now_micros(), false).await.unwrap(), 0, "its lease holds");
    assert_eq!(other.sweep(now_micros() + 2 * MINUTE, false).await.unwrap(), 1);
    assert_eq!(other.sweep(now_micros() + 2 * MINUTE, false).await.unwrap(), 0, "once");
    let row = dead.rows().await.remove(0);
    assert_eq!((row.outcome, row.cost, row.usage.estimated), (Outcome::Lost, reserve, true));
    let standing = dead.standing(&budget).await;
    assert_eq!((standing.spent.micros, standing.reserved.micros), (reserve, 0));

    // It was only slow: what it really used takes the place of what was charged.
    held.measure(deltas(vec![Ok(completed(3, 2))]), Journal::default()).collect::<Vec<_>>().await;
    let rows = dead.rows().await;
    assert_eq!((rows.len(), rows[0].outcome, rows[0].cost), (1, Outcome::Completed, 5));
    let standing = dead.standing(&budget).await;
    assert_eq!((standing.spent.micros, standing.spent.tokens, standing.reserved.micros), (5, 5, 0));
}

#[tokio::test]
async fn a_living_process_keeps_its_reservations() {
    let dir = tempfile::tempdir().unwrap();
    let settings = database(&dir).await;
    let bank = bank(&settings).await;
    bank.budget(SubjectKind::Project, WindowKind::Day, 1_000_000).await;
    let _held = bank.begin(100).await.unwrap();
    bank.money.store().renew(now_micros() + 10 * MINUTE).await.unwrap();
    assert_eq!(bank.money.store().sweep(now_micros() + 5 * MINUTE, false).await.unwrap(), 0);
}

#[tokio::test]
async fn a_row_is_counted_once_however_often_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&database(&dir).await).await;
    let budget = bank.budget(SubjectKind::Project, WindowKind::Day, 1_000_000).await;
    let held = bank.begin(100).await.unwrap();
    held.measure(deltas(vec![Ok(completed(3, 2))]), Journal::default()).collect::<Vec<_>>().await;
    let call = bank.rows().await.remove(0);
    let reservation = Some(Reservation { windows: Vec::new(), amount: Spent::default() });
    let again = [Ended { call, reservation }];
    bank.money.store().record(&again, now_micros()).await.unwrap();
    let standing = bank.standing(&budget).await;
    assert_eq!((bank.rows().await.len(), standing.spent.micros, standing.reserved.micros), (1, 5, 0));
}
