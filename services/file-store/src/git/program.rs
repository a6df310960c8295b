//! The `git` program, which reads what an import brings into a bare repository that goes when it is dropped.
//!
//! It is told everything on its command line and nothing by files: no configuration of the machine or of the user, no hooks,
//! no prompts, no credentials, no redirects, objects checked as they come. Of the network it sees one address, which was
//! checked before: `http.curloptResolve` names it, so that the name cannot lead elsewhere a moment later.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How often the size of what comes is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// What is kept of what the program says when it fails.
const MAX_SAID: u64 = 4 << 10;
/// The most bytes of a list of commits or files.
const MAX_LIST: u64 = 64 << 20;
const MODE_PROGRAM: &str = "100755";
const MODE_FILE: &str = "100644";

/// Where a history comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A repository, by an address that was checked, and where it is reached.
    Url { url: String, host: String, port: u16, addresses: Vec<SocketAddr> },
    /// A bundle in a file.
    Bundle(PathBuf),
}

/// Why Git did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("the program `git` cannot be run; install it, or import an archive")]
    Missing(#[source] std::io::Error),
    #[error("git says: {0}")]
    Said(String),
    #[error("there is no branch, tag or commit {0:?}")]
    NoSuchRef(String),
    #[error("the repository is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("it took longer than {seconds} s")]
    TooSlow { seconds: u64 },
    #[error("the commit has the file {0:?}, which none may have")]
    Forbidden(String),
    #[error("git answered with something that cannot be read")]
    Odd,
    #[error("a pipe to git broke")]
    Io(#[from] std::io::Error),
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) id: String,
    pub(crate) message: String,
}

/// A file of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) size: u64,
    pub(crate) executable: bool,
    /// False for links and other repositories, which are no files of ours.
    pub(crate) file: bool,
}

/// A repository of one import.
pub(crate) struct Repository {
    dir: TempDir,
    limit: u64,
    time: Duration,
}

/// Contents, one after the other.
pub(crate) struct Blobs {
    _child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    left: u64,
}

impl Repository {
    /// An empty one, of which no more than `limit` bytes may come, and no step may last longer than `time`.
    pub(crate) async fn create(spool: &Path, limit: u64, time: Duration) -> Result<Self, GitError> {
        let dir = tempfile::Builder::new().prefix("git-").tempdir_in(spool)?;
        let repository = Self { dir, limit, time };
        repository.run(&["init", "--quiet", "--bare", "."], &[]).await?;
        Ok(repository)
    }

    /// Brings a reference with the last `depth` commits. Gives the commit that it names.
    pub(crate) async fn bring(&self, source: &Source, reference: &str, depth: u32) -> Result<String, GitError> {
        match source {
            Source::Url { url, host, port, addresses } => {
                let to = addresses.iter().map(|a| a.ip().to_string()).collect::<Vec<_>>().join(",");
                let resolve = format!("http.curloptResolve={host}:{port}:{to}");
                let depth = format!("--depth={depth}");
                let wanted = if reference.is_empty() { "HEAD" } else { reference };
                let spec = format!("+{wanted}:refs/import/tip");
                let fetch = [
                    "fetch",
                    "--quiet",
                    "--no-tags",
                    "--no-write-fetch-head",
                    "--no-recurse-submodules",
                    &depth,
                    "--",
                    url,
                    &spec,
                ];
                self.run(&fetch, &[&resolve]).await.map_err(|error| no_ref(error, wanted))?;
                self.resolve("refs/import/tip").await
            }
            Source::Bundle(file) => {
                let file = file.to_str().ok_or(GitError::Odd)?;
                let heads = self.run(&["bundle", "unbundle", file], &[]).await?;
                self.resolve(&pick(&heads, reference)?).await
            }
        }
    }

    async fn resolve(&self, name: &str) -> Result<String, GitError> {
        let commit = format!("{name}^{{commit}}");
        let id = self.run(&["rev-parse", "--verify", "--quiet", &commit], &[]).await;
        let id = id.map_err(|_| GitError::NoSuchRef(name.to_owned()))?.trim().to_owned();
        if is_id(&id) { Ok(id) } else { Err(GitError::Odd) }
    }

    /// A commit and those before it along the first parents, at most `count`, the oldest first.
    pub(crate) async fn commits(&self, tip: &str, count: u32) -> Result<Vec<Commit>, GitError> {
        let count = format!("--max-count={count}");
        let list = ["log", "-z", "--first-parent", "--no-show-signature", &count, "--format=%H%n%B", tip];
        let text = self.run(&list, &[]).await?;
        let mut commits: Vec<Commit> = Vec::new();
        for record in text.split('\0').filter(|record| !record.is_empty()) {
            let (id, message) = record.split_once('\n').unwrap_or((record, ""));
            let id = id.trim().to_owned();
            if !is_id(&id) {
                return Err(GitError::Odd);
            }
            commits.push(Commit { id, message: message.trim_end().to_owned() });
        }
        commits.reverse();
        Ok(commits)
    }

