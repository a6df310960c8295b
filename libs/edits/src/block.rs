//! Edits as the engine takes them, whichever format they were written in.

use std::ops::Range;

use super::elide;
use super::lines;
use super::refusal::Refusal;
use super::text::{self, Splice, Text};
use super::work::Work;

/// One change that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what their fields are")]
pub enum Edit {
    /// Replaces a text that is there once, or each time that it is there.
    Replace { path: String, old: String, new: String, all: bool },
    /// Puts text after a line; 0 is the top.
    Insert { path: String, line: usize, text: String },
    /// Makes a file that is not there.
    Create { path: String, content: String },
    /// Makes a file, or replaces the whole content of one.
    Write { path: String, content: String },
    /// Deletes a file; what it is said to hold must be what it holds.
    Delete { path: String, lines: Option<Vec<String>> },
    /// Gives a file another name.
    Rename { path: String, new_path: String },
    /// Changes places of a file that are told by the lines in and around them. All are sought in the file as it was.
    Patch { path: String, blocks: Vec<Block> },
}

impl Edit {
    /// The file that it is about.
    pub fn path(&self) -> &str {
        match self {
            Edit::Replace { path, .. }
            | Edit::Insert { path, .. }
            | Edit::Create { path, .. }
            | Edit::Write { path, .. }
            | Edit::Delete { path, .. }
            | Edit::Rename { path, .. }
            | Edit::Patch { path, .. } => path,
        }
    }

    /// Every file that it reads or writes.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let other = if let Edit::Rename { new_path, .. } = self { Some(new_path.as_str()) } else { None };
        std::iter::once(self.path()).chain(other)
    }
}

/// What becomes of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Keep(String),
    Remove(String),
    Add(String),
}

/// What is said of the end of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LastLine {
    /// Nothing: it stays as it is.
    #[default]
    AsIs,
    /// It gets a newline.
    Closed,
    /// It loses its newline.
    Open,
}

/// Lines of a file and what becomes of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub(super) ops: Vec<Op>,
    /// Lines above, the outermost first, in whose blocks the place lies, where it is not the only one.
    pub(super) anchors: Vec<String>,
    /// It is the end of the file.
    pub(super) at_end: bool,
    pub(super) last_line: LastLine,
    /// The line of the text that it was read from, for messages.
    pub(super) said_at: usize,
}

/// The lines that a block is found by.
pub(super) type Olds<'a> = Vec<&'a str>;

impl Block {
    /// A block that makes the second lines of the first. Lines that both have stay those of the file.
    pub(super) fn between(old: &[&str], new: &[&str], said_at: usize, work: &Work) -> Result<Block, Refusal> {
        let mut ops = Vec::with_capacity(old.len() + new.len());
        let markers = |lines: &[&str]| -> Vec<usize> {
            lines.iter().enumerate().filter(|(_, l)| elide::is_marker(l)).map(|(index, _)| index).collect()
        };
        let (in_old, in_new) = (markers(old), markers(new));
        if in_old.len() == in_new.len() {
            // What is left out on both sides is the same, so it is what stays between the parts.
            let (mut o, mut n) = (0, 0);
            for (at_old, at_new) in in_old.into_iter().zip(in_new) {
                diff(&old[o..at_old], &new[n..at_new], &mut ops, work)?;
                ops.push(Op::Keep(old[at_old].to_owned()));
                (o, n) = (at_old + 1, at_new + 1);
            }
            diff(&old[o..], &new[n..], &mut ops, work)?;
        } else {
            diff(old, new, &mut ops, work)?;
        }
        Ok(Block { ops, said_at, ..Block::default() })
    }

    pub(super) fn olds(&self) -> Olds<'_> {
        self.ops.iter().filter_map(|op| if let Op::Keep(l) | Op::Remove(l) = op { Some(l.as_str()) } else { None }).collect()
    }

    pub(super) fn adds(&self) -> impl Iterator<Item = &str> {
        self.ops.iter().filter_map(|op| if let Op::Add(line) = op { Some(line.as_str()) } else { None })
    }

    pub(super) fn news(&self) -> Vec<&str> {
        self.ops.iter().filter_map(|op| if let Op::Keep(l) | Op::Add(l) = op { Some(l.as_str()) } else { None }).collect()
    }

    pub(super) fn changes(&self) -> bool {
        self.ops.iter().any(|op| !matches!(op, Op::Keep(_))) || self.last_line != LastLine::AsIs
    }

    /// The changes of the file, where `lines` are the places of the old lines in it; a line that stands for others has none.
    /// `None` when `fit` cannot say how an added line would be indented there.
    pub(super) fn splices(
        &self,
        file: &Text<'_>,
        lines: &[Option<usize>],
        fit: impl Fn(&str) -> Option<String>,
    ) -> Option<Vec<Splice>> {
        let mut splices = Vec::new();
        let mut olds = lines.iter().copied();
        // Where the next added line goes, what was removed just there, and what comes instead.
        let first = lines.iter().flatten().next().copied().unwrap_or(0);
        let mut removed: Range<usize> = first..first;
        let mut added: Vec<String> = Vec::new();
        for op in &self.ops {
            match op {
                Op::Add(line) => added.push(fit(line)?),
                Op::Remove(_) => {
                    let at = olds.next().flatten()?;
                    if removed.start == removed.end && added.is_empty() {
                        removed = at..at;
                    }
                    if at != removed.end {
                        return None;
                    }
                    removed.end = at + 1;
                }
                Op::Keep(_) => {
                    flush(file, &mut removed, &mut added, &mut splices);
                    // After what is left out, the next place is that of the next line that is not.
                    let next = match olds.next().flatten() {
                        Some(at) => Some(at + 1),
                        None => olds.clone().flatten().next(),
                    };
                    if let Some(at) = next {
                        removed = at..at;
                    }
                }
            }
        }
        flush(file, &mut removed, &mut added, &mut splices);
        Some(splices)
    }
}

fn flush(file: &Text<'_>, removed: &mut Range<usize>, added: &mut Vec<String>, splices: &mut Vec<Splice>) {
    if removed.start < removed.end || !added.is_empty() {
        splices.push(file.splice_lines(removed.clone(), added));
    }
    *removed = removed.end..removed.end;
    added.clear();
}

fn diff(old: &[&str], new: &[&str], ops: &mut Vec<Op>, work: &Work) -> Result<(), Refusal> {
    for run in lines::runs(old, new, work).ok_or(Refusal::Exhausting)? {
        let (olds, news) = (&old[run.old], &new[run.new]);
        if run.same {
            ops.extend(olds.iter().map(|l| Op::Keep((*l).to_owned())));
            continue;
        }
        ops.extend(olds.iter().map(|l| Op::Remove((*l).to_owned())));
        ops.extend(news.iter().map(|l| Op::Add((*l).to_owned())));
    }
    Ok(())
}

/// The lines of a text, without their ends.
pub(super) fn lines_of(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').map(text::content).collect()
}
