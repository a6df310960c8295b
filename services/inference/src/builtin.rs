//! `builtin/rules`: a small deterministic rule engine behind the same interface as any model. It sees only the prompt,
//! does what its rules cover, and says plainly what it is and what it cannot do.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream;
use serde_json::Value;

use crate::model::{Delta, Finish, ModelInfo, Request, Role, ToolChoice, Usage, estimate_request, estimate_tokens};
use crate::provider::{Deltas, Provider};

mod answer;
mod changes;
mod edit;
mod intent;
mod op;
mod plan;
mod project;
mod prompt;
mod resolve;
mod template;
#[cfg(test)]
mod tests;
mod wish;
mod words;
mod yaml;

/// The provider's name.
pub(crate) const PROVIDER: &str = "builtin";
/// Its only model.
pub(crate) const MODEL: &str = "rules";

const WORDS_PER_DELTA: usize = 3;

/// The rule engine as a provider.
pub(crate) struct Builtin {
    delay: Duration,
}

impl Builtin {
    /// `delay`: how long it waits before each delta.
    pub(crate) fn new(delay: Duration) -> Self {
        Self { delay }
    }
}

#[async_trait]
impl Provider for Builtin {
    fn stream(&self, request: &Request) -> Deltas {
        let (delay, request) = (self.delay, request.clone());
        let deltas = stream::once(async move { stream::iter(deltas(&request)) }).flatten();
        if delay.is_zero() {
            return deltas.map(Ok).boxed();
        }
        let slowly = move |delta| async move {
            tokio::time::sleep(delay).await;
            Ok(delta)
        };
        deltas.then(slowly).boxed()
    }

    async fn models(&self) -> Vec<ModelInfo> {
        let display_name = "Built-in rules (no language model)".to_owned();
        vec![ModelInfo { name: MODEL.to_owned(), display_name, context_window: 0, tools: true, ..ModelInfo::default() }]
    }
}

/// What the engine answers.
enum Reply {
    Text(String),
    Calls(Vec<(&'static str, Value)>),
}

fn reply(request: &Request) -> Reply {
    let offers = |name: &str| request.tool_choice != ToolChoice::None && request.tools.iter().any(|t| t.name == name);
    let users = || request.messages.iter().rev().filter(|m| m.role == Role::User).map(|m| m.text.as_str());
    let asked = users().next().unwrap_or_default();
    if offers("submit_plan") {
        // What comes after the request is about the answer to it.
        let asked = users().find(|t| prompt::section(t, "request").is_some()).unwrap_or(asked);
        return Reply::Calls(vec![("submit_plan", plan::arguments(asked))]);
    }
    if offers("classify_intent") {
        return Reply::Calls(vec![("classify_intent", intent::arguments(asked))]);
    }
    if offers("str_replace") && offers("done") {
        return match edit::turn(&request.messages) {
            edit::Turn::Calls(calls) => Reply::Calls(calls),
            edit::Turn::Refuse(why) => Reply::Text(format!("This step cannot be made: {why}. {}.", plan::CAN)),
        };
    }
    Reply::Text(answer::answer(&request.messages))
}

fn deltas(request: &Request) -> Vec<Delta> {
    let mut deltas = vec![Delta::Started];
    let (finish, output) = match reply(request) {
        Reply::Text(text) => {
            deltas.extend(pieces(&text).map(|piece| Delta::Text(piece.to_owned())));
            (Finish::Stop, estimate_tokens(&text))
        }
        Reply::Calls(calls) => {
            let mut output = 0;
            // Ids are unique in the conversation: a later turn counts on.
            let before = request.messages.iter().map(|m| m.tool_calls.len()).sum::<usize>();
            for (n, (name, arguments)) in calls.into_iter().enumerate() {
                let arguments = arguments.to_string();
                output += estimate_tokens(&arguments);
                deltas.push(Delta::ToolCall {
                    index: n as u32,
                    id: format!("call_{}", before + n + 1),
                    name: name.to_owned(),
                    arguments,
                });
            }
            (Finish::ToolCalls, output)
        }
    };
    let usage = Usage { input: estimate_request(request), output, estimated: true, ..Usage::default() };
    deltas.push(Delta::Completed { finish, usage, reasoning_state: None });
    deltas
}

/// A text in groups of a few words, with every blank and line end where it was.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut words = 0;
        let mut in_word = false;
        let end = rest.char_indices().find(|(_, c)| {
            if c.is_whitespace() {
                in_word = false;
            } else if !std::mem::replace(&mut in_word, true) {
                words += 1;
            }
            words > WORDS_PER_DELTA
        });
        let (piece, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
