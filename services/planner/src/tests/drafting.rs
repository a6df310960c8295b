//! Drafts and revisions.

use slipway_proto::planner as proto;
use slipway_proto::planner::plan_event::Event;
use slipway_rpc::Reason;

use super::fakes::{self, Reply, World};
use super::{Suite, check_dense, failure, last_plan, names};

async fn suite(dir: &tempfile::TempDir) -> Suite {
    Suite::start(dir.path(), &World::new()).await
}

#[tokio::test]
async fn a_request_becomes_a_plan() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    suite.world.say(fakes::plan(&[("update", "values.yaml"), ("create", "templates/ingress.yaml")]));
    let events = suite.create("run three gateway replicas").await.unwrap();
    assert_eq!(names(&events), ["drafting", "files_selected", "usage", "step_proposed", "step_proposed", "ready"]);
    check_dense(&events, 1);
    let plan = last_plan(&events);
    assert_eq!(plan.state(), proto::PlanState::Ready);
    assert_eq!((plan.version, plan.steps.len(), plan.last_sequence), (1, 2, 6));
    assert_eq!(plan.base_revision_id, suite.world.head().id.to_string());
    assert_eq!(plan.base_revision_hash, format!("hash-{}", plan.base_revision_id));
    assert_eq!(plan.usage.as_ref().unwrap().input_tokens, 100);
    assert_eq!(suite.get(&plan.id).await.unwrap(), plan);
    let prompt = suite.world.last_prompt();
    assert!(prompt.contains("<file path=\"values.yaml\">\ngateway:\n  replicas: 1"), "{prompt}");
    assert!(
        prompt.contains("<file path=\"Chart.yaml\">") && prompt.contains("<request>\nrun three gateway replicas\n</request>")
    );
    assert!(prompt.contains("<file path=\"logo.png\" omitted=\"true\"/>"), "{prompt}");
    assert_eq!(suite.world.lock().revisions.len(), 1, "a plan changes nothing");
}

#[tokio::test]
async fn the_index_decides_the_order_and_unknown_files_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    suite.world.lock().index = Some(vec!["templates/deployment.yaml".into(), "gone.yaml".into(), "logo.png".into()]);
    suite.world.say(fakes::plan(&[("update", "values.yaml")]));
    let events = suite.create("x").await.unwrap();
    let selected = events.iter().find_map(|e| match &e.event {
        Some(Event::FilesSelected(f)) => Some(f.paths.clone()),
        _ => None,
    });
    assert_eq!(selected.unwrap(), ["templates/deployment.yaml", "values.yaml", "Chart.yaml"]);
}

#[tokio::test]
async fn the_same_request_id_follows_the_first_plan() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let request = |text: &str| proto::CreatePlanRequest {
        workspace_id: suite.world.workspace.to_string(),
        request: text.into(),
        request_id: "r1".into(),
        ..Default::default()
    };
    suite.world.say(fakes::plan(&[("update", "values.yaml")]));
    let first = suite.create_as(request("x")).await.unwrap();
    suite.world.move_head();
    let again = suite.create_as(request("x")).await.unwrap();
    assert_eq!(first, again);
    let reused = suite.create_as(request("y")).await.unwrap_err();
    assert_eq!(reused.reason(), Reason::RequestIdReused);
    let all = futures::future::join_all((0..20).map(|_| suite.create_as(request("x")))).await;
    assert!(all.into_iter().all(|events| events.unwrap() == first));
    assert_eq!(suite.world.lock().prompts.len(), 1);
}

#[tokio::test]
async fn a_wrong_plan_goes_back_to_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    suite.world.say(Reply::Text("I would just change the values".into()));
    suite.world.say(fakes::plan(&[("create", "values.yaml")]));
    suite.world.say(fakes::plan(&[("update", "values.yaml")]));
    let events = suite.create("x").await.unwrap();
    assert_eq!(names(&events), ["drafting", "files_selected", "usage", "usage", "usage", "step_proposed", "ready"]);
    assert_eq!(last_plan(&events).usage.unwrap().output_tokens, 30);
    let prompt = suite.world.last_prompt();
    assert!(prompt.contains("no JSON object") && prompt.contains("`values.yaml` exists already; update it"), "{prompt}");
}

#[tokio::test]
async fn a_plan_that_stays_wrong_fails() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    for _ in 0..3 {
        suite.world.say(fakes::plan(&[("update", "../../etc/passwd")]));
    }
    let events = suite.create("x").await.unwrap();
    let plan = last_plan(&events);
    assert_eq!((plan.state(), names(&events).last()), (proto::PlanState::Failed, Some(&"failed")));
    let (reason, message) = failure(&plan);
    assert!(reason == "PLAN_UNUSABLE" && message.contains("leaves the workspace"), "{message}");
    assert_eq!(plan.usage.unwrap().input_tokens, 300);
}

