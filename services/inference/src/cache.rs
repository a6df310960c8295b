//! Answers that need no call: kept ones, and those of a call that is under way for another caller.
//!
//! Both are found by a key over everything that can change an answer, the project first: nothing crosses from one project to
//! another. What is kept is bounded by entries, bytes and age; what is shared ends with its last reader.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use slipway_rpc::ProjectId;
use slipway_telemetry::Metrics;

use crate::model::{CacheHit, CachePolicy, Delta, HitKind, Request};
use crate::provider::Answer;
use crate::route::Way;
use crate::settings::{CacheSettings, SemanticSettings};

mod flight;
mod keep;
mod kept;
mod key;
mod marks;
mod semantic;
mod stats;
#[cfg(test)]
mod tests;

pub(crate) use key::Key;
pub(crate) use semantic::{Asking, Placed};
pub(crate) use stats::Stats;

use flight::Flight;
use keep::keep;
use kept::Kept;
use key::Question;
use semantic::Semantic;
use stats::Counters;

/// The cache of this process.
pub(crate) struct Cache {
    kept: Option<Kept>,
    semantic: Option<Semantic>,
    flights: Arc<Flights>,
    shares: bool,
    max_temperature: f64,
    counters: Counters,
}

/// How a call with a key begins.
pub(crate) enum Lead<M> {
    /// It is made: its first reader.
    Call(Answer),
    /// The same call has begun in the meantime, for another caller: what this one had for it is given back.
    Shared(Answer, CacheHit, M),
}

/// The calls under way, by key. An entry whose call has ended is dead and goes when it is next come across.
#[derive(Default)]
struct Flights(Mutex<HashMap<Key, Weak<Flight>>>);

impl Cache {
    /// As the settings say.
    pub(crate) fn new(settings: &CacheSettings, metrics: &Metrics) -> Self {
        Self {
            kept: Kept::new(settings),
            semantic: Semantic::new(settings),
            flights: Arc::default(),
            shares: settings.ttl_seconds > 0 || settings.share_in_flight,
            max_temperature: settings.max_temperature,
            counters: Counters::new(metrics),
        }
    }

    /// The key of a question, when its answer may be kept or shared. A caller who asks for chance gets it.
    pub(crate) fn key(&self, project: ProjectId, policy: CachePolicy, way: &Way, request: &Request) -> Option<Key> {
        let on = self.shares && policy != CachePolicy::Bypass;
        let steady = request.temperature.unwrap_or(0.0) <= self.max_temperature;
        (on && steady).then(|| Key::new(project, &question(way, request)))
    }

    /// True when answers are kept at all.
    pub(crate) fn keeps(&self) -> bool {
        self.kept.is_some()
    }

