//! The generic cell rate algorithm of ITU-T I.371 in its virtual scheduling form: the whole state of a bucket is one instant,
//! the theoretical arrival time of the next call. Instants are nanoseconds since whatever the caller counts from.

use std::time::Duration;

use crate::settings::Rate;

const MINUTE: u64 = 60_000_000_000;

/// A rate; the same calls pass as with `governor`'s quota of so many a minute and this burst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gcra {
    /// How much of the future one call takes.
    interval: u64,
    /// How far ahead the arrival time may be of a call that passes.
    tolerance: u64,
}

impl Gcra {
    /// `None`: unlimited.
    pub(super) fn new(rate: Rate) -> Option<Gcra> {
        let interval = MINUTE.checked_div(rate.per_minute.into())?.max(1);
        Some(Gcra { interval, tolerance: interval.saturating_mul(u64::from(rate.burst).saturating_sub(1)) })
    }

    /// Takes up to `wanted` calls, but at least one, at `now`: how many, and the arrival time then; or how long to wait.
    pub(super) fn take(&self, arrival: u64, now: u64, wanted: u64) -> Result<(u64, u64), Duration> {
        let wait = arrival.saturating_sub(self.tolerance).saturating_sub(now);
        if wait > 0 {
            return Err(Duration::from_nanos(wait));
        }
        let start = arrival.max(now);
        let room = 1 + (now.saturating_add(self.tolerance) - start) / self.interval;
        let taken = wanted.clamp(1, room);
        Ok((taken, start.saturating_add(taken.saturating_mul(self.interval))))
    }

    /// The latest arrival time that there can be at `now`. One beyond it was written by another clock, or for another rate.
    pub(super) fn latest(&self, now: u64) -> u64 {
        now.saturating_add(self.tolerance).saturating_add(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;
    use governor::{Quota, RateLimiter};
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};
    use std::num::NonZeroU32;

    #[test]
    fn the_same_calls_pass_as_with_governor() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let rate = Rate { per_minute: random.random_range(1..5000), burst: random.random_range(1..400) };
            let quota = Quota::per_minute(NonZeroU32::new(rate.per_minute).unwrap());
            let quota = quota.allow_burst(NonZeroU32::new(rate.burst).unwrap());
            let clock = FakeRelativeClock::default();
            let governor = RateLimiter::direct_with_clock(quota, clock.clone());
            let gcra = Gcra::new(rate).unwrap();
            let (mut now, mut arrival) = (1_700_000_000_000_000_000, 0);
            for call in 0..1000 {
                let theirs = governor.check().map_err(|until| until.wait_time_from(governor::clock::Clock::now(&clock)));
                let ours = gcra.take(arrival, now, 1).map(|(_, next)| arrival = next);
                assert_eq!(ours, theirs, "seed {seed}, {rate:?}, call {call}");
                // Now and then a pause, and often none.
                let longest = gcra.interval * [0, 1, 3, u64::from(rate.burst)][random.random_range(0..4)];
                let pause = random.random_range(0..=longest);
                clock.advance(Duration::from_nanos(pause));
                now += pause;
            }
        }
    }

    #[test]
    fn several_at_once_are_as_many_one_after_the_other() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let rate = Rate { per_minute: random.random_range(1..5000), burst: random.random_range(1..40) };
            let gcra = Gcra::new(rate).unwrap();
            let (mut now, mut arrival) = (gcra.interval * 100, 0);
            for _ in 0..100 {
                let wanted = random.random_range(1..60);
                let mut single = (0, arrival);
                while let Ok((_, next)) = gcra.take(single.1, now, 1)
                    && single.0 < wanted
                {
                    single = (single.0 + 1, next);
                }
                match gcra.take(arrival, now, wanted) {
                    Ok(taken) => assert_eq!(taken, single, "seed {seed}, {rate:?}"),
                    Err(_) => assert_eq!(single.0, 0, "seed {seed}, {rate:?}"),
                }
                assert!(single.1 <= gcra.latest(now).max(arrival));
                arrival = single.1;
                now += random.random_range(0..gcra.interval * 10);
            }
        }
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert!(Gcra::new(Rate { per_minute: 0, burst: 0 }).is_none());
    }
}
