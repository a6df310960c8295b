//! The tables of uploads and their pieces. Every finder takes the project first.

use blake3::Hash;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use slipway_rpc::ProjectId;
use slipway_storage::{Lease, StorageError};
use uuid::Uuid;

use super::entity::uploads::{piece, upload};
use super::entity::{parse_hash, to_i64};
use super::{WorkspaceStore, Write};
use crate::error::Error;
use crate::garbage::CollectError;
use crate::model::{Piece, Upload};

impl WorkspaceStore {
    /// An upload that has not expired.
    pub(crate) async fn find_upload(&self, project: ProjectId, id: Uuid, now: i64) -> Result<Option<Upload>, Error> {
        find_upload(self.store.read(), project, id, now).await
    }

    /// The size of a content that one of the project's uploads brought and that is still kept for it.
    pub(crate) async fn find_uploaded(&self, project: ProjectId, content: Hash, now: i64) -> Result<Option<u64>, Error> {
        let query = upload::Entity::find()
            .filter(upload::Column::ProjectId.eq(project.0))
            .filter(upload::Column::Content.eq(content.to_hex().as_str()))
            .filter(upload::Column::ExpireTime.gt(now));
        let row = query.one(self.store.read()).await.map_err(StorageError::from)?;
        Ok(row.map(|row| row.size.unsigned_abs()))
    }

    /// The pieces of an upload, in their order.
    pub(crate) async fn list_pieces(&self, id: Uuid) -> Result<Vec<Piece>, Error> {
        let query = piece::Entity::find().filter(piece::Column::UploadId.eq(id)).order_by_asc(piece::Column::Start);
        let rows = query.all(self.store.read()).await.map_err(StorageError::from)?;
        let piece = |row: piece::Model| Piece { start: row.start.unsigned_abs(), size: row.size.unsigned_abs(), name: row.name };
        Ok(rows.into_iter().map(piece).collect())
    }

    /// The contents of finished uploads, after an upload's id.
    pub(crate) async fn list_uploaded(&self, after: Option<Uuid>, limit: u64) -> Result<Vec<(Uuid, Hash)>, Error> {
        let mut query = upload::Entity::find().filter(upload::Column::Content.is_not_null());
        if let Some(after) = after {
            query = query.filter(upload::Column::Id.gt(after));
        }
        let rows = query.order_by_asc(upload::Column::Id).limit(limit).all(self.store.read()).await;
        let rows = rows.map_err(StorageError::from)?;
        rows.iter()
            .filter_map(|row| Some((row.id, row.content.as_deref()?)))
            .map(|(id, hex)| Ok((id, parse_hash(hex)?)))
            .collect()
    }

    /// Uploads that have expired.
    pub(crate) async fn list_expired_uploads(&self, now: i64, limit: u64) -> Result<Vec<Uuid>, Error> {
        let query = upload::Entity::find().filter(upload::Column::ExpireTime.lte(now)).limit(limit);
        let rows = query.all(self.store.read()).await.map_err(StorageError::from)?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    /// Forgets an upload that has expired.
    pub(crate) async fn delete_expired_upload(&self, lease: &Lease, id: Uuid, now: i64) -> Result<(), CollectError> {
        let tx = self.store.begin().await?;
        lease.check(&tx).await?;
        let expired = upload::Entity::delete_many().filter(upload::Column::Id.eq(id)).filter(upload::Column::ExpireTime.lte(now));
        if expired.exec(tx.conn()).await.map_err(StorageError::from)?.rows_affected > 0 {
            let pieces = piece::Entity::delete_many().filter(piece::Column::UploadId.eq(id));
            pieces.exec(tx.conn()).await.map_err(StorageError::from)?;
        }
        Ok(tx.commit().await?)
    }
}

impl Write {
    pub(crate) async fn find_upload(&self, project: ProjectId, id: Uuid, now: i64) -> Result<Option<Upload>, Error> {
        find_upload(self.tx.conn(), project, id, now).await
    }

