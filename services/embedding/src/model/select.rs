//! Which files a change request is about. Every file is looked at by its traits: what kind it is, whether changes of the
//! request's sort touch that kind, whether its text and its path say what the request says. Each
//! trait adds log-odds that were learned from real changes; the sum is the file's score. Deterministic.

mod bm25;
mod digest;
mod kind;
mod request;
mod traits;
mod weights;
mod words;

use std::sync::Arc;

pub(crate) use digest::{Digest, Tie};
pub(crate) use request::Request;

pub(crate) use traits::Trait;

use traits::{Facts, Package};

/// A file that can be chosen.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'a> {
    /// Its path.
    pub(crate) path: &'a str,
    /// What is known of its content.
    pub(crate) digest: Arc<Digest>,
}

/// A share of a score.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    /// Which: `kind`, `request`, `text` or `path`.
    pub(crate) name: &'static str,
    /// What it adds.
    pub(crate) value: f64,
    /// Why, for people.
    pub(crate) note: String,
}

/// A file with its score and the reasons for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selected {
    /// The file.
    pub(crate) path: String,
    /// The log-odds that the change touches it; the sum of the parts.
    pub(crate) score: f64,
    /// For people.
    pub(crate) reason: String,
    /// What adds up to the score.
    pub(crate) parts: Vec<Part>,
}

/// Ranks files for a request, the most likely first.
pub(crate) fn select(request: &Request, files: &[Candidate<'_>], limit: usize) -> Vec<Selected> {
    let package = Package::new(request, files);
    let mut selected: Vec<Selected> =
        files.iter().enumerate().map(|(at, file)| explained(file.path, Facts::of(request, &package, at))).collect();
    selected.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.path.cmp(&b.path)));
    selected.truncate(limit);
    selected
}

/// What the score of each file is made of, for whoever learns the weights.
pub(crate) fn traits(request: &Request, files: &[Candidate<'_>]) -> Vec<Vec<Trait>> {
    let package = Package::new(request, files);
    (0..files.len()).map(|at| Facts::of(request, &package, at).traits).collect()
}

fn explained(path: &str, facts: Facts) -> Selected {
    let parts = facts.parts();
    let score = parts.iter().map(|p| p.value).sum();
    let mut telling: Vec<&Part> = parts.iter().filter(|p| p.value > 0.1 && !p.note.is_empty()).collect();
    telling.sort_by(|a, b| b.value.total_cmp(&a.value));
    let reason = telling.iter().map(|p| p.note.as_str()).collect::<Vec<_>>().join("; ");
    Selected { path: path.to_owned(), score, reason, parts }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
