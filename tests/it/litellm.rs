//! LiteLLM's proxy as an upstream, in the protocols that it speaks. Behind it a scripted model answers; before us stands a
//! Python client. What the proxy makes of the answers is none of ours, so both ends are somebody else's.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slipway_proto::inference::{CompleteRequest, Message, Prompt, Role};
use slipway_testkit::process::Guarded;
use slipway_testkit::{Provider, Step, Suite, SuiteOptions, tools};
use tonic::Code;

use crate::clients;
use crate::story::{refused, repository, suite_with};

const READY: Duration = Duration::from_secs(180);

/// The proxy, and the model behind it.
struct Proxy {
    url: String,
    behind: Provider,
    _process: Guarded,
    _directory: tempfile::TempDir,
}

/// A model that calls a tool when it may, and reads its result.
fn script(request: &Value) -> Vec<Step> {
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    let asked = messages.iter().rev().find(|m| m["role"] == "user").map(|m| m["content"].to_string()).unwrap_or_default();
    if asked.contains("be overloaded") {
        return vec![Step::Refuse(503, json!({"error": {"message": "overloaded", "type": "server_error"}}))];
    }
    if messages.last().is_some_and(|m| m["role"] == "tool") {
        return vec![Step::Text("it says ".into()), Step::Text("42".into())];
    }
    let mut steps = vec![Step::Text("let me ".into()), Step::Text("look".into())];
    if request["tools"].as_array().is_some_and(|t| !t.is_empty()) {
        steps.push(Step::Call("view".into(), json!({"path": "a"})));
    }
    steps
}

impl Proxy {
    /// Starts it, or says why there is none.
    async fn start(test: &str) -> Option<Self> {
        let program = tools::cache().join("tools/peers/litellm/bin/litellm");
        if !program.is_file() {
            tools::skipped(test, "LiteLLM's proxy is not installed: scripts/tools.sh litellm");
            return None;
        }
        let behind = Provider::start(script).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let port = slipway_testkit::suite::free_port().unwrap();
        // `custom_openai` has LiteLLM translate every protocol to Chat Completions; `mock` is answered by LiteLLM itself.
        let config = json!({"model_list": [
            {"model_name": "bridge", "litellm_params": {
                "model": "custom_openai/scripted", "api_base": behind.base_url(), "api_key": "sk-behind", "max_retries": 0,
            }},
            {"model_name": "mock", "litellm_params": {
                "model": "openai/gpt-4o-mini", "api_key": "sk-none", "mock_response": "Hello from a mock.",
            }},
        ], "router_settings": {"num_retries": 0, "disable_cooldowns": true}, "general_settings": {"master_key": "sk-of-the-proxy"}});
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, config.to_string()).unwrap();
        let mut command = tokio::process::Command::new(program);
        command.arg("--config").arg(&path).args(["--host", "127.0.0.1", "--port", &port.to_string(), "--telemetry", "False"]);
        // It must ask nobody for prices.
        command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
        let process = Guarded::spawn(command).await.unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let begun = Instant::now();
        while !serves(port).await {
            assert!(begun.elapsed() < READY, "the proxy does not start");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Some(Self { url, behind, _process: process, _directory: directory })
    }

    /// A suite whose providers are the proxy, by each of its protocols.
    async fn suite(&self) -> Suite {
        let provider = |name: &str, kind: &str, models: &str| {
            let url = &self.url;
            format!(
                "[inference.providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{url}/v1\"\napi_key = \"sk-of-the-proxy\"\nmodels = [{models}]\nmax_retries = 0\n"
            )
        };
        let config = [
            provider("chat", "openai", "\"bridge\", \"mock\""),
            provider("items", "responses", "\"bridge\""),
            provider("claude", "anthropic", "\"bridge\", \"mock\""),
        ];
        suite_with(SuiteOptions { config: config.concat(), env: Vec::new() }).await
    }
}

async fn serves(port: u16) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let Ok(mut socket) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { return false };
    let request = "GET /health/liveliness HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut answer = Vec::new();
    socket.write_all(request.as_bytes()).await.is_ok()
        && tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut answer)).await.is_ok_and(|r| r.is_ok())
        && answer.starts_with(b"HTTP/1.1 200")
}

fn prompt(model: &str, text: &str) -> CompleteRequest {
    let message = Message { role: Role::User.into(), text: text.into(), ..Default::default() };
    CompleteRequest { prompt: Some(Prompt { model: model.into(), messages: vec![message], ..Default::default() }) }
}

// The client that is waited for is answered by a model in this process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn litellm_is_an_upstream_in_three_protocols() {
    let test = "litellm_is_an_upstream_in_three_protocols";
    let Some(proxy) = Proxy::start(test).await else { return };
    let suite = proxy.suite().await;
    let client = suite.client().unwrap();

    // What the proxy answers by itself, streamed and not.
    for model in ["chat/mock", "claude/mock"] {
        let answer = client.inference.clone().complete(prompt(model, "hi")).await.unwrap().into_inner().completion.unwrap();
        assert_eq!(answer.text, "Hello from a mock.", "{model}");
        assert!(answer.usage.is_some_and(|u| u.input_tokens > 0 && u.output_tokens > 0), "{model}");
    }

    // Refusals of the proxy, and of what is behind it.
    for provider in ["chat", "items", "claude"] {
        let mut inference = client.inference.clone();
        let unknown = inference.complete(prompt(&format!("{provider}/nothing"), "hi")).await.unwrap_err();
        assert!(matches!(unknown.code(), Code::NotFound | Code::InvalidArgument), "{provider}: {unknown:?}");
        let down = inference.complete(prompt(&format!("{provider}/bridge"), "be overloaded")).await;
        refused(down, Code::Unavailable, "PROVIDER_OVERLOADED");
    }

    // A client of another language through us and through the proxy, tools and their results included.
    let Some(python) = clients::python(test) else { return };
    let generated = clients::stubs(&python);
    let mut command = Command::new(&python);
    command.arg(repository().join("tests/clients/python/models.py")).arg(suite.url().trim_start_matches("http://"));
    command.args(["chat/bridge", "items/bridge", "claude/bridge"]);
    assert!(clients::run(command, generated.path()).contains("all steps done"));
    let results = proxy.behind.requests();
    let read = |r: &Value| r["messages"].as_array().is_some_and(|m| m.iter().any(|m| m.to_string().contains("the file says 42")));
    assert_eq!(results.iter().filter(|r| read(r)).count(), 3, "each protocol hands the result of the tool on");
}
