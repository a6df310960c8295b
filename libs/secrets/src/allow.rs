//! What a rule set says is no secret after all: regular expressions, words and paths, for all rules or for one.

use aho_corasick::AhoCorasick;
use regex_automata::meta::Regex;
use serde::Deserialize;

use crate::pattern::Pattern;

/// An allowlist as it is written in a rule set.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct AllowData {
    #[serde(default)]
    regexes: Vec<String>,
    #[serde(default, rename = "regexTarget")]
    target: Target,
    #[serde(default)]
    stopwords: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    condition: Condition,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Target {
    #[default]
    Secret,
    Match,
    Line,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Condition {
    #[default]
    Or,
    And,
}

/// What a match looked like.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) secret: &'a str,
    pub(crate) matched: &'a str,
    pub(crate) line: &'a str,
    pub(crate) path: Option<&'a str>,
}

/// An allowlist, compiled.
#[derive(Debug)]
pub(crate) struct Allow {
    regexes: Vec<Regex>,
    target: Target,
    stopwords: Option<AhoCorasick>,
    paths: Vec<Regex>,
    condition: Condition,
}

impl Allow {
    /// Compiles an allowlist.
    pub(crate) fn new(data: AllowData) -> Result<Self, String> {
        let compile = |all: &[String]| -> Result<Vec<_>, String> {
            all.iter().map(|r| Pattern::new(r).compile().map_err(|e| format!("{r}: {e}"))).collect()
        };
        let stopwords = (!data.stopwords.is_empty())
            .then(|| AhoCorasick::builder().ascii_case_insensitive(true).build(&data.stopwords))
            .transpose()
            .map_err(|e| e.to_string())?;
        Ok(Self {
            regexes: compile(&data.regexes)?,
            target: data.target,
            stopwords,
            paths: compile(&data.paths)?,
            condition: data.condition,
        })
    }

    /// True when the match is no secret.
    pub(crate) fn allows(&self, seen: Seen<'_>) -> bool {
        let text = match self.target {
            Target::Secret => seen.secret,
            Target::Match => seen.matched,
            Target::Line => seen.line,
        };
        let checks = [
            (!self.regexes.is_empty()).then(|| self.regexes.iter().any(|r| r.is_match(text))),
            self.stopwords.as_ref().map(|words| words.is_match(seen.secret)),
            (!self.paths.is_empty()).then(|| seen.path.is_some_and(|path| self.paths.iter().any(|r| r.is_match(path)))),
        ];
        let mut checks = checks.into_iter().flatten();
        match self.condition {
            Condition::Or => checks.any(|c| c),
            Condition::And => checks.all(|c| c),
        }
    }
}
