//! The durable jobs: a draft or an apply under a lease. Whatever happens to a worker, a plan never stays half-way: its job
//! is tried again, and when nothing is left to try, the plan fails and says why.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use slipway_proto::inference::{Completion, Message};
use slipway_rpc::{Ctx, Fault, ProjectId, Reason, UserId};
use slipway_storage::{AppendError, JobError, Lease, LeaseLost, StorageError};
use uuid::Uuid;

use crate::clients::About;
use crate::convert;
use crate::error::Error;
use crate::events::Happened;
use crate::model::{Failure, Plan, PlanVersion, QueuedJob, StepFile, Work};
use crate::prompt::ToolSpec;
use crate::service::Planner;
use crate::{apply, draft};

/// Why a job stopped before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The plan fails; trying again would not help.
    Failed(Failure),
    /// Something failed that may work later.
    Retry(Fault),
    /// Our own store failed.
    Store(Error),
    /// The job is another worker's by now.
    Lost,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        let ours = matches!(fault.reason(), Reason::Internal | Reason::CallCancelled);
        if fault.is_retryable() || ours {
            return Stop::Retry(fault);
        }
        Stop::Failed(Failure::new(fault.reason_name(), fault.message()))
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        match error {
            Error::Fault(fault) => fault.into(),
            Error::LeaseLost(_) | Error::Append(AppendError::Conflict | AppendError::LeaseLost) => Stop::Lost,
            other => Stop::Store(other),
        }
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Stop {
        Stop::Store(error.into())
    }
}

impl From<LeaseLost> for Stop {
    fn from(_: LeaseLost) -> Stop {
        Stop::Lost
    }
}

/// What is stored together with events.
pub(crate) enum Along {
    /// Nothing.
    Nothing,
    /// What a finished step left.
    File(StepFile),
    /// The end of the job.
    End,
}

/// One attempt at a job: what it works with.
pub(crate) struct Attempt {
    pub(crate) planner: Planner,
    pub(crate) lease: Lease,
    pub(crate) ctx: Ctx,
    pub(crate) version: PlanVersion,
}

/// Handles one lease.
pub(crate) fn handle(planner: Planner, lease: Lease) -> BoxFuture<'static, Result<(), JobError>> {
    async move {
        let job: QueuedJob = serde_json::from_slice(&lease.payload).map_err(|e| JobError::Fatal(Box::new(e)))?;
        let (project, lost) = (lease.project_id, lease.lost.clone());
        let work = run(planner, lease, job, project);
        tokio::select! {
            result = work => result,
            () = lost.cancelled() => Err(JobError::LeaseLost),
        }
    }
    .boxed()
}

/// Queues what an earlier process left without a job, for example because its job was given up.
pub(crate) async fn adopt(planner: &Planner) -> Result<(), Error> {
    for (project, job) in planner.store.list_unfinished().await? {
        let mut tx = planner.store.begin().await?;
        let created = planner.store.enqueue(&mut tx, project, job.clone()).await?;
        tx.commit().await?;
        if created {
            tracing::warn!(plan_id = %job.plan_id, "a plan without a job is taken up again");
        }
    }
    Ok(())
}

async fn run(planner: Planner, lease: Lease, queued: QueuedJob, project: Uuid) -> Result<(), JobError> {
    let QueuedJob { job, origin } = queued;
    let plan = planner.store.find_plan(project, job.plan_id).await.map_err(retry)?;
    let version = planner.store.find_version(project, job.plan_id, job.version).await.map_err(retry)?;
    let (Some(mut plan), Some(version)) = (plan, version) else { return discard(&planner, &lease).await };
    if plan.job().as_ref() != Some(&job) {
        // It was done before; only the end of the job was not noted.
        return discard(&planner, &lease).await;
    }
    let user = version.approved_by.unwrap_or(plan.created_by);
    let origin = origin.filter(|origin| origin.user.0 == user).unwrap_or_else(|| UserId(user).into());
    let ctx = Ctx::background(ProjectId(project), origin, &lease.traceparent);
    let attempt = Attempt { planner, lease, ctx, version };
    let stopped = match AssertUnwindSafe(attempt.work(&mut plan, job.work)).catch_unwind().await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(stop)) => stop,
        Err(_) => Stop::Retry(Fault::internal("the worker panicked")),
    };
    attempt.settle(&plan, stopped).await
}

