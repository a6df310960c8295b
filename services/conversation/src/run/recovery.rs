//! What the log of a run tells the worker that takes it over.

use prost::Message as _;
use slipway_proto::conversation::RunEvent;
use slipway_proto::conversation::run_event::Event;
use slipway_proto::planner::PlanEvent;
use slipway_storage::EventLog;
use uuid::Uuid;

use crate::convert;
use crate::error::Error;
use crate::model::Citation;

/// Events read at a time.
const PAGE: usize = 1_000;

/// Where the events end, and what they amount to.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) last_sequence: u64,
    /// The text since the last restart: the answer so far.
    pub(crate) text: String,
    /// What that text may cite.
    pub(crate) offered: Vec<Citation>,
    /// The plan's event that was relayed last: the next ones follow its sequence.
    pub(crate) plan_event: Option<PlanEvent>,
}

/// Reads a run's log from its beginning.
pub(crate) async fn recover(log: &EventLog, run_id: Uuid) -> Result<Recovered, Error> {
    let mut recovered = Recovered::default();
    loop {
        let events = log.read(run_id, recovered.last_sequence, PAGE).await?;
        if events.is_empty() {
            return Ok(recovered);
        }
        for (sequence, bytes) in events {
            recovered.add(sequence, RunEvent::decode(bytes)?);
        }
    }
}

impl Recovered {
    fn add(&mut self, sequence: u64, event: RunEvent) {
        self.last_sequence = sequence;
        match event.event {
            Some(Event::Restarted(_)) => {
                self.text.clear();
                self.offered.clear();
            }
            Some(Event::Text(delta)) => self.text.push_str(&delta.text),
            Some(Event::Context(context)) => {
                self.offered = context.citations.into_iter().map(convert::citation_of).collect();
            }
            Some(Event::Plan(event)) => self.plan_event = Some(event),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use slipway_proto::conversation::{RunRestarted, TextDelta};

    use super::*;

    #[test]
    fn a_restart_voids_text_but_not_the_plan() {
        let mut recovered = Recovered::default();
        let text = |t: &str| Event::Text(TextDelta { text: t.into() });
        let events = [
            Event::Plan(PlanEvent { sequence: 4, ..Default::default() }),
            text("old"),
            Event::Restarted(RunRestarted { attempt: 2 }),
            text("ne"),
            text("w"),
        ];
        for (event, sequence) in events.into_iter().zip(2..) {
            recovered.add(sequence, convert::event(String::new(), sequence, 0, event));
        }
        assert_eq!((recovered.text.as_str(), recovered.last_sequence), ("new", 6));
        assert_eq!(recovered.plan_event.map(|e| e.sequence), Some(4));
    }
}
