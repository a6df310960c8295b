//! The conversations, messages and runs in the database: the only place that knows SQL. Finders take the project first;
//! what belongs to another project is not found.
//!
//! Statements are written out rather than built: a message is accepted and answered in a dozen of them, and each has one
//! text on both engines, so that it is prepared once.

mod conversation;
mod message;
mod migration;
mod run;

use slipway_storage::sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement, Value};
use slipway_storage::{StorageError, Store, StoreSettings, Tx};

pub(crate) use conversation::Settled;
pub use migration::Migrator;

/// The service's database.
#[derive(Clone)]
pub(crate) struct Records {
    store: Store,
}

impl Records {
    /// Opens and migrates it.
    pub(crate) async fn open(settings: &StoreSettings) -> Result<Self, StorageError> {
        let store = Store::open(settings, "conversation").await?;
        store.prepare::<Migrator>().await?;
        Ok(Self { store })
    }

    /// The store that queue and event log work on.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Starts a write transaction.
    pub(crate) async fn begin(&self) -> Result<Tx, StorageError> {
        self.store.begin().await
    }

    fn statement(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        statement(self.store.backend(), sql, values)
    }

    async fn find<R: FromQueryResult>(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Option<R>, StorageError> {
        Ok(R::find_by_statement(self.statement(sql, values)).one(self.store.read()).await?)
    }

    async fn list<R: FromQueryResult>(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<Vec<R>, StorageError> {
        Ok(R::find_by_statement(self.statement(sql, values)).all(self.store.read()).await?)
    }
}

fn statement(backend: DbBackend, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(backend, sql, values)
}

/// Runs a statement in a transaction; returns how many rows it touched.
async fn execute(tx: &Tx, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<u64, StorageError> {
    let statement = statement(tx.store().backend(), sql, values);
    Ok(tx.conn().execute_raw(statement).await?.rows_affected())
}

/// Reads at most one row in a transaction.
async fn find_in<R: FromQueryResult>(
    tx: &Tx,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Option<R>, StorageError> {
    Ok(R::find_by_statement(statement(tx.store().backend(), sql, values)).one(tx.conn()).await?)
}

/// Puts a statement off until the transaction is committed; it must touch one row.
fn later(tx: &Tx, sql: &str, values: impl IntoIterator<Item = Value>) {
    tx.later(statement(tx.store().backend(), sql, values));
}

fn to_json<T: serde::Serialize>(value: &Option<T>) -> Option<String> {
    // Plain data of ours: it always has a JSON form.
    value.as_ref().and_then(|v| serde_json::to_string(v).ok())
}

fn from_json<T: serde::de::DeserializeOwned>(column: &str, text: Option<String>) -> Result<Option<T>, StorageError> {
    let parse = |t: String| serde_json::from_str(&t).map_err(|e| StorageError::Corrupt(format!("{column}: {e}")));
    text.map(parse).transpose()
}

/// Counters are `bigint` columns.
fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn to_u64(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
