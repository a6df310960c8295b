//! [`Door`]: what every call passes on its way into a service, whether it came over TCP or from this process: the
//! identity is verified, the deadline enforced, the span opened, and errors that tonic made itself get their details.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{BoxError, Ctx, Fault, IdentityKey, Reason, identity, trace};

/// Only our own services want an identity; health and reflection are for everyone who can reach the port.
const OURS: &str = "/slipway.";

/// The routes of a server behind the checks that every call passes.
#[derive(Clone)]
pub(crate) struct Door {
    routes: Routes,
    key: IdentityKey,
    hang_up: CancellationToken,
}

impl Door {
    /// `hang_up` ends every stream.
    pub(crate) fn new(routes: Routes, key: IdentityKey, hang_up: CancellationToken) -> Self {
        Self { routes, key, hang_up }
    }

    pub(crate) fn call(&self, mut request: http::Request<Body>) -> BoxFuture<'static, Result<http::Response<Body>, BoxError>> {
        if !request.uri().path().starts_with(OURS) {
            let answer = self.routes.clone().call(request);
            return Box::pin(async move { Ok(answer.await?) });
        }
        let ctx = match self.context(request.headers()) {
            Ok(ctx) => ctx,
            Err(fault) => {
                let response = Status::from(fault).into_http();
                return Box::pin(async move { Ok(response) });
            }
        };
        let span = tracing::info_span!(
            "rpc",
            otel.kind = "server",
            method = request.uri().path().trim_start_matches('/'),
            request_id = %ctx.request_id,
            project = %ctx.project,
        );
        trace::set_parent(&span, &incoming(request.headers(), trace::HEADER));
        let deadline = ctx.deadline;
        request.extensions_mut().insert(ctx);
        let answer = self.routes.clone().call(request);
        let hang_up = self.hang_up.clone();
        let answer = async move {
            let response = match deadline {
                None => answer.await?,
                Some(at) => match tokio::time::timeout_at(at.into(), answer).await {
                    Ok(response) => response?,
                    Err(_) => return Ok(Status::from(expired()).into_http()),
                },
            };
            let bounded = |body| Body::new(BoundedBody { body, deadline, hang_up, end: None, over: false });
            Ok(complete(response.map(bounded)))
        };
        Box::pin(answer.instrument(span))
    }

    fn context(&self, headers: &HeaderMap) -> Result<Ctx, Fault> {
        let token = headers.get(identity::HEADER).and_then(|v| v.to_str().ok());
        let token = token.ok_or_else(|| {
            Fault::new(Reason::CredentialsMissing, "services take calls from the gateway only; call the gateway")
        })?;
        let (caller, project) = self.key.verify(token)?;
        let mut request_id = incoming(headers, "x-request-id");
        if request_id.is_empty() {
            request_id = Uuid::now_v7().to_string();
        }
        let deadline = headers.get("grpc-timeout").and_then(|v| timeout(v.to_str().ok()?)).map(|d| Instant::now() + d);
        Ok(Ctx::new(caller, project, request_id, deadline, incoming(headers, trace::HEADER)))
    }
}

impl Service<http::Request<Body>> for Door {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = Self::call(self, request);
        Box::pin(async move { Ok(answer.await.unwrap_or_else(|e| Status::from(Fault::internal(e)).into_http())) })
    }
}

fn incoming(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
}

/// Reads a `grpc-timeout` header; anything malformed is as if absent.
pub fn timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

fn expired() -> Fault {
    Fault::new(Reason::DeadlineExceeded, "the call's deadline has passed")
}

/// Gives a reason to errors that tonic made itself: a message that does not decode, is too large, or an unknown method.
fn complete(response: http::Response<Body>) -> http::Response<Body> {
    let headers = response.headers();
    if headers.get("grpc-status").is_none_or(|s| s == "0") || headers.contains_key("grpc-status-details-bin") {
        return response;
    }
    let Some(status) = Status::from_header_map(headers) else { return response };
    let message = status.message().to_owned();
    let fault = match status.code() {
        Code::Internal | Code::InvalidArgument if message.contains("decode") => {
            Fault::new(Reason::FieldInvalid, format!("the request is not a valid message: {message}"))
        }
        Code::OutOfRange if message.contains("too large") => Fault::new(Reason::MessageTooLarge, message),
        Code::Unimplemented => Fault::new(Reason::MethodUnknown, "no method has this name"),
        _ => Fault::from_status(&status),
    };
    Status::from(fault).into_http()
}

/// A response body that ends with DEADLINE_EXCEEDED when the call's deadline passes before it does, and with UNAVAILABLE
/// when the server hangs up.
struct BoundedBody {
    body: Body,
    deadline: Option<Instant>,
    hang_up: CancellationToken,
    /// Made when first waited for: most answers are there at once.
    end: Option<BoxFuture<'static, Fault>>,
    over: bool,
}

async fn bound(deadline: Option<Instant>, hang_up: CancellationToken) -> Fault {
    let passed = async {
        match deadline {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = passed => expired(),
        () = hang_up.cancelled() => {
            Fault::new(Reason::ServiceUnavailable, "this replica is stopping; call again, and go on after what you have seen")
        }
    }
}

impl HttpBody for BoundedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let (deadline, hang_up) = (self.deadline, self.hang_up.clone());
        let end = self.end.get_or_insert_with(|| Box::pin(bound(deadline, hang_up)));
        let fault = ready!(end.as_mut().poll(cx));
        self.over = true;
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        Status::from(fault).add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::timeout;
    use std::time::Duration;

    #[test]
    fn grpc_timeouts_are_read_as_the_specification_writes_them() {
        assert_eq!(timeout("300m"), Some(Duration::from_millis(300)));
        assert_eq!(timeout("2S"), Some(Duration::from_secs(2)));
        for bad in ["", "m", "123456789m", "12x", "-1S", "é"] {
            assert_eq!(timeout(bad), None, "{bad:?}");
        }
    }
}
