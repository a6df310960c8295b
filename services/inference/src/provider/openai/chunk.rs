//! The chunks of a streamed answer, read into deltas.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Accent;
use super::details::{DEEPSEEK, Details};
use crate::error::{Kind, ProviderError};
use crate::model::{Delta, Finish, ReasoningState, StateItem, Usage};
use crate::provider::http::{self, Endpoint, Framing, Tally, failure};

const MAX_CALLS: usize = 256;
const MAX_KEPT_REASONING: usize = 768 << 10;

// Borrowed from the event's bytes; a text is copied once, into its delta. `message` is for servers that answer at once
// although a stream was asked for.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Option<u32>,
    #[serde(borrow, default, alias = "message")]
    delta: Option<ChoiceDelta<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct ChoiceDelta<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    #[serde(borrow, default)]
    refusal: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning: Option<Text<'a>>,
    #[serde(default)]
    reasoning_details: Option<Vec<Map<String, Value>>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<CallDelta<'a>>>,
}

// `Option<Cow<str>>` alone would always copy.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct CallDelta<'a> {
    #[serde(default)]
    index: Option<u32>,
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    function: Option<FunctionDelta<'a>>,
}

#[derive(Deserialize)]
struct FunctionDelta<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    arguments: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
    // DeepSeek's name of what was cached.
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
    // OpenRouter's price, in dollars.
    #[serde(default)]
    cost: Option<f64>,
}

#[derive(Default, Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    cache_write_tokens: Option<u64>,
    #[serde(default)]
    image_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

/// A tool call of the answer so far.
#[derive(Clone)]
struct Call {
    provider_index: Option<u32>,
    id: String,
    // Announced once its name is known; what came before waits here.
    announced: bool,
    held: String,
}

/// Reads the chunks of one answer.
#[derive(Clone)]
pub(crate) struct Reader {
    accent: Accent,
    model: String,
    calls: Vec<Call>,
    finish: Option<Finish>,
    tally: Tally,
    details: Details,
    // The reasoning's text, for those who want it back.
    reasoning: String,
    refused: bool,
    done: bool,
}

impl Reader {
    /// A reader for an answer of this model.
    pub(super) fn new(accent: Accent, model: &str) -> Self {
        Self {
            accent,
            model: model.to_owned(),
            calls: Vec::new(),
            finish: None,
            tally: Tally::default(),
            details: Details::default(),
            reasoning: String::new(),
            refused: false,
            done: false,
        }
    }

    fn choice(&mut self, at: &Endpoint, choice: Choice<'_>, out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        if let Some(delta) = choice.delta {
            // Some servers send the reasoning under both names.
            if let Some(text) = non_empty(delta.reasoning_content).or_else(|| non_empty(delta.reasoning)) {
                self.tally.wrote(text.len());
                if self.accent == Accent::DeepSeek && self.reasoning.len() < MAX_KEPT_REASONING {
                    self.reasoning.push_str(&text);
                }
                out.push_back(Delta::Reasoning(text));
            }
            for piece in delta.reasoning_details.into_iter().flatten() {
                self.details.push(piece, self.calls.len() as u32);
            }
            if let Some(text) = non_empty(delta.content) {
                self.tally.wrote(text.len());
                out.push_back(Delta::Text(text));
            }
            if let Some(text) = non_empty(delta.refusal) {
                self.refused = true;
                self.tally.wrote(text.len());
                out.push_back(Delta::Text(text));
            }
            for call in delta.tool_calls.into_iter().flatten() {
                self.call(at, call, out)?;
            }
        }
        if let Some(error) = choice.error.filter(|e| !e.is_null()) {
            return Err(failure::from_stream(at, &error));
        }
        match choice.finish_reason.as_deref() {
            None | Some("") => {}
            Some("error") => return Err(at.error(Kind::Server, "failed in the middle of its answer")),
            Some(reason) => self.finish = Some(finish_of(reason)),
        }
        Ok(())
    }

    fn call(&mut self, at: &Endpoint, delta: CallDelta<'_>, out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        let (name, arguments) = match delta.function {
            Some(f) => (non_empty(f.name).unwrap_or_default(), f.arguments.map(|t| t.0.into_owned()).unwrap_or_default()),
            None => Default::default(),
        };
        let id = non_empty(delta.id).unwrap_or_default();
        let position = self.position(delta.index, &id, &name);
        if position == self.calls.len() {
            if position == MAX_CALLS {
                return Err(at.error(Kind::Server, "called more tools than any answer should"));
            }
            let id = if id.is_empty() { format!("call_{position}") } else { id };
            self.calls.push(Call { provider_index: delta.index, id, announced: false, held: String::new() });
        }
        self.tally.wrote(name.len() + arguments.len());
        let call = &mut self.calls[position];
        let index = position as u32;
        if call.announced {
            if !arguments.is_empty() {
                out.push_back(Delta::ToolCall { index, id: String::new(), name: String::new(), arguments });
            }
        } else if name.is_empty() {
            call.held.push_str(&arguments);
        } else {
            call.announced = true;
            let arguments = std::mem::take(&mut call.held) + &arguments;
            out.push_back(Delta::ToolCall { index, id: call.id.clone(), name, arguments });
        }
        Ok(())
    }

    /// Which call a delta belongs to. Some servers leave the index out, or send 0 for every call and a new id.
    fn position(&self, index: Option<u32>, id: &str, name: &str) -> usize {
        let same = |c: &Call| id.is_empty() || c.id == id || name.is_empty();
        let known = match index {
            Some(index) => self.calls.iter().rposition(|c| c.provider_index == Some(index)),
            None if !id.is_empty() => self.calls.iter().rposition(|c| c.id == id).or(self.calls.len().checked_sub(1)),
            None => self.calls.len().checked_sub(1),
        };
        known.filter(|&at| same(&self.calls[at])).unwrap_or(self.calls.len())
    }

    fn state(&mut self) -> Option<Box<ReasoningState>> {
        if self.accent == Accent::DeepSeek && !self.reasoning.is_empty() && self.reasoning.len() < MAX_KEPT_REASONING {
            let value = json!({"reasoning_content": std::mem::take(&mut self.reasoning)});
            let items = vec![StateItem { calls_before: 0, value }];
            return Some(Box::new(ReasoningState { wire: DEEPSEEK.to_owned(), model: self.model.clone(), items }));
        }
        std::mem::take(&mut self.details).into_state(&self.model)
    }
}

