//! What a client has seen of one run or one part of a plan's life, and when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use prost::Message as _;
use slipway_proto::conversation::{RunEvent, run_event};
use slipway_proto::planner::{PlanEvent, plan_event};
use tonic::Status;

/// One event, of whatever kind of stream.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    /// The run's or the plan's id.
    pub(super) id: String,
    pub(super) bytes: Vec<u8>,
    /// The client has what it asked for.
    pub(super) end: bool,
}

/// What a stream of events gives.
pub(super) type Entries = BoxStream<'static, Result<Entry, Status>>;

/// What a plan's stream is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// A plan that can be reviewed.
    Drafted,
    /// A plan that is done with.
    Applied,
}

pub(super) fn run_entries<R>(stream: tonic::Streaming<R>, event: fn(R) -> Option<RunEvent>) -> Entries
where
    tonic::Streaming<R>: Stream<Item = Result<R, Status>> + Send + 'static,
    R: 'static,
{
    let entry = move |response| {
        let event: RunEvent = event(response).unwrap_or_default();
        let end = is_run_end(&event);
        Entry { sequence: event.sequence, id: event.run_id.clone(), bytes: event.encode_to_vec(), end }
    };
    stream.map(move |next| next.map(entry)).boxed()
}

pub(super) fn plan_entries<R>(stream: tonic::Streaming<R>, until: Until, event: fn(R) -> Option<PlanEvent>) -> Entries
where
    tonic::Streaming<R>: Stream<Item = Result<R, Status>> + Send + 'static,
    R: 'static,
{
    let entry = move |response| {
        let event: PlanEvent = event(response).unwrap_or_default();
        let end = is_plan_end(&event, until);
        Entry { sequence: event.sequence, id: event.plan_id.clone(), bytes: event.encode_to_vec(), end }
    };
    stream.map(move |next| next.map(entry)).boxed()
}

/// Whether this is a run's terminal event.
pub(super) fn is_run_end(event: &RunEvent) -> bool {
    use run_event::Event::{Cancelled, Completed, Failed};
    matches!(event.event, Some(Completed(_) | Failed(_) | Cancelled(_)))
}

/// Whether there is nothing more to wait for.
pub(super) fn is_plan_end(event: &PlanEvent, until: Until) -> bool {
    use plan_event::Event::{Applied, Failed, Ready, Rejected};
    match &event.event {
        Some(Ready(_)) => until == Until::Drafted,
        Some(Applied(_) | Rejected(_) | Failed(_)) => true,
        _ => false,
    }
}

/// Everything seen of one stream, over all its connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    pub(super) id: String,
    /// The request that began it, to be sent again at the end.
    pub(super) request_id: String,
    pub(super) events: BTreeMap<u64, Vec<u8>>,
    pub(super) ended: bool,
    /// Events that came twice and were not the same.
    pub(super) differing: usize,
    /// When new events came.
    arrivals: Vec<Instant>,
}

impl Trail {
    /// Nothing seen yet of what that request begins.
    pub(super) fn new(request_id: &str) -> Self {
        Self { request_id: request_id.to_owned(), ..Self::default() }
    }

    /// Notes an event; snapshots and heartbeats are not stored and leave no trace.
    pub(super) fn add(&mut self, entry: Entry) {
        if entry.sequence == 0 {
            return;
        }
        self.id = entry.id;
        match self.events.get(&entry.sequence) {
            Some(known) if *known != entry.bytes => self.differing += 1,
            Some(_) => {}
            None => {
                self.arrivals.push(Instant::now());
                self.events.insert(entry.sequence, entry.bytes);
            }
        }
        self.ended |= entry.end;
    }

    pub(super) fn last(&self) -> u64 {
        self.events.last_key_value().map_or(0, |(sequence, _)| *sequence)
    }

    /// From a moment at which it was at work to its next event.
    pub(super) fn recovery(&self, struck: Instant) -> Option<Duration> {
        let next = self.arrivals.iter().find(|&&at| at > struck)?;
        let begun = self.arrivals.first().is_some_and(|&at| at <= struck);
        begun.then(|| *next - struck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_must_be_the_same() {
        let entry = |sequence, bytes: &str| Entry { sequence, id: "x".into(), bytes: bytes.into(), end: sequence == 2 };
        let mut trail = Trail::default();
        for entry in [entry(1, "a"), entry(0, "heartbeat"), entry(1, "a")] {
            trail.add(entry);
        }
        assert_eq!((trail.last(), trail.differing, trail.ended), (1, 0, false));
        trail.add(entry(1, "b"));
        trail.add(entry(2, "c"));
        assert_eq!((trail.last(), trail.differing, trail.ended), (2, 1, true));
    }
}
