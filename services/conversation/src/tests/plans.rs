//! Messages that ask for a change: a plan, its approval, and what happens when the process dies in between.

use std::sync::atomic::Ordering;

use slipway_proto::conversation::RunEvent;
use slipway_proto::conversation::run_event::Event;

use super::fakes::{ALL_EVENTS, DRAFT_EVENTS};
use super::suite::{Suite, assert_whole, ended, next, text_of, until};

fn relayed(events: &[RunEvent]) -> Vec<u64> {
    let sequence = |e: &RunEvent| match &e.event {
        Some(Event::Plan(plan)) => Some(plan.sequence),
        _ => None,
    };
    events.iter().filter_map(sequence).collect()
}

#[tokio::test]
async fn a_change_becomes_a_plan_and_then_a_revision() {
    let suite = Suite::start().await;
    let conversation = suite.conversation_about_workspace().await;
    let events = suite.ask(&conversation, "change the replicas to 3").await;
    assert_whole(&events, 1);
    assert_eq!(relayed(&events), [1, 2, 3, 4]);
    let (how, end) = ended(&events);
    let (run, answer) = (end.run.unwrap(), end.message.unwrap());
    assert_eq!((how, run.plan_id == answer.plan_id, run.plan_id.is_empty()), ("completed", true, false));
    assert!(answer.text.contains("1. update `values.yaml`: set replicas to 3"), "{}", answer.text);
    assert_eq!(run.usage.unwrap().input_tokens, 10);
    assert_eq!(text_of(&events), answer.text);

    let events = suite.ask(&conversation, "go ahead").await;
    assert_whole(&events, 1);
    assert_eq!(relayed(&events), [5, 6, 7]);
    let (how, end) = ended(&events);
    let answer = end.message.unwrap();
    assert_eq!((how, answer.plan_id.as_str()), ("completed", run.plan_id.as_str()));
    assert!(answer.text.contains("revision 2 (rev-2)"), "{}", answer.text);
    assert_eq!(answer.usage.unwrap().input_tokens, 5, "only what applying used");

    let again = suite.ask(&conversation, "go ahead").await;
    assert!(ended(&again).1.message.unwrap().text.contains("no plan waiting"));
    assert_eq!(*suite.world.approved.borrow(), 1);
}

#[tokio::test]
async fn a_request_that_no_plan_fits_gets_an_answer() {
    let suite = Suite::start().await;
    *suite.world.unusable.lock().unwrap() = true;
    let conversation = suite.conversation_about_workspace().await;
    let (how, end) = ended(&suite.ask(&conversation, "change the moon").await).clone();
    assert_eq!(how, "completed");
    assert!(end.message.unwrap().text.contains("I do not know how"));
}

#[tokio::test]
async fn what_slipway_cannot_do_is_said() {
    let suite = Suite::start().await;
    let conversation = suite.conversation_about_workspace().await;
    for (text, said) in [
        ("render it", "helm template"),
        ("weather today?", "not something I can help"),
        ("hm", "not sure what you would like: fake."),
    ] {
        let answer = ended(&suite.ask(&conversation, text).await).1.message.unwrap();
        assert!(answer.text.contains(said), "{}", answer.text);
    }
    assert!(suite.world.prompts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_plan_in_the_making_survives_the_process() {
    let suite = Suite::start().await;
    suite.world.drafted_at_once.store(2, Ordering::SeqCst);
    let conversation = suite.conversation_about_workspace().await;
    let mut stream = suite.say(&conversation, "change the replicas").await;
    let mut seen = until(&mut stream, |e| matches!(e, Event::Plan(_))).await;
    seen.push(next(&mut stream).await);
    let run_id = seen[0].run_id.clone();
    drop(stream);
    let suite = suite.killed_and_restarted().await;
    let mut watch = suite.watch(&run_id, seen.len() as u64).await.unwrap();
    // Where other processes may live, the lease has to run out first.
    while !matches!(watch.message().await.unwrap().unwrap().event.unwrap().event, Some(Event::Restarted(_))) {}
    suite.world.only_plan().published.send_replace(DRAFT_EVENTS);
    let events = suite.watch_to_end(&run_id, 0).await;
    assert_whole(&events, 1);
    assert_eq!(relayed(&events), [1, 2, 3, 4], "none repeated, none lost");
    assert_eq!(ended(&events).0, "completed");
    assert_eq!((suite.world.plan_count(), suite.world.classified.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_plan_being_applied_survives_the_process() {
    let suite = Suite::start().await;
    let conversation = suite.conversation_about_workspace().await;
    suite.ask(&conversation, "change the replicas").await;
    // Approving shows one event and waits.
    suite.world.applied_at_once.store(DRAFT_EVENTS + 1, Ordering::SeqCst);
    let mut stream = suite.say(&conversation, "go ahead").await;
    let seen = until(&mut stream, |e| matches!(e, Event::Plan(_))).await;
    let run_id = seen[0].run_id.clone();
    drop(stream);
    let suite = suite.killed_and_restarted().await;
    suite.world.only_plan().published.send_replace(ALL_EVENTS);
    let events = suite.watch_to_end(&run_id, 0).await;
    assert_whole(&events, 1);
    assert_eq!(relayed(&events), [5, 6, 7]);
    assert!(ended(&events).1.message.unwrap().text.contains("revision 2"));
    assert_eq!(*suite.world.approved.borrow(), 1, "approved once");
}

#[tokio::test]
async fn an_approval_that_nobody_heard_of_is_followed_after_a_kill() {
    let suite = Suite::start().await;
    let conversation = suite.conversation_about_workspace().await;
    suite.ask(&conversation, "change the replicas").await;
    suite.world.applied_at_once.store(DRAFT_EVENTS, Ordering::SeqCst);
    let mut stream = suite.say(&conversation, "go ahead").await;
    let run_id = next(&mut stream).await.run_id;
    suite.world.approved.subscribe().wait_for(|count| *count == 1).await.unwrap();
    let suite = suite.killed_and_restarted().await;
    suite.world.only_plan().published.send_replace(ALL_EVENTS);
    let events = suite.watch_to_end(&run_id, 0).await;
    assert_whole(&events, 1);
    assert_eq!(relayed(&events), [5, 6, 7]);
    assert!(ended(&events).1.message.unwrap().text.contains("revision 2"));
    assert_eq!(*suite.world.approved.borrow(), 1, "approved once");
}
