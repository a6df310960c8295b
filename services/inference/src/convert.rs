//! Between the wire and the model: validation with the limits that the proto promises, and the way back.

use slipway_proto::inference as pb;
use slipway_rpc::{Check, Fault};

use crate::model::{
    Charge, Completion, Delta, Finish, Labels, Message, Purpose, Request, Role, Tool, ToolCall, ToolChoice, Usage,
};
use crate::route::Journal;
use crate::service::{Asked, Quick, Tested};
use crate::tokens::Counted;

mod batch;
mod budgets;
mod cache;
mod keys;
mod listing;
mod parts;
mod privacy;
mod routing;
mod usage;

pub(crate) use batch::{batch, item};
pub(crate) use budgets::{budget, budget_change, budget_id, budget_status, budgets, list_budgets, new_budget, status_query};
pub(crate) use cache::{cleared, stats};
pub(crate) use keys::{key_id, keys, list_keys, new_key, provider_key, rotation};
pub(crate) use listing::{list_models, models};
pub(crate) use routing::{list_providers, providers};
pub(crate) use usage::{call_query, calls, estimated, usage_query, usage_sums};

const MAX_MODEL: usize = 200;
const MAX_MESSAGES: usize = 1_000;
const MAX_MESSAGE_BYTES: usize = 1 << 20;
const MAX_PROMPT_BYTES: usize = 8 << 20;
const MAX_TOOLS: usize = 128;
const MAX_TOOL_NAME: usize = 64;

/// A prompt as asked: the model's id, and the rest with the model's name still open.
pub(crate) fn prompt(prompt: Option<pb::Prompt>) -> Result<Asked, Fault> {
    let mut check = Check::new();
    let Some(mut prompt) = prompt else {
        check.fail("prompt", "is required");
        return check.finish().map(|()| Asked::default());
    };
    let model = check.text("prompt.model", &prompt.model, 0, MAX_MODEL);
    check.ensure(!prompt.messages.is_empty(), "prompt.messages", "is required");
    check.ensure(prompt.messages.len() <= MAX_MESSAGES, "prompt.messages", format!("has more than {MAX_MESSAGES} messages"));
    check.ensure(prompt.tools.len() <= MAX_TOOLS, "prompt.tools", format!("has more than {MAX_TOOLS} tools"));
    check_size(&mut check, &prompt);
    let fallback = routing::fallback(&mut check, &prompt, MAX_MODEL);
    // What is too long is not looked into any further.
    check.finish()?;

    let mut check = Check::new();
    let privacy = privacy::wishes(&mut check, &mut prompt);
    let tools: Vec<_> = prompt.tools.into_iter().enumerate().map(|(n, t)| tool(&mut check, n, t)).collect();
    for (n, tool) in tools.iter().enumerate() {
        let twice = tools[..n].iter().any(|t| t.name == tool.name);
        check.ensure(!twice, &format!("prompt.tools[{n}].name"), "is used twice");
    }
    let messages = prompt.messages.into_iter().enumerate().map(|(n, m)| message(&mut check, n, m)).collect();
    let tool_choice = match pb::ToolChoice::try_from(prompt.tool_choice) {
        Ok(pb::ToolChoice::Unspecified | pb::ToolChoice::Auto) => ToolChoice::Auto,
        Ok(pb::ToolChoice::None) => ToolChoice::None,
        Ok(pb::ToolChoice::Required) => {
            check.ensure(!tools.is_empty(), "prompt.tool_choice", "requires a tool, and there is none");
            ToolChoice::Required
        }
        Err(_) => {
            check.fail("prompt.tool_choice", "is not a known value");
            ToolChoice::Auto
        }
    };
    if let Some(temperature) = prompt.temperature {
        check.ensure((0.0..=2.0).contains(&temperature), "prompt.temperature", "is not between 0.0 and 2.0");
    }
    let effort = parts::effort(&mut check, prompt.reasoning_effort);
    let json = parts::json_format(&mut check, prompt.json_format);
    let cache = cache::policy(&mut check, prompt.cache);
    let labels = Labels {
        conversation: check.optional_uuid("prompt.conversation_id", &prompt.conversation_id),
        plan: check.optional_uuid("prompt.plan_id", &prompt.plan_id),
        purpose: Purpose::Answer,
    };
    check.finish()?;
    let request = Request {
        model: String::new(),
        messages,
        tools,
        tool_choice,
        max_output_tokens: prompt.max_output_tokens,
        temperature: prompt.temperature,
        effort,
        json,
    };
    let (quick, prefetch) = (prompt.quick_answer, prompt.prefetch);
    Ok(Asked { model, labels, request, fallback, privacy, cache, quick, prefetch })
}

