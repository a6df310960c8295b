//! The messages of uploads.

use std::time::Duration;

use blake3::Hash;
use prost::Message as _;
use slipway_proto::filestore as pb;
use slipway_rpc::{Check, Fault, timestamp};
use uuid::Uuid;

use super::{MAX_MESSAGE, content_hash_of, request_key, revision, ttl};
use crate::error::Error;
use crate::model::{MAX_FILE_BYTES, OciReference, Upload, check_path};
use crate::service::{BeginUpload, ChartFrom, ChartImport, ChartImported, GitFrom, GitImport, GitImported, UploadLink};

const MAX_CONTENT_TYPE: usize = 100;
/// Addresses and folders, in characters.
const MAX_ADDRESS: usize = 1_000;
const MAX_COMMITS: u32 = 100;

pub(crate) fn begin_upload(mut request: pb::BeginUploadRequest) -> Result<BeginUpload, Fault> {
    let mut check = Check::new();
    check.ensure(request.size <= MAX_FILE_BYTES, "size", format!("is over {MAX_FILE_BYTES}"));
    let blake3 = checksum(&mut check, "blake3", &request.blake3).map(Hash::from_bytes);
    let sha256 = checksum(&mut check, "sha256", &request.sha256);
    let mut id = std::mem::take(&mut request.request_id);
    let key = request_key(&mut check, "BeginUpload", &mut id, || request.encode_to_vec());
    check.finish().map(|()| BeginUpload { size: request.size, blake3, sha256, key })
}

/// A hash of 32 bytes in hex; both algorithms have as many.
fn checksum(check: &mut Check, field: &str, hex: &str) -> Option<[u8; 32]> {
    if hex.is_empty() {
        return None;
    }
    let parsed = Hash::from_hex(hex).ok().map(Hash::into);
    check.ensure(parsed.is_some(), field, "is not a hash of 32 bytes in hex");
    parsed
}

pub(crate) fn upload_part(header: &pb::UploadPartHeader) -> Result<(Uuid, u64), Fault> {
    let mut check = Check::new();
    let id = check.uuid("header.upload_id", &header.upload_id);
    check.finish().map(|()| (id, header.offset))
}

pub(crate) fn upload_link(request: &pb::CreateUploadLinkRequest) -> Result<(Uuid, String, Duration), Fault> {
    let mut check = Check::new();
    let id = check.uuid("upload_id", &request.upload_id);
    let content_type = check.text("content_type", &request.content_type, 0, MAX_CONTENT_TYPE);
    // It becomes the value of a header.
    let plain = content_type.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    check.ensure(plain, "content_type", "holds characters that no content type has");
    let ttl = ttl(&mut check, request.ttl_seconds);
    check.finish().map(|()| (id, content_type, ttl))
}

pub(crate) fn upload_linked(link: UploadLink) -> pb::CreateUploadLinkResponse {
    pb::CreateUploadLinkResponse {
        url: link.url,
        method: "PUT".to_owned(),
        expire_time: Some(timestamp(link.expire_time)),
        upload: Some(upload(link.upload)),
    }
}

/// A reference of Git as it may be written: never an option, never a range.
fn is_reference(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/+".contains(&b));
    plain && !text.starts_with(['-', '/', '.', '+']) && !text.contains("..") && !text.ends_with(['/', '.'])
}

