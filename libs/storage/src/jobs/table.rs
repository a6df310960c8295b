//! The statements on the job table, each one round trip.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, Value};
use uuid::Uuid;

use super::{Enqueued, NewJob};
use crate::outbox::placeholders;
use crate::store::micros;
use crate::{StorageError, Store, Tx, now_micros};

pub(crate) const QUEUED: i32 = 0;
pub(crate) const LEASED: i32 = 1;
pub(crate) const DEAD: i32 = 2;

/// A row that this process may work on.
pub(super) struct Claimed {
    pub(super) id: Uuid,
    pub(super) key: String,
    pub(super) project_id: Uuid,
    pub(super) payload: Vec<u8>,
    pub(super) attempt: u32,
    pub(super) released: u32,
    pub(super) token: i64,
    pub(super) traceparent: String,
}

/// Inserts a job, queued or (with a lease) as ours already. A dead job of the same key gives way to the new one.
pub(super) async fn insert(tx: &Tx, job: &NewJob, lease: Option<Duration>) -> Result<Enqueued, StorageError> {
    let sql = "INSERT INTO job (id, kind, job_key, project_id, payload, traceparent, state, attempt, released, token, \
               due_time, lease_owner, create_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10, $11, $12) \
               ON CONFLICT (kind, job_key) DO UPDATE SET \
               id = CASE WHEN job.state = 2 THEN excluded.id ELSE job.id END, \
               project_id = CASE WHEN job.state = 2 THEN excluded.project_id ELSE job.project_id END, \
               payload = CASE WHEN job.state = 2 THEN excluded.payload ELSE job.payload END, \
               traceparent = CASE WHEN job.state = 2 THEN excluded.traceparent ELSE job.traceparent END, \
               attempt = CASE WHEN job.state = 2 THEN excluded.attempt ELSE job.attempt END, \
               released = CASE WHEN job.state = 2 THEN 0 ELSE job.released END, \
               token = CASE WHEN job.state = 2 THEN excluded.token ELSE job.token END, \
               due_time = CASE WHEN job.state = 2 THEN excluded.due_time ELSE job.due_time END, \
               lease_owner = CASE WHEN job.state = 2 THEN excluded.lease_owner ELSE job.lease_owner END, \
               last_error = CASE WHEN job.state = 2 THEN NULL ELSE job.last_error END, \
               death_time = CASE WHEN job.state = 2 THEN NULL ELSE job.death_time END, \
               create_time = CASE WHEN job.state = 2 THEN excluded.create_time ELSE job.create_time END, \
               state = CASE WHEN job.state = 2 THEN excluded.state ELSE job.state END \
               RETURNING id";
    let id = Uuid::now_v7();
    let row = tx.conn().query_one_raw(tx.store().statement(sql, values(tx.store(), id, job, lease))).await?;
    let row = row.ok_or_else(|| StorageError::Corrupt("an inserted job was not returned".to_owned()))?;
    let found: Uuid = row.try_get_by_index(0)?;
    Ok(Enqueued { id: found, created: found == id })
}

/// As [`insert`] for a key that the table does not have.
pub(super) fn insert_new(store: &Store, id: Uuid, job: &NewJob, lease: Option<Duration>) -> Statement {
    let sql = "INSERT INTO job (id, kind, job_key, project_id, payload, traceparent, state, attempt, released, token, \
               due_time, lease_owner, create_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10, $11, $12)";
    store.statement(sql, values(store, id, job, lease))
}

fn values(store: &Store, id: Uuid, job: &NewJob, lease: Option<Duration>) -> [Value; 12] {
    let (now, started) = (now_micros(), lease.is_some());
    [
        id.into(),
        job.kind.into(),
        job.key.as_str().into(),
        job.project_id.into(),
        job.payload.clone().into(),
        job.traceparent.as_str().into(),
        if started { LEASED } else { QUEUED }.into(),
        i32::from(started).into(),
        i64::from(started).into(),
        lease.map_or(now, |lease| now + micros(lease)).into(),
        started.then(|| store.owner()).into(),
        now.into(),
    ]
}

/// Takes up to `limit` jobs that are due: queued ones whose time has come and leased ones whose lease ran out.
pub(super) async fn claim(store: &Store, kind: &str, lease: Duration, limit: usize) -> Result<Vec<Claimed>, StorageError> {
    // Replicas on PostgreSQL step around each other's rows; SQLite runs one statement at a time.
    let skip = if store.backend() == DbBackend::Postgres { " FOR UPDATE SKIP LOCKED" } else { "" };
    let sql = format!(
        "UPDATE job SET state = {LEASED}, lease_owner = $1, due_time = $2, token = token + 1, attempt = attempt + 1 \
         WHERE id IN (SELECT id FROM job WHERE kind = $3 AND due_time <= $4 ORDER BY due_time LIMIT $5{skip}) \
         RETURNING id, job_key, project_id, payload, attempt, released, token, traceparent"
    );
    let now = now_micros();
    let values = [store.owner().into(), (now + micros(lease)).into(), kind.into(), now.into(), (limit as i64).into()];
    let rows = store.write().query_all_raw(store.statement(sql, values)).await?;
    rows.iter().map(Claimed::read).collect()
}

