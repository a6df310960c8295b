//! The messages of overlays.

use prost::Message as _;
use slipway_proto::filestore as pb;
use slipway_rpc::{Check, Fault, timestamp};
use uuid::Uuid;

use super::{MAX_MESSAGE, MAX_NAME, changes, file_entry, page_request, request_key, text};
use crate::model::{Conflict, ConflictKind, LineClash, Lines, Overlay};
use crate::service::{Alteration, NewOverlay, Outcome, OverlayChange, OverlayCommit, PAGE_BYTES, PageRequest, Preview};

const MAX_ETAG: usize = 100;
/// How many conflicts are shown.
const MAX_CONFLICTS: usize = 100;

/// The id of an overlay and nothing else.
pub(crate) fn overlay_id(id: &str) -> Result<Uuid, Fault> {
    let mut check = Check::new();
    let id = check.uuid("overlay_id", id);
    check.finish().map(|()| id)
}

pub(crate) fn create_overlay(mut request: pb::CreateOverlayRequest) -> Result<NewOverlay, Fault> {
    let mut check = Check::new();
    let workspace_id = check.uuid("workspace_id", &request.workspace_id);
    let base = check.optional_uuid("base_revision_id", &request.base_revision_id);
    let name = check.text("name", &request.name, 0, MAX_NAME);
    let mut id = std::mem::take(&mut request.request_id);
    let key = request_key(&mut check, "CreateOverlay", &mut id, || request.encode_to_vec());
    check.finish().map(|()| NewOverlay { workspace_id, base, name, key })
}

pub(crate) fn list_overlays(request: pb::ListOverlaysRequest) -> Result<(Uuid, PageRequest), Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", &request.workspace_id);
    let page = page_request(&mut check, request.page_size, 50, 1_000, request.page_token);
    check.finish().map(|()| (workspace, page))
}

pub(crate) fn change_overlay(mut request: pb::ChangeOverlayRequest) -> Result<OverlayChange, Fault> {
    let mut check = Check::new();
    let overlay_id = check.uuid("overlay_id", &request.overlay_id);
    let expected = etag(&mut check, &request.expected_etag);
    let mut id = std::mem::take(&mut request.request_id);
    let key = request_key(&mut check, "ChangeOverlay", &mut id, || request.encode_to_vec());
    let changes = changes(&mut check, request.changes);
    check.finish()?;
    Ok(OverlayChange { overlay_id, what: Alteration::Changes(changes?), expected, key })
}

pub(crate) fn commit_overlay(mut request: pb::CommitOverlayRequest) -> Result<OverlayCommit, Fault> {
    let mut check = Check::new();
    let overlay_id = check.uuid("overlay_id", &request.overlay_id);
    let plan_id = check.optional_uuid("plan_id", &request.plan_id);
    let message = check.text("message", &request.message, 0, MAX_MESSAGE);
    let expected = etag(&mut check, &request.expected_etag);
    let mut id = std::mem::take(&mut request.request_id);
    let key = request_key(&mut check, "CommitOverlay", &mut id, || request.encode_to_vec());
    check.finish().map(|()| OverlayCommit { overlay_id, message, plan_id, expected, merge: request.merge, key })
}

/// An etag that may be left out.
pub(super) fn etag(check: &mut Check, given: &str) -> Option<String> {
    let etag = check.text("expected_etag", given, 0, MAX_ETAG);
    (!etag.is_empty()).then_some(etag)
}

pub(crate) fn overlay(overlay: Overlay) -> pb::Overlay {
    pb::Overlay {
        id: overlay.id.to_string(),
        workspace_id: overlay.workspace_id.to_string(),
        base_revision_id: text(overlay.base.map(|base| base.revision_id)),
        base_number: overlay.base.map_or(0, |base| base.number),
        etag: overlay.etag(),
        name: overlay.name,
        hash: overlay.manifest.hash.to_hex().to_string(),
        file_count: overlay.file_count,
        total_bytes: overlay.total_bytes,
        author_id: overlay.author_id.to_string(),
        create_time: Some(timestamp(overlay.create_time)),
        update_time: Some(timestamp(overlay.update_time)),
        expire_time: Some(timestamp(overlay.expire_time)),
    }
}

pub(crate) fn preview(preview: Preview) -> pb::PreviewMergeResponse {
    let (hash, conflicts) = match preview.outcome {
        Outcome::Clean(manifest, _) => (blake3::hash(&manifest.encode()).to_hex().to_string(), Vec::new()),
        Outcome::Conflicts(conflicts) => (String::new(), conflicts),
    };
    let conflict_count = u32::try_from(conflicts.len()).unwrap_or(u32::MAX);
    let mut room = PAGE_BYTES;
    let conflicts = conflicts.into_iter().take(MAX_CONFLICTS).map(|conflict| self::conflict(conflict, &mut room)).collect();
    pb::PreviewMergeResponse {
        head_revision_id: text(preview.head.map(|head| head.revision_id)),
        head_number: preview.head.map_or(0, |head| head.number),
        hash,
        conflicts,
        conflict_count,
    }
}

/// A conflict, with its lines if there is room for them.
fn conflict(conflict: Conflict, room: &mut usize) -> pb::MergeConflict {
    let kind = match conflict.kind {
        ConflictKind::Content => pb::ConflictKind::Content,
        ConflictKind::AddAdd => pb::ConflictKind::AddAdd,
        ConflictKind::ModifyDelete => pb::ConflictKind::ModifyDelete,
        ConflictKind::Binary => pb::ConflictKind::Binary,
        ConflictKind::RenameRename => pb::ConflictKind::RenameRename,
        ConflictKind::Tree => pb::ConflictKind::Tree,
    };
    let hunks: Vec<_> = conflict.lines.into_iter().map(hunk).collect();
    let weight: usize = hunks.iter().map(|hunk| hunk.encoded_len()).sum();
    let fits = weight <= *room;
    *room -= if fits { weight } else { 0 };
    pb::MergeConflict {
        path: conflict.path,
        kind: kind.into(),
        base: conflict.base.map(file_entry),
        head: conflict.ours.map(file_entry),
        change: conflict.theirs.map(file_entry),
        hunks: if fits { hunks } else { Vec::new() },
    }
}

fn hunk(clash: LineClash) -> pb::ConflictHunk {
    let lines = |side: Lines| Some(pb::ConflictLines { start: side.start, lines: side.lines });
    pb::ConflictHunk { base: lines(clash.base), head: lines(clash.ours), change: lines(clash.theirs) }
}
