//! `GET`: a file, or a range of it, as it comes from the file store.

use std::fmt::Write as _;

use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use slipway_proto::filestore::file_store_service_client::FileStoreServiceClient;
use slipway_proto::filestore::read_file_response::Part;
use slipway_proto::filestore::{FileEntry, ReadFileRequest, ReadFileResponse};
use slipway_rpc::{Channel, Ctx};
use tonic::body::Body;
use tonic::{Status, Streaming};

use super::range::{Asked, asked};
use super::{Refusal, shield};

/// What is sent when the link says nothing else.
const BYTES: &str = "application/octet-stream";

/// The file of a link.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) workspace: String,
    pub(super) revision: String,
    pub(super) path: String,
}

pub(super) async fn serve(
    client: FileStoreServiceClient<Channel>,
    ctx: &Ctx,
    file: File,
    content_type: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let (entry, stream) = read(client.clone(), ctx, &file, 0, 0).await?;
    let etag = format!("\"{}\"", entry.hash);
    let same = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(|value| value.contains(&etag));
    if same(header::IF_NONE_MATCH) == Some(true) {
        return respond(StatusCode::NOT_MODIFIED, &file, &etag, content_type, 0, Body::empty());
    }
    // A range of something else than the client has a part of would be no help.
    let range =
        headers.get(header::RANGE).and_then(|value| value.to_str().ok()).filter(|_| same(header::IF_RANGE) != Some(false));
    let size = entry.size;
    match asked(range, size) {
        Asked::Whole => respond(StatusCode::OK, &file, &etag, content_type, size, body(stream)),
        Asked::Beyond => {
            let mut response = respond(StatusCode::RANGE_NOT_SATISFIABLE, &file, &etag, content_type, 0, Body::empty())?;
            insert(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"))?;
            Ok(response)
        }
        Asked::Part(first, end) => {
            drop(stream);
            let (_, stream) = read(client, ctx, &file, first, end - first).await?;
            let mut response = respond(StatusCode::PARTIAL_CONTENT, &file, &etag, content_type, end - first, body(stream))?;
            insert(&mut response, header::CONTENT_RANGE, &format!("bytes {first}-{}/{size}", end - 1))?;
            Ok(response)
        }
    }
}

/// The entry and the bytes that follow it.
async fn read(
    mut client: FileStoreServiceClient<Channel>,
    ctx: &Ctx,
    file: &File,
    offset: u64,
    length: u64,
) -> Result<(FileEntry, Streaming<ReadFileResponse>), Refusal> {
    let request = ReadFileRequest {
        workspace_id: file.workspace.clone(),
        revision_id: file.revision.clone(),
        path: file.path.clone(),
        offset,
        length,
        ..Default::default()
    };
    let mut stream = client.read_file(ctx.request(request)).await?.into_inner();
    match stream.message().await?.and_then(|message| message.part) {
        Some(Part::File(entry)) => Ok((entry, stream)),
        _ => Err(Status::internal("a file came without its entry").into()),
    }
}

fn body(stream: Streaming<ReadFileResponse>) -> Body {
    let frames = stream.map(|message| match message?.part {
        Some(Part::Chunk(chunk)) => Ok(Frame::data(chunk)),
        _ => Err(Status::internal("a file came with something that is no content")),
    });
    Body::new(StreamBody::new(frames.into_stream()))
}

fn respond(
    status: StatusCode,
    file: &File,
    etag: &str,
    content_type: &str,
    length: u64,
    body: Body,
) -> Result<Response<Body>, Refusal> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    shield(&mut response);
    let name = file.path.rsplit('/').next().unwrap_or(&file.path);
    insert(&mut response, header::CONTENT_DISPOSITION, &disposition(name))?;
    insert(&mut response, header::CONTENT_TYPE, if content_type.is_empty() { BYTES } else { content_type })?;
    insert(&mut response, header::ETAG, etag)?;
    insert(&mut response, header::ACCEPT_RANGES, "bytes")?;
    if status != StatusCode::NOT_MODIFIED {
        insert(&mut response, header::CONTENT_LENGTH, &length.to_string())?;
    }
    Ok(response)
}

fn insert(response: &mut Response<Body>, name: header::HeaderName, value: &str) -> Result<(), Refusal> {
    let value = HeaderValue::from_str(value).map_err(|_| Refusal::from(Status::internal("a header cannot be written")))?;
    response.headers_mut().insert(name, value);
    Ok(())
}

/// The header that names the file, as RFC 6266 has it.
fn disposition(name: &str) -> String {
    let mut header = "attachment; filename*=UTF-8''".to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            header.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(header, "%{byte:02X}");
        }
    }
    header
}
