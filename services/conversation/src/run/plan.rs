//! Having the planner make a plan, or apply the one that waits, while its events are relayed. None is repeated or lost when
//! the run is taken over: the run's own log says which came last.

use futures::StreamExt as _;
use prost::Message as _;
use slipway_proto::conversation::run_event::Event;
use slipway_proto::planner::plan_event::Event as Step;
use slipway_proto::planner::{Plan, PlanEvent, PlanState};
use slipway_rpc::{Fault, Reason};
use slipway_storage::crash;
use uuid::Uuid;

use super::{Halt, Work, failed};
use crate::clients::PlanEvents;
use crate::model::{Failure, PlanRef};
use crate::{answers, convert};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// A plan that can be reviewed.
    Drafted,
    /// A plan that is done with.
    Applied,
}

pub(super) fn is_ready(plan: &Plan) -> bool {
    plan.state() == PlanState::Ready
}

impl Until {
    fn is_over(self, state: PlanState) -> bool {
        match state {
            PlanState::Applied | PlanState::Rejected | PlanState::Failed => true,
            PlanState::Ready | PlanState::Applying => self == Self::Drafted,
            PlanState::Drafting | PlanState::Unspecified => false,
        }
    }

    /// The plan, when this event is the last one to wait for.
    fn reached(self, event: &PlanEvent) -> Option<&Plan> {
        match &event.event {
            Some(Step::Ready(plan)) => (self == Self::Drafted).then_some(plan),
            Some(Step::Applied(plan) | Step::Rejected(plan) | Step::Failed(plan)) => Some(plan),
            _ => None,
        }
    }
}

impl Work {
    /// Has a plan made and says what it does.
    pub(super) async fn plan(&mut self, workspace_id: Uuid, request: &str) -> Result<(), Halt> {
        if request.chars().count() > answers::MAX_REQUEST {
            self.say(answers::request_too_long());
            return Ok(());
        }
        let plan = match self.recovered.plan_event.take() {
            Some(last) => self.go_on(last, Until::Drafted).await?,
            None => {
                let (clients, run) = (self.worker.clients.clone(), self.run.clone());
                // The same id again follows the same plan: a worker that died after this call made no second one.
                let id = self.request_id();
                let call = clients.create_plan(&self.ctx, workspace_id, run.conversation_id, request, &run.model, id);
                let events = call.await?;
                self.relay(events, 0, Until::Drafted).await?
            }
        };
        self.usage = plan.usage.clone().map(convert::usage_of);
        match plan.state() {
            PlanState::Failed => self.plan_failed(&plan),
            PlanState::Rejected => {
                self.say(answers::plan_rejected());
                Ok(())
            }
            _ => {
                self.open_plan = Some(self.run.plan_id);
                self.say(answers::plan_ready(&plan));
                Ok(())
            }
        }
    }

    /// Applies the plan that waits for review and says which revision it made.
    pub(super) async fn proceed(&mut self, workspace_id: Uuid, open_plan: Option<Plan>) -> Result<(), Halt> {
        let Some(approved) = self.reviewed(open_plan).await? else {
            self.say(answers::nothing_to_proceed());
            return Ok(());
        };
        let plan = match self.recovered.plan_event.take() {
            Some(last) => self.go_on(last, Until::Applied).await?,
            None => self.approve(&approved).await?,
        };
        self.usage = plan.usage.clone().map(|usage| convert::usage_of(usage).since(&approved.usage));
        self.open_plan = Some(None);
        match plan.state() {
            PlanState::Failed => self.plan_failed(&plan),
            PlanState::Applied => {
                let clients = self.worker.clients.clone();
                let number = clients.get_revision_number(&self.ctx, workspace_id, &plan.applied_revision_id).await;
                if let Err(fault) = &number {
                    // The plan is applied: an id instead of a number is no reason to fail.
                    tracing::warn!(error = %fault, "the revision's number cannot be had");
                }
                self.say(answers::plan_applied(&plan, number.ok()));
                Ok(())
            }
            _ => {
                self.say(answers::plan_rejected());
                Ok(())
            }
        }
    }

