//! Messages that start runs, and what can be done with a run: get it, watch it, cancel it.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use slipway_proto::conversation as pb;
use slipway_proto::conversation::run_event::Event;
use slipway_rpc::{Ctx, ProjectId, now_micros};
use slipway_storage::{NewJob, StorageError, Tx, crash};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{Conversations, RunStream, claim, record};
use crate::JOB_KIND;
use crate::convert::{self, NewMessage};
use crate::error::Error;
use crate::model::{Assignment, Author, Conversation, Intent, Message, Run, RunState, cited, title_from};
use crate::run::{Ending, Recovered, Timed, announce_cancel, encode, recover};

const METHOD: &str = "SendMessage";
/// How long a cancel waits for the worker; it answers with the run as it is after that.
const CANCEL_WAIT: Duration = Duration::from_secs(5);

/// What became of a message.
enum Accepted {
    Now(Box<RunStream>),
    /// By the same request before: the run that it started.
    Before(Uuid),
}

impl Conversations {
    /// Accepts a message and follows the run that answers it.
    pub(crate) async fn send_message(&self, ctx: &Ctx, new: NewMessage) -> Result<RunStream, Error> {
        let (service, ctx) = (self.clone(), ctx.clone());
        // A task of its own: a client that leaves now must not stop it between the commit and what the commit starts. Should
        // nobody wait for the stream any more, it is dropped, as if the client had left just after.
        let accepted = async move {
            let (new, log) = (Arc::new(new), service.log.clone());
            let (cancel_on_disconnect, conversation_id, project) = (new.cancel_on_disconnect, new.conversation_id, ctx.project);
            let writing = service.clone();
            let accepted = log.write(move |tx| writing.clone().accept(tx, ctx.clone(), new.clone()).boxed()).await?;
            crash::point("conversation.accepted");
            match accepted {
                Accepted::Now(stream) if cancel_on_disconnect => Ok(stream.cancelled_when_dropped()),
                Accepted::Now(stream) => Ok(*stream),
                Accepted::Before(run_id) => {
                    // A run is deleted with its conversation only.
                    let run = service.records.find_run(project, run_id).await?;
                    let run = run.ok_or(Error::ConversationNotFound(conversation_id))?;
                    Ok(RunStream::new(service, run.project, run.id, 0))
                }
            }
        };
        self.calls.spawn(accepted.in_current_span()).await.map_err(|_| Error::Stopping)?
    }

    async fn accept(self, tx: &mut Tx, ctx: Ctx, new: Arc<NewMessage>) -> Result<Accepted, Error> {
        if let Some(first) = claim(tx, ctx.project, METHOD, new.request.as_ref()).await? {
            return Ok(Accepted::Before(first));
        }
        let (run_id, now) = (Uuid::now_v7(), now_micros());
        let title = title_from(&new.text);
        let taken = self.records.take_conversation(tx, ctx.project, new.conversation_id, run_id, &title, now).await?;
        let Some(conversation) = taken else { return Err(self.why_not_taken(tx, ctx.project, new.conversation_id).await?) };
        let (mut run, message) = begin(&conversation, &new, run_id, now);
        self.records.create_message(tx, ctx.project, &message);
        let events = first_events(&run, message);
        run.last_sequence = events.len() as u64;
        self.records.create_run(tx, &run);
        self.log.append_later(tx, run_id, 1, encode(run_id, 1, events));
        record(tx, ctx.project, METHOD, new.request.as_ref(), run_id).await?;
        self.enqueue(tx, &ctx, run, &conversation);
        Ok(Accepted::Now(Box::new(RunStream::of_new_run(self, ctx.project, run_id))))
    }

    async fn why_not_taken(&self, tx: &Tx, project: ProjectId, id: Uuid) -> Result<Error, Error> {
        let found = self.records.find_conversation_in(tx, project, id).await?;
        Ok(match found.and_then(|c| c.active_run_id) {
            Some(run_id) => Error::RunActive { run_id },
            None => Error::ConversationNotFound(id),
        })
    }

    fn enqueue(&self, tx: &mut Tx, ctx: &Ctx, run: Run, conversation: &Conversation) {
        let key = run.id.to_string();
        let assignment = Assignment {
            run,
            origin: (&ctx.caller).into(),
            workspace_id: conversation.workspace_id,
            open_plan_id: conversation.plan_id,
        };
        // Plain data of ours: it always has a JSON form.
        let payload = serde_json::to_vec(&assignment).unwrap_or_default();
        let job = NewJob { kind: JOB_KIND, key, project_id: ctx.project.0, payload, traceparent: ctx.traceparent() };
        self.queue.start_later(tx, job);
    }

    /// A run as it is now.
    pub(crate) async fn get_run(&self, project: ProjectId, id: Uuid) -> Result<Run, Error> {
        let mut run = self.records.find_run(project, id).await?.ok_or(Error::RunNotFound(id))?;
        if !run.state.is_final() {
            run.last_sequence = self.log.bounds(id).await?.map_or(run.last_sequence, |(_, latest)| latest);
        }
        Ok(run)
    }

