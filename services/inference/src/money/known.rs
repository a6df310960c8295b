//! The budgets as this process knows them: in memory, so that a call which none limits asks no database.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use slipway_storage::StorageError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::model::{Budget, Payer, SubjectKind};
use crate::store::LedgerStore;

/// Announcements may get lost; within this time every process knows.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const TOPIC: &str = "budgets";

/// All budgets, by their owner.
#[derive(Debug)]
pub(crate) struct KnownBudgets {
    store: LedgerStore,
    by_owner: RwLock<Arc<ByOwner>>,
    /// Held while they are read: what was read before a change must not replace what was read after it.
    reading: tokio::sync::Mutex<()>,
}

/// By the project, or the organisation where the budget is its.
type ByOwner = HashMap<(bool, Uuid), Vec<Arc<Budget>>>;

impl KnownBudgets {
    pub(super) fn new(store: LedgerStore) -> Self {
        Self { store, by_owner: RwLock::default(), reading: tokio::sync::Mutex::default() }
    }

    /// Reads all of them again.
    pub(crate) async fn refresh(&self) -> Result<(), StorageError> {
        let _one_at_a_time = self.reading.lock().await;
        let mut by_owner = ByOwner::new();
        for budget in self.store.all_budgets().await? {
            let owner = match budget.kind {
                SubjectKind::Organisation => (true, budget.organisation),
                _ => (false, budget.project),
            };
            by_owner.entry(owner).or_default().push(Arc::new(budget));
        }
        *self.by_owner.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(by_owner);
        Ok(())
    }

    /// Reads them again, because this process has changed one, and tells the others.
    pub(crate) async fn changed(&self) -> Result<(), StorageError> {
        self.store.database().announce(TOPIC, Bytes::new());
        self.refresh().await
    }

    /// The budgets that a payer falls under, each with which of its subjects the payer is, in the order in which they are
    /// asked.
    pub(crate) fn of(&self, payer: &Payer) -> Vec<(Arc<Budget>, String)> {
        let by_owner = self.by_owner.read().unwrap_or_else(PoisonError::into_inner).clone();
        if by_owner.is_empty() {
            return Vec::new();
        }
        let owners = [(true, payer.organisation), (false, payer.project)];
        let all = owners.iter().filter_map(|owner| by_owner.get(owner)).flatten();
        let mut found: Vec<_> = all.filter_map(|b| Some((b.clone(), b.subject_of(payer)?))).collect();
        found.sort_by_key(|(budget, _)| budget.precedence());
        found
    }

    /// Keeps up with what other processes change.
    pub(super) async fn follow(self: Arc<Self>, end: CancellationToken) {
        let mut others = self.store.database().listen(TOPIC);
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                _ = ticks.tick() => {}
                _ = others.next() => {}
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "budgets cannot be read; those known stay in force");
            }
        }
    }
}
