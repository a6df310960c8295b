//! A circuit breaker: what fails again and again is set aside, then tried by one call before all others come back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slipway_telemetry::Metrics;
use tokio::time::Instant;

use crate::error::Kind;
use crate::settings::BreakerSettings;

/// How it stands with what a breaker guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Calls go through.
    Closed,
    /// One call tries it, or the next one will.
    Probing {
        /// Why it was set aside.
        kind: Kind,
    },
    /// No call goes through.
    Open {
        /// Until then.
        until: Instant,
        /// Why.
        kind: Kind,
    },
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// After so many failures in a row.
    pub(crate) failures: u32,
    /// For so long.
    pub(crate) cool_down: Duration,
    /// False where nothing is to be spared: what plays recordings fails as they did.
    pub(crate) opens: bool,
}

impl Limits {
    /// As the settings say.
    pub(crate) fn of(settings: &BreakerSettings) -> Self {
        Self { failures: settings.failures, cool_down: Duration::from_secs(settings.cool_down_seconds), opens: true }
    }
}

/// Guards one provider, or one of its keys.
#[derive(Debug)]
pub(crate) struct Breaker {
    limits: Limits,
    state: Mutex<State>,
    gauge: Gauge,
}

#[derive(Debug)]
struct Gauge {
    metrics: Metrics,
    provider: String,
    key: String,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, kind: Kind },
    Probing { kind: Kind },
}

impl Breaker {
    /// A closed breaker. `key` is empty for a provider as a whole, else the key's place.
    pub(crate) fn new(limits: Limits, metrics: Metrics, provider: &str, key: String) -> Arc<Self> {
        let gauge = Gauge { metrics, provider: provider.to_owned(), key };
        gauge.show(&State::Closed { failures: 0 });
        Arc::new(Self { limits, state: Mutex::new(State::Closed { failures: 0 }), gauge })
    }

    /// How it stands now.
    pub(crate) fn standing(&self) -> Standing {
        match *self.lock() {
            State::Closed { .. } => Standing::Closed,
            State::Open { until, kind } if Instant::now() < until => Standing::Open { until, kind },
            State::Open { kind: Kind::RateLimited, .. } => Standing::Closed,
            State::Open { kind, .. } | State::Probing { kind } => Standing::Probing { kind },
        }
    }

    /// Lets a call through, or says until when and why not. While one call tries, all others are refused.
    pub(crate) fn try_pass(self: &Arc<Self>) -> Result<Pass, (Instant, Kind)> {
        let mut state = self.lock();
        let now = Instant::now();
        let probe = match *state {
            State::Closed { .. } => false,
            State::Open { until, kind } if now < until => return Err((until, kind)),
            // Whoever said when to come back is taken at his word.
            State::Open { kind: Kind::RateLimited, .. } => {
                self.change(&mut state, State::Closed { failures: 0 });
                false
            }
            State::Open { kind, .. } => {
                self.change(&mut state, State::Probing { kind });
                true
            }
            State::Probing { kind } => return Err((now + self.limits.cool_down, kind)),
        };
        Ok(Pass { breaker: self.clone(), probe })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is a plain value: a panic cannot leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, state: &mut State, to: State) {
        *state = to;
        self.gauge.show(&to);
    }
}

impl Gauge {
    fn show(&self, state: &State) {
        let number = match state {
            State::Closed { .. } => 0,
            State::Probing { .. } => 1,
            State::Open { .. } => 2,
        };
        self.metrics.breaker(&self.provider, &self.key, number);
    }
}

/// A call that was let through. Dropped without a word, as when the caller leaves, it says nothing about what it tried.
#[derive(Debug)]
pub(crate) struct Pass {
    breaker: Arc<Breaker>,
    probe: bool,
}

impl Pass {
    /// It has begun to answer: enough for others to come back.
    pub(crate) fn begun(&mut self) {
        if std::mem::take(&mut self.probe) {
            self.breaker.change(&mut self.breaker.lock(), State::Closed { failures: 0 });
        }
    }

    /// It did what it should.
    pub(crate) fn succeeded(mut self) {
        let mut state = self.breaker.lock();
        // A call from before says nothing of what was set aside since.
        if self.probe || matches!(*state, State::Closed { .. }) {
            self.breaker.change(&mut state, State::Closed { failures: 0 });
        }
        drop(state);
        self.probe = false;
    }

    /// It failed; often enough in a row, and it is set aside.
    pub(crate) fn failed(mut self, kind: Kind) {
        let mut state = self.breaker.lock();
        let failures = match *state {
            _ if self.probe => self.breaker.limits.failures,
            State::Closed { failures } => failures + 1,
            State::Open { .. } | State::Probing { .. } => return,
        };
        let open = State::Open { until: Instant::now() + self.breaker.limits.cool_down, kind };
        let opens = self.breaker.limits.opens && failures >= self.breaker.limits.failures;
        let next = if opens { open } else { State::Closed { failures } };
        self.breaker.change(&mut state, next);
        drop(state);
        self.probe = false;
    }

