//! The connection to one service's database, and its write transactions.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait, Value,
};
use sea_orm_migration::{MigratorTrait, SchemaManager};
use serde::{Deserialize, Serialize};
use slipway_bus::{Listener, Live};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::backlog::Opened;
use crate::event_log::Hub;
use crate::{StorageError, batch};

const READERS: u32 = 4;
const ACQUIRE: Duration = Duration::from_secs(30);
/// Rather refuse a call than keep it waiting for a database that is away.
const ACQUIRE_POSTGRES: Duration = Duration::from_secs(8);
/// Waits for another process that looks into the file, such as a backup.
const BUSY: Duration = Duration::from_secs(10);
const STATEMENTS_KEPT: usize = 256;

/// Where the state lives.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// `sqlite:///path/file.db` or `postgres://user@host/database`.
    pub url: String,
    /// What a commit survives.
    pub durability: Durability,
    /// Whether [`Store::prepare`] changes the schema, or leaves that to somebody with the right to do so.
    pub migrate: bool,
    /// The most connections to PostgreSQL at once.
    pub connections: u32,
    /// Knows what was opened with these settings and their clones.
    pub opened: Opened,
}

impl Default for StoreSettings {
    /// No URL yet; a schema that is kept up to date, by 16 connections.
    fn default() -> Self {
        Self { url: String::new(), durability: Durability::default(), migrate: true, connections: 16, opened: Opened::default() }
    }
}

/// What a commit survives, on SQLite; PostgreSQL has its own settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The end of the process, however sudden, but not a power cut.
    Process,
    /// A power cut too.
    #[default]
    Power,
}

/// One service's database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    settings: StoreSettings,
    schema: String,
    backend: DbBackend,
    write: DatabaseConnection,
    read: DatabaseConnection,
    /// Who we are on leases.
    owner: Uuid,
    outbox: Notify,
    hub: Hub,
    live: OnceLock<Live>,
    /// Transactions that are being begun.
    begins: TaskTracker,
}

