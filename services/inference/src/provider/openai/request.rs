//! A request as Chat Completions JSON, written once from borrowed parts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::Accent;
use super::details::{DEEPSEEK, OPENROUTER};
use crate::model::{Effort, Image, Message, Request, Role, ToolChoice};

/// The body of the call. `behind`: the model that a deployment's name stands for.
pub(super) fn encode(request: &Request, behind: &str, accent: Accent) -> Result<Vec<u8>, serde_json::Error> {
    let limit = (request.max_output_tokens > 0).then_some(request.max_output_tokens);
    // OpenAI's own newer models want the limit under its newer name; most others know only the old one.
    let new_limit = matches!(accent, Accent::OpenAi | Accent::Azure);
    let effort = request.effort;
    let plain = matches!(accent, Accent::OpenAi | Accent::Azure | Accent::Plain);
    serde_json::to_vec(&Body {
        model: &request.model,
        messages: request.messages.iter().map(|m| WireMessage::of(m, &request.model)).collect(),
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        tools: request.tools.iter().map(WireTool::of).collect(),
        tool_choice: (!request.tools.is_empty()).then_some(match request.tool_choice {
            ToolChoice::Auto => "auto",
            ToolChoice::None => "none",
            ToolChoice::Required => "required",
        }),
        max_completion_tokens: limit.filter(|_| new_limit),
        max_tokens: limit.filter(|_| !new_limit),
        temperature: request.temperature.filter(|_| !new_limit || takes_temperature(request, behind)),
        reasoning_effort: effort.filter(|_| plain).map(Effort::word),
        reasoning: effort.filter(|_| accent == Accent::OpenRouter).map(|e| Reasoning { effort: e.word() }),
        thinking: effort
            .filter(|_| accent == Accent::DeepSeek)
            .map(|e| Thinking { kind: if e == Effort::None { "disabled" } else { "enabled" } }),
        usage: (accent == Accent::OpenRouter).then_some(IncludeUsage { include: true }),
        response_format: request.json.as_ref().map(|json| ResponseFormat {
            kind: "json_schema",
            json_schema: WireSchema { name: &json.name, schema: &json.schema, strict: json.strict },
        }),
    })
}

/// OpenAI's models that reason refuse any temperature but their own, unless they are kept from reasoning.
pub(crate) fn takes_temperature(request: &Request, model: &str) -> bool {
    request.effort == Some(Effort::None) || !is_reasoner(model)
}

fn is_reasoner(model: &str) -> bool {
    ["o1", "o3", "o4", "gpt-5"].iter().any(|start| model.starts_with(start)) && !model.contains("chat")
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<IncludeUsage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct IncludeUsage {
    include: bool,
}

#[derive(Serialize)]
struct Reasoning {
    effort: &'static str,
}

#[derive(Serialize)]
struct Thinking {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    json_schema: WireSchema<'a>,
}

#[derive(Serialize)]
struct WireSchema<'a> {
    name: &'a str,
    schema: &'a Value,
    strict: bool,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    // Null, not absent, when an assistant only called tools: some servers insist on the key.
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasoning_details: Vec<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
}

/// Plain servers know text only as a string.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    #[serde(serialize_with = "data_url")]
    url: &'a Image,
}

/// An image as a URL that holds its bytes.
pub(crate) fn data_url<S: Serializer>(image: &&Image, serializer: S) -> Result<S::Ok, S::Error> {
    let mut url = format!("data:{};base64,", image.media_type);
    STANDARD.encode_string(&image.data, &mut url);
    serializer.serialize_str(&url)
}

impl<'a> Content<'a> {
    fn of(message: &'a Message) -> Self {
        if message.images.is_empty() {
            return Self::Text(&message.text);
        }
        let text = (!message.text.is_empty()).then_some(Part::Text { text: &message.text });
        let images = message.images.iter().map(|url| Part::ImageUrl { image_url: ImageUrl { url } });
        Self::Parts(text.into_iter().chain(images).collect())
    }
}

impl<'a> WireMessage<'a> {
    fn of(message: &'a Message, model: &str) -> Self {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        let only_calls = message.text.is_empty() && !message.tool_calls.is_empty();
        let record = |wire: &str| message.reasoning_state.as_ref().map(|s| s.items_for(wire, model)).unwrap_or_default();
        Self {
            role,
            content: (!only_calls).then(|| Content::of(message)),
            tool_calls: message.tool_calls.iter().map(WireCall::of).collect(),
            tool_call_id: (message.role == Role::Tool).then_some(message.tool_call_id.as_str()),
            reasoning_details: record(OPENROUTER).iter().map(|i| &i.value).collect(),
            reasoning_content: record(DEEPSEEK).first().and_then(|i| i.value.get("reasoning_content")?.as_str()),
        }
    }
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: WireCallFunction<'a>,
}

#[derive(Serialize)]
struct WireCallFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> WireCall<'a> {
    fn of(call: &'a crate::model::ToolCall) -> Self {
        Self { id: &call.id, kind: "function", function: WireCallFunction { name: &call.name, arguments: &call.arguments } }
    }
}

#[derive(Serialize)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
}

