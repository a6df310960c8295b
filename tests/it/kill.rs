//! SIGKILL in the middle of an answer and in the middle of an apply: what was accepted finishes by itself, exactly once.

use std::time::Duration;

use serde_json::{Value, json};
use slipway_proto::conversation::{ListMessagesRequest, RunEvent, run_event};
use slipway_proto::filestore::ListRevisionsRequest;
use slipway_proto::planner::{ApprovePlanRequest, CreatePlanRequest, PlanEvent, WatchPlanRequest, plan_event};
use slipway_testkit::suite::Client;
use slipway_testkit::{Provider, Step, Suite, SuiteOptions};

use crate::story::{self, assert_dense, collect, completed, conversation, message, suite_with, text, watch};

const WORDS: usize = 60;

/// An answer of 60 words, 10 ms apart.
async fn slow_provider() -> Provider {
    let steps = (0..WORDS).flat_map(|n| [Step::Text(format!("word{n} ")), Step::Pause(Duration::from_millis(10))]);
    let steps: Vec<_> = steps.collect();
    Provider::start(move |_| steps.clone()).await.unwrap()
}

/// Sends a message and kills the suite once `count` events have come.
async fn killed_after(suite: &mut Suite, conversation: &str, count: usize) -> Vec<RunEvent> {
    let client = suite.client().unwrap();
    let mut stream =
        client.conversation.clone().send_message(message(conversation, "tell me a story")).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.push(stream.message().await.unwrap().unwrap().event.unwrap());
    }
    suite.kill();
    seen
}

#[tokio::test]
async fn an_answer_survives_a_kill_at_any_point() {
    let provider = slow_provider().await;
    let mut suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    for count in [1, 2, 3, 10, 30] {
        let conversation = conversation(&suite.client().unwrap(), "").await;
        let seen = killed_after(&mut suite, &conversation.id, count).await;
        suite.restart().await.unwrap();
        let client = suite.client().unwrap();
        let run = &seen[0].run_id;
        let all = watch(&client, run, 0).await.unwrap();
        assert_eq!(all[..seen.len()], seen[..], "what was seen before the kill is still so");
        assert_dense(all.iter().map(|e| e.sequence), 1);
        assert!(all.iter().any(|e| matches!(e.event, Some(run_event::Event::Restarted(_)))), "the takeover is told");
        let (_, answer) = completed(&all);
        let whole: String = (0..WORDS).map(|n| format!("word{n} ")).collect();
        assert_eq!((answer.text.as_str(), text(&all)), (whole.as_str(), whole.clone()));
        for after in 0..all.len() {
            assert_eq!(watch(&client, run, after as u64).await.unwrap(), all[after..], "after {after}");
        }
        let request = ListMessagesRequest { conversation_id: conversation.id.clone(), ..Default::default() };
        let messages = client.conversation.clone().list_messages(request).await.unwrap().into_inner().messages;
        assert_eq!(messages.len(), 2, "exactly one answer");
    }
}

const FILES: usize = 6;

/// Plans an update of every file, and edits each of them slowly.
async fn slow_editor() -> Provider {
    Provider::start(|request| {
        let tools = request["tools"].to_string();
        if tools.contains("submit_plan") {
            let steps: Vec<Value> =
                (0..FILES).map(|n| json!({"path": format!("f{n}.txt"), "action": "update", "reason": "say new"})).collect();
            return vec![Step::Call("submit_plan".into(), json!({"summary": "new for old", "steps": steps}))];
        }
        let messages = request["messages"].as_array().cloned().unwrap_or_default();
        if messages.last().is_some_and(|m| m["role"] == "tool") {
            return vec![Step::Call("done".into(), json!({"summary": "done"}))];
        }
        let first = messages.iter().map(Value::to_string).collect::<String>();
        let path =
            first.split("<step number=").nth(1).and_then(|s| s.split("path=\\\"").nth(1)).and_then(|s| s.split("\\\"").next());
        let edit = json!({"path": path, "old_str": "old", "new_str": "new"});
        vec![Step::Pause(Duration::from_millis(60)), Step::Call("str_replace".into(), edit)]
    })
    .await
    .unwrap()
}

async fn planned(client: &Client) -> (String, slipway_proto::planner::Plan) {
    let names: Vec<String> = (0..FILES).map(|n| format!("f{n}.txt")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "an old line\n")).collect();
    let (workspace, _) = story::workspace(client, &files).await;
    let request = CreatePlanRequest { workspace_id: workspace.clone(), request: "say new".into(), ..Default::default() };
    let stream = client.planner.clone().create_plan(request).await.unwrap().into_inner();
    let events = collect(stream, |r| r.event.unwrap()).await.unwrap();
    (workspace, story::ready_plan(&events))
}

async fn watch_plan(client: &Client, plan: &str, after: u64) -> Vec<PlanEvent> {
    let request = WatchPlanRequest { plan_id: plan.into(), after_sequence: after };
    let stream = client.planner.clone().watch_plan(request).await.unwrap().into_inner();
    let mut events = collect(stream, |r| r.event.unwrap()).await.unwrap();
    events.retain(|e| e.sequence > 0);
    events
}

#[tokio::test]
async fn an_apply_survives_a_kill_at_any_point() {
    let provider = slow_editor().await;
    let mut suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    for count in [1, 2, 4, 8, 14] {
        let client = suite.client().unwrap();
        let (workspace, plan) = planned(&client).await;
        let approve = ApprovePlanRequest {
            plan_id: plan.id.clone(),
            version: 1,
            base_revision_id: plan.base_revision_id.clone(),
            request_id: plan.id.clone(),
        };
        let mut stream = client.planner.clone().approve_plan(approve).await.unwrap().into_inner();
        let mut seen: Vec<PlanEvent> = Vec::new();
        while seen.len() < count {
            let Some(event) = stream.message().await.unwrap() else { break };
            seen.push(event.event.unwrap());
        }
        suite.kill();
        suite.restart().await.unwrap();

        let client = suite.client().unwrap();
        let all = watch_plan(&client, &plan.id, 0).await;
        assert_dense(all.iter().map(|e| e.sequence), 1);
        let begun = usize::try_from(seen[0].sequence).unwrap() - 1;
        assert_eq!(all[begun..begun + seen.len()], seen[..], "what was seen before the kill is still so");
        let Some(plan_event::Event::Applied(applied)) = &all.last().unwrap().event else { panic!("{:?}", all.last()) };
        for after in 0..all.len() {
            assert_eq!(watch_plan(&client, &plan.id, after as u64).await, all[after..], "after {after}");
        }
        let request = ListRevisionsRequest { workspace_id: workspace.clone(), ..Default::default() };
        let revisions = client.files.clone().list_revisions(request).await.unwrap().into_inner().revisions;
        assert_eq!(revisions.len(), 2, "exactly one new revision");
        assert_eq!((&revisions[0].id, &revisions[0].plan_id), (&applied.applied_revision_id, &plan.id));
        for n in 0..FILES {
            assert_eq!(story::read(&client, &workspace, "", &format!("f{n}.txt")).await.unwrap(), "an new line\n");
        }
    }
}
