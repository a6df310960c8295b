//! The work on one message, under a lease: what is asked for, then an answer or a plan, then the end. Each finished step is
//! stored, so that whoever takes a run over goes on after it.

mod cancels;
mod converse;
mod ending;
mod journal;
mod plan;
mod recovery;
mod registry;

use std::sync::Arc;

use futures::FutureExt as _;
use slipway_proto::conversation::RunRestarted;
use slipway_proto::conversation::run_event::Event;
use slipway_proto::planner::Plan;
use slipway_rpc::{Ctx, Fault, Reason, now_micros};
use slipway_storage::{AppendError, BoxError, EventLog, JobError, Lease, LeaseLost, StorageError, Tx, crash};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::clients::Clients;
use crate::model::{Assignment, Author, Citation, Failure, Intent, IntentKind, Message, Run, RunState, Usage, cited};
use crate::settings::Settings;
use crate::store::Records;
use crate::{answers, convert};
use journal::Journal;

pub(crate) use cancels::announce_cancel;
pub(crate) use ending::Ending;
pub(crate) use journal::{Timed, encode};
pub(crate) use recovery::{Recovered, recover};
pub(crate) use registry::Registry;

/// What runs are worked on with.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) records: Records,
    pub(crate) log: EventLog,
    pub(crate) clients: Clients,
    pub(crate) registry: Arc<Registry>,
    pub(crate) settings: Arc<Settings>,
}

/// Why the steps of a run did not come to their end.
enum Halt {
    /// Someone asked for it.
    Cancelled,
    /// The run has failed; the person is told why.
    Failed(Failure),
    /// A neighbour is away. It may be back soon.
    Unavailable(Fault),
    /// Our store failed.
    Store(BoxError),
    /// Another worker has the run, or the process is stopping.
    LeaseLost,
}

/// One run in work.
struct Work {
    worker: Worker,
    ctx: Ctx,
    lease: Lease,
    assignment: Assignment,
    run: Run,
    journal: Journal,
    recovered: Recovered,
    /// The answer so far.
    text: String,
    /// What the answer may cite.
    offered: Vec<Citation>,
    usage: Option<Usage>,
    /// The plan that waits for review after this run; `None`: as before.
    open_plan: Option<Option<Uuid>>,
}

impl Worker {
    /// Works on the run that `lease` is for.
    pub(crate) async fn handle(self, lease: Lease) -> Result<(), JobError> {
        let assignment: Assignment = serde_json::from_slice(&lease.payload).map_err(|e| JobError::Fatal(e.into()))?;
        let run = assignment.run.clone();
        let span = tracing::info_span!("run", conversation_id = %run.conversation_id, run_id = %run.id, attempt = lease.attempt);
        let work = Work {
            ctx: Ctx::background(run.project, assignment.origin.clone(), &lease.traceparent),
            journal: Journal::new(self.log.clone(), run.id, lease.clone(), run.last_sequence + 1),
            worker: self,
            lease,
            assignment,
            run,
            recovered: Recovered::default(),
            text: String::new(),
            offered: Vec::new(),
            usage: None,
            open_plan: None,
        };
        work.execute().instrument(span).await
    }

    /// Writes the end of a run and of its job; fails with [`StorageError::Stale`] when they are not the lease's any more.
    async fn end(self, tx: &mut Tx, lease: Lease, mut ending: Ending) -> Result<(), StorageError> {
        if ending.state == RunState::Cancelled {
            // The step that was dropped may have stored an event just before.
            ending.first_sequence = self.log.latest(tx, ending.run.id).await? + 1;
        }
        lease.complete_later(tx);
        ending.store(&self.records, &self.log, tx).map(drop).ok_or(StorageError::Stale)
    }
}

