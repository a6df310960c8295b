//! What waits in a store: numbers for whoever watches the process, cheap enough to be asked for every few seconds.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use sea_orm::ConnectionTrait;

use crate::jobs::{DEAD, LEASED, QUEUED};
use crate::store::Inner;
use crate::{StorageError, Store, now_micros};

/// What waits in one store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How long the oldest event has been waiting for the bus; zero when none is.
    pub outbox_lag: Duration,
    /// The jobs, by kind; kinds without any are left out.
    pub jobs: Vec<Jobs>,
}

/// The jobs of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jobs {
    /// What sort of work.
    pub kind: String,
    /// How many wait, for a worker or for their next attempt.
    pub queued: u64,
    /// How many are being worked on.
    pub running: u64,
    /// How many were given up.
    pub dead: u64,
    /// How long the oldest that may be taken has been waiting for a worker; zero when none does.
    pub lag: Duration,
}

impl Store {
    /// What waits here now, for every replica of the service.
    pub async fn backlog(&self) -> Result<Backlog, StorageError> {
        let now = now_micros();
        let oldest = "SELECT create_time FROM outbox WHERE sent_time IS NULL ORDER BY id LIMIT 1";
        let row = self.read().query_one_raw(self.statement(oldest, [])).await?;
        let oldest: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?;
        let outbox_lag = oldest.map(|time| since(time, now)).unwrap_or_default();

        let counted = "SELECT kind, state, CAST(count(*) AS bigint), min(due_time) FROM job GROUP BY kind, state ORDER BY kind";
        let mut jobs: Vec<Jobs> = Vec::new();
        for row in self.read().query_all_raw(self.statement(counted, [])).await? {
            let kind: String = row.try_get_by_index(0)?;
            if jobs.last().is_none_or(|last| last.kind != kind) {
                jobs.push(Jobs { kind, ..Jobs::default() });
            }
            let Some(of_kind) = jobs.last_mut() else { continue };
            let count = row.try_get_by_index::<i64>(2)?.unsigned_abs();
            match row.try_get_by_index::<i32>(1)? {
                QUEUED => {
                    of_kind.queued = count;
                    of_kind.lag = row.try_get_by_index::<Option<i64>>(3)?.map(|due| since(due, now)).unwrap_or_default();
                }
                LEASED => of_kind.running = count,
                DEAD => of_kind.dead = count,
                other => return Err(StorageError::Corrupt(format!("job.state: {other}"))),
            }
        }
        Ok(Backlog { outbox_lag, jobs })
    }
}

/// Zero for what lies ahead.
fn since(time: i64, now: i64) -> Duration {
    Duration::from_micros(u64::try_from(now - time).unwrap_or(0))
}

/// The stores that were opened with the same settings, while they last; cheap to clone.
#[derive(Clone, Default)]
pub struct Opened(Arc<Mutex<Vec<Opening>>>);

type Opening = (String, Weak<Inner>);

impl Opened {
    /// The stores with their schemas.
    pub fn stores(&self) -> Vec<(String, Store)> {
        let mut all = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        all.retain(|(_, inner)| inner.strong_count() > 0);
        all.iter().filter_map(|(schema, inner)| Some((schema.clone(), Store { inner: inner.upgrade()? }))).collect()
    }

    pub(crate) fn add(&self, schema: &str, store: &Store) {
        let mut all = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        all.push((schema.to_owned(), Arc::downgrade(&store.inner)));
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.stores()).finish()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::TestStore;

    #[tokio::test]
    async fn what_waits_is_counted() {
        let test = TestStore::new().await;
        assert_eq!(test.store.backlog().await.expect("read"), Backlog::default());
        let now = now_micros();
        let ago = |seconds: i64| now - seconds * 1_000_000;
        let sql = "INSERT INTO outbox (event_id, subject, entity_id, traceparent, payload, create_time, sent_time) \
                   VALUES ($1, 's', 'e', '', $2, $3, $4)";
        for (created, sent) in [(ago(90), Some(now)), (ago(60), None), (ago(30), None)] {
            let values = [Uuid::now_v7().into(), Vec::<u8>::new().into(), created.into(), sent.into()];
            test.store.write().execute_raw(test.store.statement(sql, values)).await.expect("inserted");
        }
        let sql = "INSERT INTO job (id, kind, job_key, project_id, payload, traceparent, state, attempt, released, token, \
                   due_time, create_time) VALUES ($1, $2, $3, $1, $4, '', $5, 0, 0, 0, $6, 0)";
        let jobs = [
            ("run", QUEUED, Some(ago(20))),
            ("run", QUEUED, Some(ago(10))),
            ("run", LEASED, Some(ago(-10))),
            ("apply", DEAD, None),
            ("apply", QUEUED, Some(ago(-100))),
        ];
        for (number, (kind, state, due)) in jobs.into_iter().enumerate() {
            let key = number.to_string();
            let values = [Uuid::now_v7().into(), kind.into(), key.into(), Vec::<u8>::new().into(), state.into(), due.into()];
            test.store.write().execute_raw(test.store.statement(sql, values)).await.expect("inserted");
        }
        let Backlog { outbox_lag, jobs } = test.store.backlog().await.expect("read");
        assert!((60..70).contains(&outbox_lag.as_secs()), "{outbox_lag:?}");
        let [apply, run] = &jobs[..] else { panic!("two kinds: {jobs:?}") };
        assert_eq!(*apply, Jobs { kind: "apply".into(), queued: 1, dead: 1, ..Jobs::default() });
        assert_eq!((run.kind.as_str(), run.queued, run.running, run.dead), ("run", 2, 1, 0));
        assert!((20..30).contains(&run.lag.as_secs()), "{run:?}");
    }

    #[tokio::test]
    async fn stores_are_known_while_they_last() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = crate::StoreSettings { url: format!("sqlite://{}/x.db", dir.path().display()), ..Default::default() };
        let store = Store::open(&settings, "planner").await.expect("opened");
        let known = settings.opened.stores();
        assert_eq!(known.iter().map(|(schema, _)| schema.as_str()).collect::<Vec<_>>(), ["planner"]);
        drop((store, known));
        assert!(settings.opened.stores().is_empty());
    }
}
