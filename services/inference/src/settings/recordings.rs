//! The settings of recordings.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[inference.recordings]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordingsSettings {
    /// What is done with calls.
    pub mode: RecordingMode,
    /// Where recordings are: a folder for each provider, a file for each call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// Replay takes the time that the recorded call took.
    pub paced: bool,
}

/// What is done with calls of models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordingMode {
    /// They are made.
    #[default]
    Off,
    /// They are made and written down.
    Record,
    /// None is made: each is answered as it was recorded, or fails.
    Replay,
}

impl RecordingsSettings {
    pub(super) fn check(&self) -> Result<(), String> {
        let has_directory = self.directory.as_ref().is_some_and(|d| !d.as_os_str().is_empty());
        if self.mode != RecordingMode::Off && !has_directory {
            return Err("inference.recordings.directory is missing; name where recordings are".into());
        }
        Ok(())
    }
}
