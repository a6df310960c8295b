//! [`Index`]: the engines of this process. One is ours; while the model or the format changes there are others, in which
//! workspaces are until they have moved.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::{Found, IndexError, Point, Query, Tenant, VectorIndex};
use crate::error::Error;

const SEARCHES_AT_ONCE: usize = 8;
/// How long a call waits for an engine that is being opened.
const OPENING: Duration = Duration::from_secs(10);

/// What this process has of engines; cheap to clone.
#[derive(Clone)]
pub(crate) struct Index {
    state: watch::Sender<State>,
    searches: Arc<Semaphore>,
}

/// Whether there is an engine.
#[derive(Clone)]
enum State {
    /// It is being opened.
    Opening,
    /// It is there.
    Open(Engines),
    /// It was let go.
    Closed,
}

/// Our engine, and those that workspaces have not left yet.
#[derive(Clone)]
pub(crate) struct Engines {
    /// What workspaces move to.
    pub(crate) current: Arc<dyn VectorIndex>,
    /// What they come from.
    pub(crate) others: Vec<Arc<dyn VectorIndex>>,
}

impl Engines {
    /// One engine and no other.
    pub(crate) fn one(current: Arc<dyn VectorIndex>) -> Self {
        Self { current, others: Vec::new() }
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<dyn VectorIndex>> {
        std::iter::once(&self.current).chain(&self.others)
    }

    /// The engine of that name. Chunks are looked for in no other one than the record names.
    pub(crate) fn named(&self, name: &str) -> Result<Arc<dyn VectorIndex>, IndexError> {
        let found = self.all().find(|engine| engine.name() == name);
        found.cloned().ok_or_else(|| IndexError::Missing(format!("the engine {name} is not open here")))
    }

    /// Where a workspace that is in the engine of that name is built: there until it has moved, so that what is new is found
    /// at once and by everything it was found by before. What is of another format can be searched, but no longer built.
    pub(crate) fn home(&self, name: &str) -> Arc<dyn VectorIndex> {
        let here = self.named(name).ok().filter(|engine| format_of(engine.name()) == format_of(self.current.name()));
        here.unwrap_or_else(|| self.current.clone())
    }
}

fn format_of(name: &str) -> Option<&str> {
    name.rsplit_once("_v").map(|(_, format)| format)
}

impl Index {
    /// An index whose engine is still to come; calls wait for [`Index::set`].
    pub(crate) fn opening() -> Self {
        Self { state: watch::channel(State::Opening).0, searches: Arc::new(Semaphore::new(SEARCHES_AT_ONCE)) }
    }

    /// Gives it its engines.
    pub(crate) fn set(&self, engines: Engines) {
        self.state.send_replace(State::Open(engines));
    }

    /// Gives it one more to search, unless it has it.
    pub(crate) fn add(&self, engine: Arc<dyn VectorIndex>) {
        self.state.send_if_modified(|state| match state {
            State::Open(engines) if engines.named(engine.name()).is_err() => {
                engines.others.push(engine);
                true
            }
            _ => false,
        });
    }

    /// Leaves our engine alone, and returns the others.
    pub(crate) fn leave_others(&self) -> Vec<Arc<dyn VectorIndex>> {
        let mut left = Vec::new();
        self.state.send_modify(|state| {
            if let State::Open(engines) = state {
                left = std::mem::take(&mut engines.others);
            }
        });
        left
    }

    /// Lets go of the engines.
    pub(crate) async fn close(&self) {
        if let State::Open(engines) = self.state.send_replace(State::Closed) {
            for engine in engines.all() {
                engine.close().await;
            }
        }
    }

    /// Waits until there is an engine; false when none is to come.
    pub(crate) async fn opened(&self) -> bool {
        let mut state = self.state.subscribe();
        // The sender is ours: it cannot be closed.
        state.wait_for(|s| !matches!(s, State::Opening)).await.is_ok_and(|s| matches!(*s, State::Open(_)))
    }

    /// Our engine, once it is open; not for long while a server cannot be reached.
    pub(crate) async fn engine(&self) -> Result<Arc<dyn VectorIndex>, IndexError> {
        Ok(self.engines().await?.current)
    }

    /// The name of our engine, if it is open.
    pub(crate) fn ours(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Open(engines) => Some(engines.current.name().to_owned()),
            State::Opening | State::Closed => None,
        }
    }

    /// All of the engines.
    pub(crate) async fn engines(&self) -> Result<Engines, IndexError> {
        if tokio::time::timeout(OPENING, self.opened()).await.is_err() {
            return Err(IndexError::Unavailable("it is still being opened".to_owned()));
        }
        match &*self.state.borrow() {
            State::Open(engines) => Ok(engines.clone()),
            State::Opening | State::Closed => Err(IndexError::Closed),
        }
    }

    /// Searches, a few at a time, in the engine of that name.
    pub(crate) async fn search(&self, name: &str, tenant: Tenant, query: Query) -> Result<Vec<Found>, Error> {
        let engine = self.engines().await?.named(name)?;
        // Never closed.
        let _permit = self.searches.acquire().await.ok();
        Ok(engine.search(tenant, query).await?)
    }

    /// Points by their ids, from the engine of that name.
    pub(crate) async fn points(&self, name: &str, tenant: Tenant, ids: Vec<Uuid>) -> Result<Vec<Point>, Error> {
        let engine = self.engines().await?.named(name)?;
        let _permit = self.searches.acquire().await.ok();
        Ok(engine.points(tenant, ids).await?)
    }
}
