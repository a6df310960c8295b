//! A request as Chat Completions JSON, written once from borrowed parts.

use serde::Serialize;

use crate::model::{Message, Request, Role, ToolChoice};

/// The body of the call. `completion_limit` chooses the newer name of the output limit.
pub(super) fn encode(request: &Request, completion_limit: bool) -> Result<Vec<u8>, serde_json::Error> {
    let limit = (request.max_output_tokens > 0).then_some(request.max_output_tokens);
    serde_json::to_vec(&Body {
        model: &request.model,
        messages: request.messages.iter().map(WireMessage::of).collect(),
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        tools: request
            .tools
            .iter()
            .map(|t| WireTool {
                kind: "function",
                function: WireFunction { name: &t.name, description: &t.description, parameters: &t.parameters },
            })
            .collect(),
        tool_choice: (!request.tools.is_empty()).then_some(match request.tool_choice {
            ToolChoice::Auto => "auto",
            ToolChoice::None => "none",
            ToolChoice::Required => "required",
        }),
        max_completion_tokens: limit.filter(|_| completion_limit),
        max_tokens: limit.filter(|_| !completion_limit),
        temperature: request.temperature,
    })
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
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    // Null, not absent, when an assistant only called tools: some servers insist on the key.
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

impl<'a> WireMessage<'a> {
    fn of(message: &'a Message) -> Self {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        let only_calls = message.text.is_empty() && !message.tool_calls.is_empty();
        Self {
            role,
            content: (!only_calls).then_some(message.text.as_str()),
            tool_calls: message
                .tool_calls
                .iter()
                .map(|c| WireCall {
                    id: &c.id,
                    kind: "function",
                    function: WireCallFunction { name: &c.name, arguments: &c.arguments },
                })
                .collect(),
            tool_call_id: (message.role == Role::Tool).then_some(message.tool_call_id.as_str()),
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
    parameters: &'a serde_json::Value,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{Tool, ToolCall};

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
        let body: Value = serde_json::from_slice(&encode(&request, false).unwrap()).unwrap();
        assert_eq!(body["messages"][1]["content"], Value::Null);
        assert_eq!(body["messages"][1]["tool_calls"][0]["function"]["name"], "view");
        assert_eq!(body["messages"][2]["tool_call_id"], "c1");
        assert_eq!(body["tool_choice"], "required");
        assert_eq!(body["stream_options"]["include_usage"], true);
        assert_eq!((&body["max_tokens"], &body["max_completion_tokens"]), (&json!(9), &Value::Null));
        let body: Value = serde_json::from_slice(&encode(&request, true).unwrap()).unwrap();
        assert_eq!(body["max_completion_tokens"], 9);
    }

    #[test]
    fn no_tools_no_tool_choice() {
        let body: Value = serde_json::from_slice(&encode(&Request::default(), false).unwrap()).unwrap();
        let mut keys: Vec<_> = body.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["messages", "model", "stream", "stream_options"]);
    }
}
