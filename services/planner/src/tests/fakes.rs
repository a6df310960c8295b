//! Scripted neighbours: a file store in memory, an index that may be missing, a model that says what it is told to say.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use slipway_proto::embedding as emb;
use slipway_proto::embedding::embedding_service_server::{EmbeddingService, EmbeddingServiceServer};
use slipway_proto::filestore as fs;
use slipway_proto::filestore::file_store_service_server::{FileStoreService, FileStoreServiceServer};
use slipway_proto::inference as inf;
use slipway_proto::inference::inference_service_server::{InferenceService, InferenceServiceServer};
use slipway_rpc::{Ctx, Fault, Reason, Server};
use tokio::sync::Notify;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = BoxStream<'static, Result<T, Status>>;

pub(super) const VALUES: &str = "gateway:\n  replicas: 1\nworker:\n  replicas: 1\n";
pub(super) const DEPLOYMENT: &str = "kind: Deployment\nspec:\n  replicas: {{ .Values.gateway.replicas }}\n";

/// What the model says next.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Calls(Vec<(String, String)>),
    Text(String),
    Fail(Reason, String),
    /// Never answers.
    Hang,
}

/// What happens to the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitMode {
    Normal,
    /// Is made, but the answer never comes.
    HangAfter,
    /// Fails before anything is made.
    Fail,
}

/// A submitted plan of (action, path).
pub(super) fn plan(steps: &[(&str, &str)]) -> Reply {
    let steps: Vec<_> = steps
        .iter()
        .map(|(action, path)| serde_json::json!({"path": path, "action": action, "reason": format!("{action} {path}")}))
        .collect();
    calls(&[("submit_plan", serde_json::json!({"summary": "does it", "steps": steps}))])
}

pub(super) fn calls(calls: &[(&str, serde_json::Value)]) -> Reply {
    Reply::Calls(calls.iter().map(|(name, arguments)| ((*name).to_owned(), arguments.to_string())).collect())
}

/// An edit of the gateway's replicas, and `done`.
pub(super) fn edit_replicas(count: u32) -> Reply {
    let new = format!("gateway:\n  replicas: {count}\n");
    let replace = serde_json::json!({"path": "values.yaml", "old_str": "gateway:\n  replicas: 1\n", "new_str": new});
    calls(&[("str_replace", replace), ("done", serde_json::json!({"summary": "x"}))])
}

/// A created file, and `done`.
pub(super) fn create_file(path: &str, content: &str) -> Reply {
    calls(&[("create", serde_json::json!({"path": path, "content": content})), ("done", serde_json::json!({}))])
}

#[derive(Clone)]
pub(super) struct Rev {
    pub(super) id: Uuid,
    pub(super) parent: Option<Uuid>,
    pub(super) plan_id: String,
    pub(super) message: String,
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

pub(super) struct State {
    pub(super) revisions: Vec<Rev>,
    pub(super) requests: HashMap<String, Uuid>,
    pub(super) commit_calls: u32,
    pub(super) commit_mode: CommitMode,
    pub(super) forget_requests: bool,
    pub(super) index: Option<Vec<String>>,
    pub(super) replies: VecDeque<Reply>,
    pub(super) prompts: Vec<inf::Prompt>,
    pub(super) reads: Vec<String>,
}

/// The neighbours' state; outlives the servers that show it.
pub(super) struct World {
    pub(super) project: Uuid,
    pub(super) workspace: Uuid,
    pub(super) empty_workspace: Uuid,
    state: Mutex<State>,
    /// Told whenever somebody hangs.
    pub(super) hanging: Notify,
}

impl World {
    pub(super) fn new() -> Arc<World> {
        let files = [
            ("Chart.yaml", "name: x\nversion: 1.0.0\n"),
            ("README.md", "# x\n"),
            ("logo.png", "\u{0}png"),
            ("templates/deployment.yaml", DEPLOYMENT),
            ("values.yaml", VALUES),
        ];
        let files = files.map(|(p, c)| (p.to_owned(), c.as_bytes().to_vec())).into();
        let first = Rev { id: Uuid::now_v7(), parent: None, plan_id: String::new(), message: String::new(), files };
        let state = State {
            revisions: vec![first],
            requests: HashMap::new(),
            commit_calls: 0,
            commit_mode: CommitMode::Normal,
            forget_requests: false,
            index: None,
            replies: VecDeque::new(),
            prompts: Vec::new(),
            reads: Vec::new(),
        };
        Arc::new(World {
            project: Uuid::now_v7(),
            workspace: Uuid::now_v7(),
            empty_workspace: Uuid::now_v7(),
            state: Mutex::new(state),
            hanging: Notify::new(),
        })
    }

