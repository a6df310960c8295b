//! The group commit: whatever has queued up while the last transaction was written goes into the next one.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use sea_orm::{ConnectionTrait, DbBackend, Value};
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{AppendError, Batch, Waiting, codec, hub, share};
use crate::jobs::{LEASED, is_open};
use crate::{StorageError, Store};

/// Batches and shares in one group.
const GROUP: usize = 2048;
/// Rows in one statement, well under every engine's limit of parameters.
const ROWS: usize = 512;
/// Parameters of a row.
const PLACES: usize = 6;

/// Batches of one stream that follow each other: one row.
struct Run {
    stream: Uuid,
    first: u64,
    last: u64,
    lease: Option<(Uuid, i64)>,
    batches: Vec<Batch>,
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

async fn write(store: &Store, mut group: Vec<Batch>) {
    while !group.is_empty() {
        let mut runs = take_runs(&mut group);
        while !runs.is_empty() {
            let rest = runs.split_off(runs.len().min(ROWS));
            commit(store, runs).await;
            runs = rest;
        }
    }
}

/// Commits these runs and answers their batches. Nobody listens to the answer when a caller was cancelled.
async fn commit(store: &Store, runs: Vec<Run>) {
    let appended = match insert(store, &runs).await {
        Ok(appended) => appended,
        Err(error) => {
            for batch in runs.into_iter().flat_map(|run| run.batches) {
                let _ = batch.done.send(Err(AppendError::Storage(error.clone())));
            }
            return;
        }
    };
    for run in runs {
        let refused = if appended.contains(&run.stream) { None } else { Some(why(store, &run).await) };
        for batch in run.batches {
            let answer = match &refused {
                Some(error) => Err(error.clone()),
                None => {
                    hub::publish(store, batch.stream, batch.first, batch.events);
                    Ok(())
                }
            };
            let _ = batch.done.send(answer);
        }
    }
}

/// Why a run was not appended.
async fn why(store: &Store, run: &Run) -> AppendError {
    let Some((id, token)) = run.lease else { return AppendError::Conflict };
    match is_open(store, id, token).await {
        Ok(true) => AppendError::Conflict,
        Ok(false) => AppendError::LeaseLost,
        Err(error) => error.into(),
    }
}

/// Takes one run per stream out of `group`: the first batch of each stream and those of the same writer that follow it
/// without a gap. What does not fit stays for the next round, where the log itself decides.
fn take_runs(group: &mut Vec<Batch>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut known: HashMap<Uuid, usize> = HashMap::new();
    for batch in std::mem::take(group) {
        let (stream, first) = (batch.stream, batch.first);
        let last = first.saturating_add(batch.events.len() as u64 - 1);
        match known.get(&stream) {
            None => {
                known.insert(stream, runs.len());
                runs.push(Run { stream, first, last, lease: batch.lease, batches: vec![batch] });
            }
            Some(at) if runs[*at].last.checked_add(1) == Some(first) && runs[*at].lease == batch.lease => {
                runs[*at].last = last;
                runs[*at].batches.push(batch);
            }
            Some(_) => group.push(batch),
        }
    }
    runs
}

/// Inserts the runs that begin where their logs end and whose leases are valid; returns the streams of those. One statement
/// is the whole transaction: each step of one costs as much as the insert. The select finds writers before us, the
/// constraint those beside us (on PostgreSQL, where leases are held until the commit, too).
async fn insert(store: &Store, runs: &[Run]) -> Result<HashSet<Uuid>, StorageError> {
    let sqlite = store.backend() == DbBackend::Sqlite;
    let mut sql = "WITH batch (stream_id, first_sequence, last_sequence, payload, lease_id, token) AS (VALUES ".to_owned();
    let mut values: Vec<Value> = Vec::with_capacity(runs.len().next_power_of_two() * PLACES);
    // Few different texts, so that each is prepared once: the rows up to the next power of two fit no log.
    for at in 0..runs.len().next_power_of_two() {
        let (comma, p) = (if at == 0 { "" } else { ", " }, at * PLACES);
        // Writing to a string cannot fail. SQLite's driver looks every numbered parameter up by its name, among all of them.
        let _ = match sqlite {
            true => write!(sql, "{comma}(?, ?, ?, ?, ?, ?)"),
            false => write!(sql, "{comma}(${}, ${}, ${}, ${}, ${}, ${})", p + 1, p + 2, p + 3, p + 4, p + 5, p + 6),
        };
        values.extend(runs.get(at).map_or_else(nothing, row));
    }
    let held = if sqlite { "job" } else { "held" };
    if !sqlite {
        sql += "), held AS (SELECT id, token, state FROM job WHERE id IN (SELECT lease_id FROM batch) ORDER BY id FOR UPDATE";
    }
    let _ = write!(
        sql,
        ") INSERT INTO event_log (stream_id, first_sequence, last_sequence, payload) \
         SELECT stream_id, first_sequence, last_sequence, payload FROM batch WHERE COALESCE((SELECT stored.last_sequence \
         FROM event_log stored WHERE stored.stream_id = batch.stream_id ORDER BY stored.first_sequence DESC LIMIT 1), 0) \
         = batch.first_sequence - 1 AND (lease_id IS NULL OR EXISTS (SELECT 1 FROM {held} WHERE {held}.id = batch.lease_id \
         AND {held}.token = batch.token AND {held}.state = {LEASED})) ON CONFLICT DO NOTHING RETURNING stream_id"
    );
    let rows = store.write().query_all_raw(store.statement(sql, values)).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

fn row(run: &Run) -> [Value; PLACES] {
    let mut payload = Vec::new();
    for batch in &run.batches {
        codec::encode(&batch.events, &mut payload);
    }
    let (id, token) = run.lease.unzip();
    [run.stream.into(), (run.first as i64).into(), (run.last as i64).into(), payload.into(), id.into(), token.into()]
}

/// A row that fits no log.
fn nothing() -> [Value; PLACES] {
    [Uuid::nil().into(), (-1_i64).into(), (-1_i64).into(), Vec::<u8>::new().into(), None::<Uuid>.into(), None::<i64>.into()]
}