fn check_size(check: &mut Check, prompt: &pb::Prompt) {
    let mut total = 0usize;
    for (n, message) in prompt.messages.iter().enumerate() {
        let context = privacy::context_bytes(message);
        if message.text.len() + context > MAX_MESSAGE_BYTES {
            check.fail(&format!("prompt.messages[{n}].text"), "is larger than 1 MiB");
        }
        total += context + message.text.len() + message.images.iter().map(|i| i.data.len()).sum::<usize>();
        total += message.tool_calls.iter().map(|c| c.id.len() + c.name.len() + c.arguments_json.len()).sum::<usize>();
    }
    check.ensure(total <= MAX_PROMPT_BYTES, "prompt.messages", "are larger than 8 MiB together");
    let images = prompt.messages.iter().map(|m| m.images.len()).sum::<usize>();
    check.ensure(images <= parts::MAX_IMAGES, "prompt.messages", format!("hold more than {} images", parts::MAX_IMAGES));
}

fn message(check: &mut Check, n: usize, message: pb::Message) -> Message {
    let field = |name: &str| format!("prompt.messages[{n}].{name}");
    let role = match pb::Role::try_from(message.role) {
        Ok(pb::Role::System) => Role::System,
        Ok(pb::Role::User) => Role::User,
        Ok(pb::Role::Assistant) => Role::Assistant,
        Ok(pb::Role::Tool) => Role::Tool,
        Ok(pb::Role::Unspecified) | Err(_) => {
            check.fail(&field("role"), "is required");
            Role::User
        }
    };
    check.ensure(!message.text.contains('\0'), &field("text"), "holds the control character U+0000");
    check.ensure(role == Role::Assistant || message.tool_calls.is_empty(), &field("tool_calls"), "is for ROLE_ASSISTANT only");
    if role == Role::Tool {
        check.ensure(!message.tool_call_id.is_empty(), &field("tool_call_id"), "is required for ROLE_TOOL");
    }
    for (k, call) in message.tool_calls.iter().enumerate() {
        let legal = is_tool_name(&call.name);
        check.ensure(legal, &field(&format!("tool_calls[{k}].name")), "is not 1 to 64 of a-z, A-Z, 0-9, '_' and '-'");
        check.ensure(!call.id.is_empty(), &field(&format!("tool_calls[{k}].id")), "is required");
    }
    let calls = message.tool_calls.into_iter().map(|c| ToolCall { id: c.id, name: c.name, arguments: c.arguments_json });
    Message {
        role,
        text: message.text,
        tool_calls: calls.collect(),
        tool_call_id: message.tool_call_id,
        images: parts::images(check, role, &field("images"), message.images),
        reasoning_state: parts::reasoning_state(check, role, &field("reasoning_state"), &message.reasoning_state),
    }
}

fn tool(check: &mut Check, n: usize, tool: pb::Tool) -> Tool {
    let field = |name: &str| format!("prompt.tools[{n}].{name}");
    check.ensure(is_tool_name(&tool.name), &field("name"), "is not 1 to 64 of a-z, A-Z, 0-9, '_' and '-'");
    check.ensure(!tool.description.contains('\0'), &field("description"), "holds the control character U+0000");
    let parameters = serde_json::from_str(&tool.parameters_json).unwrap_or(serde_json::Value::Null);
    check.ensure(parameters.is_object(), &field("parameters_json"), "is not a JSON object");
    Tool { name: tool.name, description: tool.description, parameters }
}

fn is_tool_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=MAX_TOOL_NAME).contains(&name.len()) && name.chars().all(legal)
}

/// The model that a connection test is for.
pub(crate) fn test_connection(request: &pb::TestConnectionRequest) -> Result<String, Fault> {
    let mut check = Check::new();
    let model = check.text("model", &request.model, 0, MAX_MODEL);
    check.finish()?;
    Ok(model)
}

/// A whole answer.
pub(crate) fn completion(whole: Completion, journal: &Journal) -> pb::Completion {
    let calls = whole.tool_calls.into_iter().map(|c| pb::ToolCall { id: c.id, name: c.name, arguments_json: c.arguments });
    pb::Completion {
        model: whole.model,
        text: whole.text,
        reasoning: whole.reasoning,
        tool_calls: calls.collect(),
        finish_reason: finish(whole.finish).into(),
        usage: Some(usage(whole.usage, &whole.charge)),
        reasoning_state: whole.reasoning_state.map(|s| s.to_bytes().into()).unwrap_or_default(),
        attempts: routing::attempts(journal.attempts()),
        cache_hit: journal.hit().map(cache::hit),
        seams: whole.seams.into_iter().map(routing::seam).collect(),
    }
}

