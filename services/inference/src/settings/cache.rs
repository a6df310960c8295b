//! The settings of the answer cache.

use serde::{Deserialize, Serialize};

/// `[inference.cache]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSettings {
    /// How long an answer is kept for the same question of the same project; 0: none is.
    pub ttl_seconds: u64,
    /// The most answers that are kept.
    pub entries: u64,
    /// The most memory that they may take, in MiB.
    pub mib: u64,
    /// Calls that ask the same at the same time share one, also when nothing is kept.
    pub share_in_flight: bool,
    /// Calls that ask for a higher temperature want another answer each time, and get it.
    pub max_temperature: f64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { ttl_seconds: 0, entries: 10_000, mib: 64, share_in_flight: false, max_temperature: 0.0 }
    }
}

impl CacheSettings {
    pub(super) fn check(&self) -> Result<(), String> {
        let limits = [
            ("ttl_seconds", self.ttl_seconds, 0, 30 * 86_400),
            ("entries", self.entries, 1, 10_000_000),
            ("mib", self.mib, 1, 65_536),
        ];
        for (key, value, least, most) in limits {
            if !(least..=most).contains(&value) {
                return Err(format!("inference.cache.{key} = {value} is not between {least} and {most}"));
            }
        }
        if !(0.0..=2.0).contains(&self.max_temperature) {
            return Err(format!("inference.cache.max_temperature = {} is not between 0.0 and 2.0", self.max_temperature));
        }
        Ok(())
    }
}
