//! Edits as models write them. What comes in pieces, split at whichever byte, gives what it gives in one piece; what is cut
//! off, or could be read in two ways, is refused.
//!
//! Crates that parse patches hold them to their line numbers and counts, which models get wrong; so the few lines that it
//! takes are ours.

mod fence;
mod hunk;
mod name;
mod patch;
mod search;
mod unified;
mod whole;

use super::block::Edit;
use super::refusal::Refusal;
use super::text::{BOM, content};
use super::work::{MAX_WORK, Work};

/// The longest text that is read.
pub const MAX_TEXT: usize = 8 << 20;
/// The most edits and blocks that are taken from one text.
pub const MAX_EDITS: usize = 1_000;

/// How edits are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Found out from the text.
    Auto,
    /// Blocks between `<<<<<<< SEARCH`, `=======` and `>>>>>>> REPLACE`.
    SearchReplace,
    /// Unified diffs, as `diff -u` and git write them; line numbers and counts need not be right.
    UnifiedDiff,
    /// `*** Begin Patch`.
    ApplyPatch,
    /// Whole files, each in a fence under its name, or one without any.
    WholeFile,
}

/// Reads edits from a text that comes in pieces.
#[derive(Debug)]
pub struct Parser {
    format: Format,
    about: Option<String>,
    bytes: Vec<u8>,
    overflow: bool,
}

impl Parser {
    /// A parser; `about` is the file that is meant where the text names none.
    pub fn new(format: Format, about: Option<String>) -> Parser {
        Parser { format, about, bytes: Vec::new(), overflow: false }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.overflow |= self.bytes.len() + piece.len() > MAX_TEXT;
        if self.overflow {
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(piece);
        }
    }

    /// The edits, when everything has come.
    pub fn finish(self) -> Result<Vec<Edit>, Refusal> {
        self.finish_within(&Work::new(MAX_WORK))
    }

    /// As [`Parser::finish`], with the work that it may be.
    pub(super) fn finish_within(self, work: &Work) -> Result<Vec<Edit>, Refusal> {
        if self.overflow {
            return Err(Refusal::malformed(1, format!("the text is longer than {MAX_TEXT} bytes")));
        }
        let text = std::str::from_utf8(&self.bytes).map_err(|e| {
            let line = self.bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            Refusal::malformed(line, "it is not UTF-8")
        })?;
        let text = text.strip_prefix(BOM).unwrap_or(text);
        let lines: Vec<&str> = text.split_inclusive('\n').map(content).collect();
        let about = self.about.as_deref();
        let format = if self.format == Format::Auto { detect(&lines) } else { self.format };
        let edits = match format {
            Format::SearchReplace => search::parse(&lines, about, work)?,
            Format::UnifiedDiff => unified::parse(&lines, about)?,
            Format::ApplyPatch => patch::parse(&lines)?,
            Format::WholeFile | Format::Auto => whole::parse(text, &lines, about)?,
        };
        let blocks = |edit: &Edit| if let Edit::Patch { blocks, .. } = edit { blocks.len() } else { 1 };
        let count = edits.iter().map(blocks).sum::<usize>();
        check_count(count, 1)?;
        if count == 0 { Err(Refusal::malformed(1, "there is no edit in the text")) } else { Ok(edits) }
    }
}

/// Refuses a text whose edits are too many, as soon as they are.
fn check_count(count: usize, at: usize) -> Result<(), Refusal> {
    let what = || format!("there are more than {MAX_EDITS} edits");
    if count > MAX_EDITS { Err(Refusal::malformed(at, what())) } else { Ok(()) }
}

/// The format of a text: what its first mark says, outside of fences or at the head of one.
fn detect(lines: &[&str]) -> Format {
    let mut fence: Option<fence::Fence<'_>> = None;
    let mut into = 0;
    for (at, line) in lines.iter().enumerate() {
        match &fence {
            Some(open) if open.is_closed_by(line) => fence = None,
            None if fence::open(line).is_some() => {
                fence = fence::open(line);
                into = 0;
                continue;
            }
            _ => {}
        }
        into += usize::from(!line.trim().is_empty());
        if fence.is_some() && into > 2 {
            continue;
        }
        if patch::is_mark(line) {
            return Format::ApplyPatch;
        }
        if search::is_head(line) {
            return Format::SearchReplace;
        }
        if unified::is_mark(lines, at) {
            return Format::UnifiedDiff;
        }
    }
    Format::WholeFile
}
