//! What can go wrong here, and what a caller is told.

use slipway_rpc::{Fault, Reason};
use slipway_storage::StorageError;

use crate::index::IndexError;

pub(crate) use slipway_rpc::BoxError;

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The workspace has no index, or is not this project's.
    #[error("the workspace has no search index yet")]
    IndexNotFound,
    /// The glob cannot be read.
    #[error("the glob is not valid: {0}")]
    Pattern(String),
    /// There is no embedding model.
    #[error("{0}")]
    EmbedderUnavailable(String),
    /// The embedding model failed.
    #[error("the embedding model failed: {0}")]
    Embedder(#[source] BoxError),
    /// The search engine failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store failed.
    #[error("the index state cannot be read or written")]
    Store(#[from] StorageError),
    /// A neighbour or a check refused.
    #[error("{0}")]
    Fault(Fault),
}

impl Error {
    /// Whether something that we need is away, and will come back.
    pub(crate) fn is_of_absence(&self) -> bool {
        match self {
            Self::Fault(fault) => matches!(fault.reason(), Reason::ServiceUnavailable | Reason::DeadlineExceeded),
            Self::Index(error) => matches!(error, IndexError::Unavailable(_) | IndexError::Missing(_)),
            Self::Store(error) => error.is_unavailable(),
            Self::Embedder(error) => error.downcast_ref::<crate::embedder::Failure>().is_some_and(|failure| failure.is_passing()),
            _ => false,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::IndexNotFound => Fault::new(Reason::IndexNotFound, error.to_string()),
            Error::Pattern(_) => Fault::new(Reason::PatternInvalid, error.to_string()),
            Error::EmbedderUnavailable(_) => Fault::new(Reason::EmbedderUnavailable, error.to_string()),
            Error::Fault(fault) => fault,
            Error::Index(IndexError::Unavailable(_)) => {
                Fault::new(Reason::ServiceUnavailable, "the search engine cannot be reached; try again").source(error)
            }
            Error::Store(source) => source.into(),
            Error::Embedder(_) | Error::Index(_) => Fault::internal(error),
        }
    }
}
