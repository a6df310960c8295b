//! Text becomes vectors: the [`Embedder`] trait, and [`Embedding`], which loads a model off the start-up path and runs it on
//! threads of its own. Queries have a thread to themselves, so that they never wait for indexing.
//!
//! The model is the one of this process ([`MiniLm`]) or a provider's ([`Remote`]). One that fails is left alone for a while:
//! meanwhile searches go by words, and say so.

mod minilm;
mod remote;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use minilm::{MiniLm, missing_files};
pub(crate) use remote::{Failure, Remote};

use crate::error::{BoxError, Error};

/// The model of this process.
pub(crate) const MODEL: &str = "all-MiniLM-L6-v2";
/// The length of its vectors.
pub(crate) const DIMENSIONS: usize = 384;

/// Texts a call to a worker.
const BATCH: usize = 16;
/// The same where queries are: one that comes meanwhile waits for no more.
const URGENT_BATCH: usize = 4;
const QUEUE: usize = 64;
const QUERIES_KEPT: u64 = 2_000;
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long a model that has failed is not asked for queries.
const REST: Duration = Duration::from_secs(10);

/// The model that dense vectors are made by, and how long they are. Vectors of two models are never mixed in one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    /// What the ledger and the engines call the model.
    pub(crate) model: String,
    /// The length of its vectors.
    pub(crate) dimensions: usize,
}

impl Default for Space {
    /// That of the model of this process.
    fn default() -> Self {
        Self { model: MODEL.to_owned(), dimensions: DIMENSIONS }
    }
}

/// A model that embeds texts. Calls block.
pub(crate) trait Embedder: Send + Sync {
    /// One vector of length 1 for each text, in order.
    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, BoxError>;

    /// The vector of what is searched for; some models tell it from what is searched.
    fn embed_query(&self, text: &str) -> Result<Vec<f32>, BoxError> {
        let vectors = self.embed(&[text.to_owned()])?;
        vectors.into_iter().next().ok_or_else(|| "no vector for the query".into())
    }

    /// Texts a call; fewer where somebody waits behind them.
    fn batch(&self, urgent: bool) -> usize {
        if urgent { URGENT_BATCH } else { BATCH }
    }
}

/// Whether there is a model.
#[derive(Clone)]
pub(crate) enum State {
    /// It is being loaded.
    Loading,
    /// It is there.
    Ready(Arc<dyn Embedder>),
    /// There is none; why, and how to get it, for people.
    Absent(Arc<str>),
}

struct Work {
    embedder: Arc<dyn Embedder>,
    texts: Vec<String>,
    is_query: bool,
    answer: oneshot::Sender<Result<Vec<Vec<f32>>, BoxError>>,
}

/// The last failure of a model that has not worked since.
struct Trouble {
    why: Arc<str>,
    at: Instant,
}

/// The model and its threads; cheap to clone. The threads end with the last clone.
#[derive(Clone)]
pub(crate) struct Embedding {
    space: Arc<Space>,
    state: watch::Sender<State>,
    trouble: watch::Sender<Option<Trouble>>,
    queries: mpsc::Sender<Work>,
    passages: mpsc::Sender<Work>,
    known: moka::future::Cache<String, Arc<Vec<f32>>>,
}

impl Embedding {
    /// Starts the threads; a model is not there yet.
    pub(crate) fn start(space: Space) -> std::io::Result<Self> {
        let (state, trouble) = (watch::channel(State::Loading).0, watch::channel(None).0);
        let known = moka::future::Cache::new(QUERIES_KEPT);
        let (queries, passages) = (spawn("embed-queries")?, spawn("embed-passages")?);
        Ok(Self { space: Arc::new(space), state, trouble, queries, passages, known })
    }

