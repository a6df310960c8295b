//! One `slipway` process and its log.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::net::TcpStream;

const START_LIMIT: Duration = Duration::from_secs(60);
/// What would turn a language model on that a test does not know of.
pub const PROVIDER_VARIABLES: [&str; 8] = [
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
    "ANTHROPIC_API_KEY",
    "CLAUDE_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "OLLAMA_HOST",
];

/// What a server process prints once it listens.
const ANNOUNCEMENT: &str = " serves on ";

/// A process that can be killed and started again with the same arguments; killed when dropped.
pub struct Daemon {
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    directory: PathBuf,
    log: PathBuf,
    /// How long the log was when the process started last.
    log_start: u64,
    child: Option<Child>,
}

impl Daemon {
    /// `slipway <arguments>` in a directory, with its log in `<name>.log` there. It does not run yet.
    pub fn new(binary: &Path, arguments: &[&str], directory: &Path, name: &str) -> Self {
        Self {
            binary: binary.to_owned(),
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
            environment: Vec::new(),
            directory: directory.to_owned(),
            log: directory.join(format!("{name}.log")),
            log_start: 0,
            child: None,
        }
    }

    /// Sets a variable from the next start on.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.unset(name);
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Sets no such variable from the next start on.
    pub fn unset(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// Starts the process; kills the one that runs.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        self.kill();
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        self.log_start = log.metadata()?.len();
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments).current_dir(&self.directory).stdin(Stdio::null());
        for variable in PROVIDER_VARIABLES {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().cloned());
        self.child = Some(command.stdout(log.try_clone()?).stderr(log).spawn().context("slipway does not start")?);
        Ok(())
    }

    /// Waits until the process says where it listens.
    pub async fn announced(&mut self) -> anyhow::Result<SocketAddr> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(address) = self.find_announcement()? {
                return Ok(address);
            }
            self.still_starting(deadline)?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until somebody listens on a port of this machine.
    pub async fn listening(&mut self, port: u16) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            self.still_starting(deadline)?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn find_announcement(&self) -> anyhow::Result<Option<SocketAddr>> {
        let log = std::fs::read(&self.log)?;
        let log = String::from_utf8_lossy(log.get(usize::try_from(self.log_start)?..).unwrap_or_default()).into_owned();
        let said = log.split_once(ANNOUNCEMENT).and_then(|(_, rest)| rest.split_once('\n')).map(|(line, _)| line);
        let Some((_, address)) = said.and_then(|line| line.split_once("://")) else { return Ok(None) };
        Ok(Some(address.trim().parse().with_context(|| format!("{address:?} is no address"))?))
    }

    fn still_starting(&mut self, deadline: Instant) -> anyhow::Result<()> {
        if let Some(status) = self.ended()? {
            bail!("slipway {} ended with {status}:\n{}", self.arguments.join(" "), self.log());
        }
        if Instant::now() > deadline {
            bail!("slipway {} does not serve after {START_LIMIT:?}:\n{}", self.arguments.join(" "), self.log());
        }
        Ok(())
    }

    /// How the process ended, if it has.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?,
            None => None,
        })
    }

    /// SIGKILL: the process gets no chance to do anything.
    pub fn kill(&mut self) {
        self.strike();
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// SIGKILL without waiting for the end.
    pub fn strike(&mut self) {
        if let Some(child) = &mut self.child {
            // Fails only when it is dead already.
            let _ = child.kill();
        }
    }

    /// The process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Everything that the processes have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log.
pub fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
