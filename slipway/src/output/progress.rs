//! How far a transfer is; silent where nobody watches.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error.
#[derive(Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Starts at nothing of `size` bytes.
    pub(crate) fn start(size: u64, text: &'static str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(size);
        let template = "   {msg:.dim} {wide_bar:.cyan} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(text);
        Self(bar)
    }

    /// It is at this byte.
    pub(crate) fn at(&self, byte: u64) {
        self.0.set_position(byte);
    }

    /// So many bytes more.
    pub(crate) fn more(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
