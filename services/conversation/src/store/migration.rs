//! The tables.

use slipway_storage::sea_orm::sea_query::{ColumnDef, Index, Table};
use slipway_storage::sea_orm::{DbErr, DeriveIden};
use slipway_storage::sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};
use slipway_storage::{sea_orm, shared_migrations};

/// The service's migrations, the oldest first.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut all = shared_migrations();
        all.push(Box::new(ConversationTables));
        all
    }
}

struct ConversationTables;

impl MigrationName for ConversationTables {
    fn name(&self) -> &str {
        "m20261121_000001_conversation_tables"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for ConversationTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_conversation(manager).await?;
        create_message(manager).await?;
        create_run(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Run::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Message::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Conversation::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

async fn create_conversation(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Conversation::Table)
        .col(ColumnDef::new(Conversation::Id).uuid().not_null().primary_key())
        .col(ColumnDef::new(Conversation::ProjectId).uuid().not_null())
        .col(ColumnDef::new(Conversation::Title).text().not_null())
        .col(ColumnDef::new(Conversation::TitleIsSet).boolean().not_null())
        .col(ColumnDef::new(Conversation::WorkspaceId).uuid().null())
        .col(ColumnDef::new(Conversation::Model).text().not_null())
        .col(ColumnDef::new(Conversation::Pinned).boolean().not_null())
        .col(ColumnDef::new(Conversation::MessageCount).big_integer().not_null())
        .col(ColumnDef::new(Conversation::ActiveRunId).uuid().null())
        .col(ColumnDef::new(Conversation::PlanId).uuid().null())
        .col(ColumnDef::new(Conversation::Version).big_integer().not_null())
        .col(ColumnDef::new(Conversation::CreateTime).big_integer().not_null())
        .col(ColumnDef::new(Conversation::UpdateTime).big_integer().not_null())
        .to_owned();
    manager.create_table(table).await?;
    let listed = Index::create()
        .name("conversation_listed")
        .table(Conversation::Table)
        .col(Conversation::ProjectId)
        .col(Conversation::Pinned)
        .col(Conversation::Id)
        .to_owned();
    manager.create_index(listed).await
}

async fn create_message(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Message::Table)
        .col(ColumnDef::new(Message::ConversationId).uuid().not_null())
        .col(ColumnDef::new(Message::Number).big_integer().not_null())
        .col(ColumnDef::new(Message::ProjectId).uuid().not_null())
        .col(ColumnDef::new(Message::Id).uuid().not_null())
        .col(ColumnDef::new(Message::Author).integer().not_null())
        .col(ColumnDef::new(Message::Text).text().not_null())
        .col(ColumnDef::new(Message::RunId).uuid().not_null())
        .col(ColumnDef::new(Message::Partial).boolean().not_null())
        .col(ColumnDef::new(Message::Citations).text().null())
        .col(ColumnDef::new(Message::PlanId).uuid().null())
        .col(ColumnDef::new(Message::Usage).text().null())
        .col(ColumnDef::new(Message::CreateTime).big_integer().not_null())
        .primary_key(Index::create().col(Message::ConversationId).col(Message::Number))
        .to_owned();
    manager.create_table(table).await?;
    // Whatever goes wrong, a run has one question and one answer.
    let once =
        Index::create().name("message_once").table(Message::Table).col(Message::RunId).col(Message::Author).unique().to_owned();
    manager.create_index(once).await
}

async fn create_run(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Run::Table)
        .col(ColumnDef::new(Run::Id).uuid().not_null().primary_key())
        .col(ColumnDef::new(Run::ProjectId).uuid().not_null())
        .col(ColumnDef::new(Run::ConversationId).uuid().not_null())
        .col(ColumnDef::new(Run::UserMessageId).uuid().not_null())
        .col(ColumnDef::new(Run::UserMessageNumber).big_integer().not_null())
        .col(ColumnDef::new(Run::AnswerMessageId).uuid().null())
        .col(ColumnDef::new(Run::State).integer().not_null())
        .col(ColumnDef::new(Run::Intent).text().null())
        .col(ColumnDef::new(Run::PlanId).uuid().null())
        .col(ColumnDef::new(Run::PlanRef).text().null())
        .col(ColumnDef::new(Run::Attempt).integer().not_null())
        .col(ColumnDef::new(Run::Model).text().not_null())
        .col(ColumnDef::new(Run::Usage).text().null())
        .col(ColumnDef::new(Run::Failure).text().null())
        .col(ColumnDef::new(Run::CancelRequested).boolean().not_null())
        .col(ColumnDef::new(Run::LastSequence).big_integer().not_null())
        .col(ColumnDef::new(Run::CreateTime).big_integer().not_null())
        .col(ColumnDef::new(Run::UpdateTime).big_integer().not_null())
        .to_owned();
    manager.create_table(table).await?;
    let of_conversation = Index::create().name("run_of_conversation").table(Run::Table).col(Run::ConversationId).to_owned();
    manager.create_index(of_conversation).await
}

#[derive(DeriveIden)]
enum Conversation {
    Table,
    Id,
    ProjectId,
    Title,
    TitleIsSet,
    WorkspaceId,
    Model,
    Pinned,
    MessageCount,
    ActiveRunId,
    PlanId,
    Version,
    CreateTime,
    UpdateTime,
}

#[derive(DeriveIden)]
enum Message {
    Table,
    ConversationId,
    Number,
    ProjectId,
    Id,
    Author,
    Text,
    RunId,
    Partial,
    Citations,
    PlanId,
    Usage,
    CreateTime,
}

#[derive(DeriveIden)]
enum Run {
    Table,
    Id,
    ProjectId,
    ConversationId,
    UserMessageId,
    UserMessageNumber,
    AnswerMessageId,
    State,
    Intent,
    PlanId,
    PlanRef,
    Attempt,
    Model,
    Usage,
    Failure,
    CancelRequested,
    LastSequence,
    CreateTime,
    UpdateTime,
}
