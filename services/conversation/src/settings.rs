//! The conversation service's settings and their checks.

use serde::{Deserialize, Serialize};

/// `[conversation]` in `slipway.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many runs this process works on at a time; more wait in the queue.
    pub concurrency: usize,
    /// How often a run is tried, counting every takeover after a crash, before it is failed.
    pub max_attempts: u32,
    /// How long a worker may be silent before another takes its run over, in seconds.
    pub lease_seconds: u64,
    /// How many earlier messages a model is shown.
    pub history_messages: u64,
    /// How many bytes of earlier messages a model is shown at most; the oldest are left out first.
    pub history_bytes: usize,
    /// How many places of the workspace a model is shown.
    pub context_hits: u32,
    /// How long a stream may be idle before it sends a heartbeat, in seconds.
    pub heartbeat_seconds: u64,
    /// How often a worker looks for cancels that another replica accepted, in milliseconds.
    pub cancel_poll_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 1024,
            max_attempts: 5,
            lease_seconds: 15,
            history_messages: 20,
            history_bytes: 256 * 1024,
            context_hits: 8,
            heartbeat_seconds: 15,
            cancel_poll_ms: 1000,
        }
    }
}

impl Settings {
    /// Whether the values can work; otherwise a sentence that names the key.
    pub fn check(&self) -> Result<(), String> {
        within("concurrency", self.concurrency as u64, 1, 100_000)?;
        within("max_attempts", u64::from(self.max_attempts), 1, 100)?;
        within("lease_seconds", self.lease_seconds, 2, 600)?;
        within("history_messages", self.history_messages, 0, 500)?;
        within("history_bytes", self.history_bytes as u64, 0, 4 * 1024 * 1024)?;
        within("context_hits", u64::from(self.context_hits), 1, 100)?;
        within("heartbeat_seconds", self.heartbeat_seconds, 1, 300)?;
        within("cancel_poll_ms", self.cancel_poll_ms, 10, 60_000)
    }
}

fn within(key: &str, value: u64, min: u64, max: u64) -> Result<(), String> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(format!("conversation.{key} must be from {min} to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good() {
        Settings::default().check().unwrap();
    }

    #[test]
    fn a_bad_value_is_named() {
        let settings = Settings { heartbeat_seconds: 0, ..Settings::default() };
        assert_eq!(settings.check().unwrap_err(), "conversation.heartbeat_seconds must be from 1 to 300");
    }
}
