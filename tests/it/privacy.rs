//! What leaves for a model provider, and what else could hold it: a planted secret is looked for everywhere.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slipway_proto::embedding::SearchRequest;
use slipway_proto::inference::stream_complete_response::Event;
use slipway_proto::inference::{
    CompleteRequest, ContextKind, ContextPart, CountTokensRequest, Message, NameKind, Privacy, PrivateName, Prompt, Role,
    StreamCompleteRequest, Tool, ToolCall,
};
use slipway_testkit::{Provider, Step, SuiteOptions};

use crate::story::{self, suite, suite_with};

mod outlets;

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
async fn no_secret_of_a_file_reaches_the_index() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let secrets = secrets();
    let notes = format!("# Quokka\n\n{}", text(&secrets));
    let (workspace, _) = story::workspace(&client, &[("NOTES.md", notes.as_str())]).await;
    story::indexed(&client, &workspace, 1).await;
    let request = SearchRequest { workspace_id: workspace.clone(), query: "quokka user@host".into(), ..Default::default() };
    let found = client.embedding.clone().search(request).await.unwrap().into_inner();
    assert!(found.hits[0].text.contains("10:30 user@host uses [REDACTED:"), "{:?}", found.hits);
    holding("the index", &format!("{found:?}"), &secrets);
    // The file itself is kept as it is.
    assert_eq!(story::read(&client, &workspace, "", "NOTES.md").await.unwrap(), notes);
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
    let mut client = suite.client().unwrap();
    client.inference.complete(CompleteRequest { prompt: Some(prompt.clone()) }).await.unwrap();
    assert_eq!(provider.requests()[0]["messages"][0]["content"], text);
    // A caller can ask for it all the same.
    let strict = Prompt { privacy: Some(Privacy { redact: true, ..Default::default() }), ..prompt };
    client.inference.complete(CompleteRequest { prompt: Some(strict) }).await.unwrap();
    holding("the request", &provider.requests()[1].to_string(), &secrets());
}

#[tokio::test]
async fn no_secret_of_a_conversation_leaves() {
    let provider = Provider::saying(&["I ", "see"]).await.unwrap();
    let mut options = SuiteOptions::with_provider(&provider.base_url());
    options.env.push(("SLIPWAY_TELEMETRY__FILTER".into(), "debug,h2=info,hyper=info,tower=info".into()));
    let suite = suite_with(options).await;
    let client = suite.client().unwrap();
    let conversation = story::conversation(&client, "").await;
    let secrets = secrets();
    story::say(&client, &conversation.id, &text(&secrets)).await;
    assert!(!provider.requests().is_empty());
    for sent in provider.requests() {
        holding("a request", &sent.to_string(), &secrets);
    }
    holding("the log", &suite.log(), &secrets);
}

