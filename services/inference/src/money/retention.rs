//! Old rows of the ledger go, where the settings say so.
//!
//! A window that has begun keeps its sum, whatever becomes of the rows. One that begins adds up the rows that are there: so
//! those of this month stay, for the budgets of days and months, and those that a budget without an end falls upon.

use std::time::Duration;

use slipway_rpc::now_micros;
use slipway_storage::StorageError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::model::WindowKind;
use crate::store::LedgerStore;

const EVERY: Duration = Duration::from_secs(3_600);
/// Rows in one transaction: calls wait for it on SQLite.
const BATCH: u64 = 500;
/// Between two of them, others have their turn.
const PAUSE: Duration = Duration::from_millis(50);
const DAY_MICROS: i64 = 86_400_000_000;

/// Until the server ends.
pub(super) async fn run(store: LedgerStore, keep_days: u32, end: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while end.run_until_cancelled(ticks.tick()).await.is_some() {
        match end.run_until_cancelled(once(&store, keep_days, now_micros())).await {
            Some(Ok(0)) => {}
            Some(Ok(rows)) => tracing::info!(rows, keep_days, "old rows of the ledger were deleted"),
            Some(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "old rows of the ledger stay; again in an hour");
            }
            None => return,
        }
    }
}

/// Deletes all that is old enough, and tells how many rows that were.
pub(super) async fn once(store: &LedgerStore, keep_days: u32, now: i64) -> Result<u64, StorageError> {
    let old = now - i64::from(keep_days) * DAY_MICROS;
    let time = old.min(WindowKind::Month.span(now).start);
    let (mut rows, mut after) = (0, Uuid::nil());
    loop {
        let deleted = store.delete_calls(time, after, BATCH).await?;
        rows += deleted.rows;
        let Some(next) = deleted.after else { return Ok(rows) };
        after = next;
        tokio::time::sleep(PAUSE).await;
    }
}
