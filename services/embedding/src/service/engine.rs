//! The engine of this replica: opening it, moving to another one, keeping it tidy.
//!
//! The record of a workspace names the engine that has its chunks. What is in another one than ours is built again into
//! ours; until then it is searched where it is, if that is still there. So a replica that starts forgets nothing of what
//! others have indexed: only who finds that an engine has lost everything says so.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Service;
use crate::error::Error;
use crate::index::{DirLock, EdgeIndex, Engines, IndexError, Server, VectorIndex};
use crate::model::state::Model;

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
    /// Opens the engine, waiting for a server that cannot be reached.
    pub(crate) async fn open_index(&self, source: Source, shutdown: &CancellationToken) -> Result<(), Error> {
        match source {
            Source::InProcess(dir, lock) => self.open_in_process(dir, lock).await?,
            Source::Server(server) => {
                let mut pause = AGAIN;
                while let Err(error) = self.open_on(&server).await {
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
            Source::Given(current) => self.index.set(Engines { current, previous: None }),
        }
        self.move_over().await
    }

    /// Lets go of the engine.
    pub(crate) async fn close_index(&self) {
        self.index.close().await;
    }

    /// One that had to be begun anew is filled again by builds of every workspace.
    async fn open_in_process(&self, dir: PathBuf, lock: DirLock) -> Result<(), Error> {
        let space = self.space().clone();
        let opened = tokio::task::spawn_blocking(move || EdgeIndex::open(&dir, lock, &space)).await;
        let (engine, begun_anew) = opened.map_err(|panic| IndexError::Engine(panic.to_string()))??;
        if begun_anew {
            self.forget_all().await?;
            engine.confirm()?;
        }
        self.index.set(Engines { current: Arc::new(engine), previous: None });
        Ok(())
    }

    async fn open_on(&self, server: &Server) -> Result<(), Error> {
        let seen = server.look().await?;
        if !seen.ours && seen.other.is_none() {
            // Nothing is left of what the records speak of. They say so before there is a collection to build into.
            self.forget_all().await?;
        }
        server.create().await?;
        let current: Arc<dyn VectorIndex> = Arc::new(server.current()?);
        let previous: Option<Arc<dyn VectorIndex>> = match &seen.other {
            Some(other) => Some(Arc::new(server.previous(other)?)),
            None => None,
        };
        if previous.is_none() {
            current.take_over().await?;
        }
        tracing::info!(engine = current.name(), previous = seen.other, "the search engine is open");
        self.index.set(Engines { current, previous });
        Ok(())
    }

    /// The engine is empty: every workspace is indexed again.
    async fn forget_all(&self) -> Result<(), Error> {
        let mut tx = self.records.begin().await?;
        for index in self.records.forget_all(&tx).await? {
            self.enqueue_build(&mut tx, &index, "").await?;
        }
        Ok(tx.commit().await?)
    }

    /// Has what is in another engine built again into ours. Once nothing is elsewhere, ours takes the place of the one
    /// before.
    async fn move_over(&self) -> Result<(), Error> {
        let Engines { current, previous } = self.index.engines().await?;
        let elsewhere = self.records.list_elsewhere(current.name()).await?;
        let mut tx = self.records.begin().await?;
        for index in &elsewhere {
            let on_its_way = index.wanted > index.built.max(index.failed);
            if !on_its_way && self.records.want_again(&tx, index).await? {
                self.enqueue_build(&mut tx, index, "").await?;
            }
        }
        tx.commit().await?;
        if elsewhere.is_empty() && previous.is_some() {
            current.take_over().await?;
            self.index.set(Engines { current, previous: None });
        }
        Ok(())
    }

    /// After a build: it may have been the last one that was elsewhere.
    pub(super) async fn move_on(&self) {
        let moving = self.index.engines().await.is_ok_and(|engines| engines.previous.is_some());
        if moving && let Err(error) = self.move_over().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the engine before is kept for now");
        }
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
