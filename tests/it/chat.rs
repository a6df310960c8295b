//! Conversations: an answer with citations, a plan by talking, streams that can be resumed, cancels, idempotency.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use slipway_proto::conversation::{
    CancelRunRequest, DeleteConversationRequest, DisconnectPolicy, GetConversationRequest, GetRunRequest,
    ListConversationsRequest, ListMessagesRequest, RunState, UpdateConversationRequest, WatchRunRequest, run_event,
};
use slipway_proto::planner::{IntentKind, PlanState};
use slipway_testkit::{Provider, Step, SuiteOptions};
use tokio::sync::Semaphore;
use tonic::Code;

use crate::story::{self, assert_dense, completed, conversation, message, refused, say, suite, suite_with, text, watch};

/// A provider whose every answer waits at the gate after the first delta.
async fn gated(deltas: usize) -> (Provider, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let at = gate.clone();
    let script = move |_: &serde_json::Value| {
        let mut steps = vec![Step::Text("word0 ".into()), Step::Gate(at.clone())];
        steps.extend((1..deltas).map(|n| Step::Text(format!("word{n} "))));
        steps
    };
    (Provider::start(script).await.unwrap(), gate)
}

#[tokio::test]
async fn a_question_is_answered_from_the_workspace_with_citations() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, revision) = story::workspace(&client, &story::small_chart()).await;
    story::indexed(&client, &workspace, 1).await;
    let conversation = conversation(&client, &workspace).await;

    let events = say(&client, &conversation.id, "How many gateway replicas run?").await;
    assert_dense(events.iter().map(|e| e.sequence), 1);
    assert!(matches!(events[0].event, Some(run_event::Event::Started(_))), "the first event is `started`");
    let terminal = |e: &run_event::Event| {
        matches!(e, run_event::Event::Completed(_) | run_event::Event::Failed(_) | run_event::Event::Cancelled(_))
    };
    assert_eq!(events.iter().filter(|e| e.event.as_ref().is_some_and(terminal)).count(), 1, "exactly one terminal event");

    let (run, answer) = completed(&events);
    assert_eq!(run.intent.as_ref().unwrap().kind(), IntentKind::Converse);
    assert_eq!(answer.text, text(&events), "the stored answer is what was streamed");
    assert!(answer.text.contains("replicas: 1"), "{}", answer.text);
    let cited = answer.citations.iter().find(|c| c.path == "values.yaml").expect("values.yaml is cited");
    assert_eq!(cited.revision_id, revision.id);
    assert!(cited.start_line <= 4 && cited.end_line >= 4, "line 4 holds the replicas: {cited:?}");
    assert!(answer.text.contains(&format!("[{}]", cited.index)));
    assert!(answer.usage.is_some_and(|u| u.output_tokens > 0));
}

#[tokio::test]
async fn a_change_is_planned_by_talking_approved_by_talking_and_becomes_one_revision() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, base) = story::workspace(&client, &story::small_chart()).await;
    story::indexed(&client, &workspace, 1).await;
    let conversation = conversation(&client, &workspace).await;

    let events = say(&client, &conversation.id, "run three gateway replicas and put an ingress on slipway.example.com").await;
    let (run, answer) = completed(&events);
    assert_eq!(run.intent.as_ref().unwrap().kind(), IntentKind::Plan);
    assert_eq!(answer.plan_id, run.plan_id);
    let plan_events: Vec<_> = events
        .iter()
        .filter_map(|e| if let Some(run_event::Event::Plan(p)) = &e.event { Some(p.clone()) } else { None })
        .collect();
    assert_dense(plan_events.iter().map(|e| e.sequence), 1);
    let plan = story::ready_plan(&plan_events);
    assert_eq!((plan.base_revision_id.as_str(), plan.version), (base.id.as_str(), 1));
    assert_eq!(
        story::read(&client, &workspace, "", "values.yaml").await.unwrap(),
        story::small_chart()[1].1,
        "nothing changes before approval"
    );

    let events = say(&client, &conversation.id, "go ahead").await;
    let (run, _) = completed(&events);
    assert_eq!(run.intent.as_ref().unwrap().kind(), IntentKind::Proceed);
    let values = story::read(&client, &workspace, "", "values.yaml").await.unwrap();
    assert!(
        values.contains("  replicas: 3\n") && values.contains("host: slipway.example.com")
            || values.contains("host: \"slipway.example.com\""),
        "{values}"
    );
    assert!(values.contains("# How many gateways run."), "comments survive");
    let request = slipway_proto::planner::GetPlanRequest { plan_id: plan.id.clone() };
    let plan = client.planner.clone().get_plan(request).await.unwrap().into_inner().plan.unwrap();
    assert_eq!(plan.state(), PlanState::Applied);
}

