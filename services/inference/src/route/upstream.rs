//! A provider with its keys: which key a call takes, and what its end means for the key and for the provider.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use slipway_telemetry::Metrics;
use tokio::time::Instant;

use super::breaker::{Breaker, Limits, Pass, Standing};
use crate::error::{Kind, ProviderError};
use crate::model::ModelInfo;
use crate::provider::{Embedded, Provider};

// A key whose provider asks for more comes back after this long and is tried.
const MAX_ASIDE: Duration = Duration::from_secs(3600);

/// A provider in force.
pub(crate) struct Upstream {
    /// Its name in the settings.
    pub(crate) name: String,
    /// What it speaks, as in the settings.
    pub(crate) kind: String,
    /// How often a call that failed before its first token is tried again.
    pub(crate) max_retries: u32,
    keys: Vec<Key>,
    breaker: Arc<Breaker>,
    next: AtomicUsize,
}

/// One key, with a client of its own that carries it.
struct Key {
    provider: Arc<dyn Provider>,
    breaker: Arc<Breaker>,
}

/// A call's turn with a key.
pub(super) struct Turn {
    /// Which key.
    pub(super) key: usize,
    provider: Pass,
    own: Pass,
    // Another key could take the next call.
    spare: bool,
}

/// Why no key can be had now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Away {
    pub(super) until: Instant,
    pub(super) kind: Kind,
}

impl Upstream {
    /// A provider with one client for each key.
    pub(crate) fn new(
        name: &str,
        kind: &str,
        clients: Vec<Arc<dyn Provider>>,
        max_retries: u32,
        limits: Limits,
        metrics: &Metrics,
    ) -> Self {
        let key = |(n, provider): (usize, Arc<dyn Provider>)| Key {
            provider,
            breaker: Breaker::new(limits, metrics.clone(), name, n.to_string()),
        };
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            max_retries,
            keys: clients.into_iter().enumerate().map(key).collect(),
            breaker: Breaker::new(limits, metrics.clone(), name, String::new()),
            next: AtomicUsize::new(0),
        }
    }

    /// How it is as a whole.
    pub(crate) fn standing(&self) -> Standing {
        self.breaker.standing()
    }

    /// How its keys are, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Standing> {
        self.keys.iter().map(|k| k.breaker.standing())
    }

    /// Its clients, one for each key.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &Arc<dyn Provider>> {
        self.keys.iter().map(|k| &k.provider)
    }

    /// The models that it lists now. All keys are taken for those of one account.
    pub(crate) async fn models(&self) -> Vec<ModelInfo> {
        match self.keys.first() {
            Some(key) => key.provider.models().await,
            None => Vec::new(),
        }
    }

    /// A text as a vector. How that goes says nothing of how the provider's models are, and sets nothing aside.
    pub(crate) async fn embed(&self, model: &str, text: &str) -> Result<Embedded, ProviderError> {
        let turn = self.take(&[]).map_err(|away| away.into_error(&self.name))?;
        self.client(&turn).embed(model, text).await
    }

    pub(super) fn client(&self, turn: &Turn) -> &Arc<dyn Provider> {
        &self.keys[turn.key].provider
    }

    /// The next key in turn that is not set aside and not among the `tried` ones.
    pub(super) fn take_other(&self, tried: &[usize]) -> Option<Turn> {
        self.take_of(self.in_turn().filter(|n| !tried.contains(n))).ok()
    }

    /// The next key in turn that is not set aside, rather one that this call has not tried.
    pub(super) fn take(&self, tried: &[usize]) -> Result<Turn, Away> {
        let (fresh, known): (Vec<_>, Vec<_>) = self.in_turn().partition(|n| !tried.contains(n));
        self.take_of(fresh.into_iter().chain(known))
    }

    fn in_turn(&self) -> impl Iterator<Item = usize> {
        let count = self.keys.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        (0..count).map(move |n| (first.wrapping_add(n)) % count)
    }

    fn take_of(&self, keys: impl Iterator<Item = usize>) -> Result<Turn, Away> {
        let provider = self.breaker.try_pass().map_err(|(until, kind)| Away { until, kind })?;
        let mut soonest: Option<Away> = None;
        for key in keys {
            match self.keys[key].breaker.try_pass() {
                Ok(own) => {
                    let closed = |(n, k): (usize, &Key)| n != key && k.breaker.standing() == Standing::Closed;
                    let spare = self.keys.iter().enumerate().any(closed);
                    return Ok(Turn { key, provider, own, spare });
                }
                Err((until, kind)) if soonest.as_ref().is_none_or(|s| until < s.until) => soonest = Some(Away { until, kind }),
                Err(_) => {}
            }
        }
        Err(soonest.unwrap_or(Away { until: Instant::now(), kind: Kind::Server }))
    }
}

impl Away {
    /// What a call that is not made fails with: as the one before it did.
    pub(super) fn into_error(self, provider: &str) -> ProviderError {
        let wait = self.until.saturating_duration_since(Instant::now());
        let message = format!("is set aside after failures and is tried again in {} s", wait.as_secs_f64().ceil());
        let mut error = ProviderError::new(self.kind, provider, message);
        error.retry_after = Some(wait);
        error
    }
}

impl Turn {
    /// The model has begun to answer.
    pub(super) fn begun(&mut self) {
        self.provider.begun();
        self.own.begun();
    }

    /// It answered.
    pub(super) fn succeeded(self) {
        self.provider.succeeded();
        self.own.succeeded();
    }

    /// It failed: the key's fault, the provider's, or the request's.
    pub(super) fn failed(self, error: &ProviderError) {
        match error.kind {
            Kind::Auth | Kind::CreditExhausted | Kind::RateLimited => {
                self.provider.succeeded();
                // The last key is set aside only when the provider says for how long: its next answer may be another one.
                if self.spare || error.retry_after.is_some() {
                    self.own.set_aside(error.kind, error.retry_after.map(|wait| wait.min(MAX_ASIDE)));
                } else {
                    self.own.succeeded();
                }
            }
            Kind::Overloaded | Kind::Server | Kind::Network | Kind::TimeoutBeforeAnswer | Kind::TimeoutBetweenDeltas => {
                self.provider.failed(error.kind);
                // The key may be as good as any; only a try that it was set aside for is not over.
                drop(self.own);
            }
            Kind::Permission
            | Kind::ContextTooLong
            | Kind::ContentRefused
            | Kind::ModelNotFound
            | Kind::BadRequest
            | Kind::RecordingMissing => self.succeeded(),
        }
    }
}
