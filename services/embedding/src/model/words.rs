//! Words: what text is searched by. Identifiers are known by their parts and by their neighbours, so that `replica count`
//! finds `replicaCount` and `gateway.replicas` finds exactly that.

/// Text beyond this many words adds nothing to a chunk.
const MAX_WORDS: usize = 4_096;
const MAX_WORD_BYTES: usize = 64;

/// The words of a text, in its order: each part of an identifier in lower case, each identifier that has several parts, and
/// each pair of neighbours in a path, a dotted key or a name with dashes.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for compound in text.split(|c: char| !is_part(c)) {
        let mut previous: Option<String> = None;
        for segment in compound.split(is_joint).filter(|s| !s.is_empty()) {
            let whole = segment.to_lowercase();
            let parts = camel_parts(segment);
            if parts.len() > 1 {
                words.extend(parts.iter().map(|p| p.to_lowercase()));
            }
            if let Some(before) = previous.take() {
                words.push(format!("{before}.{whole}"));
            }
            words.push(whole.clone());
            previous = Some(whole);
        }
        if words.len() >= MAX_WORDS {
            break;
        }
    }
    words.retain(|w| w.len() <= MAX_WORD_BYTES);
    words.truncate(MAX_WORDS);
    words
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || is_joint(c)
}

fn is_joint(c: char) -> bool {
    matches!(c, '-' | '_' | '.' | '/' | ':')
}

/// `HTTPServerPort` is `HTTP`, `Server`, `Port`. Characters of scripts without spaces are words by themselves.
fn camel_parts(segment: &str) -> Vec<&str> {
    let chars: Vec<(usize, char)> = segment.char_indices().collect();
    let mut parts = Vec::new();
    let mut start = 0;
    for n in 1..chars.len() {
        let (before, (at, here)) = (chars[n - 1].1, chars[n]);
        let next_is_lower = chars.get(n + 1).is_some_and(|(_, c)| c.is_lowercase());
        let rises = here.is_uppercase() && !before.is_uppercase();
        let turns = here.is_uppercase() && before.is_uppercase() && next_is_lower;
        if rises || turns || is_unspaced(before) || is_unspaced(here) {
            parts.push(&segment[start..at]);
            start = at;
        }
    }
    parts.push(&segment[start..]);
    parts
}

fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c), 0x3040..=0x30ff | 0x3400..=0x9fff | 0xac00..=0xd7af | 0xf900..=0xfaff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_known_by_their_parts() {
        assert_eq!(words("replicaCount"), ["replica", "count", "replicacount"]);
        assert_eq!(words("HTTPServerPort2"), ["http", "server", "port2", "httpserverport2"]);
        assert_eq!(words("slipway-gateway"), ["slipway", "slipway.gateway", "gateway"]);
    }

    #[test]
    fn dotted_keys_and_paths_know_their_neighbours() {
        let found = words("{{ .Values.gateway.replicaCount }}");
        for word in ["values", "gateway", "replica", "count", "values.gateway", "gateway.replicacount"] {
            assert!(found.iter().any(|w| w == word), "{word} not in {found:?}");
        }
        assert!(words("templates/ingress.yaml").contains(&"templates.ingress".to_owned()));
    }

    #[test]
    fn prose_is_plain_words() {
        assert_eq!(words("Run three replicas. Then: stop!"), ["run", "three", "replicas", "then", "stop"]);
        assert_eq!(words("Größe ändern"), ["größe", "ändern"]);
        assert_eq!(words("日本 x"), ["日", "本", "日本", "x"]);
    }

    #[test]
    fn hostile_text_stays_bounded() {
        assert!(words(&"a.".repeat(100_000)).len() <= MAX_WORDS);
        assert!(words(&"x".repeat(1_000_000)).is_empty());
        assert!(words("....----____").is_empty());
    }
}
