//! Listens to a provider and writes each call down when it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::clean::Cleaner;
use super::recording::{Asked, Event, FORMAT, Recording, Timed};
use crate::error::ProviderError;
use crate::model::{Delta, ModelInfo, Request};
use crate::provider::{Deltas, Embedded, Provider};

/// A provider that is listened to.
pub(super) struct Recorder {
    name: String,
    directory: PathBuf,
    cleaner: Cleaner,
    client: Arc<dyn Provider>,
}

impl Recorder {
    pub(super) fn new(name: &str, directory: PathBuf, cleaner: Cleaner, client: Arc<dyn Provider>) -> Self {
        Self { name: name.to_owned(), directory, cleaner, client }
    }
}

#[async_trait]
impl Provider for Recorder {
    fn stream(&self, request: &Request) -> Deltas {
        let tape = Tape {
            asked: Asked::new(request, &self.cleaner),
            provider: self.name.clone(),
            directory: self.directory.clone(),
            cleaner: self.cleaner.clone(),
            begun: Instant::now(),
            events: Vec::new(),
        };
        let deltas = self.client.stream(request);
        // What a caller who went away did not hear to its end is not written.
        let heard = stream::unfold((deltas, tape), async |(mut deltas, mut tape)| {
            let delta = deltas.next().await?;
            tape.hear(&delta).await;
            Some((delta, (deltas, tape)))
        });
        heard.boxed()
    }

    async fn models(&self) -> Vec<ModelInfo> {
        self.client.models().await
    }

    // Looked up again and again, and none of the answer: not recorded.
    async fn embed(&self, model: &str, text: &str) -> Result<Embedded, ProviderError> {
        self.client.embed(model, text).await
    }
}

/// A call that is being written down.
struct Tape {
    asked: Asked,
    provider: String,
    directory: PathBuf,
    cleaner: Cleaner,
    begun: Instant,
    events: Vec<Timed>,
}

impl Tape {
    async fn hear(&mut self, delta: &Result<Delta, ProviderError>) {
        let event = match delta {
            Ok(delta) => Event::of(delta),
            Err(error) => Some(Event::failed(error)),
        };
        let Some(event) = event else { return };
        let ended = event.is_end();
        self.events.push(Timed { at_ms: self.begun.elapsed().as_millis() as u64, event });
        if ended {
            self.write().await;
        }
    }

    /// The recording is there before the caller has the end. A failure to write is the operator's to see, and does not
    /// spoil the call.
    async fn write(&mut self) {
        let recording = Recording {
            format: FORMAT,
            recorded: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            provider: self.provider.clone(),
            request: self.asked.request.take(),
            events: self.cleaner.events(std::mem::take(&mut self.events)),
        };
        let path = self.directory.join(&self.asked.file);
        let shown = path.display().to_string();
        let written = tokio::task::spawn_blocking(move || save(&path, &recording)).await;
        match written.map_err(std::io::Error::other).flatten() {
            Ok(()) => tracing::debug!(file = shown, "call recorded"),
            Err(error) => tracing::error!(file = shown, %error, "a call could not be recorded"),
        }
    }
}

/// Writes a whole file or none. A failure does not replace an answer: what is tried again would hide it.
fn save(path: &Path, recording: &Recording) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let before = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Recording>(&bytes).ok());
    if before.is_some_and(|b| b.is_answer()) && !recording.is_answer() {
        return Ok(());
    }
    let mut text = serde_json::to_string_pretty(recording)?;
    text.push('\n');
    let scratch = path.with_extension(format!("{:x}.new", rand::random::<u64>()));
    std::fs::write(&scratch, text)?;
    std::fs::rename(&scratch, path).inspect_err(|_| drop(std::fs::remove_file(&scratch)))
}