/// A provider that says what it was told last, a few bytes at a time, and calls a tool with it.
async fn echo() -> Provider {
    let script = |request: &Value| {
        let said = request["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned();
        let pieces: Vec<char> = said.chars().collect();
        let mut steps: Vec<_> = pieces.chunks(3).map(|c| Step::Text(c.iter().collect())).collect();
        steps.push(Step::Call("note".into(), json!({"text": format!("1\n{said}")})));
        steps
    };
    Provider::start(script).await.unwrap()
}

#[tokio::test]
async fn names_leave_as_pseudonyms_and_come_back_in_the_answer() {
    let provider = echo().await;
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let text = "why does shop-api in prod restart? not in production. Host db.prod.example.com";
    let name = |name: &str, kind: NameKind| PrivateName { name: name.into(), kind: kind.into() };
    let tool = Tool { name: "note".into(), description: "d".into(), parameters_json: json!({"type": "object"}).to_string() };
    let prompt = Prompt {
        messages: vec![Message { role: Role::User.into(), text: text.into(), ..Default::default() }],
        tools: vec![tool],
        private_names: vec![
            name("prod", NameKind::Namespace),
            name("shop-api", NameKind::Resource),
            name("db.prod.example.com", NameKind::Host),
        ],
        ..Default::default()
    };
    let mut client = suite.client().unwrap();
    let answer = client.inference.complete(CompleteRequest { prompt: Some(prompt.clone()) }).await.unwrap().into_inner();
    let answer = answer.completion.unwrap();
    assert_eq!(answer.text, text);
    let arguments: Value = serde_json::from_str(&answer.tool_calls[0].arguments_json).unwrap();
    assert_eq!(arguments["text"], format!("1\n{text}"));

    let stream = client.inference.stream_complete(StreamCompleteRequest { prompt: Some(prompt) }).await.unwrap().into_inner();
    let events = story::collect(stream, |r| r.event.unwrap()).await.unwrap();
    let streamed: String =
        events.iter().filter_map(|e| if let Event::TextDelta(t) = e { Some(t.as_str()) } else { None }).collect();
    assert_eq!(streamed, text);
    let sent: Vec<_> = provider.requests().iter().map(|r| r["messages"][0]["content"].as_str().unwrap().to_owned()).collect();
    assert!(sent[0] == sent[1] && sent[0].contains("production"), "{sent:?}");
    assert!(!sent[0].contains("shop-api") && !sent[0].contains("example.com") && !sent[0].contains("prod "), "{sent:?}");
}

#[tokio::test]
async fn pseudonyms_are_those_of_a_conversation() {
    let provider = echo().await;
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let mut client = suite.client().unwrap();
    let (one, other) = ("0197b000-0000-7000-8000-00000000000a", "0197b000-0000-7000-8000-00000000000b");
    for conversation in [one, one, other, ""] {
        let prompt = Prompt {
            messages: vec![Message { role: Role::User.into(), text: "why does shop-api restart?".into(), ..Default::default() }],
            private_names: vec![PrivateName { name: "shop-api".into(), kind: NameKind::Resource.into() }],
            conversation_id: conversation.into(),
            ..Default::default()
        };
        client.inference.complete(CompleteRequest { prompt: Some(prompt) }).await.unwrap();
    }
    let sent: Vec<_> = provider.requests().iter().map(|r| r["messages"][0]["content"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sent[0], sent[1]);
    assert!(sent[0] != sent[2] && sent[0] != sent[3] && sent[2] != sent[3], "{sent:?}");
}

#[tokio::test]
async fn what_is_kept_back_does_not_leave() {
    let provider = Provider::saying(&["done"]).await.unwrap();
    let mut options = SuiteOptions::with_provider(&provider.base_url());
    options.config.push_str("\n[inference.privacy]\nsend_logs = false\n");
    let suite = suite_with(options).await;
    let part = |kind: ContextKind, text: &str, names: &[&str]| ContextPart {
        kind: kind.into(),
        text: text.into(),
        names: names.iter().map(|n| (*n).to_owned()).collect(),
    };
    let context = vec![
        part(ContextKind::Log, "panic at noon", &[]),
        part(ContextKind::Pod, "shop-0 is not ready", &["shop-0"]),
        part(ContextKind::Event, "BackOff restarting shop-0", &[]),
    ];
    let message = Message { role: Role::User.into(), text: "why shop-0?".into(), context, ..Default::default() };
    let privacy = Privacy { withhold_pod_names: true, ..Default::default() };
    let prompt = Prompt { messages: vec![message], privacy: Some(privacy), ..Default::default() };
    suite.client().unwrap().inference.complete(CompleteRequest { prompt: Some(prompt) }).await.unwrap();
    let sent = provider.requests()[0]["messages"][0]["content"].as_str().unwrap().to_owned();
    assert_eq!(sent, "why [pod]?\n\n[pod] is not ready\n\nBackOff restarting [pod]");
}

#[tokio::test]
async fn tokens_are_counted_as_they_would_leave() {
    let provider = Provider::saying(&["done"]).await.unwrap();
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let mut client = suite.client().unwrap();
    let mut count = async |model: &str, text: &str| {
        let message = Message { role: Role::User.into(), text: text.into(), ..Default::default() };
        let prompt = Prompt { model: model.into(), messages: vec![message], ..Default::default() };
        client.inference.count_tokens(CountTokensRequest { prompt: Some(prompt) }).await.map(|r| r.into_inner())
    };
    let exact = count("fake/gpt-4o", "hello world").await.unwrap();
    assert_eq!((exact.input_tokens, exact.estimated, exact.vocabulary.as_str()), (2 + 7, false, "o200k_base"));
    assert_eq!(count("fake/gpt-4", "<|endoftext|>").await.unwrap().input_tokens, 7 + 7);
    assert!(count("fake/other", "hello world").await.unwrap().estimated);
    story::refused(count("nobody/x", "hello").await, tonic::Code::NotFound, "MODEL_NOT_FOUND");
    assert!(provider.requests().is_empty());
}
