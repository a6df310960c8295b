//! What leaves for a model provider, and what else could hold it: a planted secret is looked for everywhere.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slipway_proto::inference::{CompleteRequest, Message, Prompt, Role, Tool, ToolCall};
use slipway_testkit::{Provider, Step, SuiteOptions};

use crate::story::{self, suite_with};

/// Secrets of several kinds, made from parts: none is written down.
fn secrets() -> Vec<String> {
    let random = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8";
    let encoded = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("password: {}\n", "Tr0ub4dor&3x"))
    };
    vec![format!("{}_{random}", "ghp"), format!("{}{}", "AKIA", "Q3EGRJ7YKL2MNOPX"), format!("{}{}", "Tr0ub4dor", "&3x"), encoded]
}

/// A text with all of them in it, each where it would stand.
fn text(secrets: &[String]) -> String {
    let [token, key, password, encoded] = secrets else { panic!("four secrets") };
    format!(
        "10:30 user@host uses {token}\nid={key}\ndsn: postgres://app:{password}@db/shop\nkind: Secret\ndata:\n  conf: {encoded}\n"
    )
}

fn holding(what: &str, text: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(!text.contains(secret), "{what} holds a secret:\n{text}");
    }
}

#[tokio::test]
async fn no_secret_of_a_prompt_reaches_a_provider_or_the_log() {
    let provider = Provider::saying(&["done"]).await.unwrap();
    let mut options = SuiteOptions::with_provider(&provider.base_url());
    options.env.push(("SLIPWAY_TELEMETRY__FILTER".into(), "trace,h2=info,hyper=info,tower=info".into()));
    let suite = suite_with(options).await;
    let secrets = secrets();
    let text = text(&secrets);
    let message = |role: Role| Message { role: role.into(), text: text.clone(), ..Default::default() };
    let call = ToolCall { id: "c1".into(), name: "write".into(), arguments_json: json!({"text": text}).to_string() };
    let prompt = Prompt {
        messages: vec![
            message(Role::System),
            message(Role::User),
            Message { tool_calls: vec![call], ..message(Role::Assistant) },
            Message { tool_call_id: "c1".into(), ..message(Role::Tool) },
        ],
        tools: vec![Tool {
            name: "write".into(),
            description: text.clone(),
            parameters_json: json!({"type": "object", "description": text}).to_string(),
        }],
        ..Default::default()
    };
    let mut client = suite.client().unwrap();
    client.inference.complete(CompleteRequest { prompt: Some(prompt) }).await.unwrap();

    let sent = provider.requests().pop().unwrap();
    holding("the request", &sent.to_string(), &secrets);
    let content = sent["messages"][1]["content"].as_str().unwrap();
    assert!(content.starts_with("10:30 user@host uses [REDACTED:") && content.contains("@db/shop"), "{content}");
    let arguments = sent["messages"][2]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(arguments).unwrap()["text"].as_str().unwrap().contains("[REDACTED:"), "{arguments}");
    holding("the log", &suite.log(), &secrets);
}

#[tokio::test]
async fn what_a_provider_says_of_a_request_holds_none_of_its_secrets() {
    let provider = Provider::start(|request| {
        let said = request["messages"][0]["content"].as_str().unwrap_or_default();
        vec![Step::Refuse(400, json!({"error": {"message": format!("cannot read: {said}")}}))]
    });
    let provider = provider.await.unwrap();
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let secrets = secrets();
    let message = Message { role: Role::User.into(), text: text(&secrets), ..Default::default() };
    let prompt = Prompt { messages: vec![message], ..Default::default() };
    let status = suite.client().unwrap().inference.complete(CompleteRequest { prompt: Some(prompt) }).await.unwrap_err();
    assert_eq!(story::reason(&status), "PROVIDER_REJECTED_REQUEST");
    holding("the status", &format!("{status:?}"), &secrets);
    let deadline = Instant::now() + Duration::from_secs(5);
    while suite.log().is_empty() {
        assert!(Instant::now() < deadline, "nothing is logged");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    holding("the log", &suite.log(), &secrets);
}

#[tokio::test]
async fn an_operator_may_turn_redaction_off() {
    let provider = Provider::saying(&["done"]).await.unwrap();
    let mut options = SuiteOptions::with_provider(&provider.base_url());
    options.config.push_str("\n[inference.privacy]\nredact = false\n");
    let suite = suite_with(options).await;
    let text = text(&secrets());
    let message = Message { role: Role::User.into(), text: text.clone(), ..Default::default() };
    let prompt = Prompt { messages: vec![message], ..Default::default() };
    suite.client().unwrap().inference.complete(CompleteRequest { prompt: Some(prompt) }).await.unwrap();
    assert_eq!(provider.requests()[0]["messages"][0]["content"], text);
}
