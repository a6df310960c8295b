//! What can go wrong with the database.

use std::sync::Arc;

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};
use slipway_rpc::Fault;

/// Any error of a caller's code that this crate passes on.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// The settings name no usable database.
    #[error("the store settings are wrong: {0}")]
    Settings(String),
    /// The file or its directory cannot be made.
    #[error("{path} cannot be prepared for the database")]
    File {
        /// What could not be made.
        path: String,
        /// What the system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// No connection to the database.
    #[error("the database cannot be opened")]
    Open(#[source] DbErr),
    /// A migration failed.
    #[error("the schema cannot be changed")]
    Migration(#[source] DbErr),
    /// Migrations are missing, and the settings say that this process applies none.
    #[error("the schema {schema} lacks {}; run `slipway migrate` as its owner, or set store.migrate", missing.join(", "))]
    Outdated {
        /// Which schema.
        schema: String,
        /// The migrations' names.
        missing: Vec<String>,
    },
    /// A statement failed.
    #[error("the database failed")]
    Database(#[source] DbErr),
    /// A row was not what a statement put off by [`crate::Tx::later`] needed; nothing was committed.
    #[error("a row is gone or was changed meanwhile")]
    Stale,
    /// The work panicked, or the process is stopping; nothing was committed.
    #[error("the work on the database was broken off")]
    Interrupted,
    /// A stored value is not what this program wrote.
    #[error("stored data cannot be read: {0}")]
    Corrupt(String),
}

impl StorageError {
    /// Whether a row with the same key exists already.
    pub fn is_unique_violation(&self) -> bool {
        match self {
            StorageError::Database(error) => matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))),
            _ => false,
        }
    }
}

impl StorageError {
    /// Whether the database is away, overloaded, or had to break off for another's sake: the same again may well succeed.
    pub fn is_unavailable(&self) -> bool {
        match self {
            StorageError::Open(error) | StorageError::Database(error) => is_unavailable(error),
            StorageError::Interrupted => true,
            _ => false,
        }
    }

    /// Whether the disk of the database is full.
    pub fn is_full(&self) -> bool {
        let StorageError::Database(error) = self else { return false };
        let Some(sqlx::Error::Database(error)) = cause(error) else { return false };
        error.code().is_some_and(|code| FULL.contains(&&*code))
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        if error.is_full() {
            Self::full(error)
        } else if error.is_unavailable() {
            Self::away(error)
        } else {
            Self::internal(error)
        }
    }
}

fn is_unavailable(error: &DbErr) -> bool {
    if matches!(error, DbErr::ConnectionAcquire(_)) {
        return true;
    }
    let Some(error) = cause(error) else { return false };
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| TRANSIENT.iter().any(|class| code.starts_with(class))),
        _ => false,
    }
}

/// What the driver said.
fn cause(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

/// `SQLITE_FULL` (<https://www.sqlite.org/rescode.html>), and PostgreSQL's `disk_full`.
const FULL: &[&str] = &["13", "53100"];

/// Classes of PostgreSQL's error codes, and some codes: connection exceptions, transaction rollbacks, insufficient resources,
/// and shutdowns (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
const TRANSIENT: &[&str] = &["08", "40", "53", "57P"];

impl From<DbErr> for StorageError {
    fn from(error: DbErr) -> StorageError {
        StorageError::Database(error)
    }
}
