//! The index engine: points with a dense and a sparse vector, found by either or both. [`VectorIndex`] is what an engine must
//! do; [`Index`] is what this process has of them, opened off the start-up path: the one that is written to, and those that
//! workspaces are moving away from.
//!
//! What an index holds is derived: it can be built anew from the file store and the vector ledger at any time.

mod edge;
mod engines;
mod qdrant;
mod sparse;

#[cfg(test)]
mod conformance;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use slipway_rpc::ProjectId;
use uuid::Uuid;

#[cfg(test)]
pub(crate) use edge::tests::open as open_for_test;
pub(crate) use edge::{DirLock, EdgeIndex, Legacy};
pub(crate) use engines::{Engines, Index};
pub(crate) use qdrant::Server;
#[cfg(test)]
pub(crate) use qdrant::tests::StandIn;

use crate::embedder::Space;

/// Raised whenever chunking, words or the payload change: an index of another format is not read, but built anew.
pub(crate) const FORMAT: u32 = 4;
/// The vectors of a point.
const DENSE: &str = "dense";
const WORDS: &str = "words";
/// The constant of reciprocal rank fusion: two middling ranks outweigh one good one.
const RRF_K: u32 = 10;

/// The fields of a point's payload.
mod field {
    pub(super) const PROJECT: &str = "project_id";
    pub(super) const WORKSPACE: &str = "workspace_id";
    /// The build that wrote the point.
    pub(super) const BUILD: &str = "build";
    pub(super) const PATH: &str = "path";
    pub(super) const BLOB: &str = "blob";
    pub(super) const START_LINE: &str = "start_line";
    pub(super) const END_LINE: &str = "end_line";
    pub(super) const TITLE: &str = "title";
    pub(super) const TEXT: &str = "text";
}

/// What the name of an engine ends with: everything that it was made by. Another make is another engine.
fn make_of(space: &Space, format: u32) -> String {
    format!("{}_{}_v{format}", name_of(&space.model), space.dimensions)
}

/// A model's name as part of an engine's: what such a name does not take is a hash.
fn name_of(model: &str) -> String {
    let takes = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if model.chars().all(takes) {
        return model.to_owned();
    }
    let plain: String = model.chars().map(|c| if takes(c) { c } else { '-' }).collect();
    format!("{plain}-{}", &blake3::hash(model.as_bytes()).to_hex()[..8])
}

/// Whose points: every call of an engine is confined to one tenant's workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tenant {
    /// The project.
    pub(crate) project: ProjectId,
    /// The workspace.
    pub(crate) workspace: Uuid,
}

impl Tenant {
    /// The id of a chunk: the same chunk of the same content at the same path always has the same one.
    pub(crate) fn point_id(&self, path: &str, blob: &str, ordinal: u32) -> Uuid {
        let mut hash = blake3::Hasher::new();
        hash.update(self.project.0.as_bytes()).update(self.workspace.as_bytes());
        hash.update(path.as_bytes()).update(&[0]).update(blob.as_bytes()).update(&[0]).update(&ordinal.to_le_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        uuid::Builder::from_custom_bytes(id).into_uuid()
    }
}

/// A chunk in the index.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    /// See [`Tenant::point_id`].
    pub(crate) id: Uuid,
    /// Its file.
    pub(crate) path: String,
    /// The content hash of its file.
    pub(crate) blob: String,
    /// First line, from 1.
    pub(crate) start_line: u32,
    /// Last line, included.
    pub(crate) end_line: u32,
    /// What it is.
    pub(crate) title: String,
    /// Its lines.
    pub(crate) text: String,
    /// Its dense vector, when that is known.
    pub(crate) vector: Option<Vec<f32>>,
}

/// What to search for. Words or a vector or both; both are fused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    /// Searched by words, when not empty.
    pub(crate) words: String,
    /// Searched by nearness.
    pub(crate) vector: Option<Arc<Vec<f32>>>,
    /// Only these files; `None`: all.
    pub(crate) paths: Option<Vec<String>>,
    /// At most so many hits.
    pub(crate) limit: usize,
}

impl Query {
    /// How deep each of two rankings goes before they are fused.
    fn depth(&self) -> usize {
        (self.limit * 4).max(50)
    }
}

/// A point that was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// The point, without its vector.
    pub(crate) point: Point,
    /// Comparable within one answer.
    pub(crate) score: f64,
    /// From 1; 0 when not among the nearest.
    pub(crate) dense_rank: u32,
    /// From 1; 0 when not among those found by words.
    pub(crate) lexical_rank: u32,
}