impl<'a> WireTool<'a> {
    fn of(tool: &'a crate::model::Tool) -> Self {
        let function = WireFunction { name: &tool.name, description: &tool.description, parameters: &tool.parameters };
        Self { kind: "function", function }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{JsonFormat, ReasoningState, StateItem, Tool, ToolCall};

    fn message(role: Role, text: &str) -> Message {
        Message::new(role, text)
    }

    #[test]
    fn a_request_with_tools_reads_as_the_api_wants_it() {
        let call = ToolCall { id: "c1".into(), name: "view".into(), arguments: "{}".into() };
        let request = Request {
            model: "m".into(),
            messages: vec![
                message(Role::System, "s"),
                Message { tool_calls: vec![call], ..message(Role::Assistant, "") },
                Message { tool_call_id: "c1".into(), ..message(Role::Tool, "ok") },
            ],
            tools: vec![Tool { name: "view".into(), description: "d".into(), parameters: json!({"type": "object"}) }],
            tool_choice: ToolChoice::Required,
            max_output_tokens: 9,
            temperature: Some(0.5),
            ..Request::default()
        };
        let body: Value = serde_json::from_slice(&encode(&request, &request.model, Accent::Plain).unwrap()).unwrap();
        assert_eq!(body["messages"][1]["content"], Value::Null);
        assert_eq!(body["messages"][1]["tool_calls"][0]["function"]["name"], "view");
        assert_eq!(body["messages"][2]["tool_call_id"], "c1");
        assert_eq!(body["tool_choice"], "required");
        assert_eq!(body["stream_options"]["include_usage"], true);
        assert_eq!((&body["max_tokens"], &body["max_completion_tokens"]), (&json!(9), &Value::Null));
        let body: Value = serde_json::from_slice(&encode(&request, &request.model, Accent::OpenAi).unwrap()).unwrap();
        assert_eq!(body["max_completion_tokens"], 9);
    }

    #[test]
    fn no_tools_no_tool_choice() {
        let body: Value = serde_json::from_slice(&encode(&Request::default(), "", Accent::Plain).unwrap()).unwrap();
        let mut keys: Vec<_> = body.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["messages", "model", "stream", "stream_options"]);
    }

    fn written(request: &Request, accent: Accent) -> Value {
        serde_json::from_slice(&encode(request, &request.model, accent).unwrap()).unwrap()
    }

    #[test]
    fn images_go_beside_the_text() {
        let image = Image { data: bytes::Bytes::from_static(b"abc"), media_type: "image/png" };
        let shown = Message { images: vec![image], ..message(Role::User, "what is it?") };
        let body = written(&Request { messages: vec![shown], ..Request::default() }, Accent::Plain);
        let expected = json!([
            {"type": "text", "text": "what is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,YWJj"}},
        ]);
        assert_eq!(body["messages"][0]["content"], expected);
    }

    #[test]
    fn every_accent_has_its_word_for_effort() {
        let request = |model: &str, effort| Request {
            model: model.into(),
            effort: Some(effort),
            temperature: Some(0.0),
            ..Request::default()
        };
        let body = written(&request("gpt-5-mini", Effort::Low), Accent::OpenAi);
        assert_eq!((&body["reasoning_effort"], &body["temperature"]), (&json!("low"), &Value::Null));
        let body = written(&request("gpt-5.1", Effort::None), Accent::OpenAi);
        assert_eq!((&body["reasoning_effort"], &body["temperature"]), (&json!("none"), &json!(0.0)));
        let body = written(&request("any/model", Effort::High), Accent::OpenRouter);
        assert_eq!((&body["reasoning"], &body["usage"]), (&json!({"effort": "high"}), &json!({"include": true})));
        let body = written(&request("deepseek-chat", Effort::None), Accent::DeepSeek);
        assert_eq!((&body["thinking"], &body["reasoning_effort"]), (&json!({"type": "disabled"}), &Value::Null));
    }

    #[test]
    fn a_deployment_is_the_model_behind_it() {
        let request = Request { model: "mine".into(), temperature: Some(0.0), ..Request::default() };
        let written = |behind| serde_json::from_slice::<Value>(&encode(&request, behind, Accent::Azure).unwrap()).unwrap();
        assert_eq!((&written("gpt-5-mini")["model"], written("gpt-5-mini").get("temperature")), (&json!("mine"), None));
        assert_eq!(written("gpt-4o")["temperature"], 0.0);
    }

    #[test]
    fn a_form_is_a_response_format() {
        let json = JsonFormat { name: "plan".into(), schema: json!({"type": "object"}), strict: true };
        let body = written(&Request { json: Some(json), ..Request::default() }, Accent::Plain);
        let expected = json!({"name": "plan", "schema": {"type": "object"}, "strict": true});
        assert_eq!(
            (&body["response_format"]["type"], &body["response_format"]["json_schema"]),
            (&json!("json_schema"), &expected)
        );
    }

    #[test]
    fn a_record_goes_back_to_whom_it_is_from() {
        let item = StateItem { calls_before: 0, value: json!({"reasoning_content": "hm"}) };
        let state = ReasoningState { wire: DEEPSEEK.into(), model: "m".into(), items: vec![item] };
        let said = Message { reasoning_state: Some(state), ..message(Role::Assistant, "x") };
        let request = Request { model: "m".into(), messages: vec![said], ..Request::default() };
        assert_eq!(written(&request, Accent::DeepSeek)["messages"][0]["reasoning_content"], "hm");
        let other = Request { model: "n".into(), ..request };
        assert_eq!(written(&other, Accent::DeepSeek)["messages"][0].get("reasoning_content"), None);
    }
}
