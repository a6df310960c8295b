//! What a model submits as a plan: read with patience, stored with none. What is wrong goes back to the model in words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::model::{MAX_STEPS, Step, StepAction, StepState};
use crate::path;

const MAX_REASON: usize = 4_000;
const MAX_SUMMARY: usize = 2_000;

/// A plan that a model submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Submission {
    /// Steps that can be stored.
    Plan { summary: String, steps: Vec<Step> },
    /// The model says plainly that it cannot do this.
    Cannot(String),
}

/// Reads the arguments of `submit_plan`, or a text that holds them. `existing` are the paths of the base revision. The
/// error is for the model.
pub(crate) fn read(text: &str, existing: &BTreeSet<String>) -> Result<Submission, String> {
    let object =
        find_object(text).ok_or("there is no JSON object with `summary` and `steps` in your answer; call submit_plan")?;
    let steps = find(&object, &["steps", "changes", "files", "actions"]).map(list).transpose()?.unwrap_or_default();
    let cannot = find_text(&object, &["cannot", "refusal", "cannot_do"]);
    if let (Some(cannot), true) = (cannot, steps.is_empty()) {
        return Ok(Submission::Cannot(cut(&cannot, MAX_SUMMARY)));
    }
    if steps.is_empty() {
        return Err("`steps` is empty; give at least one step, or say in `cannot` why it cannot be done".to_owned());
    }
    let steps = read_steps(&steps, existing)?;
    let summary = find_text(&object, &["summary", "title", "description", "plan"]).unwrap_or_else(|| summarise(&steps));
    Ok(Submission::Plan { summary: cut(&summary, MAX_SUMMARY), steps })
}

fn read_steps(values: &[Value], existing: &BTreeSet<String>) -> Result<Vec<Step>, String> {
    let mut wrong = Vec::new();
    let mut steps: Vec<Step> = Vec::new();
    let folded: BTreeMap<String, &str> = existing.iter().map(|p| (p.to_lowercase(), p.as_str())).collect();
    for (index, value) in values.iter().enumerate() {
        match read_step(value).and_then(|step| fits(step, existing, &folded)) {
            Ok(step) => add(&mut steps, step).unwrap_or_else(|e| wrong.push(format!("step {}: {e}", index + 1))),
            Err(e) => wrong.push(format!("step {}: {e}", index + 1)),
        }
    }
    if steps.len() > MAX_STEPS {
        wrong.push(format!("there are {} steps; a plan has at most {MAX_STEPS}", steps.len()));
    }
    if !wrong.is_empty() {
        let more = wrong.len().saturating_sub(10);
        wrong.truncate(10);
        let tail = if more > 0 { format!("; and {more} more") } else { String::new() };
        return Err(wrong.join("; ") + &tail);
    }
    for (number, step) in (1..).zip(&mut steps) {
        step.number = number;
    }
    Ok(steps)
}

fn read_step(value: &Value) -> Result<Step, String> {
    let object = value.as_object().ok_or("is not an object with path, action and reason")?;
    let path = find_text(object, &["path", "file", "file_path", "filepath", "filename", "name"]).ok_or("has no path")?;
    let path = path::clean(&path)?;
    let action = find_text(object, &["action", "operation", "op", "type", "kind"]).ok_or("has no action")?;
    let action = find_action(&action)
        .ok_or_else(|| format!("has the action `{}`; it must be create, update or delete", cut(&action, 40)))?;
    let reason = find_text(object, &["reason", "description", "why", "change", "changes", "details", "rationale", "summary"])
        .ok_or_else(|| format!("(`{path}`) has no reason: say what exactly is to be changed, and why"))?;
    Ok(Step { number: 0, path, action, reason: cut(&reason, MAX_REASON), state: StepState::Pending })
}

