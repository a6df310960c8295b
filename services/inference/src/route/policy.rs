//! What a failure leads to before the first token: another key, the same again, another model, or the end.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::error::{Kind, ProviderError};

// A provider that wants us to wait longer than this gets its answer passed on instead.
const MAX_RETRY_WAIT: Duration = Duration::from_secs(10);
// The same where another model stands by.
const MAX_WAIT_BEFORE_FALLBACK: Duration = Duration::from_secs(2);

/// The pauses between the tries of one model: longer each time, and not the same for all callers.
#[derive(Debug)]
pub(super) struct Pauses(ExponentialBackoff);

impl Pauses {
    pub(super) fn new(max_retries: u32) -> Self {
        let builder = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(250))
            .with_max_delay(Duration::from_secs(5))
            .with_max_times(max_retries as usize)
            .with_jitter();
        Self(builder.build())
    }

    /// How long to wait before the same model is tried again; `None`: it is not. A provider's own wish is honoured, unless
    /// the caller would not be there any more, or another model (`stands_by`) is there sooner.
    pub(super) fn next(&mut self, error: &ProviderError, deadline: Option<Instant>, stands_by: bool) -> Option<Duration> {
        if !error.kind.is_retryable() {
            return None;
        }
        let asked = error.retry_after.unwrap_or_default();
        let pause = self.0.next()?.max(asked);
        let late = deadline.is_some_and(|d| Instant::now() + pause >= d);
        let limit = if stands_by { MAX_WAIT_BEFORE_FALLBACK } else { MAX_RETRY_WAIT };
        (asked <= limit && !late).then_some(pause)
    }
}

/// True when another key may do better.
pub(super) fn is_of_the_key(kind: Kind) -> bool {
    matches!(kind, Kind::Auth | Kind::Permission | Kind::CreditExhausted | Kind::RateLimited)
}

/// True when another model may do better. A wrong request is wrong everywhere.
pub(super) fn falls_back(kind: Kind, when_refused: bool) -> bool {
    match kind {
        Kind::BadRequest | Kind::RecordingMissing => false,
        Kind::ContentRefused => when_refused,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: Kind, retry_after: Option<u64>) -> ProviderError {
        let mut error = ProviderError::new(kind, "p", "x");
        error.retry_after = retry_after.map(Duration::from_secs);
        error
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let mut pauses = Pauses::new(3);
        let all: Vec<_> = std::iter::from_fn(|| pauses.next(&error(Kind::Server, None), None, false)).collect();
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|p| (Duration::from_millis(250)..Duration::from_secs(10)).contains(p)), "{all:?}");
        assert!(all[2] > all[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_providers_wish_is_honoured_within_reason() {
        let next = |retry_after, deadline: Option<u64>| {
            let deadline = deadline.map(|s| Instant::now() + Duration::from_secs(s));
            Pauses::new(1).next(&error(Kind::RateLimited, retry_after), deadline, false)
        };
        assert_eq!(next(Some(7), None), Some(Duration::from_secs(7)));
        assert_eq!(next(Some(11), None), None);
        assert_eq!(next(Some(7), Some(8)), Some(Duration::from_secs(7)));
        assert_eq!(next(Some(7), Some(7)), None);
        assert!(Pauses::new(9).next(&error(Kind::RateLimited, Some(3)), None, true).is_none());
        assert!(Pauses::new(9).next(&error(Kind::Auth, None), None, false).is_none());
    }

    #[test]
    fn what_is_wrong_everywhere_goes_nowhere_else() {
        assert!(!falls_back(Kind::BadRequest, true));
        assert!(!falls_back(Kind::ContentRefused, false) && falls_back(Kind::ContentRefused, true));
        for kind in [Kind::Auth, Kind::Overloaded, Kind::Network, Kind::ModelNotFound, Kind::TimeoutBetweenDeltas] {
            assert!(falls_back(kind, false));
        }
    }
}
