//! Secrets in base64: a run is decoded when it can be text, and what it decodes to is looked into.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::lone::is_base64;

const LOOSE: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LOOSE);
// How much of a run is tried first.
const PROBE: usize = 32;
// The shortest lines that encoders wrap into.
const WIDTH: usize = 60;

/// A run together with the lines below it that it goes on in, as encoders wrap them.
pub(crate) fn wrapped(text: &str, run: Range<usize>) -> Range<usize> {
    let bytes = text.as_bytes();
    let width = run.len();
    let mut end = run.end;
    if width >= WIDTH {
        while let Some(line) = continued(bytes, end, width) {
            end = line.end;
            if line.len() < width {
                break;
            }
        }
    }
    let padding = bytes[end..].iter().take(2).take_while(|b| **b == b'=').count();
    run.start..end + padding
}

/// The line behind `end`, if it holds nothing but base64 and is no longer than those before it.
fn continued(bytes: &[u8], end: usize, width: usize) -> Option<Range<usize>> {
    let mut at = newline(bytes, end)?;
    while bytes.get(at).is_some_and(|b| matches!(b, b' ' | b'\t')) {
        at += 1;
    }
    let length = bytes[at..].iter().take_while(|b| is_base64(**b)).count();
    let whole = matches!(bytes.get(at + length), None | Some(b'=' | b'\n' | b'\r' | b' ' | b'"' | b'\''));
    (whole && (1..=width).contains(&length)).then_some(at..at + length)
}

fn newline(bytes: &[u8], at: usize) -> Option<usize> {
    let blank = bytes[at..].iter().take_while(|b| matches!(b, b' ' | b'\r')).count();
    (bytes.get(at + blank) == Some(&b'\n')).then_some(at + blank + 1)
}

/// What the run says, if it is text.
pub(crate) fn decode(run: &str) -> Option<String> {
    let plain = |take: usize| -> Vec<u8> {
        let chars = run.bytes().filter(|b| is_base64(*b)).take(take);
        chars
            .map(|b| match b {
                b'-' => b'+',
                b'_' => b'/',
                b => b,
            })
            .collect()
    };
    let probe = STANDARD.decode(plain(PROBE.min(run.len() / 4 * 4))).ok()?;
    // Cut off in the middle of a character perhaps, so only what cannot be text decides.
    if !probe.iter().all(|b| is_text(*b)) {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(plain(usize::MAX)).ok()?).ok()?;
    text.bytes().all(is_text).then_some(text)
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_and_noise_is_not() {
        let encoded = STANDARD.encode("user: somebody\npass: something");
        assert_eq!(decode(&encoded).as_deref(), Some("user: somebody\npass: something"));
        assert_eq!(decode(&encoded.replace('+', "-").replace('/', "_")).as_deref(), Some("user: somebody\npass: something"));
        assert_eq!(decode("0f3a9b1c0f3a9b1c0f3a9b1c0f3a9b1c"), None);
        assert_eq!(decode("services/inference/src/provider"), None);
    }

    #[test]
    fn lines_are_joined() {
        let line = "QUJD".repeat(19);
        let text = format!("key: |\n  {line}\n  {line}\n  QUI=\nother: x");
        let start = text.find("QUJD").unwrap();
        let run = wrapped(&text, start..start + 76);
        assert!(text[run.clone()].ends_with("QUI="), "{:?}", &text[run]);
    }
}