    /// The files of a commit.
    pub(crate) async fn entries(&self, commit: &str) -> Result<Vec<Entry>, GitError> {
        let list = self.run(&["ls-tree", "-r", "-z", "-l", "--full-tree", commit], &[]).await?;
        list.split('\0').filter(|line| !line.is_empty()).map(|line| parse_entry(line).ok_or(GitError::Odd)).collect()
    }

    /// The contents of files, by their ids.
    pub(crate) fn blobs(&self) -> Result<Blobs, GitError> {
        let mut child = self.command(&["cat-file", "--batch"], &[]).stdin(Stdio::piped()).spawn().map_err(GitError::Missing)?;
        let asks = child.stdin.take().ok_or(GitError::Odd)?;
        let answers = BufReader::new(child.stdout.take().ok_or(GitError::Odd)?);
        Ok(Blobs { _child: child, asks, answers, left: 0 })
    }

    fn command(&self, arguments: &[&str], settings: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.current_dir(self.dir.path()).kill_on_drop(true).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()));
        command.env("HOME", self.dir.path()).env("GIT_DIR", self.dir.path()).env("LC_ALL", "C");
        for (name, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "/bin/false"),
            ("GIT_SSH_COMMAND", "/bin/false"),
            ("GIT_ALLOW_PROTOCOL", "https:http"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
        ] {
            command.env(name, value);
        }
        for setting in [
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "core.attributesFile=/dev/null",
            "credential.helper=",
            "fetch.fsckObjects=true",
            "fetch.unpackLimit=1",
            "transfer.fsckObjects=true",
            "transfer.bundleURI=false",
            "fetch.uriProtocols=",
            "gc.auto=0",
            "maintenance.auto=false",
            "http.followRedirects=false",
            "http.lowSpeedLimit=1000",
            "http.lowSpeedTime=30",
            "http.proxy=",
            "pack.threads=1",
            "safe.directory=*",
            "submodule.recurse=false",
        ]
        .iter()
        .chain(settings)
        {
            command.args(["-c", setting]);
        }
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end, unless it takes too long or brings too much. Gives what the program wrote.
    async fn run(&self, arguments: &[&str], settings: &[&str]) -> Result<String, GitError> {
        let mut child = self.command(arguments, settings).spawn().map_err(GitError::Missing)?;
        let (stdout, stderr) = (child.stdout.take().ok_or(GitError::Odd)?, child.stderr.take().ok_or(GitError::Odd)?);
        let (mut wrote, mut said) = (Vec::new(), Vec::new());
        let (mut stdout, mut stderr) = (stdout.take(MAX_LIST + 1), stderr.take(MAX_SAID));
        let ended = async {
            tokio::try_join!(stdout.read_to_end(&mut wrote), stderr.read_to_end(&mut said))?;
            // Whoever still has something to say meets a closed pipe.
            drop((stdout, stderr));
            child.wait().await
        };
        let status = tokio::select! {
            ended = tokio::time::timeout(self.time, ended) => {
                ended.map_err(|_| GitError::TooSlow { seconds: self.time.as_secs() })??
            }
            () = self.grows_too_large() => return Err(GitError::TooLarge { limit: self.limit }),
        };
        if !status.success() {
            return Err(GitError::Said(last_words(&said)));
        }
        if wrote.len() as u64 > MAX_LIST {
            return Err(GitError::TooLarge { limit: MAX_LIST });
        }
        String::from_utf8(wrote).map_err(|_| GitError::Said("a name or message is not UTF-8".to_owned()))
    }

    async fn grows_too_large(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let dir = self.dir.path().to_owned();
            let size = tokio::task::spawn_blocking(move || size_of(&dir)).await.unwrap_or(u64::MAX);
            if size > self.limit {
                return;
            }
        }
    }
}

impl Blobs {
    /// Turns to a blob. Gives its size; its content follows by [`Blobs::read`], and must be read to its end.
    pub(crate) async fn ask(&mut self, id: &str) -> Result<u64, GitError> {
        self.asks.write_all(format!("{id}\n").as_bytes()).await?;
        self.asks.flush().await?;
        let mut line = String::new();
        (&mut self.answers).take(200).read_line(&mut line).await?;
        let mut fields = line.trim_end().split(' ');
        let (found, kind, size) = (fields.next(), fields.next(), fields.next());
        let size = size.filter(|_| found == Some(id) && kind == Some("blob")).and_then(|size| size.parse().ok());
        self.left = size.ok_or(GitError::Odd)?;
        if self.left == 0 {
            self.end().await?;
        }
        Ok(self.left)
    }

