//! The use cases: conversations here, messages and runs in `service/run.rs`, streams in `service/stream.rs`.

mod run;
mod stream;

use std::sync::Arc;

use slipway_rpc::{Ctx, Fault, ProjectId, now_micros};
use slipway_storage::requests::{self, Claim};
use slipway_storage::{EventLog, Queue, Tx, page};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::clients::Clients;
use crate::convert::{NewConversation, RequestKey, UpdateConversation};
use crate::error::Error;
use crate::model::{Conversation, Message, Position, title_from};
use crate::run::Registry;
use crate::settings::Settings;
use crate::store::Records;

pub(crate) use stream::RunStream;

/// How many messages are read at a time.
const MESSAGES_READ: u64 = 50;
/// How large a page of messages may grow; one message is always on it.
const PAGE_BYTES: usize = 2 << 20;
/// How often a deletion waits for an active run to end before it takes the run's job away.
const DELETE_TRIES: usize = 3;

/// The conversation service; cheap to clone.
#[derive(Clone)]
pub(crate) struct Conversations {
    pub(crate) records: Records,
    pub(crate) log: EventLog,
    pub(crate) queue: Queue,
    pub(crate) clients: Clients,
    pub(crate) registry: Arc<Registry>,
    pub(crate) settings: Arc<Settings>,
    /// Work that must not end half-way when a client leaves; shutdown waits for it.
    pub(crate) calls: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

impl Conversations {
    pub(crate) async fn create_conversation(&self, ctx: &Ctx, new: NewConversation) -> Result<Conversation, Error> {
        const METHOD: &str = "CreateConversation";
        if let Some(workspace_id) = new.workspace_id {
            self.clients.require_workspace(ctx, workspace_id).await.map_err(Error::Neighbour)?;
        }
        let now = now_micros();
        let conversation = Conversation {
            id: Uuid::now_v7(),
            project: ctx.project,
            title_is_set: !new.title.is_empty(),
            title: new.title,
            workspace_id: new.workspace_id,
            model: new.model,
            pinned: false,
            message_count: 0,
            active_run_id: None,
            plan_id: None,
            version: 1,
            create_time: now,
            update_time: now,
        };
        let tx = self.records.begin().await?;
        if let Some(first) = claim(&tx, ctx.project, METHOD, new.request.as_ref()).await? {
            drop(tx);
            return self.get_conversation(ctx.project, first).await;
        }
        self.records.create_conversation(&tx, &conversation).await?;
        record(&tx, ctx.project, METHOD, new.request.as_ref(), conversation.id).await?;
        tx.commit().await?;
        Ok(conversation)
    }

    pub(crate) async fn get_conversation(&self, project: ProjectId, id: Uuid) -> Result<Conversation, Error> {
        self.records.find_conversation(project, id).await?.ok_or(Error::ConversationNotFound(id))
    }

    pub(crate) async fn list_conversations(
        &self,
        project: ProjectId,
        page_size: u32,
        page_token: &str,
    ) -> Result<(Vec<Conversation>, String), Error> {
        let scope = format!("ListConversations/{project}");
        let after: Option<Position> = decode_page(&scope, page_token)?;
        let mut found = self.records.list_conversations(project, after, u64::from(page_size) + 1).await?;
        let next = match cut(&mut found, page_size) {
            Some(last) => page::encode(&scope, &Position { pinned: last.pinned, id: last.id }),
            None => String::new(),
        };
        Ok((found, next))
    }

    pub(crate) async fn update_conversation(
        &self,
        project: ProjectId,
        update: UpdateConversation,
    ) -> Result<Conversation, Error> {
        let tx = self.records.begin().await?;
        let found = self.records.find_conversation_in(&tx, project, update.id).await?;
        let mut conversation = found.ok_or(Error::ConversationNotFound(update.id))?;
        let etag = conversation.etag();
        if update.etag.is_some_and(|expected| expected != etag) {
            return Err(Error::EtagMismatch { etag });
        }
        let mut change = update.change;
        let gives_title_back = change.title.as_deref() == Some("");
        if !conversation.apply(std::mem::take(&mut change), now_micros()) {
            return Ok(conversation);
        }
        if gives_title_back {
            let first = self.records.list_messages(project, conversation.id, 0, 1).await?;
            conversation.title = first.first().map(|m| title_from(&m.text)).unwrap_or_default();
        }
        self.records.update_conversation(&tx, &conversation).await?;
        tx.commit().await?;
        Ok(conversation)
    }

