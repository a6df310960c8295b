//! The neighbours that the planner calls: file-store, embedding, inference. Typed, with a time limit on every call.

use std::time::{Duration, Instant};

use bytes::Bytes;
use slipway_edits::MAX_EDITED;
use slipway_proto::embedding::{SelectFilesRequest, embedding_service_client::EmbeddingServiceClient};
use slipway_proto::filestore::{
    CommitRevisionRequest, DeleteFile, FileChange, GetRevisionRequest, GetWorkspaceRequest, ListFilesRequest,
    ListRevisionsRequest, ReadFileRequest, WriteFile, file_change::Change, file_store_service_client::FileStoreServiceClient,
    read_file_response::Part,
};
use slipway_proto::inference::{
    CompleteRequest, Completion, ListModelsRequest, Message, Prompt, Tool, ToolChoice,
    inference_service_client::InferenceServiceClient,
};
use slipway_rpc::{Channel, Ctx, Fault, Reason};
use uuid::Uuid;

use crate::edit::overlay::Content;
use crate::model::{Base, FileContent, Plan, StepFile};
use crate::prompt::ToolSpec;

const SHORT: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
const FILES_A_PAGE: u32 = 5_000;
const MAX_SELECT_REQUEST: usize = 32_000;
const MAX_COMMIT_MESSAGE: usize = 2_000;

/// A file of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileInfo {
    pub(crate) path: String,
    pub(crate) size: u64,
}

/// Which model is asked, and what for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    /// Empty: the default.
    pub(crate) model: &'a str,
    /// The conversation that pays.
    pub(crate) conversation: Option<Uuid>,
    /// The plan that pays.
    pub(crate) plan: Option<Uuid>,
}

/// The neighbours; cheap to clone.
#[derive(Clone)]
pub(crate) struct Neighbours {
    files: FileStoreServiceClient<Channel>,
    search: EmbeddingServiceClient<Channel>,
    models: InferenceServiceClient<Channel>,
}

impl Neighbours {
    pub(crate) fn new(file_store: Channel, embedding: Channel, inference: Channel) -> Neighbours {
        Neighbours {
            files: FileStoreServiceClient::new(file_store).max_decoding_message_size(MAX_ANSWER_BYTES),
            search: EmbeddingServiceClient::new(embedding).max_decoding_message_size(MAX_ANSWER_BYTES),
            models: InferenceServiceClient::new(inference).max_decoding_message_size(MAX_ANSWER_BYTES),
        }
    }

    /// The head of a workspace; nothing while it is empty.
    pub(crate) async fn find_head_id(&self, ctx: &Ctx, workspace: Uuid) -> Result<Option<Uuid>, Fault> {
        let request = GetWorkspaceRequest { workspace_id: workspace.to_string() };
        let answer = self.files.clone().get_workspace(within(ctx, SHORT).request(request)).await.map_err(fault)?;
        let head = answer.into_inner().workspace.unwrap_or_default().head_revision_id;
        if head.is_empty() { Ok(None) } else { id("head_revision_id", &head).map(Some) }
    }

    /// The head of a workspace with its hash; nothing while it is empty.
    pub(crate) async fn find_head(&self, ctx: &Ctx, workspace: Uuid) -> Result<Option<Base>, Fault> {
        let Some(head) = self.find_head_id(ctx, workspace).await? else { return Ok(None) };
        let request = GetRevisionRequest { workspace_id: workspace.to_string(), revision_id: head.to_string() };
        let answer = self.files.clone().get_revision(within(ctx, SHORT).request(request)).await.map_err(fault)?;
        Ok(Some(Base { revision_id: head, hash: answer.into_inner().revision.unwrap_or_default().hash }))
    }

