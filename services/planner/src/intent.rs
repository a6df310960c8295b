//! What a message asks for, by rules. Rules decide only what they can tell; for the rest a model is asked.
//!
//! A change without a workspace, and a go-ahead without a plan that waits, are *unclear*: the reason says what is missing,
//! so that whoever reads it can ask the person.

#[cfg(test)]
mod tests;
mod words;

use serde::Deserialize;

use crate::model::{Intent, IntentKind};
use words::{AGREEMENTS, CHANGE_VERBS, COURTESIES, FILLERS, GO_AHEADS, QUESTION_WORDS, SOFTENERS, WISHES};

/// What is known besides the words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Situation {
    /// The conversation has a workspace.
    pub(crate) workspace: bool,
    /// A plan waits for review.
    pub(crate) open_plan: bool,
}

/// What the rules say; nothing when they cannot tell.
pub(crate) fn find_by_rule(text: &str, situation: Situation) -> Option<Intent> {
    let message = Message::of(text);
    let (kind, confidence, reason) = classify(&message, situation)?;
    Some(Intent { kind, confidence, reason: reason.to_owned(), by_rule: true })
}

/// What a model's answer says: the arguments of `classify_intent`, or a text that holds them. An answer that cannot be
/// read is unclear.
pub(crate) fn of_model(answer: &str, situation: Situation) -> Intent {
    let read = answer.find('{').and_then(|at| {
        let mut values = serde_json::Deserializer::from_str(&answer[at..]).into_iter::<ModelAnswer>();
        values.next()?.ok()
    });
    let unclear = |reason: &str| Intent { kind: IntentKind::Unclear, confidence: 0.3, reason: reason.to_owned(), by_rule: false };
    let Some(read) = read else { return unclear("neither the rules nor the model could tell what the message asks for") };
    let kind = match read.intent.trim().to_lowercase().replace([' ', '-'], "_").as_str() {
        "converse" => IntentKind::Converse,
        "plan" if !situation.workspace => return unclear("the message asks for a change, but there is no workspace to change"),
        "render" if !situation.workspace => return unclear("the message asks to see files rendered, but there is no workspace"),
        "proceed" if !situation.open_plan => return unclear("the message tells to go on, but no plan waits for review"),
        "plan" => IntentKind::Plan,
        "render" => IntentKind::Render,
        "proceed" => IntentKind::Proceed,
        "off_topic" => IntentKind::OffTopic,
        _ => IntentKind::Unclear,
    };
    let confidence = read.confidence.unwrap_or(0.5).clamp(0.0, 1.0);
    let reason = match read.reason.trim() {
        "" => "the model gave no reason".to_owned(),
        reason => reason.chars().take(MAX_REASON).collect(),
    };
    Intent { kind, confidence: if confidence.is_nan() { 0.5 } else { confidence }, reason, by_rule: false }
}

const MAX_REASON: usize = 500;

#[derive(Deserialize)]
struct ModelAnswer {
    intent: String,
    confidence: Option<f64>,
    #[serde(default)]
    reason: String,
}

