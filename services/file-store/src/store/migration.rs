//! The migrations of the file store's tables, for both engines.

mod deltas;
mod documents;
mod secrets;
mod uploads;

use async_trait::async_trait;
use sea_orm::sea_query::{ColumnDef, ForeignKey, ForeignKeyAction, Index, Query, Table};
use sea_orm::{ConnectionTrait as _, DbErr, DeriveIden};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};
use slipway_storage::now_micros;

/// The file store's migrations.
pub struct Migrator;

#[async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut all = slipway_storage::shared_migrations();
        all.push(Box::new(Workspaces));
        all.push(Box::new(GarbageTables));
        all.push(Box::new(Overlays));
        all.push(Box::new(Merges));
        all.push(Box::new(secrets::Secrets));
        all.push(Box::new(uploads::Uploads));
        all.push(Box::new(Quotas));
        all.push(Box::new(documents::Documents));
        all.push(Box::new(deltas::Deltas));
        all
    }
}

struct Workspaces;

impl MigrationName for Workspaces {
    fn name(&self) -> &str {
        "m00000101_workspaces"
    }
}

#[async_trait]
impl MigrationTrait for Workspaces {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_workspace(manager).await?;
        create_revision(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Revision::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Workspace::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

struct GarbageTables;

impl MigrationName for GarbageTables {
    fn name(&self) -> &str {
        "m00000102_garbage"
    }
}

#[async_trait]
impl MigrationTrait for GarbageTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_garbage(manager).await?;
        create_collection(manager).await?;
        // Collectors read every manifest once, however many revisions have it.
        let by_hash = Index::create().name("revision_by_hash").table(Revision::Table).col(Revision::Hash).to_owned();
        manager.create_index(by_hash).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_index(Index::drop().name("revision_by_hash").table(Revision::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Collection::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Garbage::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

struct Overlays;

impl MigrationName for Overlays {
    fn name(&self) -> &str {
        "m00000103_overlays"
    }
}

#[async_trait]
impl MigrationTrait for Overlays {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_overlay(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Overlay::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

struct Merges;

impl MigrationName for Merges {
    fn name(&self) -> &str {
        "m00000104_merges"
    }
}

#[async_trait]
impl MigrationTrait for Merges {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = ColumnDef::new(Revision::MergedBaseId).uuid().null().to_owned();
        manager.alter_table(Table::alter().table(Revision::Table).add_column(column).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table(Revision::Table).drop_column(Revision::MergedBaseId).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

struct Quotas;

impl MigrationName for Quotas {
    fn name(&self) -> &str {
        "m00000113_quotas"
    }
}

#[async_trait]
impl MigrationTrait for Quotas {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = ColumnDef::new(Workspace::StoredBytes).big_integer().not_null().default(0).to_owned();
        manager.alter_table(Table::alter().table(Workspace::Table).add_column(column).to_owned()).await?;
        let table = Table::create()
            .table(ProjectUsage::Table)
            .col(ColumnDef::new(ProjectUsage::ProjectId).uuid().not_null().primary_key())
            .col(ColumnDef::new(ProjectUsage::StoredBytes).big_integer().not_null())
            .to_owned();
        manager.create_table(table).await?;
        // Of what is there already, the heads count.
        let count = "UPDATE workspace SET stored_bytes = COALESCE((SELECT total_bytes FROM revision \
                     WHERE revision.id = workspace.head_revision_id), 0)";
        manager.get_connection().execute_unprepared(count).await?;
        let sum = "INSERT INTO project_usage (project_id, stored_bytes) \
                   SELECT project_id, CAST(SUM(stored_bytes) AS BIGINT) FROM workspace GROUP BY project_id";
        manager.get_connection().execute_unprepared(sum).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(ProjectUsage::Table).to_owned()).await?;
        manager.alter_table(Table::alter().table(Workspace::Table).drop_column(Workspace::StoredBytes).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

async fn create_overlay(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let workspace = ForeignKey::create()
        .name("overlay_workspace")
        .from(Overlay::Table, Overlay::WorkspaceId)
        .to(Workspace::Table, Workspace::Id)
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned();
    let table = Table::create()
        .table(Overlay::Table)
        .col(ColumnDef::new(Overlay::Id).uuid().not_null().primary_key())
        .col(ColumnDef::new(Overlay::ProjectId).uuid().not_null())
        .col(ColumnDef::new(Overlay::WorkspaceId).uuid().not_null())
        .col(ColumnDef::new(Overlay::BaseRevisionId).uuid().null())
        .col(ColumnDef::new(Overlay::BaseNumber).big_integer().not_null())
        .col(ColumnDef::new(Overlay::Name).text().not_null())
        .col(ColumnDef::new(Overlay::AuthorId).uuid().not_null())
        .col(ColumnDef::new(Overlay::Version).big_integer().not_null())
        .col(ColumnDef::new(Overlay::Hash).text().not_null())
        .col(ColumnDef::new(Overlay::FileCount).big_integer().not_null())
        .col(ColumnDef::new(Overlay::TotalBytes).big_integer().not_null())
        .col(ColumnDef::new(Overlay::CreateTime).big_integer().not_null())
        .col(ColumnDef::new(Overlay::UpdateTime).big_integer().not_null())
        .col(ColumnDef::new(Overlay::ExpireTime).big_integer().not_null())
        .foreign_key(&mut workspace.clone())
        .to_owned();
    manager.create_table(table).await?;
    for (name, columns) in [
        ("overlay_by_workspace", vec![Overlay::WorkspaceId, Overlay::Id]),
        ("overlay_by_hash", vec![Overlay::Hash]),
        ("overlay_by_expiry", vec![Overlay::ExpireTime]),
    ] {
        let mut index = Index::create().name(name).table(Overlay::Table).to_owned();
        for column in columns {
            index.col(column);
        }
        manager.create_index(index).await?;
    }
    Ok(())
}

async fn create_garbage(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Garbage::Table)
        .col(ColumnDef::new(Garbage::Hash).text().not_null().primary_key())
        .col(ColumnDef::new(Garbage::State).small_integer().not_null())
        .col(ColumnDef::new(Garbage::Size).big_integer().not_null())
        .col(ColumnDef::new(Garbage::MarkTime).big_integer().not_null())
        .to_owned();
    manager.create_table(table).await?;
    let by_age =
        Index::create().name("garbage_by_age").table(Garbage::Table).col(Garbage::State).col(Garbage::MarkTime).to_owned();
    manager.create_index(by_age).await
}

/// One row, which is there from the start.
async fn create_collection(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Collection::Table)
        .col(ColumnDef::new(Collection::Id).small_integer().not_null().primary_key())
        .col(ColumnDef::new(Collection::Epoch).big_integer().not_null())
        .col(ColumnDef::new(Collection::Sweeping).boolean().not_null())
        .col(ColumnDef::new(Collection::Finished).big_integer().not_null())
        .col(ColumnDef::new(Collection::EndTime).big_integer().not_null())
        .col(ColumnDef::new(Collection::Report).text().not_null())
        .to_owned();
    manager.create_table(table).await?;
    use Collection as C;
    let values = [1.into(), 0.into(), false.into(), 0.into(), now_micros().into(), "{}".into()];
    let row = Query::insert()
        .into_table(Collection::Table)
        .columns([C::Id, C::Epoch, C::Sweeping, C::Finished, C::EndTime, C::Report])
        .values_panic(values)
        .to_owned();
    manager.execute(row).await
}

async fn create_workspace(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table(Workspace::Table)
        .col(ColumnDef::new(Workspace::Id).uuid().not_null().primary_key())
        .col(ColumnDef::new(Workspace::ProjectId).uuid().not_null())
        .col(ColumnDef::new(Workspace::Name).text().not_null())
        .col(ColumnDef::new(Workspace::HeadRevisionId).uuid().null())
        .col(ColumnDef::new(Workspace::HeadNumber).big_integer().not_null())
        .col(ColumnDef::new(Workspace::CreateTime).big_integer().not_null())
        .col(ColumnDef::new(Workspace::UpdateTime).big_integer().not_null())
        .to_owned();
    manager.create_table(table).await?;
    let by_project = Index::create()
        .name("workspace_by_project")
        .table(Workspace::Table)
        .col(Workspace::ProjectId)
        .col(Workspace::Id)
        .to_owned();
    manager.create_index(by_project).await
}

async fn create_revision(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let workspace = ForeignKey::create()
        .name("revision_workspace")
        .from(Revision::Table, Revision::WorkspaceId)
        .to(Workspace::Table, Workspace::Id)
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned();
    let table = Table::create()
        .table(Revision::Table)
        .col(ColumnDef::new(Revision::Id).uuid().not_null().primary_key())
        .col(ColumnDef::new(Revision::ProjectId).uuid().not_null())
        .col(ColumnDef::new(Revision::WorkspaceId).uuid().not_null())
        .col(ColumnDef::new(Revision::Number).big_integer().not_null())
        .col(ColumnDef::new(Revision::ParentId).uuid().null())
        .col(ColumnDef::new(Revision::Kind).small_integer().not_null())
        .col(ColumnDef::new(Revision::Message).text().not_null())
        .col(ColumnDef::new(Revision::AuthorId).uuid().not_null())
        .col(ColumnDef::new(Revision::Hash).text().not_null())
        .col(ColumnDef::new(Revision::FileCount).big_integer().not_null())
        .col(ColumnDef::new(Revision::TotalBytes).big_integer().not_null())
        .col(ColumnDef::new(Revision::RestoredFromId).uuid().null())
        .col(ColumnDef::new(Revision::PlanId).uuid().null())
        .col(ColumnDef::new(Revision::CreateTime).big_integer().not_null())
        .foreign_key(&mut workspace.clone())
        .to_owned();
    manager.create_table(table).await?;
    // One revision a number: the last line of defence of the compare-and-swap.
    let by_number = Index::create()
        .name("revision_by_number")
        .table(Revision::Table)
        .col(Revision::WorkspaceId)
        .col(Revision::Number)
        .unique()
        .to_owned();
    manager.create_index(by_number).await
}

#[derive(DeriveIden)]
enum Workspace {
    Table,
    Id,
    ProjectId,
    Name,
    HeadRevisionId,
    HeadNumber,
    StoredBytes,
    CreateTime,
    UpdateTime,
}

#[derive(DeriveIden)]
enum Revision {
    Table,
    Id,
    ProjectId,
    WorkspaceId,
    Number,
    ParentId,
    Kind,
    Message,
    AuthorId,
    Hash,
    FileCount,
    TotalBytes,
    RestoredFromId,
    PlanId,
    CreateTime,
    MergedBaseId,
}

#[derive(DeriveIden)]
enum ProjectUsage {
    Table,
    ProjectId,
    StoredBytes,
}

#[derive(DeriveIden)]
enum Overlay {
    Table,
    Id,
    ProjectId,
    WorkspaceId,
    BaseRevisionId,
    BaseNumber,
    Name,
    AuthorId,
    Version,
    Hash,
    FileCount,
    TotalBytes,
    CreateTime,
    UpdateTime,
    ExpireTime,
}

#[derive(DeriveIden)]
enum Garbage {
    Table,
    Hash,
    State,
    Size,
    MarkTime,
}

#[derive(DeriveIden)]
enum Collection {
    Table,
    Id,
    Epoch,
    Sweeping,
    Finished,
    EndTime,
    Report,
}
