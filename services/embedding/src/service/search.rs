//! Searching and choosing files. Both answer from one build, whatever is being written meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;

use slipway_rpc::Ctx;
use uuid::Uuid;

use super::{Manifest, Service};
use crate::error::Error;
use crate::index::{Found, Query, Tenant};
use crate::model::glob::Glob;
use crate::model::select::{ChunkHit, Selected, select, values_keys};
use crate::model::state::{Mode, WorkspaceIndex};

/// Chunks that a choice of files looks at.
const CHOICE_HITS: usize = 40;
const REFERENCE_HITS: usize = 20;
/// A build that moves the index under a search makes it start again, but not for ever.
const TRIES: usize = 4;
const MAX_DEPTH: usize = 4_000;

/// What to search for.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// The workspace.
    pub(crate) workspace: Uuid,
    /// In words.
    pub(crate) query: String,
    /// At most so many hits.
    pub(crate) limit: usize,
    /// `None`: the best that the index has.
    pub(crate) mode: Option<Mode>,
    /// Only these files.
    pub(crate) glob: Option<Glob>,
}

/// What a search found.
#[derive(Debug)]
pub(crate) struct SearchAnswer {
    /// The best first.
    pub(crate) hits: Vec<Found>,
    /// The revision that was searched.
    pub(crate) revision: Uuid,
    /// How.
    pub(crate) mode: Mode,
}

/// Files that were chosen.
#[derive(Debug)]
pub(crate) struct Selection {
    /// The most likely first.
    pub(crate) files: Vec<Selected>,
    /// The revision that was searched.
    pub(crate) revision: Uuid,
}

/// The build that a search answers from.
struct Snapshot {
    index: WorkspaceIndex,
    tenant: Tenant,
    revision: Uuid,
    manifest: Arc<Manifest>,
}

impl Service {
    /// Finds chunks.
    pub(crate) async fn search(&self, ctx: &Ctx, search: &Search) -> Result<SearchAnswer, Error> {
        for attempt in 1.. {
            let snapshot = self.snapshot(ctx, search.workspace).await?;
            let mut mode = snapshot.index.mode_for(search.mode, &self.model());
            let vector = if mode == Mode::Lexical { None } else { self.embedding.query(&search.query).await? };
            if vector.is_none() {
                mode = Mode::Lexical;
            }
            let words = if mode == Mode::Dense { String::new() } else { search.query.clone() };
            let paths = search.glob.as_ref().map(|glob| snapshot.paths(glob));
            let query = Query { words, vector, paths, limit: search.limit };
            let hits = self.hits(&snapshot, query).await?;
            if attempt == TRIES || self.is_current(&snapshot).await? {
                return Ok(SearchAnswer { hits, revision: snapshot.revision, mode });
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Chooses the files that a change request is about.
    pub(crate) async fn select_files(&self, ctx: &Ctx, workspace: Uuid, request: &str, limit: usize) -> Result<Selection, Error> {
        for attempt in 1.. {
            let snapshot = self.snapshot(ctx, workspace).await?;
            let lexical = snapshot.index.mode(&self.model()).0 == Mode::Lexical;
            let vector = if lexical { None } else { self.embedding.query(request).await? };
            let query = Query { words: request.to_owned(), vector, paths: None, limit: CHOICE_HITS };
            let hits = chunk_hits(self.hits(&snapshot, query).await?);
            let mut references = Vec::new();
            let keys = values_keys(&hits);
            if !keys.is_empty() {
                let query = Query { words: keys.join(" "), limit: REFERENCE_HITS, ..Query::default() };
                references = chunk_hits(self.hits(&snapshot, query).await?);
            }
            if attempt == TRIES || self.is_current(&snapshot).await? {
                let paths: BTreeSet<String> = snapshot.manifest.keys().cloned().collect();
                return Ok(Selection { files: select(request, &hits, &references, &paths, limit), revision: snapshot.revision });
            }
        }
        unreachable!("the last attempt returns")
    }

    /// The files of the build that `index` is at.
    pub(super) async fn manifest(&self, index: &WorkspaceIndex) -> Result<Arc<Manifest>, Error> {
        let tenant = Tenant { project: index.project, workspace: index.workspace };
        let key = (tenant, index.built, index.revision);
        if let Some(manifest) = self.manifests.get(&key).await {
            return Ok(manifest);
        }
        let files = self.records.list_files(tenant).await?;
        let manifest: Arc<Manifest> = Arc::new(files.into_iter().map(|f| (f.path, f.blob)).collect());
        // The files were read after the record: keep them only if they are still of that build.
        if self.records.find_index(index.project, index.workspace).await?.is_some_and(|now| now.built == index.built) {
            self.manifests.insert(key, manifest.clone()).await;
        }
        Ok(manifest)
    }

    async fn snapshot(&self, ctx: &Ctx, workspace: Uuid) -> Result<Snapshot, Error> {
        let index = self.get_index(ctx, workspace).await?;
        let revision = index.revision.ok_or(Error::IndexNotFound)?;
        let manifest = self.manifest(&index).await?;
        Ok(Snapshot { tenant: Tenant { project: ctx.project, workspace }, index, revision, manifest })
    }

    async fn is_current(&self, snapshot: &Snapshot) -> Result<bool, Error> {
        let now = self.records.find_index(snapshot.tenant.project, snapshot.tenant.workspace).await?;
        Ok(now.is_some_and(|now| now.built == snapshot.index.built))
    }

    /// The engine also holds chunks of builds to come and of builds that were: only those of the snapshot count, and where
    /// the others took their places, more are asked for.
    async fn hits(&self, snapshot: &Snapshot, query: Query) -> Result<Vec<Found>, Error> {
        if query.paths.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let limit = query.limit;
        let mut depth = limit;
        loop {
            let found =
                self.index.search(&snapshot.index.engine, snapshot.tenant, Query { limit: depth, ..query.clone() }).await?;
            let all = found.len() < depth || depth >= MAX_DEPTH;
            let mut live: Vec<_> = found.into_iter().filter(|hit| snapshot.holds(hit)).collect();
            if all || live.len() >= limit {
                live.truncate(limit);
                return Ok(live);
            }
            depth = (depth * 4).min(MAX_DEPTH);
        }
    }
}

impl Snapshot {
    fn holds(&self, hit: &Found) -> bool {
        self.manifest.get(&hit.point.path).is_some_and(|blob| *blob == hit.point.blob)
    }

    fn paths(&self, glob: &Glob) -> Vec<String> {
        let mut paths: Vec<String> = self.manifest.keys().filter(|path| glob.matches(path)).cloned().collect();
        paths.sort_unstable();
        paths
    }
}

fn chunk_hits(found: Vec<Found>) -> Vec<ChunkHit> {
    found.into_iter().map(|f| ChunkHit { path: f.point.path, title: f.point.title, score: f.score }).collect()
}
