//! Recorded traffic: one request to a provider and the response to it, as a text file that tests replay.
//!
//! The format is described in `docs/providers.md`. A recording holds no key: only headers that are known to be harmless are
//! kept, and the key is taken out of both bodies.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::error::ProviderError;
use crate::model::{Completion, Delta, Finish, Message, Request, Role, StateItem, Usage};
use crate::provider::{self, Deltas, Sent};
use crate::settings::Settings;

mod file;
#[cfg(test)]
mod tests;

pub use file::Recording;

/// Headers that may be written down, by name.
const HARMLESS: [&str; 21] = [
    "accept",
    "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-input-tokens-reset",
    "anthropic-ratelimit-output-tokens-remaining",
    "anthropic-ratelimit-output-tokens-reset",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
    "anthropic-version",
    "content-type",
    "host",
    "retry-after",
    "retry-after-ms",
    "user-agent",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-should-retry",
    "x-title",
];
const PATIENCE: Duration = Duration::from_secs(300);
const MAX_BODY: usize = 16 << 20;

/// A recording, and what is read from it, to stand beside it.
#[derive(Debug)]
pub struct Recorded {
    /// The traffic.
    pub recording: Recording,
    /// What the provider's adapter makes of it: indented JSON.
    pub expected: String,
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The settings are wrong.
    #[error("{0}")]
    Settings(String),
    /// There is no such provider.
    #[error("no provider is called \"{name}\"; configured and recordable: {known}")]
    Provider {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The provider cannot be reached.
    #[error(transparent)]
    Failed(#[from] ProviderError),
    /// The client cannot be made.
    #[error("the provider's client cannot be made")]
    Client(#[from] reqwest::Error),
    /// It took too long, or was too long.
    #[error("the answer is larger than 16 MiB, or takes longer than {PATIENCE:?}")]
    TooLong,
}

/// Asks a live provider and writes down what passes between.
pub async fn record(settings: &Settings, provider: &str, model: &str, prompt: &str) -> Result<Recorded, RecordError> {
    settings.check().map_err(RecordError::Settings)?;
    let in_force = settings.in_force(|name| std::env::var(name).ok());
    let known = || in_force.providers.keys().cloned().collect::<Vec<_>>().join(", ");
    let unknown = || RecordError::Provider { name: provider.to_owned(), known: known() };
    let theirs = in_force.providers.get(provider).ok_or_else(unknown)?;
    let opened = provider::open_http(provider, theirs)?.ok_or_else(unknown)?;
    let messages = vec![Message::new(Role::User, prompt)];
    let request = Request { model: model.to_owned(), messages, ..Request::default() };
    let Sent { url, headers, body, response } = opened.exchange(&request).await?;
    let status = response.status();
    let answered = response.headers().clone();
    let bytes = tokio::time::timeout(PATIENCE, read_all(response)).await.map_err(|_| RecordError::TooLong)?;
    let hide = |text: Vec<u8>| match &theirs.api_key {
        Some(key) => without(text, key.expose_secret().as_bytes()),
        None => text,
    };
    let query = url.query().map(|q| format!("?{q}")).unwrap_or_default();
    let mut request_headers = harmless(&headers);
    request_headers.insert(0, ("host".to_owned(), url.host_str().unwrap_or_default().to_owned()));
    let recording = Recording {
        target: format!("{}{query}", url.path()),
        request_headers,
        request_body: hide(body),
        status: status.as_u16(),
        headers: harmless(&answered),
        body: hide(bytes.ok_or(RecordError::TooLong)?),
    };
    let seen = observe(opened.read(&request, recording.response(recording.whole()))).await;
    let mut expected = json!({ "model": model });
    merge(&mut expected, seen.into_value());
    Ok(Recorded { recording, expected: format!("{expected:#}\n") })
}

async fn read_all(response: reqwest::Response) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunks = response.bytes_stream();
    // What breaks off is worth a recording too.
    while let Some(Ok(chunk)) = chunks.next().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_BODY {
            return None;
        }
    }
    Some(bytes)
}

fn harmless(headers: &reqwest::header::HeaderMap) -> Vec<(String, String)> {
    let kept = headers.iter().filter(|(name, _)| HARMLESS.contains(&name.as_str()));
    kept.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).collect()
}

