//! How often: a bucket per user and class of methods.

use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use slipway_rpc::{Fault, Reason, UserId};
use uuid::Uuid;

use crate::policy::RateClass;
use crate::settings::{Rate, Settings};

/// The buckets. Users come from the settings, so there are never more of them than tokens.
pub(crate) struct Limits {
    api: Option<DefaultKeyedRateLimiter<Uuid>>,
    upload: Option<DefaultKeyedRateLimiter<Uuid>>,
    generate: Option<DefaultKeyedRateLimiter<Uuid>>,
    clock: DefaultClock,
}

impl Limits {
    pub(crate) fn new(settings: &Settings) -> Limits {
        let limits = &settings.rate_limit;
        let limited = !settings.is_local() || limits.in_local_mode;
        let buckets = |rate: Rate| if limited { limiter(rate) } else { None };
        Limits {
            api: buckets(limits.api),
            upload: buckets(limits.upload),
            generate: buckets(limits.generate),
            clock: DefaultClock::default(),
        }
    }

    /// Takes one call from the user's bucket, or says when there will be room for one.
    pub(crate) fn take(&self, user: UserId, class: RateClass) -> Result<(), Fault> {
        let buckets = match class {
            RateClass::Api => &self.api,
            RateClass::Upload => &self.upload,
            RateClass::Generate => &self.generate,
        };
        let Some(buckets) = buckets else { return Ok(()) };
        buckets.check_key(&user.0).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            let message = format!("too many calls of class \"{}\"; try again in {:.1} s", class.name(), wait.as_secs_f64());
            Fault::new(Reason::RateLimited, message).with("class", class.name()).retry_after(wait)
        })
    }
}

fn limiter(rate: Rate) -> Option<DefaultKeyedRateLimiter<Uuid>> {
    let quota = Quota::per_minute(NonZeroU32::new(rate.per_minute)?).allow_burst(NonZeroU32::new(rate.burst)?);
    Some(RateLimiter::keyed(quota))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::token;
    use slipway_rpc::Scope;

    fn settings(tokens: bool) -> Settings {
        let mut settings = Settings::default();
        if tokens {
            settings.tokens.push(token("0123456789abcdef0123456789", Scope::Write));
        }
        settings.rate_limit.api = Rate { per_minute: 6, burst: 3 };
        settings.rate_limit.upload = Rate { per_minute: 0, burst: 0 };
        settings
    }

    #[test]
    fn a_bucket_is_per_user_and_class() {
        let limits = Limits::new(&settings(true));
        let (a, b) = (UserId(Uuid::now_v7()), UserId(Uuid::now_v7()));
        for _ in 0..3 {
            limits.take(a, RateClass::Api).unwrap();
        }
        let fault = limits.take(a, RateClass::Api).unwrap_err();
        assert_eq!(fault.reason(), Reason::RateLimited);
        assert!(fault.message().contains("try again in"), "{}", fault.message());
        limits.take(b, RateClass::Api).unwrap();
        limits.take(a, RateClass::Generate).unwrap();
        for _ in 0..1000 {
            limits.take(a, RateClass::Upload).unwrap();
        }
    }

    #[test]
    fn local_mode_is_unlimited_unless_asked() {
        let user = UserId(Uuid::now_v7());
        let mut settings = settings(false);
        let limits = Limits::new(&settings);
        for _ in 0..100 {
            limits.take(user, RateClass::Api).unwrap();
        }
        settings.rate_limit.in_local_mode = true;
        let limits = Limits::new(&settings);
        assert!((0..100).any(|_| limits.take(user, RateClass::Api).is_err()));
    }
}
