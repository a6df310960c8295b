//! The messages of histories.

use slipway_proto::filestore as pb;
use slipway_rpc::{Check, Fault, now_micros, timestamp};
use uuid::Uuid;

use super::{file_entry, file_status, page_request, required_path, revision, text, workspace};
use crate::model::BlameRange;
use crate::service::{HistoryEvent, HistoryRequest, Page, WatchedChange};

/// Of a message, so many characters are told with each range of lines.
const MAX_SUMMARY: usize = 200;

pub(crate) fn file_history(request: pb::ListFileHistoryRequest) -> Result<HistoryRequest, Fault> {
    let mut check = Check::new();
    let workspace_id = check.uuid("workspace_id", &request.workspace_id);
    let revision = check.optional_uuid("revision_id", &request.revision_id);
    let page = page_request(&mut check, request.page_size, 50, 1_000, request.page_token);
    let path = required_path(&mut check, "path", request.path);
    check.finish()?;
    Ok(HistoryRequest { workspace_id, path: path?, revision, page })
}

pub(crate) fn blame(request: pb::BlameFileRequest) -> Result<(Uuid, Option<Uuid>, String), Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", &request.workspace_id);
    let revision = check.optional_uuid("revision_id", &request.revision_id);
    let path = required_path(&mut check, "path", request.path);
    check.finish()?;
    Ok((workspace, revision, path?))
}

pub(crate) fn history(page: Page<HistoryEvent>) -> pb::ListFileHistoryResponse {
    pb::ListFileHistoryResponse { entries: page.items.into_iter().map(entry).collect(), next_page_token: page.next }
}

fn entry(event: HistoryEvent) -> pb::FileHistoryEntry {
    let status = file_status(event.status);
    let old_path = event.old.map(|old| old.path).unwrap_or_default();
    let path = event.new.as_ref().map_or_else(|| old_path.clone(), |new| new.path.clone());
    pb::FileHistoryEntry {
        revision: Some(revision(event.revision)),
        status: status.into(),
        file: event.new.map(file_entry),
        old_path: if status == pb::FileStatus::Renamed { old_path } else { String::new() },
        path,
        similarity: event.similarity,
    }
}

pub(crate) fn blamed(found: Vec<(HistoryEvent, BlameRange)>) -> pb::BlameFileResponse {
    pb::BlameFileResponse { ranges: found.into_iter().map(range).collect() }
}

fn range((event, range): (HistoryEvent, BlameRange)) -> pb::BlameRange {
    let revision = event.revision;
    pb::BlameRange {
        start_line: range.start,
        line_count: range.count,
        revision_id: revision.id.to_string(),
        number: revision.number,
        author_id: revision.author_id.to_string(),
        plan_id: text(revision.plan_id),
        message: revision.message.lines().next().unwrap_or_default().chars().take(MAX_SUMMARY).collect(),
        create_time: Some(timestamp(revision.create_time)),
        path: event.new.map(|new| new.path).unwrap_or_default(),
        original_line: range.original,
    }
}

pub(crate) fn watch(request: &pb::WatchChangesRequest) -> Result<(Uuid, u64), Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", &request.workspace_id);
    check.finish().map(|()| (workspace, request.after_sequence))
}

pub(crate) fn change(change: WatchedChange) -> pb::WatchChangesResponse {
    use pb::watch_changes_response::Event;
    let (sequence, time, ignorable, event) = match change {
        WatchedChange::Snapshot(found) => (0, now_micros(), false, Event::Snapshot(workspace(found))),
        WatchedChange::Revision(made) => (made.number, made.create_time, false, Event::Revision(revision(made))),
        WatchedChange::Deleted => (0, now_micros(), false, Event::Deleted(pb::WorkspaceGone {})),
        WatchedChange::Heartbeat => (0, now_micros(), true, Event::Heartbeat(pb::WatchHeartbeat {})),
    };
    pb::WatchChangesResponse { sequence, create_time: Some(timestamp(time)), ignorable, event: Some(event) }
}
