//! What the self-test prints: a table, or one JSON document.

use serde::Serialize;

use super::metrics::Metrics;
use crate::output::{Out, Table};

/// Figures of one ranking over some samples.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) samples: usize,
    #[serde(flatten)]
    pub(crate) metrics: Metrics,
}

/// The result of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) samples: usize,
    /// Of the packages' files, over the samples.
    pub(crate) median_files: usize,
    /// How long one choice took. Not a part of what the seed decides.
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    pub(crate) fn print(&self, out: &Out) -> anyhow::Result<()> {
        if out.is_json() {
            return out.line(serde_json::to_string(self)?);
        }
        let header: Vec<&str> = ["", "samples"].into_iter().chain(Metrics::NAMES).collect();
        let mut table = Table::plain(&header, out.paint);
        for row in &self.rows {
            let [a, b, c, d, e, f, g] = row.metrics.values().map(|value| format!("{value:.3}"));
            table.row([row.name.clone(), row.samples.to_string(), a, b, c, d, e, f, g]);
        }
        out.line(table.text())?;
        out.note(format!(
            "{} commits, seed {}, {} files in the median package; a choice took {:.1} ms (p50), {:.1} ms (p95)",
            self.samples, self.seed, self.median_files, self.p50_ms, self.p95_ms
        ));
        Ok(())
    }
}
