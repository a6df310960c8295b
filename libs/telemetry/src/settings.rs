//! The `[telemetry]` settings.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Pretty on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// Logs, traces and metrics.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How log lines look; they go to standard error.
    pub format: Format,
    /// Which lines and spans exist, as in `RUST_LOG`. Calls have spans at level info.
    pub filter: String,
    /// Where spans go by OTLP over gRPC, for example `http://localhost:4317`. Empty: spans are not exported. Set it for all
    /// processes of a suite or for none: a process that does not export marks its traces as not sampled.
    pub otlp_endpoint: String,
    /// The service name on exported spans.
    pub service_name: String,
    /// Which part of the traces that begin here is exported, from 0 to 1. A caller's decision goes before.
    pub sample_ratio: f64,
    /// Where `/metrics` is served. Empty: nowhere. On a loopback address a taken port is a warning, so that two suites can
    /// run side by side on one machine; elsewhere it stops the start, since somebody counts on being able to scrape it.
    pub metrics_listen: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            format: Format::Auto,
            filter: "info".into(),
            otlp_endpoint: String::new(),
            service_name: "slipway".into(),
            sample_ratio: 1.0,
            metrics_listen: "127.0.0.1:9464".into(),
        }
    }
}

impl Settings {
    /// Names the first setting that makes no sense.
    pub fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(format!("telemetry.sample_ratio is {}; it must be from 0 to 1", self.sample_ratio));
        }
        if !self.metrics_listen.is_empty() && self.metrics_listen.parse::<SocketAddr>().is_err() {
            return Err(format!("telemetry.metrics_listen \"{}\" is not an address such as 127.0.0.1:9464", self.metrics_listen));
        }
        if self.exports() && !self.otlp_endpoint.contains("://") {
            return Err(format!(
                "telemetry.otlp_endpoint \"{}\" is not an address such as http://localhost:4317",
                self.otlp_endpoint
            ));
        }
        crate::env_filter(&self.filter).map(drop)
    }

    pub(crate) fn exports(&self) -> bool {
        !self.otlp_endpoint.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_named() {
        assert_eq!(Settings::default().check(), Ok(()));
        let bad = [
            Settings { sample_ratio: 2.0, ..Settings::default() },
            Settings { metrics_listen: "here".into(), ..Settings::default() },
            Settings { otlp_endpoint: "collector:4317".into(), ..Settings::default() },
            Settings { filter: "x=y=z".into(), ..Settings::default() },
        ];
        for (settings, key) in bad.iter().zip(["sample_ratio", "metrics_listen", "otlp_endpoint", "filter"]) {
            assert!(settings.check().unwrap_err().contains(&format!("telemetry.{key}")), "{key}");
        }
    }
}
