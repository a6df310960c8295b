//! The migration of documents: the text of each, once it was asked for.

use async_trait::async_trait;
use sea_orm::sea_query::{ColumnDef, Index, Table};
use sea_orm::{DbErr, DeriveIden};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Documents;

impl MigrationName for Documents {
    fn name(&self) -> &str {
        "m00000114_documents"
    }
}

#[async_trait]
impl MigrationTrait for Documents {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(DocumentText::Table)
            .col(ColumnDef::new(DocumentText::Hash).text().not_null())
            .col(ColumnDef::new(DocumentText::Format).text().not_null())
            .col(ColumnDef::new(DocumentText::Version).small_integer().not_null())
            .col(ColumnDef::new(DocumentText::Text).text().not_null())
            .col(ColumnDef::new(DocumentText::Truncated).boolean().not_null())
            .col(ColumnDef::new(DocumentText::Failure).text().null())
            .primary_key(Index::create().col(DocumentText::Hash).col(DocumentText::Format))
            .to_owned();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(DocumentText::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

#[derive(DeriveIden)]
enum DocumentText {
    Table,
    Hash,
    Format,
    Version,
    Text,
    Truncated,
    Failure,
}
