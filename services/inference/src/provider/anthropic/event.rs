//! The events of a streamed message, read into deltas.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::WIRE;
use crate::error::{Kind, ProviderError};
use crate::model::{Delta, Finish, ReasoningState, StateItem, Usage};
use crate::provider::http::{self, Endpoint, Framing, Tally, failure};

const MAX_BLOCKS: usize = 512;
const MAX_STATE: usize = 768 << 10;

// All kinds of events in one, so that texts can be borrowed from the event's bytes.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    message: Option<Started>,
    #[serde(default)]
    content_block: Option<Block>,
    #[serde(borrow, default)]
    delta: Option<BlockDelta<'a>>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    error: Option<Value>,
    // A whole message, from servers that do not stream.
    #[serde(default)]
    content: Option<Vec<Block>>,
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Started {
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct BlockDelta<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Text<'a>>,
    #[serde(borrow, default)]
    partial_json: Option<Text<'a>>,
    #[serde(borrow, default)]
    signature: Option<Text<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<Text<'a>>,
}

// `Option<Cow<str>>` alone would always copy.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Clone, Copy, Deserialize)]
struct WireUsage {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
}

/// A block of the answer that is open.
#[derive(Clone)]
enum Open {
    /// Text, or something that is nothing to us.
    Other,
    Thinking {
        text: String,
        signature: String,
    },
    Redacted {
        data: String,
    },
    Tool {
        index: u32,
        input: Value,
        written: bool,
    },
    /// The tool that stands for a form: its arguments are the answer's text.
    Form {
        input: Value,
        written: bool,
    },
}

/// Reads the events of one answer.
#[derive(Clone)]
pub(crate) struct Reader {
    model: String,
    // The name of the tool that stands for the form.
    form: Option<String>,
    open: Vec<(u32, Open)>,
    calls: u32,
    blocks: usize,
    state: Vec<StateItem>,
    state_bytes: usize,
    counted: WireUsage,
    finish: Option<Finish>,
    tally: Tally,
    done: bool,
}

impl Reader {
    /// A reader for an answer of this model; `form`: the tool whose arguments are the answer.
    pub(super) fn new(model: &str, form: Option<String>) -> Self {
        let counted = WireUsage {
            input_tokens: None,
            cache_creation_input_tokens: None,
            cache_read_input_tokens: None,
            output_tokens: None,
        };
        Self {
            model: model.to_owned(),
            form,
            open: Vec::new(),
            calls: 0,
            blocks: 0,
            state: Vec::new(),
            state_bytes: 0,
            counted,
            finish: None,
            tally: Tally::default(),
            done: false,
        }
    }

    // Counts are totals; what an event leaves out stays as it was.
    fn count(&mut self, usage: WireUsage) -> Option<Usage> {
        let had = self.counted;
        self.counted = WireUsage {
            input_tokens: usage.input_tokens.or(had.input_tokens),
            cache_creation_input_tokens: usage.cache_creation_input_tokens.or(had.cache_creation_input_tokens),
            cache_read_input_tokens: usage.cache_read_input_tokens.or(had.cache_read_input_tokens),
            output_tokens: usage.output_tokens.or(had.output_tokens),
        };
        let now = self.counted;
        let (written, read) = (now.cache_creation_input_tokens.unwrap_or(0), now.cache_read_input_tokens.unwrap_or(0));
        // What went through the cache is counted apart from the rest.
        let usage = Usage {
            input: now.input_tokens? + written + read,
            output: now.output_tokens.unwrap_or(0),
            cached_input: read,
            cache_write: written,
            ..Usage::default()
        };
        Some(usage)
    }

    fn start(&mut self, at: &Endpoint, index: u32, block: Block, out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        self.blocks += 1;
        if self.blocks > MAX_BLOCKS {
            return Err(at.error(Kind::Server, "answered in more blocks than any answer should have"));
        }
        let Block { kind, mut rest } = block;
        let mut take = |key: &str| match rest.remove(key) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let open = match kind.as_str() {
            "text" => {
                self.text(take("text"), out);
                Open::Other
            }
            "thinking" => {
                let (text, signature) = (take("thinking"), take("signature"));
                self.reasoning(&text, out);
                Open::Thinking { text, signature }
            }
            "redacted_thinking" => Open::Redacted { data: take("data") },
            "tool_use" => {
                let (id, name) = (take("id"), take("name"));
                if name.is_empty() {
                    return Err(at.error(Kind::Server, "called a tool without its name"));
                }
                let input = rest.remove("input").unwrap_or_default();
                self.tally.wrote(name.len());
                if self.form.as_ref() == Some(&name) {
                    Open::Form { input, written: false }
                } else {
                    let index = self.calls;
                    self.calls += 1;
                    let id = if id.is_empty() { format!("call_{index}") } else { id };
                    out.push_back(Delta::ToolCall { index, id, name, arguments: String::new() });
                    Open::Tool { index, input, written: false }
                }
            }
            _ => Open::Other,
        };
        self.open.push((index, open));
        Ok(())
    }

    fn text(&mut self, text: String, out: &mut VecDeque<Delta>) {
        if !text.is_empty() {
            self.tally.wrote(text.len());
            out.push_back(Delta::Text(text));
        }
    }

    fn reasoning(&mut self, text: &str, out: &mut VecDeque<Delta>) {
        if !text.is_empty() {
            self.tally.wrote(text.len());
            out.push_back(Delta::Reasoning(text.to_owned()));
        }
    }

