//! The planner's settings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What can be set; every key has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many files a draft looks at, besides `values.yaml` and `Chart.yaml`. 1 to 100.
    pub max_files: u32,
    /// The most bytes of file contents in one prompt. 1,000 to 800,000.
    pub context_bytes: usize,
    /// How often a model may correct a plan that cannot be used. At most 5.
    pub corrections: u32,
    /// The most model calls for one step. 1 to 100.
    pub max_turns: u32,
    /// How many plans are drafted or applied at once. 1 to 1,000.
    pub concurrency: usize,
    /// How often a draft or an apply is tried before the plan fails. 1 to 50.
    pub max_attempts: u32,
    /// The pause before the second attempt, in milliseconds; it doubles. 1 to 60,000.
    pub retry_ms: u64,
    /// How long a worker may be silent before another takes over, in milliseconds. 1,000 to 600,000.
    pub lease_ms: u64,
    /// How often an idle stream gets a heartbeat, in milliseconds. 100 to 600,000.
    pub heartbeat_ms: u64,
    /// How long a model may take for one answer, in milliseconds. 1,000 to 3,600,000.
    pub model_timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_files: 12,
            context_bytes: 200_000,
            corrections: 2,
            max_turns: 12,
            concurrency: 32,
            max_attempts: 5,
            retry_ms: 500,
            lease_ms: 15_000,
            heartbeat_ms: 15_000,
            model_timeout_ms: 300_000,
        }
    }
}

impl Settings {
    /// Names the first key whose value cannot be.
    pub fn check(&self) -> Result<(), String> {
        let within = |key: &str, value: u64, min: u64, max: u64| match (min..=max).contains(&value) {
            true => Ok(()),
            false => Err(format!("planner.{key} is {value}; it must be {min} to {max}")),
        };
        within("max_files", self.max_files.into(), 1, 100)?;
        within("context_bytes", self.context_bytes as u64, 1_000, 800_000)?;
        within("corrections", self.corrections.into(), 0, 5)?;
        within("max_turns", self.max_turns.into(), 1, 100)?;
        within("concurrency", self.concurrency as u64, 1, 1_000)?;
        within("max_attempts", self.max_attempts.into(), 1, 50)?;
        within("retry_ms", self.retry_ms, 1, 60_000)?;
        within("lease_ms", self.lease_ms, 1_000, 600_000)?;
        within("heartbeat_ms", self.heartbeat_ms, 100, 600_000)?;
        within("model_timeout_ms", self.model_timeout_ms, 1_000, 3_600_000)
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    pub(crate) fn model_timeout(&self) -> Duration {
        Duration::from_millis(self.model_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_bad_keys_are_named() {
        Settings::default().check().unwrap();
        let bad = Settings { max_turns: 0, ..Settings::default() };
        assert_eq!(bad.check().unwrap_err(), "planner.max_turns is 0; it must be 1 to 100");
        assert!(toml::from_str::<Settings>("max_turn = 3").unwrap_err().to_string().contains("max_turn"));
        assert_eq!(toml::from_str::<Settings>("max_turns = 3").unwrap().max_turns, 3);
    }
}
