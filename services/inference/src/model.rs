//! What a call of a model is made of, whoever provides it: prompts, deltas, completions, usage.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Kind;

mod budget;
mod cache;
mod key;
mod ledger;
mod privacy;
mod reasoning;

pub(crate) use budget::{Budget, Span, Spent, Standing, SubjectKind, THRESHOLDS, WindowKind, subject_key, subject_keys};
pub(crate) use cache::{CacheHit, CachePolicy, HitKind};
pub(crate) use key::{Face, ProviderKey, Sealed};
pub(crate) use ledger::{Call, Charge, Labels, Outcome, Payer, Purpose, Tried};
pub(crate) use privacy::{NameKind, Part, PartKind, PrivateName, Wishes, Withheld};
pub(crate) use reasoning::{Effort, ReasoningState, StateItem};

/// The separator between provider and model in a model's id.
pub(crate) const SEPARATOR: char = '/';

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Instructions of the program.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

/// A call of a tool by the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ToolCall {
    /// Unique in its message.
    pub(crate) id: String,
    /// The tool's name.
    pub(crate) name: String,
    /// The arguments as JSON text, as the model wrote them.
    pub(crate) arguments: String,
}

/// One message to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Who speaks.
    pub(crate) role: Role,
    /// What is said.
    pub(crate) text: String,
    /// The calls that an assistant's message made.
    pub(crate) tool_calls: Vec<ToolCall>,
    /// For a tool's message: the call that it answers.
    pub(crate) tool_call_id: String,
    /// What the person shows.
    pub(crate) images: Vec<Image>,
    /// For an assistant's message: the record of the reasoning that led to it.
    pub(crate) reasoning_state: Option<ReasoningState>,
}

impl Message {
    /// A message of words alone.
    pub(crate) fn new(role: Role, text: impl Into<String>) -> Self {
        let text = text.into();
        let (tool_calls, tool_call_id, images) = (Vec::new(), String::new(), Vec::new());
        Self { role, text, tool_calls, tool_call_id, images, reasoning_state: None }
    }
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The file's bytes.
    pub(crate) data: Bytes,
    /// What they are: `image/png` or the like.
    pub(crate) media_type: &'static str,
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tool {
    /// Its name.
    pub(crate) name: String,
    /// What it does.
    pub(crate) description: String,
    /// The JSON Schema of its arguments.
    pub(crate) parameters: serde_json::Value,
}

/// Whether the model must call tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// It must not.
    None,
    /// It must call at least one.
    Required,
}

/// The JSON that an answer shall be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonFormat {
    /// A name for the schema.
    pub(crate) name: String,
    /// The JSON Schema.
    pub(crate) schema: serde_json::Value,
    /// The schema is closed, so that a provider can promise it.
    pub(crate) strict: bool,
}

/// What to complete. `model` is the provider's own name of the model, without the provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// The provider's name of the model.
    pub(crate) model: String,
    /// The conversation so far.
    pub(crate) messages: Vec<Message>,
    /// The tools that the model may call.
    pub(crate) tools: Vec<Tool>,
    /// Whether it must.
    pub(crate) tool_choice: ToolChoice,
    /// The most tokens to write; 0: the model's own limit.
    pub(crate) max_output_tokens: u32,
    /// `None`: the provider's default.
    pub(crate) temperature: Option<f64>,
    /// How much to reason; `None`: the model's own default.
    pub(crate) effort: Option<Effort>,
    /// The JSON that the answer shall be; `None`: free text.
    pub(crate) json: Option<JsonFormat>,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finish {
    /// The provider did not say.
    #[default]
    Unknown,
    /// It was done.
    Stop,
    /// It reached a limit of tokens.
    Length,
    /// It wants the results of its tool calls.
    ToolCalls,
    /// The provider's content rules stopped it.
    ContentFilter,
    /// It declined; its text says so.
    Refusal,
    /// The provider paused a long answer.
    Paused,
}

