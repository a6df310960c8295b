//! What the audience sees: numbered steps, what came of them, and at the end how long each took.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::output::{Out, Paint};

/// How far what belongs to a step is moved to the right.
pub(super) const INDENT: &str = "    ";

/// The stage; with `--json` it prints one line per step.
pub(super) struct Stage<'a> {
    pub(super) out: &'a Out,
    started: Instant,
    steps: Vec<Step>,
}

struct Step {
    name: &'static str,
    began: Instant,
    took: Option<Duration>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(out: &'a Out) -> Self {
        Self { out, started: Instant::now(), steps: Vec::new() }
    }

    pub(super) fn paint(&self) -> Paint {
        self.out.paint
    }

    pub(super) fn open(&self, chart: &Path) -> anyhow::Result<()> {
        let paint = self.paint();
        self.text(format!(
            "\n{}  {}",
            paint.bold("Slipway, the whole way once"),
            paint.dim(format!("on the chart {}", chart.display()))
        ))?;
        self.text(
            paint.dim("A sentence becomes a reviewed change to real files. Everything below went over the public gRPC API."),
        )
    }

    /// Begins the next step.
    pub(super) fn step(&mut self, name: &'static str, title: &str) -> anyhow::Result<()> {
        self.end();
        self.steps.push(Step { name, began: Instant::now(), took: None });
        let number = self.paint().cyan(format!("{:>2}", self.steps.len()));
        self.text(format!("\n{number}  {}", self.paint().bold(title)))
    }

    /// A result of the step.
    pub(super) fn done(&self, text: impl AsRef<str>) -> anyhow::Result<()> {
        self.text(format!("{INDENT}{} {}", self.paint().green("✓"), text.as_ref()))
    }

    /// Something that was not done, and why.
    pub(super) fn skipped(&self, text: impl AsRef<str>) -> anyhow::Result<()> {
        self.text(format!("{INDENT}{} {}", self.paint().yellow("–"), text.as_ref()))
    }

    /// What somebody says.
    pub(super) fn says(&self, who: &str, text: &str) -> anyhow::Result<()> {
        self.text(format!("{INDENT}{} {text}", self.paint().yellow(format!("{who}:"))))
    }

    /// A block of text that belongs to the step.
    pub(super) fn block(&self, text: &str) -> anyhow::Result<()> {
        text.lines().try_for_each(|line| self.text(format!("{INDENT}{line}").trim_end()))
    }

    fn text(&self, text: impl AsRef<str>) -> anyhow::Result<()> {
        if self.out.is_json() { Ok(()) } else { self.out.line(text) }
    }

    /// The step that runs, for a message of failure.
    pub(super) fn place(&self) -> String {
        self.steps.last().map_or_else(|| "the beginning".to_owned(), |s| format!("step {} ({})", self.steps.len(), s.name))
    }

    /// The end: how long each step took.
    pub(super) fn close(&mut self) -> anyhow::Result<()> {
        self.end();
        let total = self.started.elapsed();
        if self.out.is_json() {
            let steps: Vec<_> =
                self.steps.iter().map(|s| serde_json::json!({"name": s.name, "seconds": rounded(s.took)})).collect();
            return self.out.line(serde_json::json!({"ok": true, "seconds": rounded(Some(total)), "steps": steps}).to_string());
        }
        let paint = self.paint();
        let times: Vec<_> = self.steps.iter().map(|s| format!("{} {}", s.name, seconds(s.took.unwrap_or_default()))).collect();
        self.text(format!("\n{} {}", paint.green(paint.bold("Done in")), paint.bold(seconds(total))))?;
        self.text(format!("{INDENT}{}", paint.dim(times.join(" · "))))?;
        self.text(format!("{INDENT}{}\n", paint.dim("`make up` leaves the suite running and prints how to try it.")))
    }

    fn end(&mut self) {
        if let Some(step) = self.steps.last_mut() {
            step.took.get_or_insert(step.began.elapsed());
        }
    }
}

/// A time for people.
pub(super) fn seconds(time: Duration) -> String {
    if time < Duration::from_millis(100) { format!("{} ms", time.as_millis()) } else { format!("{:.1} s", time.as_secs_f64()) }
}

fn rounded(time: Option<Duration>) -> f64 {
    (time.unwrap_or_default().as_secs_f64() * 1000.0).round() / 1000.0
}
