//! What a question asks: the files that it names, its parts, and the words to look for.

use super::super::prompt::Source;
use super::super::wish::said;
use super::super::words::{fragments, parts, singular};

const MOST_PARTS: usize = 3;

/// Greetings, thanks and questions about the engine itself: no file says anything about them.
pub(super) fn is_talk(question: &str) -> bool {
    const TALK: [&str; 22] = [
        "hi",
        "hello",
        "hey",
        "thanks",
        "thank",
        "you",
        "cheers",
        "bye",
        "goodbye",
        "good",
        "morning",
        "evening",
        "afternoon",
        "who",
        "what",
        "are",
        "can",
        "do",
        "very",
        "much",
        "there",
        "slipway",
    ];
    let said = parts(question);
    !said.is_empty() && said.iter().all(|word| TALK.contains(&word.as_str()))
}

/// A question that names files is about them: only their sources, and the question without the names.
pub(super) fn about_files<'a>(sources: Vec<Source<'a>>, question: &str) -> (Vec<Source<'a>>, String) {
    let wanted: Vec<&str> = question.split_whitespace().map(|w| w.trim_matches(|c: char| "`\"',.;:?!()".contains(c))).collect();
    let is_named = |path: &str, word: &str| {
        word.contains('.') && (path == word || path.strip_suffix(word).is_some_and(|folder| folder.ends_with('/')))
    };
    let named: Vec<Source<'a>> = sources.iter().filter(|s| wanted.iter().any(|word| is_named(s.path, word))).cloned().collect();
    if named.is_empty() {
        return (sources, question.to_owned());
    }
    let rest = question.split_whitespace().zip(&wanted).filter(|(_, word)| !named.iter().any(|s| is_named(s.path, word)));
    let rest: Vec<&str> = rest.map(|(text, _)| text).collect();
    (named, rest.join(" "))
}

/// A question may ask several things at once: the terms of each.
pub(super) fn parts_of(question: &str) -> Vec<Vec<String>> {
    let all = terms(question);
    let said: Vec<Vec<String>> =
        fragments(question).iter().map(|(_, words)| terms(&said(words))).filter(|t| !t.is_empty()).collect();
    if said.len() < 2 || said.len() > MOST_PARTS { vec![all] } else { said }
}

/// The words of a text, as they are compared.
pub(super) fn words_of(text: &str) -> Vec<String> {
    parts(text).iter().map(|p| stem(p)).collect()
}

fn stem(word: &str) -> String {
    let word = singular(word);
    let word = word.strip_suffix("ing").filter(|w| w.len() > 3).unwrap_or(word);
    word.strip_suffix("ed").filter(|w| w.len() > 3).unwrap_or(word).to_owned()
}

/// The words of a question that can be found in a file.
pub(super) fn terms(question: &str) -> Vec<String> {
    const STOP: &[&str] = &[
        "a",
        "an",
        "the",
        "is",
        "are",
        "was",
        "be",
        "do",
        "does",
        "did",
        "how",
        "many",
        "much",
        "what",
        "which",
        "where",
        "when",
        "who",
        "why",
        "of",
        "in",
        "on",
        "at",
        "to",
        "for",
        "from",
        "with",
        "and",
        "or",
        "it",
        "its",
        "this",
        "that",
        "there",
        "i",
        "we",
        "you",
        "me",
        "my",
        "our",
        "can",
        "could",
        "should",
        "would",
        "will",
        "have",
        "has",
        "run",
        "runs",
        "running",
        "set",
        "use",
        "used",
        "tell",
        "show",
        "please",
        "about",
        "any",
        "by",
        "as",
        "so",
        "current",
        "currently",
        "value",
        "get",
        "give",
        "if",
        "not",
        // What everything in a workspace is, or has to do with.
        "setting",
        "settings",
        "config",
        "configuration",
        "configured",
        "file",
        "files",
        "yaml",
        "yml",
        "tpl",
    ];
    let mut terms: Vec<String> = parts(question).into_iter().filter(|w| !STOP.contains(&w.as_str())).map(|w| stem(&w)).collect();
    // The words that files use for what people say.
    let also: &[(&str, &[&str])] = &[
        ("domain", &["host"]),
        ("hostname", &["host"]),
        ("url", &["host"]),
        ("instance", &["replica"]),
        ("pod", &["replica"]),
        ("copy", &["replica"]),
        ("version", &["tag", "version"]),
        ("ram", &["memory"]),
        ("variable", &["env"]),
        ("scale", &["replica", "autoscal"]),
    ];
    // The chart's own version is called so.
    let of_chart = terms.iter().any(|t| t == "chart");
    let more: Vec<String> = also
        .iter()
        .filter(|(word, _)| terms.iter().any(|t| t == word) && !(of_chart && *word == "version"))
        .flat_map(|(_, w)| w.iter().map(|w| (*w).to_owned()))
        .collect();
    terms.extend(more);
    terms.sort_unstable();
    terms.dedup();
    terms
}
