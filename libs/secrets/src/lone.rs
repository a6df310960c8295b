//! Text made of the characters of base64: encoded secrets, and long random keys that stand alone, without a name.

use std::ops::Range;

use crate::shape;

const LEAST: usize = 24;
const KEY: Range<usize> = 32..129;

/// The longest runs of base64's characters, without their padding.
pub(crate) fn runs(text: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let start = at;
            while at < bytes.len() && is_base64(bytes[at]) {
                at += 1;
            }
            if at - start >= LEAST {
                return Some(start..at);
            }
            at += 1;
        }
        None
    })
}

pub(crate) fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'-')
}

/// True for a run that is a key: long, random, of small and capital letters and digits. Digests in base64 have other
/// characters or padding, or say what they are; the lines of certificates have neighbours.
pub(crate) fn is_key(text: &str, run: &Range<usize>) -> bool {
    let value = &text[run.clone()];
    if !KEY.contains(&value.len()) || !value.bytes().all(|b| b.is_ascii_alphanumeric()) || value.starts_with("AAAA") {
        return false;
    }
    let count = |of: fn(&u8) -> bool| value.as_bytes().iter().filter(|b| of(b)).count();
    let varied = count(u8::is_ascii_digit) >= 3 && count(u8::is_ascii_uppercase) >= 4 && count(u8::is_ascii_lowercase) >= 4;
    if !varied || shape::word_length(value) >= 2.6 || shape::entropy(value.as_bytes()) < 4.0 {
        return false;
    }
    let (before, after) = (&text[..run.start], &text[run.end..]);
    let digest =
        ["h1:", "sha1:", "md5:", "SHA256:", "sha256:", "sha512:", "integrity "].iter().any(|name| before.ends_with(name));
    !digest && !after.starts_with('=') && !is_wrapped(before, after)
}

/// One of several lines of base64.
fn is_wrapped(before: &str, after: &str) -> bool {
    let base64 = |line: &str| {
        let line = line.trim().trim_end_matches("\\n").trim_end_matches('=');
        line.starts_with("-----") || (line.len() >= LEAST && line.bytes().all(is_base64))
    };
    let mut above = before.rsplit('\n');
    let mut below = after.split('\n');
    let alone =
        above.next().is_some_and(|rest| rest.trim().is_empty()) && below.next().is_some_and(|rest| rest.trim().is_empty());
    alone && (above.next().is_some_and(base64) || below.next().is_some_and(base64))
}
