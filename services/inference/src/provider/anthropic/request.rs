//! A request as the Messages API wants it: turns of user and assistant, each a list of blocks.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::WIRE;
use super::generation::{Generation, Thinking};
use crate::model::{Image, JsonFormat, Message, Request, Role, ToolCall, ToolChoice};

/// The body of the call.
pub(super) fn encode(request: &Request) -> Result<Vec<u8>, serde_json::Error> {
    let generation = Generation::of(&request.model);
    let native = request.json.as_ref().filter(|_| generation.has_forms());
    let forced = request.json.as_ref().filter(|_| !generation.has_forms());
    let thinking = if forced.is_some() { Thinking::Off } else { thinking(request, generation) };
    let limit = limit(request, generation, thinking);
    let effort = if let Thinking::Adaptive(effort) = thinking { Some(effort) } else { None };
    serde_json::to_vec(&Body {
        model: &request.model,
        max_tokens: limit,
        system: system(request),
        messages: turns(request, thinking != Thinking::Off),
        tools: tools(request, forced),
        tool_choice: tool_choice(request, forced),
        temperature: request
            .temperature
            .filter(|_| thinking == Thinking::Off && generation.takes_temperature())
            .map(|t| t.min(1.0)),
        thinking: match thinking {
            Thinking::Off => None,
            Thinking::Budget(tokens) => Some(json!({"type": "enabled", "budget_tokens": tokens.min(limit - 1)})),
            Thinking::Adaptive(_) => Some(json!({"type": "adaptive", "display": "summarized"})),
        },
        output_config: (effort.is_some() || native.is_some())
            .then(|| OutputConfig { effort, format: native.map(|form| Format { kind: "json_schema", schema: &form.schema }) }),
        stream: true,
    })
}

// The API refuses reasoning beside a forced tool, and a turn with tool calls whose reasoning is not handed back: such a
// request goes without.
fn thinking(request: &Request, generation: Generation) -> Thinking {
    let forced = request.tool_choice == ToolChoice::Required && !request.tools.is_empty();
    let open_turn = request.messages.iter().rev().take_while(|m| m.role != Role::User);
    let lost = |m: &Message| !m.tool_calls.is_empty() && record(m, &request.model).is_empty();
    if forced || open_turn.into_iter().any(lost) { Thinking::Off } else { generation.thinking(request.effort) }
}

// The budget of the reasoning is part of the limit.
fn limit(request: &Request, generation: Generation, thinking: Thinking) -> u32 {
    let asked = if request.max_output_tokens > 0 { request.max_output_tokens } else { generation.usual_limit() };
    match thinking {
        Thinking::Budget(_) => asked.max(1_025),
        _ => asked,
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    stream: bool,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    schema: &'a Value,
}

#[derive(Serialize)]
struct WireTool<'a> {
    name: &'a str,
    description: &'a str,
    input_schema: &'a Value,
}

#[derive(Serialize)]
struct Choice<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

fn tools<'a>(request: &'a Request, forced: Option<&'a JsonFormat>) -> Vec<WireTool<'a>> {
    let form = forced.map(|form| WireTool {
        name: &form.name,
        description: "Gives the answer in the form that was asked for.",
        input_schema: &form.schema,
    });
    let tools =
        request.tools.iter().map(|t| WireTool { name: &t.name, description: &t.description, input_schema: &t.parameters });
    tools.chain(form).collect()
}

