//! Buckets that all gateways share: the arrival time of a user's next call lies in a cell of the bus, and whoever lets a call
//! pass swaps it for a later one.
//!
//! An arrival time only grows, so that an old one refuses nobody who would pass by the present one: a refusal asks nobody.
//! What passes costs one swap, and calls of one user that come at once share one. Without the bus each gateway goes on by
//! itself from what it knew; no call fails or waits for it for longer than the settings say.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use slipway_bus::cells::{Cells, Revision};
use slipway_bus::{BoxError, BusError};
use slipway_telemetry::Metrics;
use uuid::Uuid;

use super::gcra::Gcra;

/// How long the bus is left alone after it did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// The buckets of one class, one a user.
pub(super) struct Buckets {
    class: &'static str,
    gcra: Gcra,
    line: Arc<Line>,
    users: Mutex<HashMap<Uuid, Arc<Bucket>>>,
}

#[derive(Default)]
struct Bucket {
    /// The arrival time as far as this gateway knows.
    arrival: AtomicU64,
    /// How many calls wait for their turn.
    waiting: AtomicU64,
    turn: tokio::sync::Mutex<Turn>,
}

/// What only one call at a time may do: swap.
#[derive(Default)]
struct Turn {
    /// Of the cell when it was seen last.
    revision: Option<Revision>,
    /// Calls that one before has taken for those that waited for it, who come for them until then.
    spare: Option<(u64, Instant)>,
}

impl Buckets {
    pub(super) fn new(class: &'static str, gcra: Gcra, line: Arc<Line>) -> Buckets {
        Buckets { class, gcra, line, users: Mutex::default() }
    }

    /// Takes one call from the user's bucket, or says how long there will be none.
    pub(super) async fn take(&self, user: Uuid) -> Result<(), Duration> {
        let bucket = self.bucket(user);
        self.next(&bucket, 1)?;
        if !self.line.is_open() {
            return self.take_alone(&bucket);
        }
        let taking = tokio::time::timeout(self.line.patience, self.take_together(user, &bucket));
        let failure: BoxError = match taking.await {
            Ok(Ok(taken)) => return taken,
            Ok(Err(error)) => error.into(),
            Err(elapsed) => elapsed.into(),
        };
        self.line.failed(failure);
        self.take_alone(&bucket)
    }

    fn bucket(&self, user: Uuid) -> Arc<Bucket> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).entry(user).or_default().clone()
    }

    /// Up to `wanted` calls by what this gateway knows: how many, and the arrival time after them.
    fn next(&self, bucket: &Bucket, wanted: u64) -> Result<(u64, u64), Duration> {
        let now = now();
        // It is beyond the latest when a clock, or the rate, is not what it was.
        let latest = self.gcra.latest(now);
        let arrival = bucket.arrival.fetch_min(latest, Ordering::Relaxed).min(latest);
        self.gcra.take(arrival, now, wanted)
    }

    fn take_alone(&self, bucket: &Bucket) -> Result<(), Duration> {
        let (now, mut refused) = (now(), Duration::ZERO);
        let later = |arrival| match self.gcra.take(arrival, now, 1) {
            Ok((_, next)) => Some(next),
            Err(wait) => {
                refused = wait;
                None
            }
        };
        let taken = bucket.arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        taken.map(drop).map_err(|_| refused)
    }

    async fn take_together(&self, user: Uuid, bucket: &Bucket) -> Result<Result<(), Duration>, BusError> {
        let mut turn = bucket.turn().await;
        if turn.claim() {
            return Ok(Ok(()));
        }
        let (cells, key) = (&self.line.cells, format!("rate.{}.{user}", self.class));
        loop {
            let wanted = 1 + bucket.waiting.load(Ordering::Relaxed);
            let (taken, next) = match self.next(bucket, wanted) {
                Ok(taken) => taken,
                Err(wait) => return Ok(Err(wait)),
            };
            let swapped = cells.swap(&key, turn.revision, Bytes::from(next.to_string())).await?;
            self.line.answered();
            if let Some(revision) = swapped {
                *turn = Turn { revision: Some(revision), spare: Some((taken - 1, Instant::now() + self.line.patience)) };
                bucket.arrival.fetch_max(next, Ordering::Relaxed);
                return Ok(Ok(()));
            }
            let found = cells.read(&key).await?;
            turn.revision = found.as_ref().map(|cell| cell.revision);
            let arrival = found.and_then(|cell| std::str::from_utf8(&cell.value).ok()?.parse().ok());
            bucket.arrival.fetch_max(arrival.unwrap_or_default(), Ordering::Relaxed);
        }
    }
}

impl Bucket {
    async fn turn(&self) -> tokio::sync::MutexGuard<'_, Turn> {
        /// Counts a call that waits; its caller may go away meanwhile.
        struct Waiting<'a>(&'a AtomicU64);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        self.turn.lock().await
    }
}

