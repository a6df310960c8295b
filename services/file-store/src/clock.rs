//! The clock that ages contents: the system's, which tests set ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use slipway_rpc::now_micros;

/// A clock; clones show the same time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    ahead: Arc<AtomicI64>,
}

impl Clock {
    /// Microseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        now_micros() + self.ahead.load(Ordering::Relaxed)
    }

    /// The time `length` ago.
    pub(crate) fn ago(&self, length: Duration) -> i64 {
        self.now() - i64::try_from(length.as_micros()).unwrap_or(i64::MAX / 2)
    }

    #[cfg(test)]
    pub(crate) fn advance(&self, by: Duration) {
        self.ahead.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::Relaxed);
    }
}