    /// Loads the model in `dir`, looking again until its files are there. Ends when there is a model, or at shutdown.
    pub(crate) async fn load(&self, dir: PathBuf, shutdown: &CancellationToken) {
        loop {
            if let Some(missing) = missing_files(&dir) {
                self.set_absent(format!("no embedding model: {missing}. `make demo` puts the weights there"));
            } else {
                let from = dir.clone();
                match tokio::task::spawn_blocking(move || MiniLm::load(&from)).await {
                    Ok(Ok(model)) => {
                        tracing::info!(model = MODEL, dir = %dir.display(), "the embedding model is loaded");
                        self.set(Arc::new(model));
                        return;
                    }
                    Ok(Err(error)) => {
                        self.set_absent(format!("the embedding model in {} cannot be loaded: {error}", dir.display()))
                    }
                    Err(error) => self.set_absent(format!("the embedding model in {} cannot be loaded: {error}", dir.display())),
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Gives it a model.
    pub(crate) fn set(&self, embedder: Arc<dyn Embedder>) {
        self.state.send_replace(State::Ready(embedder));
    }

    /// Says that there is no model, and why.
    pub(crate) fn set_absent(&self, why: String) {
        self.state.send_if_modified(|state| match state {
            State::Absent(before) if **before == *why => false,
            _ => {
                tracing::warn!(reason = why, "search is by words alone");
                *state = State::Absent(why.into());
                true
            }
        });
    }

    /// Whether there is a model now.
    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The model, once it is known whether there is one.
    pub(crate) async fn settled(&self) -> State {
        let mut state = self.state.subscribe();
        // The sender is ours: it cannot be closed.
        state.wait_for(|s| !matches!(s, State::Loading)).await.map_or(State::Loading, |s| s.clone())
    }

    /// What the vectors are of.
    pub(crate) fn space(&self) -> &Space {
        &self.space
    }

    /// Why the model does not work at present.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().as_ref().map(|trouble| trouble.why.to_string())
    }

    /// Whether it failed so recently that queries do not ask it.
    pub(crate) fn rests(&self) -> bool {
        self.trouble.borrow().as_ref().is_some_and(|trouble| trouble.at.elapsed() < REST)
    }

    /// Notes how a call ended.
    fn note(&self, failed: Option<&Error>) {
        let why = failed.map(|error| match error {
            Error::Embedder(source) => source.to_string(),
            other => other.to_string(),
        });
        self.trouble.send_if_modified(|trouble| {
            let changed = trouble.is_some() != why.is_some();
            if changed && let Some(why) = &why {
                tracing::warn!(reason = why, "the embedding model fails; until it works, search is by words");
            }
            *trouble = why.map(|why| Trouble { why: why.into(), at: Instant::now() });
            changed
        });
    }

    /// The vector of a query; `None` when there is no model (yet), or when it fails.
    pub(crate) async fn query(&self, text: &str) -> Result<Option<Arc<Vec<f32>>>, Error> {
        let State::Ready(embedder) = self.state() else { return Ok(None) };
        if let Some(vector) = self.known.get(text).await {
            return Ok(Some(vector));
        }
        if self.rests() {
            return Ok(None);
        }
        let asked = run(&self.queries, &embedder, vec![text.to_owned()], true).await;
        self.note(asked.as_ref().err());
        // Words are a better answer than none.
        let Some(vector) = asked.ok().and_then(|vectors| vectors.into_iter().next()).map(Arc::new) else { return Ok(None) };
        self.known.insert(text.to_owned(), vector.clone()).await;
        Ok(Some(vector))
    }

    /// The vectors of many texts, behind what was asked for before. `urgent` puts them where queries are.
    pub(crate) async fn embed(
        &self,
        embedder: &Arc<dyn Embedder>,
        texts: Vec<String>,
        urgent: bool,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let (worker, size) = (if urgent { &self.queries } else { &self.passages }, embedder.batch(urgent));
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in texts.chunks(size) {
            let made = run(worker, embedder, batch.to_vec(), false).await;
            self.note(made.as_ref().err());
            vectors.extend(made?);
        }
        Ok(vectors)
    }
}

async fn run(
    worker: &mpsc::Sender<Work>,
    embedder: &Arc<dyn Embedder>,
    texts: Vec<String>,
    is_query: bool,
) -> Result<Vec<Vec<f32>>, Error> {
    let count = texts.len();
    let (answer, answered) = oneshot::channel();
    let gone = || Error::Embedder("the embedding thread has ended".into());
    worker.send(Work { embedder: embedder.clone(), texts, is_query, answer }).await.map_err(|_| gone())?;
    let vectors = answered.await.map_err(|_| gone())?.map_err(Error::Embedder)?;
    if vectors.len() != count {
        return Err(Error::Embedder(format!("{} vectors for {count} texts", vectors.len()).into()));
    }
    Ok(vectors)
}

fn spawn(name: &str) -> std::io::Result<mpsc::Sender<Work>> {
    let (sender, mut receiver) = mpsc::channel::<Work>(QUEUE);
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        while let Some(work) = receiver.blocking_recv() {
            if work.answer.is_closed() {
                continue;
            }
            let embed = std::panic::AssertUnwindSafe(|| {
                if work.is_query {
                    work.texts.iter().map(|text| work.embedder.embed_query(text)).collect()
                } else {
                    work.embedder.embed(&work.texts)
                }
            });
            let vectors = std::panic::catch_unwind(embed).unwrap_or_else(|_| Err("the embedding model panicked".into()));
            // Whoever asked may be gone by now.
            let _ = work.answer.send(vectors);
        }
    })?;
    Ok(sender)
}
