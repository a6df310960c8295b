//! Answers that are kept, bounded by number, size and age.

use std::sync::Arc;
use std::time::{Duration, Instant};

use slipway_rpc::ProjectId;

use super::key::Key;
use super::played;
use crate::model::Delta;
use crate::provider;
use crate::settings::CacheSettings;

/// What an entry takes besides its answer.
const OVERHEAD: usize = 256;
// Longer answers are not kept: one would push many others out.
const MAX_SHARE: u64 = 8;

/// An answer.
#[derive(Clone)]
pub(super) struct Answer {
    deltas: Arc<[Delta]>,
    bytes: usize,
    made: Instant,
}

impl Answer {
    /// An answer of these deltas.
    pub(super) fn new(deltas: Vec<Delta>) -> Self {
        let bytes = deltas.iter().map(size).sum::<usize>() + OVERHEAD;
        Self { deltas: deltas.into(), bytes, made: Instant::now() }
    }

    pub(super) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    pub(super) fn play(&self) -> provider::Answer {
        played(self.deltas.clone())
    }
}

/// The answers of all projects.
#[derive(Clone)]
pub(super) struct Kept {
    answers: moka::future::Cache<Key, Answer>,
    max_bytes: usize,
}

impl Kept {
    /// `None`: nothing is kept.
    pub(super) fn new(settings: &CacheSettings) -> Option<Self> {
        if settings.ttl_seconds == 0 {
            return None;
        }
        let capacity = settings.mib << 20;
        // An entry weighs at least its share of the whole, which bounds their number too.
        let least = (capacity / settings.entries).clamp(1, u64::from(u32::MAX)) as u32;
        let answers = moka::future::Cache::builder()
            .max_capacity(capacity)
            .weigher(move |_: &Key, answer: &Answer| u32::try_from(answer.bytes).unwrap_or(u32::MAX).max(least))
            .time_to_live(Duration::from_secs(settings.ttl_seconds))
            .build();
        Some(Self { answers, max_bytes: (capacity / MAX_SHARE) as usize })
    }

    pub(super) async fn get(&self, key: &Key) -> Option<Answer> {
        self.answers.get(key).await
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        self.answers.contains_key(key)
    }

    pub(super) async fn put(&self, key: Key, answer: Answer) {
        if answer.bytes <= self.max_bytes {
            self.answers.insert(key, answer).await;
        }
    }

    /// The most bytes of an answer that is worth collecting.
    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(super) async fn clear(&self, project: ProjectId) -> u64 {
        let mine: Vec<Key> = self.answers.iter().map(|(key, _)| *key).filter(|k| k.project == project).collect();
        let mut cleared = 0;
        for key in mine {
            cleared += u64::from(self.answers.remove(&key).await.is_some());
        }
        cleared
    }

    /// How many answers of a project there are, and their bytes.
    pub(super) fn size(&self, project: ProjectId) -> (u64, u64) {
        let mine = self.answers.iter().filter(|(key, _)| key.project == project);
        mine.fold((0, 0), |(entries, bytes), (_, answer)| (entries + 1, bytes + answer.bytes as u64))
    }
}

/// About how much memory a delta takes.
pub(super) fn size(delta: &Delta) -> usize {
    let held = match delta {
        Delta::Text(text) | Delta::Reasoning(text) => text.len(),
        Delta::ToolCall { id, name, arguments, .. } => id.len() + name.len() + arguments.len(),
        Delta::Completed { reasoning_state, .. } => reasoning_state.as_ref().map_or(0, |s| s.to_bytes().len()),
        Delta::Started | Delta::Answering(_) | Delta::Seam(_) | Delta::Usage(_) | Delta::Charged(_) => 0,
    };
    size_of::<Delta>() + held
}
