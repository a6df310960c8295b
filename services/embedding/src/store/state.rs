//! Rows of workspace indexes.

use slipway_rpc::{ProjectId, UserId, now_micros};
use slipway_storage::sea_orm::{self, DbBackend, FromQueryResult, Value};
use slipway_storage::{StorageError, Tx};
use uuid::Uuid;

use super::{Records, execute, statement, to_i64, to_u64};
use crate::index::Tenant;
use crate::model::state::WorkspaceIndex;

/// Every column by its name: a statement that another replica's migration adds columns to must stay the same.
const SELECT: &str = "SELECT workspace_id, project_id, user_id, wanted, wanted_revision_id, wanted_number, built, revision_id, \
                      revision_number, failed, failure, settled, vector_failure, file_count, chunk_count, vector_count, \
                      embedded_count, update_time, engine, anew FROM workspace_index";

#[derive(FromQueryResult)]
struct Row {
    workspace_id: Uuid,
    project_id: Uuid,
    user_id: Uuid,
    wanted: i64,
    wanted_revision_id: Uuid,
    wanted_number: i64,
    built: i64,
    revision_id: Option<Uuid>,
    revision_number: i64,
    failed: i64,
    failure: String,
    settled: i64,
    vector_failure: String,
    file_count: i64,
    chunk_count: i64,
    vector_count: i64,
    embedded_count: i64,
    update_time: i64,
    engine: String,
    anew: i64,
}

impl From<Row> for WorkspaceIndex {
    fn from(row: Row) -> Self {
        Self {
            project: ProjectId(row.project_id),
            workspace: row.workspace_id,
            user: UserId(row.user_id),
            wanted: to_u64(row.wanted),
            wanted_revision: row.wanted_revision_id,
            wanted_number: to_u64(row.wanted_number),
            anew: to_u64(row.anew),
            engine: row.engine,
            built: to_u64(row.built),
            revision: row.revision_id,
            revision_number: to_u64(row.revision_number),
            failed: to_u64(row.failed),
            failure: row.failure,
            settled: to_u64(row.settled),
            vector_failure: row.vector_failure,
            file_count: to_u64(row.file_count),
            chunk_count: to_u64(row.chunk_count),
            vector_count: to_u64(row.vector_count),
            embedded_count: to_u64(row.embedded_count),
            update_time: row.update_time,
        }
    }
}

/// A revision that the index is to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Whose.
    pub(crate) tenant: Tenant,
    /// In whose name its files are read.
    pub(crate) user: UserId,
    /// The revision.
    pub(crate) revision: Uuid,
    /// Its number.
    pub(crate) number: u64,
}

/// What a build has brought about.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The build.
    pub(crate) build: u64,
    /// The engine that has it.
    pub(crate) engine: String,
    /// The revision it is of.
    pub(crate) revision: Uuid,
    /// That revision's number.
    pub(crate) number: u64,
    /// Files.
    pub(crate) files: u64,
    /// Chunks.
    pub(crate) chunks: u64,
    /// Chunks that have their vector.
    pub(crate) vectors: u64,
}

impl Records {
    /// The index of a workspace of this project.
    pub(crate) async fn find_index(&self, project: ProjectId, workspace: Uuid) -> Result<Option<WorkspaceIndex>, StorageError> {
        let sql = format!("{SELECT} WHERE project_id = $1 AND workspace_id = $2");
        let rows = self.list::<Row>(&sql, [project.0.into(), workspace.into()]).await?;
        Ok(rows.into_iter().next().map(Into::into))
    }

    /// Every project's indexes in this engine that have chunks without vectors.
    pub(crate) async fn list_without_vectors(&self, engine: &str) -> Result<Vec<WorkspaceIndex>, StorageError> {
        let sql = format!("{SELECT} WHERE built > 0 AND engine = $1 AND vector_count < chunk_count ORDER BY workspace_id");
        Ok(self.list::<Row>(&sql, [engine.into()]).await?.into_iter().map(Into::into).collect())
    }

    /// Every project's indexes that are in another engine than this one.
    pub(crate) async fn list_elsewhere(&self, engine: &str) -> Result<Vec<WorkspaceIndex>, StorageError> {
        let sql = format!("{SELECT} WHERE built > 0 AND engine <> $1 ORDER BY workspace_id");
        Ok(self.list::<Row>(&sql, [engine.into()]).await?.into_iter().map(Into::into).collect())
    }

    /// Every project's indexes that are in this engine.
    pub(crate) async fn list_built(&self, engine: &str) -> Result<Vec<WorkspaceIndex>, StorageError> {
        let sql = format!("{SELECT} WHERE built > 0 AND engine = $1 ORDER BY workspace_id");
        Ok(self.list::<Row>(&sql, [engine.into()]).await?.into_iter().map(Into::into).collect())
    }

