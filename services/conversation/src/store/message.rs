//! Rows of messages.

use slipway_rpc::ProjectId;
use slipway_storage::sea_orm::{self, FromQueryResult};
use slipway_storage::{StorageError, Tx};
use uuid::Uuid;

use super::{Records, from_json, later, to_i64, to_json, to_u64};
use crate::model::{Author, Message};

const USER: i32 = 1;
const ASSISTANT: i32 = 2;

#[derive(FromQueryResult)]
struct Row {
    conversation_id: Uuid,
    number: i64,
    id: Uuid,
    author: i32,
    text: String,
    run_id: Uuid,
    partial: bool,
    citations: Option<String>,
    plan_id: Option<Uuid>,
    usage: Option<String>,
    create_time: i64,
}

impl TryFrom<Row> for Message {
    type Error = StorageError;

    fn try_from(row: Row) -> Result<Self, StorageError> {
        let author = match row.author {
            USER => Author::User,
            ASSISTANT => Author::Assistant,
            other => return Err(StorageError::Corrupt(format!("message.author: {other}"))),
        };
        Ok(Self {
            id: row.id,
            conversation_id: row.conversation_id,
            number: to_u64(row.number),
            author,
            text: row.text,
            run_id: row.run_id,
            partial: row.partial,
            citations: from_json("message.citations", row.citations)?.unwrap_or_default(),
            plan_id: row.plan_id,
            usage: from_json("message.usage", row.usage)?,
            create_time: row.create_time,
        })
    }
}

impl Records {
    /// Adds a message with the commit.
    pub(crate) fn create_message(&self, tx: &Tx, project: ProjectId, m: &Message) {
        let sql = "INSERT INTO message (conversation_id, number, project_id, id, author, text, run_id, partial, citations, \
                   plan_id, usage, create_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        let author = match m.author {
            Author::User => USER,
            Author::Assistant => ASSISTANT,
        };
        let citations = (!m.citations.is_empty()).then_some(&m.citations);
        let values = [
            m.conversation_id.into(),
            to_i64(m.number).into(),
            project.0.into(),
            m.id.into(),
            author.into(),
            m.text.as_str().into(),
            m.run_id.into(),
            m.partial.into(),
            to_json(&citations).into(),
            m.plan_id.into(),
            to_json(&m.usage).into(),
            m.create_time.into(),
        ];
        later(tx, sql, values);
    }

    /// The messages after number `after`, the oldest first.
    pub(crate) async fn list_messages(
        &self,
        project: ProjectId,
        conversation_id: Uuid,
        after: u64,
        limit: u64,
    ) -> Result<Vec<Message>, StorageError> {
        let sql = "SELECT * FROM message WHERE conversation_id = $2 AND number > $3 AND project_id = $1 ORDER BY number LIMIT $4";
        let values = [project.0.into(), conversation_id.into(), to_i64(after).into(), to_i64(limit).into()];
        self.list::<Row>(sql, values).await?.into_iter().map(TryInto::try_into).collect()
    }

    /// The last `limit` messages up to number `last`, the oldest first.
    pub(crate) async fn list_recent_messages(
        &self,
        project: ProjectId,
        conversation_id: Uuid,
        last: u64,
        limit: u64,
    ) -> Result<Vec<Message>, StorageError> {
        let sql = "SELECT * FROM message WHERE conversation_id = $2 AND number <= $3 AND project_id = $1 \
                   ORDER BY number DESC LIMIT $4";
        let values = [project.0.into(), conversation_id.into(), to_i64(last).into(), to_i64(limit).into()];
        self.list::<Row>(sql, values).await?.into_iter().rev().map(TryInto::try_into).collect()
    }
}
