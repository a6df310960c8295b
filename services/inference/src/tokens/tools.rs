//! What models read of the tools that they are given. OpenAI's models see them as declarations of functions, not as the JSON
//! that is sent; the constants are those of OpenAI's cookbook ("How to count tokens with tiktoken"), which hold within a few
//! tokens for each tool.

use serde_json::Value;

use super::Vocabulary;
use crate::model::Tool;

/// What Anthropic says of tool use before any tool is named (its documentation of the pricing of tool use).
pub(super) const CLAUDE_PREFACE: u64 = 346;

const PROPERTIES: u64 = 3;
const PROPERTY: u64 = 3;
const CHOICE: u64 = 3;
const CHOICES_SAVE: u64 = 3;
const END: u64 = 12;

/// The tokens of tools as declarations.
pub(super) fn declared(vocabulary: Vocabulary, tools: &[Tool]) -> u64 {
    let head = match vocabulary {
        Vocabulary::O200k => 7,
        Vocabulary::Cl100k => 10,
    };
    let one = |tool: &Tool| {
        let title = format!("{}:{}", tool.name, tool.description.trim_end_matches('.'));
        head + vocabulary.count(&title).0 + properties(vocabulary, &tool.parameters)
    };
    END + tools.iter().map(one).sum::<u64>()
}

/// The properties of an object, and of the objects within.
fn properties(vocabulary: Vocabulary, schema: &Value) -> u64 {
    let Some(all) = schema.get("properties").and_then(Value::as_object).filter(|all| !all.is_empty()) else { return 0 };
    PROPERTIES + all.iter().map(|(name, of)| property(vocabulary, name, of)).sum::<u64>()
}

fn property(vocabulary: Vocabulary, name: &str, of: &Value) -> u64 {
    let text = |key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default();
    let line = format!("{name}:{}:{}", text("type"), text("description").trim_end_matches('.'));
    let choice = |value: &Value| CHOICE + vocabulary.count(value.as_str().unwrap_or(&value.to_string())).0;
    let choices = of.get("enum").and_then(Value::as_array).map_or(0, |all| all.iter().map(choice).sum::<u64>());
    let inner = properties(vocabulary, of) + of.get("items").map_or(0, |items| properties(vocabulary, items));
    PROPERTY + vocabulary.count(&line).0 + choices.saturating_sub(CHOICES_SAVE) + inner
}
