//! What calls of language models use and cost, by provider and model. Callers name models, so their number is bounded.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use prometheus::{IntCounterVec, Opts, Registry};

/// Models with series of their own; all others share one.
const MAX_MODELS: usize = 200;
const OTHER: &str = "other";

/// The counters.
#[derive(Debug)]
pub(super) struct Models {
    calls: IntCounterVec,
    tokens: IntCounterVec,
    cost: IntCounterVec,
    known: RwLock<HashSet<(String, String)>>,
}

impl Models {
    pub(super) fn register(registry: &Registry) -> Self {
        let valid = "the names and labels are valid constants";
        let family = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels).expect(valid);
            registry.register(Box::new(family.clone())).expect("each family is registered once in a new registry");
            family
        };
        Self {
            calls: family("slipway_model_calls_total", "Ended calls of language models.", &["provider", "model"]),
            tokens: family(
                "slipway_model_tokens_total",
                "Tokens of ended calls, by direction: input, output.",
                &["provider", "model", "direction"],
            ),
            cost: family(
                "slipway_model_cost_micros_total",
                "What ended calls cost, in micro-units of US dollars.",
                &["provider", "model"],
            ),
            known: RwLock::default(),
        }
    }

    pub(super) fn count(&self, provider: &str, model: &str, input: u64, output: u64, cost_micros: i64) {
        let (provider, model) = if self.has_series(provider, model) { (provider, model) } else { (OTHER, OTHER) };
        self.calls.with_label_values(&[provider, model]).inc();
        self.tokens.with_label_values(&[provider, model, "input"]).inc_by(input);
        self.tokens.with_label_values(&[provider, model, "output"]).inc_by(output);
        self.cost.with_label_values(&[provider, model]).inc_by(u64::try_from(cost_micros).unwrap_or(0));
    }

    fn has_series(&self, provider: &str, model: &str) -> bool {
        let key = (provider.to_owned(), model.to_owned());
        if self.known.read().unwrap_or_else(PoisonError::into_inner).contains(&key) {
            return true;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let room = known.len() < MAX_MODELS;
        if room {
            known.insert(key);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_series_is_bounded() {
        let registry = Registry::new();
        let models = Models::register(&registry);
        for n in 0..2 * MAX_MODELS {
            models.count("p", &format!("m{n}"), 1, 2, 3);
        }
        models.count("p", "m0", 1, 2, 3);
        assert_eq!(models.cost.with_label_values(&["p", "m0"]).get(), 6);
        assert_eq!(models.calls.with_label_values(&[OTHER, OTHER]).get(), MAX_MODELS as u64);
        let series = registry.gather().iter().map(|family| family.get_metric().len()).sum::<usize>();
        assert_eq!(series, 4 * (MAX_MODELS + 1));
    }
}
