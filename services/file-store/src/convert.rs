//! Between the API's messages and the model: every limit of a field is checked here.

mod document;
mod edit;
mod history;
mod overlay;
mod secrets;
mod transfer;

use std::time::Duration;

use blake3::Hash;
use prost::Message;
use slipway_proto::filestore as pb;
use slipway_rpc::{Check, Fault, timestamp};
use uuid::Uuid;

use crate::archive::Format;
use crate::error::Error;
use crate::garbage::Report;
use crate::model::{
    At, Change, DiffLine, Expected, FileDiff, FileEntry, FileStatus, Glob, Hunk, LineKind, LineMatcher, Revision, RevisionKind,
    Workspace, check_path,
};
use crate::service::{Commit, DiffRequest, DownloadLink, Import, Page, PageRequest, Restore, Search, Searched};
use crate::store::RequestKey;

pub(crate) use document::{document, document_text};
pub(crate) use edit::{edit_overlay, edited, view_file, viewed};
pub(crate) use history::{blame, blamed, change, file_history, history, watch};
pub(crate) use overlay::{change_overlay, commit_overlay, create_overlay, list_overlays, overlay, overlay_id, preview};
pub(crate) use secrets::{list_secrets, secrets};
pub(crate) use transfer::{
    begin_upload, chart_imported, export_git, git_imported, import_chart, import_git, upload, upload_id, upload_link,
    upload_linked, upload_part,
};

const MAX_NAME: usize = 200;
const MAX_MESSAGE: usize = 2_000;
const MAX_REQUEST_ID: usize = 100;
const MAX_GLOB: usize = 500;
const MAX_PATTERN: usize = 1_000;
const MAX_CONTENT: usize = 3 << 20;
const MAX_CHANGES: usize = 1_000;
const MAX_CONTEXT: u32 = 100;
/// Seconds.
const DEFAULT_TTL: u32 = 900;
const MAX_TTL: u32 = 3_600;
/// The most bytes of one message of an upload.
pub(crate) const MAX_CHUNK: usize = 1 << 20;

/// The name of the request, and the hash of everything else in it.
fn request_key(check: &mut Check, method: &'static str, request_id: &mut String, rest: impl FnOnce() -> Vec<u8>) -> RequestKey {
    let id = check.text("request_id", &std::mem::take(request_id), 0, MAX_REQUEST_ID);
    let payload_hash = if id.is_empty() { [0; 32] } else { *blake3::hash(&rest()).as_bytes() };
    RequestKey { method, id, payload_hash }
}

/// A required path: absent is a field violation, unsafe is PATH_INVALID.
fn required_path(check: &mut Check, field: &str, path: String) -> Result<String, Error> {
    check.ensure(!path.is_empty(), field, "is required");
    if !path.is_empty() {
        check_path(&path)?;
    }
    Ok(path)
}

/// What a request reads: a revision, or an overlay, or the head when it names neither.
fn at(check: &mut Check, (revision_field, revision): (&str, &str), (overlay_field, overlay): (&str, &str)) -> At {
    let revision = check.optional_uuid(revision_field, revision);
    let overlay = check.optional_uuid(overlay_field, overlay);
    match (revision, overlay) {
        (None, None) => At::Head,
        (Some(id), None) => At::Revision(id),
        (None, Some(id)) => At::Overlay(id),
        (Some(_), Some(_)) => {
            check.fail(overlay_field, format!("excludes {revision_field}"));
            At::Head
        }
    }
}

/// The hash of a content; any other when it is not one, which `check` knows.
fn content_hash_of(check: &mut Check, field: &str, hex: &str) -> Hash {
    let hash = Hash::from_hex(hex);
    check.ensure(hash.is_ok(), field, "is not a BLAKE3 hash in hex");
    hash.unwrap_or_else(|_| blake3::hash(b""))
}

fn page_request(check: &mut Check, size: u32, default: u32, max: u32, token: String) -> PageRequest {
    let size = check.page_size("page_size", size, default, max);
    PageRequest { size: usize::try_from(size).unwrap_or(usize::MAX), token }
}

