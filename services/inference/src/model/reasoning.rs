//! How much a model shall reason, and the record of its reasoning that some providers want back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How much to reason before answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    /// Not at all.
    None,
    /// As little as can be.
    Minimal,
    /// A little.
    Low,
    /// For usual questions.
    Medium,
    /// As much as it takes.
    High,
}

impl Effort {
    /// The word that most providers use for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// What a model wrote down of its reasoning, signed or encrypted by its provider, to be shown to it again with the answer
/// that it led to. Only the protocol and the model that it came from can read it; for all others it is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasoningState {
    /// The protocol.
    #[serde(rename = "w")]
    pub(crate) wire: String,
    /// The provider's name of the model.
    #[serde(rename = "m")]
    pub(crate) model: String,
    /// The pieces, in order.
    #[serde(rename = "i")]
    pub(crate) items: Vec<StateItem>,
}

/// A piece of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateItem {
    /// How many tool calls the answer had made before it.
    #[serde(rename = "c")]
    pub(crate) calls_before: u32,
    /// The piece as the provider sent it.
    #[serde(rename = "v")]
    pub(crate) value: Value,
}

impl ReasoningState {
    /// The record that these pieces make; `None` when there are none.
    pub(crate) fn made_of(items: Vec<StateItem>, wire: &str, model: &str) -> Option<Box<Self>> {
        (!items.is_empty()).then(|| Box::new(Self { wire: wire.to_owned(), model: model.to_owned(), items }))
    }

    /// Reads what `to_bytes` wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// As callers keep it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The pieces, when they are this protocol's and this model's.
    pub(crate) fn items_for(&self, wire: &str, model: &str) -> &[StateItem] {
        if self.wire == wire && self.model == model { &self.items } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_read_again_by_whom_it_is_from() {
        let items = vec![StateItem { calls_before: 1, value: json!({"signature": "c2ln"}) }];
        let state = ReasoningState { wire: "anthropic".into(), model: "m".into(), items };
        let back = ReasoningState::from_bytes(&state.to_bytes()).unwrap();
        assert_eq!(back, state);
        assert_eq!(back.items_for("anthropic", "m").len(), 1);
        assert!(back.items_for("anthropic", "other").is_empty() && back.items_for("gemini", "m").is_empty());
        assert!(ReasoningState::from_bytes(b"{}").is_none() && ReasoningState::from_bytes(b"\xff").is_none());
    }
}
