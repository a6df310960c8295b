//! [`Front`]: the way of a call through the gateway. One lookup finds the method's policy and the service behind it; then
//! who calls, whether they may, how often, until when; then bytes pass through unread.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use http::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response};
use slipway_rpc::{Channel, Ctx, Fault, LinkKey, Reason, UserId, Violation};
use slipway_telemetry::{Metrics, metrics};
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service as _;
use tracing::Span;
use uuid::Uuid;

use crate::answer::{Answer, InFlight, unreachable};
use crate::auth::{Authenticator, authorise};
use crate::files::Files;
use crate::limit::Limits;
use crate::policy::{Policies, Policy, RateClass, split, upstream};
use crate::settings::Settings;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Names the service that a call of an addressed method is about; the service reads it, too.
const SERVICE: HeaderName = HeaderName::from_static("slipway-service");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Headers that only Slipway itself may set.
const OURS: &str = "x-slipway-";
/// The service of the files that links lead to.
const FILES: &str = "filestore";
/// Reflection and health: for everyone who can reach the port, answered here.
const OPEN: &str = "/grpc.";
/// A client's request id is kept when it is not longer.
const MAX_REQUEST_ID: usize = 128;

/// Everything a call needs, made once.
pub(crate) struct Front {
    routes: HashMap<String, Route>,
    open: Routes,
    authenticator: Authenticator,
    limits: Limits,
    metrics: Metrics,
    unknown: metrics::Rpc,
    in_flight: TaskTracker,
    files: Option<Files>,
}

/// Where calls and links lead.
pub(crate) struct Ways<'a> {
    /// The services, by their package.
    pub(crate) upstreams: &'a BTreeMap<String, Channel>,
    /// Those that calls may name.
    pub(crate) addressed: BTreeMap<String, Channel>,
    pub(crate) links: LinkKey,
}

/// One public method.
struct Route {
    policy: Policy,
    way: Way,
    calls: metrics::Rpc,
}

/// Where a method's calls go.
enum Way {
    /// To the one service that has it.
    One(Channel),
    /// To the one that the call names.
    Named(Arc<BTreeMap<String, Channel>>),
}

impl Way {
    fn channel(&self, headers: &HeaderMap) -> Result<Channel, Fault> {
        let named = match self {
            Way::One(channel) => return Ok(channel.clone()),
            Way::Named(named) => named,
        };
        let found = text(headers, &SERVICE).and_then(|name| named.get(name)).cloned();
        found.ok_or_else(|| {
            let names: Vec<_> = named.keys().map(String::as_str).collect();
            let description = format!("must be a header that names one of {}", names.join(", "));
            Fault::invalid(vec![Violation { field: SERVICE.to_string(), description }])
        })
    }
}

impl Front {
    pub(crate) fn new(
        settings: &Settings,
        policies: &Policies,
        ways: Ways<'_>,
        limits: Limits,
        metrics: Metrics,
        open: Routes,
    ) -> Front {
        let Ways { upstreams, addressed, links } = ways;
        let addressed = Arc::new(addressed);
        let routes = policies.iter().filter(|(_, policy)| policy.public).filter_map(|(path, policy)| {
            let (service, method) = split(path);
            let way = match policy.addressed {
                true => Way::Named(Some(addressed.clone()).filter(|addressed| !addressed.is_empty())?),
                false => Way::One(upstreams.get(upstream(service))?.clone()),
            };
            Some((path.to_owned(), Route { policy: *policy, way, calls: metrics.rpc(service, method) }))
        });
        let files = upstreams.get(FILES).map(|channel| Files::new(channel.clone(), links, &metrics));
        Front {
            files,
            routes: routes.collect(),
            open,
            authenticator: Authenticator::new(settings),
            limits,
            unknown: metrics.rpc("unknown", "unknown"),
            metrics,
            in_flight: TaskTracker::new(),
        }
    }

    /// The calls under way.
    pub(crate) fn in_flight(&self) -> &TaskTracker {
        &self.in_flight
    }

    /// The way to the files, if it is known.
    pub(crate) fn files(&self) -> Option<&Files> {
        self.files.as_ref()
    }

    /// Takes one call from the user's bucket.
    pub(crate) async fn take(&self, user: UserId, class: RateClass) -> Result<(), Fault> {
        self.limits.take(user, class).await.inspect_err(|_| self.metrics.rate_limited(class.name()))
    }