fn format(check: &mut Check, field: &str, number: i32) -> Format {
    match pb::ArchiveFormat::try_from(number) {
        Ok(pb::ArchiveFormat::TarGz) => return Format::TarGz,
        Ok(pb::ArchiveFormat::Zip) => return Format::Zip,
        Ok(pb::ArchiveFormat::Unspecified) => check.fail(field, "is required"),
        Err(_) => check.fail(field, "is not a known archive format"),
    }
    Format::TarGz
}

/// One id of a request and nothing else.
pub(crate) fn workspace_id(id: &str) -> Result<Uuid, Fault> {
    let mut check = Check::new();
    let id = check.uuid("workspace_id", id);
    check.finish().map(|()| id)
}

/// A workspace, and a revision of it or its head.
pub(crate) fn revision_ref(workspace_id: &str, revision_id: &str) -> Result<(Uuid, Option<Uuid>), Fault> {
    let mut check = Check::new();
    let ids = (check.uuid("workspace_id", workspace_id), check.optional_uuid("revision_id", revision_id));
    check.finish().map(|()| ids)
}

pub(crate) fn create_workspace(mut request: pb::CreateWorkspaceRequest) -> Result<(String, RequestKey), Fault> {
    let mut check = Check::new();
    let name = check.text("name", &request.name, 1, MAX_NAME);
    let mut id = std::mem::take(&mut request.request_id);
    let key = request_key(&mut check, "CreateWorkspace", &mut id, || request.encode_to_vec());
    check.finish().map(|()| (name, key))
}

pub(crate) fn list_workspaces(request: pb::ListWorkspacesRequest) -> Result<PageRequest, Fault> {
    let mut check = Check::new();
    let page = page_request(&mut check, request.page_size, 50, 1_000, request.page_token);
    check.finish().map(|()| page)
}

pub(crate) fn list_revisions(request: pb::ListRevisionsRequest) -> Result<(Uuid, PageRequest), Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", &request.workspace_id);
    let page = page_request(&mut check, request.page_size, 50, 1_000, request.page_token);
    check.finish().map(|()| (workspace, page))
}

pub(crate) fn import(mut header: pb::ImportArchiveHeader) -> Result<Import, Fault> {
    let mut check = Check::new();
    let workspace_id = check.uuid("header.workspace_id", &header.workspace_id);
    let format = format(&mut check, "header.format", header.format);
    let base = check.optional_uuid("header.base_revision_id", &header.base_revision_id);
    let message = check.text("header.message", &header.message, 0, MAX_MESSAGE);
    let message = if message.is_empty() { "import".to_owned() } else { message };
    let mut id = std::mem::take(&mut header.request_id);
    let key = request_key(&mut check, "ImportArchive", &mut id, || header.encode_to_vec());
    let content = Some(&header.content_hash).filter(|hex| !hex.is_empty());
    let content = content.map(|hex| content_hash_of(&mut check, "header.content_hash", hex));
    check.finish().map(|()| Import { workspace_id, format, base, message, content, key })
}

/// A violation of how an upload is made up.
pub(crate) fn bad_upload(field: &str, description: &str) -> Fault {
    let mut check = Check::new();
    check.fail(field, description);
    check.finish().err().unwrap_or_else(|| Fault::internal("a violation is an error"))
}

pub(crate) fn export(request: &pb::ExportArchiveRequest) -> Result<(Uuid, At, Format), Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", &request.workspace_id);
    let at = at(&mut check, ("revision_id", &request.revision_id), ("overlay_id", &request.overlay_id));
    let format = format(&mut check, "format", request.format);
    check.finish().map(|()| (workspace, at, format))
}

pub(crate) fn list_files(request: pb::ListFilesRequest) -> Result<(Uuid, At, String, PageRequest), Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", &request.workspace_id);
    let at = at(&mut check, ("revision_id", &request.revision_id), ("overlay_id", &request.overlay_id));
    let glob = check.text("glob", &request.glob, 0, MAX_GLOB);
    let page = page_request(&mut check, request.page_size, 1_000, 5_000, request.page_token);
    check.finish().map(|()| (workspace, at, glob, page))
}

pub(crate) fn read_file(request: pb::ReadFileRequest) -> Result<(Uuid, At, String), Fault> {
    file_at(&request.workspace_id, &request.revision_id, &request.overlay_id, request.path)
}

