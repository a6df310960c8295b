//! The self-test of Search: the same chunks, with the vectors of the model of this process, asked by words, by meaning and by
//! both.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Evaluation, tenant};
use crate::embedder::{Embedder, MiniLm, missing_files};
use crate::error::BoxError;
use crate::index::{Point, Query};
use crate::model::chunk::embedded_text;

/// Texts that are embedded at once.
const BATCH: usize = 16;
/// Hits that one search may find: files are ranked by their best.
const HITS: usize = 100;

/// What a search goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Sparse vectors of words alone.
    Words,
    /// Dense vectors alone.
    Meaning,
    /// Both, fused.
    Both,
}

impl By {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Words, Self::Meaning, Self::Both];
}

/// The model, and the vectors of all texts that it has seen.
pub(super) struct Meanings {
    model: Arc<dyn Embedder>,
    known: HashMap<String, Vec<f32>>,
}

impl Meanings {
    /// Loads the model in `dir`; absent: where it is by default.
    pub(super) async fn load(dir: Option<PathBuf>) -> Result<Self, BoxError> {
        let dir = dir.or_else(crate::settings::default_model_dir).ok_or("name the directory of the model's weights")?;
        if let Some(missing) = missing_files(&dir) {
            return Err(format!("no embedding model: {missing}. `make demo` puts the weights there").into());
        }
        let model = tokio::task::spawn_blocking(move || MiniLm::load(&dir)).await??;
        Ok(Self { model: Arc::new(model), known: HashMap::new() })
    }

    /// Gives points their vectors.
    pub(super) async fn give(&mut self, points: &mut [Point]) -> Result<(), BoxError> {
        let text = |p: &Point| embedded_text(&p.path, &p.title, &p.text);
        let unknown: HashSet<String> = points.iter().map(text).filter(|text| !self.known.contains_key(text)).collect();
        let mut unknown: Vec<String> = unknown.into_iter().collect();
        // Texts of one length waste least on padding; and the order decides nothing else.
        unknown.sort_unstable_by_key(|text| (text.len(), text.clone()));
        for batch in unknown.chunks(BATCH) {
            let (model, texts) = (self.model.clone(), batch.to_vec());
            let vectors = tokio::task::spawn_blocking(move || model.embed(&texts)).await??;
            self.known.extend(batch.iter().cloned().zip(vectors));
        }
        for point in points {
            point.vector = self.known.get(&text(point)).cloned();
        }
        Ok(())
    }

    async fn query(&self, text: &str) -> Result<Arc<Vec<f32>>, BoxError> {
        let (model, text) = (self.model.clone(), text.to_owned());
        Ok(Arc::new(tokio::task::spawn_blocking(move || model.embed_query(&text)).await??))
    }
}

impl Evaluation {
    /// From now on chunks get the vectors that searches by meaning need, which takes far longer than the rest.
    ///
    /// # Errors
    /// The weights of the model are not in `dir`, or not where they are by default.
    pub async fn with_meanings(mut self, dir: Option<&Path>) -> Result<Self, BoxError> {
        self.meanings = Some(Meanings::load(dir.map(Path::to_owned)).await?);
        Ok(self)
    }

    /// The files of the chunks that Search finds, by the best chunk of each.
    ///
    /// # Errors
    /// The package was not indexed, or its chunks have no vectors.
    pub async fn search(&self, name: &str, request: &str, by: By) -> Result<Vec<String>, BoxError> {
        let meanings = self.meanings.as_ref().ok_or("the chunks have no vectors")?;
        let vector = if by == By::Words { None } else { Some(meanings.query(request).await?) };
        let words = if by == By::Meaning { String::new() } else { request.to_owned() };
        let hits = self.engine.search(tenant(name), Query { words, vector, paths: None, limit: HITS }).await?;
        let mut seen = HashSet::new();
        Ok(hits.into_iter().map(|hit| hit.point.path).filter(|path| seen.insert(path.clone())).collect())
    }
}
