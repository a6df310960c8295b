//! Which lines two texts have in common: the differences of Myers' algorithm, with git's limits to what it may cost.

use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput};

use super::work::Work;

/// Lines of both texts that are the same, or that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) same: bool,
    pub(super) old: Range<usize>,
    pub(super) new: Range<usize>,
}

/// The runs that both texts are made of, in order. `None` when finding them costs more than there is.
pub(super) fn runs(old: &[&str], new: &[&str], work: &Work) -> Option<Vec<Run>> {
    let bytes: usize = old.iter().chain(new).map(|line| line.len()).sum();
    let lines = (old.len() + new.len()) as u64;
    // What the algorithm gives up at is the greater of these two, for each line.
    if !work.spend(lines * lines.isqrt().max(256) / 16) || !work.spend_bytes(bytes) {
        return None;
    }
    let mut input: InternedInput<&str> = InternedInput::default();
    input.update_before(old.iter().copied());
    input.update_after(new.iter().copied());
    let diff = Diff::compute(Algorithm::Myers, &input);
    let range = |range: Range<u32>| range.start as usize..range.end as usize;
    let mut runs = Vec::new();
    let (mut at_old, mut at_new) = (0, 0);
    for hunk in diff.hunks() {
        let (old, new) = (range(hunk.before), range(hunk.after));
        if at_old < old.start {
            runs.push(Run { same: true, old: at_old..old.start, new: at_new..new.start });
        }
        (at_old, at_new) = (old.end, new.end);
        runs.push(Run { same: false, old, new });
    }
    if at_old < old.len() {
        runs.push(Run { same: true, old: at_old..old.len(), new: at_new..new.len() });
    }
    Some(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_both_texts() {
        let of = |old: &[&str], new: &[&str]| runs(old, new, &Work::new(1 << 20)).unwrap();
        let found = of(&["a", "b", "c", "d"], &["a", "x", "y", "c"]);
        let run = |same, old, new| Run { same, old, new };
        assert_eq!(found, [run(true, 0..1, 0..1), run(false, 1..2, 1..3), run(true, 2..3, 3..4), run(false, 3..4, 4..4)]);
        assert_eq!(of(&[], &[]), []);
        assert_eq!(of(&[], &["a"]), [run(false, 0..0, 0..1)]);
        assert_eq!(of(&["a"], &["a"]), [run(true, 0..1, 0..1)]);
        assert_eq!(runs(&["a"], &["b"], &Work::new(1)), None);
    }
}
