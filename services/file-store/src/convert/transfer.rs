//! The messages of uploads.

use std::time::Duration;

use blake3::Hash;
use prost::Message as _;
use slipway_proto::filestore as pb;
use slipway_rpc::{Check, Fault, timestamp};
use uuid::Uuid;

use super::{request_key, ttl};
use crate::model::{MAX_FILE_BYTES, Upload};
use crate::service::{BeginUpload, UploadLink};

const MAX_CONTENT_TYPE: usize = 100;

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