/// Creates only what is absent, changes and deletes only what is there.
fn fits(step: Step, existing: &BTreeSet<String>, folded: &BTreeMap<String, &str>) -> Result<Step, String> {
    let path = &step.path;
    let other = folded.get(&path.to_lowercase());
    match (step.action, existing.contains(path)) {
        (StepAction::Create, true) => Err(format!("`{path}` exists already; update it")),
        (StepAction::Update | StepAction::Delete, false) => Err(match other {
            Some(other) => format!("there is no file `{path}`; did you mean `{other}`?"),
            None => format!("there is no file `{path}` to {}", step.action.as_str()),
        }),
        (StepAction::Create, false) => match other {
            Some(other) => Err(format!("`{path}` differs from `{other}` only in case")),
            None if is_blocked(path, existing) => Err(format!("a folder of `{path}` is a file, or `{path}` is a folder")),
            None => Ok(step),
        },
        (StepAction::Update | StepAction::Delete, true) => Ok(step),
    }
}

/// A file stands where a folder is wanted, or the other way round.
fn is_blocked(path: &str, existing: &BTreeSet<String>) -> bool {
    let below = format!("{path}/");
    let mut folder = path::folder(path);
    while !folder.is_empty() {
        if existing.contains(folder) {
            return true;
        }
        folder = path::folder(folder);
    }
    existing.range(below.clone()..).next().is_some_and(|p| p.starts_with(&below))
}

/// One step a file: the same action twice is one step with both reasons.
fn add(steps: &mut Vec<Step>, step: Step) -> Result<(), String> {
    let same = steps.iter_mut().find(|s| s.path.to_lowercase() == step.path.to_lowercase());
    match same {
        None => steps.push(step),
        Some(first) if first.path == step.path && first.action == step.action => {
            if !first.reason.contains(&step.reason) {
                first.reason = cut(&format!("{}\n{}", first.reason, step.reason), MAX_REASON);
            }
        }
        Some(first) => {
            return Err(format!("`{}` is already to be {}d by another step; one step a file", first.path, first.action.as_str()));
        }
    }
    Ok(())
}

fn find_action(word: &str) -> Option<StepAction> {
    Some(match word.trim().to_lowercase().as_str() {
        "create" | "add" | "new" | "write" | "created" | "generate" | "insert" => StepAction::Create,
        "update" | "modify" | "edit" | "change" | "patch" | "replace" | "updated" | "modified" | "alter" => StepAction::Update,
        "delete" | "remove" | "rm" | "drop" | "deleted" | "removed" | "unlink" => StepAction::Delete,
        _ => return None,
    })
}

fn summarise(steps: &[Step]) -> String {
    let named: Vec<String> = steps.iter().take(3).map(|s| format!("{} {}", s.action.as_str(), s.path)).collect();
    let more = steps.len().saturating_sub(3);
    if more > 0 { format!("{} and {more} more", named.join(", ")) } else { named.join(", ") }
}

/// The plan's object: the whole text, or the first that looks like one within fences or prose.
fn find_object(text: &str) -> Option<Map<String, Value>> {
    let starts = text.char_indices().filter(|(_, c)| matches!(c, '{' | '"')).map(|(at, _)| at);
    starts.take(200).find_map(|at| parse(&text[at..]).and_then(unwrap))
}

/// The first JSON value of a text; what follows is not looked at. Commas before a closing bracket are forgiven.
fn parse(text: &str) -> Option<Value> {
    let first = |text: &str| serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok();
    first(text).or_else(|| first(&without_trailing_commas(text)))
}

fn unwrap(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(object) => {
            if ["steps", "cannot", "changes"].iter().any(|key| object.contains_key(*key)) {
                return Some(object);
            }
            ["plan", "arguments", "input", "parameters", "submit_plan"]
                .iter()
                .find_map(|key| object.get(*key).cloned())
                .and_then(unwrap)
        }
        // Arguments that were encoded twice.
        Value::String(text) if text.trim_start().starts_with('{') => parse(text.trim_start()).and_then(unwrap),
        _ => None,
    }
}

fn without_trailing_commas(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c == '"' {
            in_string = true;
        } else if matches!(c, '}' | ']') {
            let kept = out.trim_end().len();
            if out[..kept].ends_with(',') {
                out.truncate(kept - 1);
            }
        }
        out.push(c);
    }
    out
}

