//! Cutting a text into sections that are looked at one by one. Where it is cut depends on the text alone, so that a stream
//! has the same sections however it comes in pieces; and nothing longer than a section is ever held.

use memchr::memmem;

/// A text up to this length is one section.
pub(crate) const LONGEST: usize = 64 << 10;
const SHORTEST: usize = 16 << 10;

/// How long the next section of `text` is; `None`: more has to be seen first. `whole`: nothing more will come.
pub(crate) fn next(text: &str, whole: bool) -> Option<usize> {
    if text.len() > LONGEST {
        return Some(best(text));
    }
    (whole && !text.is_empty()).then_some(text.len())
}

/// The last of the best places: between documents, between items of a list, between paragraphs, between lines; never
/// within a private key if it can be helped.
fn best(text: &str) -> usize {
    let mut limit = LONGEST;
    while !text.is_char_boundary(limit) {
        limit -= 1;
    }
    let window = &text.as_bytes()[..limit];
    let (mut found, mut rank) = (0, 0);
    let mut open = within_key(&window[..SHORTEST]);
    for n in memchr::memchr_iter(b'\n', window).filter(|n| *n >= SHORTEST) {
        let rest = &window[n + 1..];
        if rest.starts_with(b"-----") {
            open = rest.starts_with(b"-----BEGIN");
        }
        let this = match rest {
            _ if open => 1,
            [b'-', b'-', b'-', b'\n' | b'\r' | b' ', ..] => 6,
            _ if begins_object(rest) => 5,
            [b'\n', ..] | [b'\r', b'\n', ..] => 4,
            [b' ' | b'\t' | b'}' | b']' | b'-', ..] | [] => 2,
            _ => 3,
        };
        if this >= rank {
            (found, rank) = (n + 1, this);
        }
    }
    if found > 0 {
        return found;
    }
    let last = |mark: &[u8]| memmem::rfind(&window[SHORTEST..], mark).map(|n| SHORTEST + n + 1);
    last(b"},{\"apiVersion\"").or_else(|| last(b"},{")).or_else(|| last(b",")).or_else(|| last(b" ")).unwrap_or(limit)
}

fn begins_object(rest: &[u8]) -> bool {
    let content = rest.trim_ascii_start();
    content.starts_with(b"- apiVersion:") || content.starts_with(b"- kind:") || content.starts_with(b"apiVersion:")
}

fn within_key(before: &[u8]) -> bool {
    let begun = memmem::rfind(before, b"-----BEGIN");
    begun.is_some() && begun > memmem::rfind(before, b"-----END")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_stay_whole() {
        let document = format!("kind: ConfigMap\ndata:\n{}", "  a: b\n\n".repeat(1_000));
        let text = format!("{document}---\n").repeat(12);
        let cut = next(&text, true).unwrap();
        assert!(text[cut..].starts_with("---\n") && cut > SHORTEST);
        assert_eq!(next(&text, false), Some(cut));
        assert_eq!(next(&text[..LONGEST], false), None);
        assert_eq!(next("short", true), Some(5));
        assert_eq!(next("", true), None);
    }

    #[test]
    fn a_text_without_lines_is_cut_all_the_same() {
        let text = "ü".repeat(LONGEST);
        assert!(next(&text, false).is_some_and(|n| n <= LONGEST && text.is_char_boundary(n)));
    }
}
