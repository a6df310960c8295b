//! A request as the Responses API wants it. Nothing is kept at the provider: the whole conversation goes each time, and the
//! reasoning comes back encrypted.

use serde::Serialize;
use serde_json::Value;

use super::WIRE;
use crate::model::{Effort, Image, Message, Request, Role, ToolChoice};
use crate::provider::openai::{data_url, takes_temperature};

/// The body of the call.
pub(super) fn encode(request: &Request) -> Result<Vec<u8>, serde_json::Error> {
    let reasons = request.effort.is_some_and(|e| e != Effort::None);
    serde_json::to_vec(&Body {
        model: &request.model,
        input: request.messages.iter().flat_map(|m| items(m, &request.model)).collect(),
        tools: request.tools.iter().map(WireTool::of).collect(),
        tool_choice: (!request.tools.is_empty()).then_some(match request.tool_choice {
            ToolChoice::Auto => "auto",
            ToolChoice::None => "none",
            ToolChoice::Required => "required",
        }),
        max_output_tokens: (request.max_output_tokens > 0).then_some(request.max_output_tokens),
        temperature: request.temperature.filter(|_| takes_temperature(request, &request.model)),
        reasoning: request.effort.map(|e| Reasoning { effort: e.word(), summary: reasons.then_some("auto") }),
        text: request.json.as_ref().map(|json| TextConfig {
            format: Format { kind: "json_schema", name: &json.name, schema: &json.schema, strict: json.strict },
        }),
        include: ["reasoning.encrypted_content"],
        store: false,
        stream: true,
    })
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<TextConfig<'a>>,
    include: [&'static str; 1],
    store: bool,
    stream: bool,
}

#[derive(Serialize)]
struct Reasoning {
    effort: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'static str>,
}

#[derive(Serialize)]
struct TextConfig<'a> {
    format: Format<'a>,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    schema: &'a Value,
    strict: bool,
}

#[derive(Serialize)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
    // Strict is the default here, and refuses most schemas.
    strict: bool,
}

impl<'a> WireTool<'a> {
    fn of(tool: &'a crate::model::Tool) -> Self {
        let (name, description, parameters) = (&tool.name, &tool.description, &tool.parameters);
        Self { kind: "function", name, description, parameters, strict: false }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Known(Known<'a>),
    // Reasoning, as it was sent.
    Kept(&'a Value),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Known<'a> {
    Message { role: &'static str, content: Vec<Part<'a>> },
    FunctionCall { call_id: &'a str, name: &'a str, arguments: &'a str },
    FunctionCallOutput { call_id: &'a str, output: &'a str },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    InputText {
        text: &'a str,
    },
    OutputText {
        text: &'a str,
    },
    InputImage {
        #[serde(serialize_with = "data_url")]
        image_url: &'a Image,
    },
}

fn items<'a>(message: &'a Message, model: &str) -> Vec<Item<'a>> {
    let said = |role, part: fn(&'a str) -> Part<'a>| Known::Message { role, content: vec![part(&message.text)] };
    match message.role {
        Role::System => vec![Item::Known(said("system", |text| Part::InputText { text }))],
        Role::User => {
            let text = (!message.text.is_empty()).then_some(Part::InputText { text: &message.text });
            let images = message.images.iter().map(|image_url| Part::InputImage { image_url });
            vec![Item::Known(Known::Message { role: "user", content: text.into_iter().chain(images).collect() })]
        }
        Role::Tool => {
            vec![Item::Known(Known::FunctionCallOutput { call_id: &message.tool_call_id, output: &message.text })]
        }
        Role::Assistant => {
            let record = message.reasoning_state.as_ref().map(|s| s.items_for(WIRE, model)).unwrap_or_default();
            let kept = |n: usize| record.iter().filter(move |i| i.calls_before as usize == n).map(|i| Item::Kept(&i.value));
            let mut items: Vec<_> = kept(0).collect();
            if !message.text.is_empty() {
                items.push(Item::Known(said("assistant", |text| Part::OutputText { text })));
            }
            for (n, call) in message.tool_calls.iter().enumerate() {
                items.push(Item::Known(Known::FunctionCall { call_id: &call.id, name: &call.name, arguments: &call.arguments }));
                items.extend(kept(n + 1));
            }
            items
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{JsonFormat, ReasoningState, StateItem, Tool, ToolCall};

    #[test]
    fn a_conversation_is_a_list_of_items() {
        let kept = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"});
        let items = vec![StateItem { calls_before: 0, value: kept.clone() }];
        let state = ReasoningState { wire: WIRE.into(), model: "gpt-5".into(), items };
        let call = ToolCall { id: "c1".into(), name: "view".into(), arguments: "{}".into() };
        let image = Image { data: bytes::Bytes::from_static(b"abc"), media_type: "image/png" };
        let request = Request {
            model: "gpt-5".into(),
            messages: vec![
                Message::new(Role::System, "s"),
                Message { images: vec![image], ..Message::new(Role::User, "u") },
                Message { tool_calls: vec![call], reasoning_state: Some(state), ..Message::new(Role::Assistant, "") },
                Message { tool_call_id: "c1".into(), ..Message::new(Role::Tool, "ok") },
            ],
            tools: vec![Tool { name: "view".into(), description: "d".into(), parameters: json!({"type": "object"}) }],
            effort: Some(Effort::Medium),
            temperature: Some(0.0),
            max_output_tokens: 9,
            json: Some(JsonFormat { name: "plan".into(), schema: json!({"type": "object"}), strict: true }),
            ..Request::default()
        };
        let body: Value = serde_json::from_slice(&encode(&request).unwrap()).unwrap();
        let expected = json!([
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "s"}]},
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "u"},
                {"type": "input_image", "image_url": "data:image/png;base64,YWJj"},
            ]},
            kept,
            {"type": "function_call", "call_id": "c1", "name": "view", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "ok"},
        ]);
        assert_eq!(body["input"], expected);
        assert_eq!(body["reasoning"], json!({"effort": "medium", "summary": "auto"}));
        assert_eq!(body["text"]["format"]["name"], "plan");
        assert_eq!((&body["store"], &body["max_output_tokens"], body.get("temperature")), (&json!(false), &json!(9), None));
    }
}