    /// It is set aside at once, for as long as it asked or for the usual time.
    pub(crate) fn set_aside(mut self, kind: Kind, wait: Option<Duration>) {
        if !self.breaker.limits.opens {
            return;
        }
        let until = Instant::now() + wait.unwrap_or(self.breaker.limits.cool_down);
        let mut state = self.breaker.lock();
        let longer = match *state {
            State::Open { until: before, .. } => before.max(until),
            _ => until,
        };
        self.breaker.change(&mut state, State::Open { until: longer, kind });
        drop(state);
        self.probe = false;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.probe {
            return;
        }
        // The try came to no end: the next call is the next try.
        let mut state = self.breaker.lock();
        if let State::Probing { kind } = *state {
            self.breaker.change(&mut state, State::Open { until: Instant::now(), kind });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const COOL_DOWN: Duration = Duration::from_secs(30);

    fn breaker(failures: u32) -> Arc<Breaker> {
        Breaker::new(Limits { failures, cool_down: COOL_DOWN, opens: true }, Metrics::new(), "p", String::new())
    }

    fn fail(breaker: &Arc<Breaker>) {
        breaker.try_pass().unwrap().failed(Kind::Server);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it() {
        let breaker = breaker(3);
        fail(&breaker);
        fail(&breaker);
        breaker.try_pass().unwrap().succeeded();
        fail(&breaker);
        fail(&breaker);
        assert_eq!(breaker.standing(), Standing::Closed);
        fail(&breaker);
        let until = Instant::now() + COOL_DOWN;
        assert_eq!(breaker.standing(), Standing::Open { until, kind: Kind::Server });
        assert_eq!(breaker.try_pass().unwrap_err(), (until, Kind::Server));
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_tries_before_all_others_come_back() {
        let breaker = breaker(1);
        fail(&breaker);
        advance(COOL_DOWN).await;
        assert_eq!(breaker.standing(), Standing::Probing { kind: Kind::Server });
        let mut probe = breaker.try_pass().unwrap();
        assert!(breaker.try_pass().is_err());
        probe.begun();
        assert_eq!(breaker.standing(), Standing::Closed);
        breaker.try_pass().unwrap().succeeded();
        probe.succeeded();
        assert_eq!(breaker.standing(), Standing::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_try_opens_it_again() {
        let breaker = breaker(3);
        (0..3).for_each(|_| fail(&breaker));
        advance(COOL_DOWN).await;
        fail(&breaker);
        assert_eq!(breaker.standing(), Standing::Open { until: Instant::now() + COOL_DOWN, kind: Kind::Server });
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_nobody_waits_for_is_the_next_calls() {
        let breaker = breaker(1);
        fail(&breaker);
        advance(COOL_DOWN).await;
        drop(breaker.try_pass().unwrap());
        breaker.try_pass().unwrap().succeeded();
        assert_eq!(breaker.standing(), Standing::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_from_before_do_not_open_or_close_it() {
        let breaker = breaker(1);
        let (early, late) = (breaker.try_pass().unwrap(), breaker.try_pass().unwrap());
        fail(&breaker);
        let open = breaker.standing();
        early.succeeded();
        assert_eq!(breaker.standing(), open);
        advance(COOL_DOWN / 2).await;
        late.failed(Kind::Network);
        assert_eq!(breaker.standing(), open);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_set_aside_comes_back_when_it_said() {
        let breaker = breaker(5);
        breaker.try_pass().unwrap().set_aside(Kind::RateLimited, Some(Duration::from_secs(7)));
        advance(Duration::from_millis(6_999)).await;
        assert!(breaker.try_pass().is_err());
        advance(Duration::from_millis(1)).await;
        // All may come at once: the provider said when.
        let _first = breaker.try_pass().unwrap();
        breaker.try_pass().unwrap().set_aside(Kind::Auth, None);
        assert_eq!(breaker.standing(), Standing::Open { until: Instant::now() + COOL_DOWN, kind: Kind::Auth });
    }

    #[tokio::test(start_paused = true)]
    async fn some_never_open() {
        let limits = Limits { failures: 1, cool_down: COOL_DOWN, opens: false };
        let breaker = Breaker::new(limits, Metrics::new(), "p", String::new());
        fail(&breaker);
        breaker.try_pass().unwrap().set_aside(Kind::RateLimited, Some(COOL_DOWN));
        assert_eq!(breaker.standing(), Standing::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gauge_shows_it() {
        let metrics = Metrics::new();
        let breaker = Breaker::new(Limits { failures: 1, cool_down: COOL_DOWN, opens: true }, metrics.clone(), "p", "0".into());
        let shows =
            |n: u32| metrics.text().unwrap().contains(&format!("slipway_inference_breaker{{key=\"0\",provider=\"p\"}} {n}"));
        assert!(shows(0));
        fail(&breaker);
        assert!(shows(2));
        advance(COOL_DOWN).await;
        let probe = breaker.try_pass().unwrap();
        assert!(shows(1));
        probe.succeeded();
        assert!(shows(0));
    }
}
