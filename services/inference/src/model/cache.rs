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
    /// Also one to a question that means the same.
    Semantic,
}

impl CachePolicy {
    /// The same, with answers to the same question only.
    pub(crate) fn exact(self) -> Self {
        if self == Self::Semantic { Self::Default } else { self }
    }
}

/// Where an answer came from for which no call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HitKind {
    /// It was kept for the same question.
    Exact,
    /// It is that of a call under way.
    Shared,
    /// It was kept for a question that means the same.
    Semantic,
}

impl HitKind {
    /// As in the metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Shared => "shared",
            Self::Semantic => "semantic",
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
    /// How near its question is to the one that was asked; 1 when it is the same.
    pub(crate) similarity: f64,
}
