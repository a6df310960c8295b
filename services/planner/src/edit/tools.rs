//! The edit tools: `view`, `str_replace`, `insert`, `create`, `delete`, `done`. One module, so that what a tool does and
//! what it refuses is the same for every model. A refused call changes nothing and says why.

use serde::Deserialize;

use super::overlay::{Content, Overlay};
use super::syntax;
use super::text::{Mismatch, Text};
use crate::model::{Step, StepAction};

/// The most bytes of a file that the file store takes by a commit.
pub(crate) const MAX_FILE_BYTES: usize = 3 * 1024 * 1024;
const MAX_VIEW_BYTES: usize = 64 * 1024;

/// A call of a tool, with its arguments read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    View { path: String, start: Option<usize>, end: Option<usize> },
    Replace { path: String, old: String, new: String },
    Insert { path: String, line: usize, text: String },
    Create { path: String, content: String },
    Delete { path: String },
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

    fn refused(message: impl Into<String>) -> Outcome {
        Outcome { ok: false, message: message.into() }
    }

    /// The result as the model gets it.
    pub(crate) fn reply(&self) -> String {
        format!("{}: {}", if self.ok { "ok" } else { "error" }, self.message)
    }
}

impl Call {
    /// Reads a model's call. The error is for the model.
    pub(crate) fn read(name: &str, arguments: &str) -> Result<Call, String> {
        let call = match name {
            "view" => read::<ViewArgs>(arguments)?.into(),
            "str_replace" => read::<ReplaceArgs>(arguments)?.into(),
            "insert" => read::<InsertArgs>(arguments)?.into(),
            "create" => read::<CreateArgs>(arguments)?.into(),
            "delete" => Call::Delete { path: clean(&read::<DeleteArgs>(arguments)?.path) },
            "done" => Call::Done,
            _ => return Err(format!("there is no tool `{name}`; use view, str_replace, insert, create, delete or done")),
        };
        Ok(call)
    }

    /// The tool's name where the call edits; nothing for `view` and `done`.
    pub(crate) fn edits(&self) -> Option<&'static str> {
        match self {
            Call::View { .. } | Call::Done => None,
            Call::Replace { .. } => Some("str_replace"),
            Call::Insert { .. } => Some("insert"),
            Call::Create { .. } => Some("create"),
            Call::Delete { .. } => Some("delete"),
        }
    }

    /// The file that it is about.
    pub(crate) fn path(&self) -> Option<&str> {
        match self {
            Call::View { path, .. }
            | Call::Replace { path, .. }
            | Call::Insert { path, .. }
            | Call::Create { path, .. }
            | Call::Delete { path } => Some(path),
            Call::Done => None,
        }
    }

    /// Runs the call on the overlay, for one step of a plan. Only the step's own file is ever changed.
    pub(crate) fn run(&self, step: &Step, overlay: &mut Overlay) -> Outcome {
        if self.edits().is_some() && self.path() != Some(step.path.as_str()) {
            return Outcome::refused(format!("this step may change only `{}`", step.path));
        }
        let result = match self {
            Call::View { path, start, end } => view(overlay, path, *start, *end),
            Call::Replace { path, old, new } => replace(overlay, path, old, new),
            Call::Insert { path, line, text } => insert(overlay, path, *line, text),
            Call::Create { path, content } => create(overlay, step, path, content),
            Call::Delete { path } => delete(overlay, step, path),
            Call::Done => done(overlay, step),
        };
        match result {
            Ok(message) => Outcome::ok(message),
            Err(message) => Outcome::refused(message),
        }
    }
}

fn view(overlay: &Overlay, path: &str, start: Option<usize>, end: Option<usize>) -> Result<String, String> {
    let text = Text::of(text_of(overlay, path)?);
    let count = text.line_count();
    let (first, last) = (start.unwrap_or(1).max(1), end.unwrap_or(count).min(count));
    if count == 0 {
        return Ok(format!("`{path}` is empty"));
    }
    if first > count || first > last {
        return Err(format!("`{path}` has {count} lines; there is nothing from {first} to {}", end.unwrap_or(count)));
    }
    let mut shown = String::new();
    for (index, line) in text.seen().lines().enumerate().take(last).skip(first - 1) {
        if shown.len() + line.len() > MAX_VIEW_BYTES {
            shown.push_str(&format!("… cut at line {}; view the rest by start_line", index + 1));
            break;
        }
        shown.push_str(&format!("{:>6}\t{line}\n", index + 1));
    }
    Ok(format!("lines {first} to {last} of {count} of `{path}`\n{shown}"))
}

