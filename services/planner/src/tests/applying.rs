//! Approvals and applies.

use serde_json::json;
use slipway_proto::planner as proto;
use slipway_rpc::Reason;

use super::fakes::{self, CommitMode, Reply, World};
use super::{Suite, check_dense, failure, last_plan, names};

async fn suite(dir: &tempfile::TempDir) -> Suite {
    Suite::start(dir.path(), &World::new()).await
}

#[tokio::test]
async fn an_approved_plan_is_one_revision() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml"), ("create", "templates/i.yaml"), ("delete", "README.md")]).await;
    suite.world.say(fakes::edit_replicas(3));
    suite.world.say(fakes::create_file("templates/i.yaml", "kind: Ingress\n"));
    let events = suite.approve(&plan).await.unwrap();
    let step = ["step_started", "edit", "step_ended", "usage"];
    assert_eq!(names(&events), [&["applying"][..], &step, &step, &step, &["applied"]].concat());
    check_dense(&events, plan.last_sequence + 1);
    let applied = last_plan(&events);
    let head = suite.world.head();
    assert_eq!((applied.state(), &applied.applied_revision_id), (proto::PlanState::Applied, &head.id.to_string()));
    assert!(applied.steps.iter().all(|s| s.state() == proto::StepState::Done));
    assert_eq!((head.plan_id.as_str(), head.message.as_str()), (plan.id.as_str(), "does it"));
    assert_eq!(head.parent.unwrap().to_string(), plan.base_revision_id);
    assert_eq!(suite.world.text("values.yaml").unwrap(), "gateway:\n  replicas: 3\nworker:\n  replicas: 1\n");
    assert_eq!(suite.world.text("templates/i.yaml").unwrap(), "kind: Ingress\n");
    assert_eq!(suite.world.text("README.md"), None);
    assert_eq!(applied.usage.unwrap().input_tokens, 300, "a delete asks no model");
    let prompt = suite.world.last_prompt();
    assert!(prompt.contains("<step number=\"2\" path=\"templates/i.yaml\" action=\"create\">"), "{prompt}");
    assert!(prompt.contains("<file path=\"values.yaml\">\ngateway:\n  replicas: 3"), "later steps see earlier edits: {prompt}");
    assert!(prompt.contains("<plan>\n1. update values.yaml: update values.yaml\n2. create"), "{prompt}");
    assert_eq!(suite.watch(&plan.id, plan.last_sequence).await.unwrap(), events);
}

#[tokio::test]
async fn ten_approvals_with_one_request_id_are_one_apply() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    suite.world.say(fakes::edit_replicas(3));
    let all = futures::future::join_all((0..10).map(|_| suite.approve_as(&plan, "once"))).await;
    let first = all[0].as_ref().unwrap().clone();
    assert_eq!((names(&first).first(), names(&first).last()), (Some(&"applying"), Some(&"applied")));
    assert!(all.into_iter().all(|events| events.unwrap() == first));
    assert_eq!(suite.world.counts(), (1, 2));
    assert_eq!(suite.approve_as(&plan, "once").await.unwrap(), first, "the same call again follows the same apply");
}

#[tokio::test]
async fn of_ten_approvals_without_a_request_id_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    suite.world.say(fakes::edit_replicas(3));
    let all = futures::future::join_all((0..10).map(|_| suite.approve(&plan))).await;
    let (won, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), refused.len()), (1, 9));
    for fault in refused.into_iter().filter_map(Result::err) {
        assert_eq!(fault.reason(), Reason::PlanStateConflict, "{fault}");
    }
    assert_eq!(suite.world.counts(), (1, 2));
    for request_id in ["", "late"] {
        let fault = suite.approve_as(&plan, request_id).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::PlanStateConflict);
        assert!(fault.message().contains("applied"), "{fault}");
    }
}

#[tokio::test]
async fn a_request_id_belongs_to_one_approval() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("delete", "README.md")]).await;
    let other = proto::Plan { version: 2, ..plan.clone() };
    assert_eq!(suite.approve_as(&other, "once").await.unwrap_err().reason(), Reason::PlanVersionStale);
    suite.approve_as(&plan, "once").await.unwrap();
    let fault = suite.approve_as(&other, "once").await.unwrap_err();
    assert_eq!(fault.reason(), Reason::RequestIdReused);
    assert_eq!(suite.approve_as(&plan, &"x".repeat(101)).await.unwrap_err().reason(), Reason::FieldInvalid);
}

#[tokio::test]
async fn a_moved_base_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    let other = proto::Plan { base_revision_id: uuid::Uuid::now_v7().to_string(), ..plan.clone() };
    assert_eq!(suite.approve(&other).await.unwrap_err().reason(), Reason::PlanBaseMoved);
    suite.world.move_head();
    assert_eq!(suite.approve(&plan).await.unwrap_err().reason(), Reason::PlanBaseMoved);
    assert_eq!(suite.get(&plan.id).await.unwrap(), plan, "nothing has changed");
    assert_eq!(suite.world.lock().commit_calls, 0);
}

#[tokio::test]
async fn a_base_that_moves_while_applying_fails_the_plan() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml"), ("update", "Chart.yaml")]).await;
    suite.world.say(fakes::edit_replicas(3));
    suite.world.say(fakes::calls(&[("view", json!({"path": "Chart.yaml"}))]));
    suite.world.say(Reply::Fail(Reason::ProviderUnavailable, "away".into()));
    let moving = async {
        while suite.world.lock().prompts.len() < 3 {
            tokio::task::yield_now().await;
        }
        suite.world.move_head();
        suite.world.say(fakes::calls(&[
            ("str_replace", json!({"path": "Chart.yaml", "old_str": "1.0.0", "new_str": "1.1.0"})),
            ("done", json!({})),
        ]));
    };
    let (events, ()) = tokio::join!(suite.approve(&plan), moving);
    let failed = last_plan(&events.unwrap());
    assert_eq!(failure(&failed).0, "PLAN_BASE_MOVED");
    assert_eq!(suite.world.text("values.yaml").unwrap(), fakes::VALUES);
}

