//! A real S3 server for tests: versitygw, which keeps its objects as files, with one bucket for each test.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::process::Guarded;
use crate::suite::free_port;
use crate::tools::{find, skipped};

const READY: Duration = Duration::from_secs(20);

/// A server on a port of its own; killed when dropped, together with what it stored.
pub struct S3 {
    port: u16,
    data: TempDir,
    server: Option<Guarded>,
}

/// How to reach one bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// `http://host:port`.
    pub endpoint: String,
    /// Its name.
    pub name: String,
    /// The region that requests are signed for.
    pub region: &'static str,
    /// The access key's id.
    pub access_key: &'static str,
    /// The access key's secret.
    pub secret_key: &'static str,
}

impl S3 {
    /// The one server that the tests of this process share, or loudly nothing.
    pub async fn shared() -> Option<&'static S3> {
        static SHARED: OnceCell<Option<S3>> = OnceCell::const_new();
        SHARED.get_or_init(S3::start).await.as_ref()
    }

    /// Starts a server for one test, or says loudly why there is none.
    pub async fn start() -> Option<S3> {
        match S3::try_start().await {
            Ok(server) => Some(server),
            Err(error) => {
                skipped("s3", &format!("no S3 server can be had: {error:#}"));
                None
            }
        }
    }

    async fn try_start() -> anyhow::Result<S3> {
        let data = tempfile::Builder::new().prefix("slipway-s3").tempdir()?;
        let mut s3 = S3 { port: free_port()?, data, server: None };
        s3.restart().await?;
        Ok(s3)
    }

    /// A fresh, empty bucket.
    pub fn bucket(&self) -> anyhow::Result<Bucket> {
        let name = format!("test-{}", Uuid::now_v7().simple());
        // A bucket is a directory.
        std::fs::create_dir(self.data.path().join("objects").join(&name))?;
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        Ok(Bucket { endpoint, name, region: "us-east-1", access_key: "slipway-test", secret_key: "slipway-test-secret" })
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Guarded::pid)
    }

    /// Kills the server. What it stored stays.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            Some(server) => server.kill().await,
            None => Ok(()),
        }
    }

    /// Starts it again on the same port with the same data; kills it first when it is running.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        let program = find("versitygw").context("versitygw is not installed; `scripts/tools.sh s3` gets it")?;
        let (objects, sidecar) = (self.data.path().join("objects"), self.data.path().join("sidecar"));
        std::fs::create_dir_all(&objects)?;
        std::fs::create_dir_all(&sidecar)?;
        let mut command = Command::new(program);
        command.args([
            "--access",
            "slipway-test",
            "--secret",
            "slipway-test-secret",
            "--port",
            &format!("127.0.0.1:{}", self.port),
        ]);
        // Metadata beside the objects: not every file system has extended attributes.
        command.args(["--quiet", "posix", "--sidecar"]).arg(&sidecar).arg(&objects).stdin(Stdio::null());
        self.server = Some(Guarded::spawn(command).await?);
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            ensure!(started.elapsed() < READY, "the server is not ready after {READY:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_starts_and_ends() {
        let Some(mut server) = S3::start().await else { return };
        assert_ne!(server.bucket().unwrap().name, server.bucket().unwrap().name);
        server.kill().await.unwrap();
        assert!(TcpStream::connect(("127.0.0.1", server.port())).await.is_err());
        server.restart().await.unwrap();
    }
}
