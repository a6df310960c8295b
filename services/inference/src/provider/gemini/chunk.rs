//! The chunks of a streamed answer, read into deltas. Each is a small answer of its own; the last one says why it ends.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Value, json};

use super::WIRE;
use crate::error::{Kind, ProviderError};
use crate::model::{Delta, Finish, ReasoningState, StateItem, Usage};
use crate::provider::http::{self, Endpoint, Framing, Tally, failure};

const MAX_CALLS: u32 = 256;
const MAX_STATE: usize = 768 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow, default)]
    candidates: Vec<Candidate<'a>>,
    #[serde(borrow, default)]
    prompt_feedback: Option<Feedback<'a>>,
    #[serde(default)]
    usage_metadata: Option<WireUsage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(default)]
    index: Option<u32>,
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Vec<Part<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(default)]
    thought: bool,
    #[serde(borrow, default)]
    thought_signature: Option<Text<'a>>,
    #[serde(default)]
    function_call: Option<FunctionCall>,
}

// `Option<Cow<str>>` alone would always copy.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct FunctionCall {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    args: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback<'a> {
    #[serde(borrow, default)]
    block_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireUsage {
    #[serde(default)]
    prompt_token_count: u64,
    #[serde(default)]
    tool_use_prompt_token_count: u64,
    #[serde(default)]
    candidates_token_count: u64,
    #[serde(default)]
    thoughts_token_count: u64,
    #[serde(default)]
    cached_content_token_count: u64,
    #[serde(default)]
    prompt_tokens_details: Vec<Modality>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Modality {
    #[serde(default)]
    modality: String,
    #[serde(default)]
    token_count: u64,
}

/// Reads the chunks of one answer.
#[derive(Clone)]
pub(crate) struct Reader {
    model: String,
    // Ids of ours are unique in the conversation: they count on from the calls before.
    calls_before: u32,
    calls: u32,
    state: Vec<StateItem>,
    state_bytes: usize,
    finish: Option<Finish>,
    tally: Tally,
}

impl Reader {
    /// A reader for an answer of this model, after so many tool calls.
    pub(super) fn new(model: &str, calls_before: u32) -> Self {
        let (model, tally) = (model.to_owned(), Tally::default());
        Self { model, calls_before, calls: 0, state: Vec::new(), state_bytes: 0, finish: None, tally }
    }

    fn part(&mut self, at: &Endpoint, part: Part<'_>, out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        let signature = part.thought_signature.map(|s| s.0).filter(|s| !s.is_empty());
        if let Some(signature) = signature {
            self.keep(&signature, part.function_call.is_some());
        }
        if let Some(text) = part.text.map(|t| t.0.into_owned()).filter(|t| !t.is_empty()) {
            self.tally.wrote(text.len());
            out.push_back(if part.thought { Delta::Reasoning(text) } else { Delta::Text(text) });
        }
        let Some(call) = part.function_call else { return Ok(()) };
        if call.name.is_empty() {
            return Err(at.error(Kind::Server, "called a tool without its name"));
        }
        if self.calls == MAX_CALLS {
            return Err(at.error(Kind::Server, "called more tools than any answer should"));
        }
        let index = self.calls;
        self.calls += 1;
        let arguments = call.args.filter(Value::is_object).map_or_else(|| "{}".to_owned(), |args| args.to_string());
        self.tally.wrote(call.name.len() + arguments.len());
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{}", self.calls_before + self.calls));
        out.push_back(Delta::ToolCall { index, id, name: call.name, arguments });
        Ok(())
    }

    fn keep(&mut self, signature: &str, of_call: bool) {
        self.state_bytes += signature.len();
        if self.state_bytes > MAX_STATE {
            // Callers could not hand it back, and a part of it is worth nothing.
            return self.state.clear();
        }
        let value = if of_call {
            json!({"call": self.calls, "thoughtSignature": signature})
        } else {
            json!({"thoughtSignature": signature})
        };
        self.state.push(StateItem { calls_before: self.calls, value });
    }

    fn finished(&mut self, at: &Endpoint, reason: &str) -> Result<(), ProviderError> {
        self.finish = Some(match reason {
            "STOP" => Finish::Stop,
            "MAX_TOKENS" => Finish::Length,
            "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY" => Finish::ContentFilter,
            "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" => {
                return Err(at.error(Kind::Server, "wrote a tool call that cannot be read"));
            }
            _ => Finish::Unknown,
        });
        Ok(())
    }
}

impl http::Reader for Reader {
    const FRAMING: Framing = Framing::Events;

    fn event(&mut self, at: &Endpoint, data: &[u8], out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        if data.trim_ascii().is_empty() {
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(|e| at.unreadable("a chunk of an answer", e))?;
        if let Some(error) = chunk.error.filter(|e| !e.is_null()) {
            return Err(failure::from_stream(at, &error));
        }
        if let Some(usage) = &chunk.usage_metadata {
            // Every chunk counts what there was so far.
            let last = chunk.candidates.iter().any(|c| c.finish_reason.is_some());
            let usage = Usage::of_gemini(usage);
            if last { self.tally.report(usage) } else { self.tally.report_early(usage, out) }
        }
        if let Some(reason) = chunk.prompt_feedback.and_then(|f| f.block_reason) {
            let reason = reason.to_ascii_lowercase().replace('_', " ");
            return Err(at.error(Kind::ContentRefused, format!("blocked the request: {reason}")));
        }
        // One answer was asked for; others would be mixed into it.
        for candidate in chunk.candidates.into_iter().filter(|c| c.index.unwrap_or(0) == 0) {
            for part in candidate.content.into_iter().flat_map(|c| c.parts) {
                self.part(at, part, out)?;
            }
            if let Some(reason) = candidate.finish_reason.filter(|r| r != "FINISH_REASON_UNSPECIFIED") {
                self.finished(at, &reason)?;
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        // Nothing says that nothing follows.
        false
    }

    fn end(&mut self, at: &Endpoint) -> Result<Delta, ProviderError> {
        let Some(finish) = self.finish else { return Err(at.broke_off()) };
        let finish = if finish == Finish::Stop && self.calls > 0 { Finish::ToolCalls } else { finish };
        let reasoning_state = ReasoningState::made_of(std::mem::take(&mut self.state), WIRE, &self.model);
        Ok(Delta::Completed { finish, usage: self.tally.total(), reasoning_state })
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl Usage {
    fn of_gemini(wire: &WireUsage) -> Self {
        let images = wire.prompt_tokens_details.iter().filter(|m| m.modality == "IMAGE").map(|m| m.token_count).sum();
        Self {
            input: wire.prompt_token_count + wire.tool_use_prompt_token_count,
            // Thoughts are counted apart from what is said.
            output: wire.candidates_token_count + wire.thoughts_token_count,
            cached_input: wire.cached_content_token_count,
            reasoning: wire.thoughts_token_count,
            images,
            ..Self::default()
        }
    }
}
