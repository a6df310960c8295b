//! The neighbours: inference plays scripts that a test can pause; the planner makes one kind of plan, event by event;
//! embedding and file-store know one workspace. Their state outlives the server, as another process would.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use slipway_proto::inference::inference_service_server::InferenceService;
use slipway_proto::inference::{self, CompletionEnded, CompletionStarted, FinishReason, Usage, stream_complete_response};
use slipway_proto::planner::planner_service_server::PlannerService;
use slipway_proto::planner::{self, IntentKind, Plan, PlanEvent, PlanState, plan_event};
use slipway_proto::{embedding, filestore};
use slipway_rpc::{Fault, Reason};
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status};
use uuid::Uuid;

type Answer<T> = Result<Response<T>, Status>;

/// One thing that a scripted model does.
#[derive(Clone, Debug)]
pub(super) enum Say {
    Text(&'static str),
    Reasoning(&'static str),
    /// Waits until the test opens the gate once.
    Gate,
    Fail(Reason),
    /// Ends the stream without its last event.
    BreakOff,
    Refuse,
}

/// What the neighbours know, and what was asked of them.
pub(super) struct World {
    pub(super) workspace: Uuid,
    pub(super) scripts: Mutex<VecDeque<Vec<Say>>>,
    pub(super) gate: Semaphore,
    pub(super) prompts: Mutex<Vec<inference::Prompt>>,
    /// Streams of the model that are open now.
    pub(super) open: watch::Sender<usize>,
    pub(super) indexed: Mutex<bool>,
    /// So many searches fail as if the service were away.
    pub(super) search_outages: AtomicUsize,
    pub(super) classified: AtomicUsize,
    /// How many plans were approved.
    pub(super) approved: watch::Sender<usize>,
    plans: Mutex<HashMap<String, Arc<FakePlan>>>,
    by_request: Mutex<HashMap<String, String>>,
    /// Which request approved a plan.
    approvals: Mutex<HashMap<String, String>>,
    /// How many of a plan's events are there at once; the rest when the test says so.
    pub(super) drafted_at_once: AtomicUsize,
    /// How many of them there are at once after an approval.
    pub(super) applied_at_once: AtomicUsize,
    pub(super) unusable: Mutex<bool>,
}

pub(super) struct FakePlan {
    events: Vec<PlanEvent>,
    pub(super) published: watch::Sender<usize>,
}

pub(super) const DRAFT_EVENTS: usize = 4;
pub(super) const ALL_EVENTS: usize = 7;

impl World {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            workspace: Uuid::now_v7(),
            scripts: Mutex::default(),
            gate: Semaphore::new(0),
            prompts: Mutex::default(),
            open: watch::Sender::new(0),
            indexed: Mutex::new(true),
            search_outages: AtomicUsize::new(0),
            classified: AtomicUsize::new(0),
            approved: watch::Sender::new(0),
            plans: Mutex::default(),
            by_request: Mutex::default(),
            approvals: Mutex::default(),
            drafted_at_once: AtomicUsize::new(DRAFT_EVENTS),
            applied_at_once: AtomicUsize::new(ALL_EVENTS),
            unusable: Mutex::new(false),
        })
    }

    pub(super) fn script(&self, says: impl IntoIterator<Item = Say>) {
        self.scripts.lock().unwrap().push_back(says.into_iter().collect());
    }

    pub(super) fn plan_count(&self) -> usize {
        self.plans.lock().unwrap().len()
    }

    pub(super) fn only_plan(&self) -> Arc<FakePlan> {
        self.plans.lock().unwrap().values().next().unwrap().clone()
    }

    fn plan(&self, id: &str) -> Result<Arc<FakePlan>, Status> {
        let plan = self.plans.lock().unwrap().get(id).cloned();
        plan.ok_or_else(|| Fault::new(Reason::PlanNotFound, "no such plan").into())
    }
}

