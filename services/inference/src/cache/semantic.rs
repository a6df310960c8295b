//! Kept answers by what their questions mean.
//!
//! Questions that differ in the words of the last message only have a list together: for each its vector, its marks, and the
//! key of its answer. Nothing else is compared, so that no answer crosses from one project, model, system prompt or set of
//! tools to another. The answers themselves are kept with all others, and end when they do.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::ops::compute::Op;
use slipway_rpc::ProjectId;

use super::key::{Key, Question};
use super::marks::Marks;
use crate::model::Role;
use crate::settings::{CacheSettings, SemanticSettings};

// A longer message is a log or a file with a question: its vector says little of the question.
const MAX_TEXT: usize = 8 << 10;
// What an entry takes besides its vector.
const OVERHEAD: usize = 512;
const MAX_RESTING: u64 = 100_000;

/// The lists of all projects.
pub(super) struct Semantic {
    settings: SemanticSettings,
    lists: Cache<Key, Arc<[Entry]>>,
    // Projects whose last question could not be embedded: it may be their own key that does not work.
    resting: Cache<ProjectId, ()>,
}

#[derive(Clone)]
struct Entry {
    vector: Arc<[f32]>,
    marks: Arc<Marks>,
    answer: Key,
}

/// A question that may be answered by what another one was answered.
pub(crate) struct Asking {
    /// All questions that differ in the words of the last message only.
    list: Key,
    marks: Marks,
    /// Those words.
    pub(crate) text: String,
}

/// The same, with its vector.
pub(crate) struct Placed {
    list: Key,
    marks: Marks,
    vector: Vec<f32>,
}

/// A kept answer that may do, and how near its question is.
pub(super) struct Near {
    pub(super) answer: Key,
    pub(super) similarity: f64,
}

