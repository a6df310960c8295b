//! What can go wrong on the bus, and what a handler answers when it does not take an event.

use std::fmt;

/// Any error of a handler or of a transport's client.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why an event was not handed over, or a consumer not set up.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The server cannot be reached or did not acknowledge. Worth trying again, for this event and every other.
    #[error("the bus cannot be reached")]
    Unavailable(#[source] BoxError),
    /// A consumer did not take this event. Other events may well pass.
    #[error("consumer {consumer} did not take the event")]
    Refused {
        /// The consumer's durable name.
        consumer: String,
        /// What its handler said.
        #[source]
        source: BoxError,
    },
    /// A subject, consumer name or address that the bus cannot use. Trying again does not help.
    #[error("{0}")]
    Invalid(String),
}

impl BusError {
    /// Whether the failure concerns the whole bus rather than one event.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, BusError::Unavailable(_))
    }
}

/// Why a handler did not take an event; `?` turns any error into one. It does not implement
/// [`std::error::Error`] itself, exactly so that this conversion can exist.
pub struct HandlerError(BoxError);

impl HandlerError {
    /// A refusal with a reason.
    pub fn new(reason: impl Into<BoxError>) -> HandlerError {
        HandlerError(reason.into())
    }

    /// The reason.
    pub fn into_source(self) -> BoxError {
        self.0
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> HandlerError {
        HandlerError(Box::new(error))
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