impl Work {
    async fn execute(mut self) -> Result<(), JobError> {
        let slot = self.worker.registry.enter(self.run.id);
        if self.lease.attempt > 1
            && let Some(end) = self.take_over().await?
        {
            return self.finish(end).await;
        }
        let (lost, cancel) = (self.lease.lost.clone(), slot.token());
        let halt = tokio::select! {
            biased;
            () = lost.cancelled() => return Err(JobError::LeaseLost),
            () = cancel.cancelled() => Some(Halt::Cancelled),
            end = self.steps() => end.err(),
        };
        match halt {
            None => self.finish(End::Completed).await,
            Some(Halt::Cancelled) => self.finish(End::Cancelled).await,
            Some(Halt::Failed(failure)) => self.finish(End::Failed(failure)).await,
            Some(Halt::LeaseLost) => Err(JobError::LeaseLost),
            // Words that were shown are taken back by `restarted`: a whole answer later is better than half of one.
            Some(Halt::Unavailable(fault)) if !self.lease.last_attempt => Err(JobError::Retry(fault.into())),
            Some(Halt::Unavailable(fault)) => self.finish(End::Failed(failure_of(&fault))).await,
            Some(Halt::Store(error)) if !self.lease.last_attempt => Err(JobError::Retry(error)),
            Some(Halt::Store(error)) => {
                tracing::error!(%error, "the run fails: its events cannot be stored");
                self.finish(End::Failed(failure_of(&Fault::internal(error)))).await
            }
        }
    }

    /// Picks the run up where the worker before left it. The end, when nothing is left but to write it down.
    async fn take_over(&mut self) -> Result<Option<End>, JobError> {
        let found = self.worker.records.find_run(self.run.project, self.run.id).await?;
        // A deleted conversation took its jobs with it: what we hold is void.
        let Some(run) = found.filter(|run| !run.state.is_final()) else { return Err(JobError::LeaseLost) };
        self.run = run;
        self.recovered = recover(&self.worker.log, self.run.id).await.map_err(|e| JobError::Retry(e.into()))?;
        self.journal.resume_at(self.recovered.last_sequence + 1);
        let given_up = self.lease.exhausted.then(|| {
            let message = format!("the run was broken off {} times and is not tried again", self.lease.attempt - 1);
            End::Failed(Failure { reason: reason_name(Reason::Internal), message })
        });
        if let Some(end) = given_up.or(self.run.cancel_requested.then_some(End::Cancelled)) {
            self.text = std::mem::take(&mut self.recovered.text);
            self.offered = std::mem::take(&mut self.recovered.offered);
            return Ok(Some(end));
        }
        self.run.attempt = self.lease.attempt;
        let restarted = Event::Restarted(RunRestarted { attempt: self.lease.attempt });
        match self.record(Some(restarted)).await {
            Ok(()) => Ok(None),
            Err(Halt::Store(error)) => Err(JobError::Retry(error)),
            Err(_) => Err(JobError::LeaseLost),
        }
    }

    async fn steps(&mut self) -> Result<(), Halt> {
        let (history, question) = self.read_history().await?;
        let Some(workspace_id) = self.assignment.workspace_id else {
            return self.converse(None, &history, &question).await;
        };
        let mut open_plan = None;
        let intent = match self.run.intent.clone() {
            Some(intent) => intent,
            None => {
                open_plan = self.find_open_plan().await?;
                self.classify(workspace_id, &question, open_plan.as_ref()).await?
            }
        };
        match intent.kind {
            IntentKind::Converse => self.converse(Some(workspace_id), &history, &question).await,
            IntentKind::Plan => self.plan(workspace_id, &question).await,
            IntentKind::Proceed => self.proceed(workspace_id, open_plan).await,
            IntentKind::Unclear => {
                self.say(answers::unclear(&intent.reason));
                Ok(())
            }
            kind => {
                self.say(answers::cannot(kind).unwrap_or_default().to_owned());
                Ok(())
            }
        }
    }

    /// The earlier messages, and what is asked now, in one query.
    async fn read_history(&mut self) -> Result<(Vec<Message>, String), Halt> {
        let (records, run) = (&self.worker.records, &self.run);
        let limit = self.worker.settings.history_messages + 1;
        let mut messages = records.list_recent_messages(run.project, run.conversation_id, run.user_message_number, limit).await?;
        let question = messages.pop().filter(|m| m.id == run.user_message_id);
        // The message is stored with the run and leaves with it.
        let question = question.ok_or(Halt::LeaseLost)?;
        Ok((messages, question.text))
    }

    async fn find_open_plan(&mut self) -> Result<Option<Plan>, Halt> {
        let Some(plan_id) = self.assignment.open_plan_id else { return Ok(None) };
        let plan = self.worker.clients.find_plan(&self.ctx, plan_id).await?;
        Ok(plan.filter(plan::is_ready))
    }