pub(crate) fn import_git(mut request: pb::ImportGitRequest) -> Result<GitImport, Fault> {
    let mut check = Check::new();
    let workspace_id = check.uuid("workspace_id", &request.workspace_id);
    let reference = check.text("reference", &request.reference, 0, 200);
    check.ensure(reference.is_empty() || is_reference(&reference), "reference", "is not the name of a branch or tag");
    let folder = check.text("folder", &request.folder, 0, MAX_ADDRESS);
    check.ensure(request.commits <= MAX_COMMITS, "commits", format!("is over {MAX_COMMITS}"));
    let base = check.optional_uuid("base_revision_id", &request.base_revision_id);
    let message = check.text("message", &request.message, 0, MAX_MESSAGE);
    let mut id = std::mem::take(&mut request.request_id);
    let key = request_key(&mut check, "ImportGit", &mut id, || request.encode_to_vec());
    let from = match request.source {
        Some(pb::import_git_request::Source::Url(url)) => GitFrom::Url(check.text("url", &url, 1, MAX_ADDRESS)),
        Some(pb::import_git_request::Source::BundleHash(hex)) => {
            GitFrom::Bundle(content_hash_of(&mut check, "bundle_hash", &hex))
        }
        None => {
            check.fail("url", "is required, or bundle_hash");
            GitFrom::Url(String::new())
        }
    };
    check.finish()?;
    if !folder.is_empty() {
        check_path(&folder).map_err(Error::from)?;
    }
    Ok(GitImport { workspace_id, from, reference, folder, commits: request.commits.max(1), base, message, key })
}

pub(crate) fn git_imported(imported: GitImported) -> pb::ImportGitResponse {
    pb::ImportGitResponse {
        revision: Some(revision(imported.revision)),
        revisions: imported.revisions,
        commit_id: imported.commit,
        skipped: imported.skipped,
    }
}

pub(crate) fn import_chart(mut request: pb::ImportChartRequest) -> Result<ChartImport, Fault> {
    let mut check = Check::new();
    let workspace_id = check.uuid("workspace_id", &request.workspace_id);
    let base = check.optional_uuid("base_revision_id", &request.base_revision_id);
    let message = check.text("message", &request.message, 0, MAX_MESSAGE);
    let mut id = std::mem::take(&mut request.request_id);
    let key = request_key(&mut check, "ImportChart", &mut id, || request.encode_to_vec());
    let from = match request.source {
        Some(pb::import_chart_request::Source::Repository(repository)) => ChartFrom::Repository {
            url: check.text("repository.url", &repository.url, 1, MAX_ADDRESS),
            chart: check.text("repository.chart", &repository.chart, 1, 200),
            version: check.text("repository.version", &repository.version, 0, 100),
        },
        Some(pb::import_chart_request::Source::Oci(text)) => {
            let text = check.text("oci", &text, 1, 500);
            let reference = OciReference::parse(&text);
            check.ensure(reference.is_some(), "oci", "is not like oci://registry/repository:tag");
            let nowhere = || ChartFrom::Repository { url: String::new(), chart: String::new(), version: String::new() };
            reference.map_or_else(nowhere, ChartFrom::Oci)
        }
        None => {
            check.fail("repository", "is required, or oci");
            ChartFrom::Repository { url: String::new(), chart: String::new(), version: String::new() }
        }
    };
    check.finish().map(|()| ChartImport { workspace_id, from, base, message, key })
}

pub(crate) fn chart_imported(imported: ChartImported) -> pb::ImportChartResponse {
    let ChartImported { revision: made, version, digest } = imported;
    pb::ImportChartResponse { revision: Some(revision(made)), version, digest }
}

pub(crate) fn export_git(request: &pb::ExportGitRequest) -> Result<(Uuid, Option<Uuid>, String), Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", &request.workspace_id);
    let revision = check.optional_uuid("revision_id", &request.revision_id);
    let branch = check.text("branch", &request.branch, 0, 100);
    check.ensure(branch.is_empty() || is_reference(&branch), "branch", "is not the name of a branch");
    check.finish().map(|()| (workspace, revision, if branch.is_empty() { "main".to_owned() } else { branch }))
}

pub(crate) fn upload_id(id: &str) -> Result<Uuid, Fault> {
    let mut check = Check::new();
    let id = check.uuid("upload_id", id);
    check.finish().map(|()| id)
}

pub(crate) fn upload(upload: Upload) -> pb::Upload {
    pb::Upload {
        id: upload.id.to_string(),
        size: upload.size,
        committed_bytes: upload.committed,
        content_hash: upload.content.map(|hash| hash.to_hex().to_string()).unwrap_or_default(),
        create_time: Some(timestamp(upload.create_time)),
        expire_time: Some(timestamp(upload.expire_time)),
    }
}
