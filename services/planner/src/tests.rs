//! The service against scripted neighbours: real gRPC clients and servers, a real SQLite file, no network.

mod applying;
mod drafting;
mod fakes;
mod kills;
mod refusals;
mod watching;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use slipway_bus::Bus;
use slipway_proto::planner as proto;
use slipway_proto::planner::plan_event::Event;
use slipway_proto::planner::planner_service_client::PlannerServiceClient;
use slipway_rpc::{Caller, Channel, Ctx, Fault, IdentityKey, ProjectId, Running, Scope, Server, UserId};
use slipway_storage::{Durability, StoreSettings};
use tonic::{Status, Streaming};
use uuid::Uuid;

use crate::{Deps, Settings};
use fakes::World;

const PATIENCE: Duration = Duration::from_secs(30);

/// A planner with its neighbours, started.
struct Suite {
    world: Arc<World>,
    channel: Channel,
    ctx: Ctx,
    _running: Running,
}

fn settings() -> Settings {
    Settings { retry_ms: 5, max_attempts: 3, heartbeat_ms: 300, ..Settings::default() }
}

impl Suite {
    async fn start(dir: &Path, world: &Arc<World>) -> Suite {
        Suite::start_with(dir, world, settings()).await
    }

    async fn start_with(dir: &Path, world: &Arc<World>, settings: Settings) -> Suite {
        let key = IdentityKey::new(&"0123456789abcdef0123456789abcdef".to_owned().into()).unwrap();
        let mut server = Server::new(key);
        let channel = server.channel();
        world.serve(&mut server);
        let store = StoreSettings {
            url: slipway_testkit::postgres::store_url(dir, "planner").await.unwrap(),
            durability: Durability::Process,
            ..Default::default()
        };
        let deps = Deps {
            store,
            bus: Bus::in_process(),
            file_store: channel.clone(),
            embedding: channel.clone(),
            inference: channel.clone(),
        };
        crate::build(&settings, deps, &mut server).await.unwrap();
        let running = server.start().await;
        Suite { world: world.clone(), channel, ctx: ctx(world.project), _running: running }
    }

    fn client(&self) -> PlannerServiceClient<Channel> {
        PlannerServiceClient::new(self.channel.clone())
    }

    async fn create(&self, request: &str) -> Result<Vec<proto::PlanEvent>, Fault> {
        self.create_as(proto::CreatePlanRequest {
            workspace_id: self.world.workspace.to_string(),
            request: request.into(),
            ..Default::default()
        })
        .await
    }

    async fn create_as(&self, request: proto::CreatePlanRequest) -> Result<Vec<proto::PlanEvent>, Fault> {
        let answer = self.client().create_plan(self.ctx.request(request)).await.map_err(fault)?;
        collect(answer.into_inner(), |r| r.event).await
    }

    async fn revise(&self, plan: &proto::Plan, instructions: &str, request_id: &str) -> Result<Vec<proto::PlanEvent>, Fault> {
        let request = proto::RevisePlanRequest {
            plan_id: plan.id.clone(),
            version: plan.version,
            instructions: instructions.into(),
            request_id: request_id.into(),
        };
        let answer = self.client().revise_plan(self.ctx.request(request)).await.map_err(fault)?;
        collect(answer.into_inner(), |r| r.event).await
    }

    async fn approve(&self, plan: &proto::Plan) -> Result<Vec<proto::PlanEvent>, Fault> {
        self.approve_as(plan, "").await
    }

    async fn approve_as(&self, plan: &proto::Plan, request_id: &str) -> Result<Vec<proto::PlanEvent>, Fault> {
        let request = proto::ApprovePlanRequest {
            plan_id: plan.id.clone(),
            version: plan.version,
            base_revision_id: plan.base_revision_id.clone(),
            request_id: request_id.into(),
        };
        let answer = self.client().approve_plan(self.ctx.request(request)).await.map_err(fault)?;
        collect(answer.into_inner(), |r| r.event).await
    }

    async fn reject(&self, plan: &proto::Plan) -> Result<proto::Plan, Fault> {
        let request = proto::RejectPlanRequest { plan_id: plan.id.clone(), version: plan.version };
        let answer = self.client().reject_plan(self.ctx.request(request)).await.map_err(fault)?;
        Ok(answer.into_inner().plan.unwrap())
    }

