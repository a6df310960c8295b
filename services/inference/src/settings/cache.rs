//! The settings of the answer cache.

use serde::{Deserialize, Serialize};

use crate::model::split_model;

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
    /// Answers to questions that mean the same, for callers who want them.
    pub semantic: SemanticSettings,
}

/// `[inference.cache.semantic]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SemanticSettings {
    /// The model that makes vectors of questions, as `provider/model`; empty: none, and only the same question counts.
    pub model: String,
    /// How near two questions must be: the cosine of their vectors.
    pub threshold: f64,
    /// The most questions that are remembered of those that differ in the last message only.
    pub entries: u64,
    /// How long a call waits for its question's vector before it goes on without.
    pub timeout_ms: u64,
    /// For how long no vector is asked for after one could not be had.
    pub rest_seconds: u64,
}

impl Default for SemanticSettings {
    fn default() -> Self {
        Self { model: String::new(), threshold: 0.95, entries: 100, timeout_ms: 2_000, rest_seconds: 30 }
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            ttl_seconds: 0,
            entries: 10_000,
            mib: 64,
            share_in_flight: false,
            max_temperature: 0.0,
            semantic: SemanticSettings::default(),
        }
    }
}

impl CacheSettings {
    pub(super) fn check(&self) -> Result<(), String> {
        let limits = [
            ("ttl_seconds", self.ttl_seconds, 0, 30 * 86_400),
            ("entries", self.entries, 1, 10_000_000),
            ("mib", self.mib, 1, 65_536),
            ("semantic.entries", self.semantic.entries, 1, 10_000),
            ("semantic.timeout_ms", self.semantic.timeout_ms, 10, 60_000),
            ("semantic.rest_seconds", self.semantic.rest_seconds, 0, 3_600),
        ];
        for (key, value, least, most) in limits {
            if !(least..=most).contains(&value) {
                return Err(format!("inference.cache.{key} = {value} is not between {least} and {most}"));
            }
        }
        if !(0.0..=2.0).contains(&self.max_temperature) {
            return Err(format!("inference.cache.max_temperature = {} is not between 0.0 and 2.0", self.max_temperature));
        }
        let SemanticSettings { model, threshold, .. } = &self.semantic;
        if !(0.5..=1.0).contains(threshold) {
            return Err(format!("inference.cache.semantic.threshold = {threshold} is not between 0.5 and 1.0"));
        }
        if !model.is_empty() && split_model(model).is_none() {
            return Err(format!("inference.cache.semantic.model = \"{model}\" is not provider/model"));
        }
        if !model.is_empty() && self.ttl_seconds == 0 {
            return Err("inference.cache.semantic needs answers that are kept: set inference.cache.ttl_seconds".into());
        }
        Ok(())
    }
}