    /// How many uploads the project has.
    pub(crate) async fn count_uploads(&self, project: ProjectId, now: i64) -> Result<u64, Error> {
        let query =
            upload::Entity::find().filter(upload::Column::ProjectId.eq(project.0)).filter(upload::Column::ExpireTime.gt(now));
        Ok(query.count(self.tx.conn()).await.map_err(StorageError::from)?)
    }

    pub(crate) async fn create_upload(&self, project: ProjectId, upload: &Upload) -> Result<(), Error> {
        upload::ActiveModel::of(project, upload).insert(self.tx.conn()).await.map_err(StorageError::from)?;
        Ok(())
    }

    /// Adds a piece where the upload ends; false when it ends elsewhere, is finished, or has expired.
    pub(crate) async fn add_piece(
        &self,
        project: ProjectId,
        id: Uuid,
        piece: &Piece,
        now: i64,
        expire: i64,
    ) -> Result<bool, Error> {
        let grown = upload::Entity::update_many()
            .col_expr(upload::Column::Committed, Expr::value(to_i64(piece.start + piece.size)))
            .col_expr(upload::Column::ExpireTime, Expr::value(expire))
            .filter(upload::Column::ProjectId.eq(project.0))
            .filter(upload::Column::Id.eq(id))
            .filter(upload::Column::Content.is_null())
            .filter(upload::Column::Committed.eq(to_i64(piece.start)))
            .filter(upload::Column::ExpireTime.gt(now));
        if grown.exec(self.tx.conn()).await.map_err(StorageError::from)?.rows_affected == 0 {
            return Ok(false);
        }
        piece::ActiveModel::of(id, piece).insert(self.tx.conn()).await.map_err(StorageError::from)?;
        Ok(true)
    }

    /// Says what content an upload has become; its pieces are needed no more. False when it is not there any more.
    pub(crate) async fn finish_upload(
        &self,
        project: ProjectId,
        id: Uuid,
        content: Hash,
        now: i64,
        expire: i64,
    ) -> Result<bool, Error> {
        let finished = upload::Entity::update_many()
            .col_expr(upload::Column::Content, Expr::value(content.to_hex().to_string()))
            .col_expr(upload::Column::ExpireTime, Expr::value(expire))
            .filter(upload::Column::ProjectId.eq(project.0))
            .filter(upload::Column::Id.eq(id))
            .filter(upload::Column::ExpireTime.gt(now));
        if finished.exec(self.tx.conn()).await.map_err(StorageError::from)?.rows_affected == 0 {
            return Ok(false);
        }
        self.delete_pieces(id).await?;
        Ok(true)
    }

    /// False when there is none.
    pub(crate) async fn delete_upload(&self, project: ProjectId, id: Uuid, now: i64) -> Result<bool, Error> {
        let deleted = upload::Entity::delete_many()
            .filter(upload::Column::ProjectId.eq(project.0))
            .filter(upload::Column::Id.eq(id))
            .filter(upload::Column::ExpireTime.gt(now));
        if deleted.exec(self.tx.conn()).await.map_err(StorageError::from)?.rows_affected == 0 {
            return Ok(false);
        }
        self.delete_pieces(id).await?;
        Ok(true)
    }

    async fn delete_pieces(&self, id: Uuid) -> Result<(), Error> {
        let pieces = piece::Entity::delete_many().filter(piece::Column::UploadId.eq(id));
        pieces.exec(self.tx.conn()).await.map_err(StorageError::from)?;
        Ok(())
    }
}

async fn find_upload(conn: &impl ConnectionTrait, project: ProjectId, id: Uuid, now: i64) -> Result<Option<Upload>, Error> {
    let query =
        upload::Entity::find_by_id(id).filter(upload::Column::ProjectId.eq(project.0)).filter(upload::Column::ExpireTime.gt(now));
    query.one(conn).await.map_err(StorageError::from)?.map(upload::Model::into_upload).transpose()
}
