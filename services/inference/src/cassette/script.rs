//! A provider that plays what is written down: a script of answers in one file, or the recordings of a directory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream;
use serde::Deserialize;

use super::clean::Cleaner;
use super::recording::{Event, Timed};
use super::replay::{Player, play};
use crate::error::{Kind, ProviderError};
use crate::model::{Delta, Finish, ModelInfo, Request, Usage, estimate_request, estimate_tokens};
use crate::provider::{Deltas, Provider};

/// What such a provider's only model is called unless the settings say otherwise.
const MODEL: &str = "script";

/// A script cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the script {path} cannot be read: {message}")]
pub(crate) struct ScriptError {
    path: String,
    message: String,
}

/// Opens what `providers.<name>.script` names.
pub(crate) fn open(name: &str, path: &Path, models: &[String]) -> Result<Arc<dyn Provider>, ScriptError> {
    let failed = |message: String| ScriptError { path: path.display().to_string(), message };
    if path.is_dir() {
        return Ok(Arc::new(Player::new(name, path.to_owned(), Cleaner::default(), models.to_vec(), false)));
    }
    let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let script: Script = serde_path_to_error::deserialize(&mut reader).map_err(|e| failed(e.to_string()))?;
    if let Some(n) = script.answers.iter().position(|a| a.events.is_empty()) {
        return Err(failed(format!("answers[{n}].events is empty")));
    }
    let models = if models.is_empty() { vec![MODEL.to_owned()] } else { models.to_vec() };
    Ok(Arc::new(Scripted { name: name.to_owned(), path: path.to_owned(), models, answers: Mutex::new(script.answers) }))
}

/// A script: what is answered, in order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    answers: Vec<Answer>,
}

/// One answer. A call takes the first that fits and has not been given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    /// What must stand in the last message; empty: anything may.
    #[serde(default)]
    when: String,
    /// It is given each time, not once.
    #[serde(default)]
    again: bool,
    /// As in a recording. The start, the end and the usage are made up where they are missing.
    events: Vec<Timed>,
}

struct Scripted {
    name: String,
    path: PathBuf,
    models: Vec<String>,
    answers: Mutex<Vec<Answer>>,
}

impl Scripted {
    fn take(&self, last: &str) -> Option<Answer> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let at = answers.iter().position(|a| last.contains(&a.when))?;
        if answers[at].again { Some(answers[at].clone()) } else { Some(answers.remove(at)) }
    }
}

#[async_trait]
impl Provider for Scripted {
    fn stream(&self, request: &Request) -> Deltas {
        let last = request.messages.last().map(|m| m.text.as_str()).unwrap_or_default();
        let Some(answer) = self.take(last) else {
            let shown: String = last.chars().take(80).collect();
            let message = format!("the script {} has no answer left for {shown:?}", self.path.display());
            return stream::iter([Err(ProviderError::new(Kind::RecordingMissing, &self.name, message))]).boxed();
        };
        let start = (!matches!(answer.events[0].event, Event::Started | Event::Failed { .. })).then_some(Delta::Started);
        let end = ending(request, &answer.events);
        let played = play(self.name.clone(), answer.events, true);
        stream::iter(start.map(Ok)).chain(played).chain(stream::iter(end.map(Ok))).boxed()
    }

    async fn models(&self) -> Vec<ModelInfo> {
        let info = |name: &String| ModelInfo { name: name.clone(), tools: true, ..ModelInfo::default() };
        self.models.iter().map(info).collect()
    }
}

/// The end that a script leaves to us.
fn ending(request: &Request, events: &[Timed]) -> Option<Delta> {
    if events.last().is_some_and(|t| t.event.is_end()) {
        return None;
    }
    let (mut finish, mut output) = (Finish::Stop, 0);
    for timed in events {
        match &timed.event {
            Event::Text(text) | Event::Reasoning(text) => output += estimate_tokens(text),
            Event::ToolCall { arguments, .. } => {
                finish = Finish::ToolCalls;
                output += estimate_tokens(arguments);
            }
            _ => {}
        }
    }
    let usage = Usage { input: estimate_request(request), output, estimated: true, ..Usage::default() };
    Some(Delta::Completed { finish, usage, reasoning_state: None })
}
