//! What the load asks for, and what the scripted model answers: every word and every edit is known beforehand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use slipway_testkit::{Provider, Step};

/// How many questions a conversation asks, one after the other.
pub(super) const TURNS: usize = 2;
const WORDS: usize = 30;
/// How many files a plan changes.
pub(super) const FILES: usize = 3;
const PAUSE: Duration = Duration::from_millis(25);
const TAG: &str = "case";
const TAG_DIGITS: usize = 6;

/// What a conversation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Questions that the model answers slowly.
    Questions,
    /// A plan that is asked for and approved by talking.
    Talk,
    /// A plan that is made and approved by its own calls.
    Plan,
}

/// One conversation of the load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) number: usize,
    pub(super) kind: Kind,
}

impl Case {
    pub(super) fn new(number: usize) -> Self {
        let kind = [Kind::Questions, Kind::Talk, Kind::Plan][number % 3];
        Self { number, kind }
    }

    /// Names the case in everything that is sent.
    pub(super) fn tag(self) -> String {
        format!("{TAG}{:0width$}", self.number, width = TAG_DIGITS)
    }

    pub(super) fn question(self, turn: usize) -> String {
        format!("tell me a story about {} turn {turn}", self.tag())
    }

    /// The only right answer to a question.
    pub(super) fn answer(self, turn: usize) -> String {
        words(&self.tag(), turn).concat()
    }

    pub(super) fn paths(self) -> Vec<String> {
        paths(&self.tag())
    }
}

fn words(tag: &str, turn: usize) -> Vec<String> {
    (0..WORDS).map(|n| format!("{tag}-{turn}-{n} ")).collect()
}

fn paths(tag: &str) -> Vec<String> {
    (0..FILES).map(|n| format!("{tag}-f{n}.txt")).collect()
}

/// What the model was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A question.
    Answer(usize),
    /// A plan.
    Draft,
    /// A turn of the work on one file.
    Edit(String),
}

/// One call of the model.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) tag: String,
    pub(super) asked: Asked,
    pub(super) time: SystemTime,
    /// A tool's result in it belongs to no call in it.
    pub(super) orphan: bool,
}

/// Every call of the model so far.
#[derive(Clone, Default)]
pub(super) struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    pub(super) fn of(&self, tag: &str) -> Vec<Call> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| call.tag == tag).cloned().collect()
    }

    fn add(&self, call: Call) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}

/// The model, and its record.
pub(super) async fn provider() -> anyhow::Result<(Provider, Calls)> {
    let calls = Calls::default();
    let record = calls.clone();
    let provider = Provider::start(move |body| {
        let asked = asked(body);
        let tag = match &asked {
            Asked::Answer(_) => find_tag(&last_question(body)),
            _ => find_tag(&body["messages"].to_string()),
        };
        let steps = steps(body, &asked, &tag);
        record.add(Call { tag, asked, time: SystemTime::now(), orphan: has_orphan(body) });
        steps
    });
    Ok((provider.await?, calls))
}

fn asked(body: &Value) -> Asked {
    let tools = body["tools"].to_string();
    if tools.contains("submit_plan") {
        return Asked::Draft;
    }
    if tools.contains("str_replace") {
        let text = body["messages"].to_string();
        let path = text.split("<step number=").nth(1).and_then(|rest| rest.split("path=\\\"").nth(1));
        let path = path.and_then(|rest| rest.split("\\\"").next()).unwrap_or_default();
        return Asked::Edit(path.to_owned());
    }
    let turn = last_question(body).rsplit("turn ").next().and_then(|turn| turn.trim().parse().ok());
    Asked::Answer(turn.unwrap_or_default())
}

fn steps(body: &Value, asked: &Asked, tag: &str) -> Vec<Step> {
    match asked {
        Asked::Answer(turn) => words(tag, *turn).into_iter().flat_map(|word| [Step::Text(word), Step::Pause(PAUSE)]).collect(),
        Asked::Draft => {
            let step = |path| json!({"path": path, "action": "update", "reason": "say new"});
            let steps: Vec<Value> = paths(tag).into_iter().map(step).collect();
            vec![Step::Pause(PAUSE * 6), Step::Call("submit_plan".into(), json!({"summary": "new for old", "steps": steps}))]
        }
        Asked::Edit(path) => {
            let last = body["messages"].as_array().and_then(|messages| messages.last());
            let call = match last {
                Some(message) if message["role"] == "tool" => ("done", json!({"summary": "done"})),
                _ => ("str_replace", json!({"path": path, "old_str": "old", "new_str": "new"})),
            };
            vec![Step::Pause(PAUSE * 6), Step::Call(call.0.into(), call.1)]
        }
    }
}

fn last_question(body: &Value) -> String {
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    messages.iter().rev().find(|m| m["role"] == "user").map(|m| m["content"].to_string()).unwrap_or_default().replace('"', "")
}

fn find_tag(text: &str) -> String {
    let candidates = text.match_indices(TAG).filter_map(|(at, _)| text.get(at..at + TAG.len() + TAG_DIGITS));
    let mut tags = candidates.filter(|tag| tag[TAG.len()..].bytes().all(|b| b.is_ascii_digit()));
    tags.next().unwrap_or_default().to_owned()
}

/// Whether the result of a tool stands there without the call that it answers.
fn has_orphan(body: &Value) -> bool {
    let mut called: Vec<&Value> = Vec::new();
    for message in body["messages"].as_array().into_iter().flatten() {
        called.extend(message["tool_calls"].as_array().into_iter().flatten().map(|call| &call["id"]));
        if message["role"] == "tool" && !called.contains(&&message["tool_call_id"]) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_apart_and_tagged() {
        let case = Case { number: 7, kind: Kind::Questions };
        let body = json!({"messages": [
            {"role": "user", "content": case.question(0)}, {"role": "assistant", "content": "x"},
            {"role": "user", "content": case.question(1)},
        ]});
        assert_eq!(asked(&body), Asked::Answer(1));
        assert_eq!(find_tag(&last_question(&body)), "case000007");
        assert_eq!(find_tag("a case of case12, and case000012-f0.txt"), "case000012");
    }

    #[test]
    fn a_result_without_its_call_is_an_orphan() {
        let call = json!({"role": "assistant", "tool_calls": [{"id": "a"}]});
        let result = json!({"role": "tool", "tool_call_id": "a"});
        assert!(!has_orphan(&json!({"messages": [call, result]})));
        assert!(has_orphan(&json!({"messages": [result, call]})));
    }
}
