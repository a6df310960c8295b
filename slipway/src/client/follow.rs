//! Streams that outlive a connection: when it breaks, the watch goes on from the last event that came.

use std::time::Duration;

use slipway_proto::conversation::{RunEvent, SendMessageResponse, WatchRunRequest, WatchRunResponse, run_event};
use slipway_proto::planner::{
    ApprovePlanResponse, CreatePlanResponse, PlanEvent, RevisePlanResponse, WatchPlanRequest, WatchPlanResponse, plan_event,
};
use tonic::{Code, Status, Streaming};

use super::Api;

/// How often a broken stream is taken up again before the error is shown: about half a minute.
const ATTEMPTS: u32 = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// What is followed: a run's events or a plan's.
pub(crate) trait Kind {
    /// One event.
    type Event;
    /// The response that carries it when it is watched.
    type Watched: Carries<Self::Event>;

    /// The id of what the event belongs to, and its sequence.
    fn place(event: &Self::Event) -> (&str, u64);
    /// True for the last event.
    fn is_last(event: &Self::Event) -> bool;
    /// Watches from after `sequence`.
    async fn watch(api: &Api, id: String, sequence: u64) -> Result<Streaming<Self::Watched>, Status>;
}

/// Runs.
pub(crate) struct Runs;

impl Kind for Runs {
    type Event = RunEvent;
    type Watched = WatchRunResponse;

    fn place(event: &RunEvent) -> (&str, u64) {
        (&event.run_id, event.sequence)
    }

    fn is_last(event: &RunEvent) -> bool {
        use run_event::Event as E;
        matches!(event.event, Some(E::Completed(_) | E::Failed(_) | E::Cancelled(_)))
    }

    async fn watch(api: &Api, run_id: String, after_sequence: u64) -> Result<Streaming<WatchRunResponse>, Status> {
        Ok(api.conversations.clone().watch_run(WatchRunRequest { run_id, after_sequence }).await?.into_inner())
    }
}

/// Plans.
pub(crate) struct Plans;

impl Kind for Plans {
    type Event = PlanEvent;
    type Watched = WatchPlanResponse;

    fn place(event: &PlanEvent) -> (&str, u64) {
        (&event.plan_id, event.sequence)
    }

    fn is_last(event: &PlanEvent) -> bool {
        use plan_event::Event as E;
        matches!(event.event, Some(E::Ready(_) | E::Applied(_) | E::Rejected(_) | E::Failed(_)))
    }

    async fn watch(api: &Api, plan_id: String, after_sequence: u64) -> Result<Streaming<WatchPlanResponse>, Status> {
        Ok(api.plans.clone().watch_plan(WatchPlanRequest { plan_id, after_sequence }).await?.into_inner())
    }
}

/// A stream of events as it was opened, and the watch that follows when it breaks.
pub(crate) struct Follow<'a, K: Kind, R> {
    api: &'a Api,
    first: Option<Streaming<R>>,
    again: Option<Streaming<K::Watched>>,
    id: String,
    sequence: u64,
    /// True once the last event has come; a stream that ends or fails before has broken.
    over: bool,
    /// A watch by hand ends only when the server ends it.
    until_closed: bool,
}

impl<'a, K: Kind, R: Carries<K::Event>> Follow<'a, K, R> {
    /// Follows until the event that answers the call.
    pub(crate) fn new(api: &'a Api, stream: Streaming<R>) -> Self {
        Self { api, first: Some(stream), again: None, id: String::new(), sequence: 0, over: false, until_closed: false }
    }

    /// Follows until the server ends the stream.
    pub(crate) fn until_closed(mut self) -> Self {
        self.until_closed = true;
        self
    }

    /// The next event, or `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<K::Event>, Status> {
        // A watch that took over from a broken stream may go on past the event that answers the call.
        if self.over && !self.until_closed {
            return Ok(None);
        }
        let mut attempt = 0;
        loop {
            let event = match self.read().await {
                Ok(Some(event)) => event,
                Ok(None) if self.until_closed || self.id.is_empty() => return Ok(None),
                Ok(None) => {
                    self.resume(&mut attempt, Status::unavailable("the stream ended early")).await?;
                    continue;
                }
                Err(status) if is_broken(&status) && !self.id.is_empty() => {
                    self.resume(&mut attempt, status).await?;
                    continue;
                }
                Err(status) => return Err(status),
            };
            let (id, sequence) = K::place(&event);
            self.id = id.to_owned();
            // A watch starts with a snapshot, which is not stored; what was taken up again needs none.
            if sequence == 0 && attempt > 0 {
                continue;
            }
            self.sequence = self.sequence.max(sequence);
            self.over = K::is_last(&event);
            return Ok(Some(event));
        }
    }

    async fn read(&mut self) -> Result<Option<K::Event>, Status> {
        if let Some(stream) = &mut self.again {
            return Ok(stream.message().await?.and_then(Carries::event));
        }
        match &mut self.first {
            Some(stream) => Ok(stream.message().await?.and_then(Carries::event)),
            None => Ok(None),
        }
    }

    async fn resume(&mut self, attempt: &mut u32, mut cause: Status) -> Result<(), Status> {
        self.first = None;
        while *attempt < ATTEMPTS {
            tokio::time::sleep((FIRST_PAUSE * 2u32.pow(*attempt)).min(LONGEST_PAUSE)).await;
            *attempt += 1;
            match K::watch(self.api, self.id.clone(), self.sequence).await {
                Ok(stream) => {
                    self.again = Some(stream);
                    return Ok(());
                }
                Err(status) if is_broken(&status) => cause = status,
                Err(status) => return Err(status),
            }
        }
        Err(cause)
    }
}

/// A broken connection, or a server that is on its way down or up.
fn is_broken(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled) || status.message().contains("h2 protocol error")
}

/// A response that carries an event.
pub(crate) trait Carries<E> {
    /// The event.
    fn event(self) -> Option<E>;
}

macro_rules! carries {
    ($($response:ty => $event:ty;)*) => {
        $(impl Carries<$event> for $response {
            fn event(self) -> Option<$event> {
                self.event
            }
        })*
    };
}

carries! {
    SendMessageResponse => RunEvent;
    WatchRunResponse => RunEvent;
    CreatePlanResponse => PlanEvent;
    RevisePlanResponse => PlanEvent;
    ApprovePlanResponse => PlanEvent;
    WatchPlanResponse => PlanEvent;
}
