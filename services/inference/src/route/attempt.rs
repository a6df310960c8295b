//! What was tried for a call: for its caller, and for the ledger.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::error::{Kind, ProviderError};
use crate::model::{CacheHit, Usage};

/// One try of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attempt {
    /// The model's id.
    pub(crate) model: Arc<str>,
    /// Which key, from 0.
    pub(crate) key: usize,
    /// When it began.
    pub(crate) started: OffsetDateTime,
    /// How long it took; so far, when it goes on.
    pub(crate) took: Duration,
    /// How long it took to the first token.
    pub(crate) first_token: Option<Duration>,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// What it used, as far as the provider told.
    pub(crate) usage: Option<Usage>,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It goes on, or its caller has left.
    Open,
    /// It answered.
    Answered,
    /// It failed.
    Failed {
        /// Why.
        kind: Kind,
        /// What happened.
        message: String,
        /// How long the provider asked to wait.
        retry_after: Option<Duration>,
    },
}

/// Everything that was tried for one call, in order. It can be read while the call goes on, and after it was dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    entries: Arc<Mutex<Vec<Entry>>>,
    hit: Option<CacheHit>,
}

#[derive(Debug)]
struct Entry {
    attempt: Attempt,
    begun: Instant,
}

impl Journal {
    /// That of an answer for which nothing was tried.
    pub(crate) fn of_hit(hit: CacheHit) -> Self {
        Self { hit: Some(hit), ..Self::default() }
    }

    /// Where the answer is from when nothing was tried for it.
    pub(crate) fn hit(&self) -> Option<CacheHit> {
        self.hit
    }

    /// What was tried so far.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        let so_far = |entry: &Entry| {
            let mut attempt = entry.attempt.clone();
            if attempt.outcome == Outcome::Open {
                attempt.took = entry.begun.elapsed();
            }
            attempt
        };
        self.lock().iter().map(so_far).collect()
    }

    pub(crate) fn begin(&self, model: Arc<str>, key: usize) {
        let attempt = Attempt {
            model,
            key,
            started: OffsetDateTime::now_utc(),
            took: Duration::ZERO,
            first_token: None,
            outcome: Outcome::Open,
            usage: None,
        };
        self.lock().push(Entry { attempt, begun: Instant::now() });
    }

    pub(crate) fn first_token(&self) {
        self.with_last(|entry| entry.attempt.first_token = Some(entry.begun.elapsed()));
    }

    pub(crate) fn used(&self, usage: Usage) {
        self.with_last(|entry| entry.attempt.usage = Some(usage));
    }

    pub(crate) fn answered(&self) {
        self.end(Outcome::Answered);
    }

    pub(crate) fn failed(&self, error: &ProviderError) {
        if let Some(usage) = &error.usage {
            self.used(**usage);
        }
        let (kind, message, retry_after) = (error.kind, error.message.clone(), error.retry_after);
        self.end(Outcome::Failed { kind, message, retry_after });
    }

    fn end(&self, outcome: Outcome) {
        self.with_last(|entry| {
            entry.attempt.took = entry.begun.elapsed();
            entry.attempt.outcome = outcome;
        });
    }

    /// What all tries used together.
    pub(super) fn total(&self) -> Usage {
        self.lock().iter().filter_map(|e| e.attempt.usage).fold(Usage::default(), Usage::plus)
    }

    fn with_last(&self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().last_mut() {
            change(entry);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