fn tool_choice<'a>(request: &'a Request, forced: Option<&'a JsonFormat>) -> Option<Choice<'a>> {
    let other_tools = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
    if let Some(form) = forced {
        let only = (!other_tools).then_some(form.name.as_str());
        return Some(Choice { kind: if only.is_some() { "tool" } else { "any" }, name: only });
    }
    let kind = match request.tool_choice {
        _ if request.tools.is_empty() => return None,
        ToolChoice::Auto => "auto",
        ToolChoice::None => "none",
        ToolChoice::Required => "any",
    };
    Some(Choice { kind, name: None })
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Known<'a> {
    Text { text: &'a str },
    Image { source: Source<'a> },
    ToolUse { id: Cow<'a, str>, name: &'a str, input: Value },
    ToolResult { tool_use_id: Cow<'a, str>, content: &'a str },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Block<'a> {
    Known(Known<'a>),
    // Reasoning, as it was sent.
    Kept(&'a Value),
}

#[derive(Serialize)]
struct Source<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    media_type: &'static str,
    #[serde(serialize_with = "as_base64")]
    data: &'a [u8],
}

fn as_base64<S: Serializer>(data: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(data))
}

fn system(request: &Request) -> Vec<Block<'_>> {
    request.messages.iter().filter(|m| m.role == Role::System).filter_map(text).collect()
}

// Results of tools are the user's to give, all of one answer's calls in one turn.
fn turns(request: &Request, thinking: bool) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for message in request.messages.iter().filter(|m| m.role != Role::System) {
        let role = if message.role == Role::Assistant { "assistant" } else { "user" };
        let blocks = blocks(message, if thinking { record(message, &request.model) } else { &[] });
        match turns.last_mut().filter(|t| t.role == role) {
            Some(turn) => turn.content.extend(blocks),
            // A turn without content is refused.
            None if blocks.is_empty() => {}
            None => turns.push(Turn { role, content: blocks }),
        }
    }
    turns
}

fn record<'a>(message: &'a Message, model: &str) -> &'a [crate::model::StateItem] {
    message.reasoning_state.as_ref().map(|s| s.items_for(WIRE, model)).unwrap_or_default()
}

fn blocks<'a>(message: &'a Message, record: &'a [crate::model::StateItem]) -> Vec<Block<'a>> {
    let mut blocks = Vec::new();
    match message.role {
        Role::System => {}
        Role::User => {
            blocks.extend(message.images.iter().map(image));
            blocks.extend(text(message));
        }
        Role::Tool => {
            blocks.push(Block::Known(Known::ToolResult { tool_use_id: legal_id(&message.tool_call_id), content: &message.text }));
        }
        Role::Assistant => {
            let kept = |n: usize| record.iter().filter(move |i| i.calls_before as usize == n).map(|i| Block::Kept(&i.value));
            blocks.extend(kept(0));
            blocks.extend(text(message));
            for (n, call) in message.tool_calls.iter().enumerate() {
                blocks.push(tool_use(call));
                blocks.extend(kept(n + 1));
            }
        }
    }
    blocks
}

// Blank text is refused.
fn text(message: &Message) -> Option<Block<'_>> {
    (!message.text.trim().is_empty()).then_some(Block::Known(Known::Text { text: &message.text }))
}

fn image(image: &Image) -> Block<'_> {
    Block::Known(Known::Image { source: Source { kind: "base64", media_type: image.media_type, data: &image.data } })
}

fn tool_use(call: &ToolCall) -> Block<'_> {
    let input = match serde_json::from_str(&call.arguments) {
        Ok(input @ Value::Object(_)) => input,
        _ if call.arguments.trim().is_empty() => json!({}),
        // What a model got wrong it may see again, but only as an object.
        _ => json!({"not_an_object": call.arguments}),
    };
    Block::Known(Known::ToolUse { id: legal_id(&call.id), name: &call.name, input })
}

