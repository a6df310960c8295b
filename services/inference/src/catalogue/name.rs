//! Under which names a model may be listed: as it is called, without its date, without its maker's prefix.

/// The makers whose names stand before a model's where many makers' models are sold, and the family that lists them.
const MAKERS: [(&str, &str); 11] = [
    ("anthropic", "anthropic"),
    ("cohere", "cohere"),
    ("deepseek", "deepseek"),
    ("deepseek-ai", "deepseek"),
    ("google", "gemini"),
    ("gemini", "gemini"),
    ("mistralai", "mistral"),
    ("mistral", "mistral"),
    ("openai", "openai"),
    ("perplexity", "perplexity"),
    ("x-ai", "xai"),
];

/// The family of a maker's own models, and their name there.
pub(super) fn of_maker(model: &str) -> Option<(&'static str, &str)> {
    let (maker, rest) = model.split_once('/')?;
    MAKERS.iter().find(|(name, _)| *name == maker).map(|(_, family)| (*family, rest))
}

/// The spellings of a name, the most exact first.
pub(super) fn spellings(model: &str) -> Vec<String> {
    let mut all = vec![model.to_owned()];
    let mut add = |name: String| {
        if !name.is_empty() && !all.contains(&name) {
            all.push(name);
        }
    };
    // `llama3.1:8b`, `x:nitro`; a seller's ":free" is another product.
    let plain = match model.split_once(':') {
        Some((name, variant)) if variant != "free" => name,
        _ => model,
    };
    add(plain.to_owned());
    add(undated(plain).to_owned());
    // `claude-sonnet-4.5` of some sellers is `claude-sonnet-4-5` of its maker.
    if plain.starts_with("claude") {
        let dashed = plain.replace('.', "-");
        add(undated(&dashed).to_owned());
    }
    all
}

/// A name without the date, the number or the word that tells its version.
fn undated(name: &str) -> &str {
    let name = name.strip_suffix("-latest").unwrap_or(name);
    let (front, last) = match name.rsplit_once(['-', '@']) {
        Some((front, last)) => (front, last),
        None => return name,
    };
    let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    if digits(last, 8) || digits(last, 4) || digits(last, 3) {
        return front;
    }
    // `-2024-08-06`: the year and the month stand before the day.
    if digits(last, 2)
        && let Some((front, month)) = front.rsplit_once('-')
        && let Some((front, year)) = front.rsplit_once('-')
        && digits(month, 2)
        && digits(year, 4)
    {
        return front;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_left_out() {
        for (name, bare) in [
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
            ("gpt-4-0613", "gpt-4"),
            ("gemini-1.5-pro-002", "gemini-1.5-pro"),
            ("mistral-small-latest", "mistral-small"),
            ("llama-3.1-70b", "llama-3.1-70b"),
            ("gpt-4", "gpt-4"),
            ("x-08-06", "x-08-06"),
        ] {
            assert_eq!(undated(name), bare);
        }
    }

    #[test]
    fn the_most_exact_spelling_comes_first() {
        assert_eq!(spellings("llama3.1:8b"), ["llama3.1:8b", "llama3.1"]);
        assert_eq!(spellings("x:free"), ["x:free"]);
        assert_eq!(spellings("claude-sonnet-4.5"), ["claude-sonnet-4.5", "claude-sonnet-4-5"]);
        assert_eq!(spellings("gpt-4o"), ["gpt-4o"]);
    }

    #[test]
    fn makers_have_a_family() {
        assert_eq!(of_maker("google/gemini-2.5-pro"), Some(("gemini", "gemini-2.5-pro")));
        assert_eq!(of_maker("meta-llama/llama-3"), None);
        assert_eq!(of_maker("gpt-4o"), None);
    }
}
