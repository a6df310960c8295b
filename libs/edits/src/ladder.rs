//! Where a block lies in a file. The ladder's rungs are tried one after the other, the next only when the one before found
//! nothing: the lines as they are, but for line ends, but for blanks at their ends, but for a uniform indentation, with
//! lines left out. What a rung finds must be the only such place of the file, and for the tolerant rungs also one that no
//! other place rivals that differs in a single character. Nothing else is ever taken for a match.

use std::ops::Range;

use super::block::{Block, Olds};
use super::elide;
use super::indent::Reindent;
use super::nearest;
use super::refusal::Refusal;
use super::text::{Text, indent, is_blank, trim_end};
use super::work::Work;

/// How a place was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// As it is.
    Exact,
    /// But for line ends.
    LineEndings,
    /// But for blanks at the ends of lines.
    TrailingBlanks,
    /// But for one rule of indentation.
    Indentation,
    /// With lines between that were left out.
    Elision,
}

/// The place of a block.
#[derive(Clone, Debug)]
pub(super) struct Match {
    pub(super) rung: Rung,
    /// The line of the file for each sought line; none for one that stands for others.
    pub(super) lines: Vec<Option<usize>>,
    pub(super) reindent: Option<Reindent>,
}

/// More places than this are not looked for.
const MOST: usize = 100;

impl Match {
    fn new(rung: Rung, start: usize, len: usize) -> Match {
        Match { rung, lines: (start..start + len).map(Some).collect(), reindent: None }
    }

    /// The first line of the file that it holds.
    pub(super) fn first(&self) -> usize {
        self.lines.iter().flatten().next().copied().unwrap_or(0)
    }

    /// The line after the last one that it holds.
    pub(super) fn end(&self) -> usize {
        self.lines.iter().flatten().last().map_or(0, |last| last + 1)
    }
}

/// The one place of a block.
pub(super) fn find(path: &str, block: &Block, file: &Text<'_>, work: &Work) -> Result<Match, Refusal> {
    let olds = block.olds();
    if olds.iter().all(|line| is_blank(line)) {
        return Err(Refusal::malformed(
            block.said_at,
            "it names no line of the file that is not blank, so its place cannot be told",
        ));
    }
    let lines = file.contents();
    for rung in [Rung::Exact, Rung::TrailingBlanks, Rung::Indentation, Rung::Elision] {
        let mut found = on_rung(rung, &olds, block, file, &lines, work);
        if block.at_end {
            found.retain(|m| lines[m.end()..].iter().all(|line| is_blank(line)));
        }
        if found.len() > 1 {
            found = by_anchors(found, block, &lines, work);
        }
        if work.is_spent() {
            return Err(Refusal::Exhausting);
        }
        match found.len() {
            0 => continue,
            1 => return accept(path, found.remove(0), &olds, file, &lines, work),
            count => {
                let lines = found.iter().map(|m| m.first() + 1).collect();
                return Err(Refusal::Ambiguous { path: path.to_owned(), count, lines });
            }
        }
    }
    Err(nearest::not_found(path, block, file, work))
}

fn on_rung(rung: Rung, olds: &Olds<'_>, block: &Block, file: &Text<'_>, lines: &[&str], work: &Work) -> Vec<Match> {
    let windows = || {
        let starts = (0..(lines.len() + 1).saturating_sub(olds.len())).take_while(|_| !work.is_spent());
        starts.map(|start| (start, &lines[start..start + olds.len()]))
    };
    let alike = |same: fn(&str, &str) -> bool| {
        let fits = windows().filter(|(_, there)| work.all_alike(olds, there, same));
        fits.take(MOST).map(|(start, _)| Match::new(rung, start, olds.len())).collect()
    };
    match rung {
        Rung::Exact | Rung::LineEndings => alike(|a, b| a == b),
        Rung::TrailingBlanks => alike(|a, b| trim_end(a) == trim_end(b)),
        Rung::Indentation => {
            let of = |(start, there): (usize, &[&str])| {
                let pairs: Vec<(&str, &str)> = olds.iter().copied().zip(there.iter().copied()).collect();
                let reindent = Some(Reindent::of(&pairs)?);
                Some(Match { reindent, ..Match::new(rung, start, olds.len()) })
            };
            let first = olds.iter().position(|line| !is_blank(line)).unwrap_or(0);
            let same: fn(&str, &str) -> bool = |a, b| body(a) == body(b);
            let fits = windows().filter(|(_, there)| work.alike(olds[first], there[first], same));
            fits.filter(|(_, there)| work.all_alike(olds, there, same)).filter_map(of).take(MOST).collect()
        }
        Rung::Elision => {
            let of = |lines| Match { rung, lines, reindent: None };
            elide::find(olds, block, file, MOST, work).into_iter().map(of).collect()
        }
    }
}

/// A line without its indentation and the blanks at its end.
fn body(line: &str) -> &str {
    trim_end(&line[indent(line).len()..])
}

/// Takes a place, if nothing speaks against it.
fn accept(path: &str, mut found: Match, olds: &Olds<'_>, file: &Text<'_>, lines: &[&str], work: &Work) -> Result<Match, Refusal> {
    if found.rung == Rung::Exact {
        if found.lines.iter().flatten().any(|at| file.is_crlf(*at)) {
            found.rung = Rung::LineEndings;
        }
        return Ok(found);
    }
    match nearest::rival(olds, lines, found.first(), work) {
        Some(rival) => {
            let mut lines = vec![found.first() + 1, rival + 1];
            lines.sort_unstable();
            Err(Refusal::Ambiguous { path: path.to_owned(), count: 2, lines })
        }
        None if work.is_spent() => Err(Refusal::Exhausting),
        None => Ok(found),
    }
}

/// Of several places those in the block that the anchors open; all of them where the anchors tell nothing.
fn by_anchors(found: Vec<Match>, block: &Block, lines: &[&str], work: &Work) -> Vec<Match> {
    let Some(region) = region(&block.anchors, lines, work) else { return found };
    let within: Vec<Match> = found.iter().filter(|m| region.start <= m.first() && m.end() <= region.end).cloned().collect();
    if within.is_empty() { found } else { within }
}

/// The lines of the innermost anchor's block: from the anchor to the next line that is indented no deeper, and with it.
/// `None` unless each anchor is there just once in the block of the one before.
fn region(anchors: &[String], lines: &[&str], work: &Work) -> Option<Range<usize>> {
    if anchors.is_empty() {
        return None;
    }
    let mut region = 0..lines.len();
    for anchor in anchors {
        let mut at = region.clone().filter(|at| work.alike(lines[*at], anchor, |a, b| a.trim() == b.trim()));
        let (Some(start), None) = (at.next(), at.next()) else { return None };
        let depth = indent(lines[start]).len();
        let shallow = |at: &usize| !is_blank(lines[*at]) && indent(lines[*at]).len() <= depth;
        let end = (start + 1..region.end).find(shallow).map_or(region.end, |at| at + 1);
        region = start..end;
    }
    Some(region)
}
