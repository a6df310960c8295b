//! Two replicas on one database: what one of them works on, the other one shows and cancels.

use slipway_proto::conversation as pb;

use super::fakes::Say;
use super::suite::{Suite, assert_whole, ended, is_text, rest, text_of, until, watched};
use crate::Settings;

/// So rarely that whatever a replica knows it was told.
fn told() -> Settings {
    Settings { cancel_poll_ms: 60_000, ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_the_replica_that_works_on_the_run() {
    let Some((here, there, _nats)) = Suite::replicas(told()).await else { return };
    for text in ["Half", "Some"] {
        let conversation = here.conversation().await;
        here.world.script([Say::Text(text), Say::Gate]);
        let mut stream = here.say(&conversation, "Go.").await;
        let run_id = until(&mut stream, is_text).await[0].run_id.clone();
        // The call returns once the run has ended, or after five seconds with a run that goes on.
        let run = there.cancel(&run_id).await;
        assert_eq!(run.state(), pb::RunState::Cancelled);
        here.world.open.subscribe().wait_for(|open| *open == 0).await.unwrap();
        let (how, end) = ended(&rest(&mut stream).await).clone();
        assert_eq!((how, end.message.unwrap().text.as_str()), ("cancelled", text));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_replica_shows_a_run_from_any_cursor() {
    let Some((here, there, _nats)) = Suite::replicas(told()).await else { return };
    let conversation = here.conversation().await;
    here.world.script([Say::Text("One, "), Say::Gate, Say::Text("two, "), Say::Gate, Say::Text("three.")]);
    let mut stream = here.say(&conversation, "Count.").await;
    let mut events = until(&mut stream, is_text).await;
    let run_id = events[0].run_id.clone();
    let mut early = there.watch(&run_id, 0).await.unwrap();
    here.world.gate.add_permits(2);
    events.extend(rest(&mut stream).await);
    assert_whole(&events, 1);
    assert_eq!((ended(&events).0, text_of(&events).as_str()), ("completed", "One, two, three."));
    assert_eq!(watched(&mut early).await, events, "as it happened");
    for cursor in 0..events.len() {
        assert_eq!(there.watch_to_end(&run_id, cursor as u64).await, events[cursor..], "after {cursor}");
    }
}