    async fn get(&self, id: &str) -> Result<proto::Plan, Fault> {
        let request = proto::GetPlanRequest { plan_id: id.into() };
        let answer = self.client().get_plan(self.ctx.request(request)).await.map_err(fault)?;
        Ok(answer.into_inner().plan.unwrap())
    }

    /// Every event after a sequence until the plan's end; the snapshot is left out, heartbeats too.
    async fn watch(&self, id: &str, after_sequence: u64) -> Result<Vec<proto::PlanEvent>, Fault> {
        let request = proto::WatchPlanRequest { plan_id: id.into(), after_sequence };
        let answer = self.client().watch_plan(self.ctx.request(request)).await.map_err(fault)?;
        let events = collect(answer.into_inner(), |r| r.event).await?;
        assert!(matches!(events[0].event, Some(Event::Snapshot(_))) && events[0].sequence == 0);
        Ok(events.into_iter().filter(|e| e.sequence > 0).collect())
    }

    async fn classify(&self, request: proto::ClassifyIntentRequest) -> Result<proto::Intent, Fault> {
        let answer = self.client().classify_intent(self.ctx.request(request)).await.map_err(fault)?;
        Ok(answer.into_inner().intent.unwrap())
    }

    /// A plan that waits for review.
    async fn ready(&self, steps: &[(&str, &str)]) -> proto::Plan {
        self.world.say(fakes::plan(steps));
        last_plan(&self.create("three replicas").await.unwrap())
    }
}

fn ctx(project: Uuid) -> Ctx {
    let caller = Caller::new(UserId(Uuid::nil()), Scope::Write);
    Ctx::new(caller, ProjectId(project), "test".into(), None, String::new())
}

fn fault(status: Status) -> Fault {
    Fault::from_status(&status)
}

async fn collect<T>(mut stream: Streaming<T>, event: fn(T) -> Option<proto::PlanEvent>) -> Result<Vec<proto::PlanEvent>, Fault> {
    let mut events = Vec::new();
    let all = async {
        while let Some(message) = stream.message().await.map_err(fault)? {
            events.push(event(message).unwrap());
        }
        Ok::<(), Fault>(())
    };
    tokio::time::timeout(PATIENCE, all).await.expect("the stream did not end")?;
    Ok(events)
}

/// The plan of the last event that carries one.
fn last_plan(events: &[proto::PlanEvent]) -> proto::Plan {
    let plan = events.iter().rev().find_map(|e| match e.event.clone()? {
        Event::Ready(p) | Event::Applied(p) | Event::Failed(p) | Event::Rejected(p) | Event::Applying(p) | Event::Drafting(p) => {
            Some(p)
        }
        _ => None,
    });
    plan.unwrap_or_else(|| panic!("no plan in {events:?}"))
}

/// The names of stored events, in order.
fn names(events: &[proto::PlanEvent]) -> Vec<&'static str> {
    let stored = events.iter().filter(|e| e.sequence > 0);
    stored
        .map(|e| match e.event.as_ref().unwrap() {
            Event::Snapshot(_) => "snapshot",
            Event::Heartbeat(_) => "heartbeat",
            Event::Drafting(_) => "drafting",
            Event::Restarted(_) => "restarted",
            Event::FilesSelected(_) => "files_selected",
            Event::StepProposed(_) => "step_proposed",
            Event::Ready(_) => "ready",
            Event::Applying(_) => "applying",
            Event::StepStarted(_) => "step_started",
            Event::Edit(e) if e.ok => "edit",
            Event::Edit(_) => "refused",
            Event::StepEnded(_) => "step_ended",
            Event::Usage(_) => "usage",
            Event::Applied(_) => "applied",
            Event::Rejected(_) => "rejected",
            Event::Failed(_) => "failed",
        })
        .collect()
}

/// Sequences are dense, times do not go back, every event names the plan.
fn check_dense(events: &[proto::PlanEvent], first: u64) {
    let stored: Vec<_> = events.iter().filter(|e| e.sequence > 0).collect();
    for (sequence, event) in (first..).zip(&stored) {
        assert_eq!(event.sequence, sequence);
        assert!(event.create_time.is_some() && event.plan_id == stored[0].plan_id);
    }
}

fn failure(plan: &proto::Plan) -> (String, String) {
    let failure = plan.failure.clone().unwrap_or_default();
    (failure.reason, failure.message)
}
