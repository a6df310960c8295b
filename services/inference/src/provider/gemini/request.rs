//! A request as Gemini wants it: contents of user and model, each a list of parts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::WIRE;
use crate::model::{Effort, Message, Request, Role, StateItem, ToolCall, ToolChoice};

/// What the API takes in place of a signature that was lost, rather than refuse the conversation.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The body of the call.
pub(super) fn encode(request: &Request) -> Result<Vec<u8>, serde_json::Error> {
    let system: Vec<_> = request.messages.iter().filter(|m| m.role == Role::System && !m.text.is_empty()).map(text).collect();
    serde_json::to_vec(&Body {
        contents: contents(request),
        system_instruction: (!system.is_empty()).then_some(Content { role: None, parts: system }),
        tools: (!request.tools.is_empty())
            .then(|| [Tools { function_declarations: request.tools.iter().map(Declaration::of).collect() }]),
        tool_config: (!request.tools.is_empty()).then(|| {
            let mode = match request.tool_choice {
                ToolChoice::Auto => "AUTO",
                ToolChoice::None => "NONE",
                ToolChoice::Required => "ANY",
            };
            json!({"functionCallingConfig": {"mode": mode}})
        }),
        generation_config: generation(request),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    contents: Vec<Content>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Tools<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<Value>,
    generation_config: Map<String, Value>,
}

#[derive(Serialize)]
struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tools<'a> {
    function_declarations: Vec<Declaration<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    name: &'a str,
    description: &'a str,
    parameters_json_schema: &'a Value,
}

impl<'a> Declaration<'a> {
    fn of(tool: &'a crate::model::Tool) -> Self {
        Self { name: &tool.name, description: &tool.description, parameters_json_schema: &tool.parameters }
    }
}

fn generation(request: &Request) -> Map<String, Value> {
    let mut config = Map::new();
    let mut set = |key: &str, value: Value| config.insert(key.to_owned(), value);
    if request.max_output_tokens > 0 {
        set("maxOutputTokens", json!(request.max_output_tokens));
    }
    if let Some(temperature) = request.temperature {
        set("temperature", json!(temperature));
    }
    if let Some(form) = &request.json {
        set("responseMimeType", json!("application/json"));
        set("responseJsonSchema", form.schema.clone());
    }
    if let Some(effort) = request.effort {
        set("thinkingConfig", thinking(&request.model, effort));
    }
    config
}

// The models before the third generation count tokens, later ones know levels.
fn thinking(model: &str, effort: Effort) -> Value {
    let older = ["gemini-2", "gemini-1"].iter().any(|old| model.contains(old));
    let shown = effort != Effort::None;
    if older {
        // The larger ones cannot be kept from it altogether.
        let least = if model.contains("pro") { 128 } else { 0 };
        let budget = match effort {
            Effort::None => least,
            Effort::Minimal => 512,
            Effort::Low => 2_048,
            Effort::Medium => 8_192,
            Effort::High => 24_576,
        };
        return json!({"thinkingBudget": budget, "includeThoughts": shown});
    }
    let flash = model.contains("flash");
    let level = match effort {
        Effort::None | Effort::Minimal if flash => "minimal",
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium if flash => "medium",
        Effort::Medium | Effort::High => "high",
    };
    json!({"thinkingLevel": level, "includeThoughts": shown})
}

// Results of tools are the user's to give, all of one answer's calls in one content.
fn contents(request: &Request) -> Vec<Content> {
    let mut contents: Vec<Content> = Vec::new();
    for message in request.messages.iter().filter(|m| m.role != Role::System) {
        let role = if message.role == Role::Assistant { "model" } else { "user" };
        let parts = match message.role {
            Role::Assistant => answered(message, &request.model),
            Role::Tool => vec![result(message, &request.messages)],
            Role::User | Role::System => asked(message),
        };
        match contents.last_mut().filter(|c| c.role == Some(role)) {
            Some(content) => content.parts.extend(parts),
            // A content without parts is refused.
            None if parts.is_empty() => {}
            None => contents.push(Content { role: Some(role), parts }),
        }
    }
    contents
}

fn text(message: &Message) -> Value {
    json!({"text": message.text})
}

fn asked(message: &Message) -> Vec<Value> {
    let image = |i: &crate::model::Image| json!({"inlineData": {"mimeType": i.media_type, "data": STANDARD.encode(&i.data)}});
    let said = (!message.text.is_empty()).then(|| text(message));
    message.images.iter().map(image).chain(said).collect()
}

// Signatures go back to the part that they came with: item n of the record is the n-th call's, a last one the text's.
fn answered(message: &Message, model: &str) -> Vec<Value> {
    let record = message.reasoning_state.as_ref().map(|s| s.items_for(WIRE, model)).unwrap_or_default();
    let mut parts = Vec::new();
    if !message.text.is_empty() {
        let mut part = text(message);
        if let Some(signature) = record.iter().find(|i| i.value.get("call").is_none()).and_then(signature) {
            part["thoughtSignature"] = signature;
        }
        parts.push(part);
    }
    for (n, call) in message.tool_calls.iter().enumerate() {
        let own = |i: &&StateItem| i.value.get("call").and_then(Value::as_u64) == Some(n as u64);
        let mut part = json!({"functionCall": {"name": call.name, "args": arguments(call)}});
        // Only the first of parallel calls is signed, and only newer models insist on it.
        let lost = || (n == 0 && !model.contains("gemini-2") && !model.contains("gemini-1")).then(|| json!(NO_SIGNATURE));
        if let Some(signature) = record.iter().find(own).and_then(signature).or_else(lost) {
            part["thoughtSignature"] = signature;
        }
        parts.push(part);
    }
    parts
}

fn signature(item: &StateItem) -> Option<Value> {
    item.value.get("thoughtSignature").cloned()
}

fn arguments(call: &ToolCall) -> Value {
    match serde_json::from_str(&call.arguments) {
        Ok(arguments @ Value::Object(_)) => arguments,
        _ if call.arguments.trim().is_empty() => json!({}),
        // What a model got wrong it may see again, but only as an object.
        _ => json!({"not_an_object": call.arguments}),
    }
}

// A result names its function, not its call.
fn result(message: &Message, all: &[Message]) -> Value {
    let calls = all.iter().rev().flat_map(|m| &m.tool_calls);
    let name = calls.into_iter().find(|c| c.id == message.tool_call_id).map_or(message.tool_call_id.as_str(), |c| &c.name);
    let response = match serde_json::from_str(&message.text) {
        Ok(object @ Value::Object(_)) => object,
        _ => json!({"result": message.text}),
    };
    json!({"functionResponse": {"name": name, "response": response}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Image, JsonFormat, ReasoningState, Tool};

    fn written(request: &Request) -> Value {
        serde_json::from_slice(&encode(request).unwrap()).unwrap()
    }

    fn tool_loop(state: Option<ReasoningState>) -> Request {
        let calls = ["a", "b"].map(|id| ToolCall { id: id.into(), name: format!("f{id}"), arguments: "{\"x\":1}".into() });
        let result = |id: &str, text: &str| Message { tool_call_id: id.into(), ..Message::new(Role::Tool, text) };
        Request {
            model: "gemini-3-pro".into(),
            messages: vec![
                Message::new(Role::System, "be short"),
                Message::new(Role::User, "look"),
                Message { tool_calls: calls.to_vec(), reasoning_state: state, ..Message::new(Role::Assistant, "") },
                result("a", "{\"ok\":true}"),
                result("b", "plain"),
            ],
            tools: vec![Tool { name: "fa".into(), description: "d".into(), parameters: json!({"type": "object"}) }],
            tool_choice: ToolChoice::Required,
            ..Request::default()
        }
    }

    #[test]
    fn a_tool_loop_is_contents_of_parts() {
        let item = StateItem { calls_before: 0, value: json!({"call": 0, "thoughtSignature": "c2ln"}) };
        let state = ReasoningState { wire: WIRE.into(), model: "gemini-3-pro".into(), items: vec![item] };
        let body = written(&tool_loop(Some(state)));
        let expected = json!([
            {"role": "user", "parts": [{"text": "look"}]},
            {"role": "model", "parts": [
                {"functionCall": {"name": "fa", "args": {"x": 1}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "fb", "args": {"x": 1}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "fa", "response": {"ok": true}}},
                {"functionResponse": {"name": "fb", "response": {"result": "plain"}}},
            ]},
        ]);
        assert_eq!(body["contents"], expected);
        assert_eq!(body["systemInstruction"], json!({"parts": [{"text": "be short"}]}));
        assert_eq!(body["toolConfig"]["functionCallingConfig"]["mode"], "ANY");
        assert_eq!(body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"], json!({"type": "object"}));
    }

    #[test]
    fn a_lost_signature_is_said_to_be_lost() {
        let body = written(&tool_loop(None));
        assert_eq!(body["contents"][1]["parts"][0]["thoughtSignature"], NO_SIGNATURE);
        assert_eq!(body["contents"][1]["parts"][1].get("thoughtSignature"), None);
        let older = written(&Request { model: "gemini-2.5-flash".into(), ..tool_loop(None) });
        assert_eq!(older["contents"][1]["parts"][0].get("thoughtSignature"), None);
    }

    #[test]
    fn generations_have_their_words_for_effort() {
        assert_eq!(thinking("gemini-2.5-flash", Effort::None), json!({"thinkingBudget": 0, "includeThoughts": false}));
        assert_eq!(thinking("gemini-2.5-pro", Effort::None)["thinkingBudget"], 128);
        assert_eq!(thinking("gemini-3-flash", Effort::Minimal)["thinkingLevel"], "minimal");
        assert_eq!(thinking("gemini-3-pro", Effort::Medium)["thinkingLevel"], "high");
    }

    #[test]
    fn images_and_forms() {
        let image = Image { data: bytes::Bytes::from_static(b"abc"), media_type: "image/png" };
        let request = Request {
            messages: vec![Message { images: vec![image], ..Message::new(Role::User, "what?") }],
            json: Some(JsonFormat { name: "a".into(), schema: json!({"type": "object"}), strict: false }),
            temperature: Some(0.0),
            max_output_tokens: 5,
            ..Request::default()
        };
        let body = written(&request);
        assert_eq!(body["contents"][0]["parts"][0], json!({"inlineData": {"mimeType": "image/png", "data": "YWJj"}}));
        let expected = json!({
            "maxOutputTokens": 5, "temperature": 0.0,
            "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
        });
        assert_eq!(body["generationConfig"], expected);
    }
}
