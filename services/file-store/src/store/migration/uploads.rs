//! The migration of uploads and their pieces.

use async_trait::async_trait;
use sea_orm::sea_query::{ColumnDef, Index, Table};
use sea_orm::{DbErr, DeriveIden};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Uploads;

impl MigrationName for Uploads {
    fn name(&self) -> &str {
        "m00000112_uploads"
    }
}

#[async_trait]
impl MigrationTrait for Uploads {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let uploads = Table::create()
            .table(Upload::Table)
            .col(ColumnDef::new(Upload::Id).uuid().not_null().primary_key())
            .col(ColumnDef::new(Upload::ProjectId).uuid().not_null())
            .col(ColumnDef::new(Upload::Size).big_integer().not_null())
            .col(ColumnDef::new(Upload::Committed).big_integer().not_null())
            .col(ColumnDef::new(Upload::Blake3).text().null())
            .col(ColumnDef::new(Upload::Sha256).binary().null())
            .col(ColumnDef::new(Upload::Content).text().null())
            .col(ColumnDef::new(Upload::CreateTime).big_integer().not_null())
            .col(ColumnDef::new(Upload::ExpireTime).big_integer().not_null())
            .to_owned();
        manager.create_table(uploads).await?;
        let by_content =
            Index::create().name("upload_by_content").table(Upload::Table).col(Upload::ProjectId).col(Upload::Content).to_owned();
        manager.create_index(by_content).await?;
        let by_expiry = Index::create().name("upload_by_expiry").table(Upload::Table).col(Upload::ExpireTime).to_owned();
        manager.create_index(by_expiry).await?;
        let pieces = Table::create()
            .table(UploadPiece::Table)
            .col(ColumnDef::new(UploadPiece::UploadId).uuid().not_null())
            .col(ColumnDef::new(UploadPiece::Start).big_integer().not_null())
            .col(ColumnDef::new(UploadPiece::Size).big_integer().not_null())
            .col(ColumnDef::new(UploadPiece::Name).uuid().not_null())
            .primary_key(Index::create().col(UploadPiece::UploadId).col(UploadPiece::Start))
            .to_owned();
        manager.create_table(pieces).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(UploadPiece::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Upload::Table).to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

#[derive(DeriveIden)]
enum Upload {
    Table,
    Id,
    ProjectId,
    Size,
    Committed,
    Blake3,
    Sha256,
    Content,
    CreateTime,
    ExpireTime,
}

#[derive(DeriveIden)]
enum UploadPiece {
    Table,
    UploadId,
    Start,
    Size,
    Name,
}