    /// The index of a workspace, which nobody changes until the transaction ends.
    pub(crate) async fn lock_index(&self, tx: &Tx, tenant: Tenant) -> Result<Option<WorkspaceIndex>, StorageError> {
        let backend = tx.store().backend();
        let lock = if backend == DbBackend::Postgres { " FOR UPDATE" } else { "" };
        let sql = format!("{SELECT} WHERE project_id = $1 AND workspace_id = $2{lock}");
        let statement = statement(backend, &sql, [tenant.project.0.into(), tenant.workspace.into()]);
        Ok(Row::find_by_statement(statement).one(tx.conn()).await?.map(Into::into))
    }

    /// Forgets what an engine held, of every project: it has lost it. Returns those that held something, each wanting a new
    /// build.
    pub(crate) async fn forget(&self, tx: &Tx, engine: &str) -> Result<Vec<WorkspaceIndex>, StorageError> {
        let sql = format!("{SELECT} WHERE built > 0 AND engine = $1");
        let lost = Row::find_by_statement(statement(tx.store().backend(), &sql, [engine.into()])).all(tx.conn()).await?;
        let sql = "DELETE FROM index_file WHERE workspace_id IN \
                   (SELECT workspace_id FROM workspace_index WHERE built > 0 AND engine = $1)";
        execute(tx, sql, [engine.into()]).await?;
        let sql = "UPDATE workspace_index SET wanted = wanted + 1, built = 0, revision_id = NULL, revision_number = 0, settled = 0, \
                   engine = '', vector_failure = '', file_count = 0, chunk_count = 0, vector_count = 0, embedded_count = 0, update_time = $2 \
                   WHERE built > 0 AND engine = $1";
        execute(tx, sql, [engine.into(), now_micros().into()]).await?;
        Ok(lost
            .into_iter()
            .map(|row| WorkspaceIndex::from(Row { wanted: row.wanted + 1, built: 0, revision_id: None, ..row }))
            .collect())
    }

    /// Notes that a revision is wanted. Returns the number of the build that is to bring it; `None` when that revision or a
    /// newer one is wanted already, unless `anew`.
    pub(crate) async fn want(&self, tx: &Tx, wanted: Wanted, anew: bool) -> Result<Option<WorkspaceIndex>, StorageError> {
        let Wanted { tenant, user, revision, number } = wanted;
        let insert = format!(
            "INSERT INTO workspace_index (workspace_id, project_id, user_id, wanted, wanted_revision_id, wanted_number, update_time, anew) \
             VALUES ($1, $2, $3, 1, $4, $5, $6, {}) ON CONFLICT (workspace_id) DO NOTHING",
            u8::from(anew)
        );
        let values: [Value; 6] = [
            tenant.workspace.into(),
            tenant.project.0.into(),
            user.0.into(),
            revision.into(),
            to_i64(number).into(),
            now_micros().into(),
        ];
        if execute(tx, &insert, values).await? == 0 {
            let (newer, marked) = if anew { ("wanted_number <= $5", ", anew = wanted + 1") } else { ("wanted_number < $5", "") };
            let update = format!(
                "UPDATE workspace_index SET wanted = wanted + 1, user_id = $3, wanted_revision_id = $4, wanted_number = $5, update_time = $6{marked} \
                 WHERE workspace_id = $1 AND project_id = $2 AND {newer}"
            );
            let values: [Value; 6] = [
                tenant.workspace.into(),
                tenant.project.0.into(),
                user.0.into(),
                revision.into(),
                to_i64(number).into(),
                now_micros().into(),
            ];
            if execute(tx, &update, values).await? == 0 {
                return Ok(None);
            }
        }
        let sql = format!("{SELECT} WHERE project_id = $1 AND workspace_id = $2");
        let statement = statement(tx.store().backend(), &sql, [tenant.project.0.into(), tenant.workspace.into()]);
        Ok(Row::find_by_statement(statement).one(tx.conn()).await?.map(Into::into))
    }

    /// Moves the index to what a build has brought, from the engine that it was in when the build began. False when the
    /// workspace is gone, a later build was there first, or the workspace has moved to another engine meanwhile.
    pub(crate) async fn set_built(&self, tx: &Tx, tenant: Tenant, built: &Built, from: &str) -> Result<bool, StorageError> {
        let settled = if built.vectors >= built.chunks { ", settled = $3" } else { "" };
        let sql = format!(
            "UPDATE workspace_index SET built = $3, revision_id = $4, revision_number = $5, file_count = $6, chunk_count = $7, vector_count = $8, \
             embedded_count = 0, failure = '', vector_failure = '', update_time = $9, engine = $10{settled} \
             WHERE project_id = $1 AND workspace_id = $2 AND built < $3 AND engine = $11"
        );
        let values: [Value; 11] = [
            tenant.project.0.into(),
            tenant.workspace.into(),
            to_i64(built.build).into(),
            built.revision.into(),
            to_i64(built.number).into(),
            to_i64(built.files).into(),
            to_i64(built.chunks).into(),
            to_i64(built.vectors).into(),
            now_micros().into(),
            built.engine.as_str().into(),
            from.into(),
        ];
        Ok(execute(tx, &sql, values).await? > 0)
    }

