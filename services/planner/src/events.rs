//! What happens to a plan, as the event log keeps it: encoded once, with its sequence and time, and replayed unchanged.
//! The planner publishes no events on the bus.

use bytes::Bytes;
use prost::Message as _;
use slipway_proto::planner as proto;
use slipway_proto::planner::plan_event::Event;
use slipway_rpc::{now_micros, timestamp};
use uuid::Uuid;

use crate::convert;
use crate::error::Error;
use crate::model::{Plan, Step};

/// The most characters of an edit's message.
const MAX_EDIT_MESSAGE: usize = 500;

/// One thing that happened to a plan.
#[derive(Clone, Debug)]
pub(crate) enum Happened {
    Drafting,
    Restarted { attempt: u32 },
    FilesSelected(Vec<String>),
    StepProposed(Step),
    Ready,
    Applying,
    StepStarted(Step),
    Edit { step: u32, tool: String, path: String, ok: bool, message: String },
    StepEnded(Step),
    Usage,
    Applied,
    Rejected,
    Failed,
}

/// Encodes what happened; gives the plan the sequences and the time.
pub(crate) fn encode(plan: &mut Plan, happened: &[Happened]) -> Vec<Bytes> {
    // The clock may be set back; a plan's times are not.
    plan.update_time = now_micros().max(plan.update_time);
    let mut events = Vec::with_capacity(happened.len());
    for one in happened {
        plan.last_sequence += 1;
        let event = proto::PlanEvent {
            sequence: plan.last_sequence,
            create_time: Some(timestamp(plan.update_time)),
            ignorable: matches!(one, Happened::FilesSelected(_) | Happened::Usage),
            plan_id: plan.id.to_string(),
            event: Some(one.to_proto(plan)),
        };
        events.push(Bytes::from(event.encode_to_vec()));
    }
    events
}

/// Reads a stored event.
pub(crate) fn decode(payload: &Bytes) -> Result<proto::PlanEvent, Error> {
    proto::PlanEvent::decode(payload.clone()).map_err(|e| Error::Corrupt(format!("a plan's event: {e}")))
}

/// An event that is not stored.
pub(crate) fn passing(plan_id: Uuid, event: Event) -> proto::PlanEvent {
    let create_time = Some(timestamp(now_micros()));
    proto::PlanEvent { sequence: 0, create_time, ignorable: true, plan_id: plan_id.to_string(), event: Some(event) }
}

impl Happened {
    fn to_proto(&self, plan: &Plan) -> Event {
        match self {
            Self::Drafting => Event::Drafting(convert::plan(plan)),
            Self::Restarted { attempt } => Event::Restarted(proto::PlanRestarted { attempt: *attempt }),
            Self::FilesSelected(paths) => Event::FilesSelected(proto::FilesSelected { paths: paths.clone() }),
            Self::StepProposed(step) => Event::StepProposed(convert::step(step)),
            Self::Ready => Event::Ready(convert::plan(plan)),
            Self::Applying => Event::Applying(convert::plan(plan)),
            Self::StepStarted(step) => Event::StepStarted(convert::step(step)),
            Self::Edit { step, tool, path, ok, message } => Event::Edit(proto::EditMade {
                step_number: *step,
                tool: tool.clone(),
                path: path.clone(),
                ok: *ok,
                message: message.chars().take(MAX_EDIT_MESSAGE).collect(),
            }),
            Self::StepEnded(step) => Event::StepEnded(convert::step(step)),
            Self::Usage => Event::Usage(convert::usage(&plan.usage)),
            Self::Applied => Event::Applied(convert::plan(plan)),
            Self::Rejected => Event::Rejected(convert::plan(plan)),
            Self::Failed => Event::Failed(convert::plan(plan)),
        }
    }
}
