//! Rows of runs.

use slipway_rpc::ProjectId;
use slipway_storage::sea_orm::{self, FromQueryResult};
use slipway_storage::{StorageError, Tx};
use uuid::Uuid;

use super::{Records, execute, find_in, from_json, later, to_i64, to_json, to_u64};
use crate::model::{Run, RunState};

const RUNNING: i32 = 1;
const COMPLETED: i32 = 2;
const FAILED: i32 = 3;
const CANCELLED: i32 = 4;

/// How many ids one statement asks for.
const ASKED: usize = 200;

#[derive(FromQueryResult)]
struct Row {
    id: Uuid,
    project_id: Uuid,
    conversation_id: Uuid,
    user_message_id: Uuid,
    user_message_number: i64,
    answer_message_id: Option<Uuid>,
    state: i32,
    intent: Option<String>,
    plan_id: Option<Uuid>,
    plan_ref: Option<String>,
    attempt: i32,
    model: String,
    usage: Option<String>,
    failure: Option<String>,
    cancel_requested: bool,
    last_sequence: i64,
    create_time: i64,
    update_time: i64,
}

#[derive(FromQueryResult)]
struct Id {
    id: Uuid,
}

impl TryFrom<Row> for Run {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        Ok(Self {
            id: row.id,
            project: ProjectId(row.project_id),
            conversation_id: row.conversation_id,
            user_message_id: row.user_message_id,
            user_message_number: to_u64(row.user_message_number),
            answer_message_id: row.answer_message_id,
            state: state_of(row.state)?,
            intent: from_json("run.intent", row.intent)?,
            plan_id: row.plan_id,
            plan_ref: from_json("run.plan_ref", row.plan_ref)?,
            attempt: u32::try_from(row.attempt).unwrap_or(1),
            model: row.model,
            usage: from_json("run.usage", row.usage)?,
            failure: from_json("run.failure", row.failure)?,
            cancel_requested: row.cancel_requested,
            last_sequence: to_u64(row.last_sequence),
            create_time: row.create_time,
            update_time: row.update_time,
        })
    }
}

fn state_of(column: i32) -> Result<RunState, StorageError> {
    match column {
        RUNNING => Ok(RunState::Running),
        COMPLETED => Ok(RunState::Completed),
        FAILED => Ok(RunState::Failed),
        CANCELLED => Ok(RunState::Cancelled),
        other => Err(StorageError::Corrupt(format!("run.state: {other}"))),
    }
}

fn column_of(state: RunState) -> i32 {
    match state {
        RunState::Running => RUNNING,
        RunState::Completed => COMPLETED,
        RunState::Failed => FAILED,
        RunState::Cancelled => CANCELLED,
    }
}

impl Records {
    /// Adds a run with the commit.
    pub(crate) fn create_run(&self, tx: &Tx, run: &Run) {
        let sql = "INSERT INTO run (id, project_id, conversation_id, user_message_id, user_message_number, state, intent, attempt, \
                   model, cancel_requested, last_sequence, create_time, update_time) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        let values = [
            run.id.into(),
            run.project.0.into(),
            run.conversation_id.into(),
            run.user_message_id.into(),
            to_i64(run.user_message_number).into(),
            column_of(run.state).into(),
            to_json(&run.intent).into(),
            i32::try_from(run.attempt).unwrap_or(i32::MAX).into(),
            run.model.as_str().into(),
            run.cancel_requested.into(),
            to_i64(run.last_sequence).into(),
            run.create_time.into(),
            run.update_time.into(),
        ];
        later(tx, sql, values);
    }

    /// One run.
    pub(crate) async fn find_run(&self, project: ProjectId, id: Uuid) -> Result<Option<Run>, StorageError> {
        let sql = "SELECT * FROM run WHERE id = $2 AND project_id = $1";
        self.find::<Row>(sql, [project.0.into(), id.into()]).await?.map(TryInto::try_into).transpose()
    }

    /// Stores what the steps of a going run found out. False when it is no longer going.
    pub(crate) async fn update_run(&self, tx: &Tx, run: &Run) -> Result<bool, StorageError> {
        let sql = "UPDATE run SET intent = $3, plan_id = $4, plan_ref = $5, attempt = $6, update_time = $7 \
                   WHERE id = $2 AND project_id = $1 AND state = $8";
        let values = [
            run.project.0.into(),
            run.id.into(),
            to_json(&run.intent).into(),
            run.plan_id.into(),
            to_json(&run.plan_ref).into(),
            i32::try_from(run.attempt).unwrap_or(i32::MAX).into(),
            run.update_time.into(),
            RUNNING.into(),
        ];
        Ok(execute(tx, sql, values).await? == 1)
    }

    /// Stores how a run ended with the commit, which fails when it had ended before.
    pub(crate) fn end_run(&self, tx: &Tx, run: &Run) {
        let sql = "UPDATE run SET state = $3, answer_message_id = $4, plan_id = $5, usage = $6, failure = $7, last_sequence = $8, \
                   update_time = $9 WHERE id = $2 AND project_id = $1 AND state = $10";
        let values = [
            run.project.0.into(),
            run.id.into(),
            column_of(run.state).into(),
            run.answer_message_id.into(),
            run.plan_id.into(),
            to_json(&run.usage).into(),
            to_json(&run.failure).into(),
            to_i64(run.last_sequence).into(),
            run.update_time.into(),
            RUNNING.into(),
        ];
        later(tx, sql, values);
    }

    /// Marks a going run to be cancelled, and returns it. `None` when there is none that is going.
    pub(crate) async fn mark_cancel(&self, tx: &Tx, project: ProjectId, id: Uuid) -> Result<Option<Run>, StorageError> {
        let sql = "UPDATE run SET cancel_requested = $3 WHERE id = $2 AND project_id = $1 AND state = $4 RETURNING *";
        let values = [project.0.into(), id.into(), true.into(), RUNNING.into()];
        find_in::<Row>(tx, sql, values).await?.map(TryInto::try_into).transpose()
    }

    /// Which of these going runs are to be cancelled; they are this process's own, so no project is asked for.
    pub(crate) async fn list_cancel_requested(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, StorageError> {
        let mut found = Vec::new();
        for some in ids.chunks(ASKED) {
            let places: Vec<_> = (1..=some.len()).map(|n| format!("${n}")).collect();
            let sql = format!("SELECT id FROM run WHERE cancel_requested AND id IN ({})", places.join(", "));
            let rows = self.list::<Id>(&sql, some.iter().map(|id| (*id).into())).await?;
            found.extend(rows.into_iter().map(|row| row.id));
        }
        Ok(found)
    }

    /// The runs of a conversation.
    pub(crate) async fn list_run_ids(
        &self,
        tx: &Tx,
        project: ProjectId,
        conversation_id: Uuid,
    ) -> Result<Vec<Uuid>, StorageError> {
        let sql = "SELECT id FROM run WHERE conversation_id = $2 AND project_id = $1";
        let values = [project.0.into(), conversation_id.into()];
        let rows = Id::find_by_statement(super::statement(tx.store().backend(), sql, values)).all(tx.conn()).await?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }
}
