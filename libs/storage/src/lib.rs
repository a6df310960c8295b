//! State that survives: connecting, migrating, transactions, and the durable ideas every service builds on: remembered
//! requests, the outbox, jobs with leases, event logs.
//!
//! SQLite on a laptop, PostgreSQL at scale, by the same statements; where the engines differ there is a match on the
//! backend. Ids are `uuid` columns. Times are `bigint` columns of microseconds since 1970 UTC ([`now_micros`]), which
//! both engines return as they were stored.

mod backlog;
mod batch;
pub mod crash;
pub mod dead_letters;
mod error;
pub mod event_log;
pub mod jobs;
pub mod outbox;
pub mod page;
pub mod requests;
mod schema;
mod store;

#[cfg(test)]
mod testing;

pub use backlog::{Backlog, Jobs, Opened};
pub use error::{BoxError, StorageError};
pub use event_log::{AppendError, EventLog};
pub use jobs::{Enqueued, JobError, Lease, LeaseLost, NewJob, Queue, QueueSettings};
pub use schema::shared_migrations;
pub use store::{Durability, Store, StoreSettings, Tx, now_micros};

pub use sea_orm;
pub use sea_orm_migration;
pub use sea_orm_migration::MigratorTrait;
