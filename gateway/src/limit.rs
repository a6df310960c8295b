//! How often: a bucket per user and class of methods, of this gateway alone or shared by all of them.

mod gcra;
mod shared;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use slipway_bus::Bus;
use slipway_rpc::{Fault, Reason, UserId};
use slipway_telemetry::Metrics;
use uuid::Uuid;

use crate::policy::RateClass;
use crate::settings::{Rate, Settings};
use gcra::Gcra;
use shared::Line;

/// The buckets. Users come from the settings, so there are never more of them than tokens.
pub(crate) struct Limits {
    api: Option<Buckets>,
    upload: Option<Buckets>,
    generate: Option<Buckets>,
}

/// Those of one class.
enum Buckets {
    /// Of this gateway.
    Own(DefaultKeyedRateLimiter<Uuid>),
    /// Of all gateways.
    Shared(shared::Buckets),
}

impl Limits {
    pub(crate) fn new(settings: &Settings, bus: &Bus, metrics: &Metrics) -> Limits {
        let limits = &settings.rate_limit;
        let limited = !settings.is_local() || limits.in_local_mode;
        let patience = Duration::from_millis(limits.wait_ms);
        let line = limits.shared.then(|| Arc::new(Line::new(bus.cells().clone(), patience, metrics.clone())));
        let buckets = |class: RateClass, rate: Rate| match &line {
            _ if !limited => None,
            Some(line) => Some(Buckets::Shared(shared::Buckets::new(class.name(), Gcra::new(rate)?, line.clone()))),
            None => Some(Buckets::Own(limiter(rate)?)),
        };
        Limits {
            api: buckets(RateClass::Api, limits.api),
            upload: buckets(RateClass::Upload, limits.upload),
            generate: buckets(RateClass::Generate, limits.generate),
        }
    }

    /// Takes one call from the user's bucket, or says when there will be room for one.
    pub(crate) async fn take(&self, user: UserId, class: RateClass) -> Result<(), Fault> {
        let buckets = match class {
            RateClass::Api => &self.api,
            RateClass::Upload => &self.upload,
            RateClass::Generate => &self.generate,
        };
        let taken = match buckets {
            None => Ok(()),
            Some(Buckets::Own(buckets)) => {
                buckets.check_key(&user.0).map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
            }
            Some(Buckets::Shared(buckets)) => buckets.take(user.0).await,
        };
        taken.map_err(|wait| {
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

    fn build(settings: &Settings) -> Limits {
        Limits::new(settings, &Bus::in_process(), &Metrics::new())
    }

    #[tokio::test]
    async fn a_bucket_is_per_user_and_class() {
        let limits = build(&settings(true));
        let (a, b) = (UserId(Uuid::now_v7()), UserId(Uuid::now_v7()));
        for _ in 0..3 {
            limits.take(a, RateClass::Api).await.unwrap();
        }
        let fault = limits.take(a, RateClass::Api).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::RateLimited);
        assert!(fault.message().contains("try again in"), "{}", fault.message());
        limits.take(b, RateClass::Api).await.unwrap();
        limits.take(a, RateClass::Generate).await.unwrap();
        for _ in 0..1000 {
            limits.take(a, RateClass::Upload).await.unwrap();
        }
    }

    #[tokio::test]
    async fn local_mode_is_unlimited_unless_asked() {
        let user = UserId(Uuid::now_v7());
        let mut settings = settings(false);
        let limits = build(&settings);
        for _ in 0..100 {
            limits.take(user, RateClass::Api).await.unwrap();
        }
        settings.rate_limit.in_local_mode = true;
        let limits = build(&settings);
        for _ in 0..3 {
            limits.take(user, RateClass::Api).await.unwrap();
        }
        limits.take(user, RateClass::Api).await.unwrap_err();
    }
}
