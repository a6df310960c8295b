//! Why an edit was not made, so that whoever wanted it can mend it.

use super::path::PathError;

/// The most lines and candidates that a refusal names.
pub const MAX_SHOWN: usize = 20;

/// A place that is nearly what was sought.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The first of its lines, from 1.
    pub first_line: usize,
    /// The last one.
    pub last_line: usize,
    /// 1 is the same.
    pub similarity: f32,
    /// What was sought against what is there, in unified format; cut when it is long.
    pub diff: String,
}

/// Why an edit was not made. Nothing is written when there is one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub enum Refusal {
    /// The text is nowhere in the file.
    #[error("the text to change is not in {path:?}{}", nearest(candidates, *already))]
    NotFound {
        path: String,
        candidates: Vec<Candidate>,
        /// The line at which the file already is as the edit would leave it.
        already: Option<usize>,
    },
    /// The text is at several places.
    #[error("the text to change is {count} times in {path:?}, at {}; add lines around it until it is unique", at_lines(lines))]
    Ambiguous { path: String, count: usize, lines: Vec<usize> },
    /// What would be replaced is a part of something that is not.
    #[error("the text to change is at line {line} of {path:?}, {why}; give whole lines")]
    Partial { path: String, line: usize, why: &'static str },
    /// The text of the edits cannot be read.
    #[error("line {line} of the edit: {what}")]
    Malformed { line: usize, what: String },
    /// The file is not there.
    #[error("there is no file {path:?}")]
    NoFile { path: String },
    /// The file is there.
    #[error("there is a file {path:?} already")]
    FileExists { path: String },
    /// The file is no text, or too much of it.
    #[error("{path:?} cannot be edited: {why}")]
    Unreadable { path: String, why: &'static str },
    /// The file would stay as it is.
    #[error("nothing would change in {path:?}")]
    NothingChanges { path: String },
    /// The file has no such line.
    #[error("{path:?} has {lines} lines; line {line} is beyond its end")]
    BeyondEnd { path: String, lines: usize, line: usize },
    /// The file would become too large.
    #[error("{path:?} would have {bytes} bytes, more than {limit}")]
    TooLarge { path: String, bytes: usize, limit: usize },
    /// The name is none that a file can have.
    #[error(transparent)]
    Path(PathError),
    /// Finding out what is meant costs more than any honest edit does.
    #[error("the edits are too long, or too alike to each other and to the file, to be carried out; send fewer or shorter ones")]
    Exhausting,
    /// The result is not what was promised.
    #[error("the edit of {path:?} was not made, since its result could not be proven: {what}")]
    Unproven { path: String, what: &'static str },
}

impl Refusal {
    pub(super) fn malformed(line: usize, what: impl Into<String>) -> Refusal {
        Refusal::Malformed { line, what: what.into() }
    }

    /// Of a file that is larger than what edits make.
    pub fn too_large(path: &str) -> Refusal {
        Refusal::Unreadable { path: path.to_owned(), why: "it is larger than 3 MiB" }
    }
}

fn nearest(candidates: &[Candidate], already: Option<usize>) -> String {
    if let Some(line) = already {
        return format!("; at line {line} it already is as the edit would leave it");
    }
    match candidates.first() {
        Some(Candidate { first_line, last_line, similarity, .. }) => {
            format!("; the nearest is at lines {first_line} to {last_line} ({:.0} % alike)", similarity * 100.0)
        }
        None => "; view the file and copy the text exactly".to_owned(),
    }
}

fn at_lines(lines: &[usize]) -> String {
    let shown: Vec<String> = lines.iter().take(MAX_SHOWN).map(usize::to_string).collect();
    format!(
        "line{} {}{}",
        if lines.len() == 1 { "" } else { "s" },
        shown.join(", "),
        if lines.len() > MAX_SHOWN { ", …" } else { "" }
    )
}
