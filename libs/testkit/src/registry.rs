//! A real OCI registry for tests: CNCF Distribution, which keeps what is pushed in a directory.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::process::Guarded;
use crate::suite::free_port;
use crate::tools::{find, skipped};

const READY: Duration = Duration::from_secs(20);

/// A registry without TLS on a port of its own; killed when dropped, together with what it stored.
pub struct Registry {
    port: u16,
    _server: Guarded,
    _data: TempDir,
}

impl Registry {
    /// Starts a registry for one test, or says loudly why there is none.
    pub async fn start(test: &str) -> Option<Self> {
        match Self::try_start().await {
            Ok(registry) => Some(registry),
            Err(error) => {
                skipped(test, &format!("no OCI registry can be had: {error:#}"));
                None
            }
        }
    }

    async fn try_start() -> anyhow::Result<Self> {
        let program = find("registry").context("registry is not installed; `scripts/tools.sh registry` gets it")?;
        let (port, data) = (free_port()?, tempfile::Builder::new().prefix("slipway-registry").tempdir()?);
        let settings = data.path().join("registry.yaml");
        let objects = data.path().join("objects");
        std::fs::write(
            &settings,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {objects:?}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n"
            ),
        )?;
        let mut command = Command::new(program);
        command.arg("serve").arg(&settings).env("OTEL_TRACES_EXPORTER", "none").stdin(Stdio::null());
        let server = Guarded::spawn(command).await?;
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            ensure!(started.elapsed() < READY, "the registry is not ready after {READY:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { port, _server: server, _data: data })
    }

    /// `host:port`, as references to its artifacts begin.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