impl FakePlan {
    /// drafting, files selected, a step, ready (or failed); applying, an edit, applied.
    fn new(workspace: Uuid, unusable: bool) -> (String, Arc<Self>) {
        use plan_event::Event as E;
        let id = Uuid::now_v7().to_string();
        let step = planner::Step {
            number: 1,
            path: "values.yaml".into(),
            action: planner::StepAction::Update.into(),
            reason: "set replicas to 3".into(),
            ..Default::default()
        };
        let plan = |state: PlanState, last_sequence, tokens| Plan {
            id: id.clone(),
            workspace_id: workspace.to_string(),
            summary: "Three replicas.".into(),
            state: state.into(),
            version: 1,
            base_revision_id: "base".into(),
            steps: vec![step.clone()],
            last_sequence,
            usage: Some(Usage { input_tokens: tokens, ..Usage::default() }),
            ..Plan::default()
        };
        let failure = planner::PlanFailure { reason: "PLAN_UNUSABLE".into(), message: "I do not know how".into() };
        let drafted = match unusable {
            true => E::Failed(Plan { failure: Some(failure), ..plan(PlanState::Failed, 4, 10) }),
            false => E::Ready(plan(PlanState::Ready, 4, 10)),
        };
        let edit = planner::EditMade { path: "values.yaml".into(), ok: true, ..Default::default() };
        let applied = Plan { applied_revision_id: "rev-2".into(), ..plan(PlanState::Applied, 7, 15) };
        let steps = [
            E::Drafting(plan(PlanState::Drafting, 1, 0)),
            E::FilesSelected(planner::FilesSelected { paths: vec!["values.yaml".into()] }),
            E::StepProposed(step.clone()),
            drafted,
            E::Applying(plan(PlanState::Applying, 5, 10)),
            E::Edit(edit),
            E::Applied(applied),
        ];
        let event = |(sequence, event)| PlanEvent { sequence, plan_id: id.clone(), event: Some(event), ..Default::default() };
        let events = (1..).zip(steps).map(event).collect();
        (id.clone(), Arc::new(Self { events, published: watch::Sender::new(0) }))
    }

    /// The plan as its last published event that carries one shows it.
    fn state(&self) -> Plan {
        use plan_event::Event as E;
        let published = *self.published.borrow();
        let carried = |e: &PlanEvent| match &e.event {
            Some(E::Drafting(p) | E::Ready(p) | E::Applying(p) | E::Applied(p) | E::Failed(p)) => Some(p.clone()),
            _ => None,
        };
        let mut plan = self.events[..published].iter().rev().find_map(carried).unwrap_or_default();
        plan.last_sequence = published as u64;
        plan
    }

    fn follow(self: &Arc<Self>, after: usize, until: usize) -> BoxStream<'static, PlanEvent> {
        let state = (self.clone(), self.published.subscribe(), after);
        let next = move |(plan, mut published, at): (Arc<Self>, watch::Receiver<usize>, usize)| async move {
            if at >= until {
                return None;
            }
            published.wait_for(|count| *count > at).await.ok()?;
            Some((plan.events[at].clone(), (plan, published, at + 1)))
        };
        stream::unfold(state, next).boxed()
    }
}

#[derive(Clone)]
pub(super) struct Fake(pub(super) Arc<World>);

