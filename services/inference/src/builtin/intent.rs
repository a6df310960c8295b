//! Intents by keyword: what a message wants, as far as its words show.

use serde_json::{Value, json};

use super::prompt;
use super::words::words;

/// The arguments of `classify_intent` for a message.
pub(super) fn arguments(message: &str) -> Value {
    let text = prompt::section(message, "message").unwrap_or(message);
    let (intent, confidence, reason) = classify(text);
    json!({"intent": intent, "confidence": confidence, "reason": reason})
}

fn classify(text: &str) -> (&'static str, f64, &'static str) {
    let words = words(text);
    let has = |list: &[&str]| words.iter().any(|w| w.is(list));
    let first = |list: &[&str]| {
        words.iter().find(|w| !w.is(&["please", "so", "and", "ok", "hey", "hi", "hello"])).is_some_and(|w| w.is(list))
    };
    if words.is_empty() {
        return ("unclear", 0.9, "the message is empty");
    }
    let asks = first(&[
        "how",
        "what",
        "which",
        "where",
        "why",
        "when",
        "who",
        "is",
        "are",
        "does",
        "do",
        "did",
        "explain",
        "describe",
        "tell",
        "list",
        "summarize",
        "summarise",
        "find",
    ]);
    let renders = first(&["render", "template"])
        || (has(&["render", "rendered"]) && has(&["show", "chart", "templates", "manifests", "helm"]));
    if renders && !first(&["what", "why"]) {
        return ("render", 0.8, "the message asks to see the files rendered");
    }
    const CHANGES: &[&str] = &[
        "set",
        "change",
        "scale",
        "add",
        "remove",
        "delete",
        "enable",
        "disable",
        "update",
        "upgrade",
        "downgrade",
        "increase",
        "decrease",
        "raise",
        "lower",
        "put",
        "expose",
        "create",
        "run",
        "use",
        "bump",
        "configure",
        "switch",
        "make",
        "replace",
        "rename",
        "deploy",
        "limit",
        "give",
        "annotate",
        "label",
        "autoscale",
        "turn",
        "install",
        "pin",
        "reduce",
    ];
    let polite = first(&["can", "could", "would", "i", "we", "i'd", "let's", "lets"]);
    if first(CHANGES) || (polite && has(CHANGES)) {
        return ("plan", 0.8, "the message asks for a change");
    }
    if asks {
        return ("converse", 0.7, "the message asks a question");
    }
    const SUBJECTS: &[&str] = &[
        "replicas",
        "ingress",
        "chart",
        "helm",
        "values",
        "deployment",
        "service",
        "pod",
        "pods",
        "container",
        "image",
        "namespace",
        "kubernetes",
        "cluster",
        "yaml",
        "template",
        "templates",
        "probe",
        "resources",
        "cpu",
        "memory",
        "port",
        "env",
        "config",
    ];
    if has(CHANGES) && has(SUBJECTS) {
        return ("plan", 0.6, "the message names a change of the files");
    }
    if has(SUBJECTS) || text.trim_end().ends_with('?') {
        return ("converse", 0.5, "the message is about the files");
    }
    const OTHERS: &[&str] =
        &["weather", "poem", "joke", "recipe", "song", "football", "movie", "translate", "horoscope", "stock", "stocks"];
    if has(OTHERS) {
        return ("off_topic", 0.7, "the message is not about files or deployments");
    }
    if words.iter().all(|w| w.is(&["hi", "hello", "hey", "thanks", "thank", "you", "good", "morning", "bye", "great", "nice"])) {
        return ("converse", 0.8, "the message is a greeting");
    }
    ("unclear", 0.4, "no rule recognises the message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_show_what_is_wanted() {
        for (text, intent) in [
            ("run three gateway replicas", "plan"),
            ("could you bump the image tag?", "plan"),
            ("How many gateway replicas run?", "converse"),
            ("render the chart", "render"),
            ("the ingress?", "converse"),
            ("tell me about the ingress", "converse"),
            ("write me a poem", "off_topic"),
            ("hello", "converse"),
            ("blue elephants", "unclear"),
            ("", "unclear"),
        ] {
            assert_eq!(classify(text).0, intent, "{text}");
        }
        assert_eq!(arguments("<message>\nscale it to 3\n</message>")["intent"], "plan");
    }
}
