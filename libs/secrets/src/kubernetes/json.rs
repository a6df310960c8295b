//! The values of Secrets in JSON, whatever number of backslashes stand before its quotes.

use std::ops::Range;

use crate::shape;

const MAX_BACK: usize = 64 << 10;

/// The values of the Secret whose kind is named at `at`.
pub(super) fn find(text: &str, at: usize, found: &mut Vec<Range<usize>>) {
    let slashes = text[..at].trim_end_matches('"').chars().rev().take_while(|c| *c == '\\').count();
    let Some(start) = opening(text.as_bytes(), at) else { return };
    let mut reader = Reader { text, at: start + 1, slashes };
    let mut depth = 1usize;
    let (mut key, mut in_data) = (None::<&str>, false);
    while depth > 0 {
        match reader.next() {
            Some(Token::Open) => {
                in_data |= depth == 1 && matches!(key, Some("data" | "stringData"));
                (depth, key) = (depth + 1, None);
            }
            Some(Token::Close) => {
                depth -= 1;
                in_data &= depth >= 2;
                key = None;
            }
            Some(Token::Text(range)) => {
                let value = &text[range.clone()];
                if reader.colon() {
                    key = Some(value);
                } else if key.take().is_some() && in_data && !value.is_empty() && !shape::is_reference(value) {
                    found.push(range);
                }
            }
            None => return,
        }
    }
}

/// The brace that opens the object around `at`.
fn opening(text: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0usize;
    for n in (at.saturating_sub(MAX_BACK)..at).rev() {
        match text[n] {
            b'}' => depth += 1,
            b'{' if depth == 0 => return Some(n),
            b'{' => depth -= 1,
            _ => {}
        }
    }
    None
}

enum Token {
    Open,
    Close,
    Text(Range<usize>),
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    slashes: usize,
}

impl Reader<'_> {
    /// True when a colon comes next.
    fn colon(&mut self) -> bool {
        let rest = self.text[self.at..].trim_start();
        let is = rest.starts_with(':');
        if is {
            self.at = self.text.len() - rest.len() + 1;
        }
        is
    }

    /// Where the next quote of this level begins, and where it ends.
    fn quote(&self, from: usize) -> Option<(usize, usize)> {
        let bytes = self.text.as_bytes();
        let mut at = from;
        loop {
            let n = at + memchr::memchr(b'"', &bytes[at..])?;
            let before = bytes[from..n].iter().rev().take_while(|b| **b == b'\\').count();
            if before == self.slashes {
                return Some((n - before, n + 1));
            }
            at = n + 1;
        }
    }
}

impl Iterator for Reader<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'{' | b'[' => return Some(Token::Open),
                b'}' | b']' => return Some(Token::Close),
                b'"' => {
                    let (end, next) = self.quote(self.at)?;
                    let start = std::mem::replace(&mut self.at, next);
                    return Some(Token::Text(start..end));
                }
                _ => {}
            }
        }
        None
    }
}