impl Found {
    /// What adds up to the score: its name, value and note. Fusion adds up what the two ranks are worth; one ranking's score is
    /// the engine's own.
    pub(crate) fn parts(&self) -> Vec<(&'static str, f64, String)> {
        let note = |rank: u32, by: &str| format!("rank {rank} by {by}");
        let (dense, lexical) = (note(self.dense_rank, "meaning"), note(self.lexical_rank, "words"));
        match (self.dense_rank, self.lexical_rank) {
            (0, _) => vec![("lexical", self.score, lexical)],
            (_, 0) => vec![("dense", self.score, dense)],
            (_, rank) => {
                let worth = 1.0 / f64::from(RRF_K + rank - 1);
                vec![("dense", self.score - worth, dense), ("lexical", worth, lexical)]
            }
        }
    }
}

/// The best first. Engines leave ties as they come; an answer is the same each time.
fn sort(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by(|a, b| {
        let (one, other) = (&a.point, &b.point);
        b.score.total_cmp(&a.score).then_with(|| (&one.path, one.start_line).cmp(&(&other.path, other.start_line)))
    });
    found
}

/// An engine. Builds of a workspace are numbered; each point carries the number of the build that wrote it last, so that a
/// build which was overtaken, and does not know it yet, can undo nothing of a later one.
#[async_trait]
pub(crate) trait VectorIndex: Send + Sync {
    /// What the records call it: points that one engine has are not looked for in another.
    fn name(&self) -> &str;
    /// Adds points. Those that are there already are replaced if an earlier build wrote them, and else stay.
    async fn upsert(&self, tenant: Tenant, build: u64, points: Vec<Point>) -> Result<(), IndexError>;
    /// Adds dense vectors to points; ids that are not there (any more) are passed over.
    async fn set_vectors(&self, tenant: Tenant, vectors: Vec<(Uuid, Vec<f32>)>) -> Result<(), IndexError>;
    /// Removes points, except what a later build wrote.
    async fn remove(&self, tenant: Tenant, build: u64, ids: Vec<Uuid>) -> Result<(), IndexError>;
    /// Removes everything of the tenant's workspace.
    async fn clear(&self, tenant: Tenant) -> Result<(), IndexError>;
    /// The ids of all points, or of those without a dense vector.
    async fn ids(&self, tenant: Tenant, without_vector: bool) -> Result<Vec<Uuid>, IndexError>;
    /// Some points by their ids.
    async fn points(&self, tenant: Tenant, ids: Vec<Uuid>) -> Result<Vec<Point>, IndexError>;
    /// Those of the ids that are there, whosever they are marked to be.
    async fn present(&self, ids: Vec<Uuid>) -> Result<Vec<Uuid>, IndexError>;
    /// Removes points by their ids alone, whosever they are marked to be.
    async fn erase(&self, ids: Vec<Uuid>) -> Result<(), IndexError>;
    /// The best points for a query. No query reaches another tenant's points.
    async fn search(&self, tenant: Tenant, query: Query) -> Result<Vec<Found>, IndexError>;
    /// Makes what was written durable, where writing alone does not.
    async fn flush(&self) -> Result<(), IndexError>;
    /// Rearranges what is large or full of holes, if that is worth while and the engine does not see to it. May take long;
    /// nobody waits for it.
    async fn optimize(&self) -> Result<bool, IndexError>;
    /// Becomes what others find under the common name, for engines that have one.
    async fn take_over(&self) -> Result<(), IndexError>;
    /// Goes, with everything in it. Repeating it changes nothing.
    async fn destroy(&self) -> Result<(), IndexError>;
    /// Lets go of what only one process may hold, once the calls under way have ended.
    async fn close(&self);
}

/// Why an engine failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// The directory is in use.
    #[error("the search index in {0} is in use by another process; stop that one or choose another data directory")]
    Locked(PathBuf),
    /// A file could not be read or written.
    #[error("the search index in {path} cannot be opened")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The process is shutting down.
    #[error("the search index is closed")]
    Closed,
    /// The engine cannot be reached, or is too busy.
    #[error("the search engine cannot be reached: {0}")]
    Unavailable(String),
    /// What was asked for is not on the server.
    #[error("the search engine does not have it: {0}")]
    Missing(String),
    /// The engine refused or panicked.
    #[error("the search engine failed: {0}")]
    Engine(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_everything_that_a_chunk_is_of() {
        let tenant = |p, w| Tenant { project: ProjectId(Uuid::from_u128(p)), workspace: Uuid::from_u128(w) };
        let ids = [
            tenant(1, 1).point_id("a", "h", 0),
            tenant(2, 1).point_id("a", "h", 0),
            tenant(1, 2).point_id("a", "h", 0),
            tenant(1, 1).point_id("b", "h", 0),
            tenant(1, 1).point_id("a", "i", 0),
            tenant(1, 1).point_id("a", "h", 1),
        ];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert_eq!(ids[0], tenant(1, 1).point_id("a", "h", 0));
    }
}
