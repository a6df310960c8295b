//! The rule engine as its callers meet it: prompts in, tool calls out, run by a small editor over realistic charts.

use serde_json::Value as Json;

use super::changes::tests::edit;
use super::*;
use crate::model::{Completion, Message, Tool, ToolCall};

mod charts;
mod requests;

/// Files of a workspace, by path.
pub(super) type Files = Vec<(String, String)>;

pub(super) fn files(all: &[(&str, &str)]) -> Files {
    all.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect()
}

fn message(role: Role, text: String) -> Message {
    Message::new(role, text)
}

fn tools(names: &[&str]) -> Vec<Tool> {
    names.iter().map(|n| Tool { name: (*n).to_owned(), description: String::new(), parameters: serde_json::json!({}) }).collect()
}

async fn ask(messages: Vec<Message>, names: &[&str]) -> Completion {
    let request = Request { messages, tools: tools(names), tool_choice: ToolChoice::Required, ..Request::default() };
    crate::provider::collect(Builtin::new(Duration::ZERO).stream(&request)).await.unwrap()
}

fn shown(files: &Files) -> String {
    files.iter().map(|(path, text)| format!("<file path=\"{path}\">\n{text}\n</file>\n")).collect()
}

/// The arguments of `submit_plan`; `more` holds what a revision adds.
pub(super) async fn plan(files: &Files, request: &str, more: &str) -> Json {
    let text = format!("<files>\n{}</files>\n<request>\n{request}\n</request>\n{more}", shown(files));
    let answer = ask(vec![message(Role::User, text)], &["submit_plan"]).await;
    assert_eq!(answer.finish, Finish::ToolCalls);
    assert!(answer.usage.estimated && answer.usage.input > 0 && answer.usage.output > 0);
    assert_eq!(answer.tool_calls[0].name, "submit_plan");
    serde_json::from_str(&answer.tool_calls[0].arguments).unwrap()
}

/// Makes every step of a plan through the edit tools, and makes each twice: the second time nothing may change.
pub(super) async fn apply(files: &mut Files, request: &str, plan: &Json) {
    for (n, step) in plan["steps"].as_array().unwrap().iter().enumerate() {
        let calls = run_step(files, request, plan, n, step).await;
        assert!(calls > 0, "no edit for {step}");
        assert_eq!(run_step(files, request, plan, n, step).await, 0, "not idempotent: {step}");
    }
}

async fn run_step(files: &mut Files, request: &str, plan: &Json, n: usize, step: &Json) -> usize {
    let path = step["path"].as_str().unwrap();
    let text = format!(
        "<request>{request}</request>\n<plan>\n{plan}\n</plan>\n<step number=\"{}\" path=\"{path}\" action=\"{}\">\n{}\n</step>\n<files>\n{}</files>",
        n + 1,
        step["action"].as_str().unwrap(),
        step["reason"].as_str().unwrap(),
        shown(&files.iter().filter(|(p, _)| p == path).cloned().collect()),
    );
    let mut messages = vec![message(Role::System, "edit".into()), message(Role::User, text)];
    let mut edits = 0;
    for _ in 0..4 {
        let answer = ask(messages.clone(), &["view", "str_replace", "insert", "create", "delete", "done"]).await;
        assert!(!answer.tool_calls.is_empty(), "refused: {}", answer.text);
        messages.push(Message { tool_calls: answer.tool_calls.clone(), ..message(Role::Assistant, answer.text) });
        for ToolCall { id, name, arguments } in answer.tool_calls {
            if name == "done" {
                return edits;
            }
            edits += 1;
            let arguments: Json = serde_json::from_str(&arguments).unwrap();
            assert_eq!(arguments["path"], path);
            let at = files.iter().position(|(p, _)| p == path);
            let after =
                edit(at.map(|n| files[n].1.as_str()), &name, &arguments).unwrap_or_else(|e| panic!("{name} {arguments}: {e}"));
            match (at, after) {
                (Some(n), Some(text)) => files[n].1 = text,
                (Some(n), None) => drop(files.remove(n)),
                (None, Some(text)) => files.push((path.to_owned(), text)),
                (None, None) => {}
            }
            if path.ends_with(".yaml") && !path.contains("templates/") {
                let text = files.iter().find(|(p, _)| p == path).map(|(_, t)| t.as_str()).unwrap_or_default();
                assert!(yaml::parse(text).is_some(), "does not parse after {arguments}");
            }
            messages.push(Message { tool_call_id: id, ..message(Role::Tool, "ok: edited".into()) });
        }
    }
    panic!("the engine did not come to an end");
}