    /// Answers one gRPC call.
    pub(crate) async fn call(&self, request: Request<Body>) -> Response<Answer> {
        let Some(route) = self.routes.get(request.uri().path()) else { return self.elsewhere(request).await };
        let (id, span) = begin(&request);
        let call = InFlight { call: route.calls.start(), span: span.clone(), _token: self.in_flight.token() };
        let admitted = self.admit(route, &id, request.headers()).await;
        let mut response = match admitted.and_then(|ctx| Ok((ctx, route.way.channel(request.headers())?))) {
            Ok((ctx, channel)) => forward(channel, ctx, request, &span).await,
            Err(fault) => Err(fault),
        }
        .unwrap_or_else(|fault| span.in_scope(|| Status::from(fault).into_http()));
        response.headers_mut().insert(REQUEST_ID, id);
        Answer::of(response, call)
    }

    /// The questions of the front door, in order; the answer to all of them is the call's context.
    async fn admit(&self, route: &Route, id: &HeaderValue, headers: &HeaderMap) -> Result<Ctx, Fault> {
        let identity = self.authenticator.authenticate(headers)?;
        authorise(&identity, route.policy.scope)?;
        self.take(identity.caller.user, route.policy.class).await?;
        let brought = text(headers, &GRPC_TIMEOUT).and_then(slipway_rpc::parse_timeout);
        let deadline = brought.or(route.policy.deadline).and_then(|d| Instant::now().checked_add(d));
        let id = id.to_str().unwrap_or_default().to_owned();
        let traceparent = text(headers, &TRACEPARENT).unwrap_or_default().to_owned();
        Ok(Ctx::new(identity.caller, identity.project, id, deadline, traceparent))
    }

    /// Reflection, health, and what nobody serves. Internal methods are as unknown as those that do not exist.
    async fn elsewhere(&self, request: Request<Body>) -> Response<Answer> {
        if request.uri().path().starts_with(OPEN) {
            let answer = self.open.clone().call(request).await;
            return answer.unwrap_or_else(|never| match never {}).map(Answer::plain);
        }
        let fault = Fault::new(Reason::MethodUnknown, format!("no public method is called {}", request.uri().path()));
        let status = Status::from(fault);
        self.unknown.start().finish(status.code() as i32);
        status.into_http::<Body>().map(Answer::plain)
    }
}

/// The id and the span of a call.
fn begin(request: &Request<Body>) -> (HeaderValue, Span) {
    let id = match request.headers().get(REQUEST_ID) {
        Some(id) if id.len() <= MAX_REQUEST_ID && !id.is_empty() && id.as_bytes().iter().all(u8::is_ascii_graphic) => id.clone(),
        _ => HeaderValue::from_maybe_shared(Uuid::now_v7().to_string()).unwrap_or_else(|_| HeaderValue::from_static("none")),
    };
    let span = tracing::info_span!(
        "call",
        otel.kind = "server",
        method = request.uri().path().trim_start_matches('/'),
        request_id = id.to_str().unwrap_or_default(),
        rpc.grpc.status_code = tracing::field::Empty,
    );
    if let Some(parent) = text(request.headers(), &TRACEPARENT).filter(|_| !span.is_disabled()) {
        slipway_rpc::join_trace(&span, parent);
    }
    (id, span)
}

/// Hands the call on. Dropping the future, or the body that it gives, cancels the call upstream.
async fn forward(mut channel: Channel, ctx: Ctx, mut request: Request<Body>, span: &Span) -> Result<Response<Body>, Fault> {
    strip(request.headers_mut());
    request.extensions_mut().insert(ctx);
    poll_fn(|cx| channel.poll_ready(cx)).await.map_err(unreachable)?;
    let answer = span.in_scope(|| channel.call(request));
    answer.await.map_err(unreachable)
}

/// Takes away what a client may not tell the services, or what is none of their business.
fn strip(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    headers.remove(COOKIE);
    headers.remove(GRPC_TIMEOUT);
    if headers.keys().any(|name| name.as_str().starts_with(OURS)) {
        let forged: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(OURS)).cloned().collect();
        for name in forged {
            headers.remove(name);
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
