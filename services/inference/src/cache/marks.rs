//! What two questions must have in common, however alike they sound: numbers, names, negations, and words that have an
//! opposite. Vectors put "set it to 3" beside "set it to 4" and "enable it" beside "do not enable it"; this tells them apart.
//!
//! The rules err on the side of a call: a paraphrase that they do not see through costs one, a wrong answer costs trust.

use std::collections::HashMap;
use std::sync::LazyLock;

const NOT: &str = "not";

/// Says the opposite of the same question without it, in the languages that are most spoken here.
const NEGATIONS: [&str; 41] = [
    "not", "no", "never", "none", "nothing", "nobody", "without", "cannot", "neither", "nor", "dont", "doesnt", "didnt", "cant",
    "wont", "isnt", "arent", "shouldnt", "except", "unless", "nicht", "kein", "keine", "keinen", "keinem", "keiner", "ohne",
    "nie", "ne", "pas", "sans", "jamais", "sin", "nunca", "non", "senza", "não", "sem", "niet", "geen", "zonder",
];

const NUMBERS: [&str; 21] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];

/// Words whose change changes the question, though they stand in the same place and near each other as vectors go.
const TURNS: [&str; 173] = [
    "enable",
    "disable",
    "start",
    "stop",
    "restart",
    "increase",
    "decrease",
    "raise",
    "lower",
    "reduce",
    "grow",
    "shrink",
    "add",
    "remove",
    "delete",
    "create",
    "replace",
    "keep",
    "allow",
    "deny",
    "forbid",
    "block",
    "grant",
    "revoke",
    "show",
    "hide",
    "open",
    "close",
    "up",
    "down",
    "before",
    "after",
    "more",
    "less",
    "fewer",
    "most",
    "least",
    "max",
    "min",
    "maximum",
    "minimum",
    "first",
    "last",
    "next",
    "previous",
    "new",
    "old",
    "newest",
    "oldest",
    "latest",
    "earliest",
    "only",
    "all",
    "import",
    "export",
    "upload",
    "download",
    "push",
    "pull",
    "read",
    "write",
    "encrypt",
    "decrypt",
    "encode",
    "decode",
    "attach",
    "detach",
    "mount",
    "unmount",
    "install",
    "uninstall",
    "upgrade",
    "downgrade",
    "rollback",
    "lock",
    "unlock",
    "pause",
    "resume",
    "drain",
    "cordon",
    "uncordon",
    "public",
    "private",
    "internal",
    "external",
    "ingress",
    "egress",
    "inbound",
    "outbound",
    "client",
    "server",
    "source",
    "target",
    "primary",
    "secondary",
    "production",
    "prod",
    "staging",
    "development",
    "dev",
    "test",
    "true",
    "false",
    "yes",
    "off",
    "yesterday",
    "today",
    "tomorrow",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
    "cpu",
    "memory",
    "disk",
    "network",
    "why",
    "when",
    "where",
    "who",
    "high",
    "low",
    "fast",
    "slow",
    "cheap",
    "expensive",
    "best",
    "worst",
    "large",
    "small",
    "largest",
    "smallest",
    "longest",
    "shortest",
    "left",
    "right",
    "success",
    "failure",
    "succeed",
    "fail",
    "pass",
    "accept",
    "reject",
    "approve",
    "merge",
    "revert",
    "or",
    "always",
    "sometimes",
    "require",
    "optional",
    "request",
    "limit",
    "input",
    "output",
    "buy",
    "sell",
    "half",
    "double",
    "cluster",
    "namespace",
    "pod",
    "node",
    "deployment",
    "service",
    "secret",
    "user",
    "group",
    "role",
    "safe",
];

/// Every form of those words, to the word.
static FORMS: LazyLock<HashMap<String, &'static str>> =
    LazyLock::new(|| TURNS.iter().flat_map(|word| forms(word).into_iter().map(move |form| (form, *word))).collect());

/// The marks of a question, each kind in its order. Negations stand among the others, so that their place counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    numbers: Vec<String>,
    names: Vec<String>,
    turns: Vec<&'static str>,
}

impl Marks {
    /// Those of a text.
    pub(super) fn of(text: &str) -> Self {
        let mut marks = Self::default();
        let mut rest = text.replace('\u{2019}', "'");
        // What is quoted is a name, whatever is in it.
        for (open, close) in [("```", "```"), ("`", "`"), ("\"", "\""), ("\u{201c}", "\u{201d}"), ("\u{ab}", "\u{bb}")] {
            rest = marks.take_quoted(&rest, open, close);
        }
        let mut begins = true;
        for token in rest.split_whitespace() {
            marks.take(token, begins);
            begins = token.ends_with(['.', '!', '?', ':']);
        }
        marks
    }

