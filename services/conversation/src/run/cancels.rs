//! Cancels that reach another replica than the one that works on the run: announced at once, and looked for from time to
//! time in case the announcement got lost. The row of the run is what counts.

use std::time::Duration;

use slipway_bus::Signal;
use slipway_storage::Store;
use uuid::Uuid;

use super::Worker;

const TOPIC: &str = "cancels";

/// Tells the other replicas that a cancel of this run was committed.
pub(crate) fn announce_cancel(store: &Store, run_id: Uuid) {
    store.announce(TOPIC, run_id.as_bytes().to_vec());
}

impl Worker {
    /// Cancels what other replicas were asked to cancel and this process works on, until dropped.
    pub(crate) async fn heed_cancels(&self) {
        let every = Duration::from_millis(self.settings.cancel_poll_ms);
        let mut announced = self.records.store().listen(TOPIC);
        loop {
            let ids = tokio::select! {
                () = tokio::time::sleep(every) => self.registry.ids(),
                signal = announced.next() => self.meant_by(&signal),
            };
            if ids.is_empty() {
                continue;
            }
            match self.records.list_cancel_requested(&ids).await {
                Ok(ids) => ids.into_iter().for_each(|id| self.registry.cancel(id)),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "cancels cannot be read"),
            }
        }
    }

    /// The runs of this process that a signal may be about.
    fn meant_by(&self, signal: &Signal) -> Vec<Uuid> {
        let mut ids = self.registry.ids();
        if let Signal::Said(payload) = signal
            && let Ok(announced) = Uuid::from_slice(payload)
        {
            ids.retain(|id| *id == announced);
        }
        ids
    }
}