    async fn classify(&mut self, workspace_id: Uuid, question: &str, open_plan: Option<&Plan>) -> Result<Intent, Halt> {
        let clients = &self.worker.clients;
        let about = (workspace_id, self.run.conversation_id);
        let intent = clients.classify(&self.ctx, question, about, open_plan, &self.run.model).await?;
        self.run.intent = Some(intent.clone());
        self.record(Some(Event::Intent(convert::intent(intent.clone())))).await?;
        crash::point("conversation.intent_stored");
        Ok(intent)
    }

    /// Answers with words of our own.
    fn say(&mut self, text: String) {
        self.journal.push_text(&text);
        self.text.push_str(&text);
    }

    /// Stores what the run knows now, with an event if there is one to tell, in one transaction.
    async fn record(&mut self, event: Option<Event>) -> Result<(), Halt> {
        self.journal.flush().await?;
        self.run.update_time = now_micros();
        let mut tx = self.worker.records.begin().await?;
        self.lease.check(&tx).await?;
        if !self.worker.records.update_run(&tx, &self.run).await? {
            return Err(Halt::LeaseLost);
        }
        if let Some(event) = event {
            self.journal.append(&mut tx, event).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Ends the run: the answer, the last events, the run, the conversation and the job, in one transaction.
    async fn finish(mut self, end: End) -> Result<(), JobError> {
        let (state, failure) = match end {
            End::Completed => (RunState::Completed, None),
            End::Cancelled => (RunState::Cancelled, None),
            End::Failed(failure) => (RunState::Failed, Some(failure)),
        };
        let (first_sequence, mut events) = match self.journal.close().await {
            Ok(rest) => rest,
            Err(AppendError::Storage(error)) => return Err(error.into()),
            Err(_) => return Err(JobError::LeaseLost),
        };
        if let Some(usage) = &self.usage {
            events.push((now_micros(), Event::Usage(convert::usage(usage.clone()))));
        }
        let partial = state != RunState::Completed;
        let message = (!self.text.is_empty()).then(|| self.answer(partial));
        self.run.usage.clone_from(&self.usage);
        let ending = Ending { run: self.run, state, failure, message, open_plan: self.open_plan, first_sequence, events };
        let (worker, lease) = (self.worker, self.lease);
        let log = worker.log.clone();
        crash::point("conversation.ending");
        match log.write(move |tx| worker.clone().end(tx, lease.clone(), ending.clone()).boxed()).await {
            Err(StorageError::Stale) => return Err(JobError::LeaseLost),
            ended => ended?,
        }
        crash::point("conversation.ended");
        tracing::debug!(?state, "the run has ended");
        Ok(())
    }

    fn answer(&mut self, partial: bool) -> Message {
        let text = std::mem::take(&mut self.text);
        Message {
            id: Uuid::now_v7(),
            conversation_id: self.run.conversation_id,
            number: self.run.user_message_number + 1,
            author: Author::Assistant,
            run_id: self.run.id,
            partial,
            citations: cited(&text, &self.offered),
            text,
            plan_id: self.run.plan_id,
            usage: self.usage.clone(),
            create_time: now_micros(),
        }
    }
}

/// How a run ends.
enum End {
    Completed,
    Cancelled,
    Failed(Failure),
}

pub(crate) fn failure_of(fault: &Fault) -> Failure {
    Failure { reason: fault.reason_name().to_owned(), message: fault.message().to_owned() }
}

fn reason_name(reason: Reason) -> String {
    Fault::new(reason, "").reason_name().to_owned()
}

fn failed(reason: Reason, message: &str) -> Halt {
    Halt::Failed(Failure { reason: reason_name(reason), message: message.to_owned() })
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        match fault.reason() {
            Reason::ServiceUnavailable => Self::Unavailable(fault),
            _ => Self::Failed(failure_of(&fault)),
        }
    }
}

impl From<StorageError> for Halt {
    fn from(error: StorageError) -> Self {
        Self::Store(error.into())
    }
}

impl From<LeaseLost> for Halt {
    fn from(_: LeaseLost) -> Self {
        Self::LeaseLost
    }
}

impl From<AppendError> for Halt {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Storage(error) => error.into(),
            AppendError::Conflict | AppendError::LeaseLost | AppendError::Closed => Self::LeaseLost,
        }
    }
}