fn replace(overlay: &mut Overlay, path: &str, old: &str, new: &str) -> Result<String, String> {
    let before = text_of(overlay, path)?;
    if old.is_empty() {
        return Err("old_str is empty; give the text to replace, or use insert".to_owned());
    }
    if old == new {
        return Err("old_str and new_str are the same; nothing would change".to_owned());
    }
    let (after, line) = Text::of(before).replace(old, new).map_err(|mismatch| explain(path, &mismatch))?;
    if after == before {
        return Err("nothing would change".to_owned());
    }
    store(overlay, path, after)?;
    Ok(format!("replaced at line {line} of `{path}`"))
}

fn explain(path: &str, mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::None { similar_line: None } => {
            format!("old_str occurs 0 times in `{path}`; view the file and copy the text exactly")
        }
        Mismatch::None { similar_line: Some(line) } => {
            format!("old_str occurs 0 times in `{path}`; the text at line {line} differs only in white space: copy it exactly")
        }
        Mismatch::Many { lines } => {
            let shown: Vec<String> = lines.iter().take(20).map(usize::to_string).collect();
            let count = lines.len();
            let more = if count > 20 { ", …" } else { "" };
            format!(
                "old_str occurs {count} times in `{path}` (at lines {}{more}); add lines around it until it is unique",
                shown.join(", ")
            )
        }
    }
}

fn insert(overlay: &mut Overlay, path: &str, line: usize, text: &str) -> Result<String, String> {
    let before = text_of(overlay, path)?;
    if text.is_empty() {
        return Err("text is empty; nothing would change".to_owned());
    }
    let after = Text::of(before)
        .insert(line, text)
        .map_err(|count| format!("`{path}` has {count} lines; line {line} is beyond its end"))?;
    store(overlay, path, after)?;
    Ok(match line {
        0 => format!("inserted at the top of `{path}`"),
        _ => format!("inserted after line {line} of `{path}`"),
    })
}

fn create(overlay: &mut Overlay, step: &Step, path: &str, content: &str) -> Result<String, String> {
    if overlay.exists(path) {
        return Err(format!("`{path}` exists already; change it with str_replace or insert"));
    }
    if step.action != StepAction::Create {
        return Err(format!("this step is to {} `{path}`, not to create it", step.action.as_str()));
    }
    store(overlay, path, content.to_owned())?;
    Ok(format!("created `{path}` with {} lines", Text::of(content).line_count()))
}

fn delete(overlay: &mut Overlay, step: &Step, path: &str) -> Result<String, String> {
    if !overlay.exists(path) {
        return Err(format!("there is no file `{path}`"));
    }
    if step.action == StepAction::Update {
        return Err(format!("this step is to update `{path}`, not to delete it"));
    }
    overlay.delete(path);
    Ok(format!("deleted `{path}`"))
}

fn done(overlay: &Overlay, step: &Step) -> Result<String, String> {
    match (step.action, overlay.exists(&step.path)) {
        (StepAction::Create, false) => Err(format!("`{}` is not created yet", step.path)),
        (StepAction::Delete, true) => Err(format!("`{}` is not deleted yet", step.path)),
        _ => Ok("the step is done".to_owned()),
    }
}

/// Takes an edit, unless it breaks the file.
fn store(overlay: &mut Overlay, path: &str, after: String) -> Result<(), String> {
    if after.len() > MAX_FILE_BYTES {
        return Err(format!("`{path}` would have {} bytes; a plan's file has at most {MAX_FILE_BYTES}", after.len()));
    }
    if after.contains('\0') {
        return Err("the text holds a NUL character".to_owned());
    }
    syntax::check_edit(path, overlay.find_text(path), &after)
        .map_err(|e| format!("the edit was not made, `{path}` would be {e}; make changes that belong together in one edit"))?;
    overlay.write(path, after);
    Ok(())
}

fn text_of<'a>(overlay: &'a Overlay, path: &str) -> Result<&'a str, String> {
    match overlay.find(path) {
        Some(Content::Text(text)) => Ok(text),
        Some(Content::Unreadable(why)) => Err(format!("`{path}` {why}")),
        None => Err(format!("there is no file `{path}`")),
    }
}

