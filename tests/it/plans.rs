//! Plans: made on a base, reviewed, revised, bound to what was approved, applied as one revision or none.

use serde_json::{Value, json};
use slipway_proto::filestore::{DiffRevisionsRequest, ListRevisionsRequest};
use slipway_proto::planner::{
    ApprovePlanRequest, ClassifyIntentRequest, CreatePlanRequest, GetPlanRequest, IntentKind, ListPlansRequest, Plan, PlanEvent,
    PlanState, RejectPlanRequest, RevisePlanRequest, StepAction, plan_event,
};
use slipway_testkit::suite::Client;
use slipway_testkit::{Provider, Step, SuiteOptions};
use tonic::{Code, Status};

use crate::story::{self, assert_dense, collect, refused, suite, suite_with, write};

async fn create(client: &Client, workspace: &str, request: &str) -> Result<Vec<PlanEvent>, Status> {
    let request = CreatePlanRequest { workspace_id: workspace.into(), request: request.into(), ..Default::default() };
    collect(client.planner.clone().create_plan(request).await?.into_inner(), |r| r.event.unwrap()).await
}

async fn approve(client: &Client, plan: &Plan) -> Result<Vec<PlanEvent>, Status> {
    approve_as(client, plan, "").await
}

async fn approve_as(client: &Client, plan: &Plan, request_id: &str) -> Result<Vec<PlanEvent>, Status> {
    let request = ApprovePlanRequest {
        plan_id: plan.id.clone(),
        version: plan.version,
        base_revision_id: plan.base_revision_id.clone(),
        request_id: request_id.into(),
    };
    collect(client.planner.clone().approve_plan(request).await?.into_inner(), |r| r.event.unwrap()).await
}

async fn get(client: &Client, plan: &str) -> Plan {
    client.planner.clone().get_plan(GetPlanRequest { plan_id: plan.into() }).await.unwrap().into_inner().plan.unwrap()
}

fn applied(events: &[PlanEvent]) -> Plan {
    match events.last().and_then(|e| e.event.clone()) {
        Some(plan_event::Event::Applied(plan)) => plan,
        other => panic!("not applied: {other:?}"),
    }
}

#[tokio::test]
async fn a_plan_is_made_reviewed_and_applied_with_a_minimal_diff() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, base) = story::workspace(&client, &story::small_chart()).await;
    let events =
        create(&client, &workspace, "run three gateway replicas and put an ingress on slipway.example.com").await.unwrap();
    assert_dense(events.iter().map(|e| e.sequence), 1);
    let plan = story::ready_plan(&events);
    assert_eq!((plan.state(), plan.version, &plan.base_revision_hash), (PlanState::Ready, 1, &base.hash));
    assert_eq!(
        plan.steps.iter().map(|s| (s.path.as_str(), s.action())).collect::<Vec<_>>(),
        [("values.yaml", StepAction::Update)]
    );

    let events = approve(&client, &plan).await.unwrap();
    let plan = applied(&events);
    assert!(events.iter().any(|e| matches!(&e.event, Some(plan_event::Event::Edit(edit)) if edit.ok)), "each edit is told");
    let request = DiffRevisionsRequest {
        workspace_id: workspace.clone(),
        from_revision_id: base.id,
        to_revision_id: plan.applied_revision_id.clone(),
        ..Default::default()
    };
    let diff = client.files.clone().diff_revisions(request).await.unwrap().into_inner();
    assert_eq!(diff.files.len(), 1);
    assert!(diff.files[0].additions <= 3 && diff.files[0].additions == diff.files[0].deletions, "{}", diff.files[0].unified);
    assert!(diff.files[0].unified.contains("+  replicas: 3\n"), "{}", diff.files[0].unified);
}