/// A file of a revision or an overlay, as requests name one.
fn file_at(workspace: &str, revision: &str, overlay: &str, path: String) -> Result<(Uuid, At, String), Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", workspace);
    let at = at(&mut check, ("revision_id", revision), ("overlay_id", overlay));
    let path = required_path(&mut check, "path", path);
    check.finish()?;
    Ok((workspace, at, path?))
}

pub(crate) fn link(request: pb::CreateDownloadLinkRequest) -> Result<(Uuid, Option<Uuid>, String, Duration), Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", &request.workspace_id);
    let revision = check.optional_uuid("revision_id", &request.revision_id);
    let path = required_path(&mut check, "path", request.path);
    let ttl = ttl(&mut check, request.ttl_seconds);
    check.finish()?;
    Ok((workspace, revision, path?, ttl))
}

/// How long a link is good.
fn ttl(check: &mut Check, seconds: u32) -> Duration {
    check.ensure(seconds <= MAX_TTL, "ttl_seconds", "is over 3600");
    Duration::from_secs(if seconds == 0 { DEFAULT_TTL } else { seconds }.into())
}

pub(crate) fn search(request: &pb::SearchFilesRequest) -> Result<Search, Fault> {
    let mut check = Check::new();
    let workspace_id = check.uuid("workspace_id", &request.workspace_id);
    let at = at(&mut check, ("revision_id", &request.revision_id), ("overlay_id", &request.overlay_id));
    let count = request.pattern.chars().count();
    // Not as text: blanks and control characters may be what is looked for.
    check.ensure(count > 0, "pattern", "is required");
    check.ensure(count <= MAX_PATTERN, "pattern", format!("is longer than {MAX_PATTERN} characters"));
    check.ensure(!request.pattern.contains('\0'), "pattern", "holds the control character U+0000");
    let glob = check.text("glob", &request.glob, 0, MAX_GLOB);
    let limit = check.page_size("limit", request.limit, 100, 1_000);
    check.finish()?;
    let matcher = LineMatcher::new(&request.pattern, request.regex, request.ignore_case).map_err(Error::from)?;
    let glob = Glob::new(&glob).map_err(Error::from)?;
    Ok(Search { workspace_id, at, matcher, glob, limit: usize::try_from(limit).unwrap_or(usize::MAX) })
}

pub(crate) fn commit(mut request: pb::CommitRevisionRequest) -> Result<Commit, Fault> {
    let mut check = Check::new();
    let workspace_id = check.uuid("workspace_id", &request.workspace_id);
    let base = check.optional_uuid("base_revision_id", &request.base_revision_id);
    let plan_id = check.optional_uuid("plan_id", &request.plan_id);
    let message = check.text("message", &request.message, 0, MAX_MESSAGE);
    let mut id = std::mem::take(&mut request.request_id);
    let key = request_key(&mut check, "CommitRevision", &mut id, || request.encode_to_vec());
    let changes = changes(&mut check, request.changes);
    check.finish()?;
    Ok(Commit { workspace_id, base, changes: changes?, message, plan_id, merge: request.merge, key })
}

/// Where several things are wrong, `check` knows of all of them but the paths.
fn changes(check: &mut Check, changes: Vec<pb::FileChange>) -> Result<Vec<Change>, Error> {
    check.ensure(!changes.is_empty(), "changes", "is required");
    check.ensure(changes.len() <= MAX_CHANGES, "changes", format!("has more than {MAX_CHANGES} elements"));
    let decoded: Vec<_> =
        changes.into_iter().take(MAX_CHANGES).enumerate().map(|(n, c)| file_change(check, n, c.change)).collect();
    decoded.into_iter().flatten().collect()
}

fn expected(check: &mut Check, field: String, hash: Option<String>) -> Expected {
    let Some(hash) = hash else { return Expected::Whatever };
    if hash.is_empty() {
        return Expected::Nothing;
    }
    match Hash::from_hex(&hash) {
        Ok(hash) => Expected::Content(hash),
        Err(_) => {
            check.fail(&field, "is not a BLAKE3 hash in hex");
            Expected::Whatever
        }
    }
}

