//! The chunks of a streamed answer, read into deltas.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Kind, ProviderError};
use crate::model::{Delta, Finish, Usage};
use crate::provider::openai::failure;
use secrecy::SecretString;

const MAX_CALLS: usize = 256;

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
}

#[derive(Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

/// A tool call of the answer so far.
struct Call {
    provider_index: Option<u32>,
    id: String,
    // Announced once its name is known; what came before waits here.
    announced: bool,
    held: String,
}

/// Reads the chunks of one answer.
#[derive(Default)]
pub(super) struct Reader {
    calls: Vec<Call>,
    finish: Option<Finish>,
    usage: Option<Usage>,
    // Bytes of the answer, for an estimate when the provider reports nothing.
    written: usize,
    done: bool,
}

impl Reader {
    /// Reads one event's data; its deltas go to `out`.
    pub(super) fn event(
        &mut self,
        provider: &str,
        key: Option<&SecretString>,
        data: &[u8],
        out: &mut VecDeque<Delta>,
    ) -> Result<(), ProviderError> {
        if self.done || data.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        if data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk<'_> = match serde_json::from_slice(data) {
            Ok(chunk) => chunk,
            Err(error) => {
                let message = "sent something that is not a chunk of a chat completion";
                return Err(ProviderError::new(Kind::Server, provider, message).caused_by(error));
            }
        };
        if let Some(error) = chunk.error.filter(|e| !e.is_null()) {
            return Err(failure::from_stream(provider, key, &error));
        }
        if let Some(usage) = chunk.usage {
            self.usage = Usage::of(&usage).or(self.usage);
        }
        for choice in chunk.choices.into_iter().flatten() {
            // One answer was asked for; others would be mixed into it.
            if choice.index.unwrap_or(0) == 0 {
                self.choice(provider, choice, out)?;
            }
        }
        Ok(())
    }

    fn choice(&mut self, provider: &str, choice: Choice<'_>, out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        if let Some(delta) = choice.delta {
            // Some servers send the reasoning under both names.
            if let Some(text) = non_empty(delta.reasoning_content).or_else(|| non_empty(delta.reasoning)) {
                self.written += text.len();
                out.push_back(Delta::Reasoning(text));
            }
            for text in [delta.content, delta.refusal].into_iter().filter_map(non_empty) {
                self.written += text.len();
                out.push_back(Delta::Text(text));
            }
            for call in delta.tool_calls.into_iter().flatten() {
                self.call(provider, call, out)?;
            }
        }
        match choice.finish_reason.as_deref() {
            None | Some("") => {}
            Some("error") => return Err(ProviderError::new(Kind::Server, provider, "failed in the middle of its answer")),
            Some(reason) => self.finish = Some(finish_of(reason)),
        }
        Ok(())
    }

    fn call(&mut self, provider: &str, delta: CallDelta<'_>, out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        let (name, arguments) = match delta.function {
            Some(f) => (non_empty(f.name).unwrap_or_default(), f.arguments.map(|t| t.0.into_owned()).unwrap_or_default()),
            None => Default::default(),
        };
        let id = non_empty(delta.id).unwrap_or_default();
        let at = self.position(delta.index, &id, &name);
        if at == self.calls.len() {
            if at == MAX_CALLS {
                return Err(ProviderError::new(Kind::Server, provider, "called more tools than any answer should"));
            }
            let id = if id.is_empty() { format!("call_{at}") } else { id };
            self.calls.push(Call { provider_index: delta.index, id, announced: false, held: String::new() });
        }
        self.written += name.len() + arguments.len();
        let call = &mut self.calls[at];
        let index = at as u32;
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

    /// True once the provider has said that nothing follows.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The last delta, when the bytes have ended. `input` is our estimate of the request.
    pub(super) fn end(&mut self, provider: &str, input: u64) -> Result<Delta, ProviderError> {
        let Some(finish) = self.finish.or(self.done.then_some(Finish::Unknown)) else {
            return Err(ProviderError::new(Kind::Network, provider, "broke off in the middle of its answer"));
        };
        if self.calls.iter().any(|c| !c.announced) {
            return Err(ProviderError::new(Kind::Server, provider, "called a tool without its name"));
        }
        // A model that called tools and was done wants their results, whatever its server says.
        let finish = match finish {
            Finish::Stop | Finish::Unknown if !self.calls.is_empty() => Finish::ToolCalls,
            other => other,
        };
        let estimate = Usage { input, output: self.written.div_ceil(4) as u64, estimated: true, ..Usage::default() };
        Ok(Delta::Completed { finish, usage: self.usage.unwrap_or(estimate), reasoning_state: None })
    }
}

impl Usage {
    fn of(wire: &WireUsage) -> Option<Self> {
        if wire.prompt_tokens.is_none() && wire.completion_tokens.is_none() {
            return None;
        }
        Some(Self {
            input: wire.prompt_tokens.unwrap_or(0),
            output: wire.completion_tokens.unwrap_or(0),
            cached_input: wire.prompt_tokens_details.as_ref().and_then(|d| d.cached_tokens).unwrap_or(0),
            reasoning: wire.completion_tokens_details.as_ref().and_then(|d| d.reasoning_tokens).unwrap_or(0),
            ..Self::default()
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
