//! A database in a temporary directory, for this crate's tests.

use std::future::Future;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend};
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use slipway_bus::{Bus, Listener, Signal};
use slipway_testkit::nats::NatsServer;
use slipway_testkit::postgres::Postgres;
use tempfile::TempDir;
use uuid::Uuid;

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
    pub(crate) settings: StoreSettings,
    pub(crate) schema: String,
    _dir: TempDir,
}

impl TestStore {
    pub(crate) async fn new() -> TestStore {
        let dir = tempfile::tempdir().expect("a directory");
        let url = slipway_testkit::postgres::store_url(dir.path(), "store").await.expect("a database");
        TestStore::at(url, dir).await
    }

    /// On PostgreSQL in any case, or loudly nothing.
    pub(crate) async fn postgres() -> Option<TestStore> {
        let url = Postgres::shared().await?.database().await.expect("a database");
        Some(TestStore::at(url, tempfile::tempdir().expect("a directory")).await)
    }

    async fn at(url: String, dir: TempDir) -> TestStore {
        let settings = StoreSettings { url, durability: Durability::Process, ..StoreSettings::default() };
        let schema = format!("test_{}", Uuid::now_v7().simple());
        let store = Store::open(&settings, &schema).await.expect("opened");
        store.migrate::<Migrator>().await.expect("migrated");
        TestStore { store, settings, schema, _dir: dir }
    }

    /// Another process on the same database, as far as this crate can tell.
    pub(crate) async fn another(&self) -> Store {
        Store::open(&self.settings, &self.schema).await.expect("opened")
    }

    /// Another process on the same database that is joined to those on the same server, and hears them.
    pub(crate) async fn replica(&self, nats: &NatsServer) -> Replica {
        let bus = Bus::nats(&nats.url()).await.expect("an address");
        let store = self.another().await;
        store.join(bus.live());
        let mut link = store.listen("link");
        assert_eq!(within(link.next()).await, Signal::Look);
        Replica { store, link, _bus: bus }
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.store.backend() == DbBackend::Sqlite
    }

    /// The number that a query gives.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let row = self.store.read().query_one_raw(self.store.statement(sql, [])).await.expect("a query").expect("a row");
        row.try_get_by_index(0).expect("a number")
    }
}

/// One of several processes.
pub(crate) struct Replica {
    pub(crate) store: Store,
    link: Listener,
    _bus: Bus,
}

impl Replica {
    /// Waits until the way to the others is closed, or open again.
    pub(crate) async fn link_changed(&mut self) {
        assert_eq!(within(self.link.next()).await, Signal::Look);
    }
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
