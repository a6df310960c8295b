//! What a recording is: one readable JSON file for one call.
//!
//! Secrets are taken out of everything that is written, and out of every request before its name is made, so that what was
//! recorded is found again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::clean::Cleaner;
use crate::canonical::canonical;
use crate::error::{Kind, ProviderError};
use crate::model::{Delta, Finish, ReasoningState, Request, Usage};

/// The version of the format.
pub(super) const FORMAT: u32 = 1;

/// A call and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recording {
    /// The version of this format.
    pub(super) format: u32,
    /// When it was made, in RFC 3339.
    pub(super) recorded: String,
    /// The name of the provider that answered.
    pub(super) provider: String,
    /// What was asked, as `canonical` writes it.
    pub(super) request: Value,
    /// What came back, in order.
    pub(super) events: Vec<Timed>,
}

/// Something that came back, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Timed {
    /// Milliseconds since the request was sent.
    #[serde(default)]
    pub(super) at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub(super) event: Event,
}

/// One step of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// The provider has accepted the call.
    Started,
    /// More of the text.
    Text(String),
    /// More of the reasoning.
    Reasoning(String),
    /// More of a tool call.
    ToolCall {
        /// Which call of the answer, from 0.
        #[serde(default)]
        index: u32,
        /// Its id, in its first delta.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        id: String,
        /// The tool's name, in its first delta.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        name: String,
        /// More of the arguments' JSON text.
        #[serde(default)]
        arguments: String,
    },
    /// What the provider has counted so far.
    Usage(Usage),
    /// The end of an answer.
    Completed {
        /// Why the model stopped.
        finish: Finish,
        /// What it used.
        #[serde(default)]
        usage: Usage,
        /// What the model wants to see again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reasoning_state: Option<Box<ReasoningState>>,
    },
    /// The end of a call that failed.
    Failed {
        /// What kind of failure.
        kind: Kind,
        /// What happened.
        message: String,
        /// When the provider said to try again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
}

impl Event {
    /// What a delta is in a recording; `None` for what the provider does not say: recordings are made below the ledger.
    pub(super) fn of(delta: &Delta) -> Option<Self> {
        Some(match delta {
            Delta::Started | Delta::Answering(_) | Delta::Seam(_) => Self::Started,
            Delta::Text(text) => Self::Text(text.clone()),
            Delta::Reasoning(text) => Self::Reasoning(text.clone()),
            Delta::ToolCall { index, id, name, arguments } => {
                Self::ToolCall { index: *index, id: id.clone(), name: name.clone(), arguments: arguments.clone() }
            }
            Delta::Usage(usage) => Self::Usage(*usage),
            Delta::Completed { finish, usage, reasoning_state } => {
                Self::Completed { finish: *finish, usage: *usage, reasoning_state: reasoning_state.clone() }
            }
            Delta::Charged(_) => return None,
        })
    }

    /// What a failure is in a recording.
    pub(super) fn failed(error: &ProviderError) -> Self {
        let retry_after_ms = error.retry_after.map(|d| d.as_millis() as u64);
        Self::Failed { kind: error.kind, message: error.message.clone(), retry_after_ms }
    }

    /// The delta or the failure again.
    pub(super) fn play(self, provider: &str) -> Result<Delta, ProviderError> {
        Ok(match self {
            Self::Started => Delta::Started,
            Self::Text(text) => Delta::Text(text),
            Self::Reasoning(text) => Delta::Reasoning(text),
            Self::ToolCall { index, id, name, arguments } => Delta::ToolCall { index, id, name, arguments },
            Self::Usage(usage) => Delta::Usage(usage),
            Self::Completed { finish, usage, reasoning_state } => Delta::Completed { finish, usage, reasoning_state },
            Self::Failed { kind, message, retry_after_ms } => {
                let mut error = ProviderError::new(kind, provider, message);
                error.retry_after = retry_after_ms.map(Duration::from_millis);
                return Err(error);
            }
        })
    }

    /// True for the last of a call.
    pub(super) fn is_end(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Failed { .. })
    }
}

impl Recording {
    /// True when the call ended well.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.events.last().map(|t| &t.event), Some(Event::Completed { .. }))
    }
}

/// A request as recordings know it.
pub(super) struct Asked {
    /// What was asked, without secrets.
    pub(super) request: Value,
    /// The file's name for it.
    pub(super) file: String,
}

impl Asked {
    pub(super) fn new(request: &Request, cleaner: &Cleaner) -> Self {
        let request = cleaner.value(canonical(request));
        let digest = Sha256::new().chain_update(FORMAT.to_be_bytes()).chain_update(request.to_string()).finalize();
        let file = format!("{}.json", hex::encode(&digest[..12]));
        Self { request, file }
    }
}