#[tokio::test]
async fn every_cursor_gives_the_same_bytes() {
    let provider = Provider::saying(&["one ", "two ", "three ", "four"]).await.unwrap();
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let client = suite.client().unwrap();
    let conversation = conversation(&client, "").await;
    let sent = say(&client, &conversation.id, "hello there").await;
    let run = sent[0].run_id.clone();
    for after in 0..=sent.len() {
        let seen = watch(&client, &run, after as u64).await.unwrap();
        let bytes =
            |events: &[slipway_proto::conversation::RunEvent]| events.iter().map(|e| e.encode_to_vec()).collect::<Vec<_>>();
        assert_eq!(bytes(&seen), bytes(&sent[after..]), "after {after}");
    }
    let beyond = watch(&client, &run, sent.len() as u64 + 1).await;
    let status = refused(beyond, Code::OutOfRange, "CURSOR_OUT_OF_RANGE");
    assert_eq!(story::fact(&status, "oldest"), "1");
    assert_eq!(story::fact(&status, "latest"), sent.len().to_string());
}

#[tokio::test]
async fn a_watcher_gets_a_snapshot_first() {
    let provider = Provider::saying(&["hi"]).await.unwrap();
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let client = suite.client().unwrap();
    let conversation = conversation(&client, "").await;
    let sent = say(&client, &conversation.id, "hello there").await;
    let request = WatchRunRequest { run_id: sent[0].run_id.clone(), after_sequence: 0 };
    let stream = client.conversation.clone().watch_run(request).await.unwrap().into_inner();
    let events = story::collect(stream, |r| r.event.unwrap()).await.unwrap();
    let Some(run_event::Event::Snapshot(run)) = &events[0].event else { panic!("{:?}", events[0]) };
    assert_eq!((run.state(), events[0].sequence, events[0].ignorable), (RunState::Completed, 0, true));
}

#[tokio::test]
async fn a_client_that_leaves_loses_nothing() {
    let (provider, gate) = gated(6).await;
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let client = suite.client().unwrap();
    let conversation = conversation(&client, "").await;
    let mut stream =
        client.conversation.clone().send_message(message(&conversation.id, "hello there")).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().event.unwrap();
    drop(stream);
    gate.add_permits(1);
    let events = watch(&client, &first.run_id, 0).await.unwrap();
    assert_eq!(events[0], first);
    let (_, answer) = completed(&events);
    assert_eq!(answer.text, "word0 word1 word2 word3 word4 word5 ");
}

#[tokio::test]
async fn a_run_may_end_with_its_client() {
    let (provider, _gate) = gated(6).await;
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let client = suite.client().unwrap();
    let conversation = conversation(&client, "").await;
    let mut request = message(&conversation.id, "hello there");
    request.set_disconnect_policy(DisconnectPolicy::Cancel);
    let mut stream = client.conversation.clone().send_message(request).await.unwrap().into_inner();
    let run = stream.message().await.unwrap().unwrap().event.unwrap().run_id;
    while !matches!(stream.message().await.unwrap().unwrap().event.unwrap().event, Some(run_event::Event::Text(_))) {}
    drop(stream);
    let events = watch(&client, &run, 0).await.unwrap();
    assert!(matches!(events.last().unwrap().event, Some(run_event::Event::Cancelled(_))), "{:?}", events.last());
    closes(&provider).await;
}