type Verdict = (IntentKind, f64, &'static str);

fn classify(message: &Message, situation: Situation) -> Option<Verdict> {
    if message.words.is_empty() || message.is_only(FILLERS) {
        return Some((IntentKind::Unclear, 0.9, "the message holds no request"));
    }
    if let Some(reason) = off_topic(message) {
        return Some((IntentKind::OffTopic, 0.9, reason));
    }
    go_on(message, situation)
        .or_else(|| render(message, situation))
        .or_else(|| small_talk(message))
        .or_else(|| hands_off(message))
        .or_else(|| change(message, situation))
        .or_else(|| question(message))
}

/// A message in the form that the rules look at.
struct Message {
    /// Lower case, one space between words, straight quotes.
    text: String,
    /// Its words, without punctuation.
    words: Vec<String>,
    /// Where the request begins, after courtesies.
    start: usize,
    /// It ends with a question mark.
    asks: bool,
}

impl Message {
    fn of(text: &str) -> Message {
        let text = text.to_lowercase().replace(['\u{2019}', '\u{2018}'], "'");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let words: Vec<String> = text
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '!' | '?' | '"' | '(' | ')' | '…'))
            .map(|w| w.trim_matches(|c: char| !c.is_alphanumeric() && c != '\'').to_owned())
            .filter(|w| w.chars().any(char::is_alphanumeric))
            .collect();
        let start = words.iter().take_while(|w| COURTESIES.contains(&w.as_str())).count();
        let start = if start == words.len() { 0 } else { start };
        let asks = text.trim_end_matches(['"', '\'', ')', ' ', '!']).ends_with('?');
        Message { text, words, start, asks }
    }

    fn request(&self) -> &[String] {
        &self.words[self.start..]
    }

    fn first(&self) -> &str {
        self.request().first().map_or("", String::as_str)
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|w| w == word)
    }

    fn has_any(&self, words: &[&str]) -> bool {
        words.iter().any(|w| self.has(w))
    }

    fn says(&self, phrase: &str) -> bool {
        let joined = format!(" {} ", self.words.join(" "));
        joined.contains(&format!(" {phrase} "))
    }

    fn says_any(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|p| self.says(p))
    }

    fn is_only(&self, words: &[&str]) -> bool {
        self.words.iter().all(|w| words.contains(&w.as_str()))
    }
}

fn off_topic(message: &Message) -> Option<&'static str> {
    let orders = ["ignore", "disregard", "forget", "override", "bypass"];
    let rules = ["instructions", "instruction", "prompt", "prompts", "guidelines"];
    if orders.contains(&message.first()) && message.has_any(&rules) && !message.has("readme") {
        return Some("the message asks the assistant to drop its instructions");
    }
    if message.says_any(&[
        "your system prompt",
        "the system prompt",
        "you are now",
        "pretend to be",
        "act as if you",
        "developer mode",
    ]) {
        return Some("the message asks the assistant to be something else");
    }
    let makes = ["write", "compose", "tell", "sing", "give", "make", "create", "recite"];
    let art =
        ["poem", "haiku", "limerick", "sonnet", "song", "joke", "jokes", "bedtime", "fairytale", "riddle", "novel", "screenplay"];
    if makes.contains(&asked_verb(message)) && message.has_any(&art) {
        return Some("the message asks for entertainment, not for work on files");
    }
    let world = [
        "weather",
        "horoscope",
        "recipe",
        "football",
        "soccer",
        "lottery",
        "bitcoin",
        "movie",
        "movies",
        "celebrity",
        "president",
    ];
    let files =
        ["chart", "values", "template", "templates", "file", "files", "service", "deployment", "config", "configmap", "image"];
    if message.has_any(&world)
        && !message.has_any(&files)
        && (message.asks || is_question_word(message.first()) || message.request().len() < 8)
    {
        return Some("the message is about the world, not about the files of a workspace");
    }
    if message.says_any(&["capital of", "meaning of life", "who won", "do my homework", "book a flight", "order a pizza"]) {
        return Some("the message is about the world, not about the files of a workspace");
    }
    None
}

/// The verb of a request, also when it is put as a question ("can you write …").
fn asked_verb(message: &Message) -> &str {
    let request = message.request();
    let at = wish_length(request).unwrap_or(0);
    request.get(at).map_or("", String::as_str)
}

fn go_on(message: &Message, situation: Situation) -> Option<Verdict> {
    let rest: Vec<&str> = message.words.iter().map(String::as_str).filter(|w| !SOFTENERS.contains(w)).collect();
    let said = rest.join(" ");
    let agrees = rest.is_empty() && message.has_any(AGREEMENTS);
    if !agrees && !all_go_aheads(&rest) && !applies_the_plan(&rest) {
        return no(message, &said, situation);
    }
    if message.asks && !said.starts_with("proceed") {
        return None;
    }
    Some(match situation.open_plan {
        true => (IntentKind::Proceed, 0.95, "the message tells to go on with the plan that waits for review"),
        false => (IntentKind::Unclear, 0.85, "the message tells to go on, but no plan waits for review"),
    })
}

/// One go-ahead after the other: "sounds good, go ahead".
fn all_go_aheads(rest: &[&str]) -> bool {
    (1..=rest.len().min(6))
        .any(|n| GO_AHEADS.contains(&rest[..n].join(" ").as_str()) && (n == rest.len() || all_go_aheads(&rest[n..])))
}

