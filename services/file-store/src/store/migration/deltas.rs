//! The migration of deltas: a manifest is a blob, or what is different in it from one that is.

use async_trait::async_trait;
use sea_orm::sea_query::{ColumnDef, Index, Table};
use sea_orm::{DbErr, DeriveIden};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Deltas;

impl MigrationName for Deltas {
    fn name(&self) -> &str {
        "m00000115_deltas"
    }
}

#[async_trait]
impl MigrationTrait for Deltas {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add(manager, Owner::Revision).await?;
        add(manager, Owner::Overlay).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        remove(manager, Owner::Revision).await?;
        remove(manager, Owner::Overlay).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

async fn add(manager: &SchemaManager<'_>, owner: Owner) -> Result<(), DbErr> {
    for column in [ColumnDef::new(Column::RootHash).text().null(), ColumnDef::new(Column::Delta).binary().null()] {
        manager.alter_table(Table::alter().table(owner).add_column(column.to_owned()).to_owned()).await?;
    }
    // Collectors read every root once, however many deltas it has.
    let by_root = Index::create().name(index(owner)).table(owner).col(Column::RootHash).to_owned();
    manager.create_index(by_root).await
}

async fn remove(manager: &SchemaManager<'_>, owner: Owner) -> Result<(), DbErr> {
    manager.drop_index(Index::drop().name(index(owner)).table(owner).to_owned()).await?;
    for column in [Column::RootHash, Column::Delta] {
        manager.alter_table(Table::alter().table(owner).drop_column(column).to_owned()).await?;
    }
    Ok(())
}

fn index(owner: Owner) -> &'static str {
    match owner {
        Owner::Revision => "revision_by_root",
        Owner::Overlay => "overlay_by_root",
    }
}

#[derive(Clone, Copy, DeriveIden)]
enum Owner {
    Revision,
    Overlay,
}

#[derive(Clone, Copy, DeriveIden)]
enum Column {
    RootHash,
    Delta,
}
