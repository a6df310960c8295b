//! Following a plan's events: from where to where, with heartbeats, until the phase ends.

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use slipway_proto::planner as proto;
use slipway_proto::planner::plan_event::Event;
use uuid::Uuid;

use crate::error::Error;
use crate::events;
use crate::service::Planner;

/// What to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Follow {
    pub(crate) plan_id: Uuid,
    /// Only events after this one.
    pub(crate) after: u64,
    pub(crate) until: Until,
}

/// Where a stream ends, that event included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// `ready` or `failed`.
    DraftEnds,
    /// `applied` or `failed`.
    ApplyEnds,
    /// `applied`, `rejected` or `failed`.
    Final,
    /// There is nothing to follow.
    Over,
}

impl Until {
    fn ends_with(self, event: &proto::PlanEvent) -> bool {
        match &event.event {
            Some(Event::Failed(_)) => true,
            Some(Event::Ready(_)) => self == Until::DraftEnds,
            Some(Event::Applied(_)) => matches!(self, Until::ApplyEnds | Until::Final),
            Some(Event::Rejected(_)) => self == Until::Final,
            _ => false,
        }
    }
}

impl Planner {
    /// The events, stored ones unchanged. Memory does not grow with a slow reader: the log is read again.
    pub(crate) fn follow(&self, follow: Follow) -> BoxStream<'static, Result<proto::PlanEvent, Error>> {
        let Follow { plan_id, after, until } = follow;
        if until == Until::Over {
            return stream::empty().boxed();
        }
        let log = Some(self.store.log().follow(plan_id, after));
        let heartbeat = self.settings.heartbeat();
        stream::unfold(log, move |log| async move {
            let mut log = log?;
            let event = match tokio::time::timeout(heartbeat, log.next()).await {
                Err(_) => Ok(events::passing(plan_id, Event::Heartbeat(proto::Heartbeat {}))),
                Ok(Some(Ok((_, payload)))) => events::decode(&payload),
                Ok(Some(Err(error))) => Err(error.into()),
                Ok(None) => return None,
            };
            let over = event.as_ref().map_or(true, |event| until.ends_with(event));
            Some((event, (!over).then_some(log)))
        })
        .boxed()
    }
}
