//! One trace joins the gateway, the services and the bus; metrics count; logs are JSON with ids.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use slipway_proto::filestore::CreateWorkspaceRequest;
use slipway_testkit::SuiteOptions;
use slipway_testkit::suite::free_port;
use tonic::Request;

use crate::story::{self, suite, suite_with};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn traced<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01").parse().unwrap());
    request
}

/// The JSON log lines of a trace.
fn lines(log: &str, trace: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    lines.filter(|l| l.to_string().contains(trace)).collect()
}

#[tokio::test]
async fn one_trace_joins_gateway_services_and_bus() {
    let mut options = SuiteOptions::default();
    options.env.push(("SLIPWAY_TELEMETRY__FILTER".into(), "info,slipway=debug".into()));
    for service in ["gateway", "file_store", "embedding", "bus", "rpc", "storage"] {
        options.env[0].1.push_str(&format!(",slipway_{service}=debug"));
    }
    let suite = suite_with(options).await;
    let client = suite.client().unwrap();
    let request = CreateWorkspaceRequest { name: "traced".into(), ..Default::default() };
    let workspace = client.files.clone().create_workspace(traced(request)).await.unwrap().into_inner().workspace.unwrap();
    let request = slipway_proto::filestore::CommitRevisionRequest {
        workspace_id: workspace.id.clone(),
        changes: vec![story::write("values.yaml", "replicas: 1\n")],
        ..Default::default()
    };
    client.files.clone().commit_revision(traced(request)).await.unwrap();
    story::indexed(&client, &workspace.id, 1).await;
    let wanted: BTreeSet<&str> = ["slipway_gateway", "slipway_file_store", "slipway_embedding"].into();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let log = suite.log();
        let seen = lines(&log, TRACE);
        let targets: BTreeSet<String> =
            seen.iter().filter_map(|l| Some(l["target"].as_str()?.split("::").next()?.to_owned())).collect();
        if wanted.iter().all(|t| targets.contains(*t)) {
            break;
        }
        assert!(Instant::now() < deadline, "the trace is seen in {targets:?} only");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn logs_carry_conversation_and_run() {
    let mut options = SuiteOptions::default();
    options.env.push(("SLIPWAY_TELEMETRY__FILTER".into(), "info,slipway_conversation=debug".into()));
    let suite = suite_with(options).await;
    let client = suite.client().unwrap();
    let conversation = story::conversation(&client, "").await;
    let run = story::say(&client, &conversation.id, "hello there").await[0].run_id.clone();
    // The end is seen a moment before it is logged.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !lines(&suite.log(), &run).iter().any(|l| l.to_string().contains(&conversation.id)) {
        assert!(Instant::now() < deadline, "no line has both ids:\n{}", suite.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn metrics_count_calls() {
    let port = free_port().unwrap();
    let mut options = SuiteOptions::default();
    options.env.push(("SLIPWAY_TELEMETRY__METRICS_LISTEN".into(), format!("127.0.0.1:{port}")));
    let suite = suite_with(options).await;
    let conversation = story::conversation(&suite.client().unwrap(), "").await;
    story::say(&suite.client().unwrap(), &conversation.id, "hello there").await;
    let text = scrape(port).await;
    let counted = text
        .lines()
        .find(|l| l.starts_with("slipway_requests_total") && l.contains("SendMessage"))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(counted.ends_with(" 1"), "{counted}");
    assert!(text.contains("process_resident_memory_bytes"), "{text}");
}

pub(crate) async fn scrape(port: u16) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("the metrics port is open");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn the_start_says_that_it_is_local() {
    if story::only_for_one_process("the_start_says_that_it_is_local", "only `up` greets") {
        return;
    }
    let suite = suite().await;
    // The port is open a moment before the notice is written.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !suite.log().contains("sign-in  none: local mode") {
        assert!(Instant::now() < deadline, "{}", suite.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