#[tokio::test]
async fn approval_is_bound_to_version_and_base() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, base) = story::workspace(&client, &story::small_chart()).await;
    let plan = story::ready_plan(&create(&client, &workspace, "set gateway.replicas to 3").await.unwrap());

    let other_version = Plan { version: 2, ..plan.clone() };
    refused(approve(&client, &other_version).await, Code::FailedPrecondition, "PLAN_VERSION_STALE");
    let other_base = Plan { base_revision_id: plan.id.clone(), ..plan.clone() };
    refused(approve(&client, &other_base).await, Code::FailedPrecondition, "PLAN_BASE_MOVED");

    let head = story::commit(&client, &workspace, &base.id, vec![write("README.md", "moved\n")]).await.unwrap();
    let status = refused(approve(&client, &plan).await, Code::FailedPrecondition, "PLAN_BASE_MOVED");
    assert_eq!(story::fact(&status, "head_revision_id"), head.id);
    assert_eq!(get(&client, &plan.id).await.state(), PlanState::Ready, "a refused approval changes nothing");

    let request = RevisePlanRequest {
        plan_id: plan.id.clone(),
        version: 1,
        instructions: "use five replicas instead".into(),
        ..Default::default()
    };
    let stream = client.planner.clone().revise_plan(request).await.unwrap().into_inner();
    let revised = story::ready_plan(&collect(stream, |r| r.event.unwrap()).await.unwrap());
    assert_eq!((revised.version, &revised.base_revision_id), (2, &head.id));
    refused(approve(&client, &plan).await, Code::FailedPrecondition, "PLAN_VERSION_STALE");
    applied(&approve(&client, &revised).await.unwrap());
    assert!(story::read(&client, &workspace, "", "values.yaml").await.unwrap().contains("  replicas: 5\n"));
}

#[tokio::test]
async fn ten_approvals_at_once_make_one_revision() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    for request_id in ["once", ""] {
        let (workspace, _) = story::workspace(&client, &story::small_chart()).await;
        let plan = story::ready_plan(&create(&client, &workspace, "set gateway.replicas to 3").await.unwrap());
        let all = futures::future::join_all((0..10).map(|_| approve_as(&client, &plan, request_id))).await;
        let (followed, lost): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        let followed: Vec<Vec<PlanEvent>> = followed.into_iter().map(Result::unwrap).collect();
        assert!(followed.iter().all(|events| *events == followed[0]), "all follow the same apply from its start");
        let made = applied(&followed[0]).applied_revision_id;
        // With the same request id all are one call; without one, each is an approval of its own.
        assert_eq!(lost.len(), if request_id.is_empty() { 9 } else { 0 });
        for attempt in lost {
            refused(attempt, Code::FailedPrecondition, "PLAN_STATE_CONFLICT");
        }
        let request = ListRevisionsRequest { workspace_id: workspace, ..Default::default() };
        let revisions = client.files.clone().list_revisions(request).await.unwrap().into_inner().revisions;
        assert_eq!((revisions.len(), &revisions[0].id), (2, &made));
    }
}

#[tokio::test]
async fn an_applied_plan_is_approved_again_only_by_the_same_request() {
    let mut suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, _) = story::workspace(&client, &story::small_chart()).await;
    let plan = story::ready_plan(&create(&client, &workspace, "set gateway.replicas to 3").await.unwrap());
    let events = approve_as(&client, &plan, "first").await.unwrap();
    suite.kill();
    suite.restart().await.unwrap();
    let client = suite.client().unwrap();
    assert_eq!(approve_as(&client, &plan, "first").await.unwrap(), events, "from its first event, after a restart too");
    for request_id in ["", "second"] {
        let status = refused(approve_as(&client, &plan, request_id).await, Code::FailedPrecondition, "PLAN_STATE_CONFLICT");
        assert_eq!(story::fact(&status, "state"), "applied");
    }
    let other = Plan { version: 2, ..plan.clone() };
    let status = refused(approve_as(&client, &other, "first").await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    assert_eq!(story::fact(&status, "first_id"), plan.id);
}

#[tokio::test]
async fn only_legal_transitions_happen() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, _) = story::workspace(&client, &story::small_chart()).await;
    let plan = story::ready_plan(&create(&client, &workspace, "set gateway.replicas to 3").await.unwrap());
    let reject = RejectPlanRequest { plan_id: plan.id.clone(), version: 1 };
    let rejected = client.planner.clone().reject_plan(reject.clone()).await.unwrap().into_inner().plan.unwrap();
    assert_eq!(rejected.state(), PlanState::Rejected);
    let status = refused(approve(&client, &plan).await, Code::FailedPrecondition, "PLAN_STATE_CONFLICT");
    assert_eq!(story::fact(&status, "state"), "rejected");
    let revise = RevisePlanRequest { plan_id: plan.id.clone(), version: 1, instructions: "use 4".into(), ..Default::default() };
    refused(client.planner.clone().revise_plan(revise).await.map(|_| ()), Code::FailedPrecondition, "PLAN_STATE_CONFLICT");
    let plans =
        client.planner.clone().list_plans(ListPlansRequest { workspace_id: workspace, ..Default::default() }).await.unwrap();
    assert_eq!(plans.into_inner().plans.len(), 1);
}