/// One step of a streamed answer; `None` for what is not the caller's. `charge` is what the answer has cost so far, from one
/// step to the next.
pub(crate) fn delta(journal: &Journal, charge: &mut Charge, delta: Delta) -> Option<pb::StreamCompleteResponse> {
    use pb::stream_complete_response::Event;
    let event = match delta {
        Delta::Answering(model) => Event::Started(pb::CompletionStarted { model: model.to_string() }),
        Delta::Seam(seam) => Event::Seam(routing::seam(*seam)),
        Delta::Text(text) => Event::TextDelta(text),
        Delta::Reasoning(text) => Event::ReasoningDelta(text),
        Delta::ToolCall { index, id, name, arguments } => {
            Event::ToolCallDelta(pb::ToolCallDelta { index, id, name, arguments_delta: arguments })
        }
        Delta::Started | Delta::Usage(_) => return None,
        Delta::Charged(told) => {
            *charge = told;
            return None;
        }
        Delta::Completed { finish: reason, usage: used, reasoning_state } => Event::Completed(pb::CompletionEnded {
            finish_reason: finish(reason).into(),
            usage: Some(usage(used, charge)),
            reasoning_state: reasoning_state.map(|s| s.to_bytes().into()).unwrap_or_default(),
            attempts: routing::attempts(journal.attempts()),
            cache_hit: journal.hit().map(cache::hit),
        }),
    };
    Some(pb::StreamCompleteResponse { event: Some(event) })
}

/// A short answer beside a detailed one.
pub(crate) fn quick(quick: Quick) -> pb::StreamCompleteResponse {
    let Quick { text, model, usage: used, charge } = quick;
    let answer = pb::QuickAnswer { text, model, usage: Some(usage(used, &charge)) };
    pb::StreamCompleteResponse { event: Some(pb::stream_complete_response::Event::QuickAnswer(answer)) }
}

/// What a prompt's tokens are.
pub(crate) fn counted(model: String, counted: Counted) -> pb::CountTokensResponse {
    let vocabulary = counted.vocabulary.name().to_owned();
    pb::CountTokensResponse { model, input_tokens: counted.tokens, estimated: counted.estimated, vocabulary }
}

/// How a connection test went.
pub(crate) fn tested(tested: Tested) -> pb::TestConnectionResponse {
    let (ok, reason, advice) = match tested.failure {
        None => (true, String::new(), String::new()),
        Some(fault) => (false, fault.reason_name().to_owned(), fault.message().to_owned()),
    };
    pb::TestConnectionResponse { ok, model: tested.model, latency_ms: tested.latency.as_millis() as u64, reason, advice }
}

fn finish(finish: Finish) -> pb::FinishReason {
    match finish {
        Finish::Unknown => pb::FinishReason::Unspecified,
        Finish::Stop => pb::FinishReason::Stop,
        Finish::Length => pb::FinishReason::Length,
        Finish::ToolCalls => pb::FinishReason::ToolCalls,
        Finish::ContentFilter => pb::FinishReason::ContentFilter,
        Finish::Refusal => pb::FinishReason::Refusal,
        Finish::Paused => pb::FinishReason::Paused,
    }
}

