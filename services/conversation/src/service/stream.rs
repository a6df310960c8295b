//! A run's events on their way to one client: stored ones, then new ones, a heartbeat where there are none, the end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, Stream, StreamExt as _};
use prost::Message as _;
use slipway_proto::conversation::run_event::Event;
use slipway_proto::conversation::{Heartbeat, RunEvent};
use slipway_rpc::{ProjectId, now_micros};
use slipway_storage::StorageError;
use tokio::time::{Instant, Sleep};
use uuid::Uuid;

use super::Conversations;
use crate::convert;
use crate::error::Error;

type Events = BoxStream<'static, Result<(u64, Bytes), StorageError>>;

/// The events of one run. Ends after the terminal one.
pub(crate) struct RunStream {
    service: Conversations,
    project: ProjectId,
    run_id: Uuid,
    events: Events,
    /// What comes before the stored events.
    first: VecDeque<RunEvent>,
    idle: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
    /// Looks whether the run still exists: a deleted one has no terminal event.
    check: Option<BoxFuture<'static, Result<bool, StorageError>>>,
    over: bool,
    cancel_when_dropped: bool,
}

impl RunStream {
    /// Follows a run from after a sequence.
    pub(crate) fn new(service: Conversations, project: ProjectId, run_id: Uuid, after: u64) -> Self {
        let events = service.log.follow(run_id, after);
        Self::of(service, project, run_id, events)
    }

    /// Follows a run that the caller is about to start: to be made before the transaction that starts it is committed.
    pub(crate) fn of_new_run(service: Conversations, project: ProjectId, run_id: Uuid) -> Self {
        let events = service.log.follow_new(run_id);
        Self::of(service, project, run_id, events)
    }

    fn of(service: Conversations, project: ProjectId, run_id: Uuid, events: Events) -> Self {
        let idle = Duration::from_secs(service.settings.heartbeat_seconds);
        let last = Instant::now();
        Self {
            service,
            project,
            run_id,
            events,
            first: VecDeque::new(),
            idle,
            last,
            timer: Box::pin(tokio::time::sleep_until(last + idle)),
            check: None,
            over: false,
            cancel_when_dropped: false,
        }
    }

    /// Sends an event that is not stored before all others.
    pub(crate) fn beginning_with(mut self, event: RunEvent) -> Self {
        self.first.push_back(event);
        self
    }

    /// Nothing stored is left to send.
    pub(crate) fn over(mut self) -> Self {
        self.over = true;
        self
    }

    /// Cancels the run when the client leaves before its end.
    pub(crate) fn cancelled_when_dropped(mut self) -> Self {
        self.cancel_when_dropped = true;
        self
    }

    fn end(&mut self, error: Error) -> Poll<Option<Result<RunEvent, Error>>> {
        self.over = true;
        Poll::Ready(Some(Err(error)))
    }

    fn hand_on(&mut self, bytes: Bytes) -> Poll<Option<Result<RunEvent, Error>>> {
        let event = match RunEvent::decode(bytes) {
            Ok(event) => event,
            Err(error) => return self.end(error.into()),
        };
        if convert::is_terminal(&event) {
            self.over = true;
        }
        self.last = Instant::now();
        Poll::Ready(Some(Ok(event)))
    }

    /// True when the stream was idle for long enough.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> bool {
        // The timer is not moved for every event: only when it fires is it looked at how long ago the last one was.
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let idle = now.duration_since(self.last) >= self.idle;
            if idle {
                self.last = now;
            }
            self.timer.as_mut().reset(self.last + self.idle);
            if idle {
                return true;
            }
        }
        false
    }

    fn start_check(&mut self) {
        let (records, project, run_id) = (self.service.records.clone(), self.project, self.run_id);
        self.check = Some(async move { Ok(records.find_run(project, run_id).await?.is_some()) }.boxed());
    }
}

impl Stream for RunStream {
    type Item = Result<RunEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(event) = this.first.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        if this.over {
            return Poll::Ready(None);
        }
        match this.events.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok((_, bytes)))) => return this.hand_on(bytes),
            Poll::Ready(Some(Err(error))) => return this.end(error.into()),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if let Some(check) = &mut this.check
            && let Poll::Ready(exists) = check.poll_unpin(cx)
        {
            this.check = None;
            if matches!(exists, Ok(false)) {
                let gone = Error::RunNotFound(this.run_id);
                return this.end(gone);
            }
        }
        if this.poll_idle(cx) {
            this.start_check();
            let heartbeat = Event::Heartbeat(Heartbeat {});
            return Poll::Ready(Some(Ok(convert::event(this.run_id.to_string(), 0, now_micros(), heartbeat))));
        }
        Poll::Pending
    }
}

impl Drop for RunStream {
    fn drop(&mut self) {
        // When the server stops it is not the client who leaves: the run goes on elsewhere, or here later.
        if self.over || !self.cancel_when_dropped || self.service.shutdown.is_cancelled() {
            return;
        }
        let (service, project, run_id) = (self.service.clone(), self.project, self.run_id);
        self.service.calls.spawn(async move {
            if let Err(error) = service.cancel_run(project, run_id).await {
                tracing::warn!(%run_id, error = &error as &dyn std::error::Error, "a run cannot be cancelled after its client");
            }
        });
    }
}
