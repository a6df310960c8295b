//! Reads single clauses: which reader takes one, the keys that are named outright, and what is left for the target.

use super::vocabulary::{FILLERS, GENERIC, PERHAPS_NAMES, VERBS, seconds_or_number};
use super::{Request, Surroundings, Target, Wish, said};
use crate::builtin::words::{Word, singular};
use crate::builtin::yaml::Value;

/// True when a fragment starts a request of its own.
pub(super) fn begins_with_verb(words: &[Word]) -> bool {
    let polite = [
        "please", "can", "could", "would", "you", "i", "we", "i'd", "we'd", "let's", "lets", "let", "us", "like", "to", "just",
        "now",
    ];
    // "the limit and request to 1": nouns as often as verbs.
    words.iter().find(|w| !w.is(&polite)).is_some_and(|w| w.is(VERBS) && !w.is(&["request", "limit"]))
}

/// Greetings and thanks, which want nothing.
pub(super) fn is_talk(words: &[Word]) -> bool {
    words.iter().all(|w| !w.quoted && w.is(FILLERS) && w.number().is_none_or(|_| w.is(&["one"])))
}

/// The wish of a clause. `before` is the wish that the clause goes on from.
pub(super) fn request(words: &[Word], around: &dyn Surroundings, before: Option<&Request>, verb: bool) -> Option<Request> {
    let mut clause = Clause { words, used: vec![false; words.len()] };
    let file = clause.file(around);
    let wish = clause
        .path(around)
        .or_else(|| clause.meta(before, verb))
        .or_else(|| clause.autoscaling(before))
        .or_else(|| clause.probe(before, verb))
        .or_else(|| clause.service_type())
        .or_else(|| clause.env())
        .or_else(|| clause.ingress(around, before, verb))
        .or_else(|| clause.resources(before, verb))
        .or_else(|| clause.version())
        .or_else(|| clause.image())
        .or_else(|| clause.port())
        .or_else(|| clause.replicas(around))
        .or_else(|| clause.switch())
        .or_else(|| clause.key())?;
    let mut target = clause.target(around);
    for word in &mut target.words {
        if !around.is_component(word) && around.is_component(singular(word)) {
            *word = singular(word).to_owned();
        }
    }
    let refers = !verb || clause.has(&["it", "its", "them", "their"]);
    if let Some(before) = before.filter(|_| refers && target.is_empty()) {
        target.words.clone_from(&before.target.words);
        target.all = before.target.all;
    }
    let file = file.or_else(|| before.filter(|_| !verb).and_then(|b| b.file.clone()));
    Some(Request { wish, target, file, said: said(words) })
}

pub(super) struct Clause<'a> {
    pub(super) words: &'a [Word],
    pub(super) used: Vec<bool>,
}