impl Turn {
    /// Whether somebody has taken this call already.
    fn claim(&mut self) -> bool {
        match &mut self.spare {
            Some((left, until)) if *left > 0 && Instant::now() < *until => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}

/// All gateways must have the same time.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The way to the other gateways, and whether it can be taken.
pub(super) struct Line {
    cells: Cells,
    /// How long a call waits for them.
    patience: Duration,
    metrics: Metrics,
    /// Present: they cannot be reached, and until then it is not tried.
    away: Mutex<Option<Instant>>,
}

impl Line {
    pub(super) fn new(cells: Cells, patience: Duration, metrics: Metrics) -> Line {
        Line { cells, patience, metrics, away: Mutex::default() }
    }

    fn away(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to ask; of those that come while nobody answers, one a second.
    fn is_open(&self) -> bool {
        let (mut away, now) = (self.away(), Instant::now());
        match *away {
            Some(until) if now < until => false,
            Some(_) => {
                *away = Some(now + PAUSE);
                true
            }
            None => true,
        }
    }

    fn answered(&self) {
        if self.away().take().is_some() {
            self.metrics.limiting_alone(false);
            tracing::info!("the gateways limit callers together again");
        }
    }

    fn failed(&self, error: BoxError) {
        if self.away().replace(Instant::now() + PAUSE).is_none() {
            self.metrics.limiting_alone(true);
            tracing::warn!(error, "this gateway limits callers by itself until the bus answers again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Rate;
    use slipway_bus::{Bus, Settings};
    use tokio::task::JoinSet;

    /// One call a minute and so many at once: what is tested takes less than a minute.
    fn gateway(bus: &Bus, burst: u32, patience: Duration) -> Arc<Buckets> {
        let line = Line::new(bus.cells().clone(), patience, Metrics::new());
        Arc::new(Buckets::new("api", Gcra::new(Rate { per_minute: 1, burst }).unwrap(), Arc::new(line)))
    }

    async fn passed(calls: JoinSet<Result<(), Duration>>) -> usize {
        calls.join_all().await.into_iter().filter(Result::is_ok).count()
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(flavor = "multi_thread")]
    async fn the_gateways_have_one_rate_together() {
        let bus = Bus::in_process();
        let gateways = [0, 1, 2].map(|_| gateway(&bus, 20, PATIENCE));
        let [alice, bob] = [0, 0].map(|_| Uuid::now_v7());
        let mut calls = JoinSet::new();
        for number in 0..90 {
            let gateway = gateways[number % 3].clone();
            calls.spawn(async move { gateway.take(alice).await });
        }
        assert_eq!(passed(calls).await, 20);
        for gateway in &gateways {
            let wait = gateway.take(alice).await.unwrap_err();
            assert!(wait <= Duration::from_secs(60) && wait > Duration::from_secs(1), "{wait:?}");
            gateway.take(bob).await.unwrap();
        }
    }

    #[tokio::test]
    async fn calls_at_once_share_a_swap_and_those_who_left_are_not_waited_for() {
        let bus = Bus::in_process();
        let gateway = gateway(&bus, 10, PATIENCE);
        let user = Uuid::now_v7();
        let bucket = gateway.bucket(user);
        let held = bucket.turn().await;
        let mut calls = JoinSet::new();
        for _ in 0..6 {
            let gateway = gateway.clone();
            calls.spawn(async move { gateway.take(user).await });
        }
        let leaving = calls.spawn({
            let gateway = gateway.clone();
            async move { gateway.take(user).await }
        });
        while bucket.waiting.load(Ordering::Relaxed) < 7 {
            tokio::task::yield_now().await;
        }
        leaving.abort();
        while bucket.waiting.load(Ordering::Relaxed) > 6 {
            tokio::task::yield_now().await;
        }
        drop(held);
        let mut passed = 0;
        while let Some(call) = calls.join_next().await {
            passed += usize::from(call.is_ok_and(|taken| taken.is_ok()));
        }
        assert_eq!(passed, 6);
        let cell = bus.cells().read(&format!("rate.api.{user}")).await.unwrap().unwrap();
        let next = gateway.next(&bucket, u64::MAX).unwrap();
        assert_eq!(next.0, 4, "six are taken");
        let swapped = bus.cells().swap(&format!("rate.api.{user}"), Some(cell.revision), cell.value).await.unwrap();
        assert!(swapped.is_some());
        gateway.take(user).await.unwrap();
    }

    #[tokio::test]
    async fn without_the_bus_a_gateway_goes_on_by_itself() {
        let settings = Settings { url: "nats://127.0.0.1:1".into(), ..Settings::default() };
        let bus = Bus::connect(&settings).await.unwrap();
        let gateway = gateway(&bus, 5, Duration::from_millis(20));
        let user = Uuid::now_v7();
        for _ in 0..5 {
            gateway.take(user).await.unwrap();
        }
        assert!(gateway.take(user).await.unwrap_err() > Duration::ZERO);
        assert!(gateway.line.metrics.text().unwrap().contains("slipway_gateway_rate_limit_alone 1"));
        gateway.line.answered();
        assert!(gateway.line.metrics.text().unwrap().contains("slipway_gateway_rate_limit_alone 0"));
    }

    #[tokio::test]
    async fn a_clock_that_was_wrong_shuts_nobody_out() {
        let bus = Bus::in_process();
        let gateway = gateway(&bus, 5, PATIENCE);
        let user = Uuid::now_v7();
        let key = format!("rate.api.{user}");
        bus.cells().swap(&key, None, Bytes::from(u64::MAX.to_string())).await.unwrap();
        let wait = gateway.take(user).await.unwrap_err();
        assert!(wait <= Duration::from_secs(60), "the wait for one call of a bucket that is empty: {wait:?}");
        gateway.bucket(user).arrival.store(0, Ordering::Relaxed);
        let read = bus.cells().read(&key).await.unwrap().unwrap();
        bus.cells().swap(&key, Some(read.revision), Bytes::from_static(b"nonsense")).await.unwrap();
        gateway.take(user).await.unwrap();
    }
}
