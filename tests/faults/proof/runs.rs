//! Messages and their runs: one answer each, the right one, and streams that can be read again from anywhere.

use futures::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use slipway_proto::conversation::{Author, ListMessagesRequest, RunEvent, run_event};

use super::{compare, is_sample, stored};
use crate::faults::cases::{Asked, Kind};
use crate::faults::load::{CONSENT, Person, Told, WISH, message_request, watch_run};
use crate::faults::report::{Row, Wrong};
use crate::faults::trail::{Entry, Trail, is_run_end, run_entries};
use crate::faults::world::World;

pub(super) async fn check(world: &World, told: &Told, person: &mut Person, row: &mut Row) -> Result<(), String> {
    for (turn, trail) in told.runs.iter().enumerate() {
        let all = stored_run(person, trail, 0).await?;
        compare(trail, &all, row);
        of_run(world, told, turn, &all, row);
        if is_sample(told) {
            for after in 1..all.len() {
                let rest = stored_run(person, trail, after as u64).await?;
                row.cursors += 1;
                if rest.iter().map(|e| &e.bytes).ne(all[after..].iter().map(|e| &e.bytes)) {
                    row.wrong(Wrong::Stream, format!("{}: after {after} other bytes come", trail.request_id));
                }
            }
        }
        again(told, turn, person, trail, row).await?;
    }
    if told.conversation.is_empty() { Ok(()) } else { messages(told, person, row).await }
}

async fn stored_run(person: &mut Person, trail: &Trail, after: u64) -> Result<Vec<Entry>, String> {
    let id = trail.id.clone();
    let entries =
        person.call("WatchRun", |client| watch_run(client, id.clone(), after).map(|r| r.map(tonic::Response::new)).boxed());
    stored(entries.await?).await
}

fn of_run(world: &World, told: &Told, turn: usize, all: &[Entry], row: &mut Row) {
    let events: Vec<RunEvent> = all.iter().filter_map(|e| RunEvent::decode(e.bytes.as_slice()).ok()).collect();
    let name = format!("{} turn {turn}", told.case.tag());
    match events.iter().filter(|event| is_run_end(event)).count() {
        1 if events.last().is_some_and(is_run_end) => {}
        ends => row.wrong(Wrong::Stream, format!("{name}: {ends} ends, or events after the end")),
    }
    let Some(last) = events.last() else { return row.wrong(Wrong::Lost, format!("{name}: no events")) };
    match &last.event {
        Some(run_event::Event::Completed(end)) => {
            row.answers += 1;
            let text = end.message.as_ref().map(|message| message.text.clone()).unwrap_or_default();
            if told.case.kind == Kind::Questions && text != told.case.answer(turn) {
                row.wrong(Wrong::Garbled, format!("{name}: the answer is {text:?}"));
            }
            if crate::story::text(&events) != text {
                row.wrong(Wrong::Garbled, format!("{name}: the deltas are not the answer"));
            }
        }
        Some(run_event::Event::Failed(end)) => {
            let failure = end.run.as_ref().and_then(|run| run.failure.clone()).unwrap_or_default();
            row.wrong(Wrong::Failed, format!("{name}: {}: {}", failure.reason, failure.message));
        }
        other => row.wrong(Wrong::Lost, format!("{name}: ended with {other:?}")),
    }
    let ended = super::plans::time_of(last.create_time);
    let late = |call: &crate::faults::cases::Call| call.asked == Asked::Answer(turn) && call.time > ended;
    let late = world.calls.of(&told.case.tag()).into_iter().filter(late).count();
    if told.case.kind == Kind::Questions && late > 0 {
        row.wrong(Wrong::Again, format!("{name}: the model was asked {late} times after the answer was stored"));
    }
}

/// The same request once more must give the first run.
async fn again(told: &Told, turn: usize, person: &mut Person, trail: &Trail, row: &mut Row) -> Result<(), String> {
    let text = match told.case.kind {
        Kind::Questions => told.case.question(turn),
        _ => [WISH, CONSENT][turn].to_owned(),
    };
    let request = message_request(told, turn, &text);
    let opened = person.call("SendMessage", |client| {
        let request = request.clone();
        async move {
            let stream = client.conversation.clone().send_message(request).await?.into_inner();
            Ok(tonic::Response::new(run_entries(stream, |r| r.event)))
        }
        .boxed()
    });
    match opened.await?.next().await {
        Some(Ok(first)) if first.id == trail.id => Ok(()),
        other => {
            row.wrong(Wrong::Twice, format!("{}: the same request again gave {other:?}", trail.request_id));
            Ok(())
        }
    }
}

/// As many questions as were asked, each with one answer.
async fn messages(told: &Told, person: &mut Person, row: &mut Row) -> Result<(), String> {
    let request = ListMessagesRequest { conversation_id: told.conversation.clone(), ..Default::default() };
    let listed = person.call("ListMessages", |client| {
        let request = request.clone();
        async move { client.conversation.clone().list_messages(request).await }.boxed()
    });
    let messages = listed.await?.messages;
    for trail in &told.runs {
        let of_run = |author| messages.iter().filter(|m| m.run_id == trail.id && m.author() == author).count();
        for (author, whose) in [(Author::User, "question"), (Author::Assistant, "answer")] {
            match of_run(author) {
                1 => {}
                0 => row.wrong(Wrong::Lost, format!("{}: no {whose}", trail.request_id)),
                many => row.wrong(Wrong::Twice, format!("{}: {many} times a {whose}", trail.request_id)),
            }
        }
    }
    if messages.len() > told.runs.len() * 2 {
        row.wrong(Wrong::Twice, format!("{}: {} messages of {} runs", told.case.tag(), messages.len(), told.runs.len()));
    }
    Ok(())
}
