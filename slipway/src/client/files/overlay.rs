//! `slipway files overlay …`

use std::path::PathBuf;

use anyhow::Context as _;
use slipway_proto::filestore::file_change::Change;
use slipway_proto::filestore::read_file_response::Part;
use slipway_proto::filestore::{
    ChangeOverlayRequest, CommitOverlayRequest, CreateOverlayRequest, DeleteFile, DeleteOverlayRequest, DeleteOverlayResponse,
    DiffRevisionsRequest, DiffRevisionsResponse, FileChange, GetOverlayRequest, ListOverlaysRequest, ListOverlaysResponse,
    Overlay, PreviewMergeRequest, ReadFileRequest, RenameFile, WriteFile,
};
use tokio::io::AsyncReadExt as _;
use uuid::Uuid;

use super::edit;
use crate::args::Overlay as Command;
use crate::client::{Api, Rev, required};
use crate::error::Failure;
use crate::output::{Out, Table, bytes, count, time, unified};

pub(super) async fn overlay(api: &Api, out: &Out, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create { workspace, revision, name } => create(api, out, &workspace, Rev::of(&revision), name).await,
        Command::List { workspace } => list(api, out, &workspace).await,
        Command::Show { overlay } => show(out, &get(api, &overlay).await?),
        Command::Cat { overlay, path } => cat(api, out, &overlay, path).await,
        Command::Write { overlay, path, from } => {
            let write = WriteFile { path, content: content(from).await?.into(), ..Default::default() };
            change(api, out, overlay, Change::Write(write)).await
        }
        Command::Edit { overlay, from, path } => edit::edit(api, out, overlay, content(from).await?, path).await,
        Command::Remove { overlay, path } => {
            change(api, out, overlay, Change::Delete(DeleteFile { path, ..Default::default() })).await
        }
        Command::Rename { overlay, path, new_path } => {
            change(api, out, overlay, Change::Rename(RenameFile { path, new_path, ..Default::default() })).await
        }
        Command::Diff { overlay, context } => diff(api, out, &overlay, context).await,
        Command::Commit { overlay, message, merge } => commit(api, out, overlay, message, merge).await,
        Command::Preview { overlay } => preview(api, out, overlay).await,
        Command::Delete { overlay, yes: _ } => delete(api, out, overlay).await,
    }
}

async fn create(api: &Api, out: &Out, workspace: &str, rev: Rev<'_>, name: String) -> anyhow::Result<()> {
    let workspace = api.workspace(workspace).await?;
    let base_revision_id = api.revision_id(&workspace, rev).await?;
    let request_id = Uuid::now_v7().to_string();
    let request = CreateOverlayRequest { workspace_id: workspace.id, base_revision_id, name, request_id };
    show(out, &required(api.overlays.clone().create_overlay(request).await?.into_inner().overlay, "overlay")?)
}

async fn get(api: &Api, id: &str) -> anyhow::Result<Overlay> {
    let request = GetOverlayRequest { overlay_id: id.to_owned() };
    required(api.overlays.clone().get_overlay(request).await?.into_inner().overlay, "overlay")
}