    /// Moves the index to another engine, which has what `built` says. False when it is no longer what was moved.
    pub(crate) async fn set_moved(&self, tx: &Tx, tenant: Tenant, built: &Built, from: &str) -> Result<bool, StorageError> {
        let settled = if built.vectors >= built.chunks { "built" } else { "built - 1" };
        let sql = format!(
            "UPDATE workspace_index SET engine = $4, file_count = $5, chunk_count = $6, vector_count = $7, embedded_count = 0, \
             vector_failure = '', update_time = $8, settled = {settled} \
             WHERE project_id = $1 AND workspace_id = $2 AND built = $3 AND engine = $9"
        );
        let values: [Value; 9] = [
            tenant.project.0.into(),
            tenant.workspace.into(),
            to_i64(built.build).into(),
            built.engine.as_str().into(),
            to_i64(built.files).into(),
            to_i64(built.chunks).into(),
            to_i64(built.vectors).into(),
            now_micros().into(),
            from.into(),
        ];
        Ok(execute(tx, &sql, values).await? > 0)
    }

    /// Notes that a build has failed for good.
    pub(crate) async fn set_failed(&self, tx: &Tx, tenant: Tenant, build: u64, failure: &str) -> Result<(), StorageError> {
        let sql = "UPDATE workspace_index SET failed = $3, failure = $4, update_time = $5 WHERE project_id = $1 AND workspace_id = $2 AND built < $3";
        let values: [Value; 5] =
            [tenant.project.0.into(), tenant.workspace.into(), to_i64(build).into(), failure.into(), now_micros().into()];
        execute(tx, sql, values).await.map(drop)
    }

    /// Notes that chunks have got their vectors; `embedded` of them were computed.
    pub(crate) async fn add_vectors(
        &self,
        tx: &Tx,
        tenant: Tenant,
        build: u64,
        vectors: u64,
        embedded: u64,
    ) -> Result<(), StorageError> {
        let sql = "UPDATE workspace_index SET vector_count = vector_count + $4, embedded_count = embedded_count + $5, update_time = $6 \
                   WHERE project_id = $1 AND workspace_id = $2 AND built = $3";
        let values: [Value; 6] = [
            tenant.project.0.into(),
            tenant.workspace.into(),
            to_i64(build).into(),
            to_i64(vectors).into(),
            to_i64(embedded).into(),
            now_micros().into(),
        ];
        execute(tx, sql, values).await.map(drop)
    }

    /// Notes that no more vectors are to come for a build: `missing` chunks go without, for the reason given.
    pub(crate) async fn set_settled(
        &self,
        tx: &Tx,
        tenant: Tenant,
        build: u64,
        missing: Option<u64>,
        failure: &str,
    ) -> Result<(), StorageError> {
        let counted = missing.map_or("vector_count".to_owned(), |missing| format!("chunk_count - {missing}"));
        let sql = format!(
            "UPDATE workspace_index SET settled = $3, vector_failure = $4, vector_count = {counted}, update_time = $5 \
             WHERE project_id = $1 AND workspace_id = $2 AND built = $3"
        );
        let values: [Value; 5] =
            [tenant.project.0.into(), tenant.workspace.into(), to_i64(build).into(), failure.into(), now_micros().into()];
        execute(tx, &sql, values).await.map(drop)
    }

    /// Notes that vectors are to come for a build after all.
    pub(crate) async fn unsettle(&self, tx: &Tx, tenant: Tenant, build: u64) -> Result<(), StorageError> {
        let sql = "UPDATE workspace_index SET settled = $4, update_time = $5 WHERE project_id = $1 AND workspace_id = $2 AND built = $3";
        let values: [Value; 5] = [
            tenant.project.0.into(),
            tenant.workspace.into(),
            to_i64(build).into(),
            to_i64(build.saturating_sub(1)).into(),
            now_micros().into(),
        ];
        execute(tx, sql, values).await.map(drop)
    }

    /// The workspaces of a project that have an index.
    pub(crate) async fn list_workspaces(&self, project: ProjectId) -> Result<Vec<Uuid>, StorageError> {
        let sql = format!("{SELECT} WHERE project_id = $1 ORDER BY workspace_id");
        Ok(self.list::<Row>(&sql, [project.0.into()]).await?.into_iter().map(|row| row.workspace_id).collect())
    }

    /// Removes everything of a workspace.
    pub(crate) async fn delete_workspace(&self, tx: &Tx, tenant: Tenant) -> Result<(), StorageError> {
        for table in ["workspace_index", "index_file", "vector"] {
            let sql = format!("DELETE FROM {table} WHERE project_id = $1 AND workspace_id = $2");
            execute(tx, &sql, [tenant.project.0.into(), tenant.workspace.into()]).await?;
        }
        Ok(())
    }
}
