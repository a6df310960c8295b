//! Server processes that do not outlive the test process, however it ends.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// Prints the server's process id, kills it when standard input ends (when the test process does), and ends after it.
const GUARD: &str = r#""$@" </dev/null >/dev/null 2>&1 & echo $!; cat >/dev/null; kill -9 $! 2>/dev/null; wait $! 2>/dev/null"#;
const SAYS_PID: Duration = Duration::from_secs(10);

/// A server under a guard.
pub struct Guarded {
    guard: Child,
    pid: u32,
    _alive: ChildStdin,
}

impl Guarded {
    /// Starts the command's program with its arguments. Its output is not kept.
    pub async fn spawn(command: Command) -> anyhow::Result<Self> {
        let command = command.as_std();
        let mut sh = Command::new("sh");
        sh.args(["-c", GUARD, "sh"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                sh.env(name, value);
            }
        }
        let mut guard =
            sh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("sh does not start")?;
        let (alive, output) = (guard.stdin.take(), guard.stdout.take());
        let (Some(alive), Some(output)) = (alive, output) else { bail!("the guard has no pipes") };
        let mut line = String::new();
        tokio::time::timeout(SAYS_PID, BufReader::new(output).read_line(&mut line)).await??;
        let pid = line.trim().parse().with_context(|| format!("{line:?} is no process id"))?;
        Ok(Self { guard, pid, _alive: alive })
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(self) -> anyhow::Result<()> {
        let Self { mut guard, pid, _alive } = self;
        signal(pid, "KILL").await?;
        drop(_alive);
        guard.wait().await.context("the guard does not end")?;
        Ok(())
    }
}

/// Sends a signal (`KILL`, `STOP`, `CONT`, `TERM`). One to a process that is gone is no error.
pub async fn signal(pid: u32, name: &str) -> anyhow::Result<()> {
    let mut kill = Command::new("kill");
    let sent = kill.args(["-s", name, &pid.to_string()]).stderr(Stdio::null()).stdin(Stdio::null()).status().await;
    sent.context("kill does not start")?;
    Ok(())
}

/// Whether this process may do everything, as in a container.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}
