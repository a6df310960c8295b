//! Language models: the rules that need nothing, an OpenAI-compatible provider, errors with advice, calls that end.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use slipway_proto::inference::stream_complete_response::Event;
use slipway_proto::inference::{
    CompleteRequest, FinishReason, Image, JsonFormat, ListModelsRequest, Message, Prompt, ReasoningEffort, Role,
    StreamCompleteRequest, TestConnectionRequest, Tool, ToolChoice,
};
use slipway_testkit::{Provider, Step, SuiteOptions};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::story::{self, refused, suite, suite_with};

mod batch;
mod routing;

fn prompt(text: &str) -> Prompt {
    let message = Message { role: Role::User.into(), text: text.into(), ..Default::default() };
    Prompt { messages: vec![message], ..Default::default() }
}

#[tokio::test]
async fn the_rules_say_what_they_are() {
    let suite = suite().await;
    let mut client = suite.client().unwrap();
    let answer = client.inference.complete(CompleteRequest { prompt: Some(prompt("hello")) }).await.unwrap().into_inner();
    let answer = answer.completion.unwrap();
    assert_eq!(answer.model, "builtin/rules");
    assert!(answer.text.contains("rule") && answer.text.contains("model"), "{}", answer.text);
    assert!(answer.usage.unwrap().estimated);
    let models = client.inference.list_models(ListModelsRequest::default()).await.unwrap().into_inner().models;
    assert!(models.iter().any(|m| m.id == "builtin/rules" && m.default));
    let test = client.inference.test_connection(TestConnectionRequest::default()).await.unwrap().into_inner();
    assert!(test.ok, "{test:?}");
}

#[tokio::test]
async fn text_reasoning_tools_and_usage_come_through() {
    let provider = Provider::start(|_| {
        vec![
            Step::Reasoning("hm ".into()),
            Step::Text("let me ".into()),
            Step::Text("look".into()),
            Step::Call("view".into(), json!({"path": "a"})),
            Step::Call("view".into(), json!({"path": "b"})),
        ]
    });
    let provider = provider.await.unwrap();
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let mut client = suite.client().unwrap();
    let tool =
        Tool { name: "view".into(), description: "shows a file".into(), parameters_json: json!({"type": "object"}).to_string() };
    let prompt = Prompt { tools: vec![tool], tool_choice: ToolChoice::Required.into(), temperature: Some(0.0), ..prompt("look") };
    let answer = client
        .inference
        .complete(CompleteRequest { prompt: Some(prompt.clone()) })
        .await
        .unwrap()
        .into_inner()
        .completion
        .unwrap();
    assert_eq!((answer.text.as_str(), answer.reasoning.as_str()), ("let me look", "hm "));
    let calls: Vec<_> = answer.tool_calls.iter().map(|c| (c.name.as_str(), c.arguments_json.as_str())).collect();
    assert_eq!(calls, [("view", "{\"path\":\"a\"}"), ("view", "{\"path\":\"b\"}")]);
    assert_eq!(answer.finish_reason(), FinishReason::ToolCalls);
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.estimated), (11, 7, false));
    let sent = provider.requests().pop().unwrap();
    assert_eq!((&sent["temperature"], &sent["tool_choice"]), (&json!(0.0), &json!("required")));

    let stream = client.inference.stream_complete(StreamCompleteRequest { prompt: Some(prompt) }).await.unwrap().into_inner();
    let events = story::collect(stream, |r| r.event.unwrap()).await.unwrap();
    assert!(matches!(events[0], Event::Started(_)) && matches!(events.last(), Some(Event::Completed(_))));
}

#[tokio::test]
async fn images_effort_and_a_form_reach_the_provider() {
    let provider = Provider::start(|_| vec![Step::Text("{\"a\":1}".into())]).await.unwrap();
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let mut client = suite.client().unwrap();
    // As large as an image may be.
    let data = Bytes::from([b"\x89PNG\r\n\x1a\n".to_vec(), vec![7; (5 << 20) - 8]].concat());
    let mut asked = prompt("what is it?");
    asked.messages[0].images = vec![Image { data: data.clone(), media_type: "image/png".into() }];
    asked.reasoning_effort = ReasoningEffort::Low.into();
    let schema_json = json!({"type": "object", "properties": {"a": {"type": "integer"}}}).to_string();
    asked.json_format = Some(JsonFormat { schema_json, ..Default::default() });
    let answer = client.inference.complete(CompleteRequest { prompt: Some(asked.clone()) }).await.unwrap().into_inner();
    assert_eq!(answer.completion.unwrap().text, "{\"a\":1}");
    let sent = provider.requests().pop().unwrap();
    let url = sent["messages"][0]["content"][1]["image_url"]["url"].as_str().unwrap();
    assert!(url.starts_with("data:image/png;base64,iVBORw0KGgoHBwcH"), "{}", &url[..60]);
    assert!(url.len() > data.len() * 4 / 3);
    assert_eq!((&sent["reasoning_effort"], &sent["response_format"]["type"]), (&json!("low"), &json!("json_schema")));

    asked.messages[0].images[0].media_type = "image/jpeg".into();
    let status = client.inference.complete(CompleteRequest { prompt: Some(asked) }).await;
    refused(status, Code::InvalidArgument, "FIELD_INVALID");
}

