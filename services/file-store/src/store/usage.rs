//! What workspaces and projects have, counted in the transaction that adds to it: two replicas cannot pass a quota together.

use sea_orm::sea_query::{Expr, ExprTrait as _, LockType, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use slipway_rpc::ProjectId;
use slipway_storage::StorageError;
use uuid::Uuid;

use super::Write;
use super::entity::{project_usage, to_i64, workspace};
use crate::error::Error;

impl Write {
    /// Adds to what a workspace has. Gives what it and its project have then; the transaction must not be committed if that is
    /// too much.
    pub(crate) async fn charge(&self, project: ProjectId, workspace: Uuid, bytes: u64) -> Result<(u64, u64), Error> {
        let bytes = to_i64(bytes);
        let add = workspace::Entity::update_many()
            .col_expr(workspace::Column::StoredBytes, Expr::col(workspace::Column::StoredBytes).add(bytes))
            .filter(workspace::Column::ProjectId.eq(project.0))
            .filter(workspace::Column::Id.eq(workspace));
        add.exec(self.tx.conn()).await.map_err(StorageError::from)?;
        let row = project_usage::ActiveModel { project_id: Set(project.0), stored_bytes: Set(bytes) };
        let column = (project_usage::Entity, project_usage::Column::StoredBytes);
        let more = OnConflict::column(project_usage::Column::ProjectId)
            .value(project_usage::Column::StoredBytes, Expr::col(column).add(bytes))
            .to_owned();
        let insert = project_usage::Entity::insert(row).on_conflict(more);
        insert.exec_without_returning(self.tx.conn()).await.map_err(StorageError::from)?;
        let of_workspace = workspace::Entity::find_by_id(workspace).one(self.tx.conn()).await.map_err(StorageError::from)?;
        let of_project = project_usage::Entity::find_by_id(project.0).one(self.tx.conn()).await.map_err(StorageError::from)?;
        let count = |bytes: Option<i64>| bytes.map_or(0, i64::unsigned_abs);
        Ok((count(of_workspace.map(|row| row.stored_bytes)), count(of_project.map(|row| row.stored_bytes))))
    }

    /// Gives back what a workspace has, which is about to be deleted.
    pub(super) async fn discharge(&self, project: ProjectId, workspace: Uuid) -> Result<(), Error> {
        let query = workspace::Entity::find_by_id(workspace).filter(workspace::Column::ProjectId.eq(project.0));
        let row = query.lock(LockType::Update).one(self.tx.conn()).await.map_err(StorageError::from)?;
        let Some(row) = row else { return Ok(()) };
        let give = project_usage::Entity::update_many()
            .col_expr(project_usage::Column::StoredBytes, Expr::col(project_usage::Column::StoredBytes).sub(row.stored_bytes))
            .filter(project_usage::Column::ProjectId.eq(project.0));
        give.exec(self.tx.conn()).await.map_err(StorageError::from)?;
        Ok(())
    }
}
