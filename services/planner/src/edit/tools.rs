//! The tools that a model edits with: `view`, `str_replace`, `insert`, `edit`, `create`, `delete`, `done`. What an edit means
//! and where it goes is the edit engine's business, [`slipway_edits`]; what is added here is that a step changes its own file
//! only, in the way that the plan says, and leaves it sound. A refused call changes nothing and says why.

mod read;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use slipway_edits::{Change, Done, Edit, Format, Parser, Refusal, Rung, apply, view};

use super::overlay::{Content, Overlay};
use super::syntax;
use crate::model::{Step, StepAction};

const MAX_VIEW_BYTES: usize = 64 * 1024;

/// A call of a tool, with its arguments read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    View {
        path: String,
        start: Option<usize>,
        end: Option<usize>,
    },
    Edit {
        tool: &'static str,
        edit: Edit,
    },
    /// Edits in whichever format they are written.
    Text {
        path: String,
        text: String,
    },
    Done,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// True when it was done.
    pub(crate) ok: bool,
    /// What was done or why not.
    pub(crate) message: String,
}

impl Outcome {
    fn ok(message: impl Into<String>) -> Outcome {
        Outcome { ok: true, message: message.into() }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Outcome {
        Outcome { ok: false, message: message.into() }
    }

    /// The result as the model gets it.
    pub(crate) fn reply(&self) -> String {
        format!("{}: {}", if self.ok { "ok" } else { "error" }, self.message)
    }
}

/// True for a tool that edits.
pub(crate) fn edits(tool: &str) -> bool {
    matches!(tool, "str_replace" | "insert" | "edit" | "create" | "delete")
}

impl Call {
    /// The call that deletes a file.
    pub(crate) fn delete(path: &str) -> Call {
        Call::Edit { tool: "delete", edit: Edit::Delete { path: path.to_owned(), lines: None } }
    }

    /// The tool's name where the call edits; nothing for `view` and `done`.
    pub(crate) fn edits(&self) -> Option<&'static str> {
        match self {
            Call::View { .. } | Call::Done => None,
            Call::Edit { tool, .. } => Some(tool),
            Call::Text { .. } => Some("edit"),
        }
    }

    /// The file that it is about.
    pub(crate) fn path(&self) -> Option<&str> {
        match self {
            Call::View { path, .. } | Call::Text { path, .. } => Some(path),
            Call::Edit { edit, .. } => Some(edit.path()),
            Call::Done => None,
        }
    }

    /// Runs the call on the overlay, for one step of a plan. Only the step's own file is ever changed.
    pub(crate) fn run(&self, step: &Step, overlay: &mut Overlay) -> Outcome {
        if self.edits().is_some() && self.path() != Some(step.path.as_str()) {
            return Outcome::refused(format!("this step may change only `{}`", step.path));
        }
        let result = match self {
            Call::View { path, start, end } => show(overlay, path, *start, *end),
            Call::Edit { edit, .. } => make(overlay, step, std::slice::from_ref(edit)),
            Call::Text { text, .. } => parse(&step.path, text).and_then(|edits| make(overlay, step, &edits)),
            Call::Done => done(overlay, step),
        };
        match result {
            Ok(message) => Outcome::ok(message),
            Err(message) => Outcome::refused(message),
        }
    }
}

fn show(overlay: &Overlay, path: &str, start: Option<usize>, end: Option<usize>) -> Result<String, String> {
    let text = match overlay.find(path) {
        Some(Content::Text(text)) => text,
        Some(Content::Unreadable(why)) => return Err(format!("`{path}` {why}")),
        None => return Err(format!("there is no file `{path}`")),
    };
    let (first, last) = (start.unwrap_or(1).max(1), end.unwrap_or(usize::MAX));
    let view = view(text, first, last, MAX_VIEW_BYTES).map_err(|count| {
        let last = last.min(count);
        format!("`{path}` has {count} lines; there is nothing from {first} to {last}")
    })?;
    let Some((shown_last, _)) = view.lines.last() else { return Ok(format!("`{path}` is empty")) };
    let mut shown = format!("lines {first} to {shown_last} of {} of `{path}`\n", view.total);
    for (number, line) in &view.lines {
        let _ = writeln!(shown, "{number:>6}\t{line}");
    }
    if view.truncated {
        let _ = writeln!(shown, "… cut at line {shown_last}; view the rest by start_line");
    }
    Ok(shown)
}