#[tokio::test]
async fn a_model_may_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    suite
        .world
        .say(fakes::calls(&[("submit_plan", serde_json::json!({"summary": "", "steps": [], "cannot": "I only know charts"}))]));
    let plan = last_plan(&suite.create("x").await.unwrap());
    assert_eq!(failure(&plan), ("PLAN_UNUSABLE".into(), "I only know charts".into()));
}

#[tokio::test]
async fn failures_that_pass_are_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    suite.world.say(Reply::Fail(Reason::ProviderUnavailable, "the provider is away".into()));
    suite.world.say(Reply::Fail(Reason::ProviderRateLimited, "slow down".into()));
    suite.world.say(fakes::plan(&[("update", "values.yaml")]));
    let events = suite.create("x").await.unwrap();
    assert_eq!(last_plan(&events).state(), proto::PlanState::Ready);
    assert_eq!(names(&events).iter().filter(|n| **n == "restarted").count(), 2);
}

#[tokio::test]
async fn failures_that_stay_end_the_plan_with_their_reason() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    for _ in 0..3 {
        suite.world.say(Reply::Fail(Reason::ProviderUnavailable, "the provider is away".into()));
    }
    let (reason, message) = failure(&last_plan(&suite.create("x").await.unwrap()));
    assert!(reason == "PROVIDER_UNAVAILABLE" && message.contains("the provider is away"), "{message}");
    suite.world.say(Reply::Fail(Reason::ProviderAuthFailed, "set another key".into()));
    let plan = last_plan(&suite.create("x").await.unwrap());
    assert_eq!(failure(&plan), ("PROVIDER_AUTH_FAILED".into(), "set another key".into()));
    assert_eq!(suite.world.lock().prompts.len(), 4, "what cannot pass is not tried again");
}

#[tokio::test]
async fn a_revision_is_a_new_version_on_the_present_head() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let first = suite.ready(&[("update", "values.yaml")]).await;
    let head = suite.world.move_head();
    suite.world.say(fakes::plan(&[("update", "Chart.yaml")]));
    let events = suite.revise(&first, "bump the version instead", "rev-1").await.unwrap();
    check_dense(&events, first.last_sequence + 1);
    assert_eq!(names(&events), ["drafting", "files_selected", "usage", "step_proposed", "ready"]);
    let second = last_plan(&events);
    let prompt = suite.world.last_prompt();
    assert_eq!((second.id.as_str(), second.version), (first.id.as_str(), 2));
    assert_eq!(second.base_revision_id, head.to_string());
    assert_eq!(second.request, "three replicas\n\nbump the version instead");
    assert_eq!(second.usage.as_ref().unwrap().input_tokens, 200);
    assert!(
        prompt.contains("<request>\nthree replicas\n</request>")
            && prompt.contains("<instructions>bump the version instead</instructions>")
    );
    assert!(prompt.contains("<previous_plan>{") && prompt.contains("update values.yaml"), "{prompt}");

    assert_eq!(suite.revise(&first, "bump the version instead", "rev-1").await.unwrap(), events, "the same call again");
    suite.world.say(fakes::plan(&[("update", "values.yaml")]));
    let twins = futures::future::join_all((0..10).map(|_| suite.revise(&second, "once more", "rev-2"))).await;
    assert!(twins.iter().all(|events| events.as_ref().unwrap() == twins[0].as_ref().unwrap()), "ten at once are one");
    assert_eq!(suite.revise(&first, "other", "rev-1").await.unwrap_err().reason(), Reason::RequestIdReused);
    assert_eq!(suite.revise(&first, "other", "").await.unwrap_err().reason(), Reason::PlanVersionStale);
    assert_eq!(suite.approve(&first).await.unwrap_err().reason(), Reason::PlanVersionStale, "the approval is void");
}

#[tokio::test]
async fn a_plan_forms_when_nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    suite.world.say(fakes::plan(&[("update", "values.yaml")]));
    let request =
        proto::CreatePlanRequest { workspace_id: suite.world.workspace.to_string(), request: "x".into(), ..Default::default() };
    let mut stream = suite.client().create_plan(suite.ctx.request(request)).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().event.unwrap();
    drop(stream);
    let plan = loop {
        let plan = suite.get(&first.plan_id).await.unwrap();
        if plan.state() != proto::PlanState::Drafting {
            break plan;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(plan.state(), proto::PlanState::Ready);
}