/// Extends our leases on `ids`; returns those that are still ours, with their tokens.
pub(super) async fn extend(store: &Store, ids: &[Uuid], lease: Duration) -> Result<Vec<(Uuid, i64)>, StorageError> {
    let sql = format!(
        "UPDATE job SET due_time = $1 WHERE lease_owner = $2 AND state = {LEASED} AND id IN ({}) RETURNING id, token",
        placeholders(3, ids.len())
    );
    let head = [Value::from(now_micros() + micros(lease)), Value::from(store.owner())];
    let values = head.into_iter().chain(ids.iter().map(|id| Value::from(*id)));
    let rows = store.write().query_all_raw(store.statement(sql, values)).await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

/// Whether the lease is valid, held so until the transaction ends.
pub(super) async fn is_held(tx: &Tx, id: Uuid, token: i64) -> Result<bool, StorageError> {
    let sql = format!("SELECT 1 FROM job WHERE id = $1 AND token = $2 AND state = {LEASED}{}", tx.store().for_update());
    let row = tx.conn().query_one_raw(tx.store().statement(sql, [id.into(), token.into()])).await?;
    Ok(row.is_some())
}

/// Whether the row still waits for its end under this token, outside any transaction.
pub(crate) async fn is_open(store: &Store, id: Uuid, token: i64) -> Result<bool, StorageError> {
    let sql = format!("SELECT 1 FROM job WHERE id = $1 AND token = $2 AND state = {LEASED}");
    Ok(store.write().query_one_raw(store.statement(sql, [id.into(), token.into()])).await?.is_some())
}

/// Deletes the job if the token is still the current one.
pub(super) async fn delete(tx: &Tx, id: Uuid, token: i64) -> Result<bool, StorageError> {
    Ok(tx.conn().execute_raw(deletion(tx.store(), id, token)).await?.rows_affected() > 0)
}

/// Deletes the job if the token is still the current one.
pub(super) fn deletion(store: &Store, id: Uuid, token: i64) -> Statement {
    let sql = format!("DELETE FROM job WHERE id = $1 AND token = $2 AND state = {LEASED}");
    store.statement(sql, [id.into(), token.into()])
}

/// Deletes the job of that key unless it is leased; whether nobody has it now.
pub(super) async fn withdraw(tx: &Tx, kind: &str, key: &str) -> Result<bool, StorageError> {
    let delete = format!("DELETE FROM job WHERE kind = $1 AND job_key = $2 AND state <> {LEASED}");
    let done = tx.conn().execute_raw(tx.store().statement(delete, [kind.into(), key.into()])).await?;
    if done.rows_affected() > 0 {
        return Ok(true);
    }
    let find = tx.store().statement("SELECT 1 FROM job WHERE kind = $1 AND job_key = $2", [kind.into(), key.into()]);
    Ok(tx.conn().query_one_raw(find).await?.is_none())
}

/// Deletes the job of that key, whoever has it.
pub(super) async fn discard(tx: &Tx, kind: &str, key: &str) -> Result<(), StorageError> {
    let delete = "DELETE FROM job WHERE kind = $1 AND job_key = $2";
    tx.conn().execute_raw(tx.store().statement(delete, [kind.into(), key.into()])).await?;
    Ok(())
}

/// Queues the job for another attempt after `pause`.
pub(super) async fn retry(store: &Store, id: Uuid, token: i64, pause: Duration, error: &str) -> Result<(), StorageError> {
    let sql = format!(
        "UPDATE job SET state = {QUEUED}, lease_owner = NULL, due_time = $3, last_error = $4 \
         WHERE id = $1 AND token = $2 AND state = {LEASED}"
    );
    let values = [id.into(), token.into(), (now_micros() + micros(pause)).into(), error.into()];
    store.write().execute_raw(store.statement(sql, values)).await?;
    Ok(())
}

/// Puts the job aside: no worker takes it any more. The row stays for whoever wants to know why.
pub(super) async fn bury(store: &Store, id: Uuid, token: i64, error: &str) -> Result<(), StorageError> {
    let sql = format!(
        "UPDATE job SET state = {DEAD}, lease_owner = NULL, due_time = NULL, death_time = $3, last_error = $4 \
         WHERE id = $1 AND token = $2 AND state = {LEASED}"
    );
    let values = [id.into(), token.into(), now_micros().into(), error.into()];
    store.write().execute_raw(store.statement(sql, values)).await?;
    Ok(())
}

/// Gives back everything this process still holds of a kind; it counts as no failure.
pub(super) async fn release(store: &Store, kind: &str) -> Result<u64, StorageError> {
    let sql = format!(
        "UPDATE job SET state = {QUEUED}, lease_owner = NULL, due_time = $1, released = released + 1 \
         WHERE kind = $2 AND lease_owner = $3 AND state = {LEASED}"
    );
    let values = [now_micros().into(), kind.into(), store.owner().into()];
    Ok(store.write().execute_raw(store.statement(sql, values)).await?.rows_affected())
}

/// On SQLite one process owns the file, so whoever holds leases besides us is dead: their jobs are due now.
/// On PostgreSQL they may be alive, and their leases run out by themselves if not.
pub(super) async fn take_over(store: &Store, kind: &str) -> Result<u64, StorageError> {
    if store.backend() != DbBackend::Sqlite {
        return Ok(0);
    }
    let sql = format!(
        "UPDATE job SET state = {QUEUED}, lease_owner = NULL, due_time = $1 \
         WHERE kind = $2 AND state = {LEASED} AND lease_owner <> $3"
    );
    let values = [now_micros().into(), kind.into(), store.owner().into()];
    Ok(store.write().execute_raw(store.statement(sql, values)).await?.rows_affected())
}

impl Claimed {
    fn read(row: &QueryResult) -> Result<Claimed, StorageError> {
        Ok(Claimed {
            id: row.try_get_by_index(0)?,
            key: row.try_get_by_index(1)?,
            project_id: row.try_get_by_index(2)?,
            payload: row.try_get_by_index(3)?,
            attempt: row.try_get_by_index::<i32>(4)?.unsigned_abs(),
            released: row.try_get_by_index::<i32>(5)?.unsigned_abs(),
            token: row.try_get_by_index(6)?,
            traceparent: row.try_get_by_index(7)?,
        })
    }
}