    fn delta(&mut self, index: u32, delta: BlockDelta<'_>, out: &mut VecDeque<Delta>) {
        if let Some(text) = non_empty(delta.text) {
            self.text(text.into_owned(), out);
        }
        let thinking = non_empty(delta.thinking);
        if let Some(thinking) = &thinking {
            self.reasoning(thinking, out);
        }
        let Some((_, open)) = self.open.iter_mut().rev().find(|(i, _)| *i == index) else { return };
        match open {
            Open::Thinking { text, signature } => {
                // What is too long for callers to hand back is not kept any further.
                if text.len() + signature.len() <= MAX_STATE {
                    text.push_str(thinking.as_deref().unwrap_or_default());
                    signature.push_str(non_empty(delta.signature).as_deref().unwrap_or_default());
                }
            }
            Open::Tool { index, written, .. } => {
                if let Some(arguments) = non_empty(delta.partial_json) {
                    *written = true;
                    self.tally.wrote(arguments.len());
                    let arguments = arguments.into_owned();
                    out.push_back(Delta::ToolCall { index: *index, id: String::new(), name: String::new(), arguments });
                }
            }
            Open::Form { written, .. } => {
                if let Some(json) = non_empty(delta.partial_json) {
                    *written = true;
                    self.text(json.into_owned(), out);
                }
            }
            Open::Other | Open::Redacted { .. } => {}
        }
    }

    fn stop(&mut self, index: u32, out: &mut VecDeque<Delta>) {
        let Some(position) = self.open.iter().rposition(|(i, _)| *i == index) else { return };
        match self.open.remove(position).1 {
            Open::Other => {}
            Open::Thinking { text, signature } => {
                // Without its signature nobody takes it back.
                if !signature.is_empty() {
                    self.keep(
                        json!({"type": "thinking", "thinking": text, "signature": signature}),
                        text.len() + signature.len(),
                    );
                }
            }
            Open::Redacted { data } => {
                let bytes = data.len();
                self.keep(json!({"type": "redacted_thinking", "data": data}), bytes);
            }
            // A call without arguments comes without a delta.
            Open::Tool { written: true, .. } | Open::Form { written: true, .. } => {}
            Open::Tool { index, input, .. } => {
                let arguments = object(input);
                self.tally.wrote(arguments.len());
                out.push_back(Delta::ToolCall { index, id: String::new(), name: String::new(), arguments });
            }
            Open::Form { input, .. } => self.text(object(input), out),
        }
    }

    fn keep(&mut self, value: Value, bytes: usize) {
        self.state_bytes += bytes;
        if self.state_bytes > MAX_STATE {
            // Callers could not hand it back, and a part of it is worth nothing.
            return self.state.clear();
        }
        self.state.push(StateItem { calls_before: self.calls, value });
    }

    fn whole(&mut self, at: &Endpoint, event: Event<'_>, out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        for (index, block) in event.content.into_iter().flatten().enumerate() {
            self.start(at, index as u32, block, out)?;
            self.stop(index as u32, out);
        }
        self.finish = event.stop_reason.as_deref().map(finish_of);
        if let Some(usage) = event.usage.and_then(|u| self.count(u)) {
            self.tally.report(usage);
        }
        self.done = true;
        Ok(())
    }
}

impl http::Reader for Reader {
    const FRAMING: Framing = Framing::Events;

    fn event(&mut self, at: &Endpoint, data: &[u8], out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        if self.done || data.trim_ascii().is_empty() {
            return Ok(());
        }
        let event: Event<'_> = serde_json::from_slice(data).map_err(|e| at.unreadable("an event of a message", e))?;
        let index = event.index.unwrap_or(0);
        match event.kind.as_ref() {
            "content_block_delta" => {
                if let Some(delta) = event.delta {
                    self.delta(index, delta, out);
                }
            }
            "content_block_start" => {
                if let Some(block) = event.content_block {
                    self.start(at, index, block, out)?;
                }
            }
            "content_block_stop" => self.stop(index, out),
            "message_start" => {
                if let Some(usage) = event.message.and_then(|m| m.usage).and_then(|u| self.count(u)) {
                    self.tally.report_early(usage, out);
                }
            }
            "message_delta" => {
                if let Some(reason) = event.delta.and_then(|d| d.stop_reason) {
                    self.finish = Some(finish_of(&reason.0));
                }
                if let Some(usage) = event.usage.and_then(|u| self.count(u)) {
                    self.tally.report(usage);
                }
            }
            "message_stop" => self.done = true,
            "message" => self.whole(at, event, out)?,
            "error" => return Err(failure::from_stream(at, &event.error.unwrap_or_default())),
            // `ping`, and what is yet to be invented.
            _ => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn end(&mut self, at: &Endpoint) -> Result<Delta, ProviderError> {
        let Some(finish) = self.finish.or(self.done.then_some(Finish::Unknown)) else { return Err(at.broke_off()) };
        let finish = match finish {
            // The only tool that was called is the form: the answer is there.
            Finish::ToolCalls if self.calls == 0 => Finish::Stop,
            other => other,
        };
        let reasoning_state = ReasoningState::made_of(std::mem::take(&mut self.state), WIRE, &self.model);
        Ok(Delta::Completed { finish, usage: self.tally.total(), reasoning_state })
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

fn non_empty(text: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    text.map(|t| t.0).filter(|t| !t.is_empty())
}

fn object(input: Value) -> String {
    if input.is_object() { input.to_string() } else { "{}".to_owned() }
}

fn finish_of(reason: &str) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::ContentFilter,
        "pause_turn" => Finish::Paused,
        _ => Finish::Unknown,
    }
}
