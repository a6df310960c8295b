//! The worker: a process that reads one document from its standard input, writes the text to its standard output, and ends.
//! It limits itself before it reads: memory, processor time, no files, no core. Whoever waits limits the time and the text.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::{Format, MAX_DOCUMENT, MAX_TEXT, convert};

/// The argument that makes the program a worker; the name of a format follows.
pub const COMMAND: &str = "convert-document";
/// How many documents are worked on at once.
const AT_ONCE: usize = 2;
/// How long a document may take by the clock.
const TIME: Duration = Duration::from_secs(30);
/// How long it may take of a processor, in seconds.
const CPU_SECONDS: u64 = 20;
/// How much memory it may take, in bytes.
const MEMORY: u64 = 2 << 30;
/// How much of a reason is told, in bytes.
const MAX_REASON: u64 = 400;
/// The exit code of a document that cannot be read (`EX_DATAERR` of sysexits.h).
const UNREADABLE: u8 = 65;

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// UTF-8 with `\n` as line ends and without control characters; at most [`MAX_TEXT`] bytes.
    pub text: String,
    /// There was more.
    pub truncated: bool,
}

/// Why a document has no text.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is broken, encrypted, or not what its name says.
    #[error("the document cannot be read: {0}")]
    Unreadable(String),
    /// It takes too much.
    #[error("the document takes more than {} s or {} MiB to read", TIME.as_secs(), MEMORY >> 20)]
    Exhausting,
    /// There is too much of it.
    #[error("the document is larger than {} MiB", MAX_DOCUMENT >> 20)]
    TooLarge,
    /// No fault of the document.
    #[error("the worker cannot be run")]
    Worker(#[from] std::io::Error),
}

/// Starts a worker for each document; cheap to clone.
#[derive(Clone, Debug)]
pub struct Worker {
    program: Arc<PathBuf>,
    places: Arc<Semaphore>,
}

impl Worker {
    /// `program convert-document <format>` is to call [`work`].
    pub fn new(program: PathBuf) -> Self {
        Self { program: Arc::new(program), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The text of a document. Waits while others are worked on.
    pub async fn text_of(&self, format: Format, document: &[u8]) -> Result<Text, Refusal> {
        if document.len() as u64 > MAX_DOCUMENT {
            return Err(Refusal::TooLarge);
        }
        // Nobody closes the semaphore.
        let _place = self.places.acquire().await.map_err(std::io::Error::other)?;
        tokio::time::timeout(TIME, self.run(format, document)).await.unwrap_or(Err(Refusal::Exhausting))
    }

    /// When this future is dropped, the process is killed.
    async fn run(&self, format: Format, document: &[u8]) -> Result<Text, Refusal> {
        let mut command = Command::new(&*self.program);
        command.args([COMMAND, format.name()]).env_clear().current_dir("/").kill_on_drop(true);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(mut input), Some(output), Some(errors)) = pipes else { return Err(std::io::Error::other("no pipes").into()) };
        let (mut text, mut reason) = (Vec::new(), Vec::new());
        let send = async {
            // A worker that knows enough, or is dead, reads no more.
            let _ = input.write_all(document).await;
            drop(input);
        };
        let mut output = output.take(MAX_TEXT as u64 + 1);
        let mut errors = errors.take(MAX_REASON);
        let ((), text_read, reason_read) = tokio::join!(send, output.read_to_end(&mut text), errors.read_to_end(&mut reason));
        text_read?;
        reason_read?;
        if text.len() > MAX_TEXT {
            return Ok(cut(text));
        }
        match process.wait().await?.code() {
            Some(0) => Ok(Text { text: String::from_utf8_lossy(&text).into_owned(), truncated: false }),
            Some(code) if code == i32::from(UNREADABLE) => {
                Err(Refusal::Unreadable(String::from_utf8_lossy(&reason).lines().next().unwrap_or_default().to_owned()))
            }
            // A reader that panics has met what it did not foresee.
            Some(101) => Err(Refusal::Unreadable("its reader gave up".to_owned())),
            _ => Err(Refusal::Exhausting),
        }
    }
}

/// The whole characters of what may be kept.
fn cut(mut text: Vec<u8>) -> Text {
    text.truncate(MAX_TEXT);
    let whole = String::from_utf8_lossy(&text).into_owned();
    Text { text: whole.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned(), truncated: true }
}

/// What the worker process does, to be called before it has begun anything else.
pub fn work(format: &str) -> ExitCode {
    let limits = [(Resource::As, MEMORY), (Resource::Cpu, CPU_SECONDS), (Resource::Fsize, 0), (Resource::Core, 0)];
    for (resource, limit) in limits {
        if setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) }).is_err() {
            return ExitCode::FAILURE;
        }
    }
    let made = match Format::of_name(format) {
        Some(format) => read().and_then(|document| convert::text_of(format, &document)),
        None => Err(format!("{format:?} is no format")),
    };
    let written = match &made {
        Ok(text) => std::io::stdout().write_all(text.as_bytes()),
        Err(reason) => std::io::stderr().write_all(reason.as_bytes()),
    };
    // Whoever has read enough of a text closes the pipe.
    match (made, written) {
        (Ok(_), Ok(())) => ExitCode::SUCCESS,
        (Err(_), _) => ExitCode::from(UNREADABLE),
        (Ok(_), Err(_)) => ExitCode::FAILURE,
    }
}

fn read() -> Result<Vec<u8>, String> {
    let mut document = Vec::new();
    std::io::stdin().lock().take(MAX_DOCUMENT + 1).read_to_end(&mut document).map_err(|e| e.to_string())?;
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_is_not_there_is_no_fault_of_the_document() {
        let worker = Worker::new("/nowhere/slipway".into());
        assert!(matches!(worker.text_of(Format::Pdf, b"%PDF").await, Err(Refusal::Worker(_))));
        let large = vec![0; MAX_DOCUMENT as usize + 1];
        assert!(matches!(worker.text_of(Format::Pdf, &large).await, Err(Refusal::TooLarge)));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let cut = cut("ä".repeat(MAX_TEXT).into_bytes());
        assert_eq!((cut.text.len(), cut.truncated), (MAX_TEXT, true));
        let cut = super::cut(format!("x{}", "ä".repeat(MAX_TEXT)).into_bytes());
        assert_eq!(cut.text.len(), MAX_TEXT - 1);
    }
}
