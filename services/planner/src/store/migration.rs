//! The planner's schema.

use sea_orm_migration::prelude::*;
use slipway_storage::shared_migrations;

/// Every migration of the planner's database, in order.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut migrations = shared_migrations();
        migrations.push(Box::new(PlanTables));
        migrations
    }
}

struct PlanTables;

impl MigrationName for PlanTables {
    fn name(&self) -> &str {
        "m20261101_plan_tables"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for PlanTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(plan()).await?;
        for (name, columns) in [
            ("plan_by_project", vec![Plan::ProjectId, Plan::Id]),
            ("plan_by_workspace", vec![Plan::ProjectId, Plan::WorkspaceId, Plan::Id]),
            ("plan_by_state", vec![Plan::State]),
        ] {
            let mut index = Index::create().name(name).table(Plan::Table).to_owned();
            for column in columns {
                index.col(column);
            }
            manager.create_index(index).await?;
        }
        manager.create_table(plan_version()).await?;
        let one = Index::create()
            .name("plan_version_number")
            .table(PlanVersion::Table)
            .col(PlanVersion::PlanId)
            .col(PlanVersion::Version)
            .unique()
            .to_owned();
        manager.create_index(one).await?;
        manager.create_table(plan_file()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(PlanFile::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(PlanVersion::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Plan::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// Steps, and the paths that were looked at, are JSON: they are read and written whole.
fn plan() -> TableCreateStatement {
    Table::create()
        .table(Plan::Table)
        .col(ColumnDef::new(Plan::Id).uuid().not_null().primary_key())
        .col(ColumnDef::new(Plan::ProjectId).uuid().not_null())
        .col(ColumnDef::new(Plan::WorkspaceId).uuid().not_null())
        .col(ColumnDef::new(Plan::ConversationId).uuid().null())
        .col(ColumnDef::new(Plan::Request).text().not_null())
        .col(ColumnDef::new(Plan::Summary).text().not_null())
        .col(ColumnDef::new(Plan::State).string().not_null())
        .col(ColumnDef::new(Plan::Version).integer().not_null())
        .col(ColumnDef::new(Plan::BaseRevisionId).uuid().not_null())
        .col(ColumnDef::new(Plan::BaseRevisionHash).string().not_null())
        .col(ColumnDef::new(Plan::Steps).text().not_null())
        .col(ColumnDef::new(Plan::LookedAt).text().not_null())
        .col(ColumnDef::new(Plan::AppliedRevisionId).uuid().null())
        .col(ColumnDef::new(Plan::FailureReason).string().null())
        .col(ColumnDef::new(Plan::FailureMessage).text().null())
        .col(ColumnDef::new(Plan::Model).string().not_null())
        .col(ColumnDef::new(Plan::InputTokens).big_integer().not_null())
        .col(ColumnDef::new(Plan::OutputTokens).big_integer().not_null())
        .col(ColumnDef::new(Plan::CachedInputTokens).big_integer().not_null())
        .col(ColumnDef::new(Plan::ReasoningTokens).big_integer().not_null())
        .col(ColumnDef::new(Plan::UsageEstimated).boolean().not_null())
        .col(ColumnDef::new(Plan::LastSequence).big_integer().not_null())
        .col(ColumnDef::new(Plan::CreatedBy).uuid().not_null())
        .col(ColumnDef::new(Plan::CreateTime).big_integer().not_null())
        .col(ColumnDef::new(Plan::UpdateTime).big_integer().not_null())
        .to_owned()
}

fn plan_version() -> TableCreateStatement {
    Table::create()
        .table(PlanVersion::Table)
        .col(ColumnDef::new(PlanVersion::Id).uuid().not_null().primary_key())
        .col(ColumnDef::new(PlanVersion::ProjectId).uuid().not_null())
        .col(ColumnDef::new(PlanVersion::PlanId).uuid().not_null())
        .col(ColumnDef::new(PlanVersion::Version).integer().not_null())
        .col(ColumnDef::new(PlanVersion::BaseRevisionId).uuid().not_null())
        .col(ColumnDef::new(PlanVersion::Brief).text().not_null())
        .col(ColumnDef::new(PlanVersion::DraftSequence).big_integer().not_null())
        .col(ColumnDef::new(PlanVersion::ApplySequence).big_integer().null())
        .col(ColumnDef::new(PlanVersion::ApprovedBy).uuid().null())
        .to_owned()
}

fn plan_file() -> TableCreateStatement {
    Table::create()
        .table(PlanFile::Table)
        .col(ColumnDef::new(PlanFile::PlanId).uuid().not_null())
        .col(ColumnDef::new(PlanFile::Version).integer().not_null())
        .col(ColumnDef::new(PlanFile::Step).integer().not_null())
        .col(ColumnDef::new(PlanFile::ProjectId).uuid().not_null())
        .col(ColumnDef::new(PlanFile::Path).text().not_null())
        .col(ColumnDef::new(PlanFile::Kind).integer().not_null())
        .col(ColumnDef::new(PlanFile::Content).text().not_null())
        .primary_key(Index::create().col(PlanFile::PlanId).col(PlanFile::Version).col(PlanFile::Step))
        .to_owned()
}

#[derive(DeriveIden)]
enum Plan {
    Table,
    Id,
    ProjectId,
    WorkspaceId,
    ConversationId,
    Request,
    Summary,
    State,
    Version,
    BaseRevisionId,
    BaseRevisionHash,
    Steps,
    LookedAt,
    AppliedRevisionId,
    FailureReason,
    FailureMessage,
    Model,
    InputTokens,
    OutputTokens,
    CachedInputTokens,
    ReasoningTokens,
    UsageEstimated,
    LastSequence,
    CreatedBy,
    CreateTime,
    UpdateTime,
}

#[derive(DeriveIden)]
enum PlanVersion {
    Table,
    Id,
    ProjectId,
    PlanId,
    Version,
    BaseRevisionId,
    Brief,
    DraftSequence,
    ApplySequence,
    ApprovedBy,
}

#[derive(DeriveIden)]
enum PlanFile {
    Table,
    PlanId,
    Version,
    Step,
    ProjectId,
    Path,
    Kind,
    Content,
}
