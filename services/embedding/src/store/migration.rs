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
        all.push(Box::new(IndexTables));
        all.push(Box::new(EngineColumns));
        all.push(Box::new(EngineTable));
        all
    }
}

struct IndexTables;

impl MigrationName for IndexTables {
    fn name(&self) -> &str {
        "m20261121_000001_index_tables"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for IndexTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_workspace_index(manager).await?;
        create_index_file(manager).await?;
        create_vector(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Vector::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(IndexFile::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(WorkspaceIndex::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// Which engine has what was built, and which builds are to do everything again.
struct EngineColumns;

impl MigrationName for EngineColumns {
    fn name(&self) -> &str {
        "m20261125_000002_engine_columns"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for EngineColumns {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let engine = ColumnDef::new(WorkspaceIndex::Engine).text().not_null().default("").to_owned();
        let anew = ColumnDef::new(WorkspaceIndex::Anew).big_integer().not_null().default(0).to_owned();
        // SQLite adds one column a statement.
        for column in [engine, anew] {
            manager.alter_table(Table::alter().table(WorkspaceIndex::Table).add_column(column).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [WorkspaceIndex::Engine, WorkspaceIndex::Anew] {
            manager.alter_table(Table::alter().table(WorkspaceIndex::Table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// Which engines were asked for, and what their vectors are of.
struct EngineTable;

impl MigrationName for EngineTable {
    fn name(&self) -> &str {
        "m20261126_000003_engine_table"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for EngineTable {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(Engine::Table)
            .col(ColumnDef::new(Engine::Name).text().not_null().primary_key())
            .col(ColumnDef::new(Engine::Embedder).text().not_null())
            .col(ColumnDef::new(Engine::AskedTime).big_integer().not_null())
            .to_owned();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Engine::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// How far the index of each workspace is.
async fn create_workspace_index(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let number = |column: WorkspaceIndex| ColumnDef::new(column).big_integer().not_null().default(0).to_owned();
    let table = Table::create()
        .table(WorkspaceIndex::Table)
        .col(ColumnDef::new(WorkspaceIndex::WorkspaceId).uuid().not_null().primary_key())
        .col(ColumnDef::new(WorkspaceIndex::ProjectId).uuid().not_null())
        .col(ColumnDef::new(WorkspaceIndex::UserId).uuid().not_null())
        .col(number(WorkspaceIndex::Wanted))
        .col(ColumnDef::new(WorkspaceIndex::WantedRevisionId).uuid().not_null())
        .col(number(WorkspaceIndex::WantedNumber))
        .col(number(WorkspaceIndex::Built))
        .col(ColumnDef::new(WorkspaceIndex::RevisionId).uuid().null())
        .col(number(WorkspaceIndex::RevisionNumber))
        .col(number(WorkspaceIndex::Failed))
        .col(ColumnDef::new(WorkspaceIndex::Failure).text().not_null().default(""))
        .col(number(WorkspaceIndex::Settled))
        .col(ColumnDef::new(WorkspaceIndex::VectorFailure).text().not_null().default(""))
        .col(number(WorkspaceIndex::FileCount))
        .col(number(WorkspaceIndex::ChunkCount))
        .col(number(WorkspaceIndex::VectorCount))
        .col(number(WorkspaceIndex::EmbeddedCount))
        .col(number(WorkspaceIndex::UpdateTime))
        .to_owned();
    manager.create_table(table).await
}

/// The files that searches answer from, each with its content's hash and how many chunks it has.
async fn create_index_file(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(IndexFile::Table)
        .col(ColumnDef::new(IndexFile::ProjectId).uuid().not_null())
        .col(ColumnDef::new(IndexFile::WorkspaceId).uuid().not_null())
        .col(ColumnDef::new(IndexFile::Path).text().not_null())
        .col(ColumnDef::new(IndexFile::Blob).text().not_null())
        .col(ColumnDef::new(IndexFile::ChunkCount).big_integer().not_null())
        .primary_key(Index::create().col(IndexFile::WorkspaceId).col(IndexFile::Path))
        .to_owned();
    manager.create_table(table).await
}

/// The vector ledger: what was embedded once is never embedded again.
async fn create_vector(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Vector::Table)
        .col(ColumnDef::new(Vector::ProjectId).uuid().not_null())
        .col(ColumnDef::new(Vector::WorkspaceId).uuid().not_null())
        .col(ColumnDef::new(Vector::Model).string().not_null())
        .col(ColumnDef::new(Vector::TextHash).blob().not_null())
        .col(ColumnDef::new(Vector::Component).blob().not_null())
        .primary_key(Index::create().col(Vector::ProjectId).col(Vector::WorkspaceId).col(Vector::Model).col(Vector::TextHash))
        .to_owned();
    manager.create_table(table).await
}

#[derive(DeriveIden)]
enum WorkspaceIndex {
    Table,
    WorkspaceId,
    ProjectId,
    UserId,
    Wanted,
    WantedRevisionId,
    WantedNumber,
    Built,
    RevisionId,
    RevisionNumber,
    Failed,
    Failure,
    Settled,
    VectorFailure,
    FileCount,
    ChunkCount,
    VectorCount,
    EmbeddedCount,
    UpdateTime,
    Engine,
    Anew,
}

#[derive(DeriveIden)]
enum Engine {
    Table,
    Name,
    Embedder,
    AskedTime,
}

#[derive(DeriveIden)]
enum IndexFile {
    Table,
    ProjectId,
    WorkspaceId,
    Path,
    Blob,
    ChunkCount,
}

#[derive(DeriveIden)]
enum Vector {
    Table,
    ProjectId,
    WorkspaceId,
    Model,
    TextHash,
    #[sea_orm(iden = "vector")]
    Component,
}