impl Store {
    /// Connects. On SQLite the file and its directory are made when missing and this process is taken to be the only
    /// one that writes; on PostgreSQL `schema` is the schema that holds the service's tables.
    pub async fn open(settings: &StoreSettings, schema: &str) -> Result<Store, StorageError> {
        if schema.is_empty() || !schema.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            return Err(StorageError::Settings(format!("{schema:?} is no schema name: lower-case letters, digits and _ only")));
        }
        let (backend, write, read) = if settings.url.starts_with("sqlite:") {
            let write = open_sqlite(settings, 1, false).await?;
            (DbBackend::Sqlite, write, open_sqlite(settings, READERS, true).await?)
        } else if settings.url.starts_with("postgres:") || settings.url.starts_with("postgresql:") {
            let pool = open_postgres(settings, schema, settings.connections).await?;
            (DbBackend::Postgres, pool.clone(), pool)
        } else {
            return Err(StorageError::Settings("the url starts neither with sqlite: nor with postgres:".to_owned()));
        };
        let (settings, schema) = (settings.clone(), schema.to_owned());
        let (owner, outbox, hub, live) = (Uuid::now_v7(), Notify::new(), Hub::default(), OnceLock::new());
        let begins = TaskTracker::new();
        let inner = Inner { settings, schema, backend, write, read, owner, outbox, hub, live, begins };
        let store = Store { inner: Arc::new(inner) };
        store.inner.settings.opened.add(&store.inner.schema, &store);
        Ok(store)
    }

    /// Has the followers and workers of other replicas told what this process commits, and those of this process what
    /// others do: without it they only look from time to time. Before anything runs, and once; on SQLite there are no
    /// others.
    pub fn join(&self, live: &Live) {
        if self.inner.backend != DbBackend::Sqlite && self.inner.live.set(live.clone()).is_err() {
            tracing::error!(schema = self.inner.schema, "the store has been joined to its replicas before");
        }
    }

    /// Tells the replicas of this service something about what was committed: `topic` is theirs alone. It may get lost.
    pub fn announce(&self, topic: &str, payload: impl Into<Bytes>) {
        self.live().announce(&self.topic(topic), payload.into());
    }

    /// Listens to what the other replicas of this service announce.
    pub fn listen(&self, topic: &str) -> Listener {
        self.live().listen(&self.topic(topic))
    }

    fn topic(&self, topic: &str) -> String {
        format!("{}.{topic}", self.inner.schema)
    }

    /// Brings the schema up to date, or, where the settings leave that to others, fails unless it is.
    pub async fn prepare<M: MigratorTrait>(&self) -> Result<(), StorageError> {
        if self.inner.settings.migrate {
            return self.migrate::<M>().await;
        }
        let missing = self.pending::<M>().await?;
        if missing.is_empty() { Ok(()) } else { Err(StorageError::Outdated { schema: self.inner.schema.clone(), missing }) }
    }

    /// Applies every migration that is missing. Several replicas may do so at once, beside those of the version before or
    /// after: what a newer one has applied is left alone.
    pub async fn migrate<M: MigratorTrait>(&self) -> Result<(), StorageError> {
        if self.pending::<M>().await?.is_empty() {
            return Ok(());
        }
        let pool = self.migration_pool().await?;
        let done = M::up(&pool, None).await.map_err(StorageError::Migration);
        self.close_migration_pool(pool).await;
        done
    }

    /// Takes the last `steps` migrations back, or all of them.
    pub async fn rollback<M: MigratorTrait>(&self, steps: Option<u32>) -> Result<(), StorageError> {
        let pool = self.migration_pool().await?;
        let done = M::down(&pool, steps).await.map_err(StorageError::Migration);
        self.close_migration_pool(pool).await;
        done
    }

    /// The names of the migrations that are missing, without changing anything.
    pub async fn pending<M: MigratorTrait>(&self) -> Result<Vec<String>, StorageError> {
        let table = M::migration_table_name().to_string();
        let mut applied = HashSet::new();
        if SchemaManager::new(self.read()).has_table(&table).await.map_err(StorageError::Migration)? {
            let rows = self.read().query_all_raw(self.statement(format!("SELECT version FROM {table}"), [])).await?;
            for row in rows {
                applied.insert(row.try_get_by_index::<String>(0)?);
            }
        }
        let all = M::migrations().into_iter().map(|migration| migration.name().to_owned());
        Ok(all.filter(|name| !applied.contains(name)).collect())
    }

    /// For reading outside a transaction. On SQLite it refuses to write.
    pub fn read(&self) -> &DatabaseConnection {
        &self.inner.read
    }

    /// Starts a write transaction. On SQLite there is one at a time, so that it never fails half-way for another's sake;
    /// whoever holds one must not wait for a second one, nor for anything slow.
    pub async fn begin(&self) -> Result<Tx, StorageError> {
        let sqlite_transaction_mode = (self.inner.backend == DbBackend::Sqlite).then_some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode, ..Default::default() };
        // Begun to the end, also when nobody waits any more: sqlx gives the connection of a BEGIN that was left waiting back to its
        // pool as it is. The next statement on it would be part of that transaction, and hold its locks until somebody commits.
        let write = self.inner.write.clone();
        let begun = self.inner.begins.spawn(async move { write.begin_with_options(options).await });
        let transaction = begun.await.map_err(|_| StorageError::Interrupted)??;
        Ok(Tx { transaction, hooks: Mutex::default(), later: Mutex::default(), store: self.clone() })
    }

    /// Which engine this is.
    pub fn backend(&self) -> DbBackend {
        self.inner.backend
    }

    /// For single statements that commit by themselves.
    pub(crate) fn write(&self) -> &DatabaseConnection {
        &self.inner.write
    }

    pub(crate) fn statement(&self, sql: impl Into<String>, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.inner.backend, sql, values)
    }

    /// A suffix that holds the selected rows until the transaction ends; on SQLite the transaction is alone anyway.
    pub(crate) fn for_update(&self) -> &'static str {
        if self.inner.backend == DbBackend::Postgres { " FOR UPDATE" } else { "" }
    }

    pub(crate) fn owner(&self) -> Uuid {
        self.inner.owner
    }

    pub(crate) fn outbox(&self) -> &Notify {
        &self.inner.outbox
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    pub(crate) fn live(&self) -> &Live {
        static ALONE: Live = Live::alone();
        self.inner.live.get().unwrap_or(&ALONE)
    }

    /// One connection, so that a lock of the session holds for the whole migration.
    async fn migration_pool(&self) -> Result<DatabaseConnection, StorageError> {
        if self.inner.backend == DbBackend::Sqlite {
            return Ok(self.inner.write.clone());
        }
        let schema = &self.inner.schema;
        let pool = open_postgres(&self.inner.settings, schema, 1).await?;
        // Released with the pool's only connection.
        pool.execute_unprepared(&format!("SELECT pg_advisory_lock(hashtext('slipway.migrate.{schema}'))")).await?;
        // Not "if not exists": that wants the right to make one even where there is one.
        let known = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
        if pool.query_one_raw(self.statement(known, [schema.as_str().into()])).await?.is_none() {
            pool.execute_unprepared(&format!("CREATE SCHEMA \"{schema}\"")).await?;
        }
        Ok(pool)
    }

    /// On SQLite it is the write pool, which stays.
    async fn close_migration_pool(&self, pool: DatabaseConnection) {
        if self.inner.backend == DbBackend::Postgres
            && let Err(error) = pool.close().await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the connection for migrations does not close");
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("schema", &self.inner.schema).field("backend", &self.inner.backend).finish()
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// A write transaction. Dropping it rolls back.
pub struct Tx {
    transaction: DatabaseTransaction,
    hooks: Mutex<Vec<Hook>>,
    later: Mutex<Vec<Statement>>,
    store: Store,
}

impl Tx {
    /// What statements run on, before those that were put off.
    pub fn conn(&self) -> &DatabaseTransaction {
        &self.transaction
    }

    /// Puts a statement off until the commit, for want of an answer to wait for: all that were put off run in one round
    /// trip. Each must touch exactly one row that none of the others touches, and return nothing; if one touches no row,
    /// the commit fails with [`StorageError::Stale`].
    pub fn later(&self, statement: Statement) {
        self.later.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(statement);
    }

    /// Runs what was put off, now.
    pub async fn flush(&self) -> Result<(), StorageError> {
        let statements = std::mem::take(&mut *self.later.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        let expected = statements.len() as u64;
        if batch::execute(&self.transaction, statements).await? == expected { Ok(()) } else { Err(StorageError::Stale) }
    }

    /// Has `hook` called once the transaction is committed, in order; never when it is rolled back. For waking others:
    /// what must not be lost belongs into the transaction.
    pub fn after_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.add_hook(Box::new(hook));
    }

    /// Commits and calls the hooks.
    pub async fn commit(self) -> Result<(), StorageError> {
        self.flush().await?;
        self.transaction.commit().await?;
        let hooks = self.hooks.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        for hook in hooks {
            hook();
        }
        Ok(())
    }

    /// The store this transaction is on.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn add_hook(&self, hook: Hook) {
        self.hooks.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(hook);
    }
}

/// Now, as it is stored: microseconds since 1970 UTC.
pub fn now_micros() -> i64 {
    // Fits until the year 294000.
    (time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000) as i64
}

/// A length of time, as it is stored.
pub(crate) fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX / 4)
}

