//! One rule: where it looks, what it finds, and what it lets pass.

use std::ops::Range;
use std::sync::OnceLock;

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};
use serde::Deserialize;

use crate::allow::{Allow, AllowData, Seen};
use crate::pattern::{Pattern, Search};
use crate::shape;

// How far the cut-off beginning of an expression reaches.
const LENGTHENED: usize = 50;

/// A rule as it is written in a rule set.
#[derive(Debug, Deserialize)]
pub(crate) struct RuleData {
    id: String,
    regex: Option<String>,
    path: Option<String>,
    #[serde(default)]
    entropy: f64,
    #[serde(default, rename = "secretGroup")]
    secret_group: usize,
    #[serde(default)]
    keywords: Vec<String>,
    #[serde(default)]
    allowlists: Vec<AllowData>,
    shape: Option<Shape>,
}

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Shape {
    /// No reference and no placeholder.
    Any,
    /// A password.
    Password,
    /// A password that no word is.
    MixedPassword,
    /// Random.
    Token,
    /// Random, and no id or digest unless it is called a secret.
    Generic,
}

/// A rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: &'static str,
    pub(crate) keywords: Vec<String>,
    /// A rule that is about a certain service tells more than a general one.
    pub(crate) general: bool,
    pattern: Pattern,
    search: Search,
    regex: OnceLock<Option<Regex>>,
    path: Option<Regex>,
    entropy: f64,
    secret_group: usize,
    allows: Vec<Allow>,
    shape: Shape,
}

/// A text in which rules look.
#[derive(Clone, Copy)]
pub(crate) struct Haystack<'a> {
    pub(crate) text: &'a str,
    pub(crate) path: Option<&'a str>,
}

impl Rule {
    /// A rule from its data; `None` for one that looks at nothing but a file's name.
    pub(crate) fn new(data: RuleData, ours: bool) -> Result<Option<Self>, String> {
        let Some(regex) = data.regex else { return Ok(None) };
        let of_rule = |e: String| format!("the rule {}: {e}", data.id);
        let keywords: Vec<_> = data.keywords.iter().map(|k| k.to_ascii_lowercase()).collect();
        let pattern = Pattern::new(&regex);
        let generic = data.id.starts_with("generic-");
        let path = data.path.map(|p| Pattern::new(&p).compile().map_err(of_rule)).transpose()?;
        let allows = data.allowlists.into_iter().map(Allow::new).collect::<Result<_, _>>().map_err(of_rule)?;
        Ok(Some(Self {
            search: pattern.search(&keywords),
            // The rules are read once in the life of a process.
            id: String::leak(data.id),
            keywords,
            general: ours || generic,
            pattern,
            regex: OnceLock::new(),
            path,
            entropy: data.entropy,
            secret_group: data.secret_group,
            allows,
            shape: data.shape.unwrap_or(if generic { Shape::Generic } else { Shape::Any }),
        }))
    }

    /// The expression, compiled when it is first needed. Every rule compiles: a test says so.
    pub(crate) fn regex(&self) -> Option<&Regex> {
        self.regex.get_or_init(|| self.pattern.compile().ok()).as_ref()
    }

    /// Adds what the rule finds to `found`, given where its keywords stand, in order.
    pub(crate) fn find(&self, hay: Haystack<'_>, hits: &[usize], global: &Allow, found: &mut Vec<Range<usize>>) {
        let of_path = |path: &Regex| hay.path.is_some_and(|p| path.is_match(p));
        if !self.path.as_ref().is_none_or(of_path) {
            return;
        }
        let Some(regex) = self.regex() else { return };
        let mut slots = vec![None; regex.group_info().slot_len()];
        let mut at = 0;
        for hit in hits {
            let (span, anchored) = match self.search {
                Search::AtKeyword => (*hit..hay.text.len(), Anchored::Yes),
                Search::Around(most) => (hit.saturating_sub(most)..(hit + most + 1).min(hay.text.len()), Anchored::No),
                Search::Everywhere => (0..hay.text.len(), Anchored::No),
            };
            if span.end <= at {
                continue;
            }
            let mut start = span.start.max(at);
            if anchored == Anchored::Yes && start > span.start {
                continue;
            }
            while start <= span.end {
                let input = Input::new(hay.text).span(start..span.end).anchored(anchored);
                if regex.search_slots(&input, &mut slots).is_none() {
                    break;
                }
                let (Some(from), Some(to)) = (slots[0], slots[1]) else { break };
                let matched = from.get()..to.get();
                if let Some(secret) = self.judge(hay, &matched, &slots, global) {
                    found.push(secret);
                }
                // A secret's end mark may begin the next match.
                at = matched.end.saturating_sub(1).max(matched.start + 1);
                start = at;
                if anchored == Anchored::Yes {
                    break;
                }
            }
            if self.search == Search::Everywhere {
                return;
            }
        }
    }