    pub(crate) async fn delete_conversation(&self, project: ProjectId, id: Uuid) -> Result<(), Error> {
        for attempt in 1.. {
            if let Some(run_id) = self.get_conversation(project, id).await?.active_run_id {
                // Whoever watches the run sees it end. A run that is gone by now is no obstacle.
                match self.cancel_run(project, run_id).await {
                    Ok(_) | Err(Error::RunNotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            let tx = self.records.begin().await?;
            let found = self.records.find_conversation_in(&tx, project, id).await?;
            let active = found.ok_or(Error::ConversationNotFound(id))?.active_run_id;
            if active.is_some() && attempt < DELETE_TRIES {
                continue;
            }
            for run_id in self.records.list_run_ids(&tx, project, id).await? {
                self.log.delete(&tx, run_id).await?;
            }
            if let Some(run_id) = active {
                self.queue.discard(&tx, &run_id.to_string()).await?;
            }
            self.records.delete_conversation(&tx, project, id).await?;
            tx.commit().await?;
            if let Some(run_id) = active {
                self.registry.cancel(run_id);
            }
            return Ok(());
        }
        Ok(())
    }

    pub(crate) async fn list_messages(
        &self,
        project: ProjectId,
        conversation_id: Uuid,
        page_size: u32,
        page_token: &str,
    ) -> Result<(Vec<Message>, String), Error> {
        let scope = format!("ListMessages/{project}/{conversation_id}");
        let after: Option<u64> = decode_page(&scope, page_token)?;
        let (mut found, mut bytes, mut after) = (Vec::new(), 0, after.unwrap_or(0));
        // A few at a time: a page of the longest messages would fit no client's memory, nor its limit of a response.
        let limit = (u64::from(page_size) + 1).min(MESSAGES_READ);
        loop {
            let some = self.records.list_messages(project, conversation_id, after, limit).await?;
            let whole = (some.len() as u64) < limit;
            for message in some {
                bytes += message.size();
                if found.len() >= page_size as usize || (bytes > PAGE_BYTES && !found.is_empty()) {
                    return Ok((found, page::encode(&scope, &after)));
                }
                after = message.number;
                found.push(message);
            }
            if whole {
                break;
            }
        }
        if found.is_empty() {
            self.get_conversation(project, conversation_id).await?;
        }
        Ok((found, String::new()))
    }
}

/// What the same request made before, if there was one.
async fn claim(tx: &Tx, project: ProjectId, method: &str, request: Option<&RequestKey>) -> Result<Option<Uuid>, Error> {
    let Some(request) = request else { return Ok(None) };
    match requests::begin(tx, project.0, method, &request.id, &request.payload_hash).await? {
        Claim::New => Ok(None),
        Claim::Same { result_id } => Ok(Some(result_id)),
        Claim::Reused { first_id } => Err(Error::RequestIdReused { first_id }),
    }
}

/// Remembers what the request made.
async fn record(tx: &Tx, project: ProjectId, method: &str, request: Option<&RequestKey>, made: Uuid) -> Result<(), Error> {
    if let Some(request) = request {
        requests::record(tx, project.0, method, &request.id, &request.payload_hash, made).await?;
    }
    Ok(())
}

fn decode_page<T: serde::de::DeserializeOwned>(scope: &str, token: &str) -> Result<Option<T>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    page::decode(scope, token).map(Some).ok_or(Error::PageTokenInvalid)
}

/// Cuts one row too many off; the last row of the page when there is a next one.
fn cut<T>(found: &mut Vec<T>, page_size: u32) -> Option<&T> {
    let size = page_size as usize;
    if found.len() <= size {
        return None;
    }
    found.truncate(size);
    found.last()
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Neighbour(fault)
    }
}
