//! The engines of this replica: opening them, and keeping ours tidy.
//!
//! The record of a workspace names the engine that has its chunks. What is in another one than ours moves to ours
//! (`moving.rs`), and is searched where it is until it has. So a replica that starts forgets nothing of what others have
//! indexed: only who finds that an engine has lost everything says so.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Service;
use crate::embedder::Space;
use crate::error::Error;
use crate::index::{DirLock, EdgeIndex, Engines, IndexError, Legacy, Server, VectorIndex};
use crate::model::state::Model;
use crate::settings::EmbedderSettings;
use crate::store::Asked;

const TIDY_EVERY: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_AT_MOST: Duration = Duration::from_secs(15);

/// Where the engine comes from.
pub(crate) enum Source {
    /// In this process, on a directory.
    InProcess(PathBuf, DirLock),
    /// On a server.
    Server(Box<Server>),
    /// It is there already.
    #[cfg(test)]
    Given(Arc<dyn VectorIndex>),
}

impl Service {
    /// Opens the engines, waiting for a server that cannot be reached.
    pub(crate) async fn open_index(&self, source: Source, shutdown: &CancellationToken) -> Result<(), Error> {
        match source {
            Source::InProcess(dir, lock) => self.open_in_process(dir, lock).await?,
            Source::Server(server) => {
                let server = self.server.get_or_init(|| *server);
                let mut pause = AGAIN;
                while let Err(error) = self.open_on(server).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the search engine cannot be opened; again in {pause:?}"
                    );
                    tokio::select! {
                        () = shutdown.cancelled() => return Ok(()),
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(AGAIN_AT_MOST),
                    }
                }
            }
            #[cfg(test)]
            Source::Given(current) => {
                self.ask_for(current.name()).await?;
                self.begin_with(Engines::one(current)).await?;
            }
        }
        // Tried again now and then.
        if let Err(error) = self.move_over().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "what is in another index does not move yet");
        }
        self.move_on().await;
        Ok(())
    }

    /// Lets go of the engines.
    pub(crate) async fn close_index(&self) {
        self.index.close().await;
    }

    /// One that had to be begun anew is filled again by builds of every workspace that was in it.
    async fn open_in_process(&self, dir: PathBuf, lock: DirLock) -> Result<(), Error> {
        self.adopt_legacy(&dir).await?;
        let (space, candidates) = (self.space().clone(), self.candidates().await?);
        let opened = blocking(move || open_all(&dir, &lock, &space, candidates)).await?;
        let name = opened.ours.name().to_owned();
        self.ask_for(&name).await?;
        if opened.begun_anew {
            self.forget_in(&name).await?;
            opened.ours.confirm()?;
        }
        for lost in opened.lost {
            self.forget_lost(&lost).await?;
        }
        let others = opened.others.into_iter().map(|other| Arc::new(other) as Arc<dyn VectorIndex>).collect();
        self.begin_with(Engines { current: Arc::new(opened.ours), others }).await
    }

    /// The records learn the name first: until the folder has it, it is looked for again.
    async fn adopt_legacy(&self, dir: &std::path::Path) -> Result<(), Error> {
        let at = dir.to_owned();
        let Some(legacy) = blocking(move || Ok(Legacy::find(&at))).await? else { return Ok(()) };
        let tx = self.records.begin().await?;
        self.records.rename_engine(&tx, Legacy::NAME, &legacy.name()).await?;
        if legacy.space() == Space::default() {
            let asked = Asked { name: legacy.name(), embedder: EmbedderSettings::default().remembered() };
            self.records.ask_engine(&tx, &asked).await?;
        }
        tx.commit().await?;
        blocking(move || legacy.adopt()).await
    }

    async fn open_on(&self, server: &Server) -> Result<(), Error> {
        let ours = server.current()?;
        // Said before there is a collection: nobody takes it for one that nothing is in any more.
        self.ask_for(ours.name()).await?;
        let mut candidates = self.candidates().await?;
        candidates.extend(server.served().await?);
        let (mut others, mut lost): (Vec<Arc<dyn VectorIndex>>, Vec<String>) = (Vec::new(), Vec::new());
        for name in candidates.into_iter().filter(|name| name != ours.name()) {
            match server.other(&name).await? {
                Some(other) => others.push(Arc::new(other)),
                None => lost.push(name),
            }
        }
        if !server.is_there().await? {
            // The records say so before there is a collection to build into.
            self.forget_in(ours.name()).await?;
        }
        for lost in lost {
            self.forget_lost(&lost).await?;
        }
        server.create().await?;
        if others.is_empty() {
            ours.take_over().await?;
        }
        self.begin_with(Engines { current: Arc::new(ours), others }).await
    }

    /// The engines that something may be in.
    async fn candidates(&self) -> Result<BTreeSet<String>, Error> {
        let asked = self.records.list_asked().await?.into_iter().map(|asked| asked.name);
        Ok(self.records.list_engines().await?.into_iter().chain(asked).collect())
    }

    async fn ask_for(&self, name: &str) -> Result<(), Error> {
        let tx = self.records.begin().await?;
        let asked = Asked { name: name.to_owned(), embedder: self.models.remembered() };
        self.records.ask_engine(&tx, &asked).await?;
        Ok(tx.commit().await?)
    }

    /// From now on there are searches; those of other engines go by words where their models cannot be asked any more.
    async fn begin_with(&self, engines: Engines) -> Result<(), Error> {
        let others: Vec<String> = engines.others.iter().map(|other| other.name().to_owned()).collect();
        for name in &others {
            self.models
                .add(name, "the model of the index before is not known; until the workspace has moved, search is by words");
        }
        if !others.is_empty() {
            for asked in self.records.list_asked().await?.into_iter().filter(|asked| others.contains(&asked.name)) {
                self.models.revive(&asked.name, asked.embedder).await;
            }
        }
        tracing::info!(engine = engines.current.name(), ?others, "the search engine is open");
        self.index.set(engines);
        Ok(())
    }

    /// An engine is not there any more.
    async fn forget_lost(&self, name: &str) -> Result<(), Error> {
        self.forget_in(name).await?;
        let tx = self.records.begin().await?;
        self.records.forget_engine(&tx, name).await?;
        Ok(tx.commit().await?)
    }

    /// An engine is empty: what was in it is indexed again.
    async fn forget_in(&self, name: &str) -> Result<(), Error> {
        let mut tx = self.records.begin().await?;
        for index in self.records.forget(&tx, name).await? {
            self.enqueue_build(&mut tx, &index, "").await?;
        }
        Ok(tx.commit().await?)
    }

    /// Sees now and then to what nobody asks for, until `shutdown`: what is elsewhere, what lacks vectors, and the engine's
    /// own order.
    pub(crate) async fn run_tidying(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(TIDY_EVERY) => {}
            }
            // It may take minutes: a stop does not wait for it.
            let tidied = tokio::select! {
                () = shutdown.cancelled() => return,
                tidied = self.tidy() => tidied,
            };
            if let Err(error) = tidied {
                tracing::warn!(error = &error as &dyn std::error::Error, "the search index cannot be tidied");
            }
        }
    }

    /// The engine is rearranged when it was written to and no build is under way.
    async fn tidy(&self) -> Result<(), Error> {
        self.move_over().await?;
        self.settle_switch().await?;
        // A replica without a model may have had the job, or the engine was away.
        if matches!(self.model(), Model::Ready | Model::Failing(_)) {
            self.fill_in(false).await?;
        }
        if self.building.load(Ordering::Relaxed) == 0 && self.written.swap(false, Ordering::Relaxed) {
            let engine = self.index.engine().await?;
            engine.optimize().await?;
            engine.flush().await?;
        }
        Ok(())
    }
}

/// What was found in an index directory.
struct Opened {
    ours: EdgeIndex,
    begun_anew: bool,
    others: Vec<EdgeIndex>,
    /// Those that are not there, or not sound.
    lost: Vec<String>,
}

fn open_all(dir: &std::path::Path, lock: &DirLock, space: &Space, candidates: BTreeSet<String>) -> Result<Opened, IndexError> {
    let (ours, begun_anew) = EdgeIndex::open(dir, lock.clone(), space)?;
    let (mut others, mut lost) = (Vec::new(), Vec::new());
    for name in candidates.into_iter().filter(|name| name != ours.name()) {
        match EdgeIndex::other(dir, lock.clone(), &name) {
            Some(other) => others.push(other),
            None => lost.push(name),
        }
    }
    let kept: HashSet<String> = others.iter().chain([&ours]).map(|engine| engine.name().to_owned()).collect();
    EdgeIndex::remove_others(dir, &kept)?;
    Ok(Opened { ours, begun_anew, others, lost })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, IndexError> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|panic| IndexError::Engine(panic.to_string()))??)
}