fn file_change(check: &mut Check, n: usize, change: Option<pb::file_change::Change>) -> Option<Result<Change, Error>> {
    use pb::file_change::Change as C;
    match change {
        None => {
            check.fail(&format!("changes[{n}]"), "says neither write nor delete nor rename");
            None
        }
        Some(C::Write(pb::WriteFile { path, content, executable, expected_hash, content_hash })) if !content_hash.is_empty() => {
            check.ensure(content.is_empty(), &format!("changes[{n}].write.content"), "excludes content_hash");
            let hash = content_hash_of(check, &format!("changes[{n}].write.content_hash"), &content_hash);
            let path = required_path(check, &format!("changes[{n}].write.path"), path);
            let expected = expected(check, format!("changes[{n}].write.expected_hash"), expected_hash);
            Some(path.map(|path| Change::Place { path, hash, size: 0, executable, expected }))
        }
        Some(C::Write(pb::WriteFile { path, content, executable, expected_hash, .. })) => {
            check.ensure(content.len() <= MAX_CONTENT, &format!("changes[{n}].write.content"), "is larger than 3 MiB");
            let path = required_path(check, &format!("changes[{n}].write.path"), path);
            let expected = expected(check, format!("changes[{n}].write.expected_hash"), expected_hash);
            Some(path.map(|path| Change::Write { path, content, executable, expected }))
        }
        Some(C::Delete(pb::DeleteFile { path, expected_hash })) => {
            let path = required_path(check, &format!("changes[{n}].delete.path"), path);
            let expected = expected(check, format!("changes[{n}].delete.expected_hash"), expected_hash);
            Some(path.map(|path| Change::Delete { path, expected }))
        }
        Some(C::Rename(pb::RenameFile { path, new_path, expected_hash })) => {
            let path = required_path(check, &format!("changes[{n}].rename.path"), path);
            let new_path = required_path(check, &format!("changes[{n}].rename.new_path"), new_path);
            let expected = expected(check, format!("changes[{n}].rename.expected_hash"), expected_hash);
            Some(path.and_then(|path| Ok(Change::Rename { path, new_path: new_path?, expected })))
        }
    }
}

pub(crate) fn diff(request: pb::DiffRevisionsRequest) -> Result<DiffRequest, Fault> {
    let mut check = Check::new();
    let workspace_id = check.uuid("workspace_id", &request.workspace_id);
    let from = check.uuid("from_revision_id", &request.from_revision_id);
    let to = at(&mut check, ("to_revision_id", &request.to_revision_id), ("to_overlay_id", &request.to_overlay_id));
    let context = request.context_lines.unwrap_or(3);
    check.ensure(context <= MAX_CONTEXT, "context_lines", format!("is over {MAX_CONTEXT}"));
    let page = page_request(&mut check, request.page_size, 100, 1_000, request.page_token);
    let context = usize::try_from(context).unwrap_or_default();
    check.finish().map(|()| DiffRequest { workspace_id, from, to, context, page })
}

pub(crate) fn restore(mut request: pb::RestoreRevisionRequest) -> Result<Restore, Fault> {
    let mut check = Check::new();
    let workspace_id = check.uuid("workspace_id", &request.workspace_id);
    let revision_id = check.uuid("revision_id", &request.revision_id);
    let base = check.optional_uuid("base_revision_id", &request.base_revision_id);
    let message = check.text("message", &request.message, 0, MAX_MESSAGE);
    let mut id = std::mem::take(&mut request.request_id);
    let key = request_key(&mut check, "RestoreRevision", &mut id, || request.encode_to_vec());
    check.finish().map(|()| Restore { workspace_id, revision_id, base, message, key })
}