async fn list(api: &Api, out: &Out, workspace: &str) -> anyhow::Result<()> {
    let workspace = api.workspace(workspace).await?;
    let (mut overlays, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListOverlaysRequest { workspace_id: workspace.id.clone(), page_size: 1_000, page_token };
        let page = api.overlays.clone().list_overlays(request).await?.into_inner();
        overlays.extend(page.overlays);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let response = ListOverlaysResponse { overlays, next_page_token: String::new() };
    if out.json("filestore.v1.ListOverlaysResponse", &response)? {
        return Ok(());
    }
    let mut table = Table::plain(&["name", "base", "files", "changed (UTC)", "id"], out.paint);
    for o in &response.overlays {
        let changed = time(o.update_time.as_ref());
        table.row([o.name.clone(), o.base_number.to_string(), o.file_count.to_string(), changed, o.id.clone()]);
    }
    out.line(table.text())
}

fn show(out: &Out, overlay: &Overlay) -> anyhow::Result<()> {
    if out.json("filestore.v1.Overlay", overlay)? {
        return Ok(());
    }
    let name = if overlay.name.is_empty() { "overlay" } else { &overlay.name };
    out.line(out.paint.bold(name))?;
    out.line(format!("id       {}", overlay.id))?;
    out.line(match overlay.base_number {
        0 => "base     an empty workspace".to_owned(),
        n => format!("base     revision {n}  {}", out.paint.dim(&overlay.base_revision_id)),
    })?;
    out.line(format!("files    {}, {}", count(overlay.file_count, "file"), bytes(overlay.total_bytes)))?;
    out.line(format!("changed  {} UTC, etag {}", time(overlay.update_time.as_ref()), overlay.etag))?;
    out.line(format!("kept     until {} UTC", time(overlay.expire_time.as_ref())))
}

async fn cat(api: &Api, out: &Out, id: &str, path: String) -> anyhow::Result<()> {
    let overlay = get(api, id).await?;
    let request = ReadFileRequest { workspace_id: overlay.workspace_id, overlay_id: overlay.id, path, ..Default::default() };
    let mut stream = api.files.clone().read_file(request).await?.into_inner();
    while let Some(response) = stream.message().await? {
        if out.json("filestore.v1.ReadFileResponse", &response)? {
            continue;
        }
        if let Some(Part::Chunk(chunk)) = response.part {
            out.raw(&chunk)?;
        }
    }
    Ok(())
}

async fn content(from: Option<PathBuf>) -> anyhow::Result<Vec<u8>> {
    match from {
        Some(path) => tokio::fs::read(&path).await.with_context(|| format!("cannot read {}", path.display())),
        None => {
            let mut content = Vec::new();
            tokio::io::stdin().read_to_end(&mut content).await.context("cannot read standard input")?;
            Ok(content)
        }
    }
}

async fn change(api: &Api, out: &Out, overlay_id: String, change: Change) -> anyhow::Result<()> {
    let request = ChangeOverlayRequest {
        overlay_id,
        changes: vec![FileChange { change: Some(change) }],
        request_id: Uuid::now_v7().to_string(),
        ..Default::default()
    };
    show(out, &required(api.overlays.clone().change_overlay(request).await?.into_inner().overlay, "overlay")?)
}

async fn diff(api: &Api, out: &Out, id: &str, context: u32) -> anyhow::Result<()> {
    let overlay = get(api, id).await?;
    if overlay.base_revision_id.is_empty() {
        return Err(Failure::usage("the overlay was made of an empty workspace, with which there is nothing to compare").into());
    }
    let (mut files, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = DiffRevisionsRequest {
            workspace_id: overlay.workspace_id.clone(),
            from_revision_id: overlay.base_revision_id.clone(),
            to_overlay_id: overlay.id.clone(),
            context_lines: Some(context),
            page_token,
            ..Default::default()
        };
        let page = api.files.clone().diff_revisions(request).await?.into_inner();
        files.extend(page.files);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if out.json("filestore.v1.DiffRevisionsResponse", &DiffRevisionsResponse { files: files.clone(), ..Default::default() })? {
        return Ok(());
    }
    if files.is_empty() {
        out.note("nothing is changed yet");
    }
    out.raw(unified(&files, out.paint).as_bytes())
}

async fn commit(api: &Api, out: &Out, overlay_id: String, message: String, merge: bool) -> anyhow::Result<()> {
    let request =
        CommitOverlayRequest { overlay_id, message, merge, request_id: Uuid::now_v7().to_string(), ..Default::default() };
    let response = api.overlays.clone().commit_overlay(request).await?.into_inner();
    if out.json("filestore.v1.CommitOverlayResponse", &response)? {
        return Ok(());
    }
    let made = required(response.revision, "revision")?;
    out.line(format!(
        "{} ({}, {})",
        out.paint.bold(format!("revision {}", made.number)),
        count(made.file_count, "file"),
        bytes(made.total_bytes)
    ))
}

async fn preview(api: &Api, out: &Out, overlay_id: String) -> anyhow::Result<()> {
    let response = api.overlays.clone().preview_merge(PreviewMergeRequest { overlay_id }).await?.into_inner();
    if out.json("filestore.v1.PreviewMergeResponse", &response)? {
        return Ok(());
    }
    if response.conflict_count == 0 {
        return out.line(format!("it merges with revision {}", response.head_number));
    }
    out.line(format!("{} with revision {}", count(response.conflict_count, "conflict"), response.head_number))?;
    for conflict in &response.conflicts {
        let kind = conflict.kind().as_str_name().trim_start_matches("CONFLICT_KIND_").to_lowercase();
        out.line(format!("{}  {}", out.paint.bold(&conflict.path), out.paint.dim(kind)))?;
        for hunk in &conflict.hunks {
            for (side, name) in [(&hunk.head, "head"), (&hunk.base, "base"), (&hunk.change, "change")] {
                let Some(side) = side else { continue };
                out.line(out.paint.cyan(format!("  {name}, line {}", side.start)))?;
                for line in &side.lines {
                    out.line(format!("    {line}"))?;
                }
            }
        }
    }
    Ok(())
}

async fn delete(api: &Api, out: &Out, overlay_id: String) -> anyhow::Result<()> {
    api.overlays.clone().delete_overlay(DeleteOverlayRequest { overlay_id }).await?;
    if out.json("filestore.v1.DeleteOverlayResponse", &DeleteOverlayResponse {})? {
        return Ok(());
    }
    out.line("the overlay is gone")
}
