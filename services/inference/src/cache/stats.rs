//! How often the cache helped, for each project and for the metrics.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use slipway_rpc::ProjectId;
use slipway_telemetry::Metrics;

use crate::model::HitKind;

// More projects are counted in the metrics only.
const MAX_PROJECTS: usize = 10_000;

/// What a project has of the cache, on this replica since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Answers are kept at all.
    pub(crate) enabled: bool,
    /// Answers that are kept.
    pub(crate) entries: u64,
    /// Their bytes, about.
    pub(crate) bytes: u64,
    /// Calls answered by a kept answer.
    pub(crate) hits: u64,
    /// Calls that joined one under way.
    pub(crate) shared: u64,
    /// Calls answered by an answer to a question that means the same.
    pub(crate) semantic: u64,
    /// Calls that were made.
    pub(crate) misses: u64,
}

/// The counters of all projects.
pub(super) struct Counters {
    projects: Mutex<HashMap<ProjectId, Stats>>,
    metrics: Metrics,
}

impl Counters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self { projects: Mutex::default(), metrics: metrics.clone() }
    }

    pub(super) fn hit(&self, project: ProjectId, kind: HitKind) {
        self.metrics.model_cache(kind.name());
        self.count(project, |stats| match kind {
            HitKind::Exact => stats.hits += 1,
            HitKind::Shared => stats.shared += 1,
            HitKind::Semantic => stats.semantic += 1,
        });
    }

    pub(super) fn miss(&self, project: ProjectId) {
        self.metrics.model_cache("miss");
        self.count(project, |stats| stats.misses += 1);
    }

    pub(super) fn not_embedded(&self) {
        self.metrics.model_cache("embedding_failed");
    }

    pub(super) fn of(&self, project: ProjectId) -> Stats {
        self.lock().get(&project).copied().unwrap_or_default()
    }

    fn count(&self, project: ProjectId, change: impl FnOnce(&mut Stats)) {
        let mut projects = self.lock();
        if projects.len() < MAX_PROJECTS || projects.contains_key(&project) {
            change(projects.entry(project).or_default());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, Stats>> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