    /// A snapshot of a run, then its events after a sequence.
    pub(crate) async fn watch_run(&self, project: ProjectId, id: Uuid, after: u64) -> Result<RunStream, Error> {
        let mut run = self.records.find_run(project, id).await?.ok_or(Error::RunNotFound(id))?;
        let (oldest, latest) = self.log.bounds(id).await?.unwrap_or((1, run.last_sequence));
        if after > latest {
            return Err(Error::CursorOutOfRange { oldest, latest });
        }
        let over = run.state.is_final() && after == run.last_sequence;
        run.last_sequence = run.last_sequence.max(latest);
        let snapshot = convert::event(id.to_string(), 0, now_micros(), Event::Snapshot(convert::run(run)));
        let stream = RunStream::new(self.clone(), project, id, after).beginning_with(snapshot);
        Ok(if over { stream.over() } else { stream })
    }

    /// Cancels a run and returns it as it is then. One that has ended stays as it is.
    pub(crate) async fn cancel_run(&self, project: ProjectId, id: Uuid) -> Result<Run, Error> {
        // Held until the end of this call, so that a worker that is just starting finds the cancel.
        let slot = self.registry.enter(id);
        let tx = self.records.begin().await?;
        let Some(run) = self.records.mark_cancel(&tx, project, id).await? else {
            drop(tx);
            return self.get_run(project, id).await;
        };
        if self.queue.withdraw(&tx, &id.to_string()).await? {
            return self.end_unattended(tx, run).await;
        }
        let latest = self.log.latest(&tx, id).await?;
        tx.commit().await?;
        announce_cancel(self.records.store(), id);
        slot.cancel();
        let ended = async {
            let mut events = self.log.follow(id, latest);
            while let Some(event) = events.next().await {
                if convert::is_terminal(&pb::RunEvent::decode(event?.1)?) {
                    break;
                }
            }
            Ok::<_, Error>(())
        };
        match tokio::time::timeout(CANCEL_WAIT, ended).await {
            Ok(ended) => ended?,
            Err(_) => tracing::warn!(run_id = %id, "the run's worker has not heard of the cancel yet"),
        }
        self.get_run(project, id).await
    }

    /// Ends a run that no worker has.
    async fn end_unattended(&self, mut tx: Tx, run: Run) -> Result<Run, Error> {
        let Recovered { last_sequence, text, offered, .. } = recover(&self.log, run.id).await?;
        let message = (!text.is_empty()).then(|| Message {
            id: Uuid::now_v7(),
            conversation_id: run.conversation_id,
            number: run.user_message_number + 1,
            author: Author::Assistant,
            run_id: run.id,
            partial: true,
            citations: cited(&text, &offered),
            text,
            plan_id: run.plan_id,
            usage: None,
            create_time: now_micros(),
        });
        let id = run.id;
        let ending = Ending {
            run,
            state: RunState::Cancelled,
            failure: None,
            message,
            open_plan: None,
            first_sequence: last_sequence + 1,
            events: Vec::new(),
        };
        let ended = ending.store(&self.records, &self.log, &mut tx).ok_or(Error::RunNotFound(id))?;
        match tx.commit().await {
            Err(StorageError::Stale) => Err(Error::RunNotFound(id)),
            committed => Ok(committed.map(|()| ended)?),
        }
    }
}

/// The run and the message that starts it.
fn begin(conversation: &Conversation, new: &NewMessage, run_id: Uuid, now: i64) -> (Run, Message) {
    let message = Message {
        id: Uuid::now_v7(),
        conversation_id: conversation.id,
        number: conversation.message_count,
        author: Author::User,
        text: new.text.clone(),
        run_id,
        partial: false,
        citations: Vec::new(),
        plan_id: None,
        usage: None,
        create_time: now,
    };
    let run = Run {
        id: run_id,
        project: conversation.project,
        conversation_id: conversation.id,
        user_message_id: message.id,
        user_message_number: message.number,
        answer_message_id: None,
        state: RunState::Running,
        intent: conversation.workspace_id.is_none().then(Intent::without_workspace),
        plan_id: None,
        plan_ref: None,
        attempt: 1,
        model: if new.model.is_empty() { conversation.model.clone() } else { new.model.clone() },
        usage: None,
        failure: None,
        cancel_requested: false,
        last_sequence: 1,
        create_time: now,
        update_time: now,
    };
    (run, message)
}

/// What is known as soon as the message is accepted.
fn first_events(run: &Run, message: Message) -> Vec<Timed> {
    let now = run.create_time;
    let started = pb::RunStarted { run: Some(convert::run(run.clone())), message: Some(convert::message(message)) };
    let intent = run.intent.clone().map(|intent| (now, Event::Intent(convert::intent(intent))));
    [(now, Event::Started(started))].into_iter().chain(intent).collect()
}
