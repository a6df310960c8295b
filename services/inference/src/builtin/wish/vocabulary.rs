//! The words that the readers know, and the shapes of words that are no words: hosts, amounts, versions, images.

use crate::builtin::words::Word;

/// What requests begin with.
#[rustfmt::skip]
pub(super) const VERBS: &[&str] = &[
    "set", "change", "make", "put", "add", "use", "run", "scale", "increase", "decrease", "raise", "lower", "reduce", "bump",
    "update", "upgrade", "downgrade", "enable", "disable", "turn", "switch", "expose", "give", "deploy", "create", "remove",
    "delete", "drop", "rename", "configure", "allow", "have", "start", "keep", "point", "serve", "publish", "annotate",
    "pin", "leave", "skip", "omit", "autoscale", "activate", "deactivate", "assign", "define", "provide", "want", "need",
    "please", "request", "limit", "double", "triple", "rewrite", "install", "move", "stop", "replace", "do", "ensure",
];

/// Words that carry nothing for the engine.
#[rustfmt::skip]
pub(super) const FILLERS: &[&str] = &[
    "a", "an", "the", "of", "to", "for", "on", "in", "at", "with", "from", "by", "per", "each", "it", "its", "them", "they",
    "is", "are", "be", "should", "must", "that", "this", "these", "those", "please", "can", "could", "you", "would", "i",
    "we", "want", "need", "like", "let", "lets", "let's", "us", "me", "our", "my", "your", "has", "have", "as", "into", "so",
    "only", "just", "now", "new", "value", "values", "file", "key", "field", "setting", "to-be", "their", "there", "which",
    "via", "through", "using", "instead", "than", "more", "i'd", "we'd", "i'll", "we'll", "will", "up", "out", "over",
    "under", "behind", "availability", "high", "ha", "production", "resilience", "redundancy", "safety", "testing", "load",
    "traffic", "peak", "today", "later", "tonight", "tomorrow", "again", "too", "well", "currently", "number", "count",
    "amount", "total", "about", "one", "ones", "same", "own", "default", "kubernetes", "k8s", "helm", "yaml", "manifest",
    "manifests", "config", "configuration", "cluster", "release", "all", "every", "both", "any", "without", "thanks",
    "thank", "hello", "hi", "hey", "ok", "okay", "yes", "yeah", "sure", "but", "down", "everything",
];

/// Those of them that somebody may call a component.
#[rustfmt::skip]
pub(super) const PERHAPS_NAMES: &[&str] = &[
    "availability", "production", "testing", "load", "traffic", "default", "config", "configuration", "cluster", "release",
];

/// Words for any component, which name one only when it is called so.
#[rustfmt::skip]
pub(super) const GENERIC: &[&str] = &[
    "app", "apps", "application", "service", "services", "deployment", "deployments", "pod", "pods", "container",
    "containers", "chart", "workload", "component", "components", "backend", "server", "statefulset", "daemonset", "process",
    "project", "image",
];

/// What replicas are called.
#[rustfmt::skip]
pub(super) const REPLICA_NOUNS: &[&str] = &[
    "replica", "replicas", "replicacount", "instance", "instances", "copy", "copies", "pod", "pods", "node", "nodes",
    "replica's",
];

/// A number, also one with the unit of seconds.
pub(super) fn seconds_or_number(word: &Word) -> Option<u64> {
    word.number().or_else(|| word.lower.trim_end_matches("seconds").trim_end_matches("sec").trim_end_matches('s').parse().ok())
}

/// A host name, also out of a URL.
pub(super) fn host(word: &Word) -> Option<String> {
    let text = word.text.trim_start_matches("https://").trim_start_matches("http://");
    let text = text.split('/').next().unwrap_or_default();
    let labels: Vec<&str> = text.split('.').collect();
    let label = |l: &&str| {
        *l == "*"
            || (!l.is_empty()
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    let last = labels.last()?;
    let files = ["yaml", "yml", "json", "tpl", "md", "txt", "toml"];
    let legal = labels.len() >= 2 && labels.iter().all(label) && last.len() >= 2 && last.bytes().all(|b| b.is_ascii_alphabetic());
    (legal && !files.contains(last)).then(|| text.to_ascii_lowercase())
}

/// An amount of cpu or memory, with what it certainly is; a unit may stand apart.
pub(super) fn quantity(text: &str, next: Option<&Word>) -> Option<(String, Option<&'static str>)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() || number.parse::<f64>().is_err() || number.ends_with('.') {
        return None;
    }
    let apart = next.filter(|w| unit.is_empty() && !w.quoted).map(|w| w.text.as_str()).filter(|u| memory_unit(u).is_some());
    match apart.unwrap_or(unit) {
        "" => Some((number.to_owned(), None)),
        "m" => Some((text.to_owned(), Some("cpu"))),
        unit => memory_unit(unit).map(|u| (format!("{number}{u}"), Some("memory"))),
    }
}

pub(super) fn memory_unit(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "Ki" | "KiB" | "ki" => "Ki",
        "Mi" | "MiB" | "mi" | "mib" => "Mi",
        "Gi" | "GiB" | "gi" | "gib" => "Gi",
        "Ti" | "TiB" | "ti" => "Ti",
        "M" | "MB" | "mb" => "M",
        "G" | "GB" | "gb" | "g" => "G",
        _ => return None,
    })
}

pub(super) fn is_version(text: &str) -> bool {
    let body = text.strip_prefix('v').unwrap_or(text);
    body.starts_with(|c: char| c.is_ascii_digit())
        && body.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+'))
        || ["latest", "stable", "main", "edge"].contains(&text)
}

/// `nginx:1.27`, `ghcr.io/acme/web`, `repo@sha256:…`.
pub(super) fn is_reference(word: &Word) -> bool {
    let text = word.text.as_str();
    let legal = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':' | '@'));
    let name = text.split(':').next().unwrap_or_default();
    let shaped = text.contains('/') || text.split_once(':').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
    legal
        && shaped
        && !text.starts_with('/')
        && !text.contains("://")
        && !text.ends_with(['/', ':'])
        && name.chars().any(|c| c.is_ascii_alphabetic())
}

pub(super) fn split_reference(text: &str) -> (String, Option<String>) {
    if text.contains('@') {
        return (text.to_owned(), None);
    }
    match text.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), Some(tag.to_owned())),
        _ => (text.to_owned(), None),
    }
}
