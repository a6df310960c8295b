//! The three-way merge of one text, line by line, as git does it: where both sides changed the same lines, or lines that touch,
//! and not to the same text, there is a conflict.
//!
//! The differences are those of the histogram algorithm, which `git merge` takes, with each change moved as far down as it
//! goes, or to where it meets a change on the other side of the difference.

use std::collections::HashMap;
use std::ops::Range;

use imara_diff::{Algorithm, Diff, Hunk, NoSliderHeuristic, Token};

/// What became of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Merged {
    Clean(Vec<u8>),
    Conflict(Vec<Clash>),
}

/// Lines that both sides changed. Starts count from 1: the line that a side's lines begin at, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clash {
    pub(crate) base: Lines,
    pub(crate) ours: Lines,
    pub(crate) theirs: Lines,
}

/// Lines of one side, without their ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) start: u32,
    pub(crate) lines: Vec<String>,
}

/// Merges what `ours` and `theirs` made of `base`.
pub(crate) fn merge_lines(base: &[u8], ours: &[u8], theirs: &[u8]) -> Merged {
    let mut known = HashMap::new();
    let base = Side::new(base, &mut known);
    let ours = Side::new(ours, &mut known);
    let theirs = Side::new(theirs, &mut known);
    let count = u32::try_from(known.len()).unwrap_or(u32::MAX);
    let (our_edits, their_edits) = (edits(&base, &ours, count), edits(&base, &theirs, count));

    let mut merged = Vec::new();
    let mut clashes = Vec::new();
    let mut at = 0;
    for region in regions(&our_edits, &their_edits) {
        merged.extend_from_slice(base.bytes(at..region.base.start));
        at = region.base.end;
        let (our_lines, their_lines) = (image(&region.base, region.ours), image(&region.base, region.theirs));
        match (our_lines, their_lines) {
            (Some(lines), None) => merged.extend_from_slice(ours.bytes(lines)),
            (None, Some(lines)) => merged.extend_from_slice(theirs.bytes(lines)),
            (Some(our), Some(their)) if ours.bytes(our.clone()) == theirs.bytes(their.clone()) => {
                merged.extend_from_slice(ours.bytes(our));
            }
            (Some(our), Some(their)) => {
                clashes.push(Clash { base: base.lines(region.base), ours: ours.lines(our), theirs: theirs.lines(their) })
            }
            (None, None) => {}
        }
    }
    merged.extend_from_slice(base.bytes(at..base.count()));
    if clashes.is_empty() { Merged::Clean(merged) } else { Merged::Conflict(clashes) }
}

/// A text cut into lines, equal ones with equal tokens. A last line without an end is another one than with it.
struct Side<'a> {
    text: &'a [u8],
    tokens: Vec<Token>,
    /// Where each line starts, and where the last one ends.
    starts: Vec<usize>,
}

impl<'a> Side<'a> {
    fn new(text: &'a [u8], known: &mut HashMap<&'a [u8], Token>) -> Self {
        let (mut tokens, mut starts) = (Vec::new(), vec![0]);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let next = Token(u32::try_from(known.len()).unwrap_or(u32::MAX));
            tokens.push(*known.entry(line).or_insert(next));
            starts.push(starts[starts.len() - 1] + line.len());
        }
        Self { text, tokens, starts }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.tokens.len()).unwrap_or(u32::MAX)
    }

    fn bytes(&self, lines: Range<u32>) -> &'a [u8] {
        &self.text[self.starts[lines.start as usize]..self.starts[lines.end as usize]]
    }

    fn lines(&self, range: Range<u32>) -> Lines {
        let text = String::from_utf8_lossy(self.bytes(range.clone()));
        Lines { start: range.start + 1, lines: text.lines().map(str::to_owned).collect() }
    }
}

fn edits(old: &Side<'_>, new: &Side<'_>, count: u32) -> Vec<Hunk> {
    let mut diff = Diff::default();
    diff.compute_with(Algorithm::Histogram, &old.tokens, &new.tokens, count);
    diff.postprocess_with(&old.tokens, &new.tokens, NoSliderHeuristic);
    diff.hunks().collect()
}

/// Lines of the base that at least one side changed, with the changes.
struct Region<'a> {
    base: Range<u32>,
    ours: &'a [Hunk],
    theirs: &'a [Hunk],
}

/// Changes that overlap or touch belong together; those of one side never do by themselves.
fn regions<'a>(mut ours: &'a [Hunk], mut theirs: &'a [Hunk]) -> Vec<Region<'a>> {
    let mut regions = Vec::new();
    loop {
        let first = [ours.first(), theirs.first()].into_iter().flatten().min_by_key(|edit| (edit.before.start, edit.before.end));
        let Some(first) = first else { return regions };
        let mut base = first.before.clone();
        let (mut our_count, mut their_count) = (0, 0);
        loop {
            let before = (our_count, their_count);
            our_count += touching(&ours[our_count..], &mut base);
            their_count += touching(&theirs[their_count..], &mut base);
            if before == (our_count, their_count) {
                break;
            }
        }
        let (our, our_rest) = ours.split_at(our_count);
        let (their, their_rest) = theirs.split_at(their_count);
        regions.push(Region { base, ours: our, theirs: their });
        (ours, theirs) = (our_rest, their_rest);
    }
}

/// How many of the next edits touch the range, which grows by them.
fn touching(edits: &[Hunk], base: &mut Range<u32>) -> usize {
    let mut count = 0;
    while let Some(edit) = edits.get(count).filter(|edit| edit.before.start <= base.end) {
        base.end = base.end.max(edit.before.end);
        count += 1;
    }
    count
}

/// The lines that a side has in place of those of the base; `None` when it did not change them.
fn image(base: &Range<u32>, edits: &[Hunk]) -> Option<Range<u32>> {
    let (first, last) = (edits.first()?, edits.last()?);
    Some(first.after.start - (first.before.start - base.start)..last.after.end + (base.end - last.before.end))
}
