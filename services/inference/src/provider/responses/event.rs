//! The events of a streamed response, read into deltas.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::WIRE;
use crate::error::{Kind, ProviderError};
use crate::model::{Delta, Finish, ReasoningState, StateItem, Usage};
use crate::provider::http::{self, Endpoint, Framing, Tally, failure};

const MAX_CALLS: usize = 256;
const MAX_STATE: usize = 768 << 10;

// All kinds of events in one, so that texts can be borrowed from the event's bytes.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    output_index: Option<u32>,
    #[serde(borrow, default)]
    delta: Option<Text<'a>>,
    #[serde(default)]
    item: Option<Item>,
    #[serde(default)]
    response: Option<Ended>,
    // An error stands in the event itself, or in an object of its own.
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    code: Option<Value>,
    #[serde(default)]
    message: Option<Value>,
    // A whole response, from servers that do not stream.
    #[serde(borrow, default)]
    object: Cow<'a, str>,
}

// `Option<Cow<str>>` alone would always copy.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Item {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct Ended {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    incomplete_details: Option<Incomplete>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    output: Vec<Item>,
}

#[derive(Deserialize)]
struct Incomplete {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    input_tokens_details: Option<InputDetails>,
    #[serde(default)]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize)]
struct InputDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OutputDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

/// A tool call of the answer: where it stands among the items, and whether its arguments came in pieces.
#[derive(Clone)]
struct Call {
    output_index: u32,
    written: bool,
}

/// Reads the events of one answer.
#[derive(Clone)]
pub(crate) struct Reader {
    model: String,
    calls: Vec<Call>,
    state: Vec<StateItem>,
    state_bytes: usize,
    refused: bool,
    finish: Option<Finish>,
    tally: Tally,
}

impl Reader {
    /// A reader for an answer of this model.
    pub(super) fn new(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            calls: Vec::new(),
            state: Vec::new(),
            state_bytes: 0,
            refused: false,
            finish: None,
            tally: Tally::default(),
        }
    }

    fn text(&mut self, text: String, out: &mut VecDeque<Delta>) {
        if !text.is_empty() {
            self.tally.wrote(text.len());
            out.push_back(Delta::Text(text));
        }
    }

    fn reasoning(&mut self, text: String, out: &mut VecDeque<Delta>) {
        if !text.is_empty() {
            self.tally.wrote(text.len());
            out.push_back(Delta::Reasoning(text));
        }
    }

    fn arguments(&mut self, output_index: u32, arguments: String, out: &mut VecDeque<Delta>) {
        let Some(index) = self.calls.iter().rposition(|c| c.output_index == output_index) else { return };
        if !arguments.is_empty() {
            self.calls[index].written = true;
            self.tally.wrote(arguments.len());
            out.push_back(Delta::ToolCall { index: index as u32, id: String::new(), name: String::new(), arguments });
        }
    }

    fn added(&mut self, at: &Endpoint, output_index: u32, item: &Item, out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        if item.kind != "function_call" {
            return Ok(());
        }
        if self.calls.len() == MAX_CALLS {
            return Err(at.error(Kind::Server, "called more tools than any answer should"));
        }
        let text = |key: &str| item.rest.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (id, name) = (text("call_id"), text("name"));
        if name.is_empty() {
            return Err(at.error(Kind::Server, "called a tool without its name"));
        }
        let index = self.calls.len() as u32;
        let id = if id.is_empty() { format!("call_{index}") } else { id };
        self.tally.wrote(name.len());
        self.calls.push(Call { output_index, written: false });
        out.push_back(Delta::ToolCall { index, id, name, arguments: String::new() });
        Ok(())
    }

    fn done(&mut self, output_index: u32, item: Item, out: &mut VecDeque<Delta>) {
        match item.kind.as_str() {
            "function_call" => {
                // Some servers send the arguments only here.
                let silent = self.calls.iter().any(|c| c.output_index == output_index && !c.written);
                if let Some(arguments) = item.rest.get("arguments").and_then(Value::as_str).filter(|_| silent) {
                    self.arguments(output_index, arguments.to_owned(), out);
                }
            }
            "reasoning" => self.keep(item),
            _ => {}
        }
    }

    // Only what is encrypted can be handed back: nothing is kept at the provider.
    fn keep(&mut self, item: Item) {
        let Item { kind, mut rest } = item;
        let Some(bytes) = rest.get("encrypted_content").and_then(Value::as_str).map(str::len).filter(|n| *n > 0) else { return };
        rest.remove("status");
        rest.insert("type".to_owned(), Value::String(kind));
        self.state_bytes += bytes;
        if self.state_bytes > MAX_STATE {
            // Callers could not hand it back, and a part of it is worth nothing.
            return self.state.clear();
        }
        self.state.push(StateItem { calls_before: self.calls.len() as u32, value: Value::Object(rest) });
    }

