//! The runs that this process works on, so that a cancel reaches them at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Runs by id. A run is known while anyone holds a slot of it.
#[derive(Default)]
pub(crate) struct Registry {
    runs: Mutex<HashMap<Uuid, Known>>,
}

struct Known {
    cancel: CancellationToken,
    slots: usize,
}

/// Keeps a run known.
pub(crate) struct Slot {
    registry: Arc<Registry>,
    run_id: Uuid,
    cancel: CancellationToken,
}

impl Registry {
    /// Makes a run known. A worker that enters after a cancel finds it cancelled, as long as whoever cancelled holds a slot.
    pub(crate) fn enter(self: &Arc<Self>, run_id: Uuid) -> Slot {
        let mut runs = self.lock();
        let known = runs.entry(run_id).or_insert_with(|| Known { cancel: CancellationToken::new(), slots: 0 });
        known.slots += 1;
        Slot { registry: self.clone(), run_id, cancel: known.cancel.clone() }
    }

    /// Cancels a run if it is known.
    pub(crate) fn cancel(&self, run_id: Uuid) {
        if let Some(known) = self.lock().get(&run_id) {
            known.cancel.cancel();
        }
    }

    /// The known runs that are not cancelled.
    pub(crate) fn ids(&self) -> Vec<Uuid> {
        self.lock().iter().filter(|(_, known)| !known.cancel.is_cancelled()).map(|(id, _)| *id).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Known>> {
        self.runs.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Slot {
    pub(crate) fn token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut runs = self.registry.lock();
        if let Some(known) = runs.get_mut(&self.run_id) {
            known.slots -= 1;
            if known.slots == 0 {
                runs.remove(&self.run_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_reaches_a_worker_that_comes_later() {
        let registry = Arc::new(Registry::default());
        let run = Uuid::now_v7();
        let canceller = registry.enter(run);
        canceller.cancel();
        assert!(registry.enter(run).token().is_cancelled());
        assert!(registry.ids().is_empty());
        drop(canceller);
        assert!(!registry.enter(run).token().is_cancelled(), "forgotten once nobody holds it");
        assert!(registry.lock().is_empty());
    }

    #[test]
    fn an_unknown_run_is_not_remembered() {
        let registry = Arc::new(Registry::default());
        registry.cancel(Uuid::now_v7());
        assert!(registry.lock().is_empty());
    }
}
