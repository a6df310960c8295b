//! How results reach people and programs: text with calm colours on a terminal, plain text elsewhere, JSON on request.

mod diff;
mod json;
mod money;
mod paint;
mod plan;
mod progress;
mod run;
mod spinner;
mod table;

use std::io::{IsTerminal as _, Write as _};

use prost::Message;

pub(crate) use diff::unified;
pub(crate) use json::Json;
pub(crate) use money::{bar, csv, dollars};
pub(crate) use paint::Paint;
pub(crate) use plan::{PlanPrinter, state_name as plan_state, steps as plan_steps};
pub(crate) use progress::Progress;
pub(crate) use run::RunPrinter;
pub(crate) use spinner::Spinner;
pub(crate) use table::Table;

/// Standard output, and how to write on it.
pub(crate) struct Out {
    json: Option<Json>,
    /// Colours for what goes to standard output.
    pub(crate) paint: Paint,
}

impl Out {
    /// Output as the terminal, `NO_COLOR` and `--json` want it.
    pub(crate) fn new(json: bool) -> anyhow::Result<Self> {
        let terminal = std::io::stdout().is_terminal();
        let json = if json { Some(Json::new()?) } else { None };
        let paint = Paint::new(terminal && json.is_none());
        Ok(Self { json, paint })
    }

    /// True when JSON is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.json.is_some()
    }

    /// One line.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", text.as_ref())?;
        Ok(out.flush()?)
    }

    /// Bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// A remark beside the result, on standard error.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        let paint = Paint::new(std::io::stderr().is_terminal());
        // Nobody is left to tell.
        let _ = writeln!(std::io::stderr().lock(), "{}", paint.dim(text.as_ref()));
    }

    /// A message as one JSON document on a line, when JSON is wanted. `name` is its full name in `proto/` without `slipway.`.
    /// Returns whether it was.
    pub(crate) fn json<M: Message>(&self, name: &str, message: &M) -> anyhow::Result<bool> {
        let Some(json) = &self.json else { return Ok(false) };
        self.line(json.print(name, message)?)?;
        Ok(true)
    }
}

/// `count` things in words: `1 file`, `2 files`.
pub(crate) fn count(n: impl Into<u64>, noun: &str) -> String {
    let n: u64 = n.into();
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// Bytes for people.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A time for people, in UTC.
pub(crate) fn time(timestamp: Option<&prost_types::Timestamp>) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    timestamp
        .and_then(|t| time::OffsetDateTime::from_unix_timestamp(t.seconds).ok())
        .and_then(|t| t.format(format).ok())
        .unwrap_or_default()
}

/// The lines `from` to `to` of a file.
pub(crate) fn place(path: &str, from: u32, to: u32) -> String {
    if from == to { format!("{path}:{from}") } else { format!("{path}:{from}-{to}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!((count(1u64, "file"), count(0u64, "file")), ("1 file".into(), "0 files".into()));
        assert_eq!((bytes(12), bytes(2048), bytes(5 << 20)), ("12 B".into(), "2.0 KiB".into(), "5.0 MiB".into()));
        assert_eq!(time(Some(&prost_types::Timestamp { seconds: 0, nanos: 0 })), "1970-01-01 00:00:00");
        assert_eq!((place("a", 3, 3), place("a", 3, 9)), ("a:3".into(), "a:3-9".into()));
    }
}