    pub(super) fn serve(self: &Arc<Self>, server: &mut Server) {
        server.add_service(FileStoreServiceServer::new(Fake(self.clone())));
        server.add_service(EmbeddingServiceServer::new(Fake(self.clone())));
        server.add_service(InferenceServiceServer::new(Fake(self.clone())));
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn say(&self, reply: Reply) {
        self.lock().replies.push_back(reply);
    }

    /// Calls of CommitRevision, and revisions.
    pub(super) fn counts(&self) -> (u32, usize) {
        let state = self.lock();
        (state.commit_calls, state.revisions.len())
    }

    pub(super) fn head(&self) -> Rev {
        self.lock().revisions.last().unwrap().clone()
    }

    pub(super) fn text(&self, path: &str) -> Option<String> {
        self.head().files.get(path).map(|c| String::from_utf8_lossy(c).into_owned())
    }

    /// Somebody else commits.
    pub(super) fn move_head(&self) -> Uuid {
        let head = self.head();
        let mut files = head.files.clone();
        files.insert("moved.txt".into(), Uuid::now_v7().to_string().into_bytes());
        let id = Uuid::now_v7();
        self.lock().revisions.push(Rev { id, parent: Some(head.id), plan_id: String::new(), message: String::new(), files });
        id
    }

    pub(super) fn last_prompt(&self) -> String {
        let state = self.lock();
        let messages = &state.prompts.last().unwrap().messages;
        messages.iter().map(|m| m.text.as_str()).collect::<Vec<_>>().join("\n----\n")
    }

    async fn hang(&self) -> Status {
        self.hanging.notify_one();
        // Longer than any test: the caller is killed meanwhile.
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        Status::unavailable("never")
    }
}

struct Fake(Arc<World>);

impl Fake {
    fn revision(&self, ctx: &Ctx, workspace: &str, revision: &str) -> Result<Rev, Fault> {
        self.check_workspace(ctx, workspace)?;
        let state = self.0.lock();
        let found = state.revisions.iter().rev().find(|r| revision.is_empty() || r.id.to_string() == revision);
        found.cloned().ok_or_else(|| Fault::new(Reason::RevisionNotFound, "no such revision"))
    }

    fn check_workspace(&self, ctx: &Ctx, workspace: &str) -> Result<(), Fault> {
        let known = workspace == self.0.workspace.to_string() || workspace == self.0.empty_workspace.to_string();
        match known && ctx.project.0 == self.0.project {
            true => Ok(()),
            false => Err(Fault::new(Reason::WorkspaceNotFound, "no such workspace")),
        }
    }

    fn to_proto(&self, rev: &Rev) -> fs::Revision {
        fs::Revision {
            id: rev.id.to_string(),
            workspace_id: self.0.workspace.to_string(),
            parent_id: rev.parent.map(|p| p.to_string()).unwrap_or_default(),
            hash: format!("hash-{}", rev.id),
            plan_id: rev.plan_id.clone(),
            message: rev.message.clone(),
            ..Default::default()
        }
    }

    fn do_commit(&self, request: &fs::CommitRevisionRequest) -> Result<Rev, Fault> {
        let mut state = self.0.lock();
        state.commit_calls += 1;
        if state.commit_mode == CommitMode::Fail {
            return Err(Fault::new(Reason::ServiceUnavailable, "the file store is away"));
        }
        if let (Some(id), false) = (state.requests.get(&request.request_id), state.forget_requests) {
            return Ok(state.revisions.iter().find(|r| r.id == *id).unwrap().clone());
        }
        let head = state.revisions.last().unwrap().clone();
        if head.id.to_string() != request.base_revision_id {
            return Err(Fault::new(Reason::BaseRevisionStale, "moved").with("head_revision_id", head.id));
        }
        let mut files = head.files.clone();
        for change in &request.changes {
            match change.change.as_ref().unwrap() {
                fs::file_change::Change::Write(w) => drop(files.insert(w.path.clone(), w.content.to_vec())),
                fs::file_change::Change::Delete(d) => drop(files.remove(&d.path).unwrap()),
                fs::file_change::Change::Rename(_) => unreachable!("plans do not rename"),
            }
        }
        let (plan_id, message) = (request.plan_id.clone(), request.message.clone());
        let rev = Rev { id: Uuid::now_v7(), parent: Some(head.id), plan_id, message, files };
        state.requests.insert(request.request_id.clone(), rev.id);
        state.revisions.push(rev.clone());
        Ok(rev)
    }
}

/// The methods that these tests do not call, as `async_trait` writes them.
macro_rules! not_here {
    ($($name:ident: $request:ty => $answer:ty;)*) => {
        $(fn $name<'life0, 'async_trait>(&'life0 self, _: Request<$request>) -> BoxFuture<'async_trait, Answer<$answer>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            async { Err(Status::unimplemented("not in these tests")) }.boxed()
        })*
    };
}

#[tonic::async_trait]
impl FileStoreService for Fake {
    type ExportArchiveStream = Answers<fs::ExportArchiveResponse>;
    type ReadFileStream = Answers<fs::ReadFileResponse>;

