//! What no API shows: jobs that are held, events that are not sent, rows that belong to nothing. Read, never written.

use std::time::{Duration, Instant};

use crate::faults::report::{Row, Wrong};
use crate::faults::world::World;

/// How long the last jobs and events may take once every client has its answer.
const SETTLES: Duration = Duration::from_secs(45);
const SCHEMAS: [&str; 5] = ["conversation", "planner", "file_store", "embedding", "inference"];
/// What must be empty at once: rows that a transaction should have taken along.
const ORPHANS: [(&str, &str); 5] = [
    (
        "messages without a run",
        "SELECT m.id FROM conversation.message m LEFT JOIN conversation.run r ON r.id = m.run_id WHERE r.id IS NULL",
    ),
    (
        "conversations that believe that a run is under way",
        "SELECT id FROM conversation.conversation WHERE active_run_id IS NOT NULL",
    ),
    (
        "files of no plan",
        "SELECT f.plan_id FROM planner.plan_file f LEFT JOIN planner.plan p ON p.id = f.plan_id WHERE p.id IS NULL",
    ),
    (
        "plans that are neither ready nor done with",
        "SELECT id || ' ' || state FROM planner.plan WHERE state IN ('drafting', 'applying')",
    ),
    ("runs without an end", "SELECT id FROM conversation.run WHERE answer_message_id IS NULL AND failure IS NULL"),
];

/// Looks at the tables of all services, once they have settled.
pub(in crate::faults) async fn of_tables(world: &World, row: &mut Row) {
    let deadline = Instant::now() + SETTLES;
    loop {
        let mut found = Row::new(String::new());
        if let Err(error) = look(world, &mut found).await {
            found.finding(format!("the tables cannot be read: {error:#}"));
        }
        if found.is_clean() || Instant::now() > deadline {
            return row.merge(found);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn look(world: &World, row: &mut Row) -> anyhow::Result<()> {
    for schema in SCHEMAS {
        let held = format!("SELECT kind, job_key, state, attempt, coalesce(last_error, '') FROM {schema}.job");
        for job in world.query(&held).await? {
            row.wrong(Wrong::Lease, format!("{schema} has the job {job}"));
        }
        let unsent = format!("SELECT subject, entity_id FROM {schema}.outbox WHERE sent_time IS NULL");
        for event in world.query(&unsent).await? {
            row.wrong(Wrong::Unsent, format!("{schema} has the event {event}"));
        }
    }
    for (what, query) in ORPHANS {
        let rows = world.query(query).await?;
        if let Some(first) = rows.first() {
            row.wrong(Wrong::Orphan, format!("{} {what}, such as {first}", rows.len()));
        }
    }
    Ok(())
}
