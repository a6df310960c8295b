//! Calls of models on tape: recorded once, replayed without a network.
//!
//! A recording is made below everything else, of the request as it would leave, and is found by a hash of that request. When
//! none is there the call fails and says which comes nearest: a changed prompt is never answered by an old recording. The
//! directory belongs to the operator and knows no projects: replaying is for tests and for development.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::provider::Provider;
use crate::settings::{ProviderKind, ProviderSettings, RecordingMode, RecordingsSettings};

mod clean;
mod nearest;
mod record;
mod recording;
mod replay;
mod script;
#[cfg(test)]
mod tests;

use clean::Cleaner;
use record::Recorder;
use replay::Player;

pub(crate) use script::{ScriptError, open as open_script};

/// The recordings of this process.
pub(crate) struct Recordings {
    mode: RecordingMode,
    directory: PathBuf,
    paced: bool,
    cleaner: Cleaner,
}

impl Recordings {
    /// As the settings say; `providers`: whose keys must not be written.
    pub(crate) fn new<'a>(settings: &RecordingsSettings, providers: impl Iterator<Item = &'a ProviderSettings>) -> Self {
        let keys = providers.flat_map(ProviderSettings::keys).cloned().collect();
        let directory = settings.directory.clone().unwrap_or_default();
        Self { mode: settings.mode, directory, paced: settings.paced, cleaner: Cleaner::new(keys) }
    }

    /// A provider's client as it is to be used: itself, listened to, or replaced.
    pub(crate) fn of(&self, name: &str, settings: &ProviderSettings, client: Arc<dyn Provider>) -> Arc<dyn Provider> {
        let directory = self.directory.join(name);
        match self.mode {
            RecordingMode::Off => client,
            // It plays already.
            _ if settings.kind(name) == ProviderKind::Script => client,
            RecordingMode::Record => Arc::new(Recorder::new(name, directory, self.cleaner.clone(), client)),
            RecordingMode::Replay => {
                Arc::new(Player::new(name, directory, self.cleaner.clone(), settings.models.clone(), self.paced))
            }
        }
    }
}

// More are not looked through for the nearest one.
const MAX_FILES: usize = 5_000;

/// The recordings in a directory; names that a recording cannot have are not looked at.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path());
    let mut found: Vec<_> = entries.filter(|p| p.extension().is_some_and(|e| e == "json")).take(MAX_FILES).collect();
    found.sort();
    found
}
