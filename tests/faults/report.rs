//! The table: fault × outcome. Every column but the first four and the last three must be zero.

use std::fmt::Write as _;
use std::time::Duration;

/// What can be wrong, in the order of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Accepted, and no answer, no revision and no reason; or not taken on at all in a minute.
    Lost,
    /// More than one answer or revision.
    Twice,
    /// The answer or the file is not what the model said.
    Garbled,
    /// A stream with a gap, a second end, or other bytes than those seen before.
    Stream,
    /// A run or a plan that failed though everything came back.
    Failed,
    /// A call of the model whose effect was recorded before.
    Again,
    /// A tool's result, a message, a file or an index entry that belongs to nothing.
    Orphan,
    /// A job that is still there.
    Lease,
    /// An event that is not sent, or has not had its effect.
    Unsent,
    /// An error that blames the wrong side or has no reason.
    Untyped,
    /// The harness itself.
    Harness,
}

const COLUMNS: [(Wrong, &str); 11] = [
    (Wrong::Lost, "lost"),
    (Wrong::Twice, "twice"),
    (Wrong::Garbled, "garbled"),
    (Wrong::Stream, "stream"),
    (Wrong::Failed, "failed"),
    (Wrong::Again, "again"),
    (Wrong::Orphan, "orphan"),
    (Wrong::Lease, "lease"),
    (Wrong::Unsent, "unsent"),
    (Wrong::Untyped, "untyped"),
    (Wrong::Harness, "harness"),
];

/// One round.
pub(super) struct Row {
    fault: String,
    pub(super) answers: usize,
    pub(super) revisions: usize,
    pub(super) cursors: usize,
    /// How long streams that were at work were silent after the fault.
    pub(super) recoveries: Vec<Duration>,
    /// How long the round took, with its proof.
    pub(super) took: Duration,
    /// More about the fault than fits into the table.
    pub(super) note: String,
    findings: Vec<(Wrong, String)>,
}

impl Row {
    pub(super) fn new(fault: String) -> Self {
        Self {
            fault,
            answers: 0,
            revisions: 0,
            cursors: 0,
            recoveries: Vec::new(),
            took: Duration::ZERO,
            note: String::new(),
            findings: Vec::new(),
        }
    }

    pub(super) fn wrong(&mut self, kind: Wrong, what: impl Into<String>) {
        self.findings.push((kind, what.into()));
    }

    pub(super) fn finding(&mut self, what: impl Into<String>) {
        self.wrong(Wrong::Harness, what);
    }

    /// Adds what was found in a part of the round.
    pub(super) fn merge(&mut self, part: Row) {
        self.answers += part.answers;
        self.revisions += part.revisions;
        self.cursors += part.cursors;
        self.findings.extend(part.findings);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn count(&self, kind: Wrong) -> usize {
        self.findings.iter().filter(|(found, _)| *found == kind).count()
    }

    /// The row of the table.
    fn line(&self) -> String {
        let mut text = format!("{:<28} {:>7} {:>9} {:>7}", self.fault, self.answers, self.revisions, self.cursors);
        for (kind, _) in COLUMNS {
            let _ = write!(text, " {:>7}", self.count(kind));
        }
        let (median, longest) = self.silence();
        let _ = writeln!(text, " {median:>10} {longest:>8} {:>6.1}", self.took.as_secs_f32());
        text
    }

    /// The median and the longest silence, in milliseconds.
    fn silence(&self) -> (u128, u128) {
        let mut all: Vec<u128> = self.recoveries.iter().map(Duration::as_millis).collect();
        all.sort_unstable();
        (all.get(all.len() / 2).copied().unwrap_or_default(), all.last().copied().unwrap_or_default())
    }
}

/// All rounds.
pub(super) struct Report {
    seed: u64,
    rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, rows: Vec::new() }
    }

    /// Adds a round and says at once what came of it: a long run is watched.
    #[expect(clippy::print_stderr, reason = "the table is what the test is run for")]
    pub(super) fn add(&mut self, row: Row) {
        let line = row.line();
        eprint!("{}", if self.rows.is_empty() { self.heading() + &line } else { line });
        self.rows.push(row);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.rows.iter().all(|row| row.findings.is_empty())
    }

    /// Says what stands behind the figures.
    #[expect(clippy::print_stderr, reason = "the table is what the test is run for")]
    pub(super) fn print_details(&self) {
        eprint!("{}", self.details());
    }

    fn heading(&self) -> String {
        let mut text = format!("faults, seed {} (silence: from the fault to the next event of a run at work)\n", self.seed);
        let _ = write!(text, "{:<28} {:>7} {:>9} {:>7}", "fault", "answers", "revisions", "cursors");
        for (_, name) in COLUMNS {
            let _ = write!(text, " {name:>7}");
        }
        let _ = writeln!(text, " {:>10} {:>8} {:>6}", "silence ms", "longest", "s");
        text
    }

    fn details(&self) -> String {
        let mut text = String::new();
        for row in self.rows.iter().filter(|row| !row.note.is_empty()) {
            let _ = writeln!(text, "{}: {}", row.fault, row.note);
        }
        for row in &self.rows {
            for (kind, what) in &row.findings {
                let _ = writeln!(text, "{}: {kind:?}: {what}", row.fault);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_finding_spoils_the_table_and_is_told() {
        let mut report = Report::new(7);
        report.add(Row::new("kill nobody".into()));
        assert!(report.is_clean());
        let mut row = Row::new("kill planner".into());
        row.wrong(Wrong::Twice, "plan x has two revisions");
        row.recoveries = vec![Duration::from_millis(3), Duration::from_millis(1), Duration::from_millis(2)];
        assert_eq!(
            row.line().split_whitespace().collect::<Vec<_>>()[5..],
            ["0", "1", "0", "0", "0", "0", "0", "0", "0", "0", "0", "2", "3", "0.0"]
        );
        report.add(row);
        assert!(!report.is_clean());
        assert_eq!(report.details(), "kill planner: Twice: plan x has two revisions\n");
    }
}
