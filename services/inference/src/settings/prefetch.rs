//! The settings of asking ahead.

use regex::RegexBuilder;
use serde::{Deserialize, Serialize};

const MAX_RULES: usize = 100;
const MAX_ASKS: usize = 10;
const MAX_TEXT: usize = 1_000;

/// `[inference.prefetch]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrefetchSettings {
    /// Likely next questions are asked ahead, for callers who want that.
    pub enabled: bool,
    /// The most that are asked after one answer.
    pub per_answer: usize,
    /// The most that are asked at the same time, by all of this process; what would be more is left out.
    pub concurrent: usize,
    /// What a project's prefetched answers may cost in a day (UTC), in micro-units of US dollars.
    pub daily_micros: i64,
    /// What is likely asked next.
    pub rules: Vec<PrefetchRule>,
}

/// One of `[[inference.prefetch.rules]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefetchRule {
    /// A regular expression that finds the question, in any case.
    pub when: String,
    /// The questions that are likely next.
    pub ask: Vec<String>,
}

impl Default for PrefetchSettings {
    fn default() -> Self {
        let rule = |when: &str, ask: &[&str]| PrefetchRule {
            when: when.to_owned(),
            ask: ask.iter().map(|text| (*text).to_owned()).collect(),
        };
        let rules = vec![
            rule(
                r"\bwhy\b.*\b(fail\w*|crash\w*|error\w*|broken|pending|restart\w*|not (working|running|starting|ready))",
                &["show me the logs", "what are the recent events"],
            ),
            rule(r"\b(create|deploy|install|set up)\b", &["what are the best practices", "how do I secure this"]),
        ];
        Self { enabled: false, per_answer: 2, concurrent: 2, daily_micros: 1_000_000, rules }
    }
}

impl PrefetchSettings {
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, value, most) in [("per_answer", self.per_answer, 10), ("concurrent", self.concurrent, 100)] {
            if !(1..=most).contains(&value) {
                return Err(format!("inference.prefetch.{key} = {value} is not between 1 and {most}"));
            }
        }
        if self.daily_micros < 0 {
            return Err("inference.prefetch.daily_micros is below 0".into());
        }
        if self.rules.len() > MAX_RULES {
            return Err(format!("inference.prefetch.rules are more than {MAX_RULES}"));
        }
        self.rules.iter().enumerate().try_for_each(|(n, rule)| rule.check(n))
    }
}

impl PrefetchRule {
    fn check(&self, n: usize) -> Result<(), String> {
        if let Err(error) = self.pattern() {
            return Err(format!("inference.prefetch.rules[{n}].when = \"{}\": {error}", self.when));
        }
        let legal = |text: &String| !text.trim().is_empty() && text.len() <= MAX_TEXT;
        if self.ask.is_empty() || self.ask.len() > MAX_ASKS || !self.ask.iter().all(legal) {
            return Err(format!(
                "inference.prefetch.rules[{n}].ask is not 1 to {MAX_ASKS} questions of at most {MAX_TEXT} bytes"
            ));
        }
        Ok(())
    }

    /// What finds the question.
    pub(crate) fn pattern(&self) -> Result<regex::Regex, regex::Error> {
        RegexBuilder::new(&self.when).case_insensitive(true).dot_matches_new_line(true).size_limit(1 << 20).build()
    }
}
