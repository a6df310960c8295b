//! The meter of one call: it watches the answer go by, and leaves the call's row when the answer ends in whatever way.
//!
//! It sits right above the router and below whatever may be shared: a call with many readers is measured once, and goes on
//! being measured for as long as any of them reads, whoever began it. A reader of what another one pays for has a meter of
//! its own, which is free.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures::stream::BoxStream;
use futures::{FutureExt as _, Stream, StreamExt as _};
use slipway_rpc::{Fault, Reason};
use slipway_storage::StorageError;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Money;
use super::estimate::Size;
use super::ledger::{Place, Row};
use crate::error::{Broken, Kind};
use crate::model::{Call, Charge, Delta, Outcome, Tried, Usage};
use crate::provider::Answer;
use crate::route::{self, Attempt, Journal};
use crate::store::{Ended, Reservation};

/// About so many bytes of an answer are a token, where nobody counts better.
const BYTES_PER_TOKEN: u64 = 4;
/// The price list of answers that need no call.
const CACHE: &str = "cache";

/// The meter. Dropped without an end, the call was cancelled.
pub(crate) struct Meter {
    money: Money,
    /// `None` once the row has been left.
    open: Option<Opened>,
    journal: Journal,
    /// The provider has accepted the call.
    started: bool,
    /// What the provider has counted so far, where no journal says.
    counted: Option<Usage>,
    /// What has come from the model that answers now.
    bytes: u64,
    /// What had come from those before it.
    before: Vec<Usage>,
    /// The answer was kept, or is another caller's.
    free: bool,
}

/// A call that has begun.
pub(super) struct Opened {
    /// Its row, as far as it is known.
    pub(super) call: Call,
    pub(super) reservation: Option<Reservation>,
    pub(super) place: Place,
    /// The request's tokens as they were found.
    pub(super) size: Size,
    /// A count that nobody waits for.
    pub(super) sample: Option<JoinHandle<u64>>,
    /// What the request is thought to have.
    pub(super) input: u64,
    pub(super) begun: Instant,
    pub(super) deadline: Option<Instant>,
}

impl Meter {
    pub(super) fn new(money: Money, opened: Opened) -> Self {
        let (open, journal, before) = (Some(opened), Journal::default(), Vec::new());
        Self { money, open, journal, started: false, counted: None, bytes: 0, before, free: false }
    }

    /// The answer costs nothing: it was kept, or another caller pays for it.
    #[must_use]
    pub(crate) fn free(mut self) -> Self {
        self.free = true;
        self
    }