async fn discard(planner: &Planner, lease: &Lease) -> Result<(), JobError> {
    let tx = planner.store.begin().await?;
    lease.complete(&tx).await?;
    tx.commit().await?;
    Ok(())
}

fn retry(error: Error) -> JobError {
    JobError::Retry(Box::new(error))
}

impl Attempt {
    async fn work(&self, plan: &mut Plan, work: Work) -> Result<(), Stop> {
        if self.lease.exhausted {
            let message = "the work was begun several times and never finished; the server's log has the cause";
            return Err(Stop::Failed(Failure::new("INTERNAL", message)));
        }
        if self.lease.attempt > 1 {
            let restarted = [Happened::Restarted { attempt: self.lease.attempt }];
            self.write(plan, &restarted, Along::Nothing).await?;
        }
        match work {
            Work::Draft => draft::draft(self, plan).await,
            Work::Apply => apply::apply(self, plan).await,
        }
    }

    /// Stores what happened, if the lease is still ours.
    pub(crate) async fn write(&self, plan: &mut Plan, happened: &[Happened], along: Along) -> Result<(), Stop> {
        let store = &self.planner.store;
        let mut tx = store.begin().await?;
        self.lease.check(&tx).await?;
        store.record(&mut tx, plan, happened).await?;
        match along {
            Along::Nothing => {}
            Along::File(file) => store.put_step_file(&tx, plan, &file).await?,
            Along::End => {
                store.delete_step_files(&tx, plan).await?;
                self.lease.complete(&tx).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Asks the plan's model and counts what that used. The usage is stored with the next events.
    pub(crate) async fn ask(&self, plan: &mut Plan, messages: Vec<Message>, tools: &[ToolSpec]) -> Result<Completion, Stop> {
        let timeout = self.planner.settings.model_timeout();
        let about = About { model: &plan.model, conversation: plan.conversation_id, plan: Some(plan.id) };
        // Another worker may have asked the same meanwhile, and stored the answer.
        self.lease.check_clock()?;
        let completion = self.planner.neighbours.complete(&self.ctx, timeout, about, messages, tools).await?;
        plan.usage.add(convert::usage_of(completion.usage.as_ref().unwrap_or(&Default::default())));
        Ok(completion)
    }

    /// Decides what becomes of a job that stopped.
    async fn settle(&self, plan: &Plan, stop: Stop) -> Result<(), JobError> {
        let failure = match stop {
            Stop::Lost => return Err(JobError::LeaseLost),
            Stop::Failed(failure) => failure,
            Stop::Retry(fault) if !self.lease.last_attempt => return Err(JobError::Retry(Box::new(fault))),
            Stop::Store(error) if !self.lease.last_attempt => return Err(retry(error)),
            Stop::Retry(fault) => {
                let tried = self.lease.attempt;
                Failure::new(fault.reason_name(), format!("{} (tried {tried} times; try again later)", fault.message()))
            }
            Stop::Store(error) => {
                tracing::error!(plan_id = %plan.id, error = &error as &dyn std::error::Error, "the plan is given up");
                Failure::new("INTERNAL", "the planner could not store its work; the server's log has the cause")
            }
        };
        match self.fail(plan, failure).await {
            Ok(()) => Ok(()),
            Err(Stop::Store(error)) => Err(retry(error)),
            Err(_) => Err(JobError::LeaseLost),
        }
    }

    /// Ends the plan as failed. What a broken-off transaction left in memory does not count, but usage does.
    async fn fail(&self, seen: &Plan, failure: Failure) -> Result<(), Stop> {
        let store = &self.planner.store;
        let plan = store.find_plan(seen.project_id, seen.id).await?.ok_or(Stop::Lost)?;
        let mut plan = Plan { usage: seen.usage, ..plan };
        plan.fail(failure).map_err(|_| Stop::Lost)?;
        self.write(&mut plan, &[Happened::Usage, Happened::Failed], Along::End).await
    }
}
