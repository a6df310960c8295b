//! What is known of models by name: how much they read and write, what they can do, what they cost and since when.
//!
//! Owns the data that comes with the binary (`data/`) and the operator's own file, which goes before it and is read again
//! when it changes. A model that nobody lists can be called all the same: it has no window and no price.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use slipway_telemetry::Metrics;
use tokio_util::sync::CancellationToken;

mod book;
mod entry;
mod file;
mod name;
mod seller;

pub(crate) use entry::{Ability, Entry, Price, Rates};

use crate::model::split_model;
use crate::settings::Settings;
use book::Book;
use seller::Sellers;

const LISTED: &str = include_str!("../data/catalogue.json");
const FAMILIES: &str = include_str!("../data/families.json");
const LOOK_EVERY: Duration = Duration::from_secs(5);
const MAX_FILE: u64 = 32 << 20;

/// Why the catalogue cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogueError {
    /// The file cannot be opened.
    #[error("{path} cannot be read")]
    Io {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The settings name a seller that nobody lists.
    #[error("inference.providers.{provider}.catalogue = \"{seller}\": the catalogue has no such seller")]
    Seller {
        /// Where.
        provider: String,
        /// What.
        seller: String,
    },
    /// The file is not what it should be.
    #[error("{path}: {message}")]
    Format {
        /// Which.
        path: String,
        /// Where and why.
        message: String,
    },
}

/// The catalogue. Shared by everything that asks what a model is or costs.
#[derive(Debug)]
pub(crate) struct Catalogue {
    sellers: Sellers,
    path: Option<PathBuf>,
    now: RwLock<Now>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Now {
    book: Arc<Book>,
    // What the operator's file looked like when it was last read, well or not.
    seen: Option<Seen>,
}

type Seen = (SystemTime, u64);

impl Catalogue {
    /// Reads everything. A file that is wrong is an error.
    pub(crate) fn open(settings: &Settings, metrics: Metrics) -> Result<Self, CatalogueError> {
        let path = settings.catalogue.path.clone();
        let seen = path.as_ref().and_then(seen);
        let (book, sellers) = (read(path.as_ref())?, Sellers::of(settings));
        if let Some((provider, seller)) = sellers.find_unknown(|name| book.has_seller(name)) {
            return Err(CatalogueError::Seller { provider: provider.to_owned(), seller: seller.to_owned() });
        }
        let now = RwLock::new(Now { book: Arc::new(book), seen });
        Ok(Self { sellers, path, now, metrics })
    }

    /// What is known of a model by its id; `None`: nothing.
    pub(crate) fn find(&self, id: &str) -> Option<Entry> {
        let (provider, model) = split_model(id)?;
        let (seller, model) = self.sellers.get(provider, model)?;
        let book = self.now.read().unwrap_or_else(PoisonError::into_inner).book.clone();
        book.find(seller, model)
    }

    /// Reads the operator's file again when it has changed. One that is wrong changes nothing, and is said aloud once.
    pub(crate) fn refresh(&self) {
        let Some(path) = &self.path else { return };
        let seen = seen(path);
        if seen == self.now.read().unwrap_or_else(PoisonError::into_inner).seen {
            return;
        }
        let read = read(Some(path));
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        now.seen = seen;
        self.metrics.catalogue_refreshed(read.is_ok());
        match read {
            Ok(book) => {
                now.book = Arc::new(book);
                tracing::info!(path = %path.display(), "the catalogue of models was read again");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the changed catalogue of models is not taken over; the one before stays in force");
            }
        }
    }

    /// Looks after the operator's file until the end.
    pub(crate) async fn watch(self: Arc<Self>, end: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while end.run_until_cancelled(ticks.tick()).await.is_some() {
            let this = self.clone();
            // A panic in there has been printed; the catalogue stays as it was.
            let _ = tokio::task::spawn_blocking(move || this.refresh()).await;
        }
    }
}

fn seen(path: &PathBuf) -> Option<Seen> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: Option<&PathBuf>) -> Result<Book, CatalogueError> {
    let mut files = Vec::new();
    for (name, text) in [("families.json", FAMILIES), ("catalogue.json", LISTED)] {
        files.push(file::read(text).map_err(|message| CatalogueError::Format { path: name.to_owned(), message })?);
    }
    if let Some(path) = path {
        let at = path.display().to_string();
        let text = read_small(path).map_err(|source| CatalogueError::Io { path: at.clone(), source })?;
        files.push(file::read(&text).map_err(|message| CatalogueError::Format { path: at, message })?);
    }
    Ok(Book::of(files))
}

fn read_small(path: &PathBuf) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > MAX_FILE {
        return Err(std::io::Error::other(format!("it is larger than {} MiB", MAX_FILE >> 20)));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod tests;
