//! The gateway as a client sees it, in front of a small service.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use slipway_proto::inference as pb;
use slipway_proto::inference::inference_service_client::InferenceServiceClient;
use slipway_proto::inference::inference_service_server::{InferenceService, InferenceServiceServer};
use slipway_rpc::{Ctx, IdentityKey, Scope, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_types::StatusExt as _;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789";

/// Says what it was told, counts, and never ends, as the model's name wants.
struct Fake {
    open: watch::Sender<usize>,
    calls: Arc<AtomicUsize>,
}

/// Tells that a stream was dropped.
struct Open(watch::Sender<usize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

fn delta(text: String) -> pb::StreamCompleteResponse {
    pb::StreamCompleteResponse { event: Some(pb::stream_complete_response::Event::TextDelta(text)) }
}

#[tonic::async_trait]
impl InferenceService for Fake {
    async fn complete(&self, request: Request<pb::CompleteRequest>) -> Result<Response<pb::CompleteResponse>, Status> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let ctx = Ctx::of(&request)?;
        let forged = request.metadata().contains_key("x-slipway-admin") || request.metadata().contains_key("authorization");
        let facts = [
            ctx.caller.user.to_string(),
            ctx.project.to_string(),
            ctx.caller.scope.to_string(),
            ctx.request_id.clone(),
            ctx.remaining().map_or("none".into(), |d| (d.as_secs_f64().round() as u64).to_string()),
            forged.to_string(),
        ];
        let completion = pb::Completion { text: facts.join(" "), ..Default::default() };
        Ok(Response::new(pb::CompleteResponse { completion: Some(completion) }))
    }

    type StreamCompleteStream = BoxStream<'static, Result<pb::StreamCompleteResponse, Status>>;

    async fn stream_complete(
        &self,
        request: Request<pb::StreamCompleteRequest>,
    ) -> Result<Response<Self::StreamCompleteStream>, Status> {
        let model = request.into_inner().prompt.unwrap_or_default().model;
        self.open.send_modify(|n| *n += 1);
        let open = Open(self.open.clone());
        let count = model.strip_prefix("count:").map(|n| n.parse::<usize>().unwrap());
        let deltas = stream::iter(0..count.unwrap_or(1)).map(|i| Ok(delta(i.to_string())));
        let answer = match model.as_str() {
            "fail" => deltas.chain(stream::iter([Err(Status::data_loss("half way"))])).boxed(),
            "forever" => deltas.chain(stream::pending()).boxed(),
            _ => deltas.boxed(),
        };
        let held = answer.inspect(move |_| {
            let _until_dropped = &open;
        });
        Ok(Response::new(held.boxed()))
    }

    type BatchCompleteStream = BoxStream<'static, Result<pb::BatchCompleteResponse, Status>>;

    async fn batch_complete(&self, _: Request<pb::BatchCompleteRequest>) -> Result<Response<Self::BatchCompleteStream>, Status> {
        Err(Status::unimplemented("batch_complete"))
    }

    async fn list_providers(&self, _: Request<pb::ListProvidersRequest>) -> Result<Response<pb::ListProvidersResponse>, Status> {
        Err(Status::unimplemented("list_providers"))
    }

    async fn count_tokens(&self, _: Request<pb::CountTokensRequest>) -> Result<Response<pb::CountTokensResponse>, Status> {
        Err(Status::unimplemented("count_tokens"))
    }

    async fn list_models(&self, _: Request<pb::ListModelsRequest>) -> Result<Response<pb::ListModelsResponse>, Status> {
        Ok(Response::new(pb::ListModelsResponse::default()))
    }

    async fn test_connection(
        &self,
        _: Request<pb::TestConnectionRequest>,
    ) -> Result<Response<pb::TestConnectionResponse>, Status> {
        Err(Status::permission_denied("not today"))
    }
}

/// A gateway in front of [`Fake`].
struct Suite {
    address: SocketAddr,
    metrics: Metrics,
    open: watch::Receiver<usize>,
    calls: Arc<AtomicUsize>,
    shutdown: CancellationToken,
    gateway: JoinHandle<()>,
    upstream: Option<JoinHandle<()>>,
    upstream_shutdown: CancellationToken,
}

impl Suite {
    async fn start(settings: Settings, remote: bool) -> Suite {
        let key = IdentityKey::new(&IdentityKey::generate()).unwrap();
        let mut server = Server::new(key.clone());
        let (open, watched) = watch::channel(0);
        let calls = Arc::new(AtomicUsize::new(0));
        server.add_service(InferenceServiceServer::new(Fake { open, calls: calls.clone() }));
        let mut channel = server.channel();
        let upstream_shutdown = server.shutdown();
        let running = server.start().await;
        let mut upstream = None;
        if remote {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            channel = Channel::remote(&format!("http://{}", listener.local_addr().unwrap()), &key, None).unwrap();
            upstream = Some(tokio::spawn(async move { running.serve(listener, None, std::time::Duration::ZERO).await.unwrap() }));
        }
        let metrics = Metrics::new();
        let upstreams = BTreeMap::from([("inference".to_owned(), channel)]);
        let addressed = BTreeMap::new();
        let bus = Bus::in_process();
        let deps = Deps { listen: "127.0.0.1:0".into(), upstreams, addressed, bus, metrics: metrics.clone(), links: key.links() };
        let gateway = Gateway::build(&settings, deps).await.unwrap();
        let address = gateway.local_addr();
        let shutdown = CancellationToken::new();
        let gateway = tokio::spawn(gateway.run(shutdown.clone()));
        Suite { address, metrics, open: watched, calls, shutdown, gateway, upstream, upstream_shutdown }
    }

    fn channel(&self) -> tonic::transport::Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
    }

    fn client(&self) -> InferenceServiceClient<tonic::transport::Channel> {
        InferenceServiceClient::new(self.channel())
    }

    async fn status(&self, service: &str, wanted: ServingStatus) {
        let request = HealthCheckRequest { service: service.into() };
        let mut seen = HealthClient::new(self.channel()).watch(request).await.unwrap().into_inner();
        while seen.message().await.unwrap().unwrap().status != wanted as i32 {}
    }

    async fn all_closed(&mut self) {
        self.open.wait_for(|n| *n == 0).await.unwrap();
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.gateway.await.unwrap();
        self.upstream_shutdown.cancel();
        if let Some(upstream) = self.upstream {
            upstream.await.unwrap();
        }
    }
}

