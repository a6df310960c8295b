//! The migration of secret scans: a report per manifest, and a count per revision.

use async_trait::async_trait;
use sea_orm::sea_query::{ColumnDef, Table};
use sea_orm::{DbErr, DeriveIden};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Secrets;

impl MigrationName for Secrets {
    fn name(&self) -> &str {
        "m00000111_secrets"
    }
}

#[async_trait]
impl MigrationTrait for Secrets {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(SecretReport::Table)
            .col(ColumnDef::new(SecretReport::Hash).text().not_null().primary_key())
            .col(ColumnDef::new(SecretReport::Report).text().not_null())
            .col(ColumnDef::new(SecretReport::CreateTime).big_integer().not_null())
            .to_owned();
        manager.create_table(table).await?;
        let count = ColumnDef::new(Revision::SecretCount).integer().null().to_owned();
        manager.alter_table(Table::alter().table(Revision::Table).add_column(count).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let count = Table::alter().table(Revision::Table).drop_column(Revision::SecretCount).to_owned();
        manager.alter_table(count).await?;
        manager.drop_table(Table::drop().table(SecretReport::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

#[derive(DeriveIden)]
enum SecretReport {
    Table,
    Hash,
    Report,
    CreateTime,
}

#[derive(DeriveIden)]
enum Revision {
    Table,
    SecretCount,
}
