//! Which revision each line of a text comes from: lines are followed back through one difference after the other, until
//! the one that added them.

use std::collections::HashMap;

use imara_diff::{Algorithm, Diff, IndentHeuristic, IndentLevel, Token};

/// Lines that come from one revision. Both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlameRange {
    pub(crate) start: u32,
    pub(crate) count: u32,
    /// Where they start in that revision.
    pub(crate) original: u32,
}

/// The lines whose origin is not known yet: each one's place in the text that was asked about, and in the one that the walk
/// back has come to. Both grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blame {
    open: Vec<(u32, u32)>,
}

impl Blame {
    pub(crate) fn new(text: &[u8]) -> Self {
        let lines = text.split_inclusive(|byte| *byte == b'\n').count();
        Self { open: (0..u32::try_from(lines).unwrap_or(u32::MAX)).map(|line| (line, line)).collect() }
    }

    /// Whether the origin of every line is known.
    pub(crate) fn is_complete(&self) -> bool {
        self.open.is_empty()
    }

    /// Goes back from `new` to `old`. Gives the lines that were not there before.
    pub(crate) fn step(&mut self, old: &[u8], new: &[u8]) -> Vec<BlameRange> {
        let mut found = Vec::new();
        let mut left = Vec::with_capacity(self.open.len());
        let mut hunks = hunks(old, new).into_iter().peekable();
        // How far a line moves, by the differences before it.
        let mut offset = 0_i64;
        for &(line, at) in &self.open {
            while let Some(hunk) = hunks.next_if(|hunk| hunk.after.end <= at) {
                offset += i64::from(hunk.before.end - hunk.before.start) - i64::from(hunk.after.end - hunk.after.start);
            }
            if hunks.peek().is_some_and(|hunk| hunk.after.contains(&at)) {
                extend(&mut found, line, at);
            } else {
                left.push((line, u32::try_from(i64::from(at) + offset).unwrap_or_default()));
            }
        }
        self.open = left;
        found
    }
}

/// Adds a line to the last range if it follows it on both sides.
fn extend(found: &mut Vec<BlameRange>, line: u32, at: u32) {
    match found.last_mut() {
        Some(last) if last.start + last.count == line + 1 && last.original + last.count == at + 1 => last.count += 1,
        _ => found.push(BlameRange { start: line + 1, count: 1, original: at + 1 }),
    }
}

/// The differences as `git blame` takes them: the shortest, moved to where people would put them.
fn hunks(old: &[u8], new: &[u8]) -> Vec<imara_diff::Hunk> {
    let mut known: HashMap<&[u8], Token> = HashMap::new();
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut tokens = |text| -> Vec<Token> {
        let text: &[u8] = text;
        let token = |line| {
            *known.entry(line).or_insert_with(|| {
                lines.push(line);
                Token(u32::try_from(lines.len() - 1).unwrap_or(u32::MAX))
            })
        };
        text.split_inclusive(|byte| *byte == b'\n').map(token).collect()
    };
    let (old, new) = (tokens(old), tokens(new));
    let mut diff = Diff::default();
    diff.compute_with(Algorithm::Myers, &old, &new, u32::try_from(lines.len()).unwrap_or(u32::MAX));
    let indent = |token: Token| IndentLevel::for_ascii_line(lines[token.0 as usize].iter().copied(), 8);
    diff.postprocess_with(&old, &new, IndentHeuristic::new(indent));
    diff.hunks().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(found: &[BlameRange]) -> Vec<(u32, u32, u32)> {
        found.iter().map(|range| (range.start, range.count, range.original)).collect()
    }

    #[test]
    fn lines_are_followed_to_where_they_were_added() {
        let (one, two, three) = ("a\nb\nc\n", "new\na\nb\nc\n", "new\na\nB\nc\nend\n");
        let mut blame = Blame::new(three.as_bytes());
        assert_eq!(ranges(&blame.step(two.as_bytes(), three.as_bytes())), [(3, 1, 3), (5, 1, 5)]);
        assert_eq!(ranges(&blame.step(one.as_bytes(), two.as_bytes())), [(1, 1, 1)]);
        assert!(!blame.is_complete());
        assert_eq!(ranges(&blame.step(b"", one.as_bytes())), [(2, 1, 1), (4, 1, 3)]);
        assert!(blame.is_complete());
        assert!(Blame::new(b"").is_complete());
    }
}
