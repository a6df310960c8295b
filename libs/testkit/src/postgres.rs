//! A real PostgreSQL server for tests, from the programs on this machine. It gives every test a database of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::process::{Guarded, is_root};
use crate::suite::free_port;
use crate::tools::skipped;

/// Names a server that runs already, as `postgres://user@host:port/database`: tests make their databases there.
const RUNNING: &str = "SLIPWAY_TEST_POSTGRES";
/// Chooses the engine of tests that run on either.
const STORE: &str = "SLIPWAY_TEST_STORE";
const READY: Duration = Duration::from_secs(30);
const USER: &str = "slipway";

/// A server on a port of its own; killed when dropped, together with what it stored.
pub struct Postgres {
    programs: PathBuf,
    port: u16,
    data: Option<TempDir>,
    server: Option<Guarded>,
    running: Option<String>,
}

impl Postgres {
    /// The one server that the tests of this process share, or loudly nothing.
    pub async fn shared() -> Option<&'static Postgres> {
        static SHARED: OnceCell<Option<Postgres>> = OnceCell::const_new();
        SHARED.get_or_init(Postgres::start).await.as_ref()
    }

    /// Starts a server for one test, or says loudly why there is none.
    pub async fn start() -> Option<Postgres> {
        match Postgres::try_start().await {
            Ok(server) => Some(server),
            Err(error) => {
                skipped("postgres", &format!("no PostgreSQL server can be had: {error:#}"));
                None
            }
        }
    }

    async fn try_start() -> anyhow::Result<Postgres> {
        if let Ok(url) = std::env::var(RUNNING) {
            return Ok(Postgres { programs: PathBuf::new(), port: 0, data: None, server: None, running: Some(url) });
        }
        let programs = programs().context("initdb is neither on the PATH nor under /usr/lib/postgresql")?;
        let data = tempfile::Builder::new().prefix("slipway-postgres").tempdir()?;
        let mut postgres = Postgres { programs, port: free_port()?, data: Some(data), server: None, running: None };
        postgres.initialise().await?;
        postgres.restart().await?;
        Ok(postgres)
    }

    async fn initialise(&self) -> anyhow::Result<()> {
        let dir = self.dir()?;
        if is_root() {
            // The server refuses to run as root.
            run(Command::new("chown").arg("nobody").arg(dir)).await?;
        }
        let mut initdb = unprivileged(&self.programs.join("initdb"));
        initdb
            .args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--username", USER, "--pgdata"])
            .arg(dir.join("data"));
        run(&mut initdb).await
    }

    /// A fresh, empty database; its URL.
    pub async fn database(&self) -> anyhow::Result<String> {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let base = self.base();
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--quiet", "--command", &format!("CREATE DATABASE {name}"), &format!("{base}/postgres")]);
        run(&mut psql).await?;
        Ok(format!("{base}/{name}"))
    }

    /// Everything of a URL but the database.
    fn base(&self) -> String {
        match &self.running {
            Some(url) => url.rsplit_once('/').map_or(url.as_str(), |(base, _)| base).to_owned(),
            None => format!("postgres://{USER}@127.0.0.1:{}", self.port),
        }
    }

    /// The port of a server of our own.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of a server of our own.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Guarded::pid)
    }

    /// Kills the server as a lost machine would. What it committed stays.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            Some(server) => server.kill().await,
            None => Ok(()),
        }
    }

    /// Starts it again on the same port with the same data; kills it first when it is running.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        let dir = self.dir()?.to_owned();
        let _ = tokio::fs::remove_file(dir.join("data/postmaster.pid")).await;
        let mut command = unprivileged(&self.programs.join("postgres"));
        command.arg("-D").arg(dir.join("data")).args(["-h", "127.0.0.1", "-k", "", "-p", &self.port.to_string()]);
        // What a test stores need not survive the machine, only the process.
        for setting in ["fsync=off", "max_connections=400", "shared_buffers=128MB", "log_min_messages=fatal"] {
            command.args(["-c", setting]);
        }
        self.server = Some(Guarded::spawn(command).await?);
        let started = Instant::now();
        while !self.is_ready().await {
            ensure!(started.elapsed() < READY, "the server is not ready after {READY:?}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let mut probe = Command::new(self.programs.join("pg_isready"));
        probe.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        let probe: std::io::Result<Child> = probe.stdin(Stdio::null()).spawn();
        match probe {
            Ok(mut child) => child.wait().await.is_ok_and(|status| status.success()),
            Err(_) => false,
        }
    }

    fn dir(&self) -> anyhow::Result<&Path> {
        Ok(self.data.as_ref().context("the server is not ours")?.path())
    }
}

/// Where a test keeps its state: a SQLite file in its directory, or, when `SLIPWAY_TEST_STORE` is `postgres`, a database on
/// the server that all share. The same directory and name give the same database.
pub async fn store_url(dir: &Path, name: &str) -> anyhow::Result<String> {
    if std::env::var(STORE).as_deref() != Ok("postgres") {
        return Ok(format!("sqlite://{}", dir.join(format!("{name}.db")).display()));
    }
    let known = dir.join(format!("{name}.url"));
    if let Ok(url) = std::fs::read_to_string(&known) {
        return Ok(url);
    }
    let url = Postgres::shared().await.context("there is no PostgreSQL server")?.database().await?;
    std::fs::write(&known, &url)?;
    Ok(url)
}

/// Where `initdb` is: Debian keeps it off the PATH.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let mut versions: Vec<PathBuf> = debian.collect();
    versions.sort();
    versions.reverse();
    versions.into_iter().chain(std::env::split_paths(&path)).find(|dir| dir.join("initdb").is_file())
}

/// The program as a user that PostgreSQL runs as.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program);
    command
}

async fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().await.with_context(|| format!("{name} does not start"))?;
    ensure!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_comes_back_with_what_it_had() {
        let Some(mut server) = Postgres::start().await else { return };
        let url = server.database().await.unwrap();
        let query = |sql: &'static str| {
            let mut psql = Command::new("psql");
            psql.args(["--no-psqlrc", "--quiet", "--command", sql, &url]);
            async move { run(&mut psql).await }
        };
        query("CREATE TABLE kept (id int)").await.unwrap();
        server.kill().await.unwrap();
        assert!(query("SELECT * FROM kept").await.is_err());
        server.restart().await.unwrap();
        query("SELECT * FROM kept").await.unwrap();
    }
}