impl Clause<'_> {
    pub(super) fn has(&self, words: &[&str]) -> bool {
        self.words.iter().any(|w| w.is(words))
    }

    pub(super) fn position(&self, words: &[&str]) -> Option<usize> {
        self.words.iter().position(|w| w.is(words))
    }

    pub(super) fn take(&mut self, words: &[&str]) -> bool {
        let mut found = false;
        for (word, used) in self.words.iter().zip(&mut self.used) {
            if word.is(words) {
                *used = true;
                found = true;
            }
        }
        found
    }

    pub(super) fn has_pair(&self, a: &[&str], b: &[&str]) -> bool {
        self.words.windows(2).any(|w| w[0].is(a) && w[1].is(b))
    }

    /// The next word after a position that is not a filler of values.
    pub(super) fn after(&self, at: usize) -> Option<usize> {
        let fillers = [
            "to", "of", "at", "is", "=", "as", "be", "with", "value", "the", "a", "an", "on", "for", "named", "called", "only",
            "from",
        ];
        (at + 1..self.words.len()).find(|&n| !self.used[n] && !self.words[n].is(&fillers))
    }

    pub(super) fn text(&mut self, at: usize) -> String {
        self.used[at] = true;
        self.words[at].text.clone()
    }

    pub(super) fn number_after(&mut self, words: &[&str]) -> Option<u64> {
        let at = self.position(words)?;
        let next = self.after(at)?;
        let number = seconds_or_number(&self.words[next])?;
        self.used[next] = true;
        Some(number)
    }

    /// The number that is meant: after "to" if there is one, else the last.
    pub(super) fn number(&mut self) -> Option<u64> {
        let numbers: Vec<usize> = (0..self.words.len()).filter(|&n| !self.used[n] && self.words[n].number().is_some()).collect();
        let after_to = numbers.iter().copied().find(|&n| n > 0 && self.words[n - 1].is(&["to", "=", "into"]));
        let real = numbers.iter().copied().find(|&n| !self.words[n].is(&["one", "single"]));
        let at = after_to.or(real).or(numbers.first().copied())?;
        for n in numbers {
            self.used[n] = true;
        }
        self.words[at].number()
    }

    pub(super) fn is_off(&self) -> bool {
        self.has(&["disable", "disabled", "off", "remove", "delete", "drop", "without", "no", "deactivate", "stop"])
    }

    pub(super) fn removes(&self) -> bool {
        self.has(&["remove", "delete", "drop", "unset"])
    }

    fn file(&mut self, around: &dyn Surroundings) -> Option<String> {
        let at = self.words.iter().position(|w| w.text.contains('.') && around.file(&w.text).is_some())?;
        self.used[at] = true;
        around.file(&self.words[at].text)
    }

    fn path(&mut self, around: &dyn Surroundings) -> Option<Wish> {
        let plain = |w: &Word| {
            !w.text.contains('=')
                && (w.text.contains(['.', '[']) || w.text.chars().any(char::is_uppercase))
                && around.is_path(&w.text)
        };
        if let Some(at) = self.words.iter().position(|w| w.text.split_once('=').is_some_and(|(k, _)| around.is_path(k))) {
            let word = self.words[at].clone();
            let (path, value) = word.text.split_once('=')?;
            self.used.fill(true);
            let value = if word.quoted { Value::text(value) } else { Value::of_word(value) };
            return Some(Wish::Path { path: path.to_owned(), value: Some(value) });
        }
        let at = (0..self.words.len()).find(|&n| !self.used[n] && plain(&self.words[n]))?;
        let path = self.words[at].text.clone();
        if self.removes() {
            self.used.fill(true);
            return Some(Wish::Path { path, value: None });
        }
        // What comes after the value may name the object that has the path.
        let end = self.value_end(at);
        let value = self.value_after(at);
        if value.is_none() && self.has(&["enable", "disable", "on", "off", "activate", "deactivate"]) {
            let on = !self.is_off();
            self.used.fill(true);
            return Some(Wish::Path { path, value: Some(Value::Bool(on)) });
        }
        self.used[..end].fill(true);
        Some(Wish::Path { path, value: Some(value?) })
    }

    /// Everything after "to", or after a position: one word with its type, or several as one text.
    fn value_after(&self, at: usize) -> Option<Value> {
        let (from, end) = (self.value_begin(at), self.value_end(at));
        let rest: Vec<&Word> = (from..end).filter(|&n| !self.used[n]).map(|n| &self.words[n]).collect();
        match rest[..] {
            [] => None,
            [word] if word.quoted => Some(Value::text(word.text.clone())),
            [word] => Some(word.number().map_or_else(|| Value::of_word(&word.text), Value::number)),
            _ => Some(Value::text(rest.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" "))),
        }
    }

    fn value_begin(&self, at: usize) -> usize {
        (at + 1..self.words.len()).rev().find(|&n| self.words[n].is(&["to", "=", "as"])).map_or(at + 1, |n| n + 1)
    }

    fn value_end(&self, at: usize) -> usize {
        let from = self.value_begin(at);
        let ends = |n: &usize| self.words[*n].is(&["please", "in", "instead", "for", "on"]);
        (from + 1..self.words.len()).find(ends).unwrap_or(self.words.len())
    }

    fn switch(&mut self) -> Option<Wish> {
        let on = self.has(&["enable", "activate"]) || (self.has(&["turn", "switch"]) && self.has(&["on"]));
        let off = self.has(&["disable", "deactivate"]) || (self.has(&["turn", "switch"]) && self.has(&["off"]));
        if on == off {
            return None;
        }
        self.take(&["on", "off"]);
        let words = self.rest();
        (!words.is_empty()).then_some(Wish::Switch { words, on })
    }

    fn key(&mut self) -> Option<Wish> {
        if let Some(at) = (0..self.words.len()).find(|&n| self.words[n].text.contains('=') && !self.used[n]) {
            let word = self.words[at].clone();
            let (key, value) = word.text.split_once('=')?;
            self.used[at] = true;
            let mut words: Vec<String> = self.rest();
            words.extend(crate::builtin::words::parts(key));
            let value = if word.quoted { Value::text(value) } else { Value::of_word(value) };
            return Some(Wish::Key { words, value });
        }
        let verb = [
            "set",
            "change",
            "make",
            "increase",
            "decrease",
            "raise",
            "lower",
            "reduce",
            "bump",
            "update",
            "switch",
            "use",
            "put",
            "configure",
        ];
        let to = self.position(&["to", "=", "as"]).filter(|_| self.has(&verb))?;
        let value = self.value_after(to.checked_sub(1)?)?;
        for used in &mut self.used[to..] {
            *used = true;
        }
        let words = self.rest();
        (!words.is_empty()).then_some(Wish::Key { words, value })
    }

    /// The words that no reader took and that mean something; taken now.
    fn rest(&mut self) -> Vec<String> {
        let mut rest = Vec::new();
        for (word, used) in self.words.iter().zip(&mut self.used) {
            if !*used && !word.is(FILLERS) && !word.is(VERBS) {
                let text = if word.quoted { &word.text } else { &word.lower };
                rest.extend(crate::builtin::words::parts(text.strip_suffix("'s").unwrap_or(text)));
            }
            *used = true;
        }
        rest
    }

    /// What is left names the component.
    fn target(&self, around: &dyn Surroundings) -> Target {
        let mut target = Target { all: self.has(&["all", "every", "everything", "each"]), ..Target::default() };
        for (word, _) in self.words.iter().zip(&self.used).filter(|(_, used)| !**used) {
            let text = if word.quoted { word.text.to_lowercase() } else { word.lower.clone() };
            let text = text.strip_suffix("'s").unwrap_or(&text).to_owned();
            let named = word.is(PERHAPS_NAMES) && around.is_component(&text);
            if (word.is(FILLERS) && !named) || word.is(VERBS) || text.is_empty() {
                continue;
            }
            if GENERIC.contains(&text.as_str()) { target.generic.push(text) } else { target.words.push(text) }
        }
        target
    }
}
