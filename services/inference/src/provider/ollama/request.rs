//! A request as Ollama wants it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::model::{Effort, Image, Message, Request, Role, ToolCall, ToolChoice};

/// The body of the call. That a tool must be called nobody can tell Ollama.
pub(super) fn encode(request: &Request) -> Result<Vec<u8>, serde_json::Error> {
    let mut options = Map::new();
    if let Some(temperature) = request.temperature {
        options.insert("temperature".into(), json!(temperature));
    }
    if request.max_output_tokens > 0 {
        options.insert("num_predict".into(), json!(request.max_output_tokens));
    }
    let tools = if request.tool_choice == ToolChoice::None { &[][..] } else { &request.tools };
    serde_json::to_vec(&Body {
        model: &request.model,
        messages: request.messages.iter().map(|m| WireMessage::of(m, &request.messages)).collect(),
        tools: tools.iter().map(WireTool::of).collect(),
        stream: true,
        think: request.effort.map(|e| think(&request.model, e)),
        format: request.json.as_ref().map(|json| &json.schema),
        options,
    })
}

// Most models think or do not; gpt-oss always does, more or less.
fn think(model: &str, effort: Effort) -> Value {
    if !model.starts_with("gpt-oss") {
        return json!(effort != Effort::None);
    }
    json!(match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
    })
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    options: Map<String, Value>,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_base64")]
    images: Vec<&'a Image>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
}

fn as_base64<S: Serializer>(images: &[&Image], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(images.iter().map(|i| STANDARD.encode(&i.data)))
}

impl<'a> WireMessage<'a> {
    fn of(message: &'a Message, all: &'a [Message]) -> Self {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        // A result names its tool, not its call.
        let mut calls = all.iter().rev().flat_map(|m| &m.tool_calls);
        let named = (message.role == Role::Tool).then(|| calls.find(|c| c.id == message.tool_call_id)).flatten();
        Self {
            role,
            content: &message.text,
            images: message.images.iter().collect(),
            tool_calls: message.tool_calls.iter().map(WireCall::of).collect(),
            tool_name: named.map(|c| c.name.as_str()),
        }
    }
}

#[derive(Serialize)]
struct WireCall<'a> {
    function: CallFunction<'a>,
}

#[derive(Serialize)]
struct CallFunction<'a> {
    name: &'a str,
    arguments: Value,
}

impl<'a> WireCall<'a> {
    fn of(call: &'a ToolCall) -> Self {
        let arguments = match serde_json::from_str(&call.arguments) {
            Ok(arguments @ Value::Object(_)) => arguments,
            _ if call.arguments.trim().is_empty() => json!({}),
            // What a model got wrong it may see again, but only as an object.
            _ => json!({"not_an_object": call.arguments}),
        };
        Self { function: CallFunction { name: &call.name, arguments } }
    }
}

#[derive(Serialize)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: ToolFunction<'a>,
}

#[derive(Serialize)]
struct ToolFunction<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
}

impl<'a> WireTool<'a> {
    fn of(tool: &'a crate::model::Tool) -> Self {
        let function = ToolFunction { name: &tool.name, description: &tool.description, parameters: &tool.parameters };
        Self { kind: "function", function }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{JsonFormat, Tool};

    fn written(request: &Request) -> Value {
        serde_json::from_slice(&encode(request).unwrap()).unwrap()
    }

    #[test]
    fn a_tool_loop_with_an_image() {
        let call = ToolCall { id: "c1".into(), name: "view".into(), arguments: "{\"a\":1}".into() };
        let image = Image { data: bytes::Bytes::from_static(b"abc"), media_type: "image/png" };
        let request = Request {
            model: "qwen3".into(),
            messages: vec![
                Message { images: vec![image], ..Message::new(Role::User, "look") },
                Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "") },
                Message { tool_call_id: "c1".into(), ..Message::new(Role::Tool, "ok") },
            ],
            tools: vec![Tool { name: "view".into(), description: "d".into(), parameters: json!({"type": "object"}) }],
            max_output_tokens: 7,
            temperature: Some(0.0),
            ..Request::default()
        };
        let body = written(&request);
        let expected = json!([
            {"role": "user", "content": "look", "images": ["YWJj"]},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "view", "arguments": {"a": 1}}}]},
            {"role": "tool", "content": "ok", "tool_name": "view"},
        ]);
        assert_eq!(body["messages"], expected);
        assert_eq!(body["options"], json!({"num_predict": 7, "temperature": 0.0}));
        assert_eq!((body.get("think"), body.get("format")), (None, None));
        assert_eq!(body["tools"][0]["function"]["name"], "view");
        let none = written(&Request { tool_choice: ToolChoice::None, ..request });
        assert_eq!(none.get("tools"), None);
    }

    #[test]
    fn thinking_and_forms() {
        let json = JsonFormat { name: "a".into(), schema: json!({"type": "object"}), strict: false };
        let request = |model: &str, effort| Request {
            model: model.into(),
            effort: Some(effort),
            json: Some(json.clone()),
            ..Request::default()
        };
        let body = written(&request("qwen3", Effort::None));
        assert_eq!((&body["think"], &body["format"]), (&json!(false), &json!({"type": "object"})));
        assert_eq!(written(&request("qwen3", Effort::Low))["think"], true);
        assert_eq!(written(&request("gpt-oss:20b", Effort::High))["think"], "high");
    }
}
