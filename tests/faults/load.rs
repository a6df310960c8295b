//! Clients that behave: a request id on everything, a watch from where they were when a stream breaks, another try with a
//! pause when the suite is unavailable, the other gateway when one is silent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use slipway_proto::conversation::{CreateConversationRequest, RunEvent, SendMessageRequest, WatchRunRequest, run_event};
use slipway_proto::filestore::{CommitRevisionRequest, CreateWorkspaceRequest};
use slipway_proto::planner::{ApprovePlanRequest, CreatePlanRequest, Plan, PlanEvent, WatchPlanRequest, plan_event};
use slipway_testkit::suite::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use super::cases::{Case, Kind, TURNS};
use super::trail::{Entries, Trail, Until, plan_entries, run_entries};
use super::world::World;
use crate::story;

/// Streams send a heartbeat every second: who hears nothing for so long has lost its server.
const SILENCE: Duration = Duration::from_secs(4);
/// Whoever gets nowhere for so long gives up.
const PATIENCE: Duration = Duration::from_secs(90);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
pub(super) const WISH: &str = "set gateway.replicas to 3";
pub(super) const CONSENT: &str = "go ahead";

/// What one conversation came to.
pub(super) struct Told {
    pub(super) case: Case,
    pub(super) workspace: String,
    pub(super) conversation: String,
    /// Each message's run, in order.
    pub(super) runs: Vec<Trail>,
    /// The draft and the apply of a plan made by its own calls.
    pub(super) plans: Vec<Trail>,
    /// The plan, once it was ready.
    pub(super) plan: Option<Plan>,
    /// Errors that a client cannot do anything about.
    pub(super) untyped: Vec<String>,
    /// Why the conversation was given up.
    pub(super) gave_up: Option<String>,
}

impl Told {
    /// How long each stream that was at work was silent after a moment.
    pub(super) fn recovery(&self, struck: Instant) -> Vec<Duration> {
        self.runs.iter().chain(&self.plans).filter_map(|trail| trail.recovery(struck)).collect()
    }
}

/// Conversations under way.
pub(super) struct Load {
    tasks: JoinSet<Told>,
    begun: watch::Receiver<usize>,
    wanted: usize,
}

/// Starts so many conversations at once.
pub(super) fn start(world: &mut World, conversations: usize) -> Load {
    let begun = Arc::new(watch::Sender::new(0));
    let mut tasks = JoinSet::new();
    for case in world.next_cases(conversations) {
        let person = Person::new(world.clients(case.number), begun.clone());
        tasks.spawn(person.live(case));
    }
    Load { tasks, begun: begun.subscribe(), wanted: conversations * 2 / 3 }
}

impl Load {
    /// Waits until most conversations have something under way.
    pub(super) async fn at_work(&self) {
        let mut begun = self.begun.clone();
        let enough = begun.wait_for(|begun| *begun >= self.wanted);
        // Should it take longer, the fault comes all the same.
        let _ = tokio::time::timeout(PATIENCE, enough).await;
    }

    /// Waits for every conversation.
    pub(super) async fn ended(self) -> Vec<Told> {
        let mut told = self.tasks.join_all().await;
        told.sort_by_key(|told| told.case.number);
        told
    }
}

/// One client with its habits.
pub(super) struct Person {
    gateways: Vec<Client>,
    turn: usize,
    begun: Arc<watch::Sender<usize>>,
    pub(super) untyped: Vec<String>,
}

impl Person {
    pub(super) fn new(gateways: Vec<Client>, begun: Arc<watch::Sender<usize>>) -> Self {
        Self { gateways, turn: 0, begun, untyped: Vec::new() }
    }

    fn client(&self) -> Client {
        self.gateways[self.turn % self.gateways.len()].clone()
    }

    async fn live(mut self, case: Case) -> Told {
        let (workspace, conversation) = (String::new(), String::new());
        let (runs, plans) = (Vec::new(), Vec::new());
        let mut told = Told { case, workspace, conversation, runs, plans, plan: None, untyped: Vec::new(), gave_up: None };
        let lived = match case.kind {
            Kind::Questions => self.ask(&mut told).await,
            Kind::Talk => self.talk(&mut told).await,
            Kind::Plan => self.plan(&mut told).await,
        };
        told.gave_up = lived.err();
        told.untyped = self.untyped;
        told
    }

    async fn ask(&mut self, told: &mut Told) -> Result<(), String> {
        self.converse(told).await?;
        for turn in 0..TURNS {
            let trail = self.say(told, &told.case.question(turn)).await?;
            told.runs.push(trail);
        }
        Ok(())
    }