    async fn get_workspace(&self, request: Request<fs::GetWorkspaceRequest>) -> Answer<fs::GetWorkspaceResponse> {
        let ctx = Ctx::of(&request)?;
        let id = request.into_inner().workspace_id;
        self.check_workspace(&ctx, &id)?;
        let empty = id == self.0.empty_workspace.to_string();
        let head_revision_id = if empty { String::new() } else { self.0.head().id.to_string() };
        let workspace = fs::Workspace { id, head_revision_id, ..Default::default() };
        Ok(Response::new(fs::GetWorkspaceResponse { workspace: Some(workspace) }))
    }

    async fn get_revision(&self, request: Request<fs::GetRevisionRequest>) -> Answer<fs::GetRevisionResponse> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let rev = self.revision(&ctx, &request.workspace_id, &request.revision_id)?;
        Ok(Response::new(fs::GetRevisionResponse { revision: Some(self.to_proto(&rev)) }))
    }

    async fn list_revisions(&self, request: Request<fs::ListRevisionsRequest>) -> Answer<fs::ListRevisionsResponse> {
        let revisions = self.0.lock().revisions.clone();
        let page: usize = request.into_inner().page_token.parse().unwrap_or(0);
        let one = revisions.iter().rev().nth(page).map(|r| self.to_proto(r));
        let next_page_token = if page + 1 < revisions.len() { (page + 1).to_string() } else { String::new() };
        Ok(Response::new(fs::ListRevisionsResponse { revisions: one.into_iter().collect(), next_page_token }))
    }

    async fn list_files(&self, request: Request<fs::ListFilesRequest>) -> Answer<fs::ListFilesResponse> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let rev = self.revision(&ctx, &request.workspace_id, &request.revision_id)?;
        // Two files a page: paging is part of what is tested.
        let from: usize = request.page_token.parse().unwrap_or(0);
        let entry = |(path, content): (&String, &Vec<u8>)| fs::FileEntry {
            path: path.clone(),
            size: content.len() as u64,
            ..Default::default()
        };
        let files: Vec<_> = rev.files.iter().skip(from).take(2).map(entry).collect();
        let next_page_token = if from + 2 < rev.files.len() { (from + 2).to_string() } else { String::new() };
        Ok(Response::new(fs::ListFilesResponse { files, revision_id: rev.id.to_string(), next_page_token }))
    }

    async fn read_file(&self, request: Request<fs::ReadFileRequest>) -> Answer<Self::ReadFileStream> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let rev = self.revision(&ctx, &request.workspace_id, &request.revision_id)?;
        self.0.lock().reads.push(request.path.clone());
        let content = rev.files.get(&request.path).cloned();
        let content = content.ok_or_else(|| Fault::new(Reason::FileNotFound, "no such file").with("path", &request.path))?;
        use fs::read_file_response::Part;
        let mut parts = vec![Part::File(fs::FileEntry { path: request.path, size: content.len() as u64, ..Default::default() })];
        parts.extend(content.chunks(7).map(|c| Part::Chunk(c.to_vec().into())));
        let parts = parts.into_iter().map(|p| Ok(fs::ReadFileResponse { part: Some(p) }));
        Ok(Response::new(stream::iter(parts).boxed()))
    }

    async fn commit_revision(&self, request: Request<fs::CommitRevisionRequest>) -> Answer<fs::CommitRevisionResponse> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        self.check_workspace(&ctx, &request.workspace_id)?;
        let rev = self.do_commit(&request)?;
        let mode = self.0.lock().commit_mode;
        if mode == CommitMode::HangAfter {
            return Err(self.0.hang().await);
        }
        Ok(Response::new(fs::CommitRevisionResponse { revision: Some(self.to_proto(&rev)) }))
    }

    async fn import_archive(&self, _: Request<Streaming<fs::ImportArchiveRequest>>) -> Answer<fs::ImportArchiveResponse> {
        Err(Status::unimplemented("not in these tests"))
    }

    not_here! {
        create_workspace: fs::CreateWorkspaceRequest => fs::CreateWorkspaceResponse;
        list_workspaces: fs::ListWorkspacesRequest => fs::ListWorkspacesResponse;
        delete_workspace: fs::DeleteWorkspaceRequest => fs::DeleteWorkspaceResponse;
        export_archive: fs::ExportArchiveRequest => Answers<fs::ExportArchiveResponse>;
        search_files: fs::SearchFilesRequest => fs::SearchFilesResponse;
        diff_revisions: fs::DiffRevisionsRequest => fs::DiffRevisionsResponse;
        restore_revision: fs::RestoreRevisionRequest => fs::RestoreRevisionResponse;
        create_download_link: fs::CreateDownloadLinkRequest => fs::CreateDownloadLinkResponse;
        collect_garbage: fs::CollectGarbageRequest => fs::CollectGarbageResponse;
    }
}

