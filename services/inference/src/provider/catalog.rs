//! What is known of common models by name: how much they can read.

/// Context windows by the start of the model's name, the longest match wins. Names come with or without a maker's
/// prefix (`openai/gpt-4o`).
const WINDOWS: [(&str, u64); 34] = [
    ("gpt-5", 400_000),
    ("gpt-4.1", 1_047_576),
    ("gpt-4o", 128_000),
    ("gpt-4-turbo", 128_000),
    ("gpt-4-32k", 32_768),
    ("gpt-4", 8_192),
    ("gpt-3.5-turbo", 16_385),
    ("chatgpt-4o", 128_000),
    ("gpt-oss", 131_072),
    ("o1-mini", 128_000),
    ("o1", 200_000),
    ("o3", 200_000),
    ("o4-mini", 200_000),
    ("claude", 200_000),
    ("gemini-1.5-pro", 2_097_152),
    ("gemini", 1_048_576),
    ("gemma-3", 131_072),
    ("gemma-2", 8_192),
    ("llama-3.1", 131_072),
    ("llama-3.2", 131_072),
    ("llama-3.3", 131_072),
    ("llama-4-scout", 10_485_760),
    ("llama-4-maverick", 1_048_576),
    ("llama-3", 8_192),
    ("mistral-large", 131_072),
    ("mistral-small", 131_072),
    ("mistral-nemo", 131_072),
    ("mixtral-8x22b", 65_536),
    ("mixtral", 32_768),
    ("codestral", 262_144),
    ("deepseek", 131_072),
    ("qwen3", 131_072),
    ("qwen-2.5", 131_072),
    ("grok", 131_072),
];

/// The context window of a model by its name; 0 when not known.
pub(crate) fn context_window(model: &str) -> u64 {
    let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
    let name = name.strip_prefix("meta-").unwrap_or(&name);
    WINDOWS
        .iter()
        .filter(|(start, _)| name.starts_with(start))
        .max_by_key(|(start, _)| start.len())
        .map_or(0, |(_, window)| *window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_wins() {
        assert_eq!(context_window("gpt-4o-mini"), 128_000);
        assert_eq!(context_window("gpt-4-0613"), 8_192);
        assert_eq!(context_window("openai/gpt-4.1-nano"), 1_047_576);
        assert_eq!(context_window("meta-llama/Llama-3.1-8B-Instruct"), 131_072);
        assert_eq!(context_window("my-own-model"), 0);
    }
}
