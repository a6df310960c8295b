//! The tables of workspaces, revisions and overlays: the only place that knows sea-orm. Every finder takes the project first.

mod documents;
mod entity;
mod garbage;
mod migration;
mod overlay;
mod secrets;
mod upload;
mod usage;

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use slipway_bus::Event;
use slipway_rpc::ProjectId;
use slipway_storage::requests::{self, Claim};
use slipway_storage::{StorageError, Store, StoreSettings, Tx, outbox};
use uuid::Uuid;

use crate::error::Error;
use crate::model::{Head, Revision, Workspace};
use entity::{revision, workspace};

pub(crate) use documents::DocumentText;
pub(crate) use garbage::{Epoch, Owners};
pub use migration::Migrator;

/// Names a request that must not be carried out twice.
#[derive(Clone, Debug)]
pub(crate) struct RequestKey {
    pub(crate) method: &'static str,
    /// Empty: the request is not idempotent.
    pub(crate) id: String,
    pub(crate) payload_hash: [u8; 32],
}

/// Workspaces and their revisions.
#[derive(Clone, Debug)]
pub(crate) struct WorkspaceStore {
    store: Store,
}

/// A write transaction; dropping it takes everything back.
pub(crate) struct Write {
    tx: Tx,
}

impl WorkspaceStore {
    /// Opens the database and brings its tables up to date.
    pub(crate) async fn open(settings: &StoreSettings) -> Result<Self, StorageError> {
        let store = Store::open(settings, "file_store").await?;
        store.prepare::<Migrator>().await?;
        Ok(Self { store })
    }

    /// The database, for the outbox relay.
    pub(crate) fn database(&self) -> Store {
        self.store.clone()
    }

    pub(crate) async fn begin(&self) -> Result<Write, Error> {
        Ok(Write { tx: self.store.begin().await? })
    }

    pub(crate) async fn find_workspace(&self, project: ProjectId, id: Uuid) -> Result<Option<Workspace>, Error> {
        find_workspace(self.store.read(), project, id).await
    }

    /// The newest first, those before the id `before`: ids grow with time.
    pub(crate) async fn list_workspaces(
        &self,
        project: ProjectId,
        before: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Workspace>, Error> {
        let mut query = workspace::Entity::find().filter(workspace::Column::ProjectId.eq(project.0));
        if let Some(before) = before {
            query = query.filter(workspace::Column::Id.lt(before));
        }
        let rows = query.order_by_desc(workspace::Column::Id).limit(limit).all(self.store.read()).await;
        rows.map_err(StorageError::from)?.into_iter().map(workspace::Model::into_workspace).collect()
    }

    pub(crate) async fn find_revision(&self, project: ProjectId, workspace: Uuid, id: Uuid) -> Result<Option<Revision>, Error> {
        find_revision(self.store.read(), project, workspace, id).await
    }

    /// A revision of whichever workspace.
    pub(crate) async fn find_any_revision(&self, project: ProjectId, id: Uuid) -> Result<Option<Revision>, Error> {
        let query = revision::Entity::find_by_id(id).filter(revision::Column::ProjectId.eq(project.0));
        query.one(self.store.read()).await.map_err(StorageError::from)?.map(revision::Model::into_revision).transpose()
    }

    /// The newest first, those before the number `before`.
    pub(crate) async fn list_revisions(
        &self,
        project: ProjectId,
        workspace: Uuid,
        before: Option<u64>,
        limit: u64,
    ) -> Result<Vec<Revision>, Error> {
        let mut query = revision::Entity::find()
            .filter(revision::Column::ProjectId.eq(project.0))
            .filter(revision::Column::WorkspaceId.eq(workspace));
        if let Some(before) = before {
            query = query.filter(revision::Column::Number.lt(entity::to_i64(before)));
        }
        let rows = query.order_by_desc(revision::Column::Number).limit(limit).all(self.store.read()).await;
        rows.map_err(StorageError::from)?.into_iter().map(revision::Model::into_revision).collect()
    }
}

impl WorkspaceStore {
    /// The oldest first, those after the number `after`.
    pub(crate) async fn list_revisions_after(
        &self,
        project: ProjectId,
        workspace: Uuid,
        after: u64,
        limit: u64,
    ) -> Result<Vec<Revision>, Error> {
        let query = revision::Entity::find()
            .filter(revision::Column::ProjectId.eq(project.0))
            .filter(revision::Column::WorkspaceId.eq(workspace))
            .filter(revision::Column::Number.gt(entity::to_i64(after)));
        let rows = query.order_by_asc(revision::Column::Number).limit(limit).all(self.store.read()).await;
        rows.map_err(StorageError::from)?.into_iter().map(revision::Model::into_revision).collect()
    }
}

impl Write {
    /// What the request made, if it was carried out before.
    pub(crate) async fn claim(&self, project: ProjectId, key: &RequestKey) -> Result<Option<Uuid>, Error> {
        if key.id.is_empty() {
            return Ok(None);
        }
        match requests::begin(&self.tx, project.0, key.method, &key.id, &key.payload_hash).await? {
            Claim::New => Ok(None),
            Claim::Same { result_id } => Ok(Some(result_id)),
            Claim::Reused { first_id } => Err(Error::RequestIdReused { first_id }),
        }
    }