    async fn talk(&mut self, told: &mut Told) -> Result<(), String> {
        self.make_workspace(told).await?;
        self.converse(told).await?;
        for text in [WISH, CONSENT] {
            let trail = self.say(told, text).await?;
            told.plan = told.plan.take().or_else(|| plan_of_run(&trail));
            told.runs.push(trail);
            if told.plan.is_none() {
                break;
            }
        }
        Ok(())
    }

    async fn plan(&mut self, told: &mut Told) -> Result<(), String> {
        self.make_workspace(told).await?;
        let request = draft_request(told);
        let opened = |client: Client| {
            let request = request.clone();
            async move {
                let stream = client.planner.clone().create_plan(request).await?.into_inner();
                Ok(plan_entries(stream, Until::Drafted, |r| r.event))
            }
            .boxed()
        };
        let trail = self.follow(&request.request_id, opened, |c, id, after| watch_plan(c, id, after, Until::Drafted)).await;
        let trail = trail?;
        told.plan = ready_plan(&trail);
        told.plans.push(trail);
        let Some(request) = approval_request(told) else { return Ok(()) };
        let opened = |client: Client| {
            let request = request.clone();
            async move {
                let stream = client.planner.clone().approve_plan(request).await?.into_inner();
                Ok(plan_entries(stream, Until::Applied, |r| r.event))
            }
            .boxed()
        };
        let trail = self.follow(&request.request_id, opened, |c, id, after| watch_plan(c, id, after, Until::Applied)).await;
        told.plans.push(trail?);
        Ok(())
    }

    async fn converse(&mut self, told: &mut Told) -> Result<(), String> {
        let request = CreateConversationRequest {
            workspace_id: told.workspace.clone(),
            request_id: format!("{}-conversation", told.case.tag()),
            ..Default::default()
        };
        let made = self.call("CreateConversation", |client| {
            let request = request.clone();
            async move { client.conversation.clone().create_conversation(request).await }.boxed()
        });
        told.conversation = made.await?.conversation.unwrap_or_default().id;
        Ok(())
    }

    async fn make_workspace(&mut self, told: &mut Told) -> Result<(), String> {
        let tag = told.case.tag();
        let request = CreateWorkspaceRequest { name: tag.clone(), request_id: format!("{tag}-workspace") };
        let made = self.call("CreateWorkspace", |client| {
            let request = request.clone();
            async move { client.files.clone().create_workspace(request).await }.boxed()
        });
        told.workspace = made.await?.workspace.unwrap_or_default().id;
        let mut changes: Vec<_> = told.case.paths().iter().map(|path| story::write(path, "an old line\n")).collect();
        changes.push(story::write("values.yaml", "gateway:\n  replicas: 1\n"));
        let request = CommitRevisionRequest {
            workspace_id: told.workspace.clone(),
            changes,
            message: "begin".into(),
            request_id: format!("{tag}-begin"),
            ..Default::default()
        };
        let made = self.call("CommitRevision", |client| {
            let request = request.clone();
            async move { client.files.clone().commit_revision(request).await }.boxed()
        });
        made.await.map(drop)
    }

    async fn say(&mut self, told: &Told, text: &str) -> Result<Trail, String> {
        let request = message_request(told, told.runs.len(), text);
        let opened = |client: Client| {
            let request = request.clone();
            async move {
                let stream = client.conversation.clone().send_message(request).await?.into_inner();
                Ok(run_entries(stream, |r| r.event))
            }
            .boxed()
        };
        self.follow(&request.request_id, opened, watch_run).await
    }

    /// Begins something with a request id and follows it to its end, over as many connections as it takes.
    async fn follow(
        &mut self,
        request_id: &str,
        open: impl Fn(Client) -> BoxFuture<'static, Result<Entries, Status>>,
        watch: impl Fn(Client, String, u64) -> BoxFuture<'static, Result<Entries, Status>>,
    ) -> Result<Trail, String> {
        let mut trail = Trail::new(request_id);
        let mut patience = Patience::new();
        while !trail.ended {
            let (known, last) = (trail.events.len(), trail.last());
            let opening = if known == 0 { open(self.client()) } else { watch(self.client(), trail.id.clone(), last) };
            match tokio::time::timeout(SILENCE, opening).await {
                Ok(Ok(entries)) => self.read(entries, &mut trail).await,
                Ok(Err(status)) => self.judge(request_id, &status),
                Err(_) => {}
            }
            if trail.events.len() > known {
                patience = Patience::new();
            }
            if !trail.ended {
                patience
                    .pause()
                    .await
                    .map_err(|()| format!("{request_id}: no end after event {} in {PATIENCE:?}", trail.last()))?;
                self.turn += 1;
            }
        }
        Ok(trail)
    }

