//! A Docker daemon for tests: the one that runs, or one of our own in a temporary directory. It needs no network.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use slipway_testkit::process::is_root;
use tempfile::TempDir;

const READY: Duration = Duration::from_secs(60);
/// Ends the daemon, and waits for it, when standard input ends: when the test process does. SIGKILL would leave its
/// containerd behind.
const GUARD: &str = r#""$@" & cat >/dev/null; kill $!; wait"#;

/// A daemon, and a client that speaks BuildKit with it.
pub(super) struct Docker {
    client: PathBuf,
    host: Option<String>,
    _daemon: Option<Daemon>,
}

impl Docker {
    /// A daemon, or why there is none.
    pub(super) fn find() -> anyhow::Result<Self> {
        let client = client()?;
        let mut docker = Self { client, host: None, _daemon: None };
        if docker.answers() {
            return Ok(docker);
        }
        let daemon = Daemon::start()?;
        docker.host = Some(daemon.host());
        docker._daemon = Some(daemon);
        let started = Instant::now();
        while !docker.answers() {
            ensure!(started.elapsed() < READY, "dockerd does not answer: {}", docker.complaint());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(docker)
    }

    fn answers(&self) -> bool {
        self.command(&["version"]).output().is_ok_and(|o| o.status.success())
    }

    fn complaint(&self) -> String {
        let log = self._daemon.as_ref().and_then(|d| std::fs::read_to_string(d.directory.path().join("log")).ok());
        log.unwrap_or_default().lines().rev().take(3).collect::<Vec<_>>().join("; ")
    }

    /// The client.
    pub(super) fn client(&self) -> &Path {
        &self.client
    }

    /// A command that talks to this daemon.
    pub(super) fn aim<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        command.stdin(Stdio::null())
    }

    /// `docker <arguments>`.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        self.aim(&mut command).args(arguments);
        command
    }

    /// What `docker <arguments>` prints.
    pub(super) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// How `docker <arguments>` ends.
    pub(super) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("docker starts")
    }
}

/// Of all clients on the PATH the first that can build with BuildKit: newer ones need a plugin for it.
fn client() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut why = "docker is not on the PATH".to_owned();
    for client in std::env::split_paths(&path).map(|dir| dir.join("docker")).filter(|p| p.is_file()) {
        let output = Command::new(&client).args(["build", "--help"]).env("DOCKER_BUILDKIT", "1").output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if !said.contains("buildx component is missing") {
            return Ok(client);
        }
        why = format!("{} has no buildx plugin", client.display());
    }
    bail!(why)
}

/// Our own `dockerd`.
struct Daemon {
    guard: Child,
    directory: TempDir,
}

impl Daemon {
    fn start() -> anyhow::Result<Self> {
        ensure!(is_root(), "no Docker daemon runs, and starting one takes root");
        let dirs = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"];
        let program = dirs.iter().map(|d| Path::new(d).join("dockerd")).find(|p| p.is_file());
        let program = program.context("no Docker daemon runs, and dockerd is not installed")?;
        let directory = tempfile::Builder::new().prefix("slipway-docker").tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let log = File::create(at("log"))?;
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "sh"]).arg(program).arg("--data-root").arg(at("root")).arg("--exec-root").arg(at("exec"));
        guard.arg("--pidfile").arg(at("pid")).arg("--host").arg(format!("unix://{}", at("sock").display()));
        // No bridge and no packet filter: containers have loopback alone, and this machine's network is left as it is.
        guard.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--storage-driver=vfs"]);
        let guard = guard.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { guard, directory })
    }

    fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("sock").display())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Nobody could act on a failure here.
        let _ = self.guard.wait();
    }
}