    /// Remembers what the request made.
    pub(crate) async fn record(&self, project: ProjectId, key: &RequestKey, result: Uuid) -> Result<(), Error> {
        if key.id.is_empty() {
            return Ok(());
        }
        Ok(requests::record(&self.tx, project.0, key.method, &key.id, &key.payload_hash, result).await?)
    }

    pub(crate) async fn find_workspace(&self, project: ProjectId, id: Uuid) -> Result<Option<Workspace>, Error> {
        find_workspace(self.tx.conn(), project, id).await
    }

    pub(crate) async fn find_revision(&self, project: ProjectId, workspace: Uuid, id: Uuid) -> Result<Option<Revision>, Error> {
        find_revision(self.tx.conn(), project, workspace, id).await
    }

    pub(crate) async fn create_workspace(&self, workspace: &Workspace) -> Result<(), Error> {
        workspace::ActiveModel::of(workspace).insert(self.tx.conn()).await.map_err(StorageError::from)?;
        Ok(())
    }

    /// False when there is none.
    pub(crate) async fn delete_workspace(&self, project: ProjectId, id: Uuid) -> Result<bool, Error> {
        self.discharge(project, id).await?;
        let revisions = revision::Entity::delete_many()
            .filter(revision::Column::ProjectId.eq(project.0))
            .filter(revision::Column::WorkspaceId.eq(id));
        revisions.exec(self.tx.conn()).await.map_err(StorageError::from)?;
        let workspace = workspace::Entity::delete_many()
            .filter(workspace::Column::ProjectId.eq(project.0))
            .filter(workspace::Column::Id.eq(id));
        Ok(workspace.exec(self.tx.conn()).await.map_err(StorageError::from)?.rows_affected > 0)
    }

    /// Adds a revision and makes it the head, if the head is still `from`; false when it is not.
    pub(crate) async fn move_head(&self, project: ProjectId, from: Option<Head>, to: &Revision) -> Result<bool, Error> {
        let moved = workspace::Entity::update_many()
            .col_expr(workspace::Column::HeadRevisionId, Expr::value(to.id))
            .col_expr(workspace::Column::HeadNumber, Expr::value(entity::to_i64(to.number)))
            .col_expr(workspace::Column::UpdateTime, Expr::value(to.create_time))
            .filter(workspace::Column::ProjectId.eq(project.0))
            .filter(workspace::Column::Id.eq(to.workspace_id))
            .filter(workspace::Column::HeadNumber.eq(entity::to_i64(from.map_or(0, |head| head.number))));
        if moved.exec(self.tx.conn()).await.map_err(StorageError::from)?.rows_affected == 0 {
            return Ok(false);
        }
        revision::ActiveModel::of(project, to).insert(self.tx.conn()).await.map_err(StorageError::from)?;
        Ok(true)
    }

    /// Has the event leave once the transaction is committed.
    pub(crate) async fn emit(&mut self, event: &Event) -> Result<(), Error> {
        Ok(outbox::append(&mut self.tx, event).await?)
    }

    pub(crate) async fn commit(self) -> Result<(), Error> {
        Ok(self.tx.commit().await?)
    }
}

async fn find_workspace(conn: &impl ConnectionTrait, project: ProjectId, id: Uuid) -> Result<Option<Workspace>, Error> {
    let query = workspace::Entity::find_by_id(id).filter(workspace::Column::ProjectId.eq(project.0));
    query.one(conn).await.map_err(StorageError::from)?.map(workspace::Model::into_workspace).transpose()
}

async fn find_revision(
    conn: &impl ConnectionTrait,
    project: ProjectId,
    workspace: Uuid,
    id: Uuid,
) -> Result<Option<Revision>, Error> {
    let query = revision::Entity::find_by_id(id)
        .filter(revision::Column::ProjectId.eq(project.0))
        .filter(revision::Column::WorkspaceId.eq(workspace));
    query.one(conn).await.map_err(StorageError::from)?.map(revision::Model::into_revision).transpose()
}