/// A list, also when it came as text or as a single step.
fn list(value: &Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(items) => Ok(items.clone()),
        Value::Object(_) => Ok(vec![value.clone()]),
        Value::Null => Ok(Vec::new()),
        Value::String(text) => match parse(text.trim()) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err("`steps` is not a list".to_owned()),
        },
        _ => Err("`steps` is not a list".to_owned()),
    }
}

fn find<'a>(object: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().find_map(|key| object.get(*key)).filter(|v| !v.is_null())
}

fn find_text(object: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| match object.get(*key)? {
        Value::String(text) if !text.trim().is_empty() => Some(printable(text.trim())),
        Value::Array(parts) => {
            let parts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
            (!parts.is_empty()).then(|| printable(&parts.join("; ")))
        }
        _ => None,
    })
}

/// Without control characters other than line ends and tabs.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn existing() -> BTreeSet<String> {
        ["Chart.yaml", "values.yaml", "templates/deployment.yaml", "README.md"].map(str::to_owned).into()
    }

    fn steps(text: &str) -> Vec<(u32, String, StepAction, String)> {
        match read(text, &existing()) {
            Ok(Submission::Plan { steps, .. }) => steps.into_iter().map(|s| (s.number, s.path, s.action, s.reason)).collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refused(text: &str, part: &str) {
        let error = read(text, &existing()).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }

    const GOOD: &str =
        r#"{"summary":"three replicas","steps":[{"path":"values.yaml","action":"update","reason":"set replicas"}]}"#;

    #[test]
    fn a_plain_submission_is_taken() {
        let Ok(Submission::Plan { summary, steps }) = read(GOOD, &existing()) else { panic!() };
        assert_eq!(summary, "three replicas");
        let step = Step {
            number: 1,
            path: "values.yaml".into(),
            action: StepAction::Update,
            reason: "set replicas".into(),
            state: StepState::Pending,
        };
        assert_eq!(steps, [step]);
    }

    #[test]
    fn wrappings_are_seen_through() {
        let twice = serde_json::to_string(GOOD).unwrap();
        for text in [
            format!("Here is my plan:\n```json\n{GOOD}\n```\nShall I go on?"),
            format!("{GOOD} and that is all {{}}"),
            format!("Using {{braces}} in prose first. {GOOD}"),
            format!("{{\"plan\": {GOOD}}}"),
            format!("{{\"name\":\"submit_plan\",\"arguments\":{twice}}}"),
            twice.clone(),
            GOOD.replace("}]}", ",}],}"),
            GOOD.replace("\"steps\":[", "\"extra\":{\"a\":1},\"steps\":["),
            GOOD.replace(
                r#"[{"path":"values.yaml","action":"update","reason":"set replicas"}]"#,
                r#""[{\"path\":\"values.yaml\",\"action\":\"update\",\"reason\":\"set replicas\"}]""#,
            ),
        ] {
            assert_eq!(steps(&text), [(1, "values.yaml".into(), StepAction::Update, "set replicas".into())], "{text}");
        }
    }

    #[test]
    fn other_words_for_the_same_are_understood() {
        let text = r#"{"steps":[
            {"file":"./values.yaml","operation":"Modify","description":"a"},
            {"file_path":"templates/ingress.yaml","action":"ADD","why":"b"},
            {"filename":"README.md","type":"remove","rationale":["c","d"]}]}"#;
        assert_eq!(
            steps(text),
            [
                (1, "values.yaml".into(), StepAction::Update, "a".into()),
                (2, "templates/ingress.yaml".into(), StepAction::Create, "b".into()),
                (3, "README.md".into(), StepAction::Delete, "c; d".into()),
            ]
        );
        let Ok(Submission::Plan { summary, .. }) = read(text, &existing()) else { panic!() };
        assert_eq!(summary, "update values.yaml, create templates/ingress.yaml, delete README.md");
    }

    #[test]
    fn the_same_step_twice_is_one() {
        let text = r#"{"steps":[{"path":"values.yaml","action":"update","reason":"a"},{"path":"./values.yaml","action":"edit","reason":"b"},
            {"path":"values.yaml","action":"update","reason":"a"}]}"#;
        assert_eq!(steps(text), [(1, "values.yaml".into(), StepAction::Update, "a\nb".into())]);
        refused(
            r#"{"steps":[{"path":"values.yaml","action":"update","reason":"a"},{"path":"values.yaml","action":"delete","reason":"b"}]}"#,
            "step 2: `values.yaml` is already to be updated",
        );
        refused(
            r#"{"steps":[{"path":"a.txt","action":"create","reason":"a"},{"path":"A.txt","action":"create","reason":"b"}]}"#,
            "already to be created",
        );
    }

    #[test]
    fn what_cannot_be_stored_is_told_to_the_model() {
        let step = |path: &str, action: &str| format!(r#"{{"steps":[{{"path":"{path}","action":"{action}","reason":"r"}}]}}"#);
        refused(&step("values.yaml", "create"), "exists already");
        refused(&step("none.yaml", "update"), "there is no file `none.yaml` to update");
        refused(&step("none.yaml", "delete"), "to delete");
        refused(&step("Values.yaml", "update"), "did you mean `values.yaml`");
        refused(&step("Values.yaml", "create"), "only in case");
        refused(&step("values.yaml/x", "create"), "a folder of");
        refused(&step("templates", "create"), "is a folder");
        refused(&step("../x", "create"), "leaves the workspace");
        refused(&step("/etc/passwd", "update"), "absolute");
        refused(&step("values.yaml", "explode"), "must be create, update or delete");
        refused(r#"{"steps":[{"path":"values.yaml","action":"update"}]}"#, "has no reason");
        refused(r#"{"steps":[{"action":"update","reason":"r"}]}"#, "step 1: has no path");
        refused(r#"{"steps":[{"path":"values.yaml","reason":"r"}]}"#, "has no action");
        refused(r#"{"steps":["values.yaml"]}"#, "is not an object");
        refused(r#"{"steps":[]}"#, "`steps` is empty");
        refused(r#"{"steps":7}"#, "not a list");
        refused("I would change values.yaml", "no JSON object");
        refused("{\"steps\":[{\"path\":\"values.yaml\"", "no JSON object");
        refused("", "no JSON object");
    }

    #[test]
    fn a_hundred_steps_and_no_more() {
        let many = |n: usize| {
            let steps: Vec<String> = (0..n).map(|i| format!(r#"{{"path":"f{i}.txt","action":"create","reason":"r"}}"#)).collect();
            format!(r#"{{"steps":[{}]}}"#, steps.join(","))
        };
        assert_eq!(steps(&many(100)).len(), 100);
        refused(&many(101), "there are 101 steps");
        let wrong: Vec<String> = (0..30).map(|i| format!(r#"{{"path":"f{i}.txt","action":"update","reason":"r"}}"#)).collect();
        refused(&format!(r#"{{"steps":[{}]}}"#, wrong.join(",")), "and 20 more");
    }

    #[test]
    fn a_model_may_say_that_it_cannot() {
        for text in [
            r#"{"summary":"","steps":[],"cannot":"I only change files"}"#,
            r#"{"cannot":"I only change files"}"#,
            r#"{"cannot":"I only change files","steps":null}"#,
        ] {
            assert_eq!(read(text, &existing()), Ok(Submission::Cannot("I only change files".into())), "{text}");
        }
        let both = r#"{"cannot":"x","steps":[{"path":"values.yaml","action":"update","reason":"r"}]}"#;
        assert_eq!(steps(both).len(), 1, "steps win over an excuse");
    }

    #[test]
    fn texts_are_cut_and_cleaned() {
        let long = "é".repeat(9_000);
        let text = serde_json::json!({"summary": long, "steps": [{"path": "values.yaml", "action": "update", "reason": format!("a\u{0}b{long}")}]});
        let Ok(Submission::Plan { summary, steps }) = read(&text.to_string(), &existing()) else { panic!() };
        assert_eq!(summary.chars().count(), MAX_SUMMARY + 1);
        assert!(steps[0].reason.starts_with("ab") && steps[0].reason.chars().count() == MAX_REASON + 1);
    }

    #[test]
    fn hostile_text_is_survived() {
        for text in ["{".repeat(10_000), "{\"a\":".repeat(5_000), "\"".repeat(9_999), "[".repeat(100_000)] {
            assert!(read(&text, &existing()).is_err());
        }
    }
}
