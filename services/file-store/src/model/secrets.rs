//! What looks like a secret in the files of a revision: where, and of what kind, but never the secret itself.

use serde::{Deserialize, Serialize};
use slipway_secrets::Scanner;

/// Larger files are not looked into.
pub(crate) const MAX_SCANNED: u64 = 4 << 20;
/// No more findings of one file are kept, and no more of one revision.
const MAX_IN_FILE: usize = 1_000;
const MAX_IN_REVISION: usize = 10_000;
/// How much of a line is shown, in characters, and how much of that may come before the secret.
const MAX_EXCERPT: usize = 200;
const MAX_BEFORE: usize = 80;
/// Goes up whenever the rules find other things, so that what an older process has noted is not taken for the truth.
const RULES: u32 = 1;

/// A place that looks like a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secret {
    pub(crate) path: String,
    /// From 1, as is `column`.
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) rule: String,
    /// The line without its secrets.
    pub(crate) excerpt: String,
}

/// What was found in the files of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecretReport {
    rules: u32,
    /// How many there are, of which not all may be listed.
    pub(crate) count: u32,
    /// Text files that are too large to be looked into.
    pub(crate) unscanned: u32,
    /// By path, line and column.
    pub(crate) found: Vec<Secret>,
}

impl Default for SecretReport {
    fn default() -> Self {
        Self { rules: RULES, count: 0, unscanned: 0, found: Vec::new() }
    }
}

impl SecretReport {
    /// Whether the rules of today made it.
    pub(crate) fn is_current(&self) -> bool {
        self.rules == RULES
    }

    /// Adds what a file holds.
    pub(crate) fn add(&mut self, found: Vec<Secret>) {
        self.count = self.count.saturating_add(u32::try_from(found.len()).unwrap_or(u32::MAX));
        self.found.extend(found);
    }

    /// Puts the findings in their order.
    pub(crate) fn finish(mut self) -> Self {
        self.found.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
        self.found.truncate(MAX_IN_REVISION);
        self
    }
}

/// The secrets of a file. What is not UTF-8 text has none.
pub(crate) fn find_secrets(path: &str, content: &[u8]) -> Vec<Secret> {
    if content.contains(&0) {
        return Vec::new();
    }
    let Ok(text) = std::str::from_utf8(content) else { return Vec::new() };
    let scanner = Scanner::standard();
    let found = scanner.scan_file(path, text);
    if found.is_empty() {
        return Vec::new();
    }
    // A marker stands for a whole secret, and keeps its line ends: the lines are those of the text.
    let redacted = scanner.redact_file(path, text);
    let lines: Vec<&str> = redacted.split('\n').collect();
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let secret = |finding: slipway_secrets::Finding| Secret {
        path: path.to_owned(),
        line: number(finding.line),
        column: number(finding.column),
        rule: finding.rule.to_owned(),
        excerpt: lines.get(finding.line - 1).map(|line| excerpt(line, finding.rule)).unwrap_or_default(),
    };
    found.into_iter().take(MAX_IN_FILE).map(secret).collect()
}

/// What is around the marker, of a line of any length.
fn excerpt(line: &str, rule: &str) -> String {
    let line = line.trim();
    let at = line.find(&format!("[REDACTED:{rule}]")).unwrap_or_default();
    let before = line[..at].chars().count();
    line.chars().skip(before.saturating_sub(MAX_BEFORE)).take(MAX_EXCERPT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Put together here, so that no scanner takes this file for a leak.
    fn key() -> String {
        ["AKIA", "Z7VRSQ5TJN2XMPLQ"].concat()
    }

    #[test]
    fn a_finding_tells_the_place_and_not_the_secret() {
        let text = format!("a: 1\nb: 2\n  accessKey: {}\n", key());
        let found = find_secrets("values.yaml", text.as_bytes());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].path.as_str(), found[0].line, found[0].column), ("values.yaml", 3, 14));
        assert_eq!(found[0].excerpt, format!("accessKey: [REDACTED:{}]", found[0].rule));
        assert!(!format!("{found:?}").contains(&key()));
    }

    #[test]
    fn an_excerpt_is_short_and_has_the_marker() {
        let text = format!("{} {} {}", "x ".repeat(5_000), key(), "y ".repeat(5_000));
        let found = find_secrets("a", text.as_bytes());
        assert!(found[0].excerpt.chars().count() <= MAX_EXCERPT && found[0].excerpt.contains("[REDACTED:"), "{found:?}");
    }

    #[test]
    fn what_is_no_text_has_no_secrets() {
        assert_eq!(find_secrets("a", format!("\0{}", key()).as_bytes()), []);
        assert_eq!(find_secrets("a", &[key().as_bytes(), &[0xff]].concat()), []);
        assert_eq!(find_secrets("a", b""), []);
    }
}
