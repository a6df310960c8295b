//! The settings of what is done beside the answer that was asked for: quick answers and batches.

use serde::{Deserialize, Serialize};

use crate::model::split_model;

/// `[inference.quick]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuickSettings {
    /// The model that gives quick answers, as `provider/model`; empty: the one that gives the detailed one.
    pub model: String,
    /// The most tokens of a quick answer.
    pub max_output_tokens: u32,
    /// How long the detailed answer is held back for the quick one to come first, at most.
    pub hold_ms: u64,
}

impl Default for QuickSettings {
    fn default() -> Self {
        Self { model: String::new(), max_output_tokens: 150, hold_ms: 3_000 }
    }
}

impl QuickSettings {
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.model.is_empty() && split_model(&self.model).is_none() {
            return Err(format!("inference.quick.model = \"{}\" is not provider/model", self.model));
        }
        if !(16..=4_096).contains(&self.max_output_tokens) {
            return Err(format!("inference.quick.max_output_tokens = {} is not between 16 and 4096", self.max_output_tokens));
        }
        if self.hold_ms > 60_000 {
            return Err(format!("inference.quick.hold_ms = {} is over 60000", self.hold_ms));
        }
        Ok(())
    }
}

/// `[inference.batch]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// How many calls of one batch go to one provider at the same time.
    pub per_provider: usize,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self { per_provider: 8 }
    }
}

impl BatchSettings {
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=100).contains(&self.per_provider) {
            return Err(format!("inference.batch.per_provider = {} is not between 1 and 100", self.per_provider));
        }
        Ok(())
    }
}