fn tokens(scope: Scope) -> Settings {
    Settings { tokens: vec![settings::tests::token(SECRET, scope)], ..Settings::default() }
}

fn ask(authorization: Option<&str>) -> Request<pb::CompleteRequest> {
    let mut request = Request::new(pb::CompleteRequest::default());
    if let Some(value) = authorization {
        request.metadata_mut().insert("authorization", value.parse().unwrap());
    }
    request
}

fn stream_of(model: &str) -> pb::StreamCompleteRequest {
    pb::StreamCompleteRequest { prompt: Some(pb::Prompt { model: model.into(), ..Default::default() }) }
}

fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "slipway.dev");
    info.reason.clone()
}

async fn facts(suite: &Suite, request: Request<pb::CompleteRequest>) -> Vec<String> {
    let answer = suite.client().complete(request).await.unwrap().into_inner();
    answer.completion.unwrap().text.split(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn calls_reach_the_service_with_who_what_and_until_when() {
    for remote in [false, true] {
        let suite = Suite::start(Settings::default(), remote).await;
        let mut request = ask(Some("Bearer whatever"));
        request.metadata_mut().insert("x-request-id", "my-id".parse().unwrap());
        request.metadata_mut().insert("x-slipway-identity", "forged".parse().unwrap());
        request.metadata_mut().insert("x-slipway-admin", "yes".parse().unwrap());
        let said = facts(&suite, request).await;
        let wanted = [&LOCAL_USER.to_string(), &LOCAL_PROJECT.to_string(), "admin", "my-id", "300", "false"];
        assert_eq!(said, wanted, "remote: {remote}");
        let mut request = ask(None);
        request.set_timeout(Duration::from_secs(20));
        request.metadata_mut().insert("x-request-id", "not sane".parse().unwrap());
        let said = facts(&suite, request).await;
        assert_eq!(said[4], "20");
        assert!(said[3].parse::<Uuid>().is_ok(), "{}", said[3]);
        suite.stop().await;
    }
}

#[tokio::test]
async fn streams_pass_whole_and_in_order_and_errors_as_they_are() {
    for remote in [false, true] {
        let mut suite = Suite::start(Settings::default(), remote).await;
        let answer = suite.client().stream_complete(stream_of("count:500")).await.unwrap();
        assert!(answer.metadata().contains_key("x-request-id"));
        let texts: Vec<_> = answer.into_inner().map_ok(|m| m.event).try_collect().await.unwrap();
        assert_eq!(texts, (0..500).map(|i| delta(i.to_string()).event).collect::<Vec<_>>());
        let mut broken = suite.client().stream_complete(stream_of("fail")).await.unwrap().into_inner();
        assert!(broken.message().await.unwrap().is_some());
        assert_eq!(broken.message().await.unwrap_err().code(), Code::DataLoss);
        let refusal = suite.client().test_connection(pb::TestConnectionRequest::default()).await.unwrap_err();
        assert_eq!((refusal.code(), refusal.message()), (Code::PermissionDenied, "not today"));
        suite.all_closed().await;
        let text = suite.metrics.text().unwrap();
        for line in [
            r#"slipway_requests_total{code="OK",method="StreamComplete",service="slipway.inference.v1.InferenceService"} 1"#,
            r#"slipway_requests_total{code="DATA_LOSS",method="StreamComplete",service="slipway.inference.v1.InferenceService"} 1"#,
            r#"slipway_streams_open{method="StreamComplete",service="slipway.inference.v1.InferenceService"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        suite.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_call() {
    for remote in [false, true] {
        let mut suite = Suite::start(Settings::default(), remote).await;
        let mut stream = suite.client().stream_complete(stream_of("forever")).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        assert_eq!(*suite.open.borrow(), 1);
        drop(stream);
        suite.all_closed().await;
        suite.stop().await;
    }
}

#[tokio::test]
async fn tokens_are_asked_for_and_checked() {
    let suite = Suite::start(tokens(Scope::Read), false).await;
    let refused = suite.client().complete(ask(None)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "CREDENTIALS_MISSING"));
    let refused = suite.client().complete(ask(Some("Bearer wrong"))).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "CREDENTIALS_INVALID"));
    let bearer = format!("Bearer {SECRET}");
    let refused = suite.client().complete(ask(Some(&bearer))).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "SCOPE_INSUFFICIENT"));
    let metadata = &refused.get_error_details().error_info().unwrap().metadata.clone();
    assert_eq!((metadata["required"].as_str(), metadata["granted"].as_str()), ("write", "read"));
    assert_eq!(suite.calls.load(Ordering::Relaxed), 0, "nothing reached the service");
    let mut request = Request::new(pb::ListModelsRequest::default());
    request.metadata_mut().insert("authorization", bearer.parse().unwrap());
    suite.client().list_models(request).await.unwrap();
    suite.stop().await;
}

