//! What a call to the conversation service can fail with, and how each becomes a fault.

use slipway_rpc::{Fault, Reason};
use slipway_storage::{AppendError, LeaseLost, StorageError};
use uuid::Uuid;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the project has no conversation {0}")]
    ConversationNotFound(Uuid),
    #[error("the project has no run {0}")]
    RunNotFound(Uuid),
    #[error("the conversation has a run that is still going; wait for it or cancel it")]
    RunActive { run_id: Uuid },
    #[error("the conversation was changed since its etag was read; read it and try again")]
    EtagMismatch { etag: String },
    #[error("the page token is not from this list")]
    PageTokenInvalid,
    #[error("the request id was used for another request; choose a new one")]
    RequestIdReused { first_id: Uuid },
    #[error("the cursor is beyond the run's events; watch from 0")]
    CursorOutOfRange { oldest: u64, latest: u64 },
    #[error("the server is stopping; try again")]
    Stopping,
    #[error("a neighbour refused")]
    Neighbour(#[source] Fault),
    #[error("the store failed")]
    Storage(#[from] StorageError),
    #[error("an event could not be stored")]
    Append(#[from] AppendError),
    #[error("the job was taken over")]
    LeaseLost(#[from] LeaseLost),
    #[error("an event in the store cannot be read")]
    Event(#[from] prost::DecodeError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::ConversationNotFound(_) => Self::new(Reason::ConversationNotFound, message),
            Error::RunNotFound(_) => Self::new(Reason::RunNotFound, message),
            Error::RunActive { run_id } => Self::new(Reason::RunActive, message).with("run_id", run_id),
            Error::EtagMismatch { etag } => Self::new(Reason::EtagMismatch, message).with("etag", etag),
            Error::PageTokenInvalid => Self::new(Reason::PageTokenInvalid, message),
            Error::RequestIdReused { first_id } => Self::new(Reason::RequestIdReused, message).with("first_id", first_id),
            Error::CursorOutOfRange { oldest, latest } => {
                Self::new(Reason::CursorOutOfRange, message).with("oldest", oldest).with("latest", latest)
            }
            Error::Stopping => Self::new(Reason::ServiceUnavailable, message),
            Error::Neighbour(fault) => fault,
            Error::Storage(source) | Error::Append(AppendError::Storage(source)) => source.into(),
            Error::Append(_) | Error::LeaseLost(_) | Error::Event(_) => Self::internal(error),
        }
    }
}