    /// Reads until the end, until the stream breaks, until it is silent, or until it says nothing new for too long.
    async fn read(&mut self, mut entries: Entries, trail: &mut Trail) {
        let mut news = Instant::now();
        while !trail.ended && news.elapsed() < PATIENCE {
            match tokio::time::timeout(SILENCE, entries.next()).await {
                Ok(Some(Ok(entry))) => {
                    let (first, known) = (trail.events.is_empty(), trail.events.len());
                    trail.add(entry);
                    if trail.events.len() > known {
                        news = Instant::now();
                    }
                    if first && !trail.events.is_empty() {
                        self.begun.send_modify(|begun| *begun += 1);
                    }
                }
                Ok(Some(Err(status))) => return self.judge(&trail.request_id, &status),
                Ok(None) => {
                    return self.untyped.push(format!("{}: a stream ended well after event {}", trail.request_id, trail.last()));
                }
                Err(_) => return,
            }
        }
    }

    /// A call that is tried until it succeeds.
    pub(super) async fn call<T>(
        &mut self,
        what: &str,
        call: impl Fn(Client) -> BoxFuture<'static, Result<Response<T>, Status>>,
    ) -> Result<T, String> {
        let mut patience = Patience::new();
        loop {
            match tokio::time::timeout(SILENCE, call(self.client())).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => {
                    self.judge(what, &status);
                    if is_final(&status) {
                        return Err(format!("{what}: {status:?}"));
                    }
                }
                Err(_) => {}
            }
            patience.pause().await.map_err(|()| format!("{what}: no answer in {PATIENCE:?}"))?;
            self.turn += 1;
        }
    }

    /// While things break, a client must hear that it should come back, and nothing else. What has no reason was made by the
    /// client itself, whose connection broke.
    fn judge(&mut self, what: &str, status: &Status) {
        let details = status.get_error_details();
        let Some(info) = details.error_info() else { return };
        if !matches!(status.code(), Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded) {
            self.untyped.push(format!("{what}: {:?} {}: {}", status.code(), info.reason, status.message()));
        }
    }
}

/// The caller would have to change something.
fn is_final(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::AlreadyExists)
}

/// Pauses that double, and an end to them.
struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new() -> Self {
        Self { until: Instant::now() + PATIENCE, pause: FIRST_PAUSE }
    }

    async fn pause(&mut self) -> Result<(), ()> {
        if Instant::now() > self.until {
            return Err(());
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

pub(super) fn message_request(told: &Told, turn: usize, text: &str) -> SendMessageRequest {
    SendMessageRequest {
        conversation_id: told.conversation.clone(),
        text: text.to_owned(),
        request_id: format!("{}-message-{turn}", told.case.tag()),
        ..Default::default()
    }
}

pub(super) fn draft_request(told: &Told) -> CreatePlanRequest {
    CreatePlanRequest {
        workspace_id: told.workspace.clone(),
        request: format!("say new instead of old in the files of {}", told.case.tag()),
        request_id: format!("{}-draft", told.case.tag()),
        ..Default::default()
    }
}

pub(super) fn approval_request(told: &Told) -> Option<ApprovePlanRequest> {
    let plan = told.plan.as_ref()?;
    Some(ApprovePlanRequest {
        plan_id: plan.id.clone(),
        version: plan.version,
        base_revision_id: plan.base_revision_id.clone(),
        request_id: format!("{}-approval", told.case.tag()),
    })
}

pub(super) fn watch_run(client: Client, run_id: String, after_sequence: u64) -> BoxFuture<'static, Result<Entries, Status>> {
    async move {
        let request = WatchRunRequest { run_id, after_sequence };
        let stream = client.conversation.clone().watch_run(request).await?.into_inner();
        Ok(run_entries(stream, |r| r.event))
    }
    .boxed()
}

pub(super) fn watch_plan(
    client: Client,
    plan_id: String,
    after_sequence: u64,
    until: Until,
) -> BoxFuture<'static, Result<Entries, Status>> {
    async move {
        let request = WatchPlanRequest { plan_id, after_sequence };
        let stream = client.planner.clone().watch_plan(request).await?.into_inner();
        Ok(plan_entries(stream, until, |r| r.event))
    }
    .boxed()
}

/// The plan that a run made, if it made one: only its id is known here.
fn plan_of_run(trail: &Trail) -> Option<Plan> {
    let last = RunEvent::decode(trail.events.values().next_back()?.as_slice()).ok()?;
    let Some(run_event::Event::Completed(end)) = last.event else { return None };
    let id = end.run?.plan_id;
    (!id.is_empty()).then(|| Plan { id, ..Default::default() })
}

fn ready_plan(trail: &Trail) -> Option<Plan> {
    let last = PlanEvent::decode(trail.events.values().next_back()?.as_slice()).ok()?;
    match last.event {
        Some(plan_event::Event::Ready(plan)) => Some(plan),
        _ => None,
    }
}
