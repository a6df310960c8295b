//! What a provider says of a request that is too long: how much the model reads, and how much it was sent.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::error::Size;

// The first that is found counts. OpenAI and those that speak like it (vLLM, DeepSeek, OpenRouter, xAI), Anthropic, Gemini,
// Mistral, llama.cpp, Cohere.
const LIMIT: [&str; 8] = [
    r"maximum (?:context|prompt) length is (\d+)",
    r"configured limit of (\d+) tokens",
    r"tokens > (\d+) maximum",
    r"exceed context limit: \d+ \+ \d+ > (\d+)",
    r"maximum number of tokens allowed \(?(\d+)",
    r"context size \((\d+) tokens\)",
    r"(\d+) maximum context length",
    r"cannot exceed (\d+) ",
];
const SENT: [&str; 9] = [
    r"\((\d+) (?:in the messages|of text input|in the prompt)",
    r"request has (\d+) input tokens",
    r"(?:resulted in|you requested(?: about)?|request contains) (\d+) tokens",
    r"too long: (\d+) tokens",
    r"exceed context limit: (\d+) \+",
    r"input token count \(?(\d+)",
    r"the request \((\d+) tokens\)",
    r"prompt contains (\d+) tokens",
    r"received (\d+)",
];

/// Reads both, as far as they are there: out of fields where the provider has such, else out of its words.
pub(super) fn of(error: Option<&Value>, message: &str) -> Size {
    let field = |name: &str| error.and_then(|error| error.get(name)).and_then(Value::as_u64);
    let message = message.to_ascii_lowercase();
    let said = |patterns: &[Regex]| patterns.iter().find_map(|p| p.captures(&message)?.get(1)?.as_str().parse().ok());
    Size { limit: field("n_ctx").or_else(|| said(&PATTERNS.0)), sent: field("n_prompt_tokens").or_else(|| said(&PATTERNS.1)) }
}

static PATTERNS: LazyLock<(Vec<Regex>, Vec<Regex>)> = LazyLock::new(|| {
    let all = |patterns: &[&str]| patterns.iter().filter_map(|p| Regex::new(p).ok()).collect();
    (all(&LIMIT), all(&SENT))
});

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_pattern_can_be_read() {
        assert_eq!((PATTERNS.0.len(), PATTERNS.1.len()), (LIMIT.len(), SENT.len()));
    }

    #[test]
    fn sizes_are_read_out_of_what_providers_say() {
        for (said, limit, sent) in [
            (
                "This model's maximum context length is 128000 tokens. However, your messages resulted in 130012 tokens.",
                Some(128_000),
                Some(130_012),
            ),
            (
                "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300001 tokens.",
                Some(272_000),
                Some(300_001),
            ),
            (
                "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the messages, 1000 in the completion).",
                Some(4_096),
                Some(4_000),
            ),
            (
                "'max_tokens' is too large: 1000. This model's maximum context length is 4096 tokens and your request has 4000 input tokens",
                Some(4_096),
                Some(4_000),
            ),
            (
                "This endpoint's maximum context length is 131072 tokens. However, you requested about 150000 tokens (149000 of text input, 1000 in the output).",
                Some(131_072),
                Some(149_000),
            ),
            (
                "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
                Some(131_072),
                Some(200_000),
            ),
            ("prompt is too long: 213462 tokens > 200000 maximum", Some(200_000), Some(213_462)),
            (
                "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens`",
                Some(200_000),
                Some(190_000),
            ),
            (
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                Some(1_048_576),
                Some(1_200_000),
            ),
            (
                "the request (5003 tokens) exceeds the available context size (4096 tokens), try increasing it",
                Some(4_096),
                Some(5_003),
            ),
            (
                "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
                Some(32_768),
                Some(40_000),
            ),
            (
                "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000",
                Some(4_081),
                Some(5_000),
            ),
            ("Your input exceeds the context window of this model.", None, None),
        ] {
            assert_eq!(of(None, said), Size { limit, sent }, "{said}");
        }
    }

    #[test]
    fn fields_go_before_words() {
        let error = json!({"message": "too long", "type": "exceed_context_size_error", "n_prompt_tokens": 5003, "n_ctx": 4096});
        assert_eq!(of(Some(&error), "too long"), Size { limit: Some(4_096), sent: Some(5_003) });
    }
}