/// "apply the plan", "approve version 2 of the plan now" and the like.
fn applies_the_plan(rest: &[&str]) -> bool {
    let known = [
        "apply", "approve", "execute", "accept", "run", "do", "the", "this", "that", "plan", "changes", "change", "version", "of",
    ];
    matches!(rest.first(), Some(&("apply" | "approve" | "execute" | "accept" | "run")))
        && rest.iter().any(|w| matches!(*w, "plan" | "changes"))
        && rest.iter().all(|w| known.contains(w) || w.trim_start_matches('v').chars().all(|c| c.is_ascii_digit()))
}

fn no(message: &Message, said: &str, situation: Situation) -> Option<Verdict> {
    let refusals = [
        "no",
        "nope",
        "reject it",
        "reject",
        "cancel",
        "cancel it",
        "discard it",
        "stop",
        "abort",
        "never mind",
        "nevermind",
        "reject the plan",
        "discard the plan",
        "cancel the plan",
        "don't",
        "do not",
        "don't do it",
        "do not apply it",
        "don't apply it",
    ];
    let refuses = refusals.contains(&said)
        || message.is_only(&["no", "nope", "thanks", "thank", "you"]) && message.has_any(&["no", "nope"]);
    if !refuses {
        return None;
    }
    Some(match situation.open_plan {
        true => (IntentKind::Unclear, 0.8, "the plan is not wanted as it is: reject it, or say what to do otherwise"),
        false => (IntentKind::Unclear, 0.8, "the message refuses something, but no plan waits for review"),
    })
}

fn render(message: &Message, situation: Situation) -> Option<Verdict> {
    let how = message.says_any(&["how do", "how does", "how can", "how to", "what does", "why does", "why is"]);
    let verbs = ["render", "show", "see", "display", "preview", "print", "output", "view", "get", "give", "view", "look"];
    let asked =
        verbs.contains(&asked_verb(message)) || message.says_any(&["show me", "let me see", "i want to see", "what would"]);
    let rendered =
        message.has_any(&["rendered", "manifest", "manifests"]) || message.says_any(&["helm template", "rendered output"]);
    let names_it = asked_verb(message) == "render" || message.says("dry run");
    let templates = message.words.first().is_some_and(|w| w == "helm") && message.words.get(1).is_some_and(|w| w == "template");
    if how || !(names_it || templates || (asked && rendered)) || changes(message) {
        return None;
    }
    Some(match situation.workspace {
        true => (IntentKind::Render, 0.9, "the message asks to see the files rendered"),
        false => (IntentKind::Unclear, 0.8, "the message asks to see files rendered, but there is no workspace"),
    })
}

fn small_talk(message: &Message) -> Option<Verdict> {
    let greets = ["hi", "hello", "hey", "thanks", "thank", "cheers", "bye", "goodbye"];
    let openers = message.words.first().is_some_and(|w| greets.contains(&w.as_str()));
    let short = message.words.len() <= 4 && !changes(message) && !message.asks;
    let phrases = ["good morning", "good evening", "good afternoon", "who are you", "what can you do", "what are you"];
    (openers && short || message.says_any(&phrases) && message.words.len() <= 8).then_some((
        IntentKind::Converse,
        0.9,
        "the message is a greeting or about the assistant itself",
    ))
}

/// Answers wanted, hands off the files.
fn hands_off(message: &Message) -> Option<Verdict> {
    let phrases = [
        "don't change",
        "do not change",
        "without changing",
        "don't touch",
        "do not touch",
        "just explain",
        "just tell me",
        "only explain",
        "no changes",
    ];
    message.says_any(&phrases).then_some(())?;
    (message.asks || is_question_word(message.first()) || message.says_any(&["explain", "tell me", "show me", "describe"]))
        .then_some((IntentKind::Converse, 0.8, "the message asks for an answer and for no change"))
}

fn change(message: &Message, situation: Situation) -> Option<Verdict> {
    let confidence = if !changes(message) {
        states_a_wish(message).then_some(0.75)?
    } else if message.asks {
        0.85
    } else {
        0.92
    };
    Some(match situation.workspace {
        true => (IntentKind::Plan, confidence, "the message asks for a change to files"),
        false => (IntentKind::Unclear, 0.7, "the message asks for a change, but there is no workspace to change"),
    })
}

