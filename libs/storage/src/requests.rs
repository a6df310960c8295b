//! Remembers requests by the caller's `request_id`, so that the same one again gives the first result.
//!
//! In one transaction: [`begin`], then the work when the claim is [`Claim::New`], then [`record`].

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::store::micros;
use crate::{StorageError, Store, Tx, now_micros};

/// How long the same request id gives the first result.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often old ones are looked for; nothing depends on it.
const LOOK: Duration = Duration::from_secs(6 * 3600);

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

/// Forgets from time to time what is older than [`REMEMBERED`], until `shutdown`. Replicas may all do it.
pub async fn forget_old(store: Store, shutdown: CancellationToken) {
    let mut look = tokio::time::interval(LOOK);
    while shutdown.run_until_cancelled(look.tick()).await.is_some() {
        match forget(&store, REMEMBERED).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "old request ids are forgotten"),
            Err(error) => tracing::warn!(%error, "old request ids cannot be forgotten now; the next attempt follows"),
        }
    }
}

/// Forgets requests older than `age`; returns how many.
async fn forget(store: &Store, age: Duration) -> Result<u64, StorageError> {
    let oldest = now_micros() - micros(age);
    let delete = store.statement("DELETE FROM request WHERE create_time < $1", [oldest.into()]);
    Ok(store.write().execute_raw(delete).await?.rows_affected())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::future::join_all;

    use super::*;
    use crate::testing::TestStore;

    #[tokio::test(flavor = "multi_thread")]
    async fn of_fifty_at_once_one_does_the_work() {
        let test = Arc::new(TestStore::new().await);
        let project = Uuid::now_v7();
        let calls = (0..50).map(|_| {
            let test = test.clone();
            tokio::spawn(async move {
                let tx = test.store.begin().await.expect("begun");
                match begin(&tx, project, "CreateRun", "r-1", b"hash").await.expect("looked up") {
                    Claim::New => {
                        let made = Uuid::now_v7();
                        record(&tx, project, "CreateRun", "r-1", b"hash", made).await.expect("recorded");
                        tx.commit().await.expect("committed");
                        (made, 1)
                    }
                    Claim::Same { result_id } => (result_id, 0),
                    Claim::Reused { .. } => panic!("the payload is the same"),
                }
            })
        });
        let answers: Vec<(Uuid, u32)> = join_all(calls).await.into_iter().map(|call| call.expect("no panic")).collect();
        assert_eq!(answers.iter().map(|(_, made)| made).sum::<u32>(), 1);
        assert!(answers.iter().all(|(id, _)| *id == answers[0].0), "all get the first result");
    }

    #[tokio::test]
    async fn ids_belong_to_a_project_and_a_method() {
        let test = TestStore::new().await;
        let (project, first) = (Uuid::now_v7(), Uuid::now_v7());
        let tx = test.store.begin().await.expect("begun");
        record(&tx, project, "CreateRun", "r-1", b"hash", first).await.expect("recorded");
        let claim = begin(&tx, project, "CreateRun", "r-1", b"other").await.expect("looked up");
        assert_eq!(claim, Claim::Reused { first_id: first });
        assert_eq!(begin(&tx, project, "CreatePlan", "r-1", b"hash").await.expect("looked up"), Claim::New);
        assert_eq!(begin(&tx, Uuid::now_v7(), "CreateRun", "r-1", b"hash").await.expect("looked up"), Claim::New);
        let again = record(&tx, project, "CreateRun", "r-1", b"hash", Uuid::now_v7()).await.expect_err("a second record");
        assert!(again.is_unique_violation());
    }

    #[tokio::test]
    async fn old_requests_are_forgotten() {
        let test = TestStore::new().await;
        let project = Uuid::now_v7();
        let tx = test.store.begin().await.expect("begun");
        record(&tx, project, "CreateRun", "r-1", b"hash", Uuid::now_v7()).await.expect("recorded");
        record(&tx, project, "CreateRun", "r-2", b"hash", Uuid::now_v7()).await.expect("recorded");
        let aged = "UPDATE request SET create_time = create_time - $1 WHERE request_id = 'r-1'";
        let age = micros(REMEMBERED).into();
        tx.conn().execute_raw(test.store.statement(aged, [age])).await.expect("aged");
        tx.commit().await.expect("committed");
        assert_eq!(forget(&test.store, REMEMBERED).await.expect("forgotten"), 1);
        assert_eq!(forget(&test.store, REMEMBERED).await.expect("forgotten"), 0);
    }
}
