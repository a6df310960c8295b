//! Sending messages: accepted once, answered once, whoever watches, leaves or cancels.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use slipway_proto::conversation as pb;
use slipway_proto::conversation::run_event::Event;
use slipway_rpc::Reason;

use super::fakes::Say;
use super::suite::{Suite, assert_whole, ended, is_text, message, next, reason, rest, text_of, until};
use crate::Settings;

#[tokio::test]
async fn a_message_is_answered() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    let events = suite.ask(&conversation, "Is all well with the gateway?").await;
    assert_whole(&events, 1);
    assert!(matches!(events[0].event, Some(Event::Started(_))));
    assert_eq!(text_of(&events), "All is well.");
    let (how, end) = ended(&events);
    let (run, answer) = (end.run.unwrap(), end.message.unwrap());
    assert_eq!((how, run.state(), run.attempt), ("completed", pb::RunState::Completed, 1));
    assert_eq!(run.last_sequence, events.len() as u64);
    let usage = run.usage.as_ref().unwrap();
    assert_eq!((usage.input_tokens, usage.cost_micros, usage.price_version.as_str()), (7, 42, "list"));
    assert_eq!(run, suite.run(&run.id).await);

    let messages = suite.messages(&conversation).await;
    assert_eq!(messages.iter().map(|m| m.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((messages[0].author(), messages[1].author()), (pb::Author::User, pb::Author::Assistant));
    assert_eq!(messages[1], answer);
    assert_eq!((answer.text.as_str(), answer.partial), ("All is well.", false));
    let conversation = suite.get(&conversation).await;
    assert_eq!((conversation.title.as_str(), conversation.message_count), ("Is all well with the gateway?", 2));
    assert_eq!(conversation.active_run_id, "");
    assert_eq!(suite.world.classified.load(Ordering::SeqCst), 0, "nothing to classify without a workspace");
}

#[tokio::test]
async fn the_model_sees_the_conversation_so_far() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    for text in ["one", "two", "three"] {
        suite.ask(&conversation, text).await;
    }
    let prompts = suite.world.prompts.lock().unwrap();
    let seen: Vec<_> = prompts[2].messages.iter().skip(1).map(|m| m.text.as_str()).collect();
    assert_eq!(seen, ["one", "All is well.", "two", "All is well.", "three"]);
}

#[tokio::test]
async fn history_is_the_last_messages_only() {
    let suite = Suite::start_with(Settings { history_messages: 3, ..Settings::default() }).await;
    let conversation = suite.conversation().await;
    for text in ["one", "two", "three"] {
        suite.ask(&conversation, text).await;
    }
    let prompts = suite.world.prompts.lock().unwrap();
    let seen: Vec<_> = prompts[2].messages.iter().skip(1).map(|m| m.text.as_str()).collect();
    assert_eq!(seen, ["All is well.", "two", "All is well.", "three"]);
}

#[tokio::test]
async fn an_answer_about_a_workspace_cites_what_it_says() {
    let suite = Suite::start().await;
    let conversation = suite.conversation_about_workspace().await;
    suite.world.script([Say::Reasoning("let me see"), Say::Text("Two "), Say::Text("replicas [1].")]);
    let events = suite.ask(&conversation, "How many replicas?").await;
    let kinds: Vec<_> = events.iter().map(|e| std::mem::discriminant(e.event.as_ref().unwrap())).collect();
    assert_eq!(kinds.iter().collect::<HashSet<_>>().len(), 7, "started, intent, context, reasoning, text, usage, completed");
    let Some(Event::Context(context)) = &events[2].event else { panic!("{:?}", events[2]) };
    assert_eq!(context.citations.len(), 2);
    let answer = ended(&events).1.message.unwrap();
    assert_eq!(answer.citations, context.citations[..1]);
    let prompt = suite.world.prompts.lock().unwrap()[0].messages.last().unwrap().text.clone();
    assert!(prompt.starts_with("<context>\n<source index=\"1\" path=\"values.yaml\" start_line=\"1\" end_line=\"2\">\ngateway:"));
    assert!(prompt.ends_with("<question>\nHow many replicas?\n</question>"));
}

#[tokio::test]
async fn a_workspace_without_an_index_gives_no_context() {
    let suite = Suite::start().await;
    *suite.world.indexed.lock().unwrap() = false;
    let conversation = suite.conversation_about_workspace().await;
    let events = suite.ask(&conversation, "How many replicas?").await;
    assert_eq!(ended(&events).0, "completed");
    assert!(events.iter().any(|e| matches!(&e.event, Some(Event::Context(c)) if c.citations.is_empty())));
}

#[tokio::test]
async fn a_neighbour_that_is_away_for_a_moment_is_asked_again() {
    let suite = Suite::start().await;
    suite.world.search_outages.store(1, Ordering::SeqCst);
    let conversation = suite.conversation_about_workspace().await;
    let events = suite.ask(&conversation, "How many replicas?").await;
    assert_whole(&events, 1);
    assert!(events.iter().any(|e| matches!(&e.event, Some(Event::Restarted(r)) if r.attempt == 2)), "never silently");
    assert_eq!(ended(&events).0, "completed");
    assert_eq!(suite.world.classified.load(Ordering::SeqCst), 1, "a finished step is not done again");
}

