//! The words that the rules of intents know.

/// Words that say nothing.
#[rustfmt::skip]
pub(super) const FILLERS: &[&str] = &[
    "hm", "hmm", "hmmm", "um", "uh", "er", "erm", "eh", "so", "well", "and", "but", "the", "a", "test", "asdf", "foo",
    "bla", "blah",
];

/// Words before a request that do not change it.
#[rustfmt::skip]
pub(super) const COURTESIES: &[&str] = &[
    "please", "ok", "okay", "now", "then", "also", "and", "so", "well", "hey", "hi", "hello", "just", "kindly",
    "alright", "great", "thanks", "next", "finally", "slipway",
];

/// Words around a go-ahead that do not change it.
#[rustfmt::skip]
pub(super) const SOFTENERS: &[&str] = &[
    "please", "ok", "okay", "yes", "yep", "yeah", "sure", "great", "perfect", "fine", "good", "thanks", "thank",
    "you", "now", "then", "so", "alright", "cool", "nice", "excellent", "right", "away", "just", "and", "all", "well",
];

/// What tells to go on, without the words around it.
#[rustfmt::skip]
pub(super) const GO_AHEADS: &[&str] = &[
    "go ahead", "go", "go on", "go for it", "proceed", "continue", "carry on", "apply", "apply it", "apply this",
    "apply that", "apply them", "approve", "approve it", "approved", "accept", "accept it", "accepted", "do it",
    "do that", "do this", "lgtm", "looks to me", "looks", "that looks", "this looks", "ship it", "make it",
    "make it happen", "execute", "execute it", "confirm", "confirmed", "i confirm", "i approve", "i agree", "agreed",
    "sounds", "that sounds", "go ahead apply it", "go ahead with it", "go ahead with the plan", "go ahead with this",
    "proceed with it", "proceed with the plan", "proceed with this", "continue with the plan", "let's go",
    "let's do it", "do the plan", "yes apply it", "it looks", "the plan looks", "the plan is", "go ahead proceed",
    "i'm happy with it", "i'm happy with the plan", "that works", "works for me", "can proceed", "may proceed",
    "can go ahead", "may go ahead", "can apply it", "may apply it",
];

/// Words that begin questions.
#[rustfmt::skip]
pub(super) const QUESTION_WORDS: &[&str] = &[
    "what", "what's", "how", "how's", "why", "where", "where's", "which", "when", "who", "whose", "is", "are",
    "isn't", "aren't", "does", "do", "doesn't", "don't", "did", "can", "could", "should", "would", "will", "was",
    "were", "has", "have", "am", "shall", "whats",
];

/// How a request is wrapped.
#[rustfmt::skip]
pub(super) const WISHES: &[&[&str]] = &[
    &["can", "you"], &["could", "you"], &["would", "you"], &["will", "you"], &["can", "we"], &["could", "we"],
    &["can", "i", "have", "you"], &["would", "you", "mind"], &["i", "want", "you", "to"], &["i", "want", "to"],
    &["i", "need", "you", "to"], &["i", "need", "to"], &["i", "would", "like", "you", "to"],
    &["i", "would", "like", "to"], &["i'd", "like", "you", "to"], &["i'd", "like", "to"], &["we", "want", "to"],
    &["we", "need", "to"], &["we", "should"], &["we", "must"], &["we'd", "like", "to"], &["you", "should"],
    &["you", "must"], &["let's"], &["lets"], &["let", "us"], &["go", "ahead", "and"], &["yes", "but"], &["no"],
    &["yes"], &["first"], &["help", "me", "to"], &["help", "me"], &["try", "to"], &["make", "sure", "to"],
    &["your", "task", "is", "to"],
];

/// Verbs that order a change.
#[rustfmt::skip]
pub(super) const CHANGE_VERBS: &[&str] = &[
    "add", "adding", "set", "setting", "change", "changing", "update", "updating", "create", "make", "remove",
    "removing", "delete", "deleting", "rename", "increase", "decrease", "reduce", "scale", "bump", "enable",
    "disable", "replace", "configure", "put", "run", "use", "switch", "move", "expose", "upgrade", "downgrade",
    "install", "convert", "refactor", "fix", "limit", "raise", "lower", "give", "mount", "attach", "drop", "edit",
    "modify", "introduce", "split", "migrate", "pin", "allow", "deny", "annotate", "label", "revert", "restore",
    "write", "generate", "extend", "apply", "implement", "double", "triple", "halve", "tune", "adjust", "insert",
    "append", "extract", "merge", "patch", "harden", "rewrite", "include", "exclude", "define", "declare", "override",
    "parameterize", "parametrize", "templatize", "deploy", "route", "point", "turn", "draft", "simplify", "clean",
    "secure", "require", "support", "autoscale", "copy", "comment", "uncomment", "inject", "wire", "hook", "ensure",
    "correct", "activate", "deactivate", "default", "cap", "request", "assign", "duplicate", "format", "sort",
    "reorder", "swap", "provision", "prepare", "publish",
];

/// Words that agree by themselves.
#[rustfmt::skip]
pub(super) const AGREEMENTS: &[&str] = &[
    "yes", "yep", "yeah", "sure", "ok", "okay", "fine", "perfect", "alright", "good", "great", "excellent",
];