fn without(text: Vec<u8>, key: &[u8]) -> Vec<u8> {
    let mut rest = text.as_slice();
    let mut clean = Vec::with_capacity(text.len());
    while let Some(at) = rest.windows(key.len().max(1)).position(|w| w == key) {
        clean.extend_from_slice(&rest[..at]);
        clean.extend_from_slice(b"***");
        rest = &rest[at + key.len()..];
    }
    clean.extend_from_slice(rest);
    clean
}

/// What was read of an answer.
struct Seen {
    whole: Completion,
    started: bool,
    completed: bool,
    deltas: usize,
    error: Option<ProviderError>,
}

/// Reads an answer to its end.
async fn observe(mut deltas: Deltas) -> Seen {
    let mut seen = Seen { whole: Completion::default(), started: false, completed: false, deltas: 0, error: None };
    while let Some(delta) = deltas.next().await {
        seen.deltas += 1;
        match delta {
            Ok(delta) => {
                seen.started |= delta == Delta::Started;
                seen.completed |= matches!(delta, Delta::Completed { .. });
                seen.whole.push(delta);
            }
            Err(error) => seen.error = Some(error),
        }
    }
    seen
}

impl Seen {
    /// As it stands beside a recording: what is empty is left out.
    fn into_value(self) -> Value {
        let mut value = BTreeMap::new();
        let whole = self.whole;
        if !whole.text.is_empty() {
            value.insert("text", json!(whole.text));
        }
        if !whole.reasoning.is_empty() {
            value.insert("reasoning", json!(whole.reasoning));
        }
        let calls: Vec<_> =
            whole.tool_calls.iter().map(|c| json!({"id": c.id, "name": c.name, "arguments": c.arguments})).collect();
        if !calls.is_empty() {
            value.insert("tool_calls", json!(calls));
        }
        if let Some(state) = whole.reasoning_state {
            let item = |i: StateItem| json!({"calls_before": i.calls_before, "value": i.value});
            value.insert("reasoning_state", state.items.into_iter().map(item).collect());
        }
        if self.completed {
            value.insert("finish", json!(finish(whole.finish)));
            value.insert("usage", usage(&whole.usage));
        }
        if let Some(error) = self.error {
            let mut told = json!({"kind": format!("{:?}", error.kind), "message": error.message});
            if let Some(wait) = error.retry_after {
                merge(&mut told, json!({"retry_after_ms": wait.as_millis() as u64}));
            }
            let size = error.size.map(|s| *s).unwrap_or_default();
            for (name, tokens) in [("limit_tokens", size.limit), ("prompt_tokens", size.sent)] {
                if let Some(tokens) = tokens {
                    merge(&mut told, json!({ name: tokens }));
                }
            }
            if let Some(used) = error.usage {
                merge(&mut told, json!({"usage": usage(&used)}));
            }
            value.insert("error", told);
        }
        json!(value)
    }
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Unknown => "unknown",
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
        Finish::Refusal => "refusal",
        Finish::Paused => "paused",
    }
}

fn usage(usage: &Usage) -> Value {
    let mut value = json!({"input": usage.input, "output": usage.output});
    let parts = [
        ("cached_input", usage.cached_input),
        ("cache_write", usage.cache_write),
        ("images", usage.images),
        ("reasoning", usage.reasoning),
    ];
    for (name, tokens) in parts.into_iter().filter(|(_, tokens)| *tokens > 0) {
        merge(&mut value, json!({ name: tokens }));
    }
    if let Some(micros) = usage.cost_micros {
        merge(&mut value, json!({"cost_micros": micros}));
    }
    if usage.estimated {
        merge(&mut value, json!({"estimated": true}));
    }
    value
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}