#[tokio::test]
async fn a_neighbour_that_breaks_off_half_way_is_asked_again() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    suite.world.script([Say::Text("Half an "), Say::Text("ans"), Say::Fail(Reason::ServiceUnavailable)]);
    suite.world.script([Say::Text("A whole "), Say::Text("answer.")]);
    let events = suite.ask(&conversation, "Tell me.").await;
    assert_whole(&events, 1);
    assert!(events.iter().any(|e| matches!(&e.event, Some(Event::Restarted(r)) if r.attempt == 2)), "never silently");
    let (how, end) = ended(&events);
    let answer = end.message.unwrap();
    assert_eq!((how, answer.text.as_str(), answer.partial), ("completed", "A whole answer.", false));
    assert_eq!(text_of(&events), answer.text);
}

#[tokio::test]
async fn a_neighbour_that_stays_away_fails_the_run() {
    let suite = Suite::start_with(Settings { max_attempts: 2, ..Settings::default() }).await;
    suite.world.search_outages.store(1000, Ordering::SeqCst);
    let conversation = suite.conversation_about_workspace().await;
    let events = suite.ask(&conversation, "How many replicas?").await;
    let (how, end) = ended(&events);
    let failure = end.run.unwrap().failure.unwrap();
    assert_eq!((how, failure.reason.as_str()), ("failed", "SERVICE_UNAVAILABLE"));
    assert_eq!(suite.get(&conversation).await.active_run_id, "", "the next message is welcome");
}

#[tokio::test]
async fn a_provider_that_fails_half_way_leaves_a_partial_answer() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    for (last, reason) in [
        (Say::Fail(Reason::ProviderRateLimited), "PROVIDER_RATE_LIMITED"),
        (Say::BreakOff, "PROVIDER_UNAVAILABLE"),
        (Say::Refuse, "CONTENT_REFUSED"),
    ] {
        suite.world.script([Say::Text("Half an "), Say::Text("ans"), last]);
        let events = suite.ask(&conversation, "Tell me.").await;
        assert_whole(&events, 1);
        let (how, end) = ended(&events);
        let (run, answer) = (end.run.unwrap(), end.message.unwrap());
        assert_eq!((how, run.failure.unwrap().reason.as_str()), ("failed", reason));
        assert_eq!((answer.text.as_str(), answer.partial), ("Half an ans", true));
    }
    assert_eq!(suite.get(&conversation).await.message_count, 6);
}

#[tokio::test]
async fn a_provider_that_fails_at_once_leaves_no_answer() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    suite.world.script([Say::Fail(Reason::ProviderAuthFailed)]);
    let (how, end) = ended(&suite.ask(&conversation, "Tell me.").await).clone();
    assert_eq!((how, end.message), ("failed", None));
    assert_eq!(end.run.unwrap().failure.unwrap().message, "the provider is on fire; wait");
    suite.world.script([]);
    let (how, end) = ended(&suite.ask(&conversation, "And now?").await).clone();
    assert_eq!(
        (how, end.run.unwrap().failure.unwrap().reason.as_str()),
        ("failed", "PROVIDER_UNAVAILABLE"),
        "silence is no answer"
    );
    let numbers: Vec<_> = suite.messages(&conversation).await.iter().map(|m| m.number).collect();
    assert_eq!(numbers, [1, 2], "dense without answers, too");
}

#[tokio::test]
async fn one_run_at_a_time() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    suite.world.script([Say::Text("Wait"), Say::Gate]);
    let mut first = suite.say(&conversation, "One.").await;
    let run_id = next(&mut first).await.run_id;
    let refused = suite.send(message(&conversation, "Two.")).await.unwrap_err();
    assert_eq!(reason(refused), Reason::RunActive);
    assert_eq!(suite.get(&conversation).await.active_run_id, run_id);
    suite.world.gate.add_permits(1);
    assert_eq!(ended(&rest(&mut first).await).0, "completed");
    assert_eq!(ended(&suite.ask(&conversation, "Two.").await).0, "completed");
}

#[tokio::test]
async fn the_same_request_id_is_one_run() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    let request = pb::SendMessageRequest { request_id: "r1".into(), ..message(&conversation, "Once, please.") };
    let all = futures::future::join_all((0..50).map(|_| async {
        let events = rest(&mut suite.send(request.clone()).await.unwrap()).await;
        assert_whole(&events, 1);
        events
    }))
    .await;
    for events in &all {
        assert_eq!(events, &all[0], "everyone follows the same run from its first event");
    }
    assert_eq!(suite.messages(&conversation).await.len(), 2);
    let other = pb::SendMessageRequest { text: "Something else.".into(), ..request };
    assert_eq!(reason(suite.send(other).await.unwrap_err()), Reason::RequestIdReused);
}

