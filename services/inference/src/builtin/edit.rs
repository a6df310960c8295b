//! Edits: a step of a plan becomes calls of the edit tools.

use serde_json::{Value as Json, json};

use super::changes::call;
use super::plan::ops_of_step;
use super::prompt::{self, Step};
use crate::model::{Message, Role};

/// What to answer in the conversation about one step.
pub(super) enum Turn {
    /// Calls of tools.
    Calls(Vec<(&'static str, Json)>),
    /// The step cannot be made.
    Refuse(String),
}

/// The next turn of the conversation.
pub(super) fn turn(messages: &[Message]) -> Turn {
    let begins = |m: &&Message| m.role == Role::User && prompt::step(&m.text).is_some();
    let Some(first) = messages.iter().find(begins) else {
        return Turn::Refuse("the message names no step to edit".to_owned());
    };
    let results: Vec<&Message> = messages.iter().filter(|m| m.role == Role::Tool).collect();
    if let Some(failed) = results.iter().find(|m| m.text.starts_with("error")) {
        return Turn::Refuse(format!("an edit was refused: {}", failed.text));
    }
    if !results.is_empty() {
        return done(&format!("made {} edit{}", results.len(), if results.len() == 1 { "" } else { "s" }));
    }
    match prompt::step(&first.text) {
        Some(step) => edit(&first.text, &step),
        None => Turn::Refuse("the message names no step to edit".to_owned()),
    }
}

fn done(summary: &str) -> Turn {
    Turn::Calls(vec![("done", json!({"summary": summary}))])
}

fn edit(message: &str, step: &Step<'_>) -> Turn {
    let files = prompt::files(message);
    let file = files.iter().find(|f| f.path == step.path);
    if step.action == "delete" {
        return match file {
            Some(_) => Turn::Calls(vec![("delete", json!({"path": step.path}))]),
            None => done("the file is gone already"),
        };
    }
    if file.is_some_and(|f| f.text.is_none()) {
        return Turn::Refuse(format!("{} was not shown", step.path));
    }
    let before = file.and_then(|f| f.text);
    let request = prompt::section(&prompt::without_files(message), "request").map(str::to_owned).unwrap_or_default();
    let ops = match ops_of_step(&files, step, &request) {
        Ok(ops) => ops,
        Err(why) => return Turn::Refuse(why),
    };
    let mut after = before.unwrap_or_default().to_owned();
    let mut calls = Vec::new();
    for op in ops {
        match op.apply(&after) {
            Ok(text) => {
                // One call for each change: the file parses after every one of them.
                calls.extend(call(step.path, &after, &text));
                after = text;
            }
            Err(why) => return Turn::Refuse(format!("{}: {why}", op.wording(None))),
        }
    }
    match before {
        None if after.is_empty() => done("nothing to write"),
        None => Turn::Calls(vec![("create", json!({"path": step.path, "content": after}))]),
        Some(_) if calls.is_empty() => done("nothing to change: the file says so already"),
        Some(_) => Turn::Calls(calls),
    }
}
