//! The lines of a streamed answer, read into deltas. Tool calls come whole; the last line counts.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Kind, ProviderError};
use crate::model::{Delta, Finish, Usage};
use crate::provider::http::{self, Endpoint, Framing, Tally, failure};

const MAX_CALLS: u32 = 256;

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    message: Option<Said<'a>>,
    #[serde(default)]
    done: bool,
    #[serde(borrow, default)]
    done_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    prompt_eval_count: Option<u64>,
    #[serde(default)]
    eval_count: Option<u64>,
    // Nanoseconds.
    #[serde(default)]
    total_duration: Option<u64>,
    #[serde(default)]
    load_duration: Option<u64>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Text<'a>>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
}

// `Option<Cow<str>>` alone would always copy.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: Option<Value>,
}

/// Reads the lines of one answer.
#[derive(Clone)]
pub(crate) struct Reader {
    // Ids of ours are unique in the conversation: they count on from the calls before.
    calls_before: u32,
    calls: u32,
    finish: Option<Finish>,
    tally: Tally,
}

impl Reader {
    /// A reader for an answer after so many tool calls.
    pub(super) fn new(calls_before: u32) -> Self {
        Self { calls_before, calls: 0, finish: None, tally: Tally::default() }
    }

    fn call(&mut self, at: &Endpoint, call: Call, out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        let Function { name, arguments } = call.function;
        if name.is_empty() {
            return Err(at.error(Kind::Server, "called a tool without its name"));
        }
        if self.calls == MAX_CALLS {
            return Err(at.error(Kind::Server, "called more tools than any answer should"));
        }
        let index = self.calls;
        self.calls += 1;
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{}", self.calls_before + self.calls));
        let arguments = arguments.filter(Value::is_object).map_or_else(|| "{}".to_owned(), |a| a.to_string());
        self.tally.wrote(name.len() + arguments.len());
        out.push_back(Delta::ToolCall { index, id, name, arguments });
        Ok(())
    }

    fn of_known_prompt(&self, output: u64) -> Usage {
        let input = self.tally.expected_input();
        Usage { input, cached_input: input, output, estimated: true, ..Usage::default() }
    }

    fn said(&mut self, at: &Endpoint, said: Said<'_>, out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        let text = |text: Option<Text<'_>>| text.map(|t| t.0.into_owned()).filter(|t| !t.is_empty());
        if let Some(thinking) = text(said.thinking) {
            self.tally.wrote(thinking.len());
            out.push_back(Delta::Reasoning(thinking));
        }
        if let Some(content) = text(said.content) {
            self.tally.wrote(content.len());
            out.push_back(Delta::Text(content));
        }
        said.tool_calls.into_iter().flatten().try_for_each(|call| self.call(at, call, out))
    }
}

impl http::Reader for Reader {
    const FRAMING: Framing = Framing::Lines;

    fn event(&mut self, at: &Endpoint, data: &[u8], out: &mut VecDeque<Delta>) -> Result<(), ProviderError> {
        if self.finish.is_some() || data.trim_ascii().is_empty() {
            return Ok(());
        }
        let line: Line<'_> = serde_json::from_slice(data).map_err(|e| at.unreadable("a line of an answer", e))?;
        if let Some(error) = line.error.filter(|e| !e.is_null()) {
            return Err(failure::from_stream(at, &error));
        }
        if let Some(said) = line.message {
            self.said(at, said, out)?;
        }
        if line.done {
            if let Some(output) = line.eval_count {
                self.tally.report(match line.prompt_eval_count {
                    Some(input) => Usage { input, output, ..Usage::default() },
                    // A prompt that the server had evaluated already is not counted again.
                    None => self.of_known_prompt(output),
                });
            }
            let (total, load) = (line.total_duration.unwrap_or(0) / 1_000_000, line.load_duration.unwrap_or(0) / 1_000_000);
            tracing::debug!(provider = at.name, total_ms = total, load_ms = load, "the server has answered");
            self.finish = Some(match line.done_reason.as_deref() {
                None | Some("stop") => Finish::Stop,
                Some("length") => Finish::Length,
                _ => Finish::Unknown,
            });
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.finish.is_some()
    }

    fn end(&mut self, at: &Endpoint) -> Result<Delta, ProviderError> {
        let Some(finish) = self.finish else { return Err(at.broke_off()) };
        let finish = if finish == Finish::Stop && self.calls > 0 { Finish::ToolCalls } else { finish };
        Ok(Delta::Completed { finish, usage: self.tally.total(), reasoning_state: None })
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