/// What a call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    /// Tokens of the request.
    pub(crate) input: u64,
    /// Tokens of the answer, reasoning included.
    pub(crate) output: u64,
    /// The part of `input` that the provider had cached.
    pub(crate) cached_input: u64,
    /// The part of `input` that the provider wrote into its cache.
    pub(crate) cache_write: u64,
    /// The part of `input` that was images.
    pub(crate) images: u64,
    /// The part of `output` that was reasoning.
    pub(crate) reasoning: u64,
    /// What the provider says that the call cost, in micro-units of US dollars.
    pub(crate) cost_micros: Option<i64>,
    /// True when these are our own estimate.
    pub(crate) estimated: bool,
}

impl Usage {
    /// What two calls used together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            output: self.output + other.output,
            cached_input: self.cached_input + other.cached_input,
            cache_write: self.cache_write + other.cache_write,
            images: self.images + other.images,
            reasoning: self.reasoning + other.reasoning,
            cost_micros: match (self.cost_micros, other.cost_micros) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            },
            estimated: self.estimated || other.estimated,
        }
    }
}

/// One step of an answer. `Started` comes first, `Completed` last and once, unless the stream ends with an error.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Delta {
    /// The provider has accepted the call. Its client says so; callers get `Answering`.
    Started,
    /// The model of this id has accepted the call. First.
    Answering(Arc<str>),
    /// Another model goes on.
    Seam(Box<Seam>),
    /// More of the text.
    Text(String),
    /// More of the reasoning.
    Reasoning(String),
    /// More of a tool call.
    ToolCall {
        /// Which call of the answer, from 0, without gaps.
        index: u32,
        /// The call's id; only in its first delta.
        id: String,
        /// The tool's name; only in its first delta.
        name: String,
        /// More of the arguments' JSON text.
        arguments: String,
    },
    /// What the provider has counted so far: what is paid for when the answer does not come to its end. Each replaces the
    /// one before; not for the caller.
    Usage(Usage),
    /// What the call cost: just before the end, from whoever keeps the ledger.
    Charged(Charge),
    /// The end.
    Completed {
        /// Why the model stopped.
        finish: Finish,
        /// What it used.
        usage: Usage,
        /// What the model wants to see again with this answer.
        reasoning_state: Option<Box<ReasoningState>>,
    },
}

/// The place in an answer where another model goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seam {
    /// The id of the model that failed.
    pub(crate) failed: Arc<str>,
    /// The id of the one that goes on.
    pub(crate) model: Arc<str>,
    /// Why it failed.
    pub(crate) kind: Kind,
    /// The bytes of the answer's text before it.
    pub(crate) offset: u64,
}

/// What may happen when a model fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fallback {
    /// The ids of the models to try next, in order; empty: those of the settings.
    pub(crate) models: Vec<String>,
    /// One of them may go on in the middle of an answer.
    pub(crate) goes_on: bool,
    /// They are tried also when content rules refused the request.
    pub(crate) when_refused: bool,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Completion {
    /// The id of the model that answered, or that ended the answer.
    pub(crate) model: String,
    /// Where another model went on.
    pub(crate) seams: Vec<Seam>,
    /// The text.
    pub(crate) text: String,
    /// The reasoning, never part of `text`.
    pub(crate) reasoning: String,
    /// The tool calls, in order.
    pub(crate) tool_calls: Vec<ToolCall>,
    /// Why the model stopped.
    pub(crate) finish: Finish,
    /// What it used.
    pub(crate) usage: Usage,
    /// The record of its reasoning, when the provider wants it back.
    pub(crate) reasoning_state: Option<ReasoningState>,
    /// What it cost.
    pub(crate) charge: Charge,
}

impl Completion {
    /// Adds what came next in the stream.
    pub(crate) fn push(&mut self, delta: Delta) {
        match delta {
            Delta::Started => {}
            Delta::Answering(model) => model.as_ref().clone_into(&mut self.model),
            Delta::Seam(seam) => {
                seam.model.as_ref().clone_into(&mut self.model);
                self.seams.push(*seam);
            }
            Delta::Text(text) => self.text.push_str(&text),
            Delta::Reasoning(text) => self.reasoning.push_str(&text),
            Delta::ToolCall { index, id, name, arguments } => {
                let index = index as usize;
                if index == self.tool_calls.len() {
                    self.tool_calls.push(ToolCall { id, name, arguments });
                } else if let Some(call) = self.tool_calls.get_mut(index) {
                    call.arguments.push_str(&arguments);
                }
            }
            Delta::Usage(usage) => self.usage = usage,
            Delta::Charged(charge) => self.charge = charge,
            Delta::Completed { finish, usage, reasoning_state } => {
                (self.finish, self.usage) = (finish, usage);
                self.reasoning_state = reasoning_state.map(|s| *s);
            }
        }
    }
}

