//! [`Channel`]: the transport of every client: a service in this process, or one in another.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use tonic::body::Body;
use tower::Service;

use crate::layer::Door;
use crate::pool::{Names, Pool, Unreachable};
use crate::{BoxError, BuildError, Ctx, Fault, IdentityKey, Reason, Tls, identity, trace};

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
    Remote(Pool),
}

impl Channel {
    /// A channel to another process, for example `http://file-store:50051`, or to its replicas: every address that the name
    /// resolves to, or several places separated by commas. Connects at the first call and again whenever a connection is lost.
    /// An `https://` place wants `tls`.
    pub fn remote(uri: &str, key: &IdentityKey, tls: Option<&Tls>) -> Result<Self, BuildError> {
        Ok(Self { transport: Transport::Remote(Pool::new(uri, Arc::new(Names), tls.cloned())?), key: key.clone() })
    }

    pub(crate) fn local(door: Arc<OnceLock<Door>>, key: IdentityKey) -> Self {
        Self { transport: Transport::Local(door), key }
    }
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
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
            Transport::Remote(pool) => {
                let pool = pool.clone();
                Box::pin(async move {
                    match pool.call(request).await {
                        Err(error) if error.is::<Unreachable>() => {
                            let absent =
                                Fault::new(Reason::ServiceUnavailable, "a service that the call needs is not there; try again");
                            Ok(tonic::Status::from(absent.source(error)).into_http())
                        }
                        answer => answer,
                    }
                })
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
    headers.insert(identity::HEADER, header(&key.sign(&ctx.caller, ctx.project)?)?);
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
