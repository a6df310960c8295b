//! What is a secret in a text: keys, tokens, passwords, private keys, the values of Kubernetes Secrets, and base64 of these.
//!
//! Owns the rules and how they are applied. The rules are data: gitleaks' own set, vendored as it is published, and
//! `data/slipway.toml` beside it in the same format. What no regular expression can say is code: the documents of
//! Kubernetes Secrets ([`kubernetes`]), encoded secrets ([`encoded`]) and long random keys without a name ([`lone`]).
//!
//! No I/O, no async, no state: the same text has the same findings, however often it is asked and however it was cut.

mod allow;
mod encoded;
mod kubernetes;
mod lone;
mod pattern;
mod rule;
mod rules;
mod scanner;
mod sections;
mod shape;
mod stream;

use std::borrow::Cow;
use std::ops::Range;

pub use scanner::{AllowError, Scanner};
pub use stream::Redactor;

/// A secret in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of secret: the id of a rule, for example `aws-access-token`.
    pub rule: &'static str,
    /// Where it is, in bytes, on the borders of characters.
    pub range: Range<usize>,
    /// The line that it begins on, from 1.
    pub line: usize,
    /// The character of that line that it begins with, from 1.
    pub column: usize,
}

/// The secrets of a text, in their order; no two overlap.
pub fn scan(text: &str) -> Vec<Finding> {
    Scanner::standard().scan(text)
}

/// The text with each secret replaced by a marker that tells its kind, for example `[REDACTED:aws-access-token]`. A text
/// without secrets is given back as it is.
pub fn redact(text: &str) -> Cow<'_, str> {
    Scanner::standard().redact(text)
}

/// What stands in the place of a secret.
pub(crate) fn marker(rule: &str) -> String {
    format!("[REDACTED:{rule}]")
}
