//! What an answer has used: as the provider counts it, and as we see it when it does not.

use std::collections::VecDeque;

use crate::model::{Delta, Usage};

/// The count of one answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    // Our estimate of the request.
    expected: u64,
    // What the provider said last; it may say more.
    reported: Option<Usage>,
    // Bytes of the answer.
    written: usize,
}

impl Tally {
    /// What the request is expected to count.
    pub(crate) fn expect_input(&mut self, tokens: u64) {
        self.expected = tokens;
    }

    /// What it is expected to count.
    pub(crate) fn expected_input(&self) -> u64 {
        self.expected
    }

    /// Some bytes of the answer came.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// The provider has counted.
    pub(crate) fn report(&mut self, usage: Usage) {
        self.reported = Some(usage);
    }

    /// The provider has counted although there is more to come.
    pub(crate) fn report_early(&mut self, usage: Usage, out: &mut VecDeque<Delta>) {
        if self.reported != Some(usage) {
            self.reported = Some(usage);
            out.push_back(Delta::Usage(usage));
        }
    }

    /// What a whole answer used.
    pub(crate) fn total(&self) -> Usage {
        self.reported.unwrap_or_else(|| self.estimate())
    }

    /// What an answer used that did not come to its end: at least what was seen of it.
    pub(crate) fn so_far(&self) -> Usage {
        let seen = self.estimate();
        match self.reported {
            None => seen,
            Some(reported) if reported.output >= seen.output => reported,
            Some(reported) => Usage { output: seen.output, estimated: true, ..reported },
        }
    }

    fn estimate(&self) -> Usage {
        Usage { input: self.expected, output: self.written.div_ceil(4) as u64, estimated: true, ..Usage::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_counts_when_the_end_is_missing() {
        let mut tally = Tally::default();
        tally.expect_input(10);
        tally.wrote(40);
        assert_eq!(tally.so_far(), Usage { input: 10, output: 10, estimated: true, ..Usage::default() });
        tally.report(Usage { input: 12, output: 1, ..Usage::default() });
        assert_eq!(tally.so_far(), Usage { input: 12, output: 10, estimated: true, ..Usage::default() });
        assert_eq!(tally.total(), Usage { input: 12, output: 1, ..Usage::default() });
        tally.report(Usage { input: 12, output: 11, ..Usage::default() });
        assert_eq!(tally.so_far(), tally.total());
    }

    #[test]
    fn an_early_count_is_told_once() {
        let mut out = VecDeque::new();
        let mut tally = Tally::default();
        for output in [1, 1, 2] {
            tally.report_early(Usage { output, ..Usage::default() }, &mut out);
        }
        assert_eq!(out.len(), 2);
    }
}
