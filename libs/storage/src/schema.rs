//! The tables of this crate. Every service's migrator starts with them.

use sea_orm::sea_query::{ColumnDef, Index, Table};
use sea_orm::{ConnectionTrait, DbErr, DeriveIden};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

/// What a service's migrator begins with: the tables of requests, outbox, jobs and event logs.
pub fn shared_migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(SharedTables), Box::new(DeathTime)]
}

struct SharedTables;

impl MigrationName for SharedTables {
    fn name(&self) -> &str {
        "m00000001_shared_tables"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for SharedTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_request(manager).await?;
        create_outbox(manager).await?;
        create_job(manager).await?;
        create_event_log(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(EventLog::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Job::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Outbox::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Request::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// Dead jobs as operators look for them: by project, with the time of their death.
struct DeathTime;

impl MigrationName for DeathTime {
    fn name(&self) -> &str {
        "m00000002_death_time"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for DeathTime {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = ColumnDef::new(Job::DeathTime).big_integer().null().to_owned();
        manager.alter_table(Table::alter().table(Job::Table).add_column(column).to_owned()).await?;
        // Partial: the dead are few, and those alive come and go.
        let dead = "CREATE INDEX job_dead ON job (project_id, id) WHERE state = 2";
        manager.get_connection().execute_unprepared(dead).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("DROP INDEX job_dead").await?;
        manager.alter_table(Table::alter().table(Job::Table).drop_column(Job::DeathTime).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// Requests that were carried out, so that the same one again gives the first result.
async fn create_request(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Request::Table)
        .col(ColumnDef::new(Request::ProjectId).uuid().not_null())
        .col(ColumnDef::new(Request::Method).string().not_null())
        .col(ColumnDef::new(Request::RequestId).string().not_null())
        .col(ColumnDef::new(Request::PayloadHash).blob().not_null())
        .col(ColumnDef::new(Request::ResultId).uuid().not_null())
        .col(ColumnDef::new(Request::CreateTime).big_integer().not_null())
        .primary_key(Index::create().col(Request::ProjectId).col(Request::Method).col(Request::RequestId))
        .to_owned();
    manager.create_table(table).await?;
    let by_age = Index::create().name("request_by_age").table(Request::Table).col(Request::CreateTime).to_owned();
    manager.create_index(by_age).await
}

/// Events on their way to the bus, in the order of `id`.
async fn create_outbox(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Outbox::Table)
        .col(ColumnDef::new(Outbox::Id).big_integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new(Outbox::EventId).uuid().not_null())
        .col(ColumnDef::new(Outbox::Subject).string().not_null())
        .col(ColumnDef::new(Outbox::EntityId).string().not_null())
        .col(ColumnDef::new(Outbox::Traceparent).string().not_null())
        .col(ColumnDef::new(Outbox::Payload).blob().not_null())
        .col(ColumnDef::new(Outbox::CreateTime).big_integer().not_null())
        .col(ColumnDef::new(Outbox::SentTime).big_integer().null())
        .to_owned();
    manager.create_table(table).await?;
    // Partial, so that finding what is unsent costs nothing however many sent rows are still kept.
    let connection = manager.get_connection();
    connection.execute_unprepared("CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_time IS NULL").await?;
    connection.execute_unprepared("CREATE INDEX outbox_sent ON outbox (sent_time) WHERE sent_time IS NOT NULL").await?;
    Ok(())
}

/// Long work. `due_time` is when a worker may take the job next: the time to try while it is queued, the end of the lease
/// while it is leased, null when it is dead; one index on it answers every claim.
async fn create_job(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Job::Table)
        .col(ColumnDef::new(Job::Id).uuid().not_null().primary_key())
        .col(ColumnDef::new(Job::Kind).string().not_null())
        .col(ColumnDef::new(Job::JobKey).string().not_null())
        .col(ColumnDef::new(Job::ProjectId).uuid().not_null())
        .col(ColumnDef::new(Job::Payload).blob().not_null())
        .col(ColumnDef::new(Job::Traceparent).string().not_null())
        .col(ColumnDef::new(Job::State).integer().not_null())
        .col(ColumnDef::new(Job::Attempt).integer().not_null())
        .col(ColumnDef::new(Job::Released).integer().not_null())
        .col(ColumnDef::new(Job::Token).big_integer().not_null())
        .col(ColumnDef::new(Job::DueTime).big_integer().null())
        .col(ColumnDef::new(Job::LeaseOwner).uuid().null())
        .col(ColumnDef::new(Job::LastError).text().null())
        .col(ColumnDef::new(Job::CreateTime).big_integer().not_null())
        .to_owned();
    manager.create_table(table).await?;
    let one_per_key = Index::create().name("job_key").table(Job::Table).col(Job::Kind).col(Job::JobKey).unique().to_owned();
    manager.create_index(one_per_key).await?;
    let due = Index::create().name("job_due").table(Job::Table).col(Job::Kind).col(Job::DueTime).to_owned();
    manager.create_index(due).await
}

/// Event logs. A row is a batch: the events `first_sequence..=last_sequence`, each after its length as a varint.
async fn create_event_log(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(EventLog::Table)
        .col(ColumnDef::new(EventLog::StreamId).uuid().not_null())
        .col(ColumnDef::new(EventLog::FirstSequence).big_integer().not_null())
        .col(ColumnDef::new(EventLog::LastSequence).big_integer().not_null())
        .col(ColumnDef::new(EventLog::Payload).blob().not_null())
        .primary_key(Index::create().col(EventLog::StreamId).col(EventLog::FirstSequence))
        .to_owned();
    manager.create_table(table).await
}

#[derive(DeriveIden)]
#[allow(clippy::enum_variant_names, reason = "the variants are the columns")]
enum Request {
    Table,
    ProjectId,
    Method,
    RequestId,
    PayloadHash,
    ResultId,
    CreateTime,
}

#[derive(DeriveIden)]
enum Outbox {
    Table,
    Id,
    EventId,
    Subject,
    EntityId,
    Traceparent,
    Payload,
    CreateTime,
    SentTime,
}

#[derive(DeriveIden)]
#[allow(clippy::enum_variant_names, reason = "the variants are the columns")]
enum Job {
    Table,
    Id,
    Kind,
    JobKey,
    ProjectId,
    Payload,
    Traceparent,
    State,
    Attempt,
    Released,
    Token,
    DueTime,
    LeaseOwner,
    LastError,
    CreateTime,
    DeathTime,
}

#[derive(DeriveIden)]
enum EventLog {
    Table,
    StreamId,
    FirstSequence,
    LastSequence,
    Payload,
}