#[tokio::test]
async fn callers_have_a_rate() {
    let mut settings = tokens(Scope::Write);
    settings.rate_limit.generate = settings::Rate { per_minute: 6, burst: 2 };
    let suite = Suite::start(settings, false).await;
    let bearer = format!("Bearer {SECRET}");
    for _ in 0..2 {
        suite.client().complete(ask(Some(&bearer))).await.unwrap();
    }
    let refused = suite.client().complete(ask(Some(&bearer))).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["class"], "generate");
    let wait = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::from_secs(5) && wait <= Duration::from_secs(10), "{wait:?}");
    assert!(suite.metrics.text().unwrap().contains(r#"slipway_gateway_rate_limited_total{class="generate"} 1"#));
    suite.stop().await;
}

#[tokio::test]
async fn what_is_not_public_is_unknown_and_what_is_down_is_unavailable() {
    let suite = Suite::start(Settings::default(), true).await;
    let mut planner = slipway_proto::planner::planner_service_client::PlannerServiceClient::new(suite.channel());
    let refused = planner.get_plan(slipway_proto::planner::GetPlanRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unimplemented, "METHOD_UNKNOWN"));
    suite.status("slipway.inference.v1.InferenceService", ServingStatus::Serving).await;
    suite.upstream_shutdown.cancel();
    suite.status("slipway.inference.v1.InferenceService", ServingStatus::NotServing).await;
    let refused = suite.client().complete(ask(None)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "SERVICE_UNAVAILABLE"));
    assert!(refused.get_error_details().retry_info().unwrap().retry_delay.is_some());
    suite.stop().await;
}

#[tokio::test]
async fn reflection_and_health_are_open() {
    let suite = Suite::start(tokens(Scope::Read), false).await;
    suite.status("", ServingStatus::Serving).await;
    suite.status("slipway.inference.v1.InferenceService", ServingStatus::Serving).await;
    let unknown = HealthCheckRequest { service: "slipway.planner.v1.PlannerService".into() };
    assert_eq!(HealthClient::new(suite.channel()).check(unknown).await.unwrap_err().code(), Code::NotFound);

    let ask = |question| ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let questions = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("slipway.inference.v1.InferenceService.Complete".into())),
        ask(MessageRequest::FileContainingSymbol("slipway.planner.v1.PlannerService".into())),
    ];
    let mut client = ServerReflectionClient::new(suite.channel());
    let answers = client.server_reflection_info(stream::iter(questions)).await.unwrap().into_inner();
    let answers: Vec<Result<ServerReflectionResponse, Status>> = answers.collect().await;
    let Some(MessageResponse::ListServicesResponse(list)) = answers[0].clone().unwrap().message_response else { panic!() };
    let mut names: Vec<_> = list.service.into_iter().map(|s| s.name).collect();
    names.sort();
    assert!(names.contains(&"slipway.inference.v1.InferenceService".to_owned()), "{names:?}");
    assert!(names.contains(&"grpc.health.v1.Health".to_owned()), "{names:?}");
    assert!(!names.contains(&"slipway.planner.v1.PlannerService".to_owned()), "{names:?}");
    assert!(matches!(answers[1].clone().unwrap().message_response, Some(MessageResponse::FileDescriptorResponse(_))));
    let hidden = answers.get(2).map(|a| a.clone().map(|a| a.message_response));
    assert!(!matches!(hidden, Some(Ok(Some(MessageResponse::FileDescriptorResponse(_))))), "{hidden:?}");
    suite.stop().await;
}

