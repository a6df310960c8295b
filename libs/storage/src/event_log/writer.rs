//! The group commit: whatever has queued up while the last transaction was written goes into the next one.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use sea_orm::{ConnectionTrait, DbBackend, Value};
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{AppendError, Batch, Waiting, codec, hub, share};
use crate::jobs::held;
use crate::{StorageError, Store, Tx};

/// Batches in one transaction, or shares.
const GROUP: usize = 2048;
/// Rows in one statement: four parameters each, well under every engine's limit.
const ROWS: usize = 512;

/// Batches of one stream that follow each other: one row.
struct Run {
    stream: Uuid,
    first: u64,
    last: u64,
    batches: Vec<Batch>,
}

/// What became of a group: its batches are answered after the commit.
#[derive(Default)]
struct Outcome {
    appended: Vec<Batch>,
    refused: Vec<(Batch, AppendError)>,
}

pub(super) async fn run(store: &Store, mut received: Receiver<Waiting>, shutdown: CancellationToken) {
    let mut group = Vec::new();
    loop {
        let taken = tokio::select! {
            biased;
            taken = received.recv_many(&mut group, GROUP) => taken,
            () = shutdown.cancelled(), if !received.is_closed() => {
                // From here on `append_soon` is refused; what was accepted is still written.
                received.close();
                continue;
            }
        };
        if taken == 0 {
            return;
        }
        let (mut batches, mut shares) = (Vec::new(), Vec::new());
        for waiting in group.drain(..) {
            match waiting {
                Waiting::Batch(batch) => batches.push(batch),
                Waiting::Share(share) => shares.push(share),
            }
        }
        if !batches.is_empty() {
            write(store, batches).await;
        }
        if !shares.is_empty() {
            share::write(store, shares).await;
        }
    }
}

async fn write(store: &Store, group: Vec<Batch>) {
    let mut outcome = Outcome::default();
    let mut unwritten = group;
    match append(store, &mut unwritten, &mut outcome).await {
        Ok(()) => {
            for batch in outcome.appended {
                hub::publish(store, batch.stream, batch.first, batch.events);
                let _ = batch.done.send(Ok(()));
            }
        }
        Err(error) => {
            for batch in unwritten.into_iter().chain(outcome.appended) {
                let _ = batch.done.send(Err(AppendError::Storage(error.clone())));
            }
        }
    }
    // Nobody listens when the caller was cancelled.
    for (batch, error) in outcome.refused {
        let _ = batch.done.send(Err(error));
    }
}

/// Moves every batch from `group` to `outcome`, in one transaction.
async fn append(store: &Store, group: &mut Vec<Batch>, outcome: &mut Outcome) -> Result<(), StorageError> {
    let tx = store.begin().await?;
    fence(&tx, group, outcome).await?;
    while !group.is_empty() {
        let mut runs = take_runs(group);
        while !runs.is_empty() {
            let rest = runs.split_off(runs.len().min(ROWS));
            let inserted = match insert(&tx, &runs).await {
                Ok(inserted) => inserted,
                Err(error) => {
                    group.extend(runs.into_iter().chain(rest).flat_map(|run| run.batches));
                    return Err(error);
                }
            };
            for run in runs {
                if inserted.contains(&run.stream) {
                    outcome.appended.extend(run.batches);
                } else {
                    outcome.refused.extend(run.batches.into_iter().map(|batch| (batch, AppendError::Conflict)));
                }
            }
            runs = rest;
        }
    }
    tx.commit().await
}

/// Refuses the batches of writers that lost their lease.
async fn fence(tx: &Tx, group: &mut Vec<Batch>, outcome: &mut Outcome) -> Result<(), StorageError> {
    let claimed: HashSet<(Uuid, i64)> = group.iter().filter_map(|batch| batch.lease).collect();
    if claimed.is_empty() {
        return Ok(());
    }
    let claimed: Vec<(Uuid, i64)> = claimed.into_iter().collect();
    let valid: HashSet<(Uuid, i64)> = held(tx, &claimed).await?.into_iter().collect();
    for batch in std::mem::take(group) {
        if batch.lease.is_none_or(|lease| valid.contains(&lease)) {
            group.push(batch);
        } else {
            outcome.refused.push((batch, AppendError::LeaseLost));
        }
    }
    Ok(())
}

/// Takes one run per stream out of `group`: the first batch of each stream and those that follow it without a gap. What
/// does not fit stays for the next round, where the log itself decides.
fn take_runs(group: &mut Vec<Batch>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut known: HashMap<Uuid, usize> = HashMap::new();
    for batch in std::mem::take(group) {
        let (stream, first) = (batch.stream, batch.first);
        let last = first.saturating_add(batch.events.len() as u64 - 1);
        match known.get(&stream) {
            None => {
                known.insert(stream, runs.len());
                runs.push(Run { stream, first, last, batches: vec![batch] });
            }
            Some(at) if runs[*at].last.checked_add(1) == Some(first) => {
                runs[*at].last = last;
                runs[*at].batches.push(batch);
            }
            Some(_) => group.push(batch),
        }
    }
    runs
}

/// Inserts the runs that begin where their logs end; returns the streams of those. The select finds writers before us,
/// the constraint those beside us (on PostgreSQL).
async fn insert(tx: &Tx, runs: &[Run]) -> Result<HashSet<Uuid>, StorageError> {
    let mut sql = "WITH batch (stream_id, first_sequence, last_sequence, payload) AS (VALUES ".to_owned();
    let mut values: Vec<Value> = Vec::with_capacity(runs.len() * 4);
    // Few different texts, so that each is prepared once: the rows up to the next power of two fit no log.
    for at in 0..runs.len().next_power_of_two() {
        let (comma, p) = (if at == 0 { "" } else { ", " }, at * 4);
        // Writing to a string cannot fail. SQLite's driver looks every numbered parameter up by its name, among all of them.
        let _ = match tx.store().backend() {
            DbBackend::Sqlite => write!(sql, "{comma}(?, ?, ?, ?)"),
            _ => write!(sql, "{comma}(${}, ${}, ${}, ${})", p + 1, p + 2, p + 3, p + 4),
        };
        let Some(run) = runs.get(at) else {
            values.extend([Uuid::nil().into(), (-1_i64).into(), (-1_i64).into(), Vec::<u8>::new().into()]);
            continue;
        };
        let mut payload = Vec::new();
        for batch in &run.batches {
            codec::encode(&batch.events, &mut payload);
        }
        values.extend([run.stream.into(), (run.first as i64).into(), (run.last as i64).into(), payload.into()]);
    }
    sql += ") INSERT INTO event_log (stream_id, first_sequence, last_sequence, payload) \
            SELECT stream_id, first_sequence, last_sequence, payload FROM batch WHERE COALESCE((SELECT stored.last_sequence \
            FROM event_log stored WHERE stored.stream_id = batch.stream_id ORDER BY stored.first_sequence DESC LIMIT 1), 0) \
            = batch.first_sequence - 1 ON CONFLICT DO NOTHING RETURNING stream_id";
    let rows = tx.conn().query_all_raw(tx.store().statement(sql, values)).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}