/// The provider sees its stream closed within the limit.
async fn closes(provider: &Provider) {
    let asked = Instant::now();
    while provider.open_streams() > 0 {
        assert!(asked.elapsed() < Duration::from_millis(500), "the stream to the model is still open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn cancel_closes_the_call_to_the_model_and_keeps_the_partial_answer() {
    let (provider, _gate) = gated(6).await;
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let client = suite.client().unwrap();
    let conversation = conversation(&client, "").await;
    let mut stream =
        client.conversation.clone().send_message(message(&conversation.id, "hello there")).await.unwrap().into_inner();
    let run = loop {
        let event = stream.message().await.unwrap().unwrap().event.unwrap();
        if matches!(event.event, Some(run_event::Event::Text(_))) {
            break event.run_id;
        }
    };
    let cancel = CancelRunRequest { run_id: run.clone() };
    client.conversation.clone().cancel_run(cancel.clone()).await.unwrap();
    closes(&provider).await;
    let events = watch(&client, &run, 0).await.unwrap();
    let Some(run_event::Event::Cancelled(end)) = &events.last().unwrap().event else { panic!("{:?}", events.last()) };
    assert_eq!(end.run.as_ref().unwrap().state(), RunState::Cancelled);
    let partial = end.message.as_ref().expect("a partial answer");
    assert!(partial.partial && partial.text == "word0 ", "{partial:?}");
    let again = client.conversation.clone().cancel_run(cancel).await.unwrap().into_inner().run.unwrap();
    assert_eq!(again.state(), RunState::Cancelled, "a second cancel is harmless");
    assert_eq!(watch(&client, &run, 0).await.unwrap(), events);
}

#[tokio::test]
async fn the_same_request_fifty_times_is_one_run() {
    let provider = Provider::saying(&["hi"]).await.unwrap();
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let client = suite.client().unwrap();
    let conversation = conversation(&client, "").await;
    let mut request = message(&conversation.id, "hello there");
    request.request_id = "once".into();
    let calls = (0..50).map(|_| {
        let (mut client, request) = (client.conversation.clone(), request.clone());
        async move {
            let stream = client.send_message(request).await?.into_inner();
            story::collect(stream, |r| r.event.unwrap()).await
        }
    });
    let all = futures::future::try_join_all(calls).await.unwrap();
    assert!(all.iter().all(|events| *events == all[0]), "all follow one run");
    assert_eq!(provider.requests().len(), 1, "one call to the model");
    request.text = "something else".into();
    let other = client.conversation.clone().send_message(request).await;
    let status = refused(other.map(|_| ()), Code::AlreadyExists, "REQUEST_ID_REUSED");
    assert_eq!(story::fact(&status, "first_id"), all[0][0].run_id);
}

#[tokio::test]
async fn a_second_message_during_a_run_is_refused() {
    let (provider, gate) = gated(2).await;
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let client = suite.client().unwrap();
    let conversation = conversation(&client, "").await;
    let mut stream =
        client.conversation.clone().send_message(message(&conversation.id, "hello there")).await.unwrap().into_inner();
    let run = stream.message().await.unwrap().unwrap().event.unwrap().run_id;
    let second = client.conversation.clone().send_message(message(&conversation.id, "and this?")).await;
    let status = refused(second.map(|_| ()), Code::FailedPrecondition, "RUN_ACTIVE");
    assert_eq!(story::fact(&status, "run_id"), run);
    gate.add_permits(10);
    watch(&client, &run, 0).await.unwrap();
    let (_, answer) = completed(&say(&client, &conversation.id, "and this?").await);
    assert_eq!(answer.number, 4, "messages are numbered without gaps");
    let history = provider.requests().last().unwrap()["messages"].to_string();
    assert!(history.contains("hello there") && history.contains("word0"), "the model sees what was said before");
}

#[tokio::test]
async fn a_failing_provider_fails_the_run_with_advice_and_the_conversation_lives() {
    let provider = Provider::start(|request| {
        if request["messages"].to_string().contains("fail") {
            return vec![Step::Refuse(401, serde_json::json!({"error": {"message": "bad key", "code": "invalid_api_key"}}))];
        }
        vec![Step::Text("fine".into())]
    });
    let suite = suite_with(SuiteOptions::with_provider(&provider.await.unwrap().base_url())).await;
    let client = suite.client().unwrap();
    let conversation_id = conversation(&client, "").await.id;
    let events = say(&client, &conversation_id, "please fail now").await;
    let Some(run_event::Event::Failed(end)) = &events.last().unwrap().event else { panic!("{:?}", events.last()) };
    let failure = end.run.as_ref().unwrap().failure.as_ref().unwrap();
    assert_eq!(failure.reason, "PROVIDER_AUTH_FAILED");
    assert!(failure.message.contains("key"), "{}", failure.message);
    let request = GetConversationRequest { conversation_id: conversation_id.clone() };
    let after = client.conversation.clone().get_conversation(request).await.unwrap().into_inner().conversation.unwrap();
    assert_eq!(after.active_run_id, "");
    let fresh = conversation(&client, "").await;
    completed(&say(&client, &fresh.id, "hello there").await);
}

#[tokio::test]
async fn conversations_are_listed_renamed_pinned_and_deleted() {
    let suite = suite().await;
    let mut client = suite.client().unwrap();
    let first = conversation(&client, "").await;
    say(&client, &first.id, "What can you do for my charts, in a few words, if you please, and how do you do it?").await;
    let request = GetConversationRequest { conversation_id: first.id.clone() };
    let titled = client.conversation.get_conversation(request.clone()).await.unwrap().into_inner().conversation.unwrap();
    assert!(titled.title.starts_with("What can you do") && titled.title.chars().count() <= 61, "{}", titled.title);

    let mut wanted = titled.clone();
    wanted.title = "Charts".into();
    wanted.pinned = true;
    let mask = prost_types::FieldMask { paths: vec!["title".into(), "pinned".into()] };
    let update = UpdateConversationRequest { conversation: Some(wanted), update_mask: Some(mask) };
    let renamed = client.conversation.update_conversation(update.clone()).await.unwrap().into_inner().conversation.unwrap();
    assert_eq!((renamed.title.as_str(), renamed.pinned), ("Charts", true));
    let stale = client.conversation.update_conversation(update).await;
    refused(stale, Code::Aborted, "ETAG_MISMATCH");
    say(&client, &first.id, "And what can you not do?").await;
    let kept = client.conversation.get_conversation(request.clone()).await.unwrap().into_inner().conversation.unwrap();
    assert_eq!(kept.title, "Charts", "a title that someone set is kept");

    for _ in 0..5 {
        conversation(&client, "").await;
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = ListConversationsRequest { page_size: 2, page_token: token };
        let page = client.conversation.list_conversations(page).await.unwrap().into_inner();
        seen.extend(page.conversations.into_iter().map(|c| c.id));
        conversation(&client, "").await;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen[0], first.id, "the pinned one is first");
    assert_eq!(seen.len(), 6, "inserts while paging give neither repeats nor gaps");

    let messages = ListMessagesRequest { conversation_id: first.id.clone(), ..Default::default() };
    let messages = client.conversation.list_messages(messages).await.unwrap().into_inner().messages;
    assert_dense(messages.iter().map(|m| m.number), 1);
    assert_eq!(messages.len(), 4);
    let run = messages[0].run_id.clone();
    client.conversation.delete_conversation(DeleteConversationRequest { conversation_id: first.id.clone() }).await.unwrap();
    refused(client.conversation.get_conversation(request).await, Code::NotFound, "CONVERSATION_NOT_FOUND");
    refused(client.conversation.get_run(GetRunRequest { run_id: run }).await, Code::NotFound, "RUN_NOT_FOUND");
}

#[tokio::test]
async fn many_watchers_see_one_order_and_a_slow_one_loses_nothing() {
    let deltas: Vec<String> = (0..300).map(|n| format!("w{n} ")).collect();
    let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
    let provider = Provider::saying(&deltas).await.unwrap();
    let suite = suite_with(SuiteOptions::with_provider(&provider.base_url())).await;
    let client = suite.client().unwrap();
    let conversation = conversation(&client, "").await;
    let mut slow = client.conversation.clone().send_message(message(&conversation.id, "hello there")).await.unwrap().into_inner();
    let first = slow.message().await.unwrap().unwrap().event.unwrap();
    let watchers = (0..10).map(|_| watch(&client, &first.run_id, 0));
    let all = futures::future::try_join_all(watchers).await.unwrap();
    assert!(all.iter().all(|events| *events == all[0]));
    let mut late = vec![first];
    late.extend(story::collect(slow, |r| r.event.unwrap()).await.unwrap());
    late.retain(|e| e.sequence > 0);
    assert_eq!(late, all[0], "who reads only now gets all of it");
}
