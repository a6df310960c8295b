//! What was learned about changes, as data: `weights.tsv`, a line a trait with the log-odds that it adds. docs/retrieval.md
//! says how they were learned and from what.

use std::collections::HashMap;
use std::sync::LazyLock;

static WEIGHTS: LazyLock<HashMap<&'static str, f64>> = LazyLock::new(|| parse(include_str!("weights.tsv")));

/// The weight of a trait; 0 for one that tells nothing.
pub(super) fn weight(name: &str) -> f64 {
    WEIGHTS.get(name).copied().unwrap_or(0.0)
}

fn parse(text: &'static str) -> HashMap<&'static str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('\t')).filter_map(|(name, value)| Some((name, value.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_weight() {
        let text = include_str!("weights.tsv");
        let lines = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(WEIGHTS.len(), lines, "a line is no weight, or one is there twice");
        assert!(WEIGHTS.values().all(|w| w.is_finite() && w.abs() < 10.0));
        assert!(weight("kind:chart") > weight("kind:license") && weight("nothing") == 0.0);
    }
}