impl Semantic {
    /// `None`: not configured, or nothing is kept.
    pub(super) fn new(settings: &CacheSettings) -> Option<Self> {
        if settings.semantic.model.is_empty() || settings.ttl_seconds == 0 {
            return None;
        }
        let weight = |_: &Key, list: &Arc<[Entry]>| {
            let bytes: usize = list.iter().map(|e| OVERHEAD + size_of_val(&*e.vector)).sum();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let lists = Cache::builder()
            .max_capacity(settings.mib << 20)
            .weigher(weight)
            .time_to_live(Duration::from_secs(settings.ttl_seconds))
            .build();
        let rest = Duration::from_secs(settings.semantic.rest_seconds);
        let resting = Cache::builder().max_capacity(MAX_RESTING).time_to_live(rest).build();
        Some(Self { settings: settings.semantic.clone(), lists, resting })
    }

    pub(super) fn settings(&self) -> &SemanticSettings {
        &self.settings
    }

    /// The question, when it is one whose words can be compared.
    pub(super) fn asking(&self, project: ProjectId, question: &Question<'_>) -> Option<Asking> {
        let last = question.request.messages.last().filter(|m| m.role == Role::User)?;
        let text = last.text.trim();
        if text.is_empty() || text.len() > MAX_TEXT || self.resting.contains_key(&project) {
            return None;
        }
        let list = Key::but_for_the_last(project, question);
        Some(Asking { list, marks: Marks::of(text), text: text.to_owned() })
    }

    /// A question of a project could not be embedded: none of its questions is for a while.
    pub(super) async fn rest(&self, project: ProjectId) {
        if self.settings.rest_seconds > 0 {
            self.resting.insert(project, ()).await;
        }
    }

    /// Answers whose questions are near enough, the nearest first.
    pub(super) async fn find(&self, placed: &Placed) -> Vec<Near> {
        let Some(list) = self.lists.get(&placed.list).await else { return Vec::new() };
        let alike = list.iter().filter(|e| *e.marks == placed.marks);
        let near = alike.map(|e| Near { answer: e.answer, similarity: cosine(&e.vector, &placed.vector) });
        let mut near: Vec<_> = near.filter(|n| n.similarity >= self.settings.threshold).collect();
        near.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        near
    }

    /// Puts a question on its list; the oldest goes when there are too many. Its answer may still be on its way.
    pub(super) async fn put(&self, placed: Placed, answer: Key) {
        let Placed { list, marks, vector } = placed;
        let entry = Entry { vector: vector.into(), marks: Arc::new(marks), answer };
        let most = self.settings.entries as usize;
        let change = |before: Option<moka::Entry<Key, Arc<[Entry]>>>| {
            let before = before.map(|e| e.into_value()).unwrap_or_default();
            let others: Vec<_> = before.iter().filter(|e| e.answer != answer).cloned().collect();
            let from = (others.len() + 1).saturating_sub(most);
            std::future::ready(Op::Put(others[from..].iter().cloned().chain([entry]).collect::<Arc<[Entry]>>()))
        };
        self.lists.entry(list).and_compute_with(change).await;
    }

    /// Forgets the questions of a project.
    pub(super) async fn clear(&self, project: ProjectId) {
        let mine: Vec<Key> = self.lists.iter().map(|(key, _)| *key).filter(|k| k.project == project).collect();
        for key in mine {
            self.lists.invalidate(&key).await;
        }
    }
}

impl Asking {
    /// With its vector; `None` when it points nowhere.
    pub(crate) fn placed(self, mut vector: Vec<f32>) -> Option<Placed> {
        let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if length < f64::MIN_POSITIVE || !length.is_finite() {
            return None;
        }
        // Of length one, so that comparing two takes one loop.
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        Some(Placed { list: self.list, marks: self.marks, vector })
    }
}

/// How much two vectors of length one point the same way; of another model, which has other dimensions: not at all.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return -1.0;
    }
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>().min(1.0)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{Fallback, Message, Request};

    fn semantic(entries: u64) -> Semantic {
        let semantic = SemanticSettings { model: "p/e".into(), threshold: 0.9, entries, ..SemanticSettings::default() };
        Semantic::new(&CacheSettings { ttl_seconds: 60, semantic, ..CacheSettings::default() }).unwrap()
    }

    fn placed(semantic: &Semantic, project: ProjectId, text: &str, vector: [f32; 2]) -> (Placed, Key) {
        let request = Request { messages: vec![Message::new(Role::User, text)], ..Request::default() };
        let question = Question { models: vec!["p/m"], request: &request, fallback: &Fallback::default() };
        let key = Key::new(project, &question);
        (semantic.asking(project, &question).unwrap().placed(vector.to_vec()).unwrap(), key)
    }

    #[tokio::test]
    async fn the_nearest_comes_first_and_the_oldest_goes() {
        let (semantic, project) = (semantic(2), ProjectId(Uuid::now_v7()));
        let mut keys = Vec::new();
        for (text, vector) in [("a", [1.0, 0.0]), ("b", [0.9, 0.1]), ("c", [0.0, 1.0]), ("d", [3.0, 0.3])] {
            let (one, key) = placed(&semantic, project, text, vector);
            semantic.put(one, key).await;
            keys.push(key);
        }
        let (asked, _) = placed(&semantic, project, "e", [2.0, 0.2]);
        let found = semantic.find(&asked).await;
        assert_eq!(found.iter().map(|n| n.answer).collect::<Vec<_>>(), [keys[3]], "of two, one is far and two are gone");
        assert!((found[0].similarity - 1.0).abs() < 1e-6);
        let (elsewhere, _) = placed(&semantic, ProjectId(Uuid::now_v7()), "e", [2.0, 0.2]);
        assert!(semantic.find(&elsewhere).await.is_empty());
        semantic.clear(project).await;
        assert!(semantic.find(&asked).await.is_empty());
    }

    #[tokio::test]
    async fn what_points_nowhere_is_no_place() {
        let (semantic, project) = (semantic(2), ProjectId(Uuid::now_v7()));
        let request = Request { messages: vec![Message::new(Role::User, "a")], ..Request::default() };
        let question = Question { models: vec!["p/m"], request: &request, fallback: &Fallback::default() };
        assert!(semantic.asking(project, &question).unwrap().placed(vec![0.0; 3]).is_none());
        semantic.rest(project).await;
        assert!(semantic.asking(project, &question).is_none());
        assert!(semantic.asking(ProjectId(Uuid::now_v7()), &question).is_some());
    }
}