#[tokio::test]
async fn a_client_may_leave_at_every_event() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    let whole = suite.ask(&conversation, "Tell me.").await.len();
    for read in 0..=whole {
        let conversation = suite.conversation().await;
        suite.world.script([Say::Text("All "), Say::Gate, Say::Text("is well.")]);
        let mut stream = suite.say(&conversation, "Tell me.").await;
        let mut run_id = suite.get(&conversation).await.active_run_id;
        for at in 0..read {
            if at == 3 {
                suite.world.gate.add_permits(1);
            }
            let Some(response) = stream.message().await.unwrap() else { break };
            run_id = response.event.unwrap().run_id;
        }
        drop(stream);
        if read <= 3 {
            suite.world.gate.add_permits(1);
        }
        let events = suite.watch_to_end(&run_id, 0).await;
        assert_whole(&events, 1);
        assert_eq!((ended(&events).0, text_of(&events).as_str()), ("completed", "All is well."));
        assert_eq!(suite.messages(&conversation).await.len(), 2);
    }
}

#[tokio::test]
async fn a_run_is_cancelled_with_its_client_when_asked_for() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    suite.world.script([Say::Text("So far "), Say::Text("so good"), Say::Gate]);
    let policy = pb::DisconnectPolicy::Cancel.into();
    let mut stream =
        suite.send(pb::SendMessageRequest { disconnect_policy: policy, ..message(&conversation, "Go.") }).await.unwrap();
    let run_id = until(&mut stream, is_text).await[0].run_id.clone();
    drop(stream);
    let events = suite.watch_to_end(&run_id, 0).await;
    let (how, end) = ended(&events);
    assert_eq!((how, end.message.unwrap().partial), ("cancelled", true));
    suite.world.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
}

#[tokio::test]
async fn a_cancel_closes_the_call_and_keeps_the_text() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    suite.world.script([Say::Text("Half"), Say::Gate]);
    let mut stream = suite.say(&conversation, "Go.").await;
    let run_id = until(&mut stream, is_text).await[0].run_id.clone();
    let asked = Instant::now();
    let run = suite.cancel(&run_id).await;
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    assert_eq!(run.state(), pb::RunState::Cancelled);
    suite.world.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
    let (how, end) = ended(&rest(&mut stream).await).clone();
    let answer = end.message.unwrap();
    assert_eq!((how, answer.text.as_str(), answer.partial), ("cancelled", "Half", true));
    assert_eq!(suite.cancel(&run_id).await, run, "again changes nothing");
    assert_eq!(suite.messages(&conversation).await.len(), 2);
    assert_eq!(ended(&suite.ask(&conversation, "Again.").await).0, "completed");
}

#[tokio::test]
async fn a_run_that_waits_for_a_worker_is_cancelled_at_once() {
    let suite = Suite::start_with(Settings { concurrency: 1, ..Settings::default() }).await;
    suite.world.script([Say::Text("Busy"), Say::Gate]);
    let busy = suite.conversation().await;
    let mut first = suite.say(&busy, "One.").await;
    until(&mut first, is_text).await;
    let waiting = suite.conversation().await;
    let mut second = suite.say(&waiting, "Two.").await;
    let run_id = next(&mut second).await.run_id;
    let run = suite.cancel(&run_id).await;
    assert_eq!(run.state(), pb::RunState::Cancelled);
    let events = rest(&mut second).await;
    assert_eq!((ended(&events).0, ended(&events).1.message), ("cancelled", None));
    assert_eq!(suite.get(&waiting).await.active_run_id, "");
    suite.world.gate.add_permits(1);
    assert_eq!(ended(&rest(&mut first).await).0, "completed");
    assert_eq!(suite.world.prompts.lock().unwrap().len(), 1, "the cancelled one never reached a model");
}

#[tokio::test]
async fn an_idle_stream_is_kept_alive() {
    let suite = Suite::start_with(Settings { heartbeat_seconds: 1, ..Settings::default() }).await;
    let conversation = suite.conversation().await;
    suite.world.script([Say::Text("Wait"), Say::Gate]);
    let mut stream = suite.say(&conversation, "Go.").await;
    let events = until(&mut stream, |e| matches!(e, Event::Heartbeat(_))).await;
    assert_eq!(events.last().unwrap().sequence, 0);
    suite.world.gate.add_permits(1);
    assert_eq!(ended(&rest(&mut stream).await).0, "completed");
}

#[tokio::test]
async fn many_conversations_at_once() {
    let suite = Suite::start().await;
    let asked = (0..60).map(|n| {
        let suite = &suite;
        async move {
            let conversation = suite.conversation().await;
            let events = suite.ask(&conversation, &format!("Question {n}?")).await;
            assert_whole(&events, 1);
            assert!(events.iter().all(|e| e.run_id == events[0].run_id), "nothing of another run");
            assert_eq!(text_of(&events), "All is well.");
        }
    });
    futures::future::join_all(asked).await;
}
