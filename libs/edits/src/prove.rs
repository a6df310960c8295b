//! The last look before a result leaves: outside of the spans the file is as it was, byte for byte, and its byte order mark,
//! its line ends and its end are kept. It is worked out anew from the result, and not by the code that made it.

use super::text::{BOM, Endings, Splice, Text};

/// Whether the end of the file may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// It keeps or lacks its newline, as before.
    Kept,
    /// The edit says what it wants there.
    Told,
}

/// What is wrong with a result, if something is.
pub(super) fn check(before: &Text<'_>, after: &str, splices: &[Splice], tail: Tail) -> Result<(), &'static str> {
    let old = before.stored();
    let (mut at_old, mut at_new) = (0, 0);
    for Splice { span, with } in splices {
        if span.start < at_old || span.end < span.start || span.end > old.len() {
            return Err("two changes overlap");
        }
        at_new = same(&old.as_bytes()[at_old..span.start], after, at_new)?;
        at_new = same(with.as_bytes(), after, at_new)?;
        at_old = span.end;
    }
    at_new = same(&old.as_bytes()[at_old..], after, at_new)?;
    if at_new != after.len() {
        return Err("it is longer than its parts");
    }
    if old.starts_with(BOM) != after.starts_with(BOM) {
        return Err("its byte order mark would change");
    }
    let result = Text::of(after);
    let uniform = matches!(before.endings(), Endings::Lf | Endings::CrLf);
    if uniform && result.endings() != before.endings() && result.endings() != Endings::None {
        return Err("its line ends would change");
    }
    let both = before.len() > 0 && result.len() > 0;
    // Where the last line goes that had no end, the one before keeps its own.
    let lost = before.ends_with_newline() && !result.ends_with_newline();
    if tail == Tail::Kept && both && lost {
        return Err("its final newline would go");
    }
    Ok(())
}

fn same(part: &[u8], after: &str, at: usize) -> Result<usize, &'static str> {
    let end = at + part.len();
    match after.as_bytes().get(at..end) {
        Some(there) if there == part => Ok(end),
        _ => Err("what is not changed would not stay as it is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proven(before: &str, after: &str, span: std::ops::Range<usize>, with: &str) -> bool {
        check(&Text::of(before), after, &[Splice { span, with: with.into() }], Tail::Kept).is_ok()
    }

    #[test]
    fn what_is_not_as_promised_is_seen() {
        assert!(proven("a\nb\n", "a\nx\n", 2..3, "x"));
        assert!(!proven("a\nb\n", "A\nx\n", 2..3, "x"));
        assert!(!proven("a\nb\n", "a\nx\n ", 2..3, "x"));
        assert!(!proven("a\nb\n", "a\nx", 2..4, "x"));
        assert!(!proven("a\r\nb\r\n", "a\r\nx\n", 3..6, "x\n"));
        assert!(!proven("\u{feff}a\n", "a\n", 0..3, ""));
        let overlap = [Splice { span: 0..2, with: String::new() }, Splice { span: 1..2, with: String::new() }];
        assert!(check(&Text::of("abc"), "c", &overlap, Tail::Kept).is_err());
    }
}