    /// More of the blob, at most `max` bytes; nothing at its end.
    pub(crate) async fn read(&mut self, max: u64) -> Result<Bytes, GitError> {
        let size = usize::try_from(self.left.min(max)).unwrap_or(usize::MAX);
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut piece = vec![0; size];
        self.answers.read_exact(&mut piece).await?;
        self.left -= size as u64;
        if self.left == 0 {
            self.end().await?;
        }
        Ok(piece.into())
    }

    async fn end(&mut self) -> Result<(), GitError> {
        if self.answers.read_u8().await? == b'\n' { Ok(()) } else { Err(GitError::Odd) }
    }
}

/// What the program says of a reference that is not there, in its own words.
fn no_ref(error: GitError, reference: &str) -> GitError {
    match error {
        GitError::Said(text) if text.contains("couldn't find remote ref") => GitError::NoSuchRef(reference.to_owned()),
        other => other,
    }
}

/// The head of a bundle that a reference names; without one its `HEAD`, or its only head.
fn pick(heads: &str, reference: &str) -> Result<String, GitError> {
    let heads: Vec<(&str, &str)> = heads.lines().filter_map(|line| line.split_once(' ')).filter(|(id, _)| is_id(id)).collect();
    let named = |name: &str| heads.iter().find(|(_, head)| *head == name).map(|(id, _)| (*id).to_owned());
    let found = if reference.is_empty() {
        let branches: Vec<_> = heads.iter().filter(|(_, head)| head.starts_with("refs/heads/")).collect();
        named("HEAD").or_else(|| branches.first().filter(|_| branches.len() == 1).map(|(id, _)| (*id).to_owned()))
    } else {
        let spelled = [reference.to_owned(), format!("refs/heads/{reference}"), format!("refs/tags/{reference}")];
        spelled.iter().find_map(|name| named(name))
    };
    found.ok_or_else(|| GitError::NoSuchRef(if reference.is_empty() { "HEAD".to_owned() } else { reference.to_owned() }))
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// `100644 blob e69de29bb2d1d6434b8b29ae775ad8c2e48c5391       0\tpath`
fn parse_entry(line: &str) -> Option<Entry> {
    let (facts, path) = line.split_once('\t')?;
    let mut facts = facts.split_ascii_whitespace();
    let (mode, _kind, id, size) = (facts.next()?, facts.next()?, facts.next()?, facts.next()?);
    let file = mode == MODE_FILE || mode == MODE_PROGRAM;
    let size = if file { size.parse().ok()? } else { 0 };
    Some(Entry { path: path.to_owned(), id: id.to_owned(), size, executable: mode == MODE_PROGRAM, file })
}

/// The last line that says something, without control characters.
fn last_words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().rev().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let line = line.or_else(|| text.lines().last()).unwrap_or("nothing");
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn size_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read() {
        let id = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
        let entry = parse_entry(&format!("100755 blob {id}      12\ta b\tc")).unwrap();
        assert_eq!((entry.path.as_str(), entry.size, entry.executable, entry.file), ("a b\tc", 12, true, true));
        assert!(!parse_entry(&format!("120000 blob {id}       3\tlink")).unwrap().file);
        assert!(!parse_entry(&format!("160000 commit {id}       -\tsub")).unwrap().file);
        assert!(parse_entry("nonsense").is_none() && parse_entry("100644 blob\tx").is_none());
    }

    #[test]
    fn the_head_of_a_bundle_is_picked() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let heads = format!("{a} refs/heads/main\n{b} refs/tags/v1\n{a} HEAD\n");
        assert_eq!(pick(&heads, "").unwrap(), a);
        assert_eq!(pick(&heads, "main").unwrap(), a);
        assert_eq!(pick(&heads, "v1").unwrap(), b);
        assert!(matches!(pick(&heads, "other"), Err(GitError::NoSuchRef(_))));
        assert_eq!(pick(&format!("{b} refs/heads/x\n"), "").unwrap(), b);
        assert!(pick(&format!("{b} refs/heads/x\n{a} refs/heads/y\n"), "").is_err());
    }

    #[test]
    fn last_words_are_short_and_plain() {
        assert_eq!(last_words(b"hint: x\nfatal: no\x1b[31m\nbye"), "fatal: no[31m");
        assert_eq!(last_words(b""), "nothing");
    }
}
