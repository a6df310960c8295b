//! The rules in force, and the one automaton over all their keywords that says which of them have to look at a text.

use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use serde::Deserialize;

use crate::allow::{Allow, AllowData};
use crate::rule::{Haystack, Rule, RuleData};

const GITLEAKS: &str = include_str!("../data/gitleaks.toml");
const OURS: &str = include_str!("../data/slipway.toml");

/// A rule set as it is written.
#[derive(Debug, Deserialize)]
struct SetData {
    #[serde(default)]
    allowlist: AllowData,
    rules: Vec<RuleData>,
}

/// All rules.
#[derive(Debug)]
pub(crate) struct Rules {
    all: Vec<Rule>,
    keywords: AhoCorasick,
    // For each keyword, the rules that it calls.
    called: Vec<Vec<u16>>,
    allow: Allow,
}

/// What a rule found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) rule: &'static str,
    pub(crate) range: Range<usize>,
    pub(crate) general: bool,
}

impl Rules {
    /// The rules that come with the crate.
    #[expect(clippy::expect_used, reason = "constant data; a test reads it")]
    pub(crate) fn get() -> &'static Self {
        static RULES: OnceLock<Rules> = OnceLock::new();
        RULES.get_or_init(|| Self::read(GITLEAKS, OURS).expect("the rules of this crate can be read"))
    }

    fn read(theirs: &str, ours: &str) -> Result<Self, String> {
        let parse = |text: &str| toml::from_str::<SetData>(text).map_err(|e| e.to_string());
        let (theirs, ours) = (parse(theirs)?, parse(ours)?);
        let mut all = Vec::with_capacity(theirs.rules.len() + ours.rules.len());
        for (rules, is_ours) in [(theirs.rules, false), (ours.rules, true)] {
            for rule in rules {
                all.extend(Rule::new(rule, is_ours)?);
            }
        }
        let mut words: Vec<&str> = all.iter().flat_map(|r| r.keywords.iter().map(String::as_str)).collect();
        words.sort_unstable();
        words.dedup();
        let calls =
            |word: &&str| (0u16..).zip(&all).filter(|(_, r)| r.keywords.iter().any(|k| k == word)).map(|(n, _)| n).collect();
        let called = words.iter().map(calls).collect();
        let keywords = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&words)
            .map_err(|e| e.to_string())?;
        Ok(Self { keywords, called, allow: Allow::new(theirs.allowlist)?, all })
    }

    /// What the rules find in a text. Only rules whose keywords are there look, and only around them.
    pub(crate) fn find(&self, hay: Haystack<'_>) -> Vec<Found> {
        let mut calls: Vec<(u16, u32)> = Vec::new();
        for hit in self.keywords.find_overlapping_iter(hay.text) {
            let at = u32::try_from(hit.start()).unwrap_or(u32::MAX);
            calls.extend(self.called[hit.pattern().as_usize()].iter().map(|rule| (*rule, at)));
        }
        calls.sort_unstable();
        calls.dedup();
        let mut found = Vec::new();
        let (mut hits, mut ranges) = (Vec::new(), Vec::new());
        for of_rule in calls.chunk_by(|a, b| a.0 == b.0) {
            let rule = &self.all[usize::from(of_rule[0].0)];
            hits.clear();
            hits.extend(of_rule.iter().map(|(_, at)| *at as usize));
            rule.find(hay, &hits, &self.allow, &mut ranges);
            found.extend(ranges.drain(..).map(|range| Found { rule: rule.id, range, general: rule.general }));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_compiles() {
        let rules = Rules::get();
        assert!(rules.all.len() > 230, "{}", rules.all.len());
        let broken: Vec<_> = rules.all.iter().filter(|r| r.regex().is_none()).map(|r| r.id).collect();
        assert!(broken.is_empty(), "{broken:?}");
        assert!(rules.all.iter().all(|r| !r.keywords.is_empty()));
    }

    #[test]
    fn a_broken_set_is_told() {
        let broken = "[[rules]]\nid = \"x\"\nregex = '''a'''\nkeywords = [\"a\"]\n[[rules.allowlists]]\nregexes = ['''(''']";
        assert!(Rules::read(broken, OURS).unwrap_err().contains("the rule x"));
    }
}
