//! The table of overlays. An overlay that has expired is not found, whether it is deleted already or not.

use sea_orm::sea_query::{Expr, LockType};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use slipway_rpc::ProjectId;
use slipway_storage::{Lease, StorageError};
use uuid::Uuid;

use super::entity::{delta, overlay, root_hash, to_i64, workspace};
use super::{WorkspaceStore, Write};
use crate::error::Error;
use crate::garbage::CollectError;
use crate::model::Overlay;

impl WorkspaceStore {
    pub(crate) async fn find_overlay(&self, project: ProjectId, id: Uuid, now: i64) -> Result<Option<Overlay>, Error> {
        find_overlay(self.store.read(), project, id, now).await
    }

    /// The newest first, those before the id `before`: ids grow with time.
    pub(crate) async fn list_overlays(
        &self,
        project: ProjectId,
        workspace: Uuid,
        before: Option<Uuid>,
        limit: u64,
        now: i64,
    ) -> Result<Vec<Overlay>, Error> {
        let mut query = overlay::Entity::find()
            .filter(overlay::Column::ProjectId.eq(project.0))
            .filter(overlay::Column::WorkspaceId.eq(workspace))
            .filter(overlay::Column::ExpireTime.gt(now));
        if let Some(before) = before {
            query = query.filter(overlay::Column::Id.lt(before));
        }
        let rows = query.order_by_desc(overlay::Column::Id).limit(limit).all(self.store.read()).await;
        rows.map_err(StorageError::from)?.into_iter().map(overlay::Model::into_overlay).collect()
    }

    /// Deletes the overlays of all projects that have expired.
    pub(crate) async fn delete_expired_overlays(&self, lease: &Lease, now: i64) -> Result<u64, CollectError> {
        let tx = self.store.begin().await?;
        lease.check(&tx).await?;
        let delete = overlay::Entity::delete_many().filter(overlay::Column::ExpireTime.lte(now));
        let deleted = delete.exec(tx.conn()).await.map_err(StorageError::from)?.rows_affected;
        tx.commit().await?;
        Ok(deleted)
    }
}

impl Write {
    pub(crate) async fn find_overlay(&self, project: ProjectId, id: Uuid, now: i64) -> Result<Option<Overlay>, Error> {
        find_overlay(self.tx.conn(), project, id, now).await
    }

    /// False when there is no such workspace; otherwise it stays until this transaction ends.
    pub(crate) async fn hold_workspace(&self, project: ProjectId, id: Uuid) -> Result<bool, Error> {
        let query = workspace::Entity::find_by_id(id).filter(workspace::Column::ProjectId.eq(project.0));
        let row = query.lock(LockType::KeyShare).one(self.tx.conn()).await.map_err(StorageError::from)?;
        Ok(row.is_some())
    }

    /// How many overlays a workspace and its project have. Until this transaction ends nobody else counts those of the project.
    pub(crate) async fn count_overlays(&self, project: ProjectId, workspace: Uuid, now: i64) -> Result<(u64, u64), Error> {
        self.charge(project, workspace, 0).await?;
        let of_project = || {
            let query = overlay::Entity::find().filter(overlay::Column::ProjectId.eq(project.0));
            query.filter(overlay::Column::ExpireTime.gt(now))
        };
        let of_workspace = of_project().filter(overlay::Column::WorkspaceId.eq(workspace));
        let of_workspace = of_workspace.count(self.tx.conn()).await.map_err(StorageError::from)?;
        Ok((of_workspace, of_project().count(self.tx.conn()).await.map_err(StorageError::from)?))
    }

    pub(crate) async fn create_overlay(&self, project: ProjectId, overlay: &Overlay) -> Result<(), Error> {
        overlay::ActiveModel::of(project, overlay).insert(self.tx.conn()).await.map_err(StorageError::from)?;
        Ok(())
    }

    /// Replaces version `from` by `to`; false when it is no longer there.
    pub(crate) async fn change_overlay(&self, project: ProjectId, from: u64, to: &Overlay) -> Result<bool, Error> {
        let change = overlay::Entity::update_many()
            .col_expr(overlay::Column::Version, Expr::value(to_i64(to.version)))
            .col_expr(overlay::Column::Hash, Expr::value(to.manifest.hash.to_hex().to_string()))
            .col_expr(overlay::Column::RootHash, Expr::value(root_hash(&to.manifest)))
            .col_expr(overlay::Column::Delta, Expr::value(delta(&to.manifest)))
            .col_expr(overlay::Column::FileCount, Expr::value(to_i64(to.file_count)))
            .col_expr(overlay::Column::TotalBytes, Expr::value(to_i64(to.total_bytes)))
            .col_expr(overlay::Column::UpdateTime, Expr::value(to.update_time))
            .col_expr(overlay::Column::ExpireTime, Expr::value(to.expire_time))
            .filter(overlay::Column::ProjectId.eq(project.0))
            .filter(overlay::Column::Id.eq(to.id))
            .filter(overlay::Column::Version.eq(to_i64(from)));
        Ok(change.exec(self.tx.conn()).await.map_err(StorageError::from)?.rows_affected > 0)
    }

    /// Deletes an overlay, or only if it has this version; false when there is none.
    pub(crate) async fn delete_overlay(&self, project: ProjectId, id: Uuid, version: Option<u64>) -> Result<bool, Error> {
        let mut delete =
            overlay::Entity::delete_many().filter(overlay::Column::ProjectId.eq(project.0)).filter(overlay::Column::Id.eq(id));
        if let Some(version) = version {
            delete = delete.filter(overlay::Column::Version.eq(to_i64(version)));
        }
        Ok(delete.exec(self.tx.conn()).await.map_err(StorageError::from)?.rows_affected > 0)
    }
}

async fn find_overlay(conn: &impl ConnectionTrait, project: ProjectId, id: Uuid, now: i64) -> Result<Option<Overlay>, Error> {
    let query = overlay::Entity::find_by_id(id)
        .filter(overlay::Column::ProjectId.eq(project.0))
        .filter(overlay::Column::ExpireTime.gt(now));
    query.one(conn).await.map_err(StorageError::from)?.map(overlay::Model::into_overlay).transpose()
}
