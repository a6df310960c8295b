//! Cells that replicas share: small values, each under a key, that change only by compare and swap. Kept in memory and not
//! for ever: what a cell holds must be something that its users can do without.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::BusError;
use crate::event::check_subject;
use crate::nats::cells::Table;

/// A cell that nobody has changed for so long is gone.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Which state of a cell something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    pub(crate) sequence: u64,
    /// Of which connection to the server: a server that was away may have forgotten its cells and count anew.
    pub(crate) connection: u64,
}

/// A cell as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What a swap of it has to name.
    pub revision: Revision,
    /// What it holds.
    pub value: Bytes,
}

/// A process's way to the cells; cheap to clone.
#[derive(Clone)]
pub struct Cells(Arc<Place>);

enum Place {
    /// Of a process that is alone. They are not forgotten as long as it lives.
    Here(Mutex<HashMap<String, (u64, Bytes)>>),
    Nats(Box<Table>),
}

impl Cells {
    pub(crate) fn in_process() -> Cells {
        Cells(Arc::new(Place::Here(Mutex::default())))
    }

    pub(crate) fn on(table: Table) -> Cells {
        Cells(Arc::new(Place::Nats(Box::new(table))))
    }

    /// What the cell of `key` holds, if there is one. A key is words of letters, digits, `-` and `_` with dots between.
    pub async fn read(&self, key: &str) -> Result<Option<Cell>, BusError> {
        check_subject(key, false)?;
        match &*self.0 {
            Place::Here(cells) => Ok(locked(cells).get(key).map(|(sequence, value)| Cell {
                revision: Revision { sequence: *sequence, connection: 0 },
                value: value.clone(),
            })),
            Place::Nats(table) => table.read(key).await,
        }
    }

    /// Puts `value` into the cell if it still is at `revision`, where `None` means that there is no such cell; the new
    /// revision, or nothing when somebody else was quicker. An error may have swapped nonetheless.
    pub async fn swap(&self, key: &str, revision: Option<Revision>, value: Bytes) -> Result<Option<Revision>, BusError> {
        check_subject(key, false)?;
        match &*self.0 {
            Place::Here(cells) => Ok(swap_here(&mut locked(cells), key, revision, value)),
            Place::Nats(table) => table.swap(key, revision, value).await,
        }
    }
}

fn locked(cells: &Mutex<HashMap<String, (u64, Bytes)>>) -> MutexGuard<'_, HashMap<String, (u64, Bytes)>> {
    cells.lock().unwrap_or_else(PoisonError::into_inner)
}

fn swap_here(cells: &mut HashMap<String, (u64, Bytes)>, key: &str, revision: Option<Revision>, value: Bytes) -> Option<Revision> {
    let found = cells.get(key).map_or(0, |(sequence, _)| *sequence);
    if found != revision.map_or(0, |revision| revision.sequence) {
        return None;
    }
    cells.insert(key.to_owned(), (found + 1, value));
    Some(Revision { sequence: found + 1, connection: 0 })
}

impl std::fmt::Debug for Cells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cells")
    }
}
