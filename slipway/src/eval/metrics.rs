//! How good a ranking is.

use serde::Serialize;

/// Figures of many rankings, each between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Metrics {
    /// Of the files that had to be found, the share among the first k; averaged over the samples.
    pub(crate) recall_at_1: f64,
    pub(crate) recall_at_3: f64,
    pub(crate) recall_at_5: f64,
    pub(crate) recall_at_10: f64,
    /// The share of samples of which all files are among the first k.
    pub(crate) all_at_5: f64,
    pub(crate) all_at_10: f64,
    /// One by the rank of the first file that had to be found; averaged.
    pub(crate) mrr: f64,
}

impl Metrics {
    /// The names, as a table has them.
    pub(crate) const NAMES: [&'static str; 7] = ["recall@1", "recall@3", "recall@5", "recall@10", "all@5", "all@10", "MRR"];

    /// The figures in the order of the names.
    pub(crate) fn values(&self) -> [f64; 7] {
        let m = self;
        [m.recall_at_1, m.recall_at_3, m.recall_at_5, m.recall_at_10, m.all_at_5, m.all_at_10, m.mrr]
    }

    /// Of rankings, each given by the ranks (from 0) of the files that had to be found; `None` for one that was not ranked.
    pub(crate) fn of<'a>(rankings: impl IntoIterator<Item = &'a [Option<usize>]>) -> Self {
        let mut sum = [0.0; 7];
        let mut count = 0.0f64;
        for ranks in rankings {
            let within = |k: usize| ranks.iter().flatten().filter(|rank| **rank < k).count();
            let share = |k| within(k) as f64 / ranks.len().max(1) as f64;
            let all = |k| f64::from(u8::from(within(k) == ranks.len()));
            let first = ranks.iter().flatten().min().map_or(0.0, |rank| 1.0 / (*rank as f64 + 1.0));
            let one = [share(1), share(3), share(5), share(10), all(5), all(10), first];
            sum.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
            count += 1.0;
        }
        let [recall_at_1, recall_at_3, recall_at_5, recall_at_10, all_at_5, all_at_10, mrr] = sum.map(|s| s / count.max(1.0));
        Self { recall_at_1, recall_at_3, recall_at_5, recall_at_10, all_at_5, all_at_10, mrr }
    }
}

/// Where the files that had to be found are in a ranking.
pub(crate) fn ranks(ranking: &[&str], truth: &[String]) -> Vec<Option<usize>> {
    truth.iter().map(|file| ranking.iter().position(|ranked| ranked == file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_definitions() {
        let truth = ["a".to_owned(), "b".to_owned()];
        let first = ranks(&["a", "x", "b"], &truth);
        let second = ranks(&["x", "y", "z", "u", "v", "a"], &truth);
        assert_eq!(second, [Some(5), None]);
        let m = Metrics::of([&first[..], &second[..]]);
        let expected = [0.25, 0.5, 0.5, 0.75, 0.5, 0.5, (1.0 + 1.0 / 6.0) / 2.0];
        for (name, (is, expected)) in Metrics::NAMES.iter().zip(m.values().into_iter().zip(expected)) {
            assert!((is - expected).abs() < 1e-12, "{name} is {is}, not {expected}");
        }
        assert_eq!(Metrics::of([]), Metrics::default());
    }
}
