//! A database in a temporary directory, for this crate's tests.

use std::future::Future;
use std::time::Duration;

use sea_orm::ConnectionTrait;
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use tempfile::TempDir;

use crate::{Durability, Store, StoreSettings, shared_migrations};

/// Long enough for a busy machine; nothing waits it out when things work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        shared_migrations()
    }
}

pub(crate) struct TestStore {
    pub(crate) store: Store,
    dir: TempDir,
}

impl TestStore {
    pub(crate) async fn new() -> TestStore {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(&dir).await;
        store.migrate::<Migrator>().await.expect("migrated");
        TestStore { store, dir }
    }

    /// Another process on the same file, as far as this crate can tell.
    pub(crate) async fn another(&self) -> Store {
        open(&self.dir).await
    }

    /// The number that a query gives.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let row = self.store.read().query_one_raw(self.store.statement(sql, [])).await.expect("a query").expect("a row");
        row.try_get_by_index(0).expect("a number")
    }
}

async fn open(dir: &TempDir) -> Store {
    let url = format!("sqlite://{}/new/store.db", dir.path().display());
    Store::open(&StoreSettings { url, durability: Durability::Process }, "test").await.expect("opened")
}

/// Waits for what has to happen, and fails when it does not.
pub(crate) async fn within<T>(waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waiting).await.expect("it happens in time")
}

/// Polls a condition that nothing announces.
pub(crate) async fn eventually<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    within(async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