fn text(id: Option<Uuid>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

pub(crate) fn workspace(workspace: Workspace) -> pb::Workspace {
    pb::Workspace {
        id: workspace.id.to_string(),
        project_id: workspace.project_id.to_string(),
        name: workspace.name,
        head_revision_id: text(workspace.head.map(|head| head.revision_id)),
        head_number: workspace.head.map_or(0, |head| head.number),
        create_time: Some(timestamp(workspace.create_time)),
        update_time: Some(timestamp(workspace.update_time)),
    }
}

pub(crate) fn revision(revision: Revision) -> pb::Revision {
    let kind = match revision.kind {
        RevisionKind::Import => pb::RevisionKind::Import,
        RevisionKind::Commit => pb::RevisionKind::Commit,
        RevisionKind::Restore => pb::RevisionKind::Restore,
    };
    pb::Revision {
        id: revision.id.to_string(),
        workspace_id: revision.workspace_id.to_string(),
        number: revision.number,
        parent_id: text(revision.parent_id),
        kind: kind.into(),
        message: revision.message,
        author_id: revision.author_id.to_string(),
        hash: revision.manifest.hash.to_hex().to_string(),
        file_count: revision.file_count,
        total_bytes: revision.total_bytes,
        restored_from_id: text(revision.restored_from_id),
        plan_id: text(revision.plan_id),
        merged_base_id: text(revision.merged_base_id),
        create_time: Some(timestamp(revision.create_time)),
        secret_findings: revision.secrets,
    }
}

pub(crate) fn file_entry(entry: FileEntry) -> pb::FileEntry {
    pb::FileEntry { path: entry.path, size: entry.size, hash: entry.hash.to_hex().to_string(), executable: entry.executable }
}

pub(crate) fn linked(link: DownloadLink) -> pb::CreateDownloadLinkResponse {
    pb::CreateDownloadLinkResponse {
        url: link.url,
        method: "GET".to_owned(),
        expire_time: Some(timestamp(link.expire_time)),
        file: Some(file_entry(link.file)),
    }
}

pub(crate) fn collection(report: Report, end_time: i64) -> pb::GarbageCollection {
    pb::GarbageCollection {
        blobs: report.blobs,
        bytes: report.bytes,
        marked: report.marked,
        absolved: report.absolved,
        removed: report.removed,
        removed_bytes: report.removed_bytes,
        remains: report.remains,
        start_time: Some(timestamp(report.start_time)),
        end_time: Some(timestamp(end_time)),
    }
}

pub(crate) fn files((revision, page): (Option<Uuid>, Page<FileEntry>)) -> pb::ListFilesResponse {
    let files = page.items.into_iter().map(file_entry).collect();
    pb::ListFilesResponse { files, revision_id: text(revision), next_page_token: page.next }
}

pub(crate) fn searched(found: Searched) -> pb::SearchFilesResponse {
    let file_match = |(path, line): (String, crate::model::LineMatch)| pb::FileMatch { path, line: line.line, text: line.text };
    let matches = found.matches.into_iter().map(file_match).collect();
    pb::SearchFilesResponse { matches, truncated: found.truncated, revision_id: text(found.revision_id) }
}

fn file_status(status: FileStatus) -> pb::FileStatus {
    match status {
        FileStatus::Added => pb::FileStatus::Added,
        FileStatus::Modified => pb::FileStatus::Modified,
        FileStatus::Deleted => pb::FileStatus::Deleted,
        FileStatus::Renamed => pb::FileStatus::Renamed,
    }
}

pub(crate) fn file_diff(diff: FileDiff) -> pb::FileDiff {
    let (old_path, similarity) = diff.renamed.unwrap_or_default();
    pb::FileDiff {
        path: diff.path,
        old_path,
        similarity,
        status: file_status(diff.status).into(),
        unified: diff.unified,
        hunks: diff.hunks.into_iter().map(hunk).collect(),
        binary: diff.binary,
        additions: diff.additions,
        deletions: diff.deletions,
    }
}

fn hunk(hunk: Hunk) -> pb::Hunk {
    pb::Hunk {
        old_start: hunk.old_start,
        old_lines: hunk.old_lines,
        new_start: hunk.new_start,
        new_lines: hunk.new_lines,
        lines: hunk.lines.into_iter().map(diff_line).collect(),
    }
}

fn diff_line(line: DiffLine) -> pb::DiffLine {
    let kind = match line.kind {
        LineKind::Context => pb::DiffLineKind::Context,
        LineKind::Added => pb::DiffLineKind::Added,
        LineKind::Removed => pb::DiffLineKind::Removed,
    };
    pb::DiffLine { kind: kind.into(), text: line.text, no_newline: line.no_newline }
}