    fn over(&mut self, at: &Endpoint, ended: Ended) -> Result<(), ProviderError> {
        if let Some(usage) = &ended.usage {
            self.tally.report(Usage::of_response(usage));
        }
        if let Some(error) = ended.error.filter(|e| !e.is_null()) {
            return Err(failure::from_stream(at, &error));
        }
        let reason = ended.incomplete_details.and_then(|d| d.reason);
        self.finish = Some(match (ended.status.as_deref(), reason.as_deref()) {
            (_, Some("content_filter")) => Finish::ContentFilter,
            (_, Some("max_output_tokens" | "max_tokens")) => Finish::Length,
            (Some("failed" | "cancelled"), _) => return Err(at.error(Kind::Server, "failed in the middle of its answer")),
            (Some("incomplete"), _) => Finish::Unknown,
            _ => Finish::Stop,
        });
        Ok(())
    }

    fn whole(&mut self, at: &Endpoint, data: &[u8], out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        let mut ended: Ended = serde_json::from_slice(data).map_err(|e| at.unreadable("a response", e))?;
        for (index, item) in std::mem::take(&mut ended.output).into_iter().enumerate() {
            for part in item.rest.get("content").and_then(Value::as_array).into_iter().flatten() {
                let text = |key: &str| part.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                self.refused |= part.get("refusal").is_some();
                self.text(text("text"), out);
                self.text(text("refusal"), out);
            }
            for part in item.rest.get("summary").and_then(Value::as_array).into_iter().flatten() {
                self.reasoning(part.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(), out);
            }
            self.added(at, index as u32, &item, out)?;
            self.done(index as u32, item, out);
        }
        self.over(at, ended)
    }
}

impl http::Reader for Reader {
    const FRAMING: Framing = Framing::Events;

    fn event(&mut self, at: &Endpoint, data: &[u8], out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        let data = data.trim_ascii();
        if self.finish.is_some() || data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        let event: Event<'_> = serde_json::from_slice(data).map_err(|e| at.unreadable("an event of a response", e))?;
        let index = event.output_index.unwrap_or(0);
        let text = |delta: Option<Text<'_>>| delta.map(|t| t.0.into_owned()).unwrap_or_default();
        match event.kind.as_ref() {
            "response.output_text.delta" => self.text(text(event.delta), out),
            "response.refusal.delta" => {
                self.refused = true;
                self.text(text(event.delta), out);
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => self.reasoning(text(event.delta), out),
            "response.function_call_arguments.delta" => self.arguments(index, text(event.delta), out),
            "response.output_item.added" => {
                if let Some(item) = event.item {
                    self.added(at, index, &item, out)?;
                }
            }
            "response.output_item.done" => {
                if let Some(item) = event.item {
                    self.done(index, item, out);
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                if let Some(ended) = event.response {
                    self.over(at, ended)?;
                }
            }
            "error" => {
                let apart = || serde_json::json!({"code": event.code, "message": event.message});
                return Err(failure::from_stream(at, &event.error.filter(|e| !e.is_null()).unwrap_or_else(apart)));
            }
            "" if event.object == "response" => self.whole(at, data, out)?,
            "" => {
                if let Some(error) = event.error.filter(|e| !e.is_null()) {
                    return Err(failure::from_stream(at, &error));
                }
            }
            // Beginnings, ends and repetitions of what came in deltas.
            _ => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.finish.is_some()
    }

    fn end(&mut self, at: &Endpoint) -> Result<Delta, ProviderError> {
        let Some(finish) = self.finish else { return Err(at.broke_off()) };
        let finish = match finish {
            Finish::Stop if !self.calls.is_empty() => Finish::ToolCalls,
            Finish::Stop if self.refused => Finish::Refusal,
            other => other,
        };
        let reasoning_state = ReasoningState::made_of(std::mem::take(&mut self.state), WIRE, &self.model);
        Ok(Delta::Completed { finish, usage: self.tally.total(), reasoning_state })
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl Usage {
    fn of_response(wire: &WireUsage) -> Self {
        Self {
            input: wire.input_tokens,
            output: wire.output_tokens,
            cached_input: wire.input_tokens_details.as_ref().and_then(|d| d.cached_tokens).unwrap_or(0),
            reasoning: wire.output_tokens_details.as_ref().and_then(|d| d.reasoning_tokens).unwrap_or(0),
            ..Self::default()
        }
    }
}