#[tokio::test]
async fn what_the_rules_cannot_do_they_say() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, _) = story::workspace(&client, &story::small_chart()).await;
    let events = create(&client, &workspace, "rewrite the whole chart in the style of a sonnet").await.unwrap();
    let Some(plan_event::Event::Failed(plan)) = &events.last().unwrap().event else { panic!("{:?}", events.last()) };
    assert_eq!(plan.failure.as_ref().unwrap().reason, "PLAN_UNUSABLE");
    assert!(!plan.failure.as_ref().unwrap().message.is_empty());
}

#[tokio::test]
async fn an_empty_workspace_cannot_be_planned_on() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let request = slipway_proto::filestore::CreateWorkspaceRequest { name: "empty".into(), ..Default::default() };
    let workspace = client.files.clone().create_workspace(request).await.unwrap().into_inner().workspace.unwrap();
    refused(create(&client, &workspace.id, "set replicas to 3").await, Code::FailedPrecondition, "WORKSPACE_EMPTY");
}

/// A model that plans one update of `values.yaml` and then makes these edits, one a turn.
async fn editor(edits: Vec<(&'static str, Value)>) -> Provider {
    Provider::start(move |request| {
        if request["tools"].to_string().contains("submit_plan") {
            let step = json!({"path": "values.yaml", "action": "update", "reason": "as asked"});
            return vec![Step::Call("submit_plan".into(), json!({"summary": "an edit", "steps": [step]}))];
        }
        let done = request["messages"].as_array().map_or(0, |m| m.iter().filter(|m| m["role"] == "tool").count());
        match edits.get(done) {
            Some((tool, arguments)) => vec![Step::Call((*tool).into(), arguments.clone())],
            None => vec![Step::Call("done".into(), json!({"summary": "done"}))],
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn an_edit_is_unique_and_leaves_valid_yaml_or_is_refused_and_the_model_is_told() {
    let edits = vec![
        ("str_replace", json!({"path": "values.yaml", "old_str": "tag: \"1.0\"", "new_str": "tag: \"2.0\""})),
        ("str_replace", json!({"path": "values.yaml", "old_str": "nowhere", "new_str": "x"})),
        ("str_replace", json!({"path": "values.yaml", "old_str": "  replicas: 1", "new_str": "  replicas: [1"})),
        ("str_replace", json!({"path": "Chart.yaml", "old_str": "shop", "new_str": "x"})),
        ("create", json!({"path": "../../etc/cron.d/x", "content": "x"})),
        ("str_replace", json!({"path": "values.yaml", "old_str": "  replicas: 1", "new_str": "  replicas: 7"})),
    ];
    let provider = editor(edits).await;
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let client = suite.client().unwrap();
    let (workspace, base) = story::workspace(&client, &story::small_chart()).await;
    let plan = story::ready_plan(&create(&client, &workspace, "run seven").await.unwrap());
    let events = approve(&client, &plan).await.unwrap();
    let plan = applied(&events);
    let edits: Vec<bool> = events
        .iter()
        .filter_map(|e| if let Some(plan_event::Event::Edit(edit)) = &e.event { Some(edit.ok) } else { None })
        .collect();
    assert_eq!(edits, [false, false, false, false, false, true]);
    let told = provider.requests().last().unwrap()["messages"].to_string();
    assert!(told.contains('2') && told.contains("error:"), "the count of matches is told");
    let after = story::read(&client, &workspace, &plan.applied_revision_id, "values.yaml").await.unwrap();
    assert_eq!(after, story::small_chart()[1].1.replace("  replicas: 1\n", "  replicas: 7\n"));
    assert_eq!(story::read(&client, &workspace, &base.id, "values.yaml").await.unwrap(), story::small_chart()[1].1);
}

/// Models get line numbers wrong and name places that are not unique; what they mean is found, or refused with what would help.
#[tokio::test]
async fn edits_come_as_models_write_them() {
    let edit = |text: &str| ("edit", json!({"path": "values.yaml", "edits": text}));
    let (before, after) = ("image:\n  tag: \"1.0\"\n", "image:\n  tag: \"2.0\"\n");
    let file = format!("replicas: 1\n{before}sidecar:\n  tag: \"1.0\"\n");
    let edits = vec![
        edit("<<<<<<< SEARCH\n  tag: \"1.0\"\n=======\n  tag: \"2.0\"\n>>>>>>> REPLACE\n"),
        edit(&format!("<<<<<<< SEARCH\nreplicas: 1\n{before}=======\nreplicas: 1\n{after}>>>>>>> REPLACE\n")),
        edit("--- a/values.yaml\n+++ b/values.yaml\n@@ -90,2 +17,2 @@\n-replicas: 1\n+replicas: 3\n image:\n"),
        edit("--- a/Chart.yaml\n+++ b/Chart.yaml\n@@ -1 +1 @@\n-name: shop\n+name: x\n"),
        edit("<<<<<<< SEARCH\nreplicaz: 3\n=======\nreplicas: 9\n>>>>>>> REPLACE\n"),
    ];
    let provider = editor(edits).await;
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let client = suite.client().unwrap();
    let (workspace, _) = story::workspace(&client, &[("values.yaml", file.as_str())]).await;
    let plan = story::ready_plan(&create(&client, &workspace, "the second version, three times").await.unwrap());
    let events = approve(&client, &plan).await.unwrap();
    let told: Vec<(bool, &str)> = events
        .iter()
        .filter_map(|e| {
            if let Some(plan_event::Event::Edit(edit)) = &e.event { Some((edit.ok, edit.message.as_str())) } else { None }
        })
        .collect();
    for ((ok, message), (expected, part)) in told.iter().zip([
        (false, "the text to change is 2 times in \"values.yaml\", at lines 3, 5"),
        (true, "changed line 3"),
        (true, "changed line 1"),
        (false, "this step may change only `values.yaml`"),
        (false, "lines 1 to 1, as sought (-) and as they are (+):\n-replicaz: 3\n+replicas: 3"),
    ]) {
        assert!(*ok == expected && message.contains(part), "{part}: {message}");
    }
    assert_eq!(told.len(), 5);
    let wanted = file.replacen("1.0", "2.0", 1).replace("replicas: 1", "replicas: 3");
    assert_eq!(story::read(&client, &workspace, &applied(&events).applied_revision_id, "values.yaml").await.unwrap(), wanted);
}

#[tokio::test]
async fn a_plan_whose_edits_fail_changes_nothing() {
    let provider = editor(vec![("str_replace", json!({"path": "values.yaml", "old_str": "nowhere", "new_str": "x"}))]).await;
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let client = suite.client().unwrap();
    let (workspace, base) = story::workspace(&client, &story::small_chart()).await;
    let plan = story::ready_plan(&create(&client, &workspace, "do it").await.unwrap());
    let events = approve(&client, &plan).await.unwrap();
    let Some(plan_event::Event::Failed(failed)) = &events.last().unwrap().event else { panic!("{:?}", events.last()) };
    assert_eq!(failed.failure.as_ref().unwrap().reason, "EDIT_FAILED");
    let request = slipway_proto::filestore::GetWorkspaceRequest { workspace_id: workspace };
    let head = client.files.clone().get_workspace(request).await.unwrap().into_inner().workspace.unwrap();
    assert_eq!(head.head_revision_id, base.id);
}

#[tokio::test]
async fn rules_tell_intents_without_a_model() {
    let provider = Provider::saying(&["should not be asked"]).await.unwrap();
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let client = suite.client().unwrap();
    let (workspace, _) = story::workspace(&client, &story::small_chart()).await;
    let set = CreatePlanRequest {
        workspace_id: workspace.clone(),
        request: "set gateway.replicas to 3".into(),
        model: "builtin/rules".into(),
        ..Default::default()
    };
    let stream = client.planner.clone().create_plan(set).await.unwrap().into_inner();
    let open = story::ready_plan(&collect(stream, |r| r.event.unwrap()).await.unwrap());
    for (text, kind) in [
        ("How many gateway replicas run?", IntentKind::Converse),
        ("run three gateway replicas", IntentKind::Plan),
        ("go ahead", IntentKind::Proceed),
        ("render the chart", IntentKind::Render),
        ("write me a poem about the sea", IntentKind::OffTopic),
        ("??", IntentKind::Unclear),
    ] {
        let request = ClassifyIntentRequest {
            text: text.into(),
            workspace_id: workspace.clone(),
            open_plan_id: open.id.clone(),
            ..Default::default()
        };
        let intent = client.planner.clone().classify_intent(request).await.unwrap().into_inner().intent.unwrap();
        assert_eq!((intent.kind(), intent.by_rule), (kind, true), "{text}: {intent:?}");
        assert!(intent.confidence > 0.0 && intent.confidence <= 1.0 && !intent.reason.is_empty());
    }
    assert_eq!(provider.requests().len(), 0);
}
