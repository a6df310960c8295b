//! Why an edit was not made, so that whoever wanted it can mend it.

use crate::model::PathError;

/// The most lines and candidates that a refusal names.
pub(crate) const MAX_SHOWN: usize = 20;

/// A place that is nearly what was sought.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// Its lines, from 1, both ends included.
    pub(crate) first_line: usize,
    pub(crate) last_line: usize,
    /// 1 is the same.
    pub(crate) similarity: f32,
    /// What was sought against what is there, in unified format; cut when it is long.
    pub(crate) diff: String,
}

/// Why an edit was not made. Nothing is written when there is one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the text to change is not in {path:?}{}", nearest(candidates, *already))]
    NotFound {
        path: String,
        candidates: Vec<Candidate>,
        /// The line at which the file already is as the edit would leave it.
        already: Option<usize>,
    },
    #[error("the text to change is {count} times in {path:?}, at {}; add lines around it until it is unique", at_lines(lines))]
    Ambiguous { path: String, count: usize, lines: Vec<usize> },
    #[error("the text to change is at line {line} of {path:?}, {why}; give whole lines")]
    Partial { path: String, line: usize, why: &'static str },
    #[error("line {line} of the edit: {what}")]
    Malformed { line: usize, what: String },
    #[error("there is no file {path:?}")]
    NoFile { path: String },
    #[error("there is a file {path:?} already")]
    FileExists { path: String },
    #[error("{path:?} cannot be edited: {why}")]
    Unreadable { path: String, why: &'static str },
    #[error("nothing would change in {path:?}")]
    NothingChanges { path: String },
    #[error("{path:?} has {lines} lines; line {line} is beyond its end")]
    BeyondEnd { path: String, lines: usize, line: usize },
    #[error("{path:?} would have {bytes} bytes, more than {limit}")]
    TooLarge { path: String, bytes: usize, limit: usize },
    #[error(transparent)]
    Path(PathError),
    #[error("the edit of {path:?} was not made, since its result could not be proven: {what}")]
    Unproven { path: String, what: &'static str },
}

impl Refusal {
    pub(super) fn malformed(line: usize, what: impl Into<String>) -> Refusal {
        Refusal::Malformed { line, what: what.into() }
    }

    /// Of a file that is larger than what edits make.
    pub(crate) fn too_large(path: &str) -> Refusal {
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