    /// The secret of a match, unless it is none after all.
    fn judge(
        &self,
        hay: Haystack<'_>,
        matched: &Range<usize>,
        slots: &[Option<regex_automata::util::primitives::NonMaxUsize>],
        global: &Allow,
    ) -> Option<Range<usize>> {
        let group = |n: usize| Some(slots.get(2 * n).copied()??.get()..slots.get(2 * n + 1).copied()??.get());
        let secret = match self.secret_group {
            0 => (1..slots.len() / 2).filter_map(group).find(|g| !g.is_empty()).unwrap_or_else(|| matched.clone()),
            n => group(n)?,
        };
        let secret = on_borders(hay.text, trimmed(hay.text.as_bytes(), secret));
        let value = hay.text.get(secret.clone())?;
        if self.entropy > 0.0 && shape::entropy(value.as_bytes()) <= self.entropy {
            return None;
        }
        let matched = on_borders(hay.text, self.whole_match(hay.text.as_bytes(), matched));
        let seen = Seen { secret: value, matched: &hay.text[matched.clone()], line: line_of(hay.text, &matched), path: hay.path };
        let refused = !self.shape.fits(seen) || global.allows(seen) || self.allows.iter().any(|a| a.allows(seen));
        (!refused && !value.is_empty()).then_some(secret)
    }

    fn whole_match(&self, text: &[u8], matched: &Range<usize>) -> Range<usize> {
        let mut start = matched.start;
        let least = if self.pattern.lengthened { start.saturating_sub(LENGTHENED) } else { start };
        while start > least && (text[start - 1].is_ascii_alphanumeric() || matches!(text[start - 1], b'_' | b'.' | b'-')) {
            start -= 1;
        }
        start..matched.end
    }
}

impl Shape {
    fn fits(self, seen: Seen<'_>) -> bool {
        let value = seen.secret;
        if shape::is_placeholder(value) {
            return false;
        }
        match self {
            Self::Any => true,
            Self::Password => shape::is_password(value),
            Self::MixedPassword => shape::is_password(value) && !value.bytes().all(|b| b.is_ascii_alphabetic()),
            Self::Token => shape::is_random(value) && !shape::is_plain_id(value, seen.line),
            Self::Generic => !shape::is_name(value) && !shape::is_plain_id(value, seen.line),
        }
    }
}

fn trimmed(text: &[u8], mut range: Range<usize>) -> Range<usize> {
    while range.start < range.end && text[range.start] == b'\n' {
        range.start += 1;
    }
    while range.start < range.end && text[range.end - 1] == b'\n' {
        range.end -= 1;
    }
    range
}

/// The range, widened to the borders of characters: expressions see bytes.
fn on_borders(text: &str, mut range: Range<usize>) -> Range<usize> {
    while !text.is_char_boundary(range.start) {
        range.start -= 1;
    }
    while !text.is_char_boundary(range.end) {
        range.end += 1;
    }
    range
}

fn line_of<'a>(text: &'a str, range: &Range<usize>) -> &'a str {
    let start = text[..range.start].rfind('\n').map_or(0, |n| n + 1);
    let end = text[range.end..].find('\n').map_or(text.len(), |n| range.end + n);
    &text[start..end]
}
