//! The gateway: who may come in, what it shows of itself, what it passes through.

use std::process::Command;
use std::time::Duration;

use prost::Message as _;
use slipway_proto::filestore::{GetWorkspaceRequest, ListWorkspacesRequest};
use slipway_proto::inference::{CompleteRequest, Prompt};
use slipway_testkit::{Provider, Step, SuiteOptions, tools};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::raw;
use crate::story::{binary, reason, refused, repository, suite, suite_with};

const PUBLIC: i32 = 1;

#[test]
fn another_address_than_loopback_wants_authentication() {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.arg("up").env("SLIPWAY_LISTEN", "0.0.0.0:50051").env("SLIPWAY_DATA_DIR", data.path()).current_dir(data.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("0.0.0.0") && said.contains("gateway.tokens"), "{said}");
    assert!(said.trim().lines().count() <= 2, "one sentence, not a trace: {said}");
}

#[tokio::test]
async fn with_tokens_only_their_holders_come_in() {
    let suite = suite_with(SuiteOptions::default().with_two_tenants()).await;
    let list = ListWorkspacesRequest::default();
    suite.client_as("alice-write").unwrap().files.list_workspaces(list.clone()).await.unwrap();
    refused(suite.client().unwrap().files.list_workspaces(list.clone()).await, Code::Unauthenticated, "CREDENTIALS_MISSING");
    refused(
        suite.client_as("mallory").unwrap().files.list_workspaces(list.clone()).await,
        Code::Unauthenticated,
        "CREDENTIALS_INVALID",
    );
    let mut forged = Request::new(list);
    forged.metadata_mut().insert("x-slipway-identity", "eyJhbGciOiJub25lIn0.e30.".parse().unwrap());
    refused(suite.client().unwrap().files.list_workspaces(forged).await, Code::Unauthenticated, "CREDENTIALS_MISSING");
}

#[tokio::test]
async fn only_public_methods_are_served() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    for path in
        ["/slipway.filestore.v1.FileStoreService/Nothing", "/slipway.nothing.v1.NothingService/Get", "/other.Service/Get", "/x"]
    {
        let status = raw::call_path(&client.wire, path, Vec::new()).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "METHOD_UNKNOWN"), "{path}");
    }
    assert!(raw::methods().iter().all(|m| raw::policy(m, "visibility") == PUBLIC || raw::policy(m, "visibility") == 2));
}

