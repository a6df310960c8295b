//! The history of a Git repository, read with `git`: argument vectors, never a shell; bare repositories too.

use std::collections::HashSet;
use std::io::{BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use slipway_embedding::evaluation::File;

use super::query::scrub;

/// A commit that modifies more files than this is not about a few of them.
const MAX_FILES: usize = 10;
const CHART: &str = "Chart.yaml";

/// A repository.
pub(crate) struct History {
    dir: PathBuf,
}

/// A commit that modifies files of one package, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Its id.
    pub(crate) commit: String,
    /// The id of the state before.
    pub(crate) parent: String,
    /// The directory of the package; empty for the whole repository.
    pub(crate) package: String,
    /// Its subject, scrubbed.
    pub(crate) request: String,
    /// What it modified, by paths in the package.
    pub(crate) truth: Vec<String>,
}

/// A commit before its package is known.
struct Candidate {
    commit: String,
    parent: String,
    subject: String,
    paths: Vec<String>,
}

impl History {
    /// Of a repository in a directory.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let history = Self { dir: dir.to_owned() };
        history.git(&["rev-parse", "--git-dir"]).with_context(|| format!("{} is no Git repository", dir.display()))?;
        Ok(history)
    }

    /// At most `count` samples, the same for the same seed, by package and in the order of time.
    pub(crate) fn sample(&self, revision: &str, below: &str, seed: u64, count: usize) -> anyhow::Result<Vec<Sample>> {
        let below = below.trim_matches('/');
        let mut candidates: Vec<(usize, Candidate)> = self.candidates(revision, below)?.into_iter().enumerate().collect();
        candidates.sort_by_cached_key(|(age, c)| (lot(seed, &c.commit), *age));
        let mut samples = Vec::new();
        for (age, candidate) in candidates {
            if samples.len() == count {
                break;
            }
            if let Some(sample) = self.settle(candidate, below)? {
                samples.push((age, sample));
            }
        }
        // The log begins with what is newest.
        samples.sort_by(|(a, one), (b, other)| (&one.package, b).cmp(&(&other.package, a)));
        Ok(samples.into_iter().map(|(_, sample)| sample).collect())
    }

    /// The files of a package in a state.
    pub(crate) fn files(&self, sample: &Sample) -> anyhow::Result<Vec<File>> {
        let mut arguments = vec!["ls-tree", "-r", "-z", "--full-tree", &sample.parent];
        let prefix = if sample.package.is_empty() { String::new() } else { format!("{}/", sample.package) };
        if !prefix.is_empty() {
            arguments.extend(["--", &prefix]);
        }
        let listed = self.git(&arguments)?;
        let mut files = Vec::new();
        for entry in text(&listed).split('\0') {
            let Some((meta, path)) = entry.split_once('\t') else { continue };
            let mut meta = meta.split(' ');
            // Neither links nor modules.
            let plain = meta.next().is_some_and(|mode| mode.starts_with("100"));
            if let (true, Some(blob), Some(path)) = (plain, meta.nth(1), path.strip_prefix(&prefix)) {
                files.push(File { path: path.to_owned(), blob: blob.to_owned() });
            }
        }
        Ok(files)
    }

    /// The contents of blobs, in order; empty for one that is over `limit` bytes or not there.
    pub(crate) fn read(&self, blobs: &[&str], limit: u64) -> anyhow::Result<Vec<Vec<u8>>> {
        if blobs.is_empty() {
            return Ok(Vec::new());
        }
        let mut child = self.command(&["cat-file", "--batch"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (mut stdin, stdout) = (stdin.context("git has no input")?, stdout.context("git has no output")?);
        let asked = blobs.join("\n") + "\n";
        let contents = std::thread::scope(|scope| {
            // Git answers while it is still being asked.
            let asking = scope.spawn(move || stdin.write_all(asked.as_bytes()));
            let contents = read_batch(BufReader::new(stdout), blobs.len(), limit);
            asking.join().map_err(|_| anyhow::anyhow!("asking git panicked"))??;
            contents
        })?;
        ensure!(child.wait()?.success(), "git cat-file failed");
        Ok(contents)
    }

    /// The commits that modify one to ten files and neither add nor remove any, the newest first.
    fn candidates(&self, revision: &str, below: &str) -> anyhow::Result<Vec<Candidate>> {
        let format = "--format=%x01%H%x02%P%x02%s";
        let mut arguments = vec![
            "log",
            "--no-merges",
            "--no-renames",
            "--raw",
            "-z",
            "--no-abbrev",
            "--full-history",
            format,
            "--end-of-options",
            revision,
        ];
        // Whole commits even so: what else they change says whether they are of one package.
        if !below.is_empty() {
            arguments.insert(1, "--full-diff");
            arguments.extend(["--", below]);
        }
        let log = self.git(&arguments)?;
        Ok(text(&log).split('\u{1}').skip(1).filter_map(candidate).collect())
    }

    /// The sample that a candidate makes; `None` when it is of several packages, or says nothing.
    fn settle(&self, candidate: Candidate, below: &str) -> anyhow::Result<Option<Sample>> {
        let Some(package) = self.package(&candidate, below)? else { return Ok(None) };
        let prefix = if package.is_empty() { String::new() } else { format!("{package}/") };
        let truth: Option<Vec<String>> =
            candidate.paths.iter().map(|path| Some(path.strip_prefix(&prefix)?.to_owned())).collect();
        let (Some(truth), Some(request)) = (truth, scrub(&candidate.subject, &package)) else { return Ok(None) };
        let sample = Sample { commit: candidate.commit, parent: candidate.parent, package, request, truth };
        let there: HashSet<String> = self.files(&sample)?.into_iter().map(|f| f.path).collect();
        Ok(sample.truth.iter().all(|path| there.contains(path)).then_some(sample))
    }

    /// The outermost chart that the first file is in; where there is none, the directory that was asked for, or the first one
    /// of the path.
    fn package(&self, candidate: &Candidate, below: &str) -> anyhow::Result<Option<String>> {
        let Some(first) = candidate.paths.first() else { return Ok(None) };
        let inside = below.is_empty() || first.starts_with(&format!("{below}/"));
        if !inside {
            return Ok(None);
        }
        let mut above: Vec<&str> = vec![""];
        above.extend(first.match_indices('/').map(|(at, _)| &first[..at]));
        let above: Vec<&str> = above.into_iter().filter(|dir| dir.len() >= below.len()).collect();
        let asked: Vec<String> = above
            .iter()
            .map(|dir| format!("{}:{}{CHART}", candidate.parent, if dir.is_empty() { String::new() } else { format!("{dir}/") }))
            .collect();
        let there = self.are_there(&asked)?;
        if let Some((dir, _)) = above.iter().zip(there).find(|(_, there)| *there) {
            return Ok(Some((*dir).to_owned()));
        }
        let outer = if below.is_empty() { first.split_once('/').map(|(dir, _)| dir) } else { Some(below) };
        Ok(outer.map(str::to_owned))
    }

    fn are_there(&self, objects: &[String]) -> anyhow::Result<Vec<bool>> {
        let mut child = self.command(&["cat-file", "--batch-check"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        // A dozen lines at most: the pipe takes them before git answers.
        child.stdin.take().context("git has no input")?.write_all((objects.join("\n") + "\n").as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "git cat-file failed");
        Ok(text(&output.stdout).lines().map(|line| line.contains(" blob ")).collect())
    }

    fn git(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let output = self.command(arguments).output().context("git cannot be run")?;
        if !output.status.success() {
            bail!("git {}: {}", arguments.first().unwrap_or(&""), text(&output.stderr).trim());
        }
        Ok(output.stdout)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        // Neither prompts nor fetches, whatever the repository's settings are.
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_NO_LAZY_FETCH", "1").env("GIT_OPTIONAL_LOCKS", "0");
        command.arg("-C").arg(&self.dir).args(arguments).stderr(Stdio::piped());
        command
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// `commit␂parents␂subject`, then for each file its modes, ids and status, and its path.
fn candidate(part: &str) -> Option<Candidate> {
    let mut fields = part.split('\0');
    let mut head = fields.next()?.split('\u{2}');
    let (commit, parent, subject) = (head.next()?, head.next()?, head.next()?);
    let mut paths = Vec::new();
    while let Some(meta) = fields.next() {
        if !meta.trim_start().starts_with(':') {
            continue;
        }
        let path = fields.next()?;
        if !meta.ends_with('M') || paths.len() == MAX_FILES {
            return None;
        }
        paths.push(path.to_owned());
    }
    let one = !parent.is_empty() && !parent.contains(' ');
    (one && !paths.is_empty()).then(|| Candidate {
        commit: commit.to_owned(),
        parent: parent.to_owned(),
        subject: subject.to_owned(),
        paths,
    })
}

fn read_batch(mut output: impl std::io::BufRead, count: usize, limit: u64) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut contents = Vec::with_capacity(count);
    for _ in 0..count {
        let mut header = String::new();
        output.read_line(&mut header)?;
        let size: Option<u64> = header.trim_end().rsplit(' ').next().and_then(|size| size.parse().ok());
        let Some(size) = size else {
            contents.push(Vec::new());
            continue;
        };
        let mut bytes = Vec::new();
        let mut body = output.by_ref().take(size);
        if size <= limit {
            body.read_to_end(&mut bytes)?;
        } else {
            std::io::copy(&mut body, &mut std::io::sink())?;
        }
        output.read_exact(&mut [0])?;
        contents.push(bytes);
    }
    Ok(contents)
}

/// Where a commit stands in the draw: FNV-1a over the seed and its id, mixed, so that neither the age nor the order of the
/// log decides.
fn lot(seed: u64, commit: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in seed.to_le_bytes().into_iter().chain(commit.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 31;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
