//! Watching, listing and classifying.

use slipway_proto::planner as proto;
use slipway_proto::planner::plan_event::Event;
use slipway_rpc::Reason;

use super::fakes::{self, Reply, World};
use super::{Suite, names};

async fn suite(dir: &tempfile::TempDir) -> Suite {
    Suite::start(dir.path(), &World::new()).await
}

#[tokio::test]
async fn a_watcher_sees_a_snapshot_and_every_event_from_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    let watching = suite.watch(&plan.id, 2);
    let rejecting = async { suite.reject(&plan).await.unwrap() };
    let (events, _) = tokio::join!(watching, rejecting);
    let events = events.unwrap();
    assert_eq!(names(&events), ["usage", "step_proposed", "ready", "rejected"]);
    let all = suite.watch(&plan.id, 0).await.unwrap();
    assert_eq!(all[2..], events);
    for after in 0..=6 {
        assert_eq!(suite.watch(&plan.id, after).await.unwrap().len() as u64, 6 - after);
    }
    for after in [7, u64::MAX] {
        assert_eq!(suite.watch(&plan.id, after).await.unwrap_err().reason(), Reason::CursorOutOfRange);
    }
}

#[tokio::test]
async fn an_idle_watcher_gets_heartbeats() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    let request = proto::WatchPlanRequest { plan_id: plan.id.clone(), after_sequence: plan.last_sequence };
    let mut stream = suite.client().watch_plan(suite.ctx.request(request)).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(first.event, Some(Event::Snapshot(p)) if p == plan));
    let second = stream.message().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(second.event, Some(Event::Heartbeat(_))) && second.sequence == 0 && second.ignorable);
}

#[tokio::test]
async fn plans_are_listed_newest_first_by_pages() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(suite.ready(&[("update", "values.yaml")]).await.id);
    }
    made.reverse();
    let list = async |page_token: String, workspace_id: String| {
        let request = proto::ListPlansRequest { workspace_id, page_size: 2, page_token };
        suite.client().list_plans(suite.ctx.request(request)).await.map(tonic::Response::into_inner).map_err(super::fault)
    };
    let workspace = suite.world.workspace.to_string();
    for filter in [String::new(), workspace.clone()] {
        let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = list(token, filter.clone()).await.unwrap();
            seen.extend(page.plans.into_iter().map(|p| p.id));
            pages += 1;
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!((seen, pages), (made.clone(), 3));
    }
    let other = list(String::new(), uuid::Uuid::now_v7().to_string()).await.unwrap();
    assert!(other.plans.is_empty() && other.next_page_token.is_empty());
    let token = list(String::new(), String::new()).await.unwrap().next_page_token;
    for (token, filter) in [("nonsense".to_owned(), String::new()), (token, workspace)] {
        assert_eq!(list(token, filter).await.unwrap_err().reason(), Reason::PageTokenInvalid);
    }
}

#[tokio::test]
async fn rules_classify_first_and_a_model_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let plan = suite.ready(&[("update", "values.yaml")]).await;
    let ask = |text: &str, open: bool| proto::ClassifyIntentRequest {
        text: text.into(),
        workspace_id: suite.world.workspace.to_string(),
        open_plan_id: if open { plan.id.clone() } else { String::new() },
        ..Default::default()
    };
    let asked = suite.world.lock().prompts.len();
    for (text, open, kind) in [
        ("how many replicas?", false, proto::IntentKind::Converse),
        ("set replicas to 3", false, proto::IntentKind::Plan),
        ("go ahead", true, proto::IntentKind::Proceed),
        ("go ahead", false, proto::IntentKind::Unclear),
        ("  ", false, proto::IntentKind::Unclear),
    ] {
        let intent = suite.classify(ask(text, open)).await.unwrap();
        assert!(intent.kind() == kind && intent.by_rule && !intent.reason.is_empty(), "{text}: {intent:?}");
    }
    assert_eq!(suite.world.lock().prompts.len(), asked);
    suite
        .world
        .say(fakes::calls(&[("classify_intent", serde_json::json!({"intent": "plan", "confidence": 0.7, "reason": "a value"}))]));
    let intent = suite.classify(ask("replicas: 5", false)).await.unwrap();
    assert_eq!((intent.kind(), intent.confidence, intent.by_rule), (proto::IntentKind::Plan, 0.7, false));
    assert!(suite.world.last_prompt().contains("<message>replicas: 5</message>"));
    suite.world.say(Reply::Fail(Reason::ProviderUnavailable, "away".into()));
    assert_eq!(suite.classify(ask("replicas: 5", false)).await.unwrap_err().reason(), Reason::ProviderUnavailable);
    suite.reject(&plan).await.unwrap();
    assert_eq!(suite.classify(ask("go ahead", true)).await.unwrap().kind(), proto::IntentKind::Unclear, "it waits no more");
}

#[tokio::test]
async fn a_page_of_large_plans_is_shorter_than_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let request = "ü".repeat(32_000);
    for _ in 0..60 {
        suite.world.say(fakes::plan(&[("update", "values.yaml")]));
        suite.create(&request).await.unwrap();
    }
    let (mut sizes, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = proto::ListPlansRequest { page_size: 1_000, page_token, ..Default::default() };
        // A client with the usual limit of 4 MiB.
        let page = suite.client().list_plans(suite.ctx.request(list)).await.unwrap().into_inner();
        sizes.push(page.plans.len());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((sizes.iter().sum::<usize>(), sizes[0]), (60, 32));
}

#[tokio::test]
async fn a_request_does_not_grow_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(&dir).await;
    let mut plan = suite.ready(&[("update", "values.yaml")]).await;
    for _ in 0..3 {
        suite.world.say(fakes::plan(&[("update", "values.yaml")]));
        plan = super::last_plan(&suite.revise(&plan, &"x".repeat(32_000), "").await.unwrap());
    }
    let refused = suite.revise(&plan, &"x".repeat(32_000), "").await.unwrap_err();
    assert_eq!(refused.reason(), Reason::FieldInvalid);
    assert_eq!(refused.violations()[0].field, "instructions");
    assert_eq!(suite.get(&plan.id).await.unwrap(), plan);
}