#[tokio::test]
async fn a_deadline_ends_the_call_in_time() {
    let provider = Provider::start(|_| vec![Step::Pause(Duration::from_secs(30)), Step::Text("late".into())]).await.unwrap();
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let mut client = suite.client().unwrap();
    let message = slipway_proto::inference::Message { role: 2, text: "x".into(), ..Default::default() };
    let mut request = Request::new(CompleteRequest { prompt: Some(Prompt { messages: vec![message], ..Default::default() }) });
    request.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let asked = std::time::Instant::now();
    let status = client.inference.complete(request).await.unwrap_err();
    // The client's own timer and the server's race; either may be first.
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    assert!(asked.elapsed() < Duration::from_secs(2));
    tokio::time::timeout(Duration::from_secs(2), async {
        while provider.open_streams() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("no work for the call goes on after its deadline");
}

#[tokio::test]
async fn rates_are_limited_per_caller_and_say_when_to_come_back() {
    let mut options = SuiteOptions::default().with_two_tenants();
    options.config.push_str("\n[gateway.rate_limit.api]\nburst = 5\nper_minute = 10\n");
    let suite = suite_with(options).await;
    let (mut alice, mut bob) = (suite.client_as("alice-write").unwrap(), suite.client_as("bob-write").unwrap());
    let mut passed = 0;
    let status = loop {
        match alice.files.list_workspaces(ListWorkspacesRequest::default()).await {
            Ok(_) => passed += 1,
            Err(status) => break status,
        }
        assert!(passed < 20);
    };
    assert!((5..=6).contains(&passed), "{passed}");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
    assert!(status.get_error_details().retry_info().and_then(|r| r.retry_delay).is_some_and(|d| d > Duration::ZERO));
    bob.files.list_workspaces(ListWorkspacesRequest::default()).await.unwrap();
}

#[tokio::test]
async fn grpcurl_lists_every_service_and_completes_a_message_by_reflection() {
    let Some(grpcurl) = tools::find("grpcurl") else { return tools::skipped("grpcurl", "it is not installed") };
    let suite = suite().await;
    let address = suite.url().trim_start_matches("http://").to_owned();
    let run = |arguments: &[&str]| {
        let output = Command::new(&grpcurl).arg("-plaintext").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let services = run(&[&address, "list"]);
    for method in raw::methods() {
        assert!(services.contains(method.parent_service().full_name()), "{services}");
    }
    assert!(services.contains("grpc.health.v1.Health"));
    let described = run(&[&address, "describe", "slipway.conversation.v1.ConversationService"]);
    assert!(described.contains("rpc SendMessage"), "{described}");
    let created =
        run(&["-d", "{\"title\": \"by hand\"}", &address, "slipway.conversation.v1.ConversationService/CreateConversation"]);
    let created: serde_json::Value = serde_json::from_str(&created).unwrap();
    let id = created["conversation"]["id"].as_str().unwrap();
    let body = format!("{{\"conversation_id\": \"{id}\", \"text\": \"hello\"}}");
    let answer = run(&["-d", &body, &address, "slipway.conversation.v1.ConversationService/SendMessage"]);
    assert!(answer.contains("\"started\"") && answer.contains("\"completed\""), "{answer}");
    let letters = "slipway.operations.v1.OperationsService/ListDeadLetters";
    assert_eq!(run(&["-H", "slipway-service: planner", &address, letters]).trim(), "{}", "no letters");
    let health =
        run(&["-d", "{\"service\": \"slipway.operations.v1.OperationsService\"}", &address, "grpc.health.v1.Health/Check"]);
    assert!(health.contains("SERVING") && !health.contains("NOT"), "{health}");
    let health = run(&["-d", "{\"service\": \"slipway.planner.v1.PlannerService\"}", &address, "grpc.health.v1.Health/Check"]);
    assert!(health.contains("SERVING") && !health.contains("NOT_SERVING"), "{health}");
}

/// A gRPC-Web call over HTTP/1.1, as a browser makes it.
#[tokio::test]
async fn grpc_web_is_spoken() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let suite = suite().await;
    let mut stream = tokio::net::TcpStream::connect(suite.url().trim_start_matches("http://")).await.unwrap();
    let message = GetWorkspaceRequest { workspace_id: "not an id".into() }.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let head = format!(
        "POST /slipway.filestore.v1.FileStoreService/GetWorkspace HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(
        answer.contains("application/grpc-web") && answer.contains("grpc-status: 3") || answer.contains("grpc-status:3"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_stop_drains_what_is_under_way() {
    let provider = Provider::start(|_| {
        (0..20).flat_map(|n| [Step::Text(format!("{n} ")), Step::Pause(Duration::from_millis(20))]).collect()
    });
    let suite = suite_with(SuiteOptions::with_provider(&provider.await.unwrap().base_url())).await;
    let mut client = suite.client().unwrap();
    let message = slipway_proto::inference::Message { role: 2, text: "x".into(), ..Default::default() };
    let prompt = Prompt { messages: vec![message], ..Default::default() };
    let request = slipway_proto::inference::StreamCompleteRequest { prompt: Some(prompt) };
    let mut stream = client.inference.stream_complete(request).await.unwrap().into_inner();
    stream.message().await.unwrap();
    let pid = suite.pid().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut last = None;
    while let Some(part) = stream.message().await.expect("the stream ends well") {
        last = part.event;
    }
    assert!(matches!(last, Some(slipway_proto::inference::stream_complete_response::Event::Completed(_))), "{last:?}");
}

#[test]
fn the_api_is_linted() {
    let Some(buf) = tools::find("buf") else { return tools::skipped("buf lint", "buf is not installed") };
    let output = Command::new(buf).arg("lint").current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
