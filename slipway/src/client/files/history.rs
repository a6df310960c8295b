//! `slipway files history`, `blame`, `watch` and `diff`.

use std::collections::HashMap;

use slipway_proto::filestore::watch_changes_response::Event;
use slipway_proto::filestore::{
    BlameFileRequest, BlameFileResponse, BlameRange, FileHistoryEntry, FileStatus, ListFileHistoryRequest,
    ListFileHistoryResponse, ReadFileRequest, WatchChangesRequest, read_file_response::Part,
};

use crate::client::{Api, Rev};
use crate::output::{Out, Table, time};

pub(super) async fn history(api: &Api, out: &Out, workspace: &str, path: String, rev: Rev<'_>) -> anyhow::Result<()> {
    let workspace = api.workspace(workspace).await?;
    let revision_id = api.revision_id(&workspace, rev).await?;
    let (mut entries, mut page_token) = (Vec::<FileHistoryEntry>::new(), String::new());
    loop {
        let request = ListFileHistoryRequest {
            workspace_id: workspace.id.clone(),
            path: path.clone(),
            revision_id: revision_id.clone(),
            page_size: 1_000,
            page_token,
        };
        let page = api.histories.clone().list_file_history(request).await?.into_inner();
        entries.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let response = ListFileHistoryResponse { entries, next_page_token: String::new() };
    if out.json("filestore.v1.ListFileHistoryResponse", &response)? {
        return Ok(());
    }
    let mut table = Table::plain(&["rev", "change", "path", "message", "made (UTC)"], out.paint);
    for entry in &response.entries {
        let revision = entry.revision.clone().unwrap_or_default();
        let path = match entry.status() {
            FileStatus::Renamed => format!("{} -> {}", entry.old_path, entry.path),
            _ => entry.path.clone(),
        };
        let message = revision.message.lines().next().unwrap_or_default().to_owned();
        let made = time(revision.create_time.as_ref());
        table.row([revision.number.to_string(), what(entry.status()).to_owned(), path, message, made]);
    }
    out.line(table.text())
}

fn what(status: FileStatus) -> &'static str {
    match status {
        FileStatus::Added => "added",
        FileStatus::Modified => "modified",
        FileStatus::Deleted => "deleted",
        FileStatus::Renamed => "renamed",
        FileStatus::Unspecified => "unknown",
    }
}

pub(super) async fn blame(api: &Api, out: &Out, workspace: &str, path: String, rev: Rev<'_>) -> anyhow::Result<()> {
    let workspace = api.workspace(workspace).await?;
    // One revision for both calls, though the head may move.
    let revision_id = api.revision(&workspace, rev).await?.id;
    let request = BlameFileRequest { workspace_id: workspace.id.clone(), path: path.clone(), revision_id: revision_id.clone() };
    let mut stream = api.histories.clone().blame_file(request).await?.into_inner();
    let mut ranges = Vec::new();
    while let Some(part) = stream.message().await? {
        ranges.extend(part.ranges);
    }
    ranges.sort_by_key(|range| range.start_line);
    if out.json("filestore.v1.BlameFileResponse", &BlameFileResponse { ranges: ranges.clone() })? {
        return Ok(());
    }
    let request = ReadFileRequest { workspace_id: workspace.id, revision_id, path, ..Default::default() };
    let mut stream = api.files.clone().read_file(request).await?.into_inner();
    let mut content = Vec::new();
    while let Some(response) = stream.message().await? {
        if let Some(Part::Chunk(chunk)) = response.part {
            content.extend_from_slice(&chunk);
        }
    }
    let text = String::from_utf8_lossy(&content);
    let origin: HashMap<u32, &BlameRange> = ranges
        .iter()
        .flat_map(|range| (range.start_line..range.start_line + range.line_count).map(move |n| (n, range)))
        .collect();
    for (line, n) in text.lines().zip(1..) {
        let from = origin.get(&n).map(|range| format!("{:>5}  {}", range.number, time(range.create_time.as_ref())));
        out.line(format!("{}  {n:>5}  {line}", out.paint.dim(from.unwrap_or_default())))?;
    }
    Ok(())
}

pub(super) async fn watch(api: &Api, out: &Out, workspace: &str, after_sequence: u64) -> anyhow::Result<()> {
    let workspace = api.workspace(workspace).await?;
    let request = WatchChangesRequest { workspace_id: workspace.id, after_sequence };
    let mut stream = api.histories.clone().watch_changes(request).await?.into_inner();
    while let Some(told) = stream.message().await? {
        if out.json("filestore.v1.WatchChangesResponse", &told)? {
            continue;
        }
        match told.event {
            Some(Event::Snapshot(now)) => out.note(format!("{} is at revision {}", now.name, now.head_number)),
            Some(Event::Revision(made)) => {
                let when = time(made.create_time.as_ref());
                let message = made.message.lines().next().unwrap_or_default();
                out.line(format!("{}  {}  {message}", out.paint.bold(format!("revision {}", made.number)), out.paint.dim(when)))?;
            }
            Some(Event::Deleted(_)) => out.note("the workspace is gone"),
            Some(Event::Heartbeat(_)) | None => {}
        }
    }
    Ok(())
}