/// Counts a stream as open until it is dropped.
struct Open(Arc<World>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

#[tonic::async_trait]
impl InferenceService for Fake {
    type StreamCompleteStream = BoxStream<'static, Result<inference::StreamCompleteResponse, Status>>;

    async fn stream_complete(&self, request: Request<inference::StreamCompleteRequest>) -> Answer<Self::StreamCompleteStream> {
        use stream_complete_response::Event as E;
        let world = self.0.clone();
        world.prompts.lock().unwrap().push(request.into_inner().prompt.unwrap_or_default());
        let script = world.scripts.lock().unwrap().pop_front();
        let script = script.unwrap_or_else(|| vec![Say::Text("All "), Say::Text("is "), Say::Text("well.")]);
        world.open.send_modify(|open| *open += 1);
        let started = E::Started(CompletionStarted { model: "fake/model".into() });
        let response = |event| inference::StreamCompleteResponse { event: Some(event) };
        let ended = move |reason: FinishReason| {
            let (cost_micros, price_version) = (42, "list".to_owned());
            let usage = Usage { input_tokens: 7, output_tokens: 3, cost_micros, price_version, ..Usage::default() };
            response(E::Completed(CompletionEnded { finish_reason: reason.into(), usage: Some(usage), ..Default::default() }))
        };
        let play = stream::unfold((script.into_iter(), Open(world), false), move |(mut script, open, over)| async move {
            if over {
                return None;
            }
            loop {
                let (item, over) = match script.next() {
                    Some(Say::Text(text)) => (Ok(response(E::TextDelta(text.into()))), false),
                    Some(Say::Reasoning(text)) => (Ok(response(E::ReasoningDelta(text.into()))), false),
                    Some(Say::Gate) => {
                        open.0.gate.acquire().await.unwrap().forget();
                        continue;
                    }
                    Some(Say::Fail(reason)) => (Err(Fault::new(reason, "the provider is on fire; wait").into()), true),
                    Some(Say::BreakOff) => return None,
                    Some(Say::Refuse) => (Ok(ended(FinishReason::ContentFilter)), true),
                    None => (Ok(ended(FinishReason::Stop)), true),
                };
                return Some((item, (script, open, over)));
            }
        });
        Ok(Response::new(stream::once(async move { Ok(response(started)) }).chain(play).boxed()))
    }

    async fn complete(&self, _: Request<inference::CompleteRequest>) -> Answer<inference::CompleteResponse> {
        Err(Status::unimplemented("complete"))
    }

    type BatchCompleteStream = BoxStream<'static, Result<inference::BatchCompleteResponse, Status>>;

    async fn batch_complete(&self, _: Request<inference::BatchCompleteRequest>) -> Answer<Self::BatchCompleteStream> {
        Err(Status::unimplemented("batch_complete"))
    }

    async fn list_providers(&self, _: Request<inference::ListProvidersRequest>) -> Answer<inference::ListProvidersResponse> {
        Err(Status::unimplemented("list_providers"))
    }

    async fn count_tokens(&self, _: Request<inference::CountTokensRequest>) -> Answer<inference::CountTokensResponse> {
        Err(Status::unimplemented("count_tokens"))
    }

    async fn list_models(&self, _: Request<inference::ListModelsRequest>) -> Answer<inference::ListModelsResponse> {
        Err(Status::unimplemented("list_models"))
    }

    async fn test_connection(&self, _: Request<inference::TestConnectionRequest>) -> Answer<inference::TestConnectionResponse> {
        Err(Status::unimplemented("test_connection"))
    }
}

#[tonic::async_trait]
impl PlannerService for Fake {
    type CreatePlanStream = BoxStream<'static, Result<planner::CreatePlanResponse, Status>>;
    type RevisePlanStream = BoxStream<'static, Result<planner::RevisePlanResponse, Status>>;
    type ApprovePlanStream = BoxStream<'static, Result<planner::ApprovePlanResponse, Status>>;
    type WatchPlanStream = BoxStream<'static, Result<planner::WatchPlanResponse, Status>>;

    async fn classify_intent(&self, request: Request<planner::ClassifyIntentRequest>) -> Answer<planner::ClassifyIntentResponse> {
        self.0.classified.fetch_add(1, Ordering::SeqCst);
        let request = request.into_inner();
        let kind = match request.text.split(' ').next() {
            Some("change") => IntentKind::Plan,
            Some("go") => IntentKind::Proceed,
            Some("render") => IntentKind::Render,
            Some("weather") => IntentKind::OffTopic,
            Some("hm") => IntentKind::Unclear,
            _ => IntentKind::Converse,
        };
        let intent = planner::Intent { kind: kind.into(), confidence: 0.9, reason: "fake".into(), by_rule: true };
        Ok(Response::new(planner::ClassifyIntentResponse { intent: Some(intent) }))
    }

    async fn create_plan(&self, request: Request<planner::CreatePlanRequest>) -> Answer<Self::CreatePlanStream> {
        let request = request.into_inner();
        let known = self.0.by_request.lock().unwrap().get(&request.request_id).cloned();
        let id = known.unwrap_or_else(|| {
            let (id, plan) = FakePlan::new(self.0.workspace, *self.0.unusable.lock().unwrap());
            plan.published.send_replace(self.0.drafted_at_once.load(Ordering::SeqCst));
            self.0.plans.lock().unwrap().insert(id.clone(), plan);
            self.0.by_request.lock().unwrap().insert(request.request_id, id.clone());
            id
        });
        let events = self.0.plan(&id)?.follow(0, DRAFT_EVENTS);
        Ok(Response::new(events.map(|event| Ok(planner::CreatePlanResponse { event: Some(event) })).boxed()))
    }

    async fn approve_plan(&self, request: Request<planner::ApprovePlanRequest>) -> Answer<Self::ApprovePlanStream> {
        let request = request.into_inner();
        let plan = self.0.plan(&request.plan_id)?;
        let first = self.0.approvals.lock().unwrap().get(&request.plan_id).cloned();
        if first.as_ref() != Some(&request.request_id) {
            let ready = first.is_none() && plan.state().state() == PlanState::Ready;
            if !ready || request.version != 1 || request.base_revision_id != "base" {
                return Err(Fault::new(Reason::PlanStateConflict, "the plan is not ready").into());
            }
            self.0.approvals.lock().unwrap().insert(request.plan_id, request.request_id);
            plan.published.send_replace(self.0.applied_at_once.load(Ordering::SeqCst));
            self.0.approved.send_modify(|count| *count += 1);
        }
        let events = plan.follow(DRAFT_EVENTS, ALL_EVENTS);
        Ok(Response::new(events.map(|event| Ok(planner::ApprovePlanResponse { event: Some(event) })).boxed()))
    }

    async fn watch_plan(&self, request: Request<planner::WatchPlanRequest>) -> Answer<Self::WatchPlanStream> {
        let request = request.into_inner();
        let plan = self.0.plan(&request.plan_id)?;
        let snapshot =
            PlanEvent { plan_id: request.plan_id, event: Some(plan_event::Event::Snapshot(plan.state())), ..Default::default() };
        let events = stream::once(async { snapshot }).chain(plan.follow(request.after_sequence as usize, ALL_EVENTS));
        Ok(Response::new(events.map(|event| Ok(planner::WatchPlanResponse { event: Some(event) })).boxed()))
    }

    async fn get_plan(&self, request: Request<planner::GetPlanRequest>) -> Answer<planner::GetPlanResponse> {
        let plan = self.0.plan(&request.into_inner().plan_id)?.state();
        Ok(Response::new(planner::GetPlanResponse { plan: Some(plan) }))
    }

    async fn list_plans(&self, _: Request<planner::ListPlansRequest>) -> Answer<planner::ListPlansResponse> {
        Err(Status::unimplemented("list_plans"))
    }

    async fn revise_plan(&self, _: Request<planner::RevisePlanRequest>) -> Answer<Self::RevisePlanStream> {
        Err(Status::unimplemented("revise_plan"))
    }

    async fn reject_plan(&self, _: Request<planner::RejectPlanRequest>) -> Answer<planner::RejectPlanResponse> {
        Err(Status::unimplemented("reject_plan"))
    }
}

#[tonic::async_trait]
impl embedding::embedding_service_server::EmbeddingService for Fake {
    type ReindexStream = BoxStream<'static, Result<embedding::ReindexResponse, Status>>;

    async fn search(&self, _: Request<embedding::SearchRequest>) -> Answer<embedding::SearchResponse> {
        if self.0.search_outages.load(Ordering::SeqCst) > 0 {
            self.0.search_outages.fetch_sub(1, Ordering::SeqCst);
            return Err(Fault::new(Reason::ServiceUnavailable, "embedding is away").into());
        }
        if !*self.0.indexed.lock().unwrap() {
            return Err(Fault::new(Reason::IndexNotFound, "no index yet").into());
        }
        let hit = |path: &str, text: &str| embedding::Hit {
            path: path.into(),
            start_line: 1,
            end_line: 2,
            text: text.into(),
            score: 0.5,
            ..Default::default()
        };
        let hits = vec![hit("values.yaml", "gateway:\n  replicas: 2"), hit("Chart.yaml", "name: demo")];
        Ok(Response::new(embedding::SearchResponse { hits, revision_id: "rev-1".into(), mode: 0 }))
    }

    async fn select_files(&self, _: Request<embedding::SelectFilesRequest>) -> Answer<embedding::SelectFilesResponse> {
        Err(Status::unimplemented("select_files"))
    }

    async fn get_index(&self, _: Request<embedding::GetIndexRequest>) -> Answer<embedding::GetIndexResponse> {
        Err(Status::unimplemented("get_index"))
    }

    async fn reindex(&self, _: Request<embedding::ReindexRequest>) -> Answer<Self::ReindexStream> {
        Err(Status::unimplemented("reindex"))
    }

    async fn embed_texts(&self, _: Request<embedding::EmbedTextsRequest>) -> Answer<embedding::EmbedTextsResponse> {
        Err(Status::unimplemented("embed_texts"))
    }
}

#[tonic::async_trait]
impl filestore::file_store_service_server::FileStoreService for Fake {
    type ExportArchiveStream = BoxStream<'static, Result<filestore::ExportArchiveResponse, Status>>;
    type ReadFileStream = BoxStream<'static, Result<filestore::ReadFileResponse, Status>>;

    async fn get_workspace(&self, request: Request<filestore::GetWorkspaceRequest>) -> Answer<filestore::GetWorkspaceResponse> {
        if request.into_inner().workspace_id != self.0.workspace.to_string() {
            return Err(Fault::new(Reason::WorkspaceNotFound, "the project has no such workspace").into());
        }
        Ok(Response::new(filestore::GetWorkspaceResponse { workspace: Some(filestore::Workspace::default()) }))
    }

    async fn get_revision(&self, _: Request<filestore::GetRevisionRequest>) -> Answer<filestore::GetRevisionResponse> {
        let revision = filestore::Revision { number: 2, ..Default::default() };
        Ok(Response::new(filestore::GetRevisionResponse { revision: Some(revision) }))
    }

    async fn create_workspace(
        &self,
        _: Request<filestore::CreateWorkspaceRequest>,
    ) -> Answer<filestore::CreateWorkspaceResponse> {
        Err(Status::unimplemented("create_workspace"))
    }

    async fn list_workspaces(&self, _: Request<filestore::ListWorkspacesRequest>) -> Answer<filestore::ListWorkspacesResponse> {
        Err(Status::unimplemented("list_workspaces"))
    }

    async fn delete_workspace(
        &self,
        _: Request<filestore::DeleteWorkspaceRequest>,
    ) -> Answer<filestore::DeleteWorkspaceResponse> {
        Err(Status::unimplemented("delete_workspace"))
    }

    async fn import_archive(
        &self,
        _: Request<tonic::Streaming<filestore::ImportArchiveRequest>>,
    ) -> Answer<filestore::ImportArchiveResponse> {
        Err(Status::unimplemented("import_archive"))
    }

    async fn export_archive(&self, _: Request<filestore::ExportArchiveRequest>) -> Answer<Self::ExportArchiveStream> {
        Err(Status::unimplemented("export_archive"))
    }

    async fn list_files(&self, _: Request<filestore::ListFilesRequest>) -> Answer<filestore::ListFilesResponse> {
        Err(Status::unimplemented("list_files"))
    }

    async fn read_file(&self, _: Request<filestore::ReadFileRequest>) -> Answer<Self::ReadFileStream> {
        Err(Status::unimplemented("read_file"))
    }

    async fn search_files(&self, _: Request<filestore::SearchFilesRequest>) -> Answer<filestore::SearchFilesResponse> {
        Err(Status::unimplemented("search_files"))
    }

    async fn commit_revision(&self, _: Request<filestore::CommitRevisionRequest>) -> Answer<filestore::CommitRevisionResponse> {
        Err(Status::unimplemented("commit_revision"))
    }

    async fn list_revisions(&self, _: Request<filestore::ListRevisionsRequest>) -> Answer<filestore::ListRevisionsResponse> {
        Err(Status::unimplemented("list_revisions"))
    }

    async fn diff_revisions(&self, _: Request<filestore::DiffRevisionsRequest>) -> Answer<filestore::DiffRevisionsResponse> {
        Err(Status::unimplemented("diff_revisions"))
    }

    async fn restore_revision(
        &self,
        _: Request<filestore::RestoreRevisionRequest>,
    ) -> Answer<filestore::RestoreRevisionResponse> {
        Err(Status::unimplemented("restore_revision"))
    }

    async fn create_download_link(
        &self,
        _: Request<filestore::CreateDownloadLinkRequest>,
    ) -> Answer<filestore::CreateDownloadLinkResponse> {
        Err(Status::unimplemented("create_download_link"))
    }

    async fn collect_garbage(&self, _: Request<filestore::CollectGarbageRequest>) -> Answer<filestore::CollectGarbageResponse> {
        Err(Status::unimplemented("collect_garbage"))
    }
}
