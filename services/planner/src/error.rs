//! What can go wrong, and the reason that callers see.

use slipway_rpc::{Fault, Reason};
use slipway_storage::{AppendError, LeaseLost, StorageError};
use thiserror::Error;
use uuid::Uuid;

use crate::model::{IllegalTransition, PlanState};

/// An error of a planner's use case.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// A bad request, or a neighbour's error.
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("there is no plan {0} in this project")]
    PlanNotFound(Uuid),
    #[error("the plan is {state}; this is not possible now", state = .0.as_str())]
    StateConflict(PlanState),
    #[error("the plan is at version {version} by now; review that one")]
    VersionStale { version: u32 },
    #[error("the workspace has moved since the plan was made, or another base was reviewed; revise the plan on the present head")]
    BaseMoved { base: Uuid, head: Option<Uuid> },
    #[error("the workspace has no revision to plan on; import files first")]
    WorkspaceEmpty,
    #[error("no configured provider serves the model {0:?}")]
    ModelNotFound(String),
    #[error("the request id was used for another request")]
    RequestIdReused { first_id: Uuid },
    #[error("the page token was not made by this list call")]
    PageTokenInvalid,
    #[error("the cursor is beyond the plan's events, or they are no longer kept")]
    CursorOutOfRange { oldest: u64, latest: u64 },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    #[error("stored data cannot be read: {0}")]
    Corrupt(String),
}

impl From<IllegalTransition> for Error {
    fn from(illegal: IllegalTransition) -> Error {
        Error::StateConflict(illegal.from)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        let message = error.to_string();
        match error {
            Error::Fault(fault) => fault,
            Error::PlanNotFound(_) => Fault::new(Reason::PlanNotFound, message),
            Error::StateConflict(state) => Fault::new(Reason::PlanStateConflict, message).with("state", state.as_str()),
            Error::VersionStale { version } => Fault::new(Reason::PlanVersionStale, message).with("version", version),
            Error::BaseMoved { base, head } => Fault::new(Reason::PlanBaseMoved, message)
                .with("base_revision_id", base)
                .with("head_revision_id", head.map_or_else(String::new, |id| id.to_string())),
            Error::WorkspaceEmpty => Fault::new(Reason::WorkspaceEmpty, message),
            Error::ModelNotFound(model) => Fault::new(Reason::ModelNotFound, message).with("model", model),
            Error::RequestIdReused { first_id } => Fault::new(Reason::RequestIdReused, message).with("first_id", first_id),
            Error::PageTokenInvalid => Fault::new(Reason::PageTokenInvalid, message),
            Error::CursorOutOfRange { oldest, latest } => {
                Fault::new(Reason::CursorOutOfRange, message).with("oldest", oldest).with("latest", latest)
            }
            Error::Storage(source) | Error::Append(AppendError::Storage(source)) => source.into(),
            Error::Append(source) => Fault::internal(source),
            Error::LeaseLost(source) => Fault::internal(source),
            Error::Corrupt(message) => Fault::internal(message),
        }
    }
}
