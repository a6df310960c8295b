//! How much work an edit may be. Time would tell a slow machine from a hostile text no better than chance, so steps are
//! counted: where a text costs more than any honest one, the search ends with a refusal, everywhere at the same step.

use std::cell::Cell;

/// What the edits of one call may cost: some seconds at the worst. An edit of three megabytes of ordinary code costs about a
/// hundredth of it.
pub(super) const MAX_WORK: u64 = 1 << 26;

/// The steps that are left.
#[derive(Debug)]
pub(super) struct Work {
    left: Cell<u64>,
}

impl Work {
    pub(super) fn new(steps: u64) -> Work {
        Work { left: Cell::new(steps) }
    }

    /// Takes steps. False when there are not so many; then none are left, and nothing that was found counts.
    pub(super) fn spend(&self, steps: u64) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(steps));
        steps < left
    }

    /// Takes the steps that go over this many bytes.
    pub(super) fn spend_bytes(&self, bytes: usize) -> bool {
        self.spend(1 + bytes as u64 / 16)
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    /// How many are left.
    #[cfg(test)]
    pub(super) fn left(&self) -> u64 {
        self.left.get()
    }

    /// Whether two lines are the same by this measure. A difference where nothing is left to find out.
    pub(super) fn alike(&self, a: &str, b: &str, same: fn(&str, &str) -> bool) -> bool {
        self.spend_bytes(a.len().min(b.len())) && same(a, b)
    }

    /// Whether all these lines are.
    pub(super) fn all_alike(&self, a: &[&str], b: &[&str], same: fn(&str, &str) -> bool) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.alike(a, b, same))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_is_gone() {
        let work = Work::new(10);
        assert!(work.spend(4) && work.spend_bytes(31) && !work.is_spent());
        assert!(work.alike("a", "a", |a, b| a == b) && !work.alike("a", "b", |a, b| a == b));
        assert!(!work.spend(2) && work.is_spent() && !work.alike("a", "a", |a, b| a == b));
    }
}
