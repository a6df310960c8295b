//! One secret, one story, and everything that leaves: requests to the provider, the bus, traces, metrics, logs, the index.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use serde_json::json;
use slipway_proto::embedding::SearchRequest;
use slipway_proto::inference::{CompleteRequest, Message, Prompt, Role};
use slipway_testkit::nats::NatsServer;
use slipway_testkit::suite::free_port;
use slipway_testkit::{Provider, Step, SuiteOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

use super::{holding, secrets, text};
use crate::story::{self, suite_with};
use crate::telemetry::scrape;

const PATIENCE: Duration = Duration::from_secs(30);

/// What has come in somewhere, as it came.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn add(&self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// What a bus has heard, but for the lane on which replicas pass on to each other what they keep as it was said.
    fn without_the_live_lane(&self) -> String {
        let bytes = self.0.lock().unwrap();
        let (mut left, mut rest) = (Vec::new(), &bytes[..]);
        while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            let words: Vec<&str> = line.split(' ').collect();
            let payload = match words[..] {
                ["MSG" | "HMSG", .., size] => size.parse::<usize>().unwrap() + 2,
                _ => 0,
            };
            let next = (end + 2 + payload).min(rest.len());
            if !words.get(1).is_some_and(|subject| payload > 0 && subject.starts_with("slipway-live.")) {
                left.extend_from_slice(&rest[..next]);
            }
            rest = &rest[next..];
        }
        String::from_utf8_lossy(&left).into_owned()
    }

    /// Everything, once all of this is in it.
    async fn wait_for(&self, what: &str, marks: &[&str]) -> String {
        self.wait_until(what, marks, Self::text).await
    }

    async fn wait_until(&self, what: &str, marks: &[&str], seen: fn(&Self) -> String) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = seen(self);
            let missing: Vec<_> = marks.iter().filter(|mark| !text.contains(**mark)).collect();
            if missing.is_empty() {
                return text;
            }
            assert!(Instant::now() < deadline, "{what} never has {missing:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Hears every message that passes a NATS server: subjects, headers and payloads, in the server's own protocol.
async fn everything(nats: &NatsServer, heard: Heard, tasks: &mut JoinSet<()>) {
    let mut socket = TcpStream::connect(("127.0.0.1", nats.port())).await.unwrap();
    socket.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB > 1\r\nPING\r\n").await.unwrap();
    let (begun, listening) = tokio::sync::oneshot::channel();
    tasks.spawn(async move {
        let (mut begun, mut chunk) = (Some(begun), vec![0; 64 << 10]);
        while let Ok(read @ 1..) = socket.read(&mut chunk).await {
            heard.add(&chunk[..read]);
            let text = String::from_utf8_lossy(&chunk[..read]);
            if text.contains("PONG\r\n")
                && let Some(begun) = begun.take()
            {
                begun.send(()).unwrap();
            }
            if text.contains("PING\r\n") && socket.write_all(b"PONG\r\n").await.is_err() {
                return;
            }
        }
    });
    tokio::time::timeout(PATIENCE, listening).await.unwrap().unwrap();
}

/// A collector of traces.
struct Collector(Heard);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.add(format!("{:?}\n", request.into_inner()).as_bytes());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn collector(port: u16, heard: Heard, tasks: &mut JoinSet<()>) {
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(heard)));
    tasks.spawn(async move { server.serve(([127, 0, 0, 1], port).into()).await.unwrap() });
}

/// A provider that says again what it was told, and refuses when it is told to, quoting the request.
async fn quoting() -> Provider {
    let script = |request: &serde_json::Value| {
        let said = request["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap_or_default();
        if said.contains("refuse") {
            return vec![Step::Refuse(400, json!({"error": {"message": format!("cannot read: {said}")}}))];
        }
        said.chars().collect::<Vec<_>>().chunks(7).map(|c| Step::Text(c.iter().collect())).collect()
    };
    Provider::start(script).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_secret_is_in_nothing_that_leaves() {
    let Some(nats) = NatsServer::start().await else { return };
    let (mut tasks, bus, traces) = (JoinSet::new(), Heard::default(), Heard::default());
    everything(&nats, bus.clone(), &mut tasks).await;
    let (collects, measures) = (free_port().unwrap(), free_port().unwrap());
    collector(collects, traces.clone(), &mut tasks);
    let provider = quoting().await;
    let mut options = SuiteOptions::with_provider(&provider.base_url());
    for (name, value) in [
        ("SLIPWAY_BUS__URL", nats.url()),
        ("SLIPWAY_TELEMETRY__FILTER", "trace,h2=info,hyper=info,tower=info,async_nats=info".to_owned()),
        ("SLIPWAY_TELEMETRY__OTLP_ENDPOINT", format!("http://127.0.0.1:{collects}")),
        ("SLIPWAY_TELEMETRY__METRICS_LISTEN", format!("127.0.0.1:{measures}")),
        ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
    ] {
        options.env.push((name.into(), value));
    }
    let suite = suite_with(options).await;
    let client = suite.client().unwrap();
    let secrets = secrets();
    let planted = text(&secrets);

    // In a file, in a conversation about it, in a search, in calls that succeed and fail.
    let notes = format!("# Quokka\n\n{planted}");
    let (workspace, _) = story::workspace(&client, &[("NOTES.md", notes.as_str())]).await;
    story::indexed(&client, &workspace, 1).await;
    let conversation = story::conversation(&client, &workspace).await;
    let run = story::say(&client, &conversation.id, &format!("what is a quokka?\n{planted}")).await[0].run_id.clone();
    let search = SearchRequest { workspace_id: workspace.clone(), query: format!("quokka {planted}"), ..Default::default() };
    let found = client.embedding.clone().search(search).await.unwrap().into_inner();
    for (what, answered) in [("answer", true), ("refuse", false)] {
        let message = Message { role: Role::User.into(), text: format!("{what}:\n{planted}"), ..Default::default() };
        let prompt = Prompt { messages: vec![message], ..Default::default() };
        let answer = client.inference.clone().complete(CompleteRequest { prompt: Some(prompt) }).await;
        assert_eq!(answer.is_ok(), answered, "{answer:?}");
        holding("the answer", &format!("{answer:?}"), &secrets);
    }

    // Whatever is looked through has something of the story in it.
    let sent = provider.requests();
    assert!(sent.len() >= 3, "{sent:?}");
    for request in &sent {
        assert!(!request.to_string().contains("10:30") || request.to_string().contains("[REDACTED:"), "{request}");
        holding("a request", &request.to_string(), &secrets);
    }
    holding("the bus", &bus.wait_until("the bus", &[&workspace], Heard::without_the_live_lane).await, &secrets);
    holding("a trace", &traces.wait_for("no trace", &["StreamComplete", "CommitRevision", "Search"]).await, &secrets);
    let metrics = scrape(measures).await;
    // At scale one of the processes has the port.
    assert!(slipway_testkit::suite::at_scale() || metrics.contains("slipway_model_calls_total"), "{metrics}");
    holding("a metric", &metrics, &secrets);
    assert!(suite.log().contains(&run));
    holding("the log", &suite.log(), &secrets);
    assert!(format!("{found:?}").contains("[REDACTED:"), "{found:?}");
    holding("the index", &format!("{found:?}"), &secrets);
    tasks.shutdown().await;
}
