//! Files by link: plain HTTP for those who have a signed address and no token.
//!
//! A link is one object and one method until a time; see [`Link`]. `GET` streams a file, or a range of it, from the file
//! store; `PUT` streams into an upload. Nothing here decides what a file is: bytes pass through, as they do for calls.
//!
//! What is sent may be anything, a page with scripts too, and it comes from the gateway's own origin: so it is always an
//! attachment, never sniffed, and sandboxed should a browser show it after all.

mod download;
mod range;
mod upload;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use slipway_proto::filestore::file_store_service_client::FileStoreServiceClient;
use slipway_proto::filestore::transfer_service_client::TransferServiceClient;
use slipway_rpc::{Channel, Ctx, Link, LinkError, LinkKey, Linked};
use slipway_telemetry::{Metrics, metrics};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::answer::{Answer, InFlight};
use crate::front::Front;
use crate::policy::RateClass;

/// How long a transfer may take.
const DEADLINE: Duration = Duration::from_secs(3_600);

/// The way to the files, and what links are signed with.
pub(crate) struct Files {
    files: FileStoreServiceClient<Channel>,
    transfer: TransferServiceClient<Channel>,
    key: LinkKey,
    downloads: metrics::Rpc,
    uploads: metrics::Rpc,
}

/// Why a request by link gets no file: a status and a sentence.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    text: String,
    code: Code,
}

impl Refusal {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), code: Code::InvalidArgument }
    }
}

impl From<LinkError> for Refusal {
    fn from(error: LinkError) -> Self {
        let status = if error == LinkError::Unknown { StatusCode::NOT_FOUND } else { StatusCode::FORBIDDEN };
        Self::new(status, error.to_string())
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let (http, text) = match status.code() {
            Code::NotFound => (StatusCode::NOT_FOUND, "what the link is for is there no more".to_owned()),
            Code::InvalidArgument | Code::OutOfRange => (StatusCode::BAD_REQUEST, status.message().to_owned()),
            Code::FailedPrecondition => (StatusCode::UNPROCESSABLE_ENTITY, status.message().to_owned()),
            Code::Aborted => (StatusCode::CONFLICT, status.message().to_owned()),
            Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, status.message().to_owned()),
            Code::Unavailable | Code::DeadlineExceeded => (StatusCode::SERVICE_UNAVAILABLE, "try again later".to_owned()),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "something failed inside Slipway".to_owned()),
        };
        Self { status: http, text, code: status.code() }
    }
}

impl Files {
    pub(crate) fn new(channel: Channel, key: LinkKey, metrics: &Metrics) -> Self {
        Self {
            files: FileStoreServiceClient::new(channel.clone()),
            transfer: TransferServiceClient::new(channel),
            key,
            downloads: metrics.rpc("files", "GET"),
            uploads: metrics.rpc("files", "PUT"),
        }
    }

    fn open(&self, request: &Request<Incoming>) -> Result<Link, LinkError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        Link::open(request.method(), path, query, &self.key, now)
    }
}

/// Answers a request by link.
pub(crate) async fn answer(front: Arc<Front>, request: Request<Incoming>) -> Response<Answer> {
    let Some(files) = front.files() else {
        return refused(Refusal::new(StatusCode::NOT_FOUND, "this gateway serves no files")).map(Answer::plain);
    };
    let calls = if request.method() == Method::PUT { &files.uploads } else { &files.downloads };
    let span = tracing::info_span!("file", otel.kind = "server", rpc.grpc.status_code = tracing::field::Empty);
    let call = InFlight { call: calls.start(), span, _token: front.in_flight().token() };
    match serve(&front, files, request).await {
        Ok(response) => Answer::file(response, call),
        Err(refusal) => {
            call.finish(refusal.code as i32);
            refused(refusal).map(Answer::plain)
        }
    }
}

async fn serve(front: &Front, files: &Files, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let link = files.open(&request)?;
    front.take(link.user, RateClass::Upload).await.map_err(Status::from)?;
    let ctx: Ctx = link.context(uuid::Uuid::now_v7().to_string(), Instant::now().checked_add(DEADLINE));
    match &link.object {
        Linked::File { workspace, revision, path } => {
            let file = download::File { workspace: workspace.to_string(), revision: revision.to_string(), path: path.clone() };
            download::serve(files.files.clone(), &ctx, file, &link.content_type, request.headers()).await
        }
        Linked::Upload { id } => {
            upload::check_type(&link.content_type, request.headers())?;
            upload::serve(files.transfer.clone(), &ctx, id.to_string(), request).await
        }
    }
}

fn refused(refusal: Refusal) -> Response<Body> {
    let text = format!("{}\n", refusal.text);
    let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
    *response.status_mut() = refusal.status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    shield(&mut response);
    response
}

/// What keeps a browser from making more of an answer than bytes, and caches from keeping it.
fn shield(response: &mut Response<Body>) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "private, no-cache"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}
