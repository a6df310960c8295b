//! The suite under demonstration: this same binary as a child, with data, log and settings of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::error::{Exit, Failure};

/// Its log, in the demo's directory.
pub(super) const LOG: &str = "slipway.log";
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Settings that the audience may bring along; all others are the defaults.
const PASSED_ON: [&str; 2] = ["SLIPWAY_INFERENCE__", "SLIPWAY_EMBEDDING__"];

/// A running suite; killed when dropped.
pub(super) struct Suite {
    child: Child,
    /// Where its gateway is.
    pub(super) url: String,
    /// How long it took until it served.
    pub(super) took: Duration,
}

impl Suite {
    /// Starts it on a free port and waits until it serves.
    pub(super) async fn start(directory: &Path) -> anyhow::Result<Self> {
        let began = Instant::now();
        let config = directory.join("slipway.toml");
        std::fs::write(&config, "")?;
        let log = std::fs::File::create(directory.join(LOG))?;
        let mut command = Command::new(std::env::current_exe().context("the demo cannot find its own program")?);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            let ours = name.starts_with("SLIPWAY_") && !PASSED_ON.iter().any(|p| name.starts_with(p));
            if ours || name == "RUST_LOG" {
                command.env_remove(name.as_ref());
            }
        }
        command
            .args(["--json", "up"])
            .env("SLIPWAY_CONFIG", &config)
            .env("SLIPWAY_LISTEN", "127.0.0.1:0")
            .env("SLIPWAY_DATA_DIR", directory.join("data"))
            .env("SLIPWAY_TELEMETRY__METRICS_LISTEN", "")
            .env("SLIPWAY_TELEMETRY__FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        // Ctrl-C at the terminal goes to the whole group; the demo itself stops its suite.
        command.process_group(0);
        let mut child = command.spawn().context("the suite cannot be started")?;
        let stdout = child.stdout.take().context("the suite's output is not there")?;
        let first = tokio::time::timeout(START_LIMIT, BufReader::new(stdout).lines().next_line()).await;
        let line = first.map_err(|_| Failure::new(Exit::Failed, format!("the suite does not serve after {START_LIMIT:?}")))??;
        let url = line.as_deref().and_then(url_of);
        let url = url.ok_or_else(|| Failure::new(Exit::Failed, format!("the suite did not start: {}", last_line(directory))))?;
        Ok(Self { child, url, took: began.elapsed() })
    }

    /// Asks it to stop, as an operator would, and waits.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(id) = self.child.id() {
            Command::new("/bin/sh").args(["-c", &format!("kill -TERM {id}")]).status().await?;
        }
        match tokio::time::timeout(STOP_LIMIT, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            Ok(status) => Err(Failure::new(Exit::Failed, format!("the suite ended with {}", status?)).into()),
            Err(_) => Err(Failure::new(Exit::Failed, format!("the suite does not stop within {STOP_LIMIT:?}")).into()),
        }
    }
}

fn url_of(line: &str) -> Option<String> {
    Some(serde_json::from_str::<serde_json::Value>(line).ok()?.get("url")?.as_str()?.to_owned())
}

fn last_line(directory: &Path) -> String {
    let log = std::fs::read_to_string(directory.join(LOG)).unwrap_or_default();
    log.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("its log is empty").to_owned()
}
