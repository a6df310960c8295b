//! Remembers requests by the caller's `request_id`, so that the same one again gives the first result.
//!
//! In one transaction: [`begin`], then the work when the claim is [`Claim::New`], then [`record`].

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend};
use uuid::Uuid;

use crate::store::micros;
use crate::{StorageError, Tx, now_micros};

/// Whether a request was seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It was not: do the work and [`record`] it.
    New,
    /// It was, with the same payload: answer with what it made.
    Same {
        /// What the first one made.
        result_id: Uuid,
    },
    /// The id was used for another payload: an error of the caller.
    Reused {
        /// What the first one made.
        first_id: Uuid,
    },
}

/// Looks the request up. Callers with the same id wait for each other here: on SQLite because transactions are one at a
/// time, on PostgreSQL on a lock that ends with the transaction.
pub async fn begin(tx: &Tx, project: Uuid, method: &str, request_id: &str, payload_hash: &[u8]) -> Result<Claim, StorageError> {
    let store = tx.store();
    if store.backend() == DbBackend::Postgres {
        let name = format!("request/{project}/{method}/{request_id}");
        let lock = store.statement("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [name.into()]);
        tx.conn().execute_raw(lock).await?;
    }
    let sql = "SELECT payload_hash, result_id FROM request WHERE project_id = $1 AND method = $2 AND request_id = $3";
    let find = store.statement(sql, [project.into(), method.into(), request_id.into()]);
    let Some(row) = tx.conn().query_one_raw(find).await? else {
        return Ok(Claim::New);
    };
    let first_hash: Vec<u8> = row.try_get_by_index(0)?;
    let first: Uuid = row.try_get_by_index(1)?;
    Ok(if first_hash == payload_hash { Claim::Same { result_id: first } } else { Claim::Reused { first_id: first } })
}

/// Remembers what the request made, in the transaction that made it.
pub async fn record(
    tx: &Tx,
    project: Uuid,
    method: &str,
    request_id: &str,
    payload_hash: &[u8],
    result_id: Uuid,
) -> Result<(), StorageError> {
    let sql = "INSERT INTO request (project_id, method, request_id, payload_hash, result_id, create_time) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    let values =
        [project.into(), method.into(), request_id.into(), payload_hash.to_vec().into(), result_id.into(), now_micros().into()];
    tx.conn().execute_raw(tx.store().statement(sql, values)).await?;
    Ok(())
}

/// Forgets requests older than `age`; returns how many.
pub async fn forget(tx: &Tx, age: Duration) -> Result<u64, StorageError> {
    let oldest = now_micros() - micros(age);
    let delete = tx.store().statement("DELETE FROM request WHERE create_time < $1", [oldest.into()]);
    Ok(tx.conn().execute_raw(delete).await?.rows_affected())
}
