//! `PUT`: bytes into an upload, from where it is, or from where `content-range` says; with the last byte it is finished.

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use slipway_proto::filestore::transfer_service_client::TransferServiceClient;
use slipway_proto::filestore::upload_part_request::Part;
use slipway_proto::filestore::{FinishUploadRequest, Upload, UploadPartHeader, UploadPartRequest};
use slipway_rpc::{Channel, Ctx};
use tonic::Status;
use tonic::body::Body;

use super::{Refusal, shield};

/// The file store takes at most 1 MiB a message.
const CHUNK: usize = 1 << 20;

/// A link for one type of content takes no other.
pub(super) fn check_type(wanted: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let came = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if wanted.is_empty() || came == wanted {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::FORBIDDEN, format!("the link is for the content-type {wanted}")))
}

pub(super) async fn serve(
    mut client: TransferServiceClient<Channel>,
    ctx: &Ctx,
    id: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let offset = offset(request.headers())?;
    let header = UploadPartHeader { upload_id: id.clone(), offset };
    let first = UploadPartRequest { part: Some(Part::Header(header)) };
    let parts = stream::iter([first]).chain(chunks(request.into_body()));
    let sent = client.upload_part(ctx.request(parts)).await?.into_inner().upload;
    let mut upload = sent.ok_or_else(nothing)?;
    let mut status = StatusCode::ACCEPTED;
    if upload.committed_bytes == upload.size {
        let finished = client.finish_upload(ctx.request(FinishUploadRequest { upload_id: id })).await?.into_inner().upload;
        upload = finished.ok_or_else(nothing)?;
        status = StatusCode::CREATED;
    }
    let mut response = Response::new(Body::new(Full::new(Bytes::from(describe(&upload)))));
    *response.status_mut() = status;
    shield(&mut response);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn nothing() -> Refusal {
    Status::internal("an upload came back without itself").into()
}

/// `content-range: bytes 8388608-9000000/9000001` goes on with an upload.
fn offset(headers: &HeaderMap) -> Result<u64, Refusal> {
    let Some(range) = headers.get(header::CONTENT_RANGE) else { return Ok(0) };
    let first = range.to_str().ok().and_then(|range| range.strip_prefix("bytes ")).and_then(|range| range.split_once('-'));
    let wrong = || Refusal::new(StatusCode::BAD_REQUEST, "content-range is not like \"bytes 0-99/100\"");
    first.and_then(|(first, _)| first.trim().parse().ok()).ok_or_else(wrong)
}

/// The body in messages of the size that is allowed. When the client breaks off, what has come is kept.
fn chunks(body: Incoming) -> impl futures::Stream<Item = UploadPartRequest> + Send + 'static {
    let frames = body.into_data_stream().take_while(|frame| std::future::ready(frame.is_ok()));
    frames.filter_map(|frame| std::future::ready(frame.ok())).flat_map(|bytes: Bytes| {
        let starts = (0..bytes.len()).step_by(CHUNK);
        let cut: Vec<_> = starts.map(|at| bytes.slice(at..bytes.len().min(at + CHUNK))).collect();
        stream::iter(cut.into_iter().map(|chunk| UploadPartRequest { part: Some(Part::Chunk(chunk)) }))
    })
}

/// As `GetUpload` has it in JSON, without the times. Nothing in it needs escapes.
fn describe(upload: &Upload) -> String {
    let Upload { id, size, committed_bytes, content_hash, .. } = upload;
    format!(
        "{{\"id\":\"{id}\",\"size\":\"{size}\",\"committedBytes\":\"{committed_bytes}\",\"contentHash\":\"{content_hash}\"}}\n"
    )
}