#[tonic::async_trait]
impl EmbeddingService for Fake {
    type ReindexStream = Answers<emb::ReindexResponse>;

    async fn select_files(&self, _: Request<emb::SelectFilesRequest>) -> Answer<emb::SelectFilesResponse> {
        let paths = self.0.lock().index.clone();
        let paths = paths.ok_or_else(|| Fault::new(Reason::IndexNotFound, "no index yet"))?;
        let files = paths.into_iter().map(|path| emb::SelectedFile { path, ..Default::default() }).collect();
        Ok(Response::new(emb::SelectFilesResponse { files, ..Default::default() }))
    }

    not_here! {
        search: emb::SearchRequest => emb::SearchResponse;
        get_index: emb::GetIndexRequest => emb::GetIndexResponse;
        reindex: emb::ReindexRequest => Answers<emb::ReindexResponse>;
        embed_texts: emb::EmbedTextsRequest => emb::EmbedTextsResponse;
    }
}

#[tonic::async_trait]
impl InferenceService for Fake {
    type StreamCompleteStream = Answers<inf::StreamCompleteResponse>;
    type BatchCompleteStream = Answers<inf::BatchCompleteResponse>;

    async fn complete(&self, request: Request<inf::CompleteRequest>) -> Answer<inf::CompleteResponse> {
        let prompt = request.into_inner().prompt.unwrap_or_default();
        let reply = {
            let mut state = self.0.lock();
            state.prompts.push(prompt);
            state.replies.pop_front()
        };
        let usage = inf::Usage { input_tokens: 100, output_tokens: 10, ..Default::default() };
        let mut completion = inf::Completion { usage: Some(usage), ..Default::default() };
        match reply {
            Some(Reply::Calls(calls)) => {
                completion.finish_reason = inf::FinishReason::ToolCalls.into();
                completion.tool_calls = (0..)
                    .zip(calls)
                    .map(|(n, (name, arguments_json))| inf::ToolCall { id: format!("c{n}"), name, arguments_json })
                    .collect();
            }
            Some(Reply::Text(text)) => {
                completion.finish_reason = inf::FinishReason::Stop.into();
                completion.text = text;
            }
            Some(Reply::Fail(reason, message)) => return Err(Fault::new(reason, message).into()),
            Some(Reply::Hang) => return Err(self.0.hang().await),
            None => return Err(Fault::new(Reason::ProviderRejectedRequest, "the script is over").into()),
        }
        Ok(Response::new(inf::CompleteResponse { completion: Some(completion) }))
    }

    async fn list_models(&self, _: Request<inf::ListModelsRequest>) -> Answer<inf::ListModelsResponse> {
        let model = inf::Model { id: "builtin/rules".into(), provider: "builtin".into(), ..Default::default() };
        Ok(Response::new(inf::ListModelsResponse { models: vec![model], ..Default::default() }))
    }

    not_here! {
        stream_complete: inf::StreamCompleteRequest => Answers<inf::StreamCompleteResponse>;
        batch_complete: inf::BatchCompleteRequest => Answers<inf::BatchCompleteResponse>;
        test_connection: inf::TestConnectionRequest => inf::TestConnectionResponse;
        list_providers: inf::ListProvidersRequest => inf::ListProvidersResponse;
        count_tokens: inf::CountTokensRequest => inf::CountTokensResponse;
    }
}
