//! Keeps this process's reservations alive, and charges those whose process is gone.

use std::time::Duration;

use slipway_rpc::now_micros;
use slipway_storage::StorageError;
use tokio_util::sync::CancellationToken;

use super::LEASE;
use crate::store::LedgerStore;

const EVERY: Duration = Duration::from_secs(10);

/// Until the end of everything that may hold a reservation.
pub(super) async fn run(store: LedgerStore, end: CancellationToken) {
    // Who has the file alone knows that whoever had it before is gone.
    let alone = store.is_alone();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while end.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = once(&store, alone).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "reservations are not looked after; again soon");
        }
    }
}

async fn once(store: &LedgerStore, alone: bool) -> Result<(), StorageError> {
    let lease = i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX / 4);
    store.renew(now_micros() + lease).await?;
    loop {
        let lost = store.sweep(now_micros(), alone).await?;
        if lost == 0 {
            return Ok(());
        }
        tracing::warn!(calls = lost, "calls whose process is gone are charged as they were reserved");
    }
}