    /// The plan to apply, stored before anything is approved.
    async fn reviewed(&mut self, open_plan: Option<Plan>) -> Result<Option<PlanRef>, Halt> {
        if let Some(stored) = self.run.plan_ref.clone() {
            return Ok(Some(stored));
        }
        let plan = match open_plan {
            Some(plan) => plan,
            None => match self.find_open_plan().await? {
                Some(plan) => plan,
                None => return Ok(None),
            },
        };
        let plan_ref = PlanRef {
            plan_id: parse_id(&plan.id)?,
            version: plan.version,
            base_revision_id: plan.base_revision_id,
            after_sequence: plan.last_sequence,
            usage: plan.usage.map(convert::usage_of).unwrap_or_default(),
        };
        self.run.plan_id = Some(plan_ref.plan_id);
        self.run.plan_ref = Some(plan_ref.clone());
        self.record(None).await?;
        crash::point("conversation.plan_linked");
        Ok(Some(plan_ref))
    }

    async fn approve(&mut self, approved: &PlanRef) -> Result<Plan, Halt> {
        // A worker that died after this call has approved: the same id again follows what it began.
        let call = self.worker.clients.approve_plan(&self.ctx, approved, self.request_id());
        let events = call.await?;
        self.relay(events, approved.after_sequence, Until::Applied).await
    }

    /// The id of this run's one call that makes or applies a plan.
    fn request_id(&self) -> String {
        format!("run-{}", self.run.id)
    }

    /// Follows a plan from after the event that was relayed last.
    async fn go_on(&mut self, last: PlanEvent, until: Until) -> Result<Plan, Halt> {
        if let Some(plan) = until.reached(&last) {
            return Ok(plan.clone());
        }
        let events = self.worker.clients.watch_plan(&self.ctx, &last.plan_id, last.sequence).await?;
        self.relay(events, last.sequence, until).await
    }

    /// Hands a plan's events on, each once, until there is nothing more to wait for.
    async fn relay(&mut self, mut events: PlanEvents, mut last: u64, until: Until) -> Result<Plan, Halt> {
        loop {
            let event = tokio::select! {
                biased;
                settled = self.journal.settle(), if self.journal.is_under_way() => {
                    settled?;
                    continue;
                }
                event = events.next(), if self.journal.has_room() => event,
            };
            let Some(event) = event.transpose()? else {
                return Err(
                    Fault::new(Reason::ServiceUnavailable, "the planner stopped telling about the plan; try again").into()
                );
            };
            if self.run.plan_id.is_none() {
                self.run.plan_id = Some(parse_id(&event.plan_id)?);
                self.record(None).await?;
            }
            if event.sequence == 0 {
                if let Some(Step::Snapshot(plan)) = event.event
                    && plan.last_sequence <= last
                    && until.is_over(plan.state())
                {
                    return Ok(plan);
                }
                continue;
            }
            if event.sequence <= last {
                continue;
            }
            last = event.sequence;
            let reached = until.reached(&event).cloned();
            let bytes = event.encoded_len();
            self.journal.push(Event::Plan(event), bytes);
            if let Some(plan) = reached {
                return Ok(plan);
            }
        }
    }

    /// A request that no plan fits gets an answer; anything else is a failure of the run.
    fn plan_failed(&mut self, plan: &Plan) -> Result<(), Halt> {
        let failure = plan.failure.clone().unwrap_or_default();
        if failure.reason == super::reason_name(Reason::PlanUnusable) {
            self.say(answers::plan_unusable(failure.message.trim()));
            return Ok(());
        }
        Err(Halt::Failed(Failure { reason: failure.reason, message: failure.message }))
    }
}

fn parse_id(id: &str) -> Result<Uuid, Halt> {
    Uuid::try_parse(id).map_err(|_| failed(Reason::Internal, "the planner named a plan by something that is no id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for() {
        let event = |step| PlanEvent { event: Some(step), ..Default::default() };
        let ready = event(Step::Ready(Plan::default()));
        assert!(Until::Drafted.reached(&ready).is_some());
        assert!(Until::Applied.reached(&ready).is_none());
        for last in [Step::Applied(Plan::default()), Step::Rejected(Plan::default()), Step::Failed(Plan::default())] {
            assert!(Until::Drafted.reached(&event(last.clone())).is_some());
            assert!(Until::Applied.reached(&event(last)).is_some());
        }
        assert!(Until::Applied.reached(&event(Step::Applying(Plan::default()))).is_none());
    }

    #[test]
    fn a_ready_plan_is_not_yet_applied() {
        assert!(Until::Drafted.is_over(PlanState::Ready));
        assert!(!Until::Applied.is_over(PlanState::Ready));
        assert!(!Until::Applied.is_over(PlanState::Applying));
        assert!(!Until::Drafted.is_over(PlanState::Drafting));
    }
}
