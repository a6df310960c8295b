//! The models of the engines: ours, and for an engine that workspaces are moving away from the one that its vectors are of, as
//! long as that can be asked. A query is embedded by the model of the engine that it goes to, or not at all.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::embedder::{self, Embedder, Embedding, MiniLm, Remote, missing_files};
use crate::model::state::Model;
use crate::settings::{EmbedderKind, EmbedderSettings};

/// What it takes to have a model: ours is described by it, others are made by it.
#[derive(Clone, Debug)]
pub(crate) struct Making {
    /// Our model.
    pub(crate) settings: EmbedderSettings,
    /// Where the weights of the model in this process are.
    pub(crate) model_dir: Option<PathBuf>,
}

impl Making {
    /// The model that `remembered` describes. Blocks; inside a runtime.
    fn make(&self, remembered: &str) -> Result<(embedder::Space, Arc<dyn Embedder>), String> {
        let then = EmbedderSettings::recalled(remembered).ok_or("its settings cannot be read")?;
        let space = then.space();
        if then.kind == EmbedderKind::InProcess {
            let dir = self.model_dir.as_ref().ok_or("embedding.model_dir is not set")?;
            if let Some(missing) = missing_files(dir) {
                return Err(missing);
            }
            return Ok((space, Arc::new(MiniLm::load(dir).map_err(|e| e.to_string())?)));
        }
        let mut then = then;
        if (then.kind, &then.base_url) == (self.settings.kind, &self.settings.base_url) {
            then.api_key = self.settings.api_key.clone();
        }
        let completed = then.completed(|name| std::env::var(name).ok());
        Ok((space, Arc::new(Remote::new(completed).map_err(|e| e.to_string())?)))
    }
}

/// A model, or why it cannot be asked.
type Known = Result<Embedding, Arc<str>>;

/// The models; cheap to clone.
#[derive(Clone)]
pub(crate) struct Models {
    /// Ours.
    pub(crate) ours: Embedding,
    making: Arc<Making>,
    /// By the names of their engines; or why there is none.
    others: Arc<RwLock<HashMap<String, Known>>>,
}

impl Models {
    /// Ours alone.
    pub(crate) fn new(ours: Embedding, making: Making) -> Self {
        Self { ours, making: Arc::new(making), others: Arc::default() }
    }

    /// What another process needs to know to have our model, without its key.
    pub(crate) fn remembered(&self) -> String {
        self.making.settings.remembered()
    }

    /// The model of an engine, or why it cannot be asked.
    pub(crate) fn of(&self, engine: &str) -> Known {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        others.get(engine).cloned().unwrap_or_else(|| Ok(self.ours.clone()))
    }

    /// Says that an engine is not ours. Its queries go by words, until its model is there.
    pub(crate) fn add(&self, engine: &str, why: &str) {
        self.set(engine, Err(why.into()));
    }

    /// Has the model of an engine that is not ours, if it can be had.
    pub(crate) async fn revive(&self, engine: &str, remembered: String) {
        // Another format of the same vectors.
        if EmbedderSettings::recalled(&remembered).is_some_and(|then| then.space() == *self.ours.space()) {
            return self.set(engine, Ok(self.ours.clone()));
        }
        let making = self.making.clone();
        let made = tokio::task::spawn_blocking(move || making.make(&remembered)).await;
        let made = made.unwrap_or_else(|panic| Err(panic.to_string())).and_then(|(space, embedder)| {
            let embedding = Embedding::start(space).map_err(|e| e.to_string())?;
            embedding.set(embedder);
            Ok(embedding)
        });
        if let Err(why) = &made {
            tracing::warn!(engine, reason = why, "the model of the index before cannot be asked: it is searched by words");
        }
        self.set(engine, made.map_err(|why| format!("the model of the index before cannot be asked: {why}").into()));
    }

    /// Lets go of the model of an engine that nothing is in any more.
    pub(crate) fn leave(&self, engine: &str) {
        self.set(engine, Err("the index before is gone".into()));
    }

    fn set(&self, engine: &str, model: Known) {
        self.others.write().unwrap_or_else(PoisonError::into_inner).insert(engine.to_owned(), model);
    }
}

/// Whether there is a model, and whether it works.
pub(super) fn state_of(embedding: &Embedding) -> Model {
    match embedding.state() {
        embedder::State::Loading => Model::Loading,
        embedder::State::Ready(_) => embedding.trouble().map_or(Model::Ready, Model::Failing),
        embedder::State::Absent(why) => Model::Absent(why.to_string()),
    }
}
