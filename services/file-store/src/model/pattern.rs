//! Patterns: globs over paths, and literal text or regular expressions over lines. All of them match in linear time.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::{Regex, RegexBuilder};

// A compiled expression may take this much memory; `(a{1000}){1000}` does not get in.
const MAX_COMPILED: usize = 4 << 20;
const MAX_NESTING: u32 = 100;
const MAX_LINE: usize = 500;

/// A pattern that is not one.
#[derive(Debug, thiserror::Error)]
#[error("the {what} is not valid: {why}")]
pub(crate) struct PatternError {
    what: &'static str,
    why: String,
}

/// Selects paths; empty selects all.
#[derive(Debug)]
pub(crate) struct Glob(Option<GlobSet>);

impl Glob {
    /// `*` and `?` stay within a part, `**` crosses parts.
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        if pattern.is_empty() {
            return Ok(Self(None));
        }
        let invalid = |e: globset::Error| PatternError { what: "glob", why: e.kind().to_string() };
        let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build().map_err(invalid)?;
        // A set reports an expression that is too large; a single matcher would panic.
        let set = GlobSetBuilder::new().add(glob).build().map_err(invalid)?;
        Ok(Self(Some(set)))
    }

    /// True when the whole path matches.
    pub(crate) fn matches(&self, path: &str) -> bool {
        self.0.as_ref().is_none_or(|set| set.is_match(path))
    }
}

/// A line that matches.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LineMatch {
    /// From 1.
    pub(crate) line: u32,
    /// Without its end, at most 500 characters.
    pub(crate) text: String,
}

/// Finds lines.
#[derive(Clone, Debug)]
pub(crate) struct LineMatcher(Regex);

impl LineMatcher {
    /// `regex`: the pattern is a regular expression, else literal text.
    pub(crate) fn new(pattern: &str, regex: bool, ignore_case: bool) -> Result<Self, PatternError> {
        let source = if regex { pattern.to_owned() } else { regex::escape(pattern) };
        let built = RegexBuilder::new(&source)
            .case_insensitive(ignore_case)
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_COMPILED)
            .nest_limit(MAX_NESTING)
            .build();
        let invalid = |e: regex::Error| PatternError { what: "regular expression", why: explain(&e) };
        built.map(Self).map_err(invalid)
    }

    /// The first `limit` lines of `text` that match.
    pub(crate) fn find(&self, text: &str, limit: usize) -> Vec<LineMatch> {
        let numbered = (1u32..).zip(text.lines());
        let hit = numbered.filter(|(_, line)| self.0.is_match(line)).take(limit);
        hit.map(|(line, text)| LineMatch { line, text: text.chars().take(MAX_LINE).collect() }).collect()
    }
}

fn explain(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "it is too large when compiled".to_owned(),
        // The first lines of a syntax error draw the pattern; the last says what is wrong.
        other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn globs_match_whole_paths() {
        let matches = |glob: &str, path| Glob::new(glob).unwrap().matches(path);
        assert!(matches("", "any/thing"));
        assert!(matches("*.yaml", "values.yaml"));
        assert!(!matches("*.yaml", "templates/x.yaml"));
        assert!(matches("templates/**/*.yaml", "templates/x.yaml"));
        assert!(matches("templates/**/*.yaml", "templates/a/b/x.yaml"));
        assert!(matches("**/*.yaml", "values.yaml"));
        assert!(matches("{Chart,values}.yaml", "Chart.yaml"));
        assert!(matches("[a-c]?", "b1"));
        assert!(matches("\\*", "*"));
        assert!(!matches("*", ".x/y"));
    }

    #[test]
    fn bad_globs_are_refused_without_a_panic() {
        for glob in ["[", "a{b", "[z-a]", "\\", &"{a,".repeat(125), &format!("{}{}", "{".repeat(249), "}".repeat(249))] {
            let _ = Glob::new(glob);
        }
        assert!(Glob::new("[").is_err());
        assert!(Glob::new("a{b").is_err());
    }

    #[test]
    fn literal_text_is_literal_and_regexes_are_not() {
        let lines = |pattern, regex, ignore| {
            let matcher = LineMatcher::new(pattern, regex, ignore).unwrap();
            matcher.find("a.c\nabc\r\nABC\n\nlast", 10).into_iter().map(|m| (m.line, m.text)).collect::<Vec<_>>()
        };
        assert_eq!(lines("a.c", false, false), [(1, "a.c".to_owned())]);
        assert_eq!(lines("a.c", true, false), [(1, "a.c".to_owned()), (2, "abc".to_owned())]);
        assert_eq!(lines("^abc$", true, true), [(2, "abc".to_owned()), (3, "ABC".to_owned())]);
        assert_eq!(lines("^$", true, false), [(4, String::new())]);
        assert_eq!(lines("last", false, false), [(5, "last".to_owned())]);
    }

    #[test]
    fn long_lines_are_cut_and_limits_kept() {
        let matcher = LineMatcher::new("é", false, false).unwrap();
        assert_eq!(matcher.find(&"é".repeat(2_000), 10)[0].text.chars().count(), 500);
        assert_eq!(matcher.find(&"é\n".repeat(50), 10).len(), 10);
    }

    #[test]
    fn expressions_cannot_eat_time_or_memory() {
        assert!(LineMatcher::new("(a{1000}){1000}", true, false).is_err());
        assert!(LineMatcher::new(&format!("{}{}", "(".repeat(400), ")".repeat(400)), true, false).is_err());
        assert!(LineMatcher::new("(", true, false).unwrap_err().to_string().contains("unclosed"));
        let matcher = LineMatcher::new("(a*)*b|(a|a)*c", true, false).unwrap();
        let start = Instant::now();
        assert!(matcher.find(&"a".repeat(100_000), 1).is_empty());
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