impl http::Reader for Reader {
    const FRAMING: Framing = Framing::Events;

    fn event(&mut self, at: &Endpoint, data: &[u8], out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        if self.done || data.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        if data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk<'_> = match serde_json::from_slice(data) {
            Ok(chunk) => chunk,
            Err(error) => return Err(at.unreadable("a chunk of a chat completion", error)),
        };
        if let Some(usage) = chunk.usage.as_ref().and_then(Usage::of) {
            // Usually it comes after the answer, sometimes with every chunk.
            if self.finish.is_some() { self.tally.report(usage) } else { self.tally.report_early(usage, out) }
        }
        if let Some(error) = chunk.error.filter(|e| !e.is_null()) {
            return Err(failure::from_stream(at, &error));
        }
        for choice in chunk.choices.into_iter().flatten() {
            // One answer was asked for; others would be mixed into it.
            if choice.index.unwrap_or(0) == 0 {
                self.choice(at, choice, out)?;
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn end(&mut self, at: &Endpoint) -> Result<Delta, ProviderError> {
        let Some(finish) = self.finish.or(self.done.then_some(Finish::Unknown)) else {
            return Err(at.broke_off());
        };
        if self.calls.iter().any(|c| !c.announced) {
            return Err(at.error(Kind::Server, "called a tool without its name"));
        }
        // A model that called tools and was done wants their results, whatever its server says.
        let finish = match finish {
            Finish::Stop | Finish::Unknown if !self.calls.is_empty() => Finish::ToolCalls,
            Finish::Stop if self.refused => Finish::Refusal,
            other => other,
        };
        Ok(Delta::Completed { finish, usage: self.tally.total(), reasoning_state: self.state() })
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl Usage {
    fn of(wire: &WireUsage) -> Option<Self> {
        if wire.prompt_tokens.is_none() && wire.completion_tokens.is_none() {
            return None;
        }
        let no_details = PromptDetails::default();
        let prompt = wire.prompt_tokens_details.as_ref().unwrap_or(&no_details);
        Some(Self {
            input: wire.prompt_tokens.unwrap_or(0),
            output: wire.completion_tokens.unwrap_or(0),
            cached_input: prompt.cached_tokens.or(wire.prompt_cache_hit_tokens).unwrap_or(0),
            cache_write: prompt.cache_write_tokens.unwrap_or(0),
            images: prompt.image_tokens.unwrap_or(0),
            reasoning: wire.completion_tokens_details.as_ref().and_then(|d| d.reasoning_tokens).unwrap_or(0),
            cost_micros: wire.cost.map(|dollars| (dollars * 1e6).round() as i64),
            estimated: false,
        })
    }
}

fn non_empty(text: Option<Text<'_>>) -> Option<String> {
    text.map(|t| t.0).filter(|t| !t.is_empty()).map(Cow::into_owned)
}

fn finish_of(reason: &str) -> Finish {
    match reason {
        "stop" | "end_turn" | "eos" => Finish::Stop,
        "length" | "max_tokens" => Finish::Length,
        "tool_calls" | "function_call" | "tool_use" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        _ => Finish::Unknown,
    }
}
