//! Which model answers, by which key, and what happens when it does not.
//!
//! A call walks its models in order. Within a model, a key that fails is left for another one, and what may pass is tried
//! again after a pause. What keeps failing is set aside by its [`breaker`], so that later calls do not wait for it. Once a
//! word was said there is no second try, but another model may go on from it where the caller allows that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::builtin;
use crate::catalogue::Catalogue;
use crate::error::Error;
use crate::model::{Fallback, Request};
use crate::provider::{Deltas, Providers, Target};
use crate::settings::Settings;

mod attempt;
mod breaker;
mod call;
mod policy;
mod seam;
#[cfg(test)]
mod tests;
mod upstream;

pub(crate) use attempt::{Attempt, Journal, Outcome};
pub(crate) use breaker::{Limits, Standing};
pub(crate) use upstream::Upstream;

use call::Call;

/// A call on its way.
pub(crate) struct Routed {
    /// The answer.
    pub(crate) deltas: Deltas,
    /// What is tried for it.
    pub(crate) journal: Journal,
}

/// Finds the way of each call.
pub(crate) struct Router {
    providers: Providers,
    catalogue: Arc<Catalogue>,
    settings: Arc<Settings>,
}

impl Router {
    /// A router over the providers in force.
    pub(crate) fn new(settings: Settings, providers: Providers, catalogue: Arc<Catalogue>) -> Self {
        Self { providers, catalogue, settings: Arc::new(settings) }
    }

    /// The providers in force.
    pub(crate) fn providers(&self) -> &Providers {
        &self.providers
    }

    /// The models of a call: what was asked for, and what may answer in its place. Each is there once.
    pub(crate) fn way(&self, model: &str, mut fallback: Fallback) -> Result<Way, Error> {
        let asked = self.providers.get(model)?;
        let configured = self.settings.fallbacks.get(asked.id.as_ref());
        let others = if fallback.models.is_empty() { configured.map_or(&[][..], Vec::as_slice) } else { &fallback.models };
        let mut rest: VecDeque<Target> = VecDeque::new();
        for id in others {
            let other = match self.providers.get(id) {
                Ok(other) => other,
                // The settings may name a provider that only a key in the environment turns on.
                Err(_) if fallback.models.is_empty() => continue,
                Err(error) => return Err(error),
            };
            if other.id != asked.id && rest.iter().all(|t| t.id != other.id) {
                rest.push_back(other);
            }
        }
        fallback.when_refused |= self.settings.fallback_when_refused;
        Ok(Way { asked, rest, fallback })
    }

    /// Starts a call; nothing is sent before the stream is polled. `remaining`: how long the caller waits.
    pub(crate) fn start(&self, way: Way, request: Request, remaining: Option<Duration>) -> Routed {
        let deadline = remaining.map(|left| Instant::now() + left);
        let journal = Journal::default();
        let call = Call::new(way, request, deadline, journal.clone(), self.catalogue.clone());
        Routed { deltas: Box::pin(call), journal }
    }
}

/// Providers that a project calls with keys of its own, by their names.
pub(crate) type Own = BTreeMap<String, Arc<Upstream>>;

/// The models of a call, in order, and when the next one is tried.
pub(crate) struct Way {
    asked: Target,
    rest: VecDeque<Target>,
    fallback: Fallback,
}

impl Way {
    /// The same models, called with the project's own keys where it has some.
    pub(crate) fn with(mut self, own: &Own) -> Self {
        for target in std::iter::once(&mut self.asked).chain(&mut self.rest) {
            target.take(own);
        }
        self
    }

    /// The id of the model that was asked for.
    pub(crate) fn model(&self) -> &Arc<str> {
        &self.asked.id
    }

    /// The ids of all models that may answer, in order.
    pub(crate) fn models(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.asked).chain(&self.rest).map(|t| t.id.as_ref())
    }

    /// What may happen when a model fails.
    pub(crate) fn fallback(&self) -> &Fallback {
        &self.fallback
    }

    /// True when the request may leave this process.
    pub(crate) fn leaves(&self) -> bool {
        std::iter::once(&self.asked).chain(&self.rest).any(|t| t.upstream.name != builtin::PROVIDER)
    }
}
