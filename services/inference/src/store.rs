//! This service's tables: the ledger of calls, budgets with their windows, and the reservations of calls under way. The only
//! file, with those below it, that knows sea-orm.

mod budget;
mod call;
mod key;
mod migration;
mod record;
mod reserve;
mod retention;
mod sums;
mod window;

use sea_orm::{Statement, Value};
use slipway_storage::requests::{self, Claim};
use slipway_storage::{StorageError, Store, StoreSettings, Tx};
use uuid::Uuid;

use crate::error::Error;

pub(crate) use call::CallFilter;
pub use migration::Migrator;
pub(crate) use record::Ended;
pub(crate) use reserve::{Refused, Reservation, Wanted};
pub(crate) use sums::{Dimension, Sum, SumFilter};
pub(crate) use window::WindowRef;

const SCHEMA: &str = "inference";

/// Names a request that must not be carried out twice.
#[derive(Clone, Debug)]
pub(crate) struct RequestKey {
    pub(crate) method: &'static str,
    /// Empty: the request is not idempotent.
    pub(crate) id: String,
    pub(crate) payload_hash: [u8; 32],
}

/// The tables; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LedgerStore {
    store: Store,
    /// Who we are on reservations.
    owner: Uuid,
}

impl LedgerStore {
    /// Opens the database and brings its tables up to date.
    pub(crate) async fn open(settings: &StoreSettings) -> Result<Self, StorageError> {
        let store = Store::open(settings, SCHEMA).await?;
        store.prepare::<Migrator>().await?;
        Ok(Self { store, owner: Uuid::now_v7() })
    }

    /// The database.
    pub(crate) fn database(&self) -> Store {
        self.store.clone()
    }

    fn statement(&self, sql: impl Into<String>, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.store.backend(), sql, values)
    }

    async fn begin(&self) -> Result<Tx, StorageError> {
        self.store.begin().await
    }

    /// True when no other process can have the database open.
    pub(crate) fn is_alone(&self) -> bool {
        !self.is_shared()
    }

    /// True when several processes may write at once.
    fn is_shared(&self) -> bool {
        self.store.backend() == sea_orm::DbBackend::Postgres
    }
}

/// What the request made, if it was carried out before.
async fn claim(tx: &Tx, project: Uuid, key: &RequestKey) -> Result<Option<Uuid>, Error> {
    if key.id.is_empty() {
        return Ok(None);
    }
    match requests::begin(tx, project, key.method, &key.id, &key.payload_hash).await? {
        Claim::New => Ok(None),
        Claim::Same { result_id } => Ok(Some(result_id)),
        Claim::Reused { first_id } => Err(Error::RequestIdReused { first_id }),
    }
}

/// `$first, …`, `count` of them.
fn placeholders(first: usize, count: usize) -> String {
    let all: Vec<String> = (first..first + count).map(|at| format!("${at}")).collect();
    all.join(", ")
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn to_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