fn clean(path: &str) -> String {
    let path = path.trim();
    path.strip_prefix("./").unwrap_or(path).to_owned()
}

fn read<T: for<'de> Deserialize<'de>>(arguments: &str) -> Result<T, String> {
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    serde_json::from_str(arguments).map_err(|e| format!("the arguments cannot be read: {e}"))
}

#[derive(Deserialize)]
struct ViewArgs {
    path: String,
    start_line: Option<usize>,
    end_line: Option<usize>,
}

#[derive(Deserialize)]
struct ReplaceArgs {
    path: String,
    old_str: String,
    #[serde(default)]
    new_str: String,
}

#[derive(Deserialize)]
struct InsertArgs {
    path: String,
    #[serde(alias = "insert_line")]
    line: usize,
    #[serde(alias = "new_str", alias = "insert_text")]
    text: String,
}

#[derive(Deserialize)]
struct CreateArgs {
    path: String,
    #[serde(alias = "file_text")]
    content: String,
}

#[derive(Deserialize)]
struct DeleteArgs {
    path: String,
}

impl From<ViewArgs> for Call {
    fn from(a: ViewArgs) -> Call {
        Call::View { path: clean(&a.path), start: a.start_line, end: a.end_line }
    }
}

impl From<ReplaceArgs> for Call {
    fn from(a: ReplaceArgs) -> Call {
        Call::Replace { path: clean(&a.path), old: a.old_str, new: a.new_str }
    }
}

impl From<InsertArgs> for Call {
    fn from(a: InsertArgs) -> Call {
        Call::Insert { path: clean(&a.path), line: a.line, text: a.text }
    }
}