/// The changed lines of a file, as `-old` and `+new`.
pub(super) fn diff(before: &str, after: &str) -> Vec<String> {
    similar::TextDiff::from_lines(before, after)
        .iter_all_changes()
        .filter(|c| c.tag() != similar::ChangeTag::Equal)
        .map(|c| format!("{}{}", c.tag(), c.value().trim_end_matches(['\r', '\n'])))
        .collect()
}

/// Plans and applies; the changed lines of all files, each file's after its name when there are several.
pub(super) async fn change(files: &Files, request: &str) -> Vec<String> {
    let plan = plan(files, request, "").await;
    assert_eq!(plan["cannot"], Json::Null, "{request}: {plan}");
    let mut after = files.clone();
    apply(&mut after, request, &plan).await;
    changed(files, &after)
}

pub(super) fn changed(before: &Files, after: &Files) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, text) in after {
        let old = before.iter().find(|(p, _)| p == path).map_or("", |(_, t)| t.as_str());
        let changes = diff(old, text);
        if path != "values.yaml" && !changes.is_empty() {
            lines.push(format!("@{path}"));
        }
        lines.extend(changes);
        if !path.contains("templates/") && path.ends_with(".yaml") {
            <saphyr::Yaml<'_> as saphyr::LoadableYamlNode>::load_from_str(text).unwrap_or_else(|e| panic!("{path}: {e}\n{text}"));
        }
    }
    lines
}

#[test]
fn pieces_are_small_and_lose_nothing() {
    let text = "  one two three four\n\n```yaml\na:  1\n```\n é x";
    let all: Vec<&str> = pieces(text).collect();
    assert_eq!(all.concat(), text);
    assert!(all.iter().all(|p| p.split_whitespace().count() <= WORDS_PER_DELTA));
    assert_eq!(pieces("").count(), 0);
}

#[tokio::test]
async fn a_plain_message_gets_a_plain_answer() {
    let answer = ask(vec![message(Role::User, "hello".into())], &[]).await;
    assert!(answer.text.contains("without a language model"));
    assert_eq!(answer.finish, Finish::Stop);
}

#[tokio::test]
async fn a_refused_edit_is_not_called_done() {
    let text = "<step number=\"1\" path=\"a.yaml\" action=\"update\">\nset a to 2 (now 1)\n</step>\n<files>\n<file path=\"a.yaml\">\na: 1\n</file>\n</files>";
    let names = ["str_replace", "done"];
    let mut messages = vec![message(Role::User, text.into())];
    let first = ask(messages.clone(), &names).await;
    assert_eq!(first.tool_calls[0].name, "str_replace");
    messages.push(Message { tool_calls: first.tool_calls, ..message(Role::Assistant, String::new()) });
    messages.push(Message { tool_call_id: "call_1".into(), ..message(Role::Tool, "error: 0 matches".into()) });
    let second = ask(messages, &names).await;
    assert!(second.tool_calls.is_empty() && second.text.contains("cannot be made"), "{second:?}");
}

#[tokio::test]
async fn a_step_in_other_words_is_understood() {
    let mut files = files(&[("values.yaml", charts::SUITE_VALUES)]);
    let plan = serde_json::json!({"steps": [{"path": "values.yaml", "action": "update", "reason": "Please scale the worker to seven replicas."}]});
    let before = files.clone();
    apply(&mut files, "scale it", &plan).await;
    assert_eq!(changed(&before, &files), ["-  replicaCount: 2", "+  replicaCount: 7"]);
}

#[tokio::test]
async fn a_file_is_deleted_when_the_plan_says_so() {
    let mut files = files(&[("old.yaml", "a: 1\n")]);
    let plan = serde_json::json!({"steps": [{"path": "old.yaml", "action": "delete", "reason": "not used"}]});
    apply(&mut files, "x", &plan).await;
    assert!(files.is_empty());
}
