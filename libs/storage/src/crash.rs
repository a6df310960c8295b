//! Places at which a process can be made to die, for tests of what a kill leaves behind.
//!
//! `SLIPWAY_CRASH_AT=planner.approved` in the environment has the process abort when it first comes to that place, and
//! `planner.approved:3` when it comes there for the third time. Without it a place costs a load and a branch.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The environment variable that names a place.
pub const VARIABLE: &str = "SLIPWAY_CRASH_AT";

/// Every place: its label, and what has just happened there.
pub const POINTS: &[(&str, &str)] = &[
    ("job.claimed", "jobs are leased to this process, and none of them is begun"),
    ("job.renewed", "the leases of this process are extended"),
    ("job.completed", "a job is done and gone, and its handler has returned"),
    ("outbox.published", "the bus has an event that is not marked as sent"),
    ("conversation.accepted", "a message is stored with its run, and nobody has been told"),
    ("conversation.intent_stored", "a run knows what is asked for"),
    ("conversation.text_stored", "part of an answer is stored"),
    ("conversation.plan_linked", "a run knows the plan that it makes or applies"),
    ("conversation.ending", "an answer is whole, and not stored"),
    ("conversation.ended", "an answer is stored with the end of its run"),
    ("planner.accepted", "a plan is stored with its job, and nobody has been told"),
    ("planner.drafted", "a plan is ready for review"),
    ("planner.approved", "an approval is stored with its job, and nobody has been told"),
    ("planner.step_finished", "what a step made is stored"),
    ("planner.committed", "the file store has the revision, and the plan does not know"),
    ("planner.applied", "a plan knows its revision"),
    ("file_store.blobs_written", "contents are stored, and no revision refers to them"),
    ("file_store.landing", "a revision is about to be committed"),
    ("file_store.landed", "a revision is the head, and nobody has been told"),
    ("embedding.points_written", "the engine has what no search answers from yet"),
    ("embedding.moved", "searches answer from a new build, and what it replaced is still there"),
    ("inference.reserved", "calls have room in their budgets, and no provider has been called"),
    ("inference.charged", "rows of calls are stored, and their callers do not know"),
    ("embedding.vectors_written", "the engine has vectors that are not counted"),
];

/// Dies here when the environment says so.
pub fn point(label: &'static str) {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| Plan::read(&std::env::var(VARIABLE).ok()?));
    if plan.as_ref().is_some_and(|plan| plan.is_due(label)) {
        tracing::error!(label, "the process dies here, as {VARIABLE} says");
        std::process::abort();
    }
}

struct Plan {
    label: String,
    left: AtomicU32,
}

impl Plan {
    fn read(text: &str) -> Option<Self> {
        let (label, times) = text.split_once(':').unwrap_or((text, "1"));
        let known = POINTS.iter().any(|(known, _)| *known == label);
        let times = times.parse().ok().filter(|times| *times > 0 && known)?;
        Some(Self { label: label.to_owned(), left: AtomicU32::new(times) })
    }

    fn is_due(&self, label: &str) -> bool {
        self.label == label && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) == Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_time_is_the_last() {
        let plan = Plan::read("planner.approved:2").expect("a plan");
        let due = ["planner.approved", "planner.applied", "planner.approved", "planner.approved"].map(|label| plan.is_due(label));
        assert_eq!(due, [false, false, true, false]);
        for bad in ["", "nowhere", "planner.approved:0", "planner.approved:x"] {
            assert!(Plan::read(bad).is_none(), "{bad:?}");
        }
    }
}