impl From<CreateArgs> for Call {
    fn from(a: CreateArgs) -> Call {
        Call::Create { path: clean(&a.path), content: a.content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StepState;

    const VALUES: &str = "gateway:\n  replicas: 1\n  image:\n    tag: \"1\"\nworker:\n  replicas: 1\n";

    fn overlay() -> Overlay {
        let names = ["values.yaml", "templates/d.yaml", "logo.png", "empty.txt"].map(str::to_owned);
        let mut overlay = Overlay::over(names);
        overlay.load("values.yaml", Content::Text(VALUES.into()));
        overlay.load("templates/d.yaml", Content::Text("{{ if .x }}\na: 1\n{{ end }}\n".into()));
        overlay.load("logo.png", Content::Unreadable("is not text".into()));
        overlay.load("empty.txt", Content::Text(String::new()));
        overlay
    }

    fn step(path: &str, action: StepAction) -> Step {
        Step { number: 1, path: path.into(), action, reason: "because".into(), state: StepState::Pending }
    }

    fn run(overlay: &mut Overlay, step: &Step, name: &str, arguments: &str) -> Outcome {
        match Call::read(name, arguments) {
            Ok(call) => call.run(step, overlay),
            Err(e) => Outcome::refused(e),
        }
    }

    /// Runs one call on a fresh overlay and returns what it left of the step's file.
    fn once(path: &str, action: StepAction, name: &str, arguments: serde_json::Value) -> (Outcome, Option<String>) {
        let mut overlay = overlay();
        let outcome = run(&mut overlay, &step(path, action), name, &arguments.to_string());
        (outcome, overlay.find_text(path).map(str::to_owned))
    }

    fn refused(path: &str, action: StepAction, name: &str, arguments: serde_json::Value, part: &str) {
        let before = overlay().find_text(path).map(str::to_owned);
        let (outcome, after) = once(path, action, name, arguments.clone());
        assert!(!outcome.ok && outcome.reply().starts_with("error: "), "{name} {arguments}: {outcome:?}");
        assert!(outcome.message.contains(part), "{name} {arguments}: {}", outcome.message);
        assert_eq!(before, after, "a refused call changes nothing");
    }

    #[test]
    fn str_replace_wants_a_unique_match() {
        let args = |old: &str, new: &str| serde_json::json!({"path": "values.yaml", "old_str": old, "new_str": new});
        let (outcome, text) =
            once("values.yaml", StepAction::Update, "str_replace", args("gateway:\n  replicas: 1", "gateway:\n  replicas: 3"));
        assert_eq!(outcome.reply(), "ok: replaced at line 1 of `values.yaml`");
        assert!(text.unwrap().starts_with("gateway:\n  replicas: 3\n"));
        let refuse = |old: &str, new: &str, part| refused("values.yaml", StepAction::Update, "str_replace", args(old, new), part);
        refuse("replicas: 1", "replicas: 3", "occurs 2 times in `values.yaml` (at lines 2, 6)");
        refuse("replicas: 9", "replicas: 3", "occurs 0 times");
        refuse("gateway:\n    replicas:  1", "x", "differs only in white space");
        refuse("", "x", "old_str is empty");
        refuse("gateway", "gateway", "the same");
        refuse("gateway:\n  replicas: 1", "gateway:\n replicas: [", "would be not valid YAML");
        refuse("gateway:\n  replicas: 1", "gateway:\n  replicas: 1\n  replicas: 2", "occurs twice");
        refuse("gateway:", "gate\0way:", "NUL");
    }

    #[test]
    fn only_the_file_of_the_step_is_changed() {
        let other = serde_json::json!({"path": "templates/d.yaml", "old_str": "a: 1", "new_str": "a: 2"});
        refused("values.yaml", StepAction::Update, "str_replace", other, "may change only `values.yaml`");
        for path in ["../values.yaml", "/values.yaml", "Values.yaml", ""] {
            refused(
                "values.yaml",
                StepAction::Update,
                "insert",
                serde_json::json!({"path": path, "line": 0, "text": "x"}),
                "may change only",
            );
        }
        let (outcome, _) = once("values.yaml", StepAction::Update, "view", serde_json::json!({"path": "templates/d.yaml"}));
        assert!(outcome.ok, "looking is free");
        let dotted = serde_json::json!({"path": "./values.yaml", "line": 0, "text": "# top"});
        assert!(once("values.yaml", StepAction::Update, "insert", dotted).0.ok);
    }

    #[test]
    fn insert_counts_lines() {
        let args = |line: u32, text: &str| serde_json::json!({"path": "values.yaml", "line": line, "text": text});
        let (outcome, text) = once("values.yaml", StepAction::Update, "insert", args(2, "  port: 80"));
        assert_eq!(outcome.message, "inserted after line 2 of `values.yaml`");
        assert!(text.unwrap().starts_with("gateway:\n  replicas: 1\n  port: 80\n  image:"));
        assert!(once("values.yaml", StepAction::Update, "insert", args(6, "last: 1")).0.ok);
        refused("values.yaml", StepAction::Update, "insert", args(7, "x: 1"), "has 6 lines; line 7 is beyond");
        refused("values.yaml", StepAction::Update, "insert", args(0, ""), "text is empty");
        refused(
            "values.yaml",
            StepAction::Update,
            "insert",
            serde_json::json!({"path": "values.yaml", "line": -1, "text": "x"}),
            "cannot be read",
        );
        let empty = serde_json::json!({"path": "empty.txt", "line": 0, "text": "x"});
        assert_eq!(once("empty.txt", StepAction::Update, "insert", empty).1.as_deref(), Some("x\n"));
    }

    #[test]
    fn create_is_for_files_that_are_not_there() {
        let args = |path: &str, content: &str| serde_json::json!({"path": path, "content": content});
        let (outcome, text) = once("templates/i.yaml", StepAction::Create, "create", args("templates/i.yaml", "a: {{ .x }}\n"));
        assert_eq!(
            (outcome.message.as_str(), text.as_deref()),
            ("created `templates/i.yaml` with 1 lines", Some("a: {{ .x }}\n"))
        );
        refused("values.yaml", StepAction::Update, "create", args("values.yaml", "a: 1"), "exists already");
        refused("templates/i.yaml", StepAction::Create, "create", args("templates/i.yaml", "{{ if }}"), "has no `{{ end }}`");
        refused("gone.yaml", StepAction::Update, "create", args("gone.yaml", "a: 1"), "not to create it");
        let big = "x".repeat(MAX_FILE_BYTES + 1);
        refused("big.txt", StepAction::Create, "create", args("big.txt", &big), "at most");
        assert!(once("empty.yaml", StepAction::Create, "create", args("empty.yaml", "")).0.ok, "an empty file is a file");
    }

    #[test]
    fn delete_is_for_steps_that_delete() {
        let args = serde_json::json!({"path": "values.yaml"});
        refused("values.yaml", StepAction::Update, "delete", args.clone(), "not to delete it");
        assert_eq!(once("values.yaml", StepAction::Delete, "delete", args).1, None);
        refused("no.yaml", StepAction::Delete, "delete", serde_json::json!({"path": "no.yaml"}), "there is no file");
    }

    #[test]
    fn a_created_file_may_be_changed_and_made_anew() {
        let (mut overlay, step) = (overlay(), step("n.yaml", StepAction::Create));
        assert!(!run(&mut overlay, &step, "done", "{}").ok, "nothing is created yet");
        assert!(run(&mut overlay, &step, "create", r#"{"path":"n.yaml","content":"a: 1\n"}"#).ok);
        assert!(run(&mut overlay, &step, "str_replace", r#"{"path":"n.yaml","old_str":"1","new_str":"2"}"#).ok);
        assert!(run(&mut overlay, &step, "delete", r#"{"path":"n.yaml"}"#).ok);
        assert!(run(&mut overlay, &step, "create", r#"{"path":"n.yaml","content":"b: 1\n"}"#).ok);
        assert_eq!(run(&mut overlay, &step, "done", "").reply(), "ok: the step is done");
        assert_eq!(overlay.find_text("n.yaml"), Some("b: 1\n"));
    }

    #[test]
    fn view_numbers_lines() {
        let view = |args: serde_json::Value| once("values.yaml", StepAction::Update, "view", args).0;
        let shown = view(serde_json::json!({"path": "values.yaml", "start_line": 2, "end_line": 3}));
        assert_eq!(shown.message, "lines 2 to 3 of 6 of `values.yaml`\n     2\t  replicas: 1\n     3\t  image:\n");
        assert!(view(serde_json::json!({"path": "values.yaml", "end_line": 99})).message.contains("     6\t"));
        assert!(view(serde_json::json!({"path": "empty.txt"})).message.contains("is empty"));
        for (args, part) in [
            (serde_json::json!({"path": "values.yaml", "start_line": 9}), "has 6 lines"),
            (serde_json::json!({"path": "values.yaml", "start_line": 4, "end_line": 2}), "nothing from 4 to 2"),
            (serde_json::json!({"path": "nope.yaml"}), "there is no file"),
            (serde_json::json!({"path": "logo.png"}), "is not text"),
        ] {
            refused("values.yaml", StepAction::Update, "view", args, part);
        }
        let mut long = overlay();
        long.write("long.txt", "0123456789abcdef\n".repeat(10_000));
        let cut = run(&mut long, &step("long.txt", StepAction::Update), "view", r#"{"path":"long.txt"}"#);
        assert!(cut.ok && cut.message.len() < 2 * MAX_VIEW_BYTES && cut.message.contains("cut at line"));
    }

    #[test]
    fn bad_calls_are_told_to_the_model() {
        for (name, arguments, part) in [
            ("rm", "{}", "there is no tool `rm`"),
            ("str_replace", "{\"path\":", "cannot be read"),
            ("str_replace", "{\"path\":\"a\"}", "old_str"),
            ("create", "", "path"),
            ("view", "[]", "cannot be read"),
        ] {
            let error = Call::read(name, arguments).unwrap_err();
            assert!(error.contains(part), "{name}: {error}");
        }
        assert_eq!(Call::read("done", "not json").unwrap(), Call::Done);
        assert_eq!(
            Call::read("insert", r#"{"path":" ./a ","insert_line":1,"new_str":"x","extra":true}"#).unwrap(),
            Call::Insert { path: "a".into(), line: 1, text: "x".into() }
        );
    }

    #[test]
    fn crlf_files_stay_crlf() {
        let mut overlay = Overlay::over(["a.yaml".to_owned()]);
        overlay.load("a.yaml", Content::Text("\u{feff}a: 1\r\nb: 2\r\n".into()));
        let step = step("a.yaml", StepAction::Update);
        assert!(
            run(&mut overlay, &step, "str_replace", r#"{"path":"a.yaml","old_str":"a: 1\nb: 2","new_str":"a: 3\nb: 2\nc: 4"}"#)
                .ok
        );
        assert_eq!(overlay.find_text("a.yaml"), Some("\u{feff}a: 3\r\nb: 2\r\nc: 4\r\n"));
    }
}
