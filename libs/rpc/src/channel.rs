//! [`Channel`]: the transport of every client: a service in this process, or one in another.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use tonic::body::Body;
use tower::Service;

use crate::layer::Door;
use crate::{BoxError, BuildError, Ctx, Fault, IdentityKey, Reason, identity, trace};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// HTTP/2 flow control windows, in bytes: large enough that a file streams at full speed.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A cheap, cloneable client transport: `FileStoreServiceClient::new(channel)`. Requests made by [`Ctx::request`] carry
/// the caller's signed identity, the request id, the trace and what remains of the deadline.
#[derive(Clone)]
pub struct Channel {
    transport: Transport,
    key: IdentityKey,
}

#[derive(Clone)]
enum Transport {
    /// Set when the server starts; calls before that are UNAVAILABLE.
    Local(Arc<OnceLock<Door>>),
    Remote(tonic::transport::Channel),
}

impl Channel {
    /// A channel to another process, for example `http://file-store:50051`. Connects at the first call and again whenever
    /// the connection is lost.
    pub fn remote(uri: &str, key: &IdentityKey) -> Result<Self, BuildError> {
        let endpoint = tonic::transport::Endpoint::from_shared(uri.to_owned())
            .map_err(|e| BuildError::of(format!("the service address \"{uri}\" is not a URI"), e))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .tcp_nodelay(true);
        Ok(Self { transport: Transport::Remote(endpoint.connect_lazy()), key: key.clone() })
    }

    pub(crate) fn local(door: Arc<OnceLock<Door>>, key: IdentityKey) -> Self {
        Self { transport: Transport::Local(door), key }
    }
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match &mut self.transport {
            Transport::Local(_) => Poll::Ready(Ok(())),
            Transport::Remote(channel) => channel.poll_ready(cx).map_err(Into::into),
        }
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if let Some(ctx) = request.extensions_mut().remove::<Ctx>()
            && let Err(fault) = carry(&ctx, &self.key, request.headers_mut())
        {
            return refuse(fault);
        }
        match &mut self.transport {
            Transport::Local(door) => match door.get() {
                Some(door) => door.call(request),
                None => refuse(Fault::new(Reason::ServiceUnavailable, "the service has not started yet; try again")),
            },
            Transport::Remote(channel) => {
                let answer = channel.call(request);
                Box::pin(async move { answer.await.map_err(Into::into) })
            }
        }
    }
}

fn refuse(fault: Fault) -> BoxFuture<'static, Result<http::Response<Body>, BoxError>> {
    let response = tonic::Status::from(fault).into_http();
    Box::pin(async move { Ok(response) })
}

/// Writes a context into the headers that [`Door`] reads.
fn carry(ctx: &Ctx, key: &IdentityKey, headers: &mut HeaderMap) -> Result<(), Fault> {
    if let Some(remaining) = ctx.remaining() {
        if remaining.is_zero() {
            return Err(Fault::new(Reason::DeadlineExceeded, "the deadline passed before the call was made"));
        }
        headers.insert("grpc-timeout", header(&grpc_timeout(remaining))?);
    }
    headers.insert(identity::HEADER, header(&key.sign(ctx.caller, ctx.project)?)?);
    headers.insert("x-request-id", header(&ctx.request_id)?);
    let traceparent = ctx.traceparent();
    if !traceparent.is_empty() {
        headers.insert(trace::HEADER, header(&traceparent)?);
    }
    Ok(())
}

fn header(value: &str) -> Result<HeaderValue, Fault> {
    HeaderValue::from_str(value).map_err(Fault::internal)
}

/// The `grpc-timeout` header: at most eight digits and a unit.
fn grpc_timeout(remaining: Duration) -> String {
    let micros = remaining.as_micros();
    if micros < 100_000_000 {
        format!("{micros}u")
    } else if micros < 100_000_000_000 {
        format!("{}m", micros / 1_000)
    } else {
        format!("{}S", (micros / 1_000_000).min(99_999_999))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_fit_eight_digits() {
        for (duration, header) in [
            (Duration::from_micros(1), "1u"),
            (Duration::from_millis(300), "300000u"),
            (Duration::from_secs(600), "600000m"),
            (Duration::from_secs(200_000), "200000S"),
        ] {
            assert_eq!(grpc_timeout(duration), header);
        }
    }
}
