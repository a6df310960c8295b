//! The state of the indexes in the database: the only place that knows SQL. Finders take the project first; what belongs to
//! another project is not found.

mod engine;
mod file;
mod ledger;
mod migration;
mod state;

use slipway_storage::sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement, Value};
use slipway_storage::{StorageError, Store, StoreSettings, Tx};

pub(crate) use engine::Asked;
pub(crate) use file::IndexedFile;
pub use migration::Migrator;
pub(crate) use state::{Built, Wanted};

/// The service's database.
#[derive(Clone)]
pub(crate) struct Records {
    store: Store,
}

impl Records {
    /// Opens and migrates it.
    pub(crate) async fn open(settings: &StoreSettings) -> Result<Self, StorageError> {
        let store = Store::open(settings, "embedding").await?;
        store.prepare::<Migrator>().await?;
        Ok(Self { store })
    }

    /// The store that the queues work on.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Whether several processes may use the database at once.
    pub(crate) fn is_shared(&self) -> bool {
        self.store.backend() == DbBackend::Postgres
    }

    /// Starts a write transaction.
    pub(crate) async fn begin(&self) -> Result<Tx, StorageError> {
        self.store.begin().await
    }

    async fn list<R: FromQueryResult>(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Result<Vec<R>, StorageError> {
        let statement = statement(self.store.backend(), sql, values);
        Ok(R::find_by_statement(statement).all(self.store.read()).await?)
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

/// `($1, $2), ($3, $4)`: the placeholders of `rows` rows of `columns` values.
fn rows_of(rows: usize, columns: usize) -> String {
    let row = |r: usize| format!("({})", (1..=columns).map(|c| format!("${}", r * columns + c)).collect::<Vec<_>>().join(", "));
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// Counters are `bigint` columns.
fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn to_u64(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
