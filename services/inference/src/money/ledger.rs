//! Writing the ledger for many calls at once: whatever has ended while the last transaction is written goes into the next.
//!
//! A row that cannot be written for now is tried again until it can: the answers wait with it for a while, and are then told
//! that the store is away. Should the process end before that, the reservation remains and is charged in full.

use std::time::{Duration, Instant};

use slipway_rpc::now_micros;
use slipway_storage::{StorageError, crash};
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::store::{Ended, LedgerStore};

/// Calls that may be under way: each holds a place from its beginning.
const PLACES: usize = 16_384;
/// Rows in one transaction.
const GROUP: usize = 256;
/// How long answers wait for a store that is away.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(100);
/// How long calls that have nobody left may take to end once the server is drained.
const LAST: Duration = Duration::from_secs(5);

/// A row, and who waits for it to be safe.
pub(super) struct Row {
    pub(super) ended: Ended,
    pub(super) done: oneshot::Sender<Result<(), StorageError>>,
}

/// A place for one row.
pub(super) type Place = OwnedPermit<Row>;

/// The way to the task that writes.
pub(super) struct Ledger(mpsc::Sender<Row>);

impl Ledger {
    pub(super) fn new() -> (Self, mpsc::Receiver<Row>) {
        let (sender, receiver) = mpsc::channel(PLACES);
        (Self(sender), receiver)
    }

    /// A place for a call's row.
    pub(super) async fn place(&self) -> Result<Place, StorageError> {
        self.0.clone().reserve_owned().await.map_err(|_| StorageError::Interrupted)
    }
}

pub(super) async fn run(store: LedgerStore, mut rows: mpsc::Receiver<Row>, end: CancellationToken) {
    let mut group = Vec::new();
    while !end.is_cancelled() {
        tokio::select! {
            biased;
            () = end.cancelled() => break,
            _ = rows.recv_many(&mut group, GROUP) => {}
        }
        write(&store, std::mem::take(&mut group), &end).await;
    }
    // Every place that is taken brings its row, or is given back.
    rows.close();
    let last = Instant::now();
    while let Ok(taken) = tokio::time::timeout(LAST.saturating_sub(last.elapsed()), rows.recv_many(&mut group, GROUP)).await {
        if taken == 0 {
            return;
        }
        write(&store, std::mem::take(&mut group), &end).await;
    }
}

/// Writes all rows, together if possible, for as long as it takes, but not beyond the end.
async fn write(store: &LedgerStore, group: Vec<Row>, end: &CancellationToken) {
    if group.is_empty() {
        return;
    }
    let (ended, mut waiting): (Vec<_>, Vec<_>) = group.into_iter().map(|row| (row.ended, Some(row.done))).unzip();
    let begun = Instant::now();
    loop {
        let error = match store.record(&ended, now_micros()).await {
            Ok(()) => {
                crash::point("inference.charged");
                waiting.into_iter().flatten().for_each(|done| drop(done.send(Ok(()))));
                return;
            }
            Err(error) if error.is_unavailable() => error,
            Err(error) if ended.len() == 1 => return give_up(&ended, waiting, error),
            // One of them is wrong: the others must not suffer for it.
            Err(_) => return write_each(store, ended, waiting).await,
        };
        let over = begun.elapsed() > PATIENCE || end.is_cancelled();
        if over {
            for done in waiting.iter_mut().filter_map(Option::take) {
                let _ = done.send(Err(error.clone()));
            }
        }
        if end.is_cancelled() {
            return give_up(&ended, Vec::new(), error);
        }
        tracing::warn!(error = &error as &dyn std::error::Error, rows = ended.len(), "the ledger cannot be written; again soon");
        end.run_until_cancelled(tokio::time::sleep(RETRY)).await;
    }
}

async fn write_each(store: &LedgerStore, ended: Vec<Ended>, waiting: Vec<Option<oneshot::Sender<Result<(), StorageError>>>>) {
    for (one, done) in ended.into_iter().zip(waiting) {
        let written = store.record(std::slice::from_ref(&one), now_micros()).await;
        match (written, done) {
            (Err(error), done) => give_up(&[one], vec![done], error),
            (Ok(()), Some(done)) => drop(done.send(Ok(()))),
            (Ok(()), None) => {}
        }
    }
}

fn give_up(ended: &[Ended], waiting: Vec<Option<oneshot::Sender<Result<(), StorageError>>>>, error: StorageError) {
    for one in ended {
        let (call_id, cost_micros) = (one.call.id, one.call.cost);
        tracing::error!(%call_id, cost_micros, error = &error as &dyn std::error::Error, "a call is missing in the ledger");
    }
    for done in waiting.into_iter().flatten() {
        let _ = done.send(Err(error.clone()));
    }
}