async fn open_sqlite(settings: &StoreSettings, connections: u32, query_only: bool) -> Result<DatabaseConnection, StorageError> {
    let path = settings.url.trim_start_matches("sqlite:").trim_start_matches("//");
    let path = path.split('?').next().unwrap_or_default();
    if path.is_empty() || path.starts_with(":memory:") || settings.url.contains("mode=memory") {
        return Err(StorageError::Settings("sqlite needs a file: sqlite:///path/file.db".to_owned()));
    }
    let failed = |source| StorageError::File { path: path.to_owned(), source: Arc::new(source) };
    if let Some(parent) = Path::new(path).parent().filter(|parent| !parent.as_os_str().is_empty()) {
        tokio::fs::create_dir_all(parent).await.map_err(failed)?;
    }
    let synchronous = match settings.durability {
        Durability::Process => SqliteSynchronous::Normal,
        Durability::Power => SqliteSynchronous::Full,
    };
    let mut options = ConnectOptions::new(&settings.url);
    options.max_connections(connections).min_connections(1).acquire_timeout(ACQUIRE);
    options.idle_timeout(None).max_lifetime(None).test_before_acquire(false).sqlx_logging(false);
    options.map_sqlx_sqlite_opts(move |sqlite| {
        let sqlite = sqlite
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .busy_timeout(BUSY)
            .foreign_keys(true)
            .statement_cache_capacity(STATEMENTS_KEPT)
            .pragma("temp_store", "MEMORY");
        if query_only { sqlite.pragma("query_only", "ON") } else { sqlite }
    });
    Database::connect(options).await.map_err(StorageError::Open)
}

async fn open_postgres(settings: &StoreSettings, schema: &str, connections: u32) -> Result<DatabaseConnection, StorageError> {
    let mut options = ConnectOptions::new(&settings.url);
    options.max_connections(connections).acquire_timeout(ACQUIRE_POSTGRES).sqlx_logging(false);
    options.set_schema_search_path(schema).set_application_name(format!("slipway-{schema}"));
    Database::connect(options).await.map_err(StorageError::Open)
}

#[cfg(test)]
mod tests;
