//! Jobs that are dead: what operators see of them, and have done again or deleted. Also how work that was never a job, such
//! as an event that no consumer takes, becomes one to be found here.
//!
//! A dead job is a row of the job table that no worker takes; see `jobs`.

use sea_orm::{ConnectionTrait, QueryResult, Value};
use uuid::Uuid;

use crate::jobs::{DEAD, QUEUED};
use crate::{NewJob, StorageError, Store, now_micros};

/// A job that is not tried any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The job's id, a UUIDv7.
    pub id: Uuid,
    /// What sort of work.
    pub kind: String,
    /// Unique among its kind.
    pub key: String,
    /// How often it was begun.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub last_error: String,
    /// W3C trace context of the call that asked for the work; may be empty.
    pub traceparent: String,
    /// When it was queued.
    pub create_time: i64,
    /// When the last attempt failed; `None` for what died before this was kept.
    pub death_time: Option<i64>,
}

/// Dead letters of a project, the oldest first: of `kind` if one is given, after the id `after`, at most `limit`.
pub async fn list(
    store: &Store,
    project: Uuid,
    kind: Option<&str>,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<DeadLetter>, StorageError> {
    let mut sql = format!(
        "SELECT id, kind, job_key, attempt, last_error, traceparent, create_time, death_time FROM job \
         WHERE state = {DEAD} AND project_id = $1 AND id > $2"
    );
    let mut values: Vec<Value> = vec![project.into(), after.unwrap_or_default().into()];
    if let Some(kind) = kind {
        sql += " AND kind = $3";
        values.push(kind.into());
    }
    sql += &format!(" ORDER BY id LIMIT {limit}");
    let rows = store.read().query_all_raw(store.statement(sql, values)).await?;
    rows.iter().map(DeadLetter::read).collect()
}

/// Queues a dead letter again, with all its attempts; false when the project has no such dead letter.
pub async fn redrive(store: &Store, project: Uuid, id: Uuid) -> Result<bool, StorageError> {
    Ok(revive(store, project, "id", id.into()).await? > 0)
}

/// Queues all dead letters of a kind again; returns how many.
pub async fn redrive_kind(store: &Store, project: Uuid, kind: &str) -> Result<u64, StorageError> {
    revive(store, project, "kind", kind.into()).await
}

/// Workers find the jobs when they look next; nobody waits for a redriven job as a caller waits for a new one.
async fn revive(store: &Store, project: Uuid, column: &str, value: Value) -> Result<u64, StorageError> {
    let sql = format!(
        "UPDATE job SET state = {QUEUED}, attempt = 0, released = 0, token = token + 1, due_time = $1, death_time = NULL, \
         last_error = NULL WHERE state = {DEAD} AND project_id = $2 AND {column} = $3"
    );
    let values = [now_micros().into(), project.into(), value];
    Ok(store.write().execute_raw(store.statement(sql, values)).await?.rows_affected())
}

/// Deletes a dead letter for good; false when the project has no such dead letter.
pub async fn delete(store: &Store, project: Uuid, id: Uuid) -> Result<bool, StorageError> {
    let sql = format!("DELETE FROM job WHERE state = {DEAD} AND project_id = $1 AND id = $2");
    Ok(store.write().execute_raw(store.statement(sql, [project.into(), id.into()])).await?.rows_affected() > 0)
}

/// Puts work aside that was tried elsewhere: a job that is dead from the start. One of the same kind and key stays as it is,
/// dead or queued again.
pub async fn put_aside(store: &Store, job: NewJob, attempts: u32, error: &str) -> Result<(), StorageError> {
    let sql = format!(
        "INSERT INTO job (id, kind, job_key, project_id, payload, traceparent, state, attempt, released, token, create_time, \
         death_time, last_error) VALUES ($1, $2, $3, $4, $5, $6, {DEAD}, $7, 0, 0, $8, $8, $9) \
         ON CONFLICT (kind, job_key) DO NOTHING"
    );
    let values: [Value; 9] = [
        Uuid::now_v7().into(),
        job.kind.into(),
        job.key.into(),
        job.project_id.into(),
        job.payload.into(),
        job.traceparent.into(),
        i32::try_from(attempts).unwrap_or(i32::MAX).into(),
        now_micros().into(),
        error.into(),
    ];
    store.write().execute_raw(store.statement(sql, values)).await?;
    Ok(())
}

impl DeadLetter {
    fn read(row: &QueryResult) -> Result<DeadLetter, StorageError> {
        Ok(DeadLetter {
            id: row.try_get_by_index(0)?,
            kind: row.try_get_by_index(1)?,
            key: row.try_get_by_index(2)?,
            attempts: row.try_get_by_index::<i32>(3)?.unsigned_abs(),
            last_error: row.try_get_by_index::<Option<String>>(4)?.unwrap_or_default(),
            traceparent: row.try_get_by_index(5)?,
            create_time: row.try_get_by_index(6)?,
            death_time: row.try_get_by_index(7)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::testing::{TestStore, eventually, within};
    use crate::{JobError, Queue, QueueSettings};

    fn job(kind: &'static str, key: &str, project_id: Uuid) -> NewJob {
        NewJob { kind, key: key.into(), project_id, payload: b"work".to_vec(), traceparent: "00-a-b-01".into() }
    }

    #[tokio::test]
    async fn a_project_sees_and_touches_its_own() {
        let test = TestStore::new().await;
        let (ours, theirs) = (Uuid::now_v7(), Uuid::now_v7());
        for (kind, key, project) in [("a", "1", ours), ("a", "2", ours), ("b", "3", ours), ("a", "4", theirs)] {
            put_aside(&test.store, job(kind, key, project), 10, "no").await.expect("put aside");
        }
        put_aside(&test.store, job("a", "1", ours), 99, "again").await.expect("nothing to do");
        let all = list(&test.store, ours, None, None, 10).await.expect("listed");
        assert_eq!(all.iter().map(|letter| letter.key.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
        assert_eq!((all[0].attempts, all[0].last_error.as_str(), all[0].traceparent.as_str()), (10, "no", "00-a-b-01"));
        assert_eq!(all[0].death_time, Some(all[0].create_time));
        let rest = list(&test.store, ours, Some("a"), Some(all[0].id), 10).await.expect("listed");
        assert_eq!(rest, all[1..2]);
        assert_eq!(list(&test.store, ours, None, None, 2).await.expect("listed").len(), 2);

        assert!(!redrive(&test.store, theirs, all[0].id).await.expect("looked for"), "another project's");
        assert!(!delete(&test.store, theirs, all[0].id).await.expect("looked for"), "another project's");
        assert!(delete(&test.store, ours, all[2].id).await.expect("deleted"));
        assert!(redrive(&test.store, ours, all[0].id).await.expect("redriven"));
        assert!(!redrive(&test.store, ours, all[0].id).await.expect("looked for"), "it is dead no more");
        assert!(!delete(&test.store, ours, all[0].id).await.expect("looked for"), "nor can it be deleted");
        assert_eq!(redrive_kind(&test.store, ours, "a").await.expect("redriven"), 1);
        assert_eq!(list(&test.store, ours, None, None, 10).await.expect("listed"), []);
        assert_eq!(list(&test.store, theirs, None, None, 10).await.expect("listed").len(), 1);
    }

    #[tokio::test]
    async fn what_is_redriven_has_all_its_attempts_again() {
        let test = TestStore::new().await;
        let project = Uuid::now_v7();
        let settings = QueueSettings {
            max_attempts: 2,
            backoff_base: Duration::from_millis(1),
            poll: Duration::from_millis(20),
            ..QueueSettings::new("work", 1)
        };
        let queue = Queue::new(test.store.clone(), settings);
        let mut tx = test.store.begin().await.expect("begun");
        queue.enqueue(&mut tx, job("work", "1", project)).await.expect("queued");
        tx.commit().await.expect("committed");
        let (mended, shutdown) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
        let (tell, mut attempts) = mpsc::channel(16);
        let running = tokio::spawn({
            let (mended, shutdown, store) = (mended.clone(), shutdown.clone(), test.store.clone());
            async move {
                let handler = move |lease: crate::Lease| {
                    let (mended, store, tell) = (mended.load(Ordering::SeqCst), store.clone(), tell.clone());
                    async move {
                        tell.send((lease.attempt, lease.token)).await.expect("somebody listens");
                        if !mended {
                            return Err(JobError::Retry("poison".into()));
                        }
                        let tx = store.begin().await?;
                        lease.complete(&tx).await?;
                        Ok(tx.commit().await?)
                    }
                    .boxed()
                };
                queue.run(shutdown, handler).await;
            }
        });
        assert_eq!((within(attempts.recv()).await, within(attempts.recv()).await), (Some((1, 1)), Some((2, 2))));
        let dead = || async { list(&test.store, project, None, None, 10).await.expect("listed") };
        eventually(|| async { dead().await.len() == 1 }).await;
        let letter = dead().await.remove(0);
        assert_eq!((letter.attempts, letter.last_error.as_str()), (2, "poison"));
        assert!(letter.death_time.expect("it died just now") >= letter.create_time);
        assert_eq!(redrive_kind(&test.store, project, "work").await.expect("redriven"), 1);
        assert_eq!((within(attempts.recv()).await, within(attempts.recv()).await), (Some((1, 4)), Some((2, 5))));
        eventually(|| async { dead().await.len() == 1 }).await;
        mended.store(true, Ordering::SeqCst);
        assert!(redrive(&test.store, project, letter.id).await.expect("redriven"));
        assert_eq!(within(attempts.recv()).await, Some((1, 7)));
        eventually(|| async { test.count("SELECT count(*) FROM job").await == 0 }).await;
        shutdown.cancel();
        within(running).await.expect("no panic");
    }
}
