//! The settings of the file store.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of the file store, the section `[file_store]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The directory of the file contents; absent: `blobs` in the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blobs: Option<PathBuf>,
    /// How many MiB of revisions' file lists are kept in memory.
    pub manifest_cache_mib: u64,
    /// How many archives, and differences of large files, are worked on at once; the others wait.
    pub heavy_calls: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { blobs: None, manifest_cache_mib: 64, heavy_calls: 4 }
    }
}

impl Settings {
    /// Names the first key whose value cannot be used.
    pub fn check(&self) -> Result<(), String> {
        if self.blobs.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err("blobs must name a directory, or be left out".to_owned());
        }
        if !(1..=65_536).contains(&self.manifest_cache_mib) {
            return Err("manifest_cache_mib must be between 1 and 65536".to_owned());
        }
        if !(1..=256).contains(&self.heavy_calls) {
            return Err("heavy_calls must be between 1 and 256".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_are_named() {
        assert_eq!(Settings::default().check(), Ok(()));
        let bad = Settings { heavy_calls: 0, ..Settings::default() };
        assert!(bad.check().unwrap_err().contains("heavy_calls"));
        let bad = Settings { manifest_cache_mib: 0, ..Settings::default() };
        assert!(bad.check().unwrap_err().contains("manifest_cache_mib"));
        assert!(serde_json::from_str::<Settings>(r#"{"unknown": 1}"#).is_err());
    }
}