/// A model that can be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelInfo {
    /// The provider's name of the model.
    pub(crate) name: String,
    /// For people; empty: the name.
    pub(crate) display_name: String,
    /// Tokens of input and output together; 0 when not known.
    pub(crate) context_window: u64,
    /// True when it can call tools.
    pub(crate) tools: bool,
    /// True when it takes images.
    pub(crate) images: bool,
    /// True when it can reason first.
    pub(crate) reasoning: bool,
    /// True when its provider can hold it to a JSON schema.
    pub(crate) json: bool,
}

/// Splits `provider/model` at the first slash: the model's part may hold slashes itself.
pub(crate) fn split_model(id: &str) -> Option<(&str, &str)> {
    let (provider, model) = id.split_once(SEPARATOR)?;
    (!provider.is_empty() && !model.is_empty()).then_some((provider, model))
}

/// The tokens of a text, about: long words count as several pieces, every mark as one.
pub(crate) fn estimate_tokens(text: &str) -> u64 {
    let mut tokens = 0;
    let mut word = 0u64;
    for c in text.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => word += 1,
            c if c.is_alphanumeric() => word += 2,
            c => {
                tokens += word.div_ceil(6);
                word = 0;
                tokens += u64::from(!c.is_whitespace());
            }
        }
    }
    tokens + word.div_ceil(6)
}

/// What an image costs, about: providers charge by its size in pixels, some hundreds to some thousands.
pub(crate) const IMAGE_TOKENS: u64 = 1_000;

/// The tokens of a request, about.
pub(crate) fn estimate_request(request: &Request) -> u64 {
    let messages: u64 = request
        .messages
        .iter()
        .map(|m| {
            4 + estimate_tokens(&m.text)
                + IMAGE_TOKENS * m.images.len() as u64
                + m.tool_calls.iter().map(|c| 4 + estimate_tokens(&c.arguments)).sum::<u64>()
        })
        .sum();
    let tools: u64 =
        request.tools.iter().map(|t| 8 + estimate_tokens(&t.description) + estimate_tokens(&t.parameters.to_string())).sum();
    messages + tools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_part_may_hold_slashes() {
        assert_eq!(split_model("openrouter/meta-llama/llama-3"), Some(("openrouter", "meta-llama/llama-3")));
        assert_eq!(split_model("rules"), None);
        assert_eq!(split_model("/x"), None);
        assert_eq!(split_model("x/"), None);
    }

    #[test]
    fn estimates_grow_with_the_text() {
        assert_eq!(estimate_tokens(""), 0);
        assert_eq!(estimate_tokens("one two, three"), 4);
        assert_eq!(estimate_tokens("internationalization"), 4);
        assert!(estimate_tokens("日本語のテキスト") >= 2);
    }

    #[test]
    fn deltas_add_up_to_one_answer() {
        let call = |index, id: &str, name: &str, arguments: &str| Delta::ToolCall {
            index,
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
        };
        let deltas = vec![
            Delta::Started,
            Delta::Reasoning("hm".into()),
            Delta::Text("a".into()),
            call(0, "x", "f", "{"),
            call(1, "y", "g", "{}"),
            call(0, "", "", "}"),
            Delta::Text("b".into()),
            Delta::Completed { finish: Finish::ToolCalls, usage: Usage { input: 1, ..Usage::default() }, reasoning_state: None },
        ];
        let mut whole = Completion::default();
        deltas.into_iter().for_each(|delta| whole.push(delta));
        assert_eq!((whole.text.as_str(), whole.reasoning.as_str()), ("ab", "hm"));
        assert_eq!(whole.tool_calls.len(), 2);
        assert_eq!(whole.tool_calls[0].arguments, "{}");
        assert_eq!(whole.usage.input, 1);
    }
}