/// One HTTP/1.1 exchange.
async fn http1(suite: &Suite, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(suite.address).await.unwrap();
    let head = format!("{head}\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", suite.address, body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn grpc_web_works_over_http1_for_pages_that_may() {
    for remote in [false, true] {
        let suite = Suite::start(Settings::default(), remote).await;
        let call = "POST /slipway.inference.v1.InferenceService/Complete HTTP/1.1\r\ncontent-type: application/grpc-web+proto";
        let answer = http1(&suite, &format!("{call}\r\norigin: http://localhost:3000"), &[0; 5]).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("access-control-allow-origin: http://localhost:3000"), "{answer}");
        assert!(answer.contains(&LOCAL_USER.to_string()) && answer.contains("grpc-status:0"), "{answer}");
        let answer = http1(&suite, &format!("{call}\r\norigin: https://evil.example"), &[0; 5]).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert_eq!(suite.calls.load(Ordering::Relaxed), 1);
        let preflight = "OPTIONS /slipway.inference.v1.InferenceService/Complete HTTP/1.1\r\norigin: http://localhost:3000\r\n\
                         access-control-request-method: POST\r\naccess-control-request-headers: content-type,x-grpc-web";
        let answer = http1(&suite, preflight, &[]).await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
        assert!(answer.contains("access-control-allow-headers: content-type,x-grpc-web"), "{answer}");
        suite.stop().await;
    }
}

#[tokio::test]
async fn people_with_a_browser_are_told_what_this_is() {
    let suite = Suite::start(Settings::default(), false).await;
    let answer = http1(&suite, "GET / HTTP/1.1", &[]).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("grpcurl -plaintext"), "{answer}");
    assert!(http1(&suite, "GET /x HTTP/1.1", &[]).await.starts_with("HTTP/1.1 404"));
    let grpc = "POST /slipway.inference.v1.InferenceService/Complete HTTP/1.1\r\ncontent-type: application/grpc";
    assert!(http1(&suite, grpc, &[]).await.starts_with("HTTP/1.1 415"));
    suite.stop().await;
}

#[tokio::test]
async fn calls_under_way_finish_before_the_gateway_stops() {
    let suite = Suite::start(Settings::default(), false).await;
    let mut stream = suite.client().stream_complete(stream_of("forever")).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    suite.shutdown.cancel();
    // The listener is gone once draining has begun, and the call is still there.
    while TcpStream::connect(suite.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!suite.gateway.is_finished());
    assert!(futures::poll!(stream.next()).is_pending());
    drop(stream);
    tokio::time::timeout(Duration::from_secs(5), suite.gateway).await.expect("drained").unwrap();
}

#[tokio::test]
async fn calls_that_take_too_long_are_cut_off() {
    let mut suite = Suite::start(Settings { drain_seconds: 0, ..Settings::default() }, false).await;
    let mut stream = suite.client().stream_complete(stream_of("forever")).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    suite.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), &mut suite.gateway).await.expect("cut off").unwrap();
    assert!(stream.message().await.is_err());
    suite.all_closed().await;
}

async fn refusal(listen: &str, settings: Settings) -> String {
    let (upstreams, addressed) = (BTreeMap::new(), BTreeMap::new());
    let links = IdentityKey::new(&IdentityKey::generate()).unwrap().links();
    let (bus, metrics) = (Bus::in_process(), Metrics::new());
    let deps = Deps { listen: listen.into(), upstreams, addressed, bus, metrics, links };
    Gateway::build(&settings, deps).await.err().map(|e| e.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn other_machines_are_let_in_only_with_tokens() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let sentence = refusal(listen, Settings::default()).await;
        assert!(sentence.contains("gateway.tokens") && sentence.contains(listen), "{sentence}");
    }
    assert_eq!(refusal("0.0.0.0:0", tokens(Scope::Read)).await, "");
    assert_eq!(refusal("127.0.0.1:0", Settings::default()).await, "");
    assert!(refusal("nonsense", Settings::default()).await.contains("listen \"nonsense\""));
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sentence = refusal(&taken.local_addr().unwrap().to_string(), Settings::default()).await;
    assert!(sentence.starts_with("cannot listen on"), "{sentence}");
}
