//! What the tools do and what they refuse.

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
    assert_eq!(outcome.reply(), "ok: changed line 2 of `values.yaml`");
    assert!(text.unwrap().starts_with("gateway:\n  replicas: 3\n"));
    let refuse = |old: &str, new: &str, part| refused("values.yaml", StepAction::Update, "str_replace", args(old, new), part);
    refuse("replicas: 1", "replicas: 3", "is 2 times in \"values.yaml\", at lines 2, 6; add lines");
    refuse("replicas: 9", "replicas: 3", "the nearest is at lines 2 to 2");
    refuse("replicas: 9", "replicas: 3", "-replicas: 9\n+  replicas: 1");
    refuse("nowhere", "x", "view the file and copy the text exactly");
    refuse("gateway:\n    replicas:  1", "x", "-    replicas:  1\n+  replicas: 1");
    refuse("", "x", "the text to replace is empty");
    refuse("gateway", "gateway", "nothing would change");
    refuse("replica", "x", "is 2 times");
    refuse("workers:", "x:", "is not in");
    refuse("orker:", "x:", "as part of a longer word");
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
    assert_eq!(outcome.message, "changed line 3 of `values.yaml`");
    assert!(text.unwrap().starts_with("gateway:\n  replicas: 1\n  port: 80\n  image:"));
    assert!(once("values.yaml", StepAction::Update, "insert", args(6, "last: 1")).0.ok);
    refused("values.yaml", StepAction::Update, "insert", args(7, "x: 1"), "has 6 lines; line 7 is beyond");
    refused("values.yaml", StepAction::Update, "insert", args(0, ""), "nothing would change");
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
    assert_eq!((outcome.message.as_str(), text.as_deref()), ("created `templates/i.yaml` with 1 lines", Some("a: {{ .x }}\n")));
    refused("values.yaml", StepAction::Update, "create", args("values.yaml", "a: 1"), "there is a file \"values.yaml\" already");
    refused("templates/i.yaml", StepAction::Create, "create", args("templates/i.yaml", "{{ if }}"), "has no `{{ end }}`");
    refused("gone.yaml", StepAction::Update, "create", args("gone.yaml", "a: 1"), "not to create it");
    let big = "x".repeat(slipway_edits::MAX_EDITED + 1);
    refused("big.txt", StepAction::Create, "create", args("big.txt", &big), "more than 3145728");
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
        Call::Edit { tool: "insert", edit: Edit::Insert { path: "a".into(), line: 1, text: "x".into() } }
    );
}

#[test]
fn crlf_files_stay_crlf() {
    let mut overlay = Overlay::over(["a.yaml".to_owned()]);
    overlay.load("a.yaml", Content::Text("\u{feff}a: 1\r\nb: 2\r\n".into()));
    let step = step("a.yaml", StepAction::Update);
    assert!(
        run(&mut overlay, &step, "str_replace", r#"{"path":"a.yaml","old_str":"a: 1\nb: 2","new_str":"a: 3\nb: 2\nc: 4"}"#).ok
    );
    assert_eq!(overlay.find_text("a.yaml"), Some("\u{feff}a: 3\r\nb: 2\r\nc: 4\r\n"));
}

#[test]
fn edits_are_taken_in_the_formats_that_models_write() {
    let edit =
        |text: &str| once("values.yaml", StepAction::Update, "edit", serde_json::json!({"path": "values.yaml", "edits": text}));
    let three = VALUES.replacen("replicas: 1", "replicas: 3", 1);
    for text in [
        "<<<<<<< SEARCH\ngateway:\n  replicas: 1\n=======\ngateway:\n  replicas: 3\n>>>>>>> REPLACE\n",
        "--- a/values.yaml\n+++ b/values.yaml\n@@ -4711,9 +1,2 @@\n gateway:\n-  replicas: 1\n+  replicas: 3\n   image:\n",
        "*** Begin Patch\n*** Update File: values.yaml\n@@ gateway:\n-  replicas: 1\n+  replicas: 3\n   image:\n*** End Patch\n",
        &format!("values.yaml\n```yaml\n{three}```\n"),
    ] {
        let (outcome, after) = edit(text);
        assert_eq!(
            (outcome.message.as_str(), after.as_deref()),
            ("changed line 2 of `values.yaml`", Some(three.as_str())),
            "{text}"
        );
    }
    // Two blocks are one edit: what either would break alone is whole when both are made.
    let both = "<<<<<<< SEARCH\n  image:\n=======\n  image: {\n>>>>>>> REPLACE\n\
                <<<<<<< SEARCH\n    tag: \"1\"\n=======\n    tag: \"1\"}\n>>>>>>> REPLACE\n";
    assert_eq!(edit(both).0.message, "changed line 3, line 4 of `values.yaml`");
    let indented = "<<<<<<< SEARCH\nimage:\n  tag: \"1\"\n=======\nimage:\n  tag: \"2\"\n>>>>>>> REPLACE\n";
    assert_eq!(edit(indented).0.message, "changed line 4 of `values.yaml`, found but for the indentation");
    let refuse = |text: &str, part| {
        refused("values.yaml", StepAction::Update, "edit", serde_json::json!({"path": "values.yaml", "edits": text}), part);
    };
    refuse(
        "<<<<<<< SEARCH\n  replicas: 1\n=======\n  replicas: 3\n>>>>>>> REPLACE\n",
        "is 2 times in \"values.yaml\", at lines 2, 6",
    );
    refuse("<<<<<<< SEARCH\n  image:\n=======\n  image: {\n>>>>>>> REPLACE\n", "not valid YAML");
    refuse("--- a/Chart.yaml\n+++ b/Chart.yaml\n@@ -1 +1 @@\n-a: 1\n+a: 2\n", "may change only `values.yaml`");
    refuse("*** Begin Patch\n*** Delete File: values.yaml\n*** End Patch\n", "not to delete it");
    refuse("diff --git a/values.yaml b/x.yaml\nrename from values.yaml\nrename to x.yaml\n", "may change only");
    refuse("<<<<<<< SEARCH\na\n=======\n", "cut off");
    let created = serde_json::json!({"path": "n.yaml", "edits": "n.yaml\n```yaml\na: 1\n```\n"});
    assert_eq!(once("n.yaml", StepAction::Create, "edit", created.clone()).1.as_deref(), Some("a: 1\n"));
    refused("n.yaml", StepAction::Update, "edit", created, "not to create it");
}

#[test]
fn a_text_may_be_replaced_wherever_it_is() {
    let args =
        serde_json::json!({"path": "values.yaml", "old_str": "replicas: 1", "new_str": "replicas: 3", "replace_all": true});
    let (outcome, text) = once("values.yaml", StepAction::Update, "str_replace", args);
    assert!(outcome.ok && text.as_deref() == Some(VALUES.replace("replicas: 1", "replicas: 3").as_str()), "{outcome:?}");
}
