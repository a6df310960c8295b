//! The proof from outside: what the API, the model's record and the tables say once everything has come to its end.

mod plans;
mod runs;
mod tables;

use std::sync::Arc;

use futures::StreamExt as _;
use tokio::sync::watch;

use super::load::{Person, Told};
use super::report::{Row, Wrong};
use super::trail::{Entries, Entry, Trail};
use super::world::World;

pub(super) use tables::of_tables;

/// How many cases are looked into at once.
const AT_ONCE: usize = 8;
/// Of every so many cases, one of each kind has all its cursors tried.
const SAMPLE: usize = 9;

/// Looks into every case of a round.
pub(super) async fn of_cases(world: &World, told: &[Told], row: &mut Row) {
    let checks = told.iter().map(|told| of_case(world, told));
    let rows: Vec<Row> = futures::stream::iter(checks).buffer_unordered(AT_ONCE).collect().await;
    rows.into_iter().for_each(|found| row.merge(found));
}

async fn of_case(world: &World, told: &Told) -> Row {
    let mut row = Row::new(String::new());
    if let Some(why) = &told.gave_up {
        row.wrong(Wrong::Lost, why.clone());
    }
    for what in &told.untyped {
        row.wrong(Wrong::Untyped, what.clone());
    }
    let mut person = Person::new(world.clients(told.case.number), Arc::new(watch::Sender::new(0)));
    let tag = told.case.tag();
    for call in world.calls.of(&tag) {
        if call.orphan {
            row.wrong(Wrong::Orphan, format!("{tag}: the model was shown a result without its call: {:?}", call.asked));
        }
    }
    let shown = async {
        runs::check(world, told, &mut person, &mut row).await?;
        plans::check(world, told, &mut person, &mut row).await
    };
    if let Err(why) = shown.await {
        row.wrong(Wrong::Lost, format!("{tag}: {why}"));
    }
    row
}

/// Whether the cursors of this case are all tried.
fn is_sample(told: &Told) -> bool {
    told.case.number % SAMPLE < 3
}

/// The stored events of a stream, read to its end.
async fn stored(mut entries: Entries) -> Result<Vec<Entry>, String> {
    let mut all = Vec::new();
    while let Some(entry) = entries.next().await {
        let entry = entry.map_err(|status| format!("a stream of what has ended breaks off: {status:?}"))?;
        if entry.sequence > 0 {
            all.push(entry);
        }
    }
    Ok(all)
}

/// What is stored against what a client saw while it happened.
fn compare(trail: &Trail, stored: &[Entry], row: &mut Row) {
    let name = &trail.request_id;
    let gap = stored.iter().zip(1..).find(|(entry, expected)| entry.sequence != *expected);
    if let Some((entry, expected)) = gap {
        row.wrong(Wrong::Stream, format!("{name}: event {} where {expected} should be", entry.sequence));
    }
    if trail.differing > 0 {
        row.wrong(Wrong::Stream, format!("{name}: {} events were not the same the second time", trail.differing));
    }
    for (sequence, seen) in &trail.events {
        match stored.iter().find(|entry| entry.sequence == *sequence) {
            Some(entry) if entry.bytes == *seen => {}
            Some(_) => row.wrong(Wrong::Stream, format!("{name}: event {sequence} is not what was seen")),
            None => row.wrong(Wrong::Stream, format!("{name}: event {sequence} was seen and is gone")),
        }
    }
}
