//! Rows of conversations.

use slipway_rpc::ProjectId;
use slipway_storage::sea_orm::{self, FromQueryResult};
use slipway_storage::{StorageError, Tx};
use uuid::Uuid;

use super::{Records, execute, find_in, later, to_i64, to_u64};
use crate::model::{Conversation, Position};

#[derive(FromQueryResult)]
struct Row {
    id: Uuid,
    project_id: Uuid,
    title: String,
    title_is_set: bool,
    workspace_id: Option<Uuid>,
    model: String,
    pinned: bool,
    message_count: i64,
    active_run_id: Option<Uuid>,
    plan_id: Option<Uuid>,
    version: i64,
    create_time: i64,
    update_time: i64,
}

impl From<Row> for Conversation {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            project: ProjectId(row.project_id),
            title: row.title,
            title_is_set: row.title_is_set,
            workspace_id: row.workspace_id,
            model: row.model,
            pinned: row.pinned,
            message_count: to_u64(row.message_count),
            active_run_id: row.active_run_id,
            plan_id: row.plan_id,
            version: row.version,
            create_time: row.create_time,
            update_time: row.update_time,
        }
    }
}

/// What the end of a run leaves in its conversation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    pub(crate) run_id: Uuid,
    pub(crate) answered: bool,
    /// The plan that waits for review from now on; `None`: as before; `Some(None)`: none does.
    pub(crate) open_plan: Option<Option<Uuid>>,
    pub(crate) now: i64,
}

impl Records {
    /// Adds a conversation.
    pub(crate) async fn create_conversation(&self, tx: &Tx, c: &Conversation) -> Result<(), StorageError> {
        let sql = "INSERT INTO conversation (id, project_id, title, title_is_set, workspace_id, model, pinned, message_count, \
                   active_run_id, plan_id, version, create_time, update_time) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        let values = [
            c.id.into(),
            c.project.0.into(),
            c.title.as_str().into(),
            c.title_is_set.into(),
            c.workspace_id.into(),
            c.model.as_str().into(),
            c.pinned.into(),
            to_i64(c.message_count).into(),
            c.active_run_id.into(),
            c.plan_id.into(),
            c.version.into(),
            c.create_time.into(),
            c.update_time.into(),
        ];
        execute(tx, sql, values).await.map(drop)
    }

    /// One conversation.
    pub(crate) async fn find_conversation(&self, project: ProjectId, id: Uuid) -> Result<Option<Conversation>, StorageError> {
        let sql = "SELECT * FROM conversation WHERE id = $2 AND project_id = $1";
        Ok(self.find::<Row>(sql, [project.0.into(), id.into()]).await?.map(Into::into))
    }

    /// One conversation, in a transaction that is about to change it.
    pub(crate) async fn find_conversation_in(
        &self,
        tx: &Tx,
        project: ProjectId,
        id: Uuid,
    ) -> Result<Option<Conversation>, StorageError> {
        let lock = if tx.store().backend() == sea_orm::DbBackend::Postgres { " FOR UPDATE" } else { "" };
        let sql = format!("SELECT * FROM conversation WHERE id = $2 AND project_id = $1{lock}");
        Ok(find_in::<Row>(tx, &sql, [project.0.into(), id.into()]).await?.map(Into::into))
    }

    /// Pinned ones first, then the newest; at most `limit` of those after `after`.
    pub(crate) async fn list_conversations(
        &self,
        project: ProjectId,
        after: Option<Position>,
        limit: u64,
    ) -> Result<Vec<Conversation>, StorageError> {
        let rows = match after {
            None => {
                let sql = "SELECT * FROM conversation WHERE project_id = $1 ORDER BY pinned DESC, id DESC LIMIT $2";
                self.list::<Row>(sql, [project.0.into(), to_i64(limit).into()]).await?
            }
            Some(Position { pinned, id }) => {
                let sql = "SELECT * FROM conversation WHERE project_id = $1 AND (pinned, id) < ($2, $3) \
                           ORDER BY pinned DESC, id DESC LIMIT $4";
                self.list::<Row>(sql, [project.0.into(), pinned.into(), id.into(), to_i64(limit).into()]).await?
            }
        };
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Stores title, pin and model with the version that they make.
    pub(crate) async fn update_conversation(&self, tx: &Tx, c: &Conversation) -> Result<(), StorageError> {
        let sql = "UPDATE conversation SET title = $3, title_is_set = $4, model = $5, pinned = $6, version = $7, update_time = $8 \
                   WHERE id = $2 AND project_id = $1";
        let values = [
            c.project.0.into(),
            c.id.into(),
            c.title.as_str().into(),
            c.title_is_set.into(),
            c.model.as_str().into(),
            c.pinned.into(),
            c.version.into(),
            c.update_time.into(),
        ];
        execute(tx, sql, values).await.map(drop)
    }

    /// Takes the conversation for a run, counts the message that starts it, and gives a conversation without messages
    /// `title` unless a person named it. `None` when there is no such conversation or another run has it.
    pub(crate) async fn take_conversation(
        &self,
        tx: &Tx,
        project: ProjectId,
        id: Uuid,
        run_id: Uuid,
        title: &str,
        now: i64,
    ) -> Result<Option<Conversation>, StorageError> {
        let sql = "UPDATE conversation SET message_count = message_count + 1, active_run_id = $3, update_time = $5, \
                   version = CASE WHEN message_count = 0 AND NOT title_is_set THEN version + 1 ELSE version END, \
                   title = CASE WHEN message_count = 0 AND NOT title_is_set THEN $4 ELSE title END \
                   WHERE id = $2 AND project_id = $1 AND active_run_id IS NULL RETURNING *";
        let values = [project.0.into(), id.into(), run_id.into(), title.into(), now.into()];
        Ok(find_in::<Row>(tx, sql, values).await?.map(Into::into))
    }

    /// Gives the conversation back at the end of its run with the commit, which fails when the run no longer has it.
    pub(crate) fn settle_conversation(&self, tx: &Tx, project: ProjectId, id: Uuid, settled: Settled) {
        let Settled { run_id, answered, open_plan, now } = settled;
        let sql = "UPDATE conversation SET active_run_id = NULL, message_count = message_count + $4, update_time = $5, \
                   plan_id = CASE WHEN $6 THEN $7 ELSE plan_id END WHERE id = $2 AND project_id = $1 AND active_run_id = $3";
        let values = [
            project.0.into(),
            id.into(),
            run_id.into(),
            i64::from(answered).into(),
            now.into(),
            open_plan.is_some().into(),
            open_plan.flatten().into(),
        ];
        later(tx, sql, values);
    }

    /// Removes a conversation with its messages and runs.
    pub(crate) async fn delete_conversation(&self, tx: &Tx, project: ProjectId, id: Uuid) -> Result<(), StorageError> {
        for table in ["message", "run"] {
            let sql = format!("DELETE FROM {table} WHERE conversation_id = $2 AND project_id = $1");
            execute(tx, &sql, [project.0.into(), id.into()]).await?;
        }
        let sql = "DELETE FROM conversation WHERE id = $2 AND project_id = $1";
        execute(tx, sql, [project.0.into(), id.into()]).await.map(drop)
    }
}