#[tokio::test]
async fn a_refused_edit_is_told_and_corrected() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    let replace = |old: &str, new: &str| json!({"path": "values.yaml", "old_str": old, "new_str": new});
    suite.world.say(fakes::calls(&[
        ("view", json!({"path": "values.yaml"})),
        ("str_replace", replace("replicas: 1", "replicas: 3")),
        ("done", json!({})),
    ]));
    suite.world.say(fakes::calls(&[("str_replace", replace("gateway:\n  replicas: 1", "gateway:\n replicas: ["))]));
    suite
        .world
        .say(fakes::calls(&[("create", json!({"path": "other.yaml", "content": "a: 1"})), ("str_replace", json!("nonsense"))]));
    suite.world.say(fakes::edit_replicas(3));
    let events = suite.approve(&plan).await.unwrap();
    assert_eq!(
        names(&events),
        [
            "applying",
            "step_started",
            "refused",
            "usage",
            "refused",
            "usage",
            "refused",
            "refused",
            "usage",
            "edit",
            "step_ended",
            "usage",
            "applied"
        ]
    );
    let prompt = suite.world.last_prompt();
    for part in [
        "is 2 times in",
        "a call in the same message was refused",
        "not valid YAML",
        "may change only `values.yaml`",
        "cannot be read",
    ] {
        assert!(prompt.contains(part), "{part}: {prompt}");
    }
    assert_eq!(suite.world.head().files.len(), 5);
}

#[tokio::test]
async fn words_after_an_edit_end_a_step() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    suite.world.say(Reply::Text("let me think".into()));
    suite.world.say(fakes::calls(&[("insert", json!({"path": "values.yaml", "line": 0, "text": "# top"}))]));
    suite.world.say(Reply::Text("all done".into()));
    assert_eq!(last_plan(&suite.approve(&plan).await.unwrap()).state(), proto::PlanState::Applied);
    assert!(suite.world.text("values.yaml").unwrap().starts_with("# top\n"));
}

#[tokio::test]
async fn words_after_a_refused_edit_are_no_success() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    suite.world.say(fakes::calls(&[
        ("insert", json!({"path": "values.yaml", "line": 0, "text": "# top"})),
        ("str_replace", json!({"path": "values.yaml", "old_str": "nowhere", "new_str": "x"})),
    ]));
    for _ in 0..3 {
        suite.world.say(Reply::Text("an edit was refused".into()));
    }
    let (reason, message) = failure(&last_plan(&suite.approve(&plan).await.unwrap()));
    assert!(reason == "EDIT_FAILED" && message.contains("the model said: an edit was refused"), "{message}");
    assert_eq!(suite.world.lock().revisions.len(), 1);
}

#[tokio::test]
async fn an_apply_that_changes_nothing_fails() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    suite.world.say(fakes::calls(&[("done", json!({}))]));
    let (reason, message) = failure(&last_plan(&suite.approve(&plan).await.unwrap()));
    assert!(reason == "EDIT_FAILED" && message.contains("nothing was changed"), "{message}");
    assert_eq!(suite.world.lock().commit_calls, 0);
}

#[tokio::test]
async fn a_step_that_cannot_be_made_fails_the_plan() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    for _ in 0..12 {
        suite.world.say(fakes::calls(&[("view", json!({"path": "values.yaml"}))]));
    }
    let failed = last_plan(&suite.approve(&plan).await.unwrap());
    assert!(failure(&failed).1.contains("did not finish the step in 12 turns"), "{failed:?}");
    assert_eq!(failed.steps[0].state(), proto::StepState::Failed);
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    for _ in 0..3 {
        suite.world.say(Reply::Text("no".into()));
    }
    assert!(failure(&last_plan(&suite.approve(&plan).await.unwrap())).1.contains("the model said: no"));
    let plan = suite.ready(&[("update", "logo.png")]).await;
    let (reason, message) = failure(&last_plan(&suite.approve(&plan).await.unwrap()));
    assert!(reason == "EDIT_FAILED" && message.contains("is not UTF-8 text"), "{message}");
    assert_eq!(suite.world.lock().revisions.len(), 1);
}

#[tokio::test]
async fn an_absent_file_store_is_waited_for_and_then_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("delete", "README.md")]).await;
    suite.world.lock().commit_mode = CommitMode::Fail;
    let (reason, message) = failure(&last_plan(&suite.approve(&plan).await.unwrap()));
    assert!(reason == "SERVICE_UNAVAILABLE" && message.contains("tried 3 times"), "{message}");
    assert_eq!(suite.world.counts(), (3, 1));
}

#[tokio::test]
async fn a_rejected_plan_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    let stale = proto::Plan { version: 2, ..plan.clone() };
    assert_eq!(suite.reject(&stale).await.unwrap_err().reason(), Reason::PlanVersionStale);
    let rejected = suite.reject(&plan).await.unwrap();
    assert_eq!(rejected.state(), proto::PlanState::Rejected);
    assert_eq!(names(&suite.watch(&plan.id, plan.last_sequence).await.unwrap()), ["rejected"]);
    for refused in [
        suite.reject(&plan).await.unwrap_err(),
        suite.approve(&plan).await.unwrap_err(),
        suite.revise(&plan, "x", "").await.unwrap_err(),
    ] {
        assert_eq!(refused.reason(), Reason::PlanStateConflict);
    }
}
