//! The record of a model's reasoning as OpenRouter streams it: pieces of a list, to be handed back whole.

use serde_json::{Map, Value};

use crate::model::{ReasoningState, StateItem};

/// The protocol's name in the record.
pub(super) const OPENROUTER: &str = "openrouter";
/// DeepSeek's: one item, the text.
pub(super) const DEEPSEEK: &str = "deepseek";
/// What grows from piece to piece.
const GROWING: [&str; 3] = ["text", "summary", "data"];
const MAX_BYTES: usize = 768 << 10;

/// The list so far.
#[derive(Clone, Default)]
pub(super) struct Details {
    items: Vec<StateItem>,
    bytes: usize,
}

impl Details {
    /// Adds a piece: to the item that it goes on with, or as a new one.
    pub(super) fn push(&mut self, piece: Map<String, Value>, calls_before: u32) {
        self.bytes += piece.values().filter_map(Value::as_str).map(str::len).sum::<usize>();
        if self.bytes > MAX_BYTES {
            // Callers could not hand it back, and a part of it is worth nothing.
            return self.items.clear();
        }
        if let Some(Value::Object(last)) = self.items.last_mut().map(|i| &mut i.value)
            && goes_on(last, &piece)
        {
            return merge(last, piece);
        }
        self.items.push(StateItem { calls_before, value: Value::Object(piece) });
    }

    /// The record, when there is one that callers can hand back.
    pub(super) fn into_state(self, model: &str) -> Option<Box<ReasoningState>> {
        ReasoningState::made_of(self.items, OPENROUTER, model)
    }
}

// Pieces of one item have its index and type; what is encrypted comes whole.
fn goes_on(last: &Map<String, Value>, piece: &Map<String, Value>) -> bool {
    let same = |key: &str| last.get(key) == piece.get(key);
    let encrypted = piece.get("type").and_then(Value::as_str) == Some("reasoning.encrypted");
    !encrypted && same("type") && same("index")
}

fn merge(last: &mut Map<String, Value>, piece: Map<String, Value>) {
    for (key, value) in piece {
        match (last.get_mut(&key), value) {
            (Some(Value::String(before)), Value::String(more)) if GROWING.contains(&key.as_str()) => before.push_str(&more),
            (_, Value::Null) => {}
            (_, value) => {
                last.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_become_items() {
        let mut details = Details::default();
        for piece in [
            json!({"type": "reasoning.text", "index": 0, "text": "a", "signature": null}),
            json!({"type": "reasoning.text", "index": 0, "text": "b"}),
            json!({"type": "reasoning.text", "index": 0, "signature": "s"}),
            json!({"type": "reasoning.encrypted", "index": 1, "data": "x"}),
        ] {
            let Value::Object(piece) = piece else { unreachable!() };
            details.push(piece, 0);
        }
        let values: Vec<_> = details.into_state("m").unwrap().items.into_iter().map(|i| i.value).collect();
        let expected = [
            json!({"type": "reasoning.text", "index": 0, "text": "ab", "signature": "s"}),
            json!({"type": "reasoning.encrypted", "index": 1, "data": "x"}),
        ];
        assert_eq!(values, expected);
    }
}
