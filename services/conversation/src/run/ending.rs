//! The end of a run, the same whoever writes it: its worker, or a cancel that finds no worker.

use slipway_rpc::now_micros;
use slipway_storage::{EventLog, Tx};
use uuid::Uuid;

use super::journal::{self, Timed};
use crate::convert;
use crate::model::{Failure, Message, Run, RunState};
use crate::store::{Records, Settled};

/// All that changes when a run ends.
#[derive(Clone)]
pub(crate) struct Ending {
    /// The run as it was.
    pub(crate) run: Run,
    pub(crate) state: RunState,
    pub(crate) failure: Option<Failure>,
    /// The answer, whole or partial, if there is any.
    pub(crate) message: Option<Message>,
    /// The plan that waits for review from now on; `None`: as before.
    pub(crate) open_plan: Option<Option<Uuid>>,
    /// The sequence of the first of `events`.
    pub(crate) first_sequence: u64,
    /// What is still to be told before the terminal event.
    pub(crate) events: Vec<Timed>,
}

impl Ending {
    /// Has it written with the commit and returns the run as it ends. The commit fails with `StorageError::Stale` when the
    /// run had ended before; `None` when that is known already: then the transaction must be dropped.
    pub(crate) fn store(self, records: &Records, log: &EventLog, tx: &mut Tx) -> Option<Run> {
        let Self { mut run, state, failure, message, open_plan, first_sequence, mut events } = self;
        let now = now_micros();
        run.last_sequence = first_sequence + events.len() as u64;
        run.answer_message_id = message.as_ref().map(|m| m.id);
        if !run.end(state, failure, now) {
            return None;
        }
        records.end_run(tx, &run);
        let settled = Settled { run_id: run.id, answered: message.is_some(), open_plan, now };
        records.settle_conversation(tx, run.project, run.conversation_id, settled);
        if let Some(message) = &message {
            records.create_message(tx, run.project, message);
        }
        events.push((now, convert::ended(run.clone(), message)));
        log.append_later(tx, run.id, first_sequence, journal::encode(run.id, first_sequence, events));
        Some(run)
    }
}