// Ids that other providers made may hold what this one refuses.
fn legal_id(id: &str) -> Cow<'_, str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if id.chars().all(legal) { Cow::Borrowed(id) } else { id.chars().map(|c| if legal(c) { c } else { '_' }).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Effort, ReasoningState, StateItem, Tool};

    fn written(request: &Request) -> Value {
        serde_json::from_slice(&encode(request).unwrap()).unwrap()
    }

    fn loop_with(state: Option<ReasoningState>) -> Request {
        let calls = ["t1", "t:2"].map(|id| ToolCall { id: id.into(), name: "view".into(), arguments: "{\"a\":1}".into() });
        let result = |id: &str| Message { tool_call_id: id.into(), ..Message::new(Role::Tool, "ok") };
        Request {
            model: "claude-sonnet-4-5".into(),
            messages: vec![
                Message::new(Role::System, "be short"),
                Message::new(Role::User, "look"),
                Message { tool_calls: calls.to_vec(), reasoning_state: state, ..Message::new(Role::Assistant, " ") },
                result("t1"),
                result("t:2"),
                Message::new(Role::User, "and?"),
            ],
            tools: vec![Tool { name: "view".into(), description: "d".into(), parameters: json!({"type": "object"}) }],
            effort: Some(Effort::Low),
            temperature: Some(0.0),
            ..Request::default()
        }
    }

    fn state() -> ReasoningState {
        let item = StateItem { calls_before: 0, value: json!({"type": "thinking", "thinking": "hm", "signature": "s"}) };
        ReasoningState { wire: WIRE.into(), model: "claude-sonnet-4-5".into(), items: vec![item] }
    }

    #[test]
    fn a_tool_loop_is_turns_of_blocks() {
        let body = written(&loop_with(Some(state())));
        assert_eq!(body["system"], json!([{"type": "text", "text": "be short"}]));
        let expected = json!([
            {"role": "user", "content": [{"type": "text", "text": "look"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "tool_use", "id": "t1", "name": "view", "input": {"a": 1}},
                {"type": "tool_use", "id": "t_2", "name": "view", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "ok"},
                {"type": "tool_result", "tool_use_id": "t_2", "content": "ok"},
                {"type": "text", "text": "and?"},
            ]},
        ]);
        assert_eq!(body["messages"], expected);
        assert_eq!(body["thinking"], json!({"type": "enabled", "budget_tokens": 4096}));
        assert_eq!((&body["tool_choice"], body.get("temperature")), (&json!({"type": "auto"}), None));
    }

    #[test]
    fn a_turn_whose_reasoning_is_lost_goes_on_without() {
        let mut request = loop_with(None);
        request.messages.pop();
        assert_eq!(written(&request).get("thinking"), None);
        request.messages[2].reasoning_state = Some(state());
        assert_eq!(written(&request)["thinking"]["type"], "enabled");
        request.model = "claude-opus-4-5".into();
        assert_eq!(written(&request).get("thinking"), None);
        // A new question is a new turn.
        assert_eq!(written(&loop_with(None))["thinking"]["type"], "enabled");
        let forced = Request { tool_choice: ToolChoice::Required, ..loop_with(Some(state())) };
        let body = written(&forced);
        assert_eq!(
            (body.get("thinking"), &body["tool_choice"], &body["temperature"]),
            (None, &json!({"type": "any"}), &json!(0.0))
        );
    }

    #[test]
    fn budgets_fit_their_limit() {
        let request = Request { max_output_tokens: 64, effort: Some(Effort::High), ..loop_with(Some(state())) };
        let body = written(&request);
        assert_eq!((&body["max_tokens"], &body["thinking"]["budget_tokens"]), (&json!(1025), &json!(1024)));
        let adaptive = Request { model: "claude-opus-4-7".into(), ..loop_with(Some(state())) };
        let adaptive = Request { messages: vec![Message::new(Role::User, "x")], ..adaptive };
        let body = written(&adaptive);
        assert_eq!((&body["thinking"]["type"], &body["output_config"]), (&json!("adaptive"), &json!({"effort": "low"})));
    }

    #[test]
    fn forms_are_native_or_a_forced_tool() {
        let form = JsonFormat { name: "answer".into(), schema: json!({"type": "object"}), strict: false };
        let request = |model: &str| Request {
            model: model.into(),
            messages: vec![Message::new(Role::User, "x")],
            json: Some(form.clone()),
            effort: Some(Effort::Low),
            ..Request::default()
        };
        let body = written(&request("claude-sonnet-4-5"));
        assert_eq!(body["output_config"]["format"], json!({"type": "json_schema", "schema": {"type": "object"}}));
        assert_eq!(body.get("tools"), None);
        let body = written(&request("claude-3-7-sonnet-20250219"));
        assert_eq!(body["tool_choice"], json!({"type": "tool", "name": "answer"}));
        assert_eq!((body.get("thinking"), body["tools"][0]["input_schema"].clone()), (None, json!({"type": "object"})));
    }

    #[test]
    fn images_are_base64_blocks() {
        let image = Image { data: bytes::Bytes::from_static(b"abc"), media_type: "image/webp" };
        let message = Message { images: vec![image], ..Message::new(Role::User, "what?") };
        let body = written(&Request { messages: vec![message], ..Request::default() });
        let source = json!({"type": "base64", "media_type": "image/webp", "data": "YWJj"});
        assert_eq!(body["messages"][0]["content"][0], json!({"type": "image", "source": source}));
    }
}
