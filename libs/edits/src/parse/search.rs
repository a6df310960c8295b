//! SEARCH/REPLACE blocks, in the format that Aider made popular.

use super::super::block::{Block, Edit};
use super::super::refusal::Refusal;
use super::super::work::Work;
use super::{check_count, fence, name};

/// How far above a block its file's name may stand, in lines that are not blank.
const NAME_ABOVE: usize = 3;

/// True for the line that begins a block.
pub(super) fn is_head(line: &str) -> bool {
    head(line).is_some()
}

/// How long the marks of the block are that this line begins.
fn head(line: &str) -> Option<usize> {
    mark(line, '<', &["SEARCH", "SEARCH>", "ORIGINAL"])
}

fn tail(line: &str) -> Option<usize> {
    mark(line, '>', &["REPLACE", "UPDATED"])
}

fn mark(line: &str, sign: char, words: &[&str]) -> Option<usize> {
    let word = line.trim_start_matches(sign);
    let len = line.len() - word.len();
    let word = word.trim();
    ((5..=9).contains(&len) && words.iter().any(|w| word.eq_ignore_ascii_case(w))).then_some(len)
}

fn divides(line: &str, len: usize) -> bool {
    let line = line.trim_end();
    line.len() == len && line.bytes().all(|b| b == b'=')
}

pub(super) fn parse(lines: &[&str], about: Option<&str>, work: &Work) -> Result<Vec<Edit>, Refusal> {
    let mut edits = Vec::new();
    let mut path: Option<String> = about.map(str::to_owned);
    let mut above = 0;
    let mut fence: Option<(fence::Fence<'_>, usize)> = None;
    let mut at = 0;
    while at < lines.len() {
        let Some(len) = head(lines[at]) else {
            if tail(lines[at]).is_some() {
                return Err(Refusal::malformed(at + 1, "a block ends here that has no `<<<<<<< SEARCH`"));
            }
            match &fence {
                Some((open, _)) if open.is_closed_by(lines[at]) => fence = None,
                None => fence = fence::open(lines[at]).map(|open| (open, at + 1)),
                _ => {}
            }
            at += 1;
            continue;
        };
        let start = at + 1;
        if let Some(named) = named(&lines[above..at], path.is_none()) {
            path = Some(named);
        }
        let Some(path) = &path else {
            return Err(Refusal::malformed(start, "the block names no file; put its path on the line above"));
        };
        let (block, next) = block(lines, start, len, work)?;
        check_count(edits.len() + 1, start)?;
        edits.push(Edit::Patch { path: path.clone(), blocks: vec![block] });
        (at, above) = (next, next);
    }
    match fence {
        Some((_, at)) => Err(Refusal::malformed(at, "the fence that opens here is not closed: the text is cut off")),
        None => Ok(edits),
    }
}

/// The name above a block, the nearest one. A word that could be a name and could be anything else is one only where no
/// other is known.
fn named(above: &[&str], needed: bool) -> Option<String> {
    let lines = above.iter().rev().filter(|line| !line.trim().is_empty()).take(NAME_ABOVE);
    let mut found = lines.filter_map(|line| match fence::open(line) {
        Some(fence) => name::in_info(fence.info),
        None => name::in_line(line),
    });
    found.find(|name| needed || name.contains(['.', '/']))
}

/// The block whose SEARCH part starts at this line, and the line after it.
fn block(lines: &[&str], start: usize, len: usize, work: &Work) -> Result<(Block, usize), Refusal> {
    let mut divider = None;
    for (at, line) in lines.iter().enumerate().skip(start) {
        if head(line).is_some() {
            return Err(Refusal::malformed(at + 1, "a block begins within a block"));
        }
        if divides(line, len) {
            if divider.is_some() {
                let what =
                    "a second line of `=`: it cannot be told where SEARCH ends; use more signs for the marks of this block";
                return Err(Refusal::malformed(at + 1, what));
            }
            divider = Some(at);
        }
        if tail(line).is_some() {
            let Some(divider) = divider else {
                return Err(Refusal::malformed(at + 1, "the block has no line `=======` between SEARCH and REPLACE"));
            };
            let block = Block::between(&lines[start..divider], &lines[divider + 1..at], start, work)?;
            return Ok((block, at + 1));
        }
    }
    Err(Refusal::malformed(start, "the block that begins here is cut off"))
}