fn parse(path: &str, text: &str) -> Result<Vec<Edit>, String> {
    let mut parser = Parser::new(Format::Auto, Some(path.to_owned()));
    parser.push(text.as_bytes());
    parser.finish().map_err(|refusal| refusal.to_string())
}

/// Makes edits of the step's file, all of them or none, unless they break it.
fn make(overlay: &mut Overlay, step: &Step, edits: &[Edit]) -> Result<String, String> {
    let path = step.path.as_str();
    if edits.iter().flat_map(Edit::paths).any(|other| other != path) {
        return Err(format!("this step may change only `{path}`"));
    }
    let deletes = |edit: &Edit| matches!(edit, Edit::Delete { .. });
    match step.action {
        StepAction::Update if edits.iter().any(deletes) => {
            return Err(format!("this step is to update `{path}`, not to delete it"));
        }
        StepAction::Update | StepAction::Delete if !overlay.exists(path) && !edits.iter().all(deletes) => {
            return Err(format!("this step is to {} `{path}`, not to create it", step.action.as_str()));
        }
        _ => {}
    }
    let before = match overlay.find(path) {
        Some(Content::Unreadable(why)) if !edits.iter().all(deletes) => return Err(format!("`{path}` {why}")),
        Some(Content::Text(text)) => Some(Bytes::copy_from_slice(text.as_bytes())),
        // What is only deleted need not be known.
        _ => overlay.exists(path).then(Bytes::new),
    };
    let mut batch = apply(BTreeMap::from([(path.to_owned(), before)]), edits, &mut |_, _| {});
    let made: Vec<Done> = batch.outcomes.into_iter().collect::<Result<_, _>>().map_err(|refusal| explain(&refusal))?;
    match batch.changes.pop() {
        Some(Change::Write { content, .. }) => {
            let text = String::from_utf8_lossy(&content).into_owned();
            syntax::check_edit(path, overlay.find_text(path), &text).map_err(|e| {
                format!("the edit was not made, `{path}` would be {e}; make changes that belong together in one edit")
            })?;
            let created = !overlay.exists(path);
            let lines = text.lines().count();
            overlay.write(path, text);
            Ok(if created { format!("created `{path}` with {lines} lines") } else { tell(path, &made) })
        }
        Some(_) => {
            overlay.delete(path);
            Ok(format!("deleted `{path}`"))
        }
        None => Err("nothing would change".to_owned()),
    }
}

/// Which lines were changed, and what was overlooked to find them.
fn tell(path: &str, made: &[Done]) -> String {
    let lines = |done: &Done| match done.lines {
        Some((first, last)) if first == last => format!("line {first}"),
        Some((first, last)) => format!("lines {first} to {last}"),
        None => "everything".to_owned(),
    };
    let all: Vec<String> = made.iter().map(lines).collect();
    let but_for = match made.iter().map(|done| done.rung).max() {
        Some(Rung::TrailingBlanks) => ", found but for blanks at the ends of lines",
        Some(Rung::Indentation) => ", found but for the indentation",
        _ => "",
    };
    format!("changed {} of `{path}`{but_for}", all.join(", "))
}

/// A refusal with what is near to the text that was sought.
fn explain(refusal: &Refusal) -> String {
    let mut text = refusal.to_string();
    if let Refusal::NotFound { candidates, already: None, .. } = refusal {
        for candidate in candidates {
            let (first, last) = (candidate.first_line, candidate.last_line);
            let _ = write!(text, "\nlines {first} to {last}, as sought (-) and as they are (+):\n{}", candidate.diff.trim_end());
        }
    }
    text
}

fn done(overlay: &Overlay, step: &Step) -> Result<String, String> {
    match (step.action, overlay.exists(&step.path)) {
        (StepAction::Create, false) => Err(format!("`{}` is not created yet", step.path)),
        (StepAction::Delete, true) => Err(format!("`{}` is not deleted yet", step.path)),
        _ => Ok("the step is done".to_owned()),
    }
}

#[cfg(test)]
mod tests;