fn usage(usage: Usage, charge: &Charge) -> pb::Usage {
    pb::Usage {
        input_tokens: usage.input,
        output_tokens: usage.output,
        cached_input_tokens: usage.cached_input,
        reasoning_tokens: usage.reasoning,
        estimated: usage.estimated,
        cache_write_tokens: usage.cache_write,
        image_tokens: usage.images,
        provider_cost_micros: usage.cost_micros,
        cost_micros: charge.micros,
        price_version: charge.version.as_deref().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Effort, ReasoningState, StateItem};

    fn user(text: &str) -> pb::Message {
        pb::Message { role: pb::Role::User.into(), text: text.into(), ..Default::default() }
    }

    fn fields(bad: pb::Prompt) -> Vec<String> {
        prompt(Some(bad)).unwrap_err().violations().iter().map(|v| v.field.clone()).collect()
    }

    #[test]
    fn a_small_prompt_passes() {
        let asked = prompt(Some(pb::Prompt { messages: vec![user("hi")], ..Default::default() })).unwrap();
        assert_eq!(asked.request.messages[0].text, "hi");
        assert_eq!(asked.request.tool_choice, ToolChoice::Auto);
    }

    #[test]
    fn limits_name_their_fields() {
        assert!(prompt(None).unwrap_err().violations().iter().any(|v| v.field == "prompt"));
        assert_eq!(fields(pb::Prompt::default()), ["prompt.messages"]);
        let long = pb::Prompt { model: "x".repeat(201), messages: vec![user("a")], ..Default::default() };
        assert_eq!(fields(long), ["prompt.model"]);
        let large = pb::Prompt { messages: vec![user(&"x".repeat(MAX_MESSAGE_BYTES + 1))], ..Default::default() };
        assert_eq!(fields(large), ["prompt.messages[0].text"]);
        let together = pb::Prompt { messages: vec![user(&"x".repeat(MAX_MESSAGE_BYTES)); 9], ..Default::default() };
        assert_eq!(fields(together), ["prompt.messages"]);
        let many = pb::Prompt { messages: vec![user("a"); 1001], ..Default::default() };
        assert_eq!(fields(many), ["prompt.messages"]);
    }

    #[test]
    fn tools_and_roles_are_checked() {
        let tool =
            |name: &str, schema: &str| pb::Tool { name: name.into(), description: String::new(), parameters_json: schema.into() };
        let bad = pb::Prompt {
            messages: vec![
                pb::Message::default(),
                pb::Message { role: pb::Role::Tool.into(), ..Default::default() },
                user("a\0b"),
            ],
            tools: vec![tool("ok", "{}"), tool("no spaces", "{}"), tool("ok", "[]")],
            temperature: Some(2.5),
            ..Default::default()
        };
        let expected = [
            "prompt.tools[1].name",
            "prompt.tools[2].parameters_json",
            "prompt.tools[2].name",
            "prompt.messages[0].role",
            "prompt.messages[1].tool_call_id",
            "prompt.messages[2].text",
            "prompt.temperature",
        ];
        assert_eq!(fields(bad), expected);
        let required =
            pb::Prompt { messages: vec![user("a")], tool_choice: pb::ToolChoice::Required.into(), ..Default::default() };
        assert_eq!(fields(required), ["prompt.tool_choice"]);
        let nan = pb::Prompt { messages: vec![user("a")], temperature: Some(f64::NAN), ..Default::default() };
        assert_eq!(fields(nan), ["prompt.temperature"]);
    }

    #[test]
    fn images_and_forms_are_checked() {
        let png = Bytes::from_static(b"\x89PNG\r\n\x1a\nrest");
        let image = |data: &Bytes, media_type: &str| pb::Image { data: data.clone(), media_type: media_type.into() };
        let shown = |images: Vec<pb::Image>| pb::Message { images, ..user("look") };
        let good = pb::Prompt {
            messages: vec![shown(vec![image(&png, "image/png")])],
            reasoning_effort: pb::ReasoningEffort::High.into(),
            json_format: Some(pb::JsonFormat { schema_json: r#"{"type":"object"}"#.into(), ..Default::default() }),
            ..Default::default()
        };
        let asked = prompt(Some(good)).unwrap().request;
        assert_eq!(asked.messages[0].images[0].media_type, "image/png");
        assert_eq!((asked.effort, asked.json.unwrap().name.as_str()), (Some(Effort::High), "answer"));
        let large = Bytes::from([b"\xff\xd8\xff".to_vec(), vec![0; 5 << 20]].concat());
        let bad = pb::Prompt {
            messages: vec![
                shown(vec![image(&png, "image/gif"), image(&png, "image/tiff"), image(&large, "image/jpeg")]),
                pb::Message { reasoning_state: Bytes::from_static(b"junk"), ..user("x") },
            ],
            reasoning_effort: 77,
            json_format: Some(pb::JsonFormat { name: "a b".into(), schema_json: "[]".into(), strict: true }),
            ..Default::default()
        };
        let expected = [
            "prompt.messages[0].images[0].data",
            "prompt.messages[0].images[1].media_type",
            "prompt.messages[0].images[2].data",
            "prompt.messages[1].reasoning_state",
            "prompt.messages[1].reasoning_state",
            "prompt.reasoning_effort",
            "prompt.json_format.name",
            "prompt.json_format.schema_json",
        ];
        assert_eq!(fields(bad), expected);
        let many = pb::Prompt { messages: vec![shown(vec![image(&png, "image/png"); 21])], ..Default::default() };
        assert_eq!(fields(many), ["prompt.messages"]);
    }

    #[test]
    fn a_reasoning_record_comes_back_as_it_went() {
        let item = StateItem { calls_before: 0, value: serde_json::json!({"type": "thinking"}) };
        let state = ReasoningState { wire: "anthropic".into(), model: "m".into(), items: vec![item] };
        let whole = Completion { reasoning_state: Some(state.clone()), ..Completion::default() };
        let reasoning_state = completion(whole, &Journal::default()).reasoning_state;
        let again = pb::Message { role: pb::Role::Assistant.into(), reasoning_state, ..Default::default() };
        let asked = prompt(Some(pb::Prompt { messages: vec![again], ..Default::default() })).unwrap();
        assert_eq!(asked.request.messages[0].reasoning_state, Some(state));
    }
}
