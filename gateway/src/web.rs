//! What comes in by HTTP: gRPC, gRPC-Web with the rules for web pages, files by link, and people with a browser.
//!
//! A web page is asked for its origin. That matters most in local mode, where nobody signs in: without it any page that the
//! user visits could call the suite on their machine.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use slipway_rpc::LINKS;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::Settings;
use crate::answer::Answer;
use crate::files;
use crate::front::Front;

const EXPOSED: &str = "grpc-status,grpc-message,grpc-status-details-bin,x-request-id";
const HELLO: &str = "This is Slipway's gateway. It speaks gRPC and gRPC-Web; try:\n\n  grpcurl -plaintext HOST list\n  \
    grpcurl -plaintext HOST describe slipway.conversation.v1.ConversationService\n\n\
    Add -H 'authorization: Bearer <token>' when the server wants a token.\n";
/// Headers about one hop of HTTP/1, which HTTP/2 does not have.
const HOP: [HeaderName; 6] = [
    header::HOST,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Which web pages may call.
pub(crate) struct Origins {
    listed: Vec<String>,
    any: bool,
    loopback: bool,
}

impl Origins {
    pub(crate) fn new(settings: &Settings) -> Origins {
        Origins {
            listed: settings.allowed_origins.clone(),
            any: settings.allowed_origins.iter().any(|o| o == "*"),
            loopback: settings.is_local(),
        }
    }

    fn allow(&self, origin: &str) -> bool {
        self.any || self.listed.iter().any(|o| o.eq_ignore_ascii_case(origin)) || self.loopback && is_loopback(origin)
    }
}

fn is_loopback(origin: &str) -> bool {
    let uri = origin.parse::<Uri>().ok();
    uri.as_ref().and_then(Uri::host).is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"))
}

/// Answers one HTTP request.
pub(crate) async fn answer(front: Arc<Front>, origins: Arc<Origins>, request: Request<Incoming>) -> Response<Answer> {
    let origin = request.headers().get(header::ORIGIN).cloned();
    if let Some(origin) = &origin
        && !origin.to_str().is_ok_and(|o| origins.allow(o))
    {
        return text(StatusCode::FORBIDDEN, "this origin may not call: see gateway.allowed_origins\n");
    }
    let kind = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if kind.starts_with(b"application/grpc-web") {
        return cross_origin(web(front, request).await, origin);
    }
    if kind.starts_with(b"application/grpc") && request.method() == Method::POST && request.version() == Version::HTTP_2 {
        return front.call(request.map(Body::new)).await;
    }
    if request.uri().path().starts_with(LINKS) && request.method() != Method::OPTIONS {
        return files::answer(front, request).await;
    }
    match *request.method() {
        Method::OPTIONS => cross_origin(preflight(request.headers()), origin),
        Method::GET | Method::HEAD if request.uri().path() == "/" => hello(request.headers(), request.uri()),
        Method::POST => text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "calls are gRPC over HTTP/2, or gRPC-Web\n"),
        _ => text(StatusCode::NOT_FOUND, "there is no such page; calls are gRPC over HTTP/2, or gRPC-Web\n"),
    }
}

/// A gRPC-Web call becomes a gRPC call, and its answer a gRPC-Web answer.
async fn web(front: Arc<Front>, mut request: Request<Incoming>) -> Response<Answer> {
    for name in HOP {
        request.headers_mut().remove(name);
    }
    *request.version_mut() = Version::HTTP_2;
    let inner = service_fn(move |request: Request<Body>| {
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.call(request).await) }
    });
    let answer = GrpcWebLayer::new().layer(inner).oneshot(request).await;
    answer.unwrap_or_else(|never| match never {}).map(Answer::plain)
}

/// What a browser asks before a page's first call.
fn preflight(asked: &HeaderMap) -> Response<Answer> {
    let mut response = text(StatusCode::NO_CONTENT, "");
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    response
}

/// Tells the browser that this page may read the answer.
fn cross_origin(mut response: Response<Answer>, origin: Option<HeaderValue>) -> Response<Answer> {
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

fn hello(headers: &HeaderMap, uri: &Uri) -> Response<Answer> {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).or(uri.authority().map(|a| a.as_str()));
    text(StatusCode::OK, &HELLO.replace("HOST", host.unwrap_or("HOST")))
}

fn text(status: StatusCode, text: &str) -> Response<Answer> {
    let body = Body::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    let mut response = Response::new(Answer::plain(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_from_elsewhere_may_not_call_the_local_suite() {
        let local = Origins::new(&Settings::default());
        for origin in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:8080"] {
            assert!(local.allow(origin), "{origin}");
        }
        for origin in ["https://example.com", "http://localhost.example.com", "null", "http://127.0.0.1.example.com:1", ""] {
            assert!(!local.allow(origin), "{origin}");
        }
        let listed = Settings { allowed_origins: vec!["https://app.example.com".into()], ..Settings::default() };
        assert!(Origins::new(&listed).allow("https://app.example.com"));
        let any = Settings { allowed_origins: vec!["*".into()], ..Settings::default() };
        assert!(Origins::new(&any).allow("https://example.com"));
    }
}
