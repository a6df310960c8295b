//! The one way to write a request down: what recordings show, and what recordings and kept answers are found by.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::model::{Image, JsonFormat, Message, Request, Role, Tool, ToolCall, ToolChoice};

/// A request as JSON. Whatever changes an answer is in it, in an order that does not depend on how it came; what is left at
/// its default is not, so that a new field does not rename what was written before.
pub(crate) fn canonical(request: &Request) -> Value {
    // Taken apart by name: a new field does not compile until someone has decided what it means here.
    let Request { model, messages, tools, tool_choice, max_output_tokens, temperature, effort, json } = request;
    let mut all = Map::new();
    all.insert("model".into(), json!(model));
    all.insert("messages".into(), messages.iter().map(message).collect());
    if !tools.is_empty() {
        all.insert("tools".into(), tools.iter().map(tool).collect());
    }
    match tool_choice {
        ToolChoice::Auto => {}
        ToolChoice::None => drop(all.insert("tool_choice".into(), json!("none"))),
        ToolChoice::Required => drop(all.insert("tool_choice".into(), json!("required"))),
    }
    if *max_output_tokens > 0 {
        all.insert("max_output_tokens".into(), json!(max_output_tokens));
    }
    if let Some(temperature) = temperature {
        all.insert("temperature".into(), json!(temperature));
    }
    if let Some(effort) = effort {
        all.insert("effort".into(), json!(effort.word()));
    }
    if let Some(JsonFormat { name, schema, strict }) = json {
        all.insert("json_format".into(), json!({"name": name, "schema": schema, "strict": strict}));
    }
    sorted(&Value::Object(all))
}

fn message(message: &Message) -> Value {
    let Message { role, text, tool_calls, tool_call_id, images, reasoning_state } = message;
    let role = match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let mut all = Map::new();
    all.insert("role".into(), json!(role));
    all.insert("text".into(), json!(text));
    if !tool_calls.is_empty() {
        all.insert("tool_calls".into(), tool_calls.iter().map(call).collect());
    }
    if !tool_call_id.is_empty() {
        all.insert("tool_call_id".into(), json!(tool_call_id));
    }
    if !images.is_empty() {
        all.insert("images".into(), images.iter().map(image).collect());
    }
    if let Some(state) = reasoning_state {
        all.insert("reasoning_state".into(), json!(state));
    }
    Value::Object(all)
}

fn call(call: &ToolCall) -> Value {
    let ToolCall { id, name, arguments } = call;
    json!({"id": id, "name": name, "arguments": arguments})
}

// An image's bytes say nothing to a reader; what they are is in their hash.
fn image(image: &Image) -> Value {
    let Image { data, media_type } = image;
    json!({"media_type": media_type, "bytes": data.len(), "sha256": hex::encode(Sha256::digest(data))})
}

fn tool(tool: &Tool) -> Value {
    let Tool { name, description, parameters } = tool;
    json!({"name": name, "description": description, "parameters": parameters})
}

/// The same value with the keys of every object in order: how a caller wrote a schema down changes nothing, nor does how this
/// program was built.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Effort;

    fn request() -> Request {
        let mut asked = Message::new(Role::User, "look");
        asked.images.push(Image { data: bytes::Bytes::from_static(b"png"), media_type: "image/png" });
        Request { model: "m".into(), messages: vec![asked], ..Request::default() }
    }

    #[test]
    fn defaults_are_not_written() {
        let value =
            canonical(&Request { model: "m".into(), messages: vec![Message::new(Role::User, "hi")], ..Request::default() });
        assert_eq!(value, json!({"model": "m", "messages": [{"role": "user", "text": "hi"}]}));
    }

    #[test]
    fn the_order_of_a_schemas_keys_changes_nothing() {
        let with = |schema: &str| {
            let parameters = serde_json::from_str(schema).unwrap();
            let tools = vec![Tool { name: "t".into(), description: String::new(), parameters }];
            canonical(&Request { tools, ..request() }).to_string()
        };
        assert_eq!(with(r#"{"type":"object","a":{"x":1,"b":2}}"#), with(r#"{"a":{"b":2,"x":1},"type":"object"}"#));
    }

    #[test]
    fn whatever_changes_an_answer_is_in_it() {
        let base = canonical(&request());
        let edits: [fn(&mut Request); 12] = [
            |r| r.model = "n".into(),
            |r| r.messages[0].text.push('!'),
            |r| r.messages[0].role = Role::System,
            |r| r.messages[0].images[0].data = bytes::Bytes::from_static(b"pnh"),
            |r| r.messages[0].tool_call_id = "1".into(),
            |r| r.messages[0].tool_calls.push(ToolCall { id: "1".into(), name: "f".into(), arguments: "{}".into() }),
            |r| r.tools.push(Tool { name: "t".into(), description: String::new(), parameters: json!({}) }),
            |r| r.tool_choice = ToolChoice::None,
            |r| r.max_output_tokens = 7,
            |r| r.temperature = Some(0.0),
            |r| r.effort = Some(Effort::Low),
            |r| r.json = Some(JsonFormat { name: "a".into(), schema: json!({}), strict: false }),
        ];
        for (n, edit) in edits.into_iter().enumerate() {
            let mut other = request();
            edit(&mut other);
            assert_ne!(canonical(&other), base, "{n}");
        }
    }
}
