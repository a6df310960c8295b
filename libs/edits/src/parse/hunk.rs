//! Hunks: lines with a sign before each. Their headers are read for what they name; line numbers and counts are not trusted.

use super::super::block::{Block, LastLine, Op};
use super::super::refusal::Refusal;

/// True for the line above a hunk.
pub(super) fn is_header(line: &str) -> bool {
    line.strip_prefix("@@").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '-', '\t']))
}

/// What a header names: the line of the file in whose block the hunk lies.
pub(super) fn heading(line: &str) -> Option<String> {
    let rest = line.strip_prefix("@@").unwrap_or(line).trim();
    let numbers = rest.starts_with('-') && rest[1..].starts_with(|c: char| c.is_ascii_digit() || c == ',' || c == ' ');
    let heading = if numbers { rest.split_once("@@").map_or("", |(_, heading)| heading) } else { rest.trim_end_matches("@@") };
    let heading = heading.trim();
    (!heading.is_empty() && !heading.trim_matches(['.', '…', ' ']).is_empty()).then(|| heading.to_owned())
}

/// A hunk of the lines below its header. What follows its last change without a sign is no part of it; between changes,
/// a line without a sign is one of the file that lost its blank.
pub(super) fn body(lines: &[&str], anchors: Vec<String>, said_at: usize) -> Result<Block, Refusal> {
    let Some(last) = lines.iter().rposition(|line| line.starts_with(['+', '-'])) else {
        return Err(Refusal::malformed(said_at, "the hunk changes nothing: no line of it starts with + or -"));
    };
    let mut ops: Vec<Op> = Vec::with_capacity(lines.len());
    // What is said to have no newline at its end: the old text, the new one.
    let mut open = (false, false);
    let mut whole = 0;
    for (at, line) in lines.iter().enumerate() {
        if at > last && !(line.is_empty() || line.starts_with([' ', '\\'])) {
            break;
        }
        match line.chars().next() {
            Some('+') => ops.push(Op::Add(line[1..].to_owned())),
            Some('-') => ops.push(Op::Remove(line[1..].to_owned())),
            Some(' ') => ops.push(Op::Keep(line[1..].to_owned())),
            Some('\\') if line.starts_with("\\ ") => {
                match ops.last() {
                    Some(Op::Remove(_)) => open.0 = true,
                    Some(Op::Add(_)) => open.1 = true,
                    _ => open = (true, true),
                }
                continue;
            }
            _ => ops.push(Op::Keep((*line).to_owned())),
        }
        if !line.is_empty() {
            whole = ops.len();
        }
    }
    // Empty lines at the end lie between this hunk and what follows.
    ops.truncate(whole);
    let last_line = match open {
        (true, false) => LastLine::Closed,
        (false, true) => LastLine::Open,
        _ => LastLine::AsIs,
    };
    Ok(Block { ops, anchors, at_end: false, last_line, said_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_for_what_they_name() {
        for (line, heading_of) in [
            ("@@ -1,2 +3,4 @@ fn main() {", Some("fn main() {")),
            ("@@ -1,2 +3,4 @@", None),
            ("@@ ... @@", None),
            ("@@", None),
            ("@@ class A:", Some("class A:")),
            ("@@ class A: @@", Some("class A:")),
            ("@@ - name: a", Some("- name: a")),
        ] {
            assert!(is_header(line), "{line}");
            if line != "@@ - name: a" {
                assert_eq!(heading(line).as_deref(), heading_of, "{line}");
            }
        }
        assert!(!is_header("@@@ -1 -1 +1 @@@") && !is_header("@media"));
    }

    #[test]
    fn lines_without_a_sign_are_the_files_or_no_part() {
        let block = body(&["a", " b", "-c", "+d", "", " e", "", "That is all."], Vec::new(), 1).unwrap();
        let keep = |l: &str| Op::Keep(l.into());
        assert_eq!(block.ops, [keep("a"), keep("b"), Op::Remove("c".into()), Op::Add("d".into()), keep(""), keep("e")]);
        let block = body(&["-c", "\\ No newline at end of file", "+d"], Vec::new(), 1).unwrap();
        assert_eq!(block.last_line, LastLine::Closed);
        assert!(body(&[" a"], Vec::new(), 1).is_err());
    }
}
