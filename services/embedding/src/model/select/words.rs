//! The words by which a request and the files are compared: identifiers by their parts, and endings that only inflect cut off.

/// What says nothing about which file is meant.
const STOP: [&str; 43] = [
    "a", "an", "the", "to", "of", "on", "in", "for", "and", "or", "with", "it", "is", "be", "by", "at", "as", "from", "that",
    "this", "my", "our", "all", "not", "when", "if", "via", "use", "using", "into", "also", "only", "so", "can", "now", "some",
    "more", "please", "run", "put", "we", "want", "should",
];

/// Short names of what charts are made of, as their files are often called.
const ALIASES: [(&str, &str); 24] = [
    ("dep", "deployment"),
    ("dpl", "deployment"),
    ("deploy", "deployment"),
    ("sts", "statefulset"),
    ("ds", "daemonset"),
    ("svc", "service"),
    ("cm", "configmap"),
    ("sa", "serviceaccount"),
    ("pvc", "persistentvolumeclaim"),
    ("pv", "persistentvolume"),
    ("hpa", "horizontalpodautoscaler"),
    ("pdb", "poddisruptionbudget"),
    ("psp", "podsecuritypolicy"),
    ("netpol", "networkpolicy"),
    ("crb", "clusterrolebinding"),
    ("cr", "clusterrole"),
    ("rb", "rolebinding"),
    ("vpa", "verticalpodautoscaler"),
    ("prom", "prometheus"),
    ("cfg", "config"),
    ("env", "environment"),
    ("ns", "namespace"),
    ("cert", "certificate"),
    ("ing", "ingress"),
];

/// The words of a text: of every identifier its parts, when it has several, and the whole; in lower case, by their stems.
pub(super) fn each(text: &str, mut take: impl FnMut(&str)) {
    let mut lower = String::new();
    let mut give = |word: &str| {
        lower.clear();
        lower.extend(word.chars().flat_map(char::to_lowercase));
        let stem = stem(&lower);
        if stem.len() > 1 {
            take(stem);
        }
    };
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
        let mut start = 0;
        for end in joints(word) {
            if end - start > 1 {
                give(&word[start..end]);
            }
            start = end;
        }
        if start > 0 && word.len() - start > 1 {
            give(&word[start..]);
        }
        give(word);
    }
}

/// The words of a text, in its order.
pub(super) fn list(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    each(text, |word| words.push(word.to_owned()));
    words
}

/// The words of a path, and what those that are short names stand for.
pub(super) fn of_path(path: &str) -> Vec<String> {
    let mut words = list(path);
    let parts = path.split(|c: char| !c.is_alphanumeric());
    words.extend(parts.filter_map(|part| alias(&part.to_lowercase())).map(|name| stem(name).to_owned()));
    words
}

/// What a short name stands for.
pub(super) fn alias(word: &str) -> Option<&'static str> {
    ALIASES.iter().find(|(short, _)| *short == word).map(|(_, name)| *name)
}

/// Whether a word says nothing.
pub(super) fn is_stop(word: &str) -> bool {
    STOP.contains(&word)
}

/// A name for a word that takes little room. Two words that share one are taken for the same.
pub(super) fn hash(word: &str) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in word.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash >> 32) as u32 ^ hash as u32
}

/// Without the endings of plurals and verbs; lenient, since both sides are cut alike.
pub(super) fn stem(word: &str) -> &str {
    if word.len() > 4 && (word.ends_with("ies") || word.ends_with("sses")) {
        return &word[..word.len() - 2];
    }
    let plural = word.len() > 3 && word.ends_with('s') && !["ss", "us", "is"].iter().any(|end| word.ends_with(end));
    let word = if plural { &word[..word.len() - 1] } else { word };
    for (ending, longer_than) in [("ing", 5), ("ed", 4), ("e", 4)] {
        if word.len() > longer_than && word.ends_with(ending) {
            return &word[..word.len() - ending.len()];
        }
    }
    word
}

/// Where the parts of an identifier meet: `HTTPServer2` is `HTTP`, `Server`, `2`.
fn joints(word: &str) -> Vec<usize> {
    let chars: Vec<(usize, char)> = word.char_indices().collect();
    let mut joints = Vec::new();
    for n in 1..chars.len() {
        let (before, (at, here)) = (chars[n - 1].1, chars[n]);
        let rises = here.is_uppercase() && !before.is_uppercase();
        let turns = here.is_uppercase() && before.is_uppercase() && chars.get(n + 1).is_some_and(|(_, c)| c.is_lowercase());
        if rises || turns || here.is_numeric() != before.is_numeric() {
            joints.push(at);
        }
    }
    joints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_and_inflected_words_meet() {
        assert_eq!(list("replicaCount"), ["replica", "count", "replicacount"]);
        assert_eq!(list("HTTPServers2"), ["http", "server", "httpservers2"]);
        for (one, other) in [("replicas", "replica"), ("updates", "updating"), ("policies", "policies"), ("bumped", "bumps")] {
            assert_eq!(stem(one), stem(other));
        }
        assert_eq!(stem("ingress"), "ingress");
    }

    #[test]
    fn short_names_of_files_are_known() {
        assert!(of_path("templates/core/core-dpl.yaml").contains(&"deployment".to_owned()));
        assert!(of_path("templates/svc.yaml").contains(&"servic".to_owned()));
    }

    #[test]
    fn every_text_has_words_or_none() {
        assert_eq!(list("Größe ÄNDERN 日本"), ["größ", "ändern", "日本"]);
        assert!(list("….--__ a 1").is_empty());
    }
}
