//! Replacing names in texts, between the borders of words: `prod` never hits `production`, but it does hit `prod-db`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, BuildError};

use super::pseudonyms::Key;
use super::restore::Restorer;
use super::texts::{self, Form};
use crate::model::{NameKind, PrivateName, Request, Withheld};

const MAX_ATTEMPTS: u32 = 100;

/// The names of a request and what stands for them.
pub(super) struct Names {
    plain: AhoCorasick,
    // The same names as they stand in JSON.
    json: AhoCorasick,
    // For each pattern of both.
    with: Vec<String>,
    restorer: Option<Restorer>,
}

impl Names {
    /// What the names of a request become: those that are withheld a word for their kind, the others pseudonyms that the
    /// request does not hold yet.
    pub(super) fn new(names: Vec<PrivateName>, withheld: Withheld, key: Key, request: &mut Request) -> Result<Self, BuildError> {
        let mut kinds: BTreeMap<String, NameKind> = BTreeMap::new();
        for PrivateName { name, kind } in names {
            // What is known better comes first.
            kinds.entry(name).or_insert(kind);
        }
        let mut table: Vec<(String, String)> = Vec::new();
        let mut hidden = Vec::new();
        for (name, kind) in kinds {
            match word_for(kind, withheld) {
                Some(word) => table.push((name, word.to_owned())),
                None => hidden.push((name, kind)),
            }
        }
        let pseudonyms = unused(&hidden, key, request);
        let restorer = Restorer::new(&pseudonyms)?;
        table.extend(pseudonyms);
        let plain = AhoCorasick::new(table.iter().map(|(name, _)| name))?;
        let json = AhoCorasick::new(table.iter().map(|(name, _)| escaped(name)))?;
        let with = table.into_iter().map(|(_, word)| word).collect();
        Ok(Self { plain, json, with, restorer })
    }

    /// What gives the names back, if any can come back.
    pub(super) fn into_restorer(self) -> Option<Restorer> {
        self.restorer
    }

    /// The text with its names replaced, the longest where several begin.
    pub(super) fn replace<'a>(&self, text: &'a str, form: Form) -> Cow<'a, str> {
        let finder = match form {
            Form::Plain => &self.plain,
            Form::Json => &self.json,
        };
        let whole = |m: &aho_corasick::Match| is_whole(text, m.start(), m.end());
        let mut found: Vec<_> = finder.find_overlapping_iter(text).filter(whole).collect();
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_by_key(|m| (m.start(), usize::MAX - m.end()));
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        for m in found {
            if m.start() >= at {
                out.push_str(&text[at..m.start()]);
                out.push_str(&self.with[m.pattern().as_usize()]);
                at = m.end();
            }
        }
        out.push_str(&text[at..]);
        Cow::Owned(out)
    }
}

fn word_for(kind: NameKind, withheld: Withheld) -> Option<&'static str> {
    match kind {
        NameKind::Cluster if withheld.cluster => Some("[cluster]"),
        NameKind::Resource if withheld.resources => Some("[resource]"),
        NameKind::Pod if withheld.pods => Some("[pod]"),
        _ => None,
    }
}

/// A pseudonym for each name that no text of the request holds, so that nothing else is taken for it on the way back.
fn unused(names: &[(String, NameKind)], key: Key, request: &mut Request) -> Vec<(String, String)> {
    let mut made: Vec<_> = names.iter().map(|(name, kind)| (name.clone(), key.pseudonym(name, *kind, 0))).collect();
    for attempt in 1..MAX_ATTEMPTS {
        let Ok(finder) = AhoCorasick::new(made.iter().map(|(_, p)| p)) else { break };
        let mut taken = vec![false; made.len()];
        texts::rewrite(request, &mut |text, _| {
            finder.find_overlapping_iter(text).for_each(|m| taken[m.pattern().as_usize()] = true);
            Cow::Borrowed(text)
        });
        if !taken.contains(&true) {
            break;
        }
        for ((made, (name, kind)), _) in made.iter_mut().zip(names).zip(&taken).filter(|(_, taken)| **taken) {
            made.1 = key.pseudonym(name, *kind, attempt);
        }
    }
    made
}

/// As it stands in JSON, without the quotes.
pub(super) fn escaped(name: &str) -> String {
    let quoted = serde_json::Value::from(name).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Neither letter, digit nor underscore touches it. An escape of JSON in front of it is a border.
fn is_whole(text: &str, start: usize, end: usize) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (before, name, after) = (&text[..start], &text[start..end], &text[end..]);
    let inner = |edge: Option<char>, outside: Option<char>| edge.is_some_and(is_word) && outside.is_some_and(is_word);
    let begins = !inner(name.chars().next(), before.chars().next_back()) || ends_in_escape(before);
    begins && !inner(name.chars().next_back(), after.chars().next())
}

fn ends_in_escape(before: &str) -> bool {
    let bytes = before.as_bytes();
    match bytes {
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
        [.., b'\\', b'u', a, b, c, d] => [a, b, c, d].iter().all(|x| x.is_ascii_hexdigit()),
        _ => false,
    }
}