    /// The answer with its cost, whose end is passed on once the call's row is safe. `journal`: what is tried for it.
    pub(crate) fn measure<E: Into<Broken> + 'static>(
        mut self,
        deltas: BoxStream<'static, Result<Delta, E>>,
        journal: Journal,
    ) -> Answer {
        self.journal = journal;
        Measured { meter: self, deltas, ending: None, last: VecDeque::new(), over: false }.boxed()
    }

    fn see(&mut self, delta: &Delta) {
        let bytes = match delta {
            Delta::Started | Delta::Answering(_) => {
                self.started = true;
                return;
            }
            Delta::Seam(_) => {
                let before = self.partial(None);
                self.before.push(before);
                (self.bytes, self.counted) = (0, None);
                return;
            }
            Delta::Usage(usage) => {
                self.counted = Some(*usage);
                return;
            }
            Delta::Charged(_) | Delta::Completed { .. } => return,
            Delta::Text(text) | Delta::Reasoning(text) => text.len(),
            Delta::ToolCall { name, arguments, .. } => name.len() + arguments.len(),
        };
        self.started = true;
        if let Some(open) = self.open.as_mut().filter(|open| open.call.first_token_ms.is_none()) {
            open.call.first_token_ms = Some(millis(open.begun));
        }
        self.bytes += bytes as u64;
    }

    /// What is paid for when an answer does not come to its end: what the provider has counted, and at least what has come.
    fn partial(&self, told: Option<Usage>) -> Usage {
        let output = self.bytes.div_ceil(BYTES_PER_TOKEN);
        match told.or(self.counted) {
            Some(counted) if counted.output >= output => counted,
            Some(counted) => Usage { output, estimated: true, ..counted },
            None => {
                let input = self.open.as_ref().map_or(0, |open| open.input);
                Usage { input, output, estimated: true, ..Usage::default() }
            }
        }
    }

    /// The call has ended: leaves its row. `last` is what the last try used. `None` when the row was left before.
    fn end(&mut self, outcome: Outcome, reason: String, last: Usage) -> Option<Ending> {
        let Opened { mut call, reservation, place, mut size, sample, begun, .. } = self.open.take()?;
        size.counted = size.counted.or_else(|| sample?.now_or_never()?.ok());
        let asked = call.model.clone();
        let mut tries = if self.free { Vec::new() } else { self.tries(&call, outcome, &reason, last) };
        (call.usage, call.cost, call.cache_hit) = (Usage::default(), 0, self.free);
        if self.free {
            call.price_version = Some(Arc::from(CACHE));
        }
        for one in &mut tries {
            let charge = self.money.charge(&one.model, call.create_time, &one.usage);
            one.cost = charge.micros;
            // Of the model that had the last word.
            (call.model, call.price_version) = (one.model.clone(), charge.version);
            call.usage = call.usage.plus(one.usage);
            call.cost = call.cost.saturating_add(one.cost);
        }
        call.usage.cost_micros = None;
        (call.outcome, call.reason, call.latency_ms) = (outcome, reason, millis(begun));
        call.attempts = if tries.len() > 1 { tries } else { Vec::new() };
        self.money.ended(&call, &asked, size);
        let charge = Charge { micros: call.cost, version: call.price_version.clone() };
        let (done, safe) = oneshot::channel();
        place.send(Row { ended: Ended { call, reservation }, done });
        Some(Ending { charge, safe })
    }

    /// Everything that was tried, at least once, with what it used.
    fn tries(&mut self, call: &Call, outcome: Outcome, reason: &str, last: Usage) -> Vec<Tried> {
        let mut spoken = std::mem::take(&mut self.before).into_iter();
        let tried = |attempt: Attempt| {
            let (outcome, reason) = match &attempt.outcome {
                route::Outcome::Failed { kind, .. } => (Outcome::Failed, reason_name(kind.reason())),
                route::Outcome::Answered => (Outcome::Completed, String::new()),
                route::Outcome::Open => (outcome, reason.to_owned()),
            };
            // One that had begun to speak is paid for, whether its provider counted or not.
            let estimate = if attempt.first_token.is_some() { spoken.next() } else { None };
            let latency_ms = i64::try_from(attempt.took.as_millis()).unwrap_or(i64::MAX);
            let usage = attempt.usage.or(estimate).unwrap_or_default();
            Tried { model: attempt.model, outcome, reason, usage, cost: 0, latency_ms }
        };
        let mut tries: Vec<Tried> = self.journal.attempts().into_iter().map(tried).collect();
        match tries.last_mut() {
            Some(latest) => latest.usage = last,
            None => {
                let (model, reason) = (call.model.clone(), reason.to_owned());
                tries.push(Tried { model, outcome, reason, usage: last, cost: 0, latency_ms: 0 });
            }
        }
        tries
    }

    /// What the provider has told about the try of now.
    fn told(&self) -> Option<Usage> {
        self.journal.attempts().pop().and_then(|attempt| attempt.usage)
    }

    fn complete(&mut self, usage: Usage) -> Option<Ending> {
        // With a journal the end brings the sum of all tries.
        let last = self.told().unwrap_or(usage);
        self.end(Outcome::Completed, String::new(), last)
    }

    fn fail(&mut self, broken: &Broken) -> Option<Ending> {
        let error = match broken {
            Broken::Provider(error) => Some(error),
            Broken::Ledger(_) => None,
        };
        let told = error.and_then(|e| e.usage.as_deref().copied()).or_else(|| self.told());
        // A provider that has refused charges nothing; one that was silent may have worked all the same.
        let silent = error.is_some_and(|e| e.kind == Kind::TimeoutBeforeAnswer);
        let nothing = !self.started && told.or(self.counted).is_none() && !silent;
        let usage = if nothing { Usage::default() } else { self.partial(told) };
        self.end(Outcome::Failed, reason_name(broken.reason()), usage)
    }

    fn break_off(&mut self, outcome: Outcome, reason: String) -> Option<Ending> {
        let usage = self.partial(self.told());
        self.end(outcome, reason, usage)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let Some(open) = &self.open else { return };
        let late = open.deadline.is_some_and(|deadline| deadline <= Instant::now());
        let (outcome, reason) = match late {
            true => (Outcome::Failed, reason_name(Reason::DeadlineExceeded)),
            false => (Outcome::Cancelled, String::new()),
        };
        // Nobody is left to wait for it.
        self.break_off(outcome, reason);
    }
}

fn reason_name(reason: Reason) -> String {
    Fault::new(reason, "").reason_name().to_owned()
}

fn millis(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX)
}

/// A row on its way.
struct Ending {
    charge: Charge,
    safe: oneshot::Receiver<Result<(), StorageError>>,
}

struct Measured<E> {
    meter: Meter,
    deltas: BoxStream<'static, Result<Delta, E>>,
    ending: Option<Ending>,
    /// What is passed on once the row is safe.
    last: VecDeque<Result<Delta, Broken>>,
    over: bool,
}

impl<E> Measured<E> {
    /// The row is left; then comes the last of the answer.
    fn close(&mut self, ending: Option<Ending>, last: Option<Result<Delta, Broken>>) {
        if let (Some(ending), Some(Ok(_))) = (&ending, &last) {
            self.last.push_back(Ok(Delta::Charged(ending.charge.clone())));
        }
        self.last.extend(last);
        self.ending = ending;
        self.over = true;
    }
}

impl<E: Into<Broken>> Stream for Measured<E> {
    type Item = Result<Delta, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while !this.over {
            match ready!(this.deltas.poll_next_unpin(cx)) {
                Some(Ok(delta @ Delta::Completed { .. })) => {
                    let Delta::Completed { usage, .. } = &delta else { continue };
                    let ending = this.meter.complete(*usage);
                    this.close(ending, Some(Ok(delta)));
                }
                // What another reader pays is not this one's.
                Some(Ok(Delta::Charged(_))) => {}
                Some(Ok(delta)) => {
                    this.meter.see(&delta);
                    return Poll::Ready(Some(Ok(delta)));
                }
                Some(Err(error)) => {
                    let error = error.into();
                    let ending = this.meter.fail(&error);
                    this.close(ending, Some(Err(error)));
                }
                None => {
                    let ending = this.meter.break_off(Outcome::Failed, reason_name(Reason::ProviderUnavailable));
                    this.close(ending, None);
                }
            }
        }
        if let Some(ending) = &mut this.ending {
            let safe = ready!(ending.safe.poll_unpin(cx)).unwrap_or(Err(StorageError::Interrupted));
            this.ending = None;
            // What is not written down was not answered. An answer that failed anyway says why itself.
            if let Err(error) = safe
                && !matches!(this.last.back(), Some(Err(_)))
            {
                this.last.clear();
                return Poll::Ready(Some(Err(error.into())));
            }
        }
        Poll::Ready(this.last.pop_front())
    }
}