    /// Every file of a revision, by path.
    pub(crate) async fn list_files(&self, ctx: &Ctx, workspace: Uuid, revision: Uuid) -> Result<Vec<FileInfo>, Fault> {
        let mut files = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListFilesRequest {
                workspace_id: workspace.to_string(),
                revision_id: revision.to_string(),
                page_size: FILES_A_PAGE,
                page_token,
                ..ListFilesRequest::default()
            };
            let page = self.files.clone().list_files(within(ctx, SHORT).request(request)).await.map_err(fault)?.into_inner();
            files.extend(page.files.into_iter().map(|f| FileInfo { path: f.path, size: f.size }));
            if page.next_page_token.is_empty() {
                return Ok(files);
            }
            page_token = page.next_page_token;
        }
    }

    /// A file's content, as far as it can be edited.
    pub(crate) async fn read_file(&self, ctx: &Ctx, workspace: Uuid, revision: Uuid, path: &str) -> Result<Content, Fault> {
        let request = ReadFileRequest {
            workspace_id: workspace.to_string(),
            revision_id: revision.to_string(),
            path: path.to_owned(),
            ..ReadFileRequest::default()
        };
        let mut parts = self.files.clone().read_file(within(ctx, LONG).request(request)).await.map_err(fault)?.into_inner();
        let mut bytes = Vec::new();
        while let Some(message) = parts.message().await.map_err(fault)? {
            if let Some(Part::Chunk(chunk)) = message.part {
                bytes.extend_from_slice(&chunk);
            }
            if bytes.len() > MAX_EDITED {
                return Ok(Content::Unreadable("is larger than 3 MiB".to_owned()));
            }
        }
        Ok(match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Content::Text(text),
            _ => Content::Unreadable("is not UTF-8 text".to_owned()),
        })
    }

    /// The files that a request is likely about; nothing while the workspace has no index.
    pub(crate) async fn select_files(
        &self,
        ctx: &Ctx,
        workspace: Uuid,
        request: &str,
        limit: u32,
    ) -> Result<Option<Vec<String>>, Fault> {
        let request = request.chars().take(MAX_SELECT_REQUEST).collect();
        let request = SelectFilesRequest { workspace_id: workspace.to_string(), request, limit };
        match self.search.clone().select_files(within(ctx, SHORT).request(request)).await.map_err(fault) {
            Ok(answer) => Ok(Some(answer.into_inner().files.into_iter().map(|f| f.path).collect())),
            Err(fault) if fault.reason() == Reason::IndexNotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// True unless no provider serves the model. A model that is not listed passes when its provider is: some providers
    /// serve more than they list, and the call itself tells.
    pub(crate) async fn serves_model(&self, ctx: &Ctx, model: &str) -> Result<bool, Fault> {
        let provider = model.split('/').next().unwrap_or(model);
        let mut page_token = String::new();
        loop {
            let request = ListModelsRequest { page_size: 1_000, page_token, ..Default::default() };
            let page = self.models.clone().list_models(within(ctx, SHORT).request(request)).await.map_err(fault)?.into_inner();
            if page.models.iter().any(|m| m.id == model || (m.provider == provider && model.contains('/'))) {
                return Ok(true);
            }
            if page.next_page_token.is_empty() {
                return Ok(false);
            }
            page_token = page.next_page_token;
        }
    }

    /// Asks a model, which must answer by tools.
    pub(crate) async fn complete(
        &self,
        ctx: &Ctx,
        timeout: Duration,
        about: About<'_>,
        messages: Vec<Message>,
        tools: &[ToolSpec],
    ) -> Result<Completion, Fault> {
        let prompt = Prompt {
            model: about.model.to_owned(),
            messages,
            tools: tools.iter().map(tool).collect(),
            tool_choice: ToolChoice::Required.into(),
            conversation_id: about.conversation.map(|id| id.to_string()).unwrap_or_default(),
            plan_id: about.plan.map(|id| id.to_string()).unwrap_or_default(),
            ..Prompt::default()
        };
        let request = within(ctx, timeout).request(CompleteRequest { prompt: Some(prompt) });
        let answer = self.models.clone().complete(request).await.map_err(fault)?;
        Ok(answer.into_inner().completion.unwrap_or_default())
    }

    /// Commits what the steps left, as one revision. The same plan and version again gives the same revision.
    pub(crate) async fn commit(&self, ctx: &Ctx, plan: &Plan, files: &[StepFile]) -> Result<Uuid, Fault> {
        let summary = if plan.summary.trim().is_empty() { "apply a plan" } else { plan.summary.as_str() };
        let request = CommitRevisionRequest {
            workspace_id: plan.workspace_id.to_string(),
            base_revision_id: plan.base.revision_id.to_string(),
            changes: files.iter().filter_map(change).collect(),
            message: summary.chars().take(MAX_COMMIT_MESSAGE).collect(),
            request_id: format!("plan/{}/{}", plan.id, plan.version),
            plan_id: plan.id.to_string(),
            ..CommitRevisionRequest::default()
        };
        let answer = self.files.clone().commit_revision(within(ctx, LONG).request(request)).await.map_err(fault)?;
        id("revision.id", &answer.into_inner().revision.unwrap_or_default().id)
    }

    /// The revision that this plan made on its base, if it did.
    pub(crate) async fn find_revision_of(&self, ctx: &Ctx, plan: &Plan) -> Result<Option<Uuid>, Fault> {
        let (plan_id, base) = (plan.id.to_string(), plan.base.revision_id.to_string());
        let mut page_token = String::new();
        loop {
            let request = ListRevisionsRequest { workspace_id: plan.workspace_id.to_string(), page_size: 200, page_token };
            let answer = self.files.clone().list_revisions(within(ctx, SHORT).request(request)).await.map_err(fault)?;
            let page = answer.into_inner();
            for revision in &page.revisions {
                if revision.plan_id == plan_id && revision.parent_id == base {
                    return id("revision.id", &revision.id).map(Some);
                }
                if revision.id == base {
                    return Ok(None);
                }
            }
            if page.next_page_token.is_empty() {
                return Ok(None);
            }
            page_token = page.next_page_token;
        }
    }
}

/// The same context with an earlier deadline.
fn within(ctx: &Ctx, limit: Duration) -> Ctx {
    let limit = Instant::now() + limit;
    let mut ctx = ctx.clone();
    ctx.deadline = Some(ctx.deadline.map_or(limit, |deadline| deadline.min(limit)));
    ctx
}

#[allow(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn fault(status: tonic::Status) -> Fault {
    Fault::from_status(&status)
}

fn id(field: &str, value: &str) -> Result<Uuid, Fault> {
    value.parse().map_err(|e| Fault::internal(format!("the file store gave no id as {field}: {e}")))
}

fn tool(spec: &ToolSpec) -> Tool {
    Tool { name: spec.name.to_owned(), description: spec.description.to_owned(), parameters_json: spec.parameters.to_string() }
}

fn change(file: &StepFile) -> Option<FileChange> {
    let path = file.path.clone();
    let change = match &file.content {
        FileContent::Unchanged => return None,
        FileContent::Written(text) => {
            Change::Write(WriteFile { path, content: Bytes::copy_from_slice(text.as_bytes()), ..WriteFile::default() })
        }
        FileContent::Deleted => Change::Delete(DeleteFile { path, ..DeleteFile::default() }),
    };
    Some(FileChange { change: Some(change) })
}
