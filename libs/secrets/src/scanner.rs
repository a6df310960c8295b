//! Applying everything to a text: section by section, each finding once, the one that tells most first.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use regex_automata::meta::Regex;

use crate::pattern::Pattern;
use crate::rule::Haystack;
use crate::rules::{Found, Rules};
use crate::stream::Redactor;
use crate::{Finding, encoded, kubernetes, lone, marker, sections};

// Base64 within base64, and no further.
const MAX_DEPTH: usize = 2;

/// What finds secrets: the rules of this crate, less what an operator has allowed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Scanner {
    rules: &'static Rules,
    allowed: Arc<[Regex]>,
}

/// An expression of what is allowed that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("\"{expression}\" is not a regular expression: {reason}")]
pub struct AllowError {
    expression: String,
    reason: String,
}

/// A secret of a section, in the section's own bytes.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) rule: &'static str,
    pub(crate) range: Range<usize>,
}

impl Scanner {
    /// The rules of this crate.
    pub fn standard() -> &'static Self {
        static STANDARD: OnceLock<Scanner> = OnceLock::new();
        STANDARD.get_or_init(|| Self { rules: Rules::get(), allowed: Arc::default() })
    }

    /// The rules of this crate, letting pass what one of `allowed` matches: regular expressions for whole secrets.
    pub fn allowing(allowed: &[String]) -> Result<Self, AllowError> {
        let compile = |expression: &String| {
            let whole = format!("^(?:{expression})$");
            let failed = |reason| AllowError { expression: expression.clone(), reason };
            Pattern::new(&whole).compile().map_err(failed)
        };
        let allowed = allowed.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { rules: Rules::get(), allowed })
    }

    /// The secrets of a text, in their order; no two overlap.
    pub fn scan(&self, text: &str) -> Vec<Finding> {
        self.scan_at(text, None)
    }

    /// The secrets of a file: some rules look at files of certain names only, and some names are left out.
    pub fn scan_file(&self, path: &str, text: &str) -> Vec<Finding> {
        self.scan_at(text, Some(path))
    }

    fn scan_at(&self, text: &str, path: Option<&str>) -> Vec<Finding> {
        let (mut found, mut at, mut carry) = (Vec::new(), 0, None);
        let (mut line, mut line_start, mut seen) = (1, 0, 0);
        while let Some(length) = sections::next(&text[at..], true) {
            for hit in self.section(&text[at..at + length], path, &mut carry) {
                let range = at + hit.range.start..at + hit.range.end;
                let before = &text.as_bytes()[seen..range.start];
                line += memchr::memchr_iter(b'\n', before).count();
                line_start = memchr::memrchr(b'\n', before).map_or(line_start, |n| seen + n + 1);
                seen = range.start;
                let column = text[line_start..range.start].chars().count() + 1;
                found.push(Finding { rule: hit.rule, range, line, column });
            }
            at += length;
        }
        found
    }

    /// The text with each secret replaced by a marker that tells its kind.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let (mut out, mut at, mut kept, mut carry) = (String::new(), 0, 0, None);
        while let Some(length) = sections::next(&text[at..], true) {
            for hit in self.section(&text[at..at + length], None, &mut carry) {
                out.push_str(&text[kept..at + hit.range.start]);
                out.push_str(&marker(hit.rule));
                kept = at + hit.range.end;
            }
            at += length;
        }
        if kept == 0 {
            return Cow::Borrowed(text);
        }
        out.push_str(&text[kept..]);
        Cow::Owned(out)
    }

    /// The text of a file with each secret replaced by a marker; the lines keep their numbers.
    pub fn redact_file<'a>(&self, path: &str, text: &'a str) -> Cow<'a, str> {
        let found = self.scan_file(path, text);
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut out, mut kept) = (String::with_capacity(text.len()), 0);
        for finding in found {
            out.push_str(&text[kept..finding.range.start]);
            out.push_str(&marker(finding.rule));
            out.extend(text[finding.range.clone()].matches('\n'));
            kept = finding.range.end;
        }
        out.push_str(&text[kept..]);
        Cow::Owned(out)
    }

    /// Redacts a text that comes in pieces.
    pub fn redactor(&self) -> Redactor {
        Redactor::new(self.clone())
    }

    /// The secrets of one section. `carry` is the rule of a secret that the section before ended in the middle of.
    pub(crate) fn section(&self, text: &str, path: Option<&str>, carry: &mut Option<&'static str>) -> Vec<Hit> {
        let view = unescaped(text);
        let mut found = self.found(Haystack { text: &view, path }, 0);
        if let Some(rule) = carry.take() {
            let end = text.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '\\')).unwrap_or(text.len());
            if end > 0 {
                found.push(Found { rule, range: 0..end, general: false });
            }
        }
        let hits = merged(found);
        *carry = hits.last().filter(|hit| hit.range.end == text.len()).map(|hit| hit.rule);
        hits
    }

    fn found(&self, hay: Haystack<'_>, depth: usize) -> Vec<Found> {
        let text = hay.text;
        let mut found = self.rules.find(hay);
        found.extend(kubernetes::find(text).into_iter().map(|range| Found { rule: kubernetes::RULE, range, general: false }));
        let mut decoded = 0;
        for run in lone::runs(text).filter(|_| depth < MAX_DEPTH) {
            if run.start < decoded {
                continue;
            }
            let whole = encoded::wrapped(text, run.clone());
            if let Some(inside) = encoded::decode(&text[whole.clone()]) {
                decoded = whole.end;
                let inner = self.found(Haystack { text: &inside, path: None }, depth + 1);
                if let Some(first) = merged(inner).first() {
                    found.push(Found { rule: first.rule, range: whole, general: false });
                }
            } else if lone::is_key(text, &run) {
                found.push(Found { rule: "random-key", range: run, general: true });
            }
        }
        found.retain(|f| !self.allowed.iter().any(|allowed| allowed.is_match(&text[f.range.clone()])));
        found
    }
}

/// The text with the escapes of line ends and tabs in quoted text turned into what they stand for, without moving anything:
/// expressions shall see `\\n` as the border that it is.
fn unescaped(text: &str) -> Cow<'_, str> {
    let escape = |n: usize| matches!(text.as_bytes().get(n + 1), Some(b'n' | b'r' | b't'));
    if !memchr::memchr_iter(b'\\', text.as_bytes()).any(escape) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("\\n", " \n").replace("\\r", "  ").replace("\\t", "  "))
}

/// In order and apart. Where findings overlap, all of it is one secret, of the kind that the most telling one names.
fn merged(mut found: Vec<Found>) -> Vec<Hit> {
    found.sort_by(|a, b| (a.range.start, a.general, b.range.end).cmp(&(b.range.start, b.general, a.range.end)));
    let mut hits: Vec<(Hit, bool)> = Vec::with_capacity(found.len());
    for Found { rule, range, general } in found {
        match hits.last_mut() {
            Some((last, is_general)) if range.start < last.range.end => {
                last.range.end = last.range.end.max(range.end);
                if *is_general && !general {
                    (last.rule, *is_general) = (rule, false);
                }
            }
            _ => hits.push((Hit { rule, range }, general)),
        }
    }
    hits.into_iter().map(|(hit, _)| hit).collect()
}