    /// True when the answer is there or on its way.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.has(key)) || self.flights.find(key).is_some()
    }

    /// The question as one whose meaning can be looked up, where the caller and the settings want that. Not of a call that
    /// stays in this process: its text has not been screened.
    pub(crate) fn asking(&self, project: ProjectId, policy: CachePolicy, way: &Way, request: &Request) -> Option<Asking> {
        let semantic = self.semantic.as_ref().filter(|_| policy == CachePolicy::Semantic && way.leaves())?;
        semantic.asking(project, &question(way, request))
    }

    /// How meanings are looked up; `None`: they are not.
    pub(crate) fn semantic(&self) -> Option<&SemanticSettings> {
        self.semantic.as_ref().map(Semantic::settings)
    }

    /// A project's text could not be embedded. For a while no other of its texts is tried.
    pub(crate) async fn not_embedded(&self, project: ProjectId) {
        self.counters.not_embedded();
        if let Some(semantic) = &self.semantic {
            semantic.rest(project).await;
        }
    }

    /// The answer to a question that means the same, if one is kept.
    pub(crate) async fn find_near(&self, placed: &Placed) -> Option<(Answer, CacheHit)> {
        let (semantic, kept) = (self.semantic.as_ref()?, self.kept.as_ref()?);
        for near in semantic.find(placed).await {
            if let Some(answer) = kept.get(&near.answer).await {
                self.counters.hit(near.answer.project, HitKind::Semantic);
                let (kind, similarity) = (HitKind::Semantic, near.similarity);
                return Some((answer.play(), CacheHit { kind, age: answer.age(), similarity }));
            }
        }
        None
    }

    /// From now on the answer to `key`, once it is kept, also answers what means the same.
    pub(crate) async fn place(&self, placed: Placed, key: Key) {
        if let Some(semantic) = &self.semantic {
            semantic.put(placed, key).await;
        }
    }

    /// The answer, if it is there or on its way. `Refresh` wants neither.
    pub(crate) async fn find(&self, key: &Key, policy: CachePolicy) -> Option<(Answer, CacheHit)> {
        if policy == CachePolicy::Refresh {
            return None;
        }
        if let Some(found) = self.recall(key).await {
            return Some(found);
        }
        match self.flights.find(key)?.join() {
            Some(answer) => Some(self.shared(key, answer)),
            // It has ended in this moment.
            None => self.recall(key).await,
        }
    }

    /// Begins a call: others may join it from now on, and its answer is kept when it is whole. Should the same call have
    /// begun in the meantime, that one is joined. `model`: who is to answer; `call`: the call's stream, made of `means`.
    pub(crate) fn lead<M>(
        &self,
        key: Key,
        policy: CachePolicy,
        model: &str,
        means: M,
        call: impl FnOnce(M) -> Answer,
    ) -> Lead<M> {
        let mut flights = self.flights.lock();
        let begun = flights.get(&key).and_then(Weak::upgrade).filter(|_| policy != CachePolicy::Refresh);
        if let Some(joined) = begun.clone().and_then(Flight::join) {
            drop(flights);
            let (answer, hit) = self.shared(&key, joined);
            return Lead::Shared(answer, hit, means);
        }
        let deltas = call(means);
        let deltas = match &self.kept {
            Some(kept) => keep(key, model, kept.clone(), deltas),
            None => deltas,
        };
        let (flight, leader) = Flight::begin(deltas);
        flights.insert(key, Arc::downgrade(&flight));
        // What is dropped below may want the table.
        drop(flights);
        flight.at_end(End { flights: self.flights.clone(), key });
        self.counters.miss(key.project);
        Lead::Call(leader)
    }

    async fn recall(&self, key: &Key) -> Option<(Answer, CacheHit)> {
        let answer = self.kept.as_ref()?.get(key).await?;
        self.counters.hit(key.project, HitKind::Exact);
        Some((answer.play(), CacheHit { kind: HitKind::Exact, age: answer.age(), similarity: 1.0 }))
    }

    fn shared(&self, key: &Key, answer: Answer) -> (Answer, CacheHit) {
        self.counters.hit(key.project, HitKind::Shared);
        (answer, CacheHit { kind: HitKind::Shared, age: Duration::ZERO, similarity: 1.0 })
    }

    /// Forgets what is kept for a project, and tells how many answers that were.
    pub(crate) async fn clear(&self, project: ProjectId) -> u64 {
        if let Some(semantic) = &self.semantic {
            semantic.clear(project).await;
        }
        match &self.kept {
            Some(kept) => kept.clear(project).await,
            None => 0,
        }
    }

    /// What is kept for a project, and how often it helped.
    pub(crate) fn stats(&self, project: ProjectId) -> Stats {
        let (entries, bytes) = self.kept.as_ref().map_or((0, 0), |kept| kept.size(project));
        Stats { enabled: self.kept.is_some(), entries, bytes, ..self.counters.of(project) }
    }
}

fn question<'a>(way: &'a Way, request: &'a Request) -> Question<'a> {
    Question { models: way.models().collect(), request, fallback: way.fallback() }
}

/// Takes a call's entry out of the table when the call is over.
struct End {
    flights: Arc<Flights>,
    key: Key,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        if flights.get(&self.key).is_some_and(|f| f.strong_count() == 0) {
            flights.remove(&self.key);
        }
    }
}

impl Flights {
    fn find(&self, key: &Key) -> Option<Arc<Flight>> {
        self.lock().get(key).and_then(Weak::upgrade)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Weak<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deltas that are there already, as a stream.
fn played(deltas: Arc<[Delta]>) -> Answer {
    stream::iter(0..deltas.len()).map(move |n| Ok(deltas[n].clone())).boxed()
}
