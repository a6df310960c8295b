//! `slipway index`

use std::time::Duration;

use slipway_proto::embedding::reindex_response::Event;
use slipway_proto::embedding::{GetIndexRequest, Index, IndexState, ReindexRequest, SearchMode};
use slipway_proto::filestore::Workspace;
use tonic::Code;

use super::audit::audit;
use super::{Api, required};
use crate::args;
use crate::error::{Exit, Failure};
use crate::output::{Out, Spinner, count};

const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Shows, awaits, rebuilds or audits the index of a workspace.
pub(crate) async fn index(api: &Api, out: &Out, command: args::Index) -> anyhow::Result<()> {
    if let Some(args::IndexCommand::Audit { workspace, repair }) = command.command {
        return audit(api, out, workspace.as_deref(), repair).await;
    }
    let workspace = api.workspace(&command.workspace.unwrap_or_default()).await?;
    if command.rebuild {
        return reindex(api, out, &workspace).await;
    }
    let index = if command.wait {
        wait(api, &workspace.id, &workspace.head_revision_id, LONGEST_WAIT).await?
    } else {
        let request = GetIndexRequest { workspace_id: workspace.id.clone() };
        required(api.search.clone().get_index(request).await?.into_inner().index, "index")?
    };
    show(out, &workspace, &index)
}

/// Waits until searches answer from `revision_id`.
pub(crate) async fn wait(api: &Api, workspace_id: &str, revision_id: &str, at_most: Duration) -> anyhow::Result<Index> {
    let deadline = tokio::time::Instant::now() + at_most;
    let mut pause = Duration::from_millis(20);
    let _spinner = Spinner::start("indexing");
    loop {
        let request = GetIndexRequest { workspace_id: workspace_id.to_owned() };
        match api.search.clone().get_index(request).await {
            Ok(response) => {
                let index = required(response.into_inner().index, "index")?;
                if index.revision_id == revision_id && index.state() == IndexState::Ready {
                    return Ok(index);
                }
                if index.state() == IndexState::Failed {
                    return Err(Failure::new(Exit::Failed, format!("indexing failed: {}", index.failure)).into());
                }
            }
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
        if tokio::time::Instant::now() >= deadline {
            let text = format!("the revision is not searchable after {} s; the server's log may say why", at_most.as_secs());
            return Err(Failure::new(Exit::Failed, text).into());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// Waits until chunks have their vectors, so that searches go by meaning too; gives up without an error.
pub(crate) async fn wait_for_vectors(api: &Api, workspace_id: &str, at_most: Duration) -> anyhow::Result<Index> {
    let deadline = tokio::time::Instant::now() + at_most;
    let spinner = Spinner::start("giving chunks their vectors");
    loop {
        let request = GetIndexRequest { workspace_id: workspace_id.to_owned() };
        let index = required(api.search.clone().get_index(request).await?.into_inner().index, "index")?;
        if index.mode() != SearchMode::Lexical || tokio::time::Instant::now() >= deadline {
            return Ok(index);
        }
        spinner.say(index.mode_reason);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn reindex(api: &Api, out: &Out, workspace: &Workspace) -> anyhow::Result<()> {
    let request = ReindexRequest { workspace_id: workspace.id.clone() };
    let mut stream = api.search.clone().reindex(request).await?.into_inner();
    let spinner = Spinner::start("indexing");
    while let Some(step) = stream.message().await? {
        let json = out.json("embedding.v1.ReindexResponse", &step)?;
        match step.event {
            Some(Event::Progress(p)) => spinner.say(format!("indexing {}/{}", p.done, p.total)),
            Some(Event::Ready(index)) => {
                drop(spinner);
                return if json { Ok(()) } else { show(out, workspace, &index) };
            }
            Some(Event::Failed(index)) => {
                return Err(Failure::new(Exit::Failed, format!("indexing failed: {}", index.failure)).into());
            }
            Some(Event::Heartbeat(_)) | None => {}
        }
    }
    Err(Failure::new(Exit::Failed, "the stream ended before the index was ready; the work goes on").into())
}

fn show(out: &Out, workspace: &Workspace, index: &Index) -> anyhow::Result<()> {
    if out.json("embedding.v1.Index", index)? {
        return Ok(());
    }
    let paint = out.paint;
    let state = match index.state() {
        IndexState::Ready => paint.green("ready"),
        IndexState::Indexing => paint.yellow("indexing"),
        IndexState::Failed => paint.red(format!("failed: {}", index.failure)),
        IndexState::Unspecified => "unknown".to_owned(),
    };
    out.line(format!("{}  {state}", paint.bold(&workspace.name)))?;
    out.line(format!("revision  {} of {}", index.revision_number, workspace.head_number))?;
    out.line(format!("holds     {}, {}", count(index.file_count, "file"), count(index.chunk_count, "chunk")))?;
    out.line(format!("searches  {}", mode(index)))
}

/// How an index is searched, and why.
pub(crate) fn mode(index: &Index) -> String {
    let name = match index.mode() {
        SearchMode::Hybrid => "by meaning and by words",
        SearchMode::Lexical => "by words only",
        SearchMode::Dense => "by meaning only",
        SearchMode::Unspecified => "in an unknown way",
    };
    if index.mode_reason.is_empty() { name.to_owned() } else { format!("{name}: {}", index.mode_reason) }
}
