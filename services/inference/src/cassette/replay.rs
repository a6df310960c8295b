//! Answers from recordings, and says what is missing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream;
use tokio::time::{Instant, sleep_until};

use super::clean::Cleaner;
use super::files;
use super::nearest::{Nearness, compare};
use super::recording::{Asked, FORMAT, Recording, Timed};
use crate::error::{Kind, ProviderError};
use crate::model::{ModelInfo, Request};
use crate::provider::{Deltas, Provider};

/// A provider that only knows what was recorded.
pub(super) struct Player {
    name: String,
    directory: PathBuf,
    cleaner: Cleaner,
    models: Vec<String>,
    paced: bool,
}

impl Player {
    /// `models`: what it lists besides the models of the recordings; `paced`: whether it takes the time that they took.
    pub(super) fn new(name: &str, directory: PathBuf, cleaner: Cleaner, models: Vec<String>, paced: bool) -> Self {
        Self { name: name.to_owned(), directory, cleaner, models, paced }
    }
}

#[async_trait]
impl Provider for Player {
    fn stream(&self, request: &Request) -> Deltas {
        let (name, directory, paced) = (self.name.clone(), self.directory.clone(), self.paced);
        let asked = Asked::new(request, &self.cleaner);
        let played = async move {
            let provider = name.clone();
            match tokio::task::spawn_blocking(move || find(&provider, &directory, &asked)).await {
                Ok(Ok(events)) => play(name, events, paced),
                Ok(Err(error)) => stream::iter([Err(error)]).boxed(),
                Err(error) => {
                    let ended = ProviderError::new(Kind::Server, &name, "the search for a recording broke off");
                    stream::iter([Err(ended.caused_by(error))]).boxed()
                }
            }
        };
        stream::once(played).flatten().boxed()
    }

    async fn models(&self) -> Vec<ModelInfo> {
        let directory = self.directory.clone();
        let recorded = tokio::task::spawn_blocking(move || {
            let read = |path: PathBuf| load(&path).ok()?.request["model"].as_str().map(str::to_owned);
            files(&directory).into_iter().filter_map(read).collect::<Vec<_>>()
        });
        let mut names = self.models.clone();
        names.extend(recorded.await.unwrap_or_default());
        names.sort();
        names.dedup();
        names.into_iter().map(|name| ModelInfo { name, tools: true, ..ModelInfo::default() }).collect()
    }
}

/// The events as deltas: as fast as they are read, or at the pace at which they came.
pub(super) fn play(provider: String, events: Vec<Timed>, paced: bool) -> Deltas {
    if !paced {
        return stream::iter(events).map(move |timed| timed.event.play(&provider)).boxed();
    }
    let begun = Instant::now();
    let events = stream::iter(events).then(move |timed| async move {
        sleep_until(begun + Duration::from_millis(timed.at_ms)).await;
        timed.event
    });
    events.map(move |event| event.play(&provider)).boxed()
}

fn find(provider: &str, directory: &Path, asked: &Asked) -> Result<Vec<Timed>, ProviderError> {
    let path = directory.join(&asked.file);
    match load(&path) {
        Ok(recording) => Ok(recording.events),
        Err(Unread::Missing) => Err(missing(provider, directory, asked)),
        Err(Unread::Bad(why)) => {
            let message = format!("the recording {} cannot be read: {why}", path.display());
            Err(ProviderError::new(Kind::RecordingMissing, provider, message))
        }
    }
}

enum Unread {
    Missing,
    Bad(String),
}

fn load(path: &Path) -> Result<Recording, Unread> {
    let bytes = std::fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Unread::Missing,
        _ => Unread::Bad(e.to_string()),
    })?;
    let recording: Recording = serde_json::from_slice(&bytes).map_err(|e| Unread::Bad(e.to_string()))?;
    if recording.format != FORMAT {
        return Err(Unread::Bad(format!("it has format {}, and this version reads {FORMAT}", recording.format)));
    }
    Ok(recording)
}

/// Says that there is none, which comes nearest, and where the two part.
fn missing(provider: &str, directory: &Path, asked: &Asked) -> ProviderError {
    let compared = files(directory).into_iter().filter_map(|path| {
        let near = compare(&load(&path).ok()?.request, &asked.request);
        Some((path, near))
    });
    let nearest = compared.max_by(|(_, a), (_, b)| a.ratio.total_cmp(&b.ratio));
    let hint = match nearest {
        None => format!("{} holds no recordings", directory.display()),
        Some((path, Nearness { ratio, difference })) => {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let parts = difference.map(|d| format!(" and parts at {d}")).unwrap_or_default();
            format!("the nearest in {} is {file}, which is {:.0} % alike{parts}", directory.display(), ratio * 100.0)
        }
    };
    ProviderError::new(Kind::RecordingMissing, provider, format!("no recording is of this request ({}); {hint}", asked.file))
}
