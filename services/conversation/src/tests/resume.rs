//! Watching again, from anywhere, and going on after the process died.

use prost::Message as _;
use slipway_proto::conversation::RunEvent;
use slipway_proto::conversation::run_event::Event;
use slipway_rpc::Reason;

use super::fakes::Say;
use super::suite::{Suite, assert_whole, ended, is_text, reason, rest, text_of, until, watched};

fn bytes(events: &[RunEvent]) -> Vec<Vec<u8>> {
    events.iter().map(|e| e.encode_to_vec()).collect()
}

#[tokio::test]
async fn a_watch_from_every_cursor_is_the_same_bytes() {
    let suite = Suite::start().await;
    let conversation = suite.conversation_about_workspace().await;
    let parts = [Say::Text("a"), Say::Gate, Say::Text("b"), Say::Reasoning("c"), Say::Gate, Say::Text("d [2]")];
    suite.world.script(parts);
    let mut stream = suite.say(&conversation, "Tell me.").await;
    let mut seen = until(&mut stream, is_text).await;
    let run_id = seen[0].run_id.clone();
    // While it is going: one watcher from each cursor there is.
    let mut early = Vec::new();
    for after in 0..=seen.len() as u64 {
        early.push((after, suite.watch(&run_id, after).await.unwrap()));
    }
    suite.world.gate.add_permits(2);
    seen.extend(rest(&mut stream).await);
    assert_whole(&seen, 1);
    for (after, mut watch) in early {
        assert_eq!(bytes(&watched(&mut watch).await), bytes(&seen[after as usize..]), "live after {after}");
    }
    // And afterwards, from all of them.
    for after in 0..=seen.len() as u64 {
        assert_eq!(bytes(&suite.watch_to_end(&run_id, after).await), bytes(&seen[after as usize..]), "after {after}");
    }
    let beyond = suite.watch(&run_id, seen.len() as u64 + 1).await.unwrap_err();
    assert_eq!(reason(beyond), Reason::CursorOutOfRange);
}

#[tokio::test]
async fn a_run_survives_its_process() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    suite.world.script([Say::Text("The first "), Say::Text("attempt"), Say::Gate]);
    let mut stream = suite.say(&conversation, "Tell me.").await;
    let before = until(&mut stream, is_text).await;
    let run_id = before[0].run_id.clone();
    drop(stream);

    let suite = suite.killed_and_restarted().await;
    let events = suite.watch_to_end(&run_id, 0).await;
    assert_whole(&events, 1);
    assert_eq!(bytes(&events[..before.len()]), bytes(&before), "what was seen stays");
    assert!(events.iter().any(|e| matches!(&e.event, Some(Event::Restarted(r)) if r.attempt == 2)));
    assert_eq!((ended(&events).0, text_of(&events).as_str()), ("completed", "All is well."));
    let messages = suite.messages(&conversation).await;
    assert_eq!(messages.iter().map(|m| m.text.as_str()).collect::<Vec<_>>(), ["Tell me.", "All is well."], "one answer");
    assert_eq!(suite.run(&run_id).await.attempt, 2);
    for after in 0..=events.len() {
        assert_eq!(bytes(&suite.watch_to_end(&run_id, after as u64).await), bytes(&events[after..]));
    }
}

#[tokio::test]
async fn a_run_goes_on_after_an_orderly_stop() {
    let suite = Suite::start().await;
    let conversation = suite.conversation().await;
    suite.world.script([Say::Text("The first "), Say::Gate]);
    let mut stream = suite.say(&conversation, "Tell me.").await;
    let run_id = until(&mut stream, is_text).await[0].run_id.clone();
    drop(stream);
    let suite = suite.stopped_and_restarted().await;
    let events = suite.watch_to_end(&run_id, 0).await;
    assert_whole(&events, 1);
    assert_eq!((ended(&events).0, text_of(&events).as_str()), ("completed", "All is well."));
    assert_eq!(suite.messages(&conversation).await.len(), 2);
}

#[tokio::test]
async fn a_process_that_dies_again_and_again_does_not_hold_a_conversation_for_ever() {
    let mut suite = Suite::start_with(crate::Settings { max_attempts: 2, ..Default::default() }).await;
    let conversation = suite.conversation().await;
    let mut run_id = String::new();
    let mut cursor = 0;
    for attempt in 1..=2 {
        suite.world.script([Say::Text("Again "), Say::Gate]);
        if attempt == 1 {
            let mut stream = suite.say(&conversation, "Tell me.").await;
            let seen = until(&mut stream, is_text).await;
            (run_id, cursor) = (seen[0].run_id.clone(), seen.len() as u64);
        } else {
            let mut watch = suite.watch(&run_id, cursor).await.unwrap();
            while !watch.message().await.unwrap().unwrap().event.unwrap().event.as_ref().is_some_and(is_text) {}
        }
        suite = suite.killed_and_restarted().await;
    }
    let events = suite.watch_to_end(&run_id, 0).await;
    assert_whole(&events, 1);
    let (how, end) = ended(&events);
    assert_eq!((how, end.message.unwrap().text.as_str()), ("failed", "Again "));
    assert_eq!(ended(&suite.ask(&conversation, "Still there?").await).0, "completed");
}
