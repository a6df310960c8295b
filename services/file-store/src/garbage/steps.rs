//! Where tests end a collector, after any number of its steps, hold it up, and hold up writers, before they land.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::CollectError;

/// Counts the steps down to the end. 0: there is none.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    left: AtomicU64,
    gate: watch::Sender<Gate>,
    halt: watch::Sender<Halt>,
    /// Writers who have found something condemned.
    pub(crate) stopped: Notify,
}

/// Where a collector is held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// What is marked is about to be condemned.
    Condemning,
    /// Some manifests were read, and others are to come.
    Page,
}

/// Whether one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Halt {
    #[default]
    Nowhere,
    /// When it gets there.
    At(Place),
    There(Place),
}

/// What writers meet when everything is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Gate {
    #[default]
    Open,
    /// Long enough for a collection.
    Slow(Duration),
    Shut,
    /// Shut, and somebody is waiting.
    Waiting,
}

impl Steps {
    /// Has the collector end, as if its process were killed, after `steps` more.
    pub(crate) fn kill_after(&self, steps: u64) {
        self.left.store(steps + 1, Ordering::SeqCst);
    }

    /// Whether the end has not come yet; there is none from now on.
    pub(crate) fn spare(&self) -> bool {
        self.left.swap(0, Ordering::SeqCst) > 0
    }

    pub(super) fn take(&self) -> Result<(), CollectError> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left == Ok(1) { Err(CollectError::Killed) } else { Ok(()) }
    }

    /// Lets the collector go on, to be held up where it comes by `place` next; `None`: nowhere.
    pub(crate) fn halt(&self, place: Option<Place>) {
        self.halt.send_replace(place.map_or(Halt::Nowhere, Halt::At));
    }

    /// Waits until it is held up there.
    pub(crate) async fn halted(&self, place: Place) {
        let _ = self.halt.subscribe().wait_for(|halt| *halt == Halt::There(place)).await;
    }

    /// A collector comes by.
    pub(crate) async fn come_by(&self, place: Place) {
        let mut halt = self.halt.subscribe();
        if *halt.borrow() == Halt::At(place) {
            self.halt.send_replace(Halt::There(place));
            let _ = halt.wait_for(|halt| *halt != Halt::There(place)).await;
        }
    }

    pub(crate) fn set_gate(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }

    /// Waits until a writer stands at the gate.
    pub(crate) async fn writer_waits(&self) {
        let _ = self.gate.subscribe().wait_for(|gate| *gate == Gate::Waiting).await;
    }

    /// A writer comes by.
    pub(crate) async fn pass(&self) {
        let mut gate = self.gate.subscribe();
        let now = *gate.borrow();
        match now {
            Gate::Open => {}
            Gate::Slow(pause) => tokio::time::sleep(pause).await,
            Gate::Shut | Gate::Waiting => {
                self.gate.send_replace(Gate::Waiting);
                let _ = gate.wait_for(|gate| *gate == Gate::Open).await;
            }
        }
    }
}