/// The request is an order to change something, bare or wrapped in a wish.
fn changes(message: &Message) -> bool {
    let request = message.request();
    let at = wish_length(request);
    let verb_at = at.unwrap_or(0);
    let verb = request.get(verb_at).map_or("", String::as_str);
    let next = request.get(verb_at + 1).map_or("", String::as_str);
    if !CHANGE_VERBS.contains(&verb) || (at.is_none() && message.asks && tells_of_state(message)) {
        return phrasal(verb, next, request.get(verb_at + 2..).unwrap_or_default());
    }
    match verb {
        // "make sense of", "put simply", "set theory": the object tells.
        "make" | "put" | "give" | "use" | "run" | "set" | "turn" | "let" => {
            !matches!(next, "sense" | "simply" | "it short" | "me" | "us" | "theory" | "") || (next == "us" && verb != "give")
        }
        "write" | "generate" | "draft" => !matches!(next, "me" | "to"),
        _ => true,
    }
}

/// "turn on …", "roll back …", "get rid of …".
fn phrasal(verb: &str, next: &str, rest: &[String]) -> bool {
    matches!((verb, next), ("get", "rid") | ("roll", "back" | "out") | ("turn", "on" | "off") | ("switch", "on" | "off" | "to"))
        || (verb == "turn" && rest.iter().any(|w| w == "on" || w == "off"))
        || (verb == "bring" && matches!(next, "up" | "down" | "back"))
}

/// "replicas set to three?": a state, not an order.
fn tells_of_state(message: &Message) -> bool {
    message.says_any(&["is set", "are set", "was set"])
}

/// How many words wrap a request: "could you please", "i want you to", "we need to", "let's".
fn wish_length(request: &[String]) -> Option<usize> {
    let words: Vec<&str> = request.iter().map(String::as_str).collect();
    let wrapped = WISHES.iter().filter(|wish| words.len() > wish.len() && words.starts_with(wish)).map(|w| w.len()).max()?;
    let polite = words[wrapped..].iter().take_while(|w| COURTESIES.contains(w)).count();
    Some(wrapped + polite)
}

/// "we need an ingress", "the gateway should have three replicas".
fn states_a_wish(message: &Message) -> bool {
    if message.asks || is_question_word(message.first()) {
        return false;
    }
    let request = message.request().join(" ");
    let wants = ["i want", "i need", "we want", "we need", "i'd like", "we'd like", "i would like", "we would like"];
    let knows = ["to know", "to understand", "to see", "to learn", "help", "an explanation", "to ask", "information"];
    if let Some(want) = wants.iter().find(|w| request.starts_with(*w)) {
        let object = request[want.len()..].trim_start();
        return !object.is_empty() && !knows.iter().any(|k| object.starts_with(k));
    }
    message.says_any(&[
        "should be",
        "should have",
        "should use",
        "should run",
        "must be",
        "must have",
        "must use",
        "needs to be",
        "need to be",
        "has to be",
        "have to be",
        "instead of",
        "ought to be",
    ])
}

fn question(message: &Message) -> Option<Verdict> {
    let tells = [
        "explain",
        "describe",
        "tell",
        "list",
        "show",
        "summarize",
        "summarise",
        "find",
        "compare",
        "search",
        "count",
        "clarify",
        "help",
        "give",
        "walk",
    ];
    if message.asks || is_question_word(message.first()) || tells.contains(&asked_verb(message)) {
        let confidence = if message.asks { 0.9 } else { 0.8 };
        return Some((IntentKind::Converse, confidence, "the message asks a question"));
    }
    let wonders = [
        "i wonder",
        "i want to know",
        "i want to understand",
        "i'd like to know",
        "i don't understand",
        "do you know",
        "not sure",
    ];
    wonders.iter().any(|w| message.text.starts_with(w)).then_some((IntentKind::Converse, 0.8, "the message asks a question"))
}

fn is_question_word(word: &str) -> bool {
    QUESTION_WORDS.contains(&word)
}
