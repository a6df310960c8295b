//! Measures what waits in the stores of this process, for the metrics page. Replicas of a service measure the same store:
//! what they say is to be compared, not added up.

use std::collections::BTreeSet;
use std::time::Duration;

use slipway_bus::Bus;
use slipway_storage::{Jobs, Opened, StorageError, Store};
use slipway_telemetry::Metrics;

const EVERY: Duration = Duration::from_secs(5);

/// The gauges of one process.
pub(crate) struct Backlogs {
    pub(crate) metrics: Metrics,
    pub(crate) stores: Opened,
    pub(crate) bus: Bus,
    /// What was ever seen, so that it can be said to be gone.
    kinds: BTreeSet<(String, String)>,
}

impl Backlogs {
    pub(crate) fn new(metrics: Metrics, stores: Opened, bus: Bus) -> Self {
        Self { metrics, stores, bus, kinds: BTreeSet::new() }
    }

    /// Measures again and again, until dropped.
    pub(crate) async fn measure(mut self) {
        loop {
            self.metrics.redeliveries(self.bus.redeliveries());
            for (schema, store) in self.stores.stores() {
                if let Err(error) = self.measure_one(&schema, &store).await {
                    tracing::debug!(schema, error = &error as &dyn std::error::Error, "what waits cannot be counted");
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn measure_one(&mut self, schema: &str, store: &Store) -> Result<(), StorageError> {
        let backlog = store.backlog().await?;
        self.metrics.outbox_lag(schema, backlog.outbox_lag);
        self.kinds.extend(backlog.jobs.iter().map(|jobs| (schema.to_owned(), jobs.kind.clone())));
        for (_, kind) in self.kinds.iter().filter(|(of, _)| of == schema) {
            let none = Jobs::default();
            let jobs = backlog.jobs.iter().find(|jobs| jobs.kind == *kind).unwrap_or(&none);
            for (state, count) in [("queued", jobs.queued), ("running", jobs.running), ("dead", jobs.dead)] {
                self.metrics.jobs(schema, kind, state, count);
            }
            self.metrics.job_lag(schema, kind, jobs.lag);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn kinds_that_are_gone_are_zero() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("x.db").display());
        let settings = slipway_storage::StoreSettings { url, ..Default::default() };
        let store = Store::open(&settings, "planner").await.unwrap();
        store.migrate::<Tables>().await.unwrap();
        let metrics = Metrics::new();
        let mut backlogs = Backlogs::new(metrics.clone(), settings.opened.clone(), Bus::in_process());
        backlogs.kinds.insert(("planner".to_owned(), "apply".to_owned()));
        metrics.jobs("planner", "apply", "queued", 9);
        backlogs.measure_one("planner", &store).await.unwrap();
        let text = metrics.text().unwrap();
        for line in
            [r#"slipway_jobs{kind="apply",state="queued",store="planner"} 0"#, r#"slipway_outbox_lag_seconds{store="planner"} 0"#]
        {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    struct Tables;

    impl slipway_storage::MigratorTrait for Tables {
        fn migrations() -> Vec<Box<dyn slipway_storage::sea_orm_migration::MigrationTrait>> {
            slipway_storage::shared_migrations()
        }
    }
}