    fn take_quoted(&mut self, text: &str, open: &str, close: &str) -> String {
        let (mut left, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, after)) = rest.split_once(open) {
            let Some((quoted, behind)) = after.split_once(close) else { break };
            self.names.push(quoted.to_owned());
            left.push_str(before);
            left.push(' ');
            rest = behind;
        }
        left.push_str(rest);
        left
    }

    fn take(&mut self, token: &str, begins: bool) {
        let token = token.trim_start_matches(['(', '[', '{', '\'', '¿', '¡']);
        let token = token.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}', '\'']);
        let word = token.to_lowercase();
        if word.is_empty() {
            return;
        }
        if NEGATIONS.contains(&word.as_str()) || word.ends_with("n't") {
            self.numbers.push(NOT.to_owned());
            self.names.push(NOT.to_owned());
            self.turns.push(NOT);
        } else if let Some(number) = NUMBERS.iter().position(|n| *n == word) {
            self.numbers.push(number.to_string());
        } else if token.contains(|c: char| c.is_numeric()) {
            self.numbers.push(token.to_owned());
        } else if is_name(token, begins) {
            self.names.push(token.to_owned());
        } else if let Some(turn) = FORMS.get(&word) {
            self.turns.push(turn);
        }
    }
}

/// True for what is spelled like no word of a sentence: paths, flags, identifiers, acronyms, proper names, and words in
/// letters whose words these rules do not know.
fn is_name(token: &str, begins: bool) -> bool {
    let foreign = |c: char| c.is_alphabetic() && u32::from(c) > 0x24f;
    let mark = |c: char| !c.is_alphanumeric() && c != '\'';
    if token.contains(mark) || token.contains(foreign) {
        return true;
    }
    let mut letters = token.chars();
    let first = letters.next().is_some_and(char::is_uppercase);
    letters.any(char::is_uppercase) || (first && !begins && token != "I" && !token.starts_with("I'"))
}

fn forms(word: &str) -> Vec<String> {
    let stem = word.strip_suffix('e').unwrap_or(word);
    let last = word.chars().last().unwrap_or_default();
    let mut forms: Vec<String> = vec![word.to_owned()];
    forms.extend(["s", "es", "ed", "ing", "ly"].map(|end| format!("{word}{end}")));
    forms.extend(["es", "ed", "ing"].map(|end| format!("{stem}{end}")));
    forms.extend(["ed", "ing"].map(|end| format!("{word}{last}{end}")));
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        Marks::of(a) == Marks::of(b)
    }

    #[test]
    fn other_words_for_the_same_pass() {
        let pairs = [
            ("How do I list what runs here?", "What is the way to see what runs here?"),
            ("set the replicas of web-1 to 3", "please change the replicas of web-1 to three"),
            ("How can I enable tracing?", "what is it that enables tracing?"),
            ("Don't restart it, please", "please do not restart it"),
            ("it has stopped", "it stops"),
            ("what is in `values.yaml`", "tell me what `values.yaml` holds"),
        ];
        for (a, b) in pairs {
            assert!(same(a, b), "{a} / {b}: {:?} {:?}", Marks::of(a), Marks::of(b));
        }
    }

    #[test]
    fn another_number_name_or_sense_does_not() {
        let pairs = [
            ("set replicas to 3", "set replicas to 4"),
            ("set replicas to three", "set replicas to four"),
            ("scale from 3 to 5", "scale from 5 to 3"),
            ("give it 512Mi", "give it 512Gi"),
            ("use v1.2", "use v1.3"),
            ("enable tracing", "do not enable tracing"),
            ("enable tracing", "disable tracing"),
            ("enable tracing", "don\u{2019}t enable tracing"),
            ("restart a.yaml but not b.yaml", "restart not a.yaml but b.yaml"),
            ("copy a.yaml to b.yaml", "copy b.yaml to a.yaml"),
            ("look into /etc/hosts", "look into /etc/passwd"),
            ("what does \"alpha\" mean", "what does \"beta\" mean"),
            ("pods in kube-system", "pods in kube-public"),
            ("is it like Redis", "is it like Kafka"),
            ("why does it fail", "when does it fail"),
            ("deploy to production", "deploy to staging"),
            ("with a password", "without a password"),
            ("mit Passwort starten", "ohne Passwort starten"),
            ("покажи поды", "удали поды"),
            ("logs before the crash", "logs after the crash"),
            ("set LOG_LEVEL", "set LOG_FORMAT"),
            ("all users", "users"),
        ];
        for (a, b) in pairs {
            assert!(!same(a, b), "{a} / {b}: {:?}", Marks::of(a));
        }
    }

    #[test]
    fn no_word_is_there_twice() {
        for word in TURNS {
            assert_eq!(TURNS.iter().filter(|w| **w == word).count(), 1, "{word}");
            assert!(!NEGATIONS.contains(&word), "{word}");
        }
    }
}