#[tokio::test]
async fn provider_errors_are_told_apart_with_advice() {
    let provider = Provider::start(|request| {
        let text = request["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        let (code, body) = match text.as_str() {
            "auth" => (401, json!({"error": {"message": "Incorrect API key", "code": "invalid_api_key"}})),
            "credit" => (429, json!({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}})),
            "rate" => (429, json!({"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}})),
            "right" => {
                (403, json!({"error": {"message": "Project `p` does not have access to model `m`", "code": "model_not_found"}}))
            }
            "long" => {
                let message = "This model's maximum context length is 10 tokens. However, your messages resulted in 12 tokens.";
                (400, json!({"error": {"message": message, "code": "context_length_exceeded"}}))
            }
            "refused" => (400, json!({"error": {"message": "content policy", "code": "content_policy_violation"}})),
            "bad" => (400, json!({"error": {"message": "unknown field"}})),
            "busy" => (503, json!({"error": {"message": "overloaded"}})),
            _ => (500, json!({"error": {"message": "broken"}})),
        };
        vec![Step::Refuse(code, body)]
    });
    let provider = provider.await.unwrap();
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let client = suite.client().unwrap();
    let long = client.inference.clone().complete(CompleteRequest { prompt: Some(prompt("long")) }).await.unwrap_err();
    let told = long.get_details_error_info().unwrap().metadata;
    assert_eq!((told["limit_tokens"].as_str(), told["prompt_tokens"].as_str()), ("10", "12"));
    for (text, code, reason) in [
        ("auth", Code::FailedPrecondition, "PROVIDER_AUTH_FAILED"),
        ("right", Code::FailedPrecondition, "PROVIDER_PERMISSION_DENIED"),
        ("credit", Code::FailedPrecondition, "PROVIDER_CREDIT_EXHAUSTED"),
        ("rate", Code::ResourceExhausted, "PROVIDER_RATE_LIMITED"),
        ("long", Code::InvalidArgument, "CONTEXT_TOO_LONG"),
        ("refused", Code::FailedPrecondition, "CONTENT_REFUSED"),
        ("bad", Code::InvalidArgument, "PROVIDER_REJECTED_REQUEST"),
        ("busy", Code::Unavailable, "PROVIDER_OVERLOADED"),
        ("down", Code::Unavailable, "PROVIDER_UNAVAILABLE"),
    ] {
        let answer = client.inference.clone().complete(CompleteRequest { prompt: Some(prompt(text)) }).await;
        refused(answer, code, reason);
    }
    let test = client.inference.clone().test_connection(TestConnectionRequest::default()).await.unwrap().into_inner();
    assert!(!test.ok && !test.reason.is_empty() && !test.advice.is_empty(), "{test:?}");
    let unknown = Prompt { model: "nobody/nothing".into(), ..prompt("x") };
    refused(
        client.inference.clone().complete(CompleteRequest { prompt: Some(unknown) }).await,
        Code::NotFound,
        "MODEL_NOT_FOUND",
    );
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_a_typed_error() {
    let provider =
        Provider::start(|_| vec![Step::Text("half ".into()), Step::Pause(Duration::from_millis(50)), Step::Cut]).await.unwrap();
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let request = StreamCompleteRequest { prompt: Some(prompt("x")) };
    let mut stream = suite.client().unwrap().inference.stream_complete(request).await.unwrap().into_inner();
    let mut text = String::new();
    let status = loop {
        match stream.message().await {
            Ok(Some(part)) => {
                if let Some(Event::TextDelta(delta)) = part.event {
                    text.push_str(&delta);
                }
            }
            Ok(None) => panic!("the stream ends as if all were well"),
            Err(status) => break status,
        }
    };
    assert_eq!(
        (text.as_str(), status.code(), story::reason(&status).as_str()),
        ("half ", Code::Unavailable, "PROVIDER_UNAVAILABLE")
    );
}

#[tokio::test]
async fn who_leaves_ends_the_call_upstream() {
    let provider =
        Provider::start(|_| vec![Step::Text("a ".into()), Step::Pause(Duration::from_secs(60)), Step::Text("b".into())]);
    let provider = provider.await.unwrap();
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let request = StreamCompleteRequest { prompt: Some(prompt("x")) };
    let mut stream = suite.client().unwrap().inference.stream_complete(request).await.unwrap().into_inner();
    while !matches!(stream.message().await.unwrap().unwrap().event, Some(Event::TextDelta(_))) {}
    assert_eq!(provider.open_streams(), 1);
    drop(stream);
    let left = Instant::now();
    while provider.open_streams() > 0 {
        assert!(left.elapsed() < Duration::from_millis(500), "the call upstream is still open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
