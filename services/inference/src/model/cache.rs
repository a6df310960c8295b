//! What a caller wants of kept answers, and what an answer says of where it is from.

use std::time::Duration;

/// What a caller wants of kept answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CachePolicy {
    /// One will do; else the answer is kept.
    #[default]
    Default,
    /// None, and the answer is not kept.
    Bypass,
    /// None, and the answer is kept instead.
    Refresh,
}

/// Where an answer came from for which no call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HitKind {
    /// It was kept for the same question.
    Exact,
    /// It is that of a call under way.
    Shared,
}

impl HitKind {
    /// As in the metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Shared => "shared",
        }
    }
}

/// An answer for which no call was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CacheHit {
    /// Where it is from.
    pub(crate) kind: HitKind,
    /// How old it is.
    pub(crate) age: Duration,
}
