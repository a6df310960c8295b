//! Choosing files: what SelectFiles runs and what the self-test measures, one and the same.

use std::collections::{BTreeSet, HashSet};

use super::Manifest;
use super::digests::Digests;
use crate::error::Error;
use crate::index::{Found, Index, Query, Tenant};
use crate::model::select::{Candidate, Digest, Request, Selected, select};

/// In a workspace with more files than this only those are looked at that something speaks for.
const MAX_CANDIDATES: usize = 2_000;
/// Chunks that speak for their files there.
const CANDIDATE_HITS: usize = 400;
const MAX_DEPTH: usize = 4_000;

/// What is searched: the files of one build of one workspace.
#[derive(Clone, Copy)]
pub(crate) struct Corpus<'a> {
    /// Whose.
    pub(crate) tenant: Tenant,
    /// The engine that has its chunks.
    pub(crate) engine: &'a str,
    /// Its files.
    pub(crate) manifest: &'a Manifest,
}

impl Corpus<'_> {
    /// The engine also holds chunks of builds to come and of builds that were: only those of the corpus count, and where
    /// the others took their places, more are asked for.
    pub(crate) async fn hits(&self, index: &Index, query: Query) -> Result<Vec<Found>, Error> {
        if query.paths.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let limit = query.limit;
        let mut depth = limit;
        loop {
            let found = index.search(self.engine, self.tenant, Query { limit: depth, ..query.clone() }).await?;
            let all = found.len() < depth || depth >= MAX_DEPTH;
            let mut live: Vec<_> = found.into_iter().filter(|hit| self.holds(hit)).collect();
            if all || live.len() >= limit {
                live.truncate(limit);
                return Ok(live);
            }
            depth = (depth * 4).min(MAX_DEPTH);
        }
    }

    fn holds(&self, hit: &Found) -> bool {
        self.manifest.get(&hit.point.path).is_some_and(|file| file.blob == hit.point.blob)
    }
}

/// Chooses files by an index; cheap to clone. Vectors take no part: docs/retrieval.md says why.
#[derive(Clone)]
pub(crate) struct Chooser {
    pub(super) index: Index,
    pub(super) digests: Digests,
}

impl Chooser {
    /// One that looks there.
    pub(crate) fn new(index: Index) -> Self {
        Self { index, digests: Digests::new() }
    }

    /// Keeps what is known of a file whose chunks have just been made, so that the first choice need not read them again.
    pub(crate) async fn note(&self, tenant: Tenant, path: &str, blob: &str, digest: Digest) {
        self.digests.keep(tenant, path, blob, digest).await;
    }

    /// The files that a request is about, the most likely first.
    pub(crate) async fn choose(&self, corpus: &Corpus<'_>, text: &str, limit: usize) -> Result<Vec<Selected>, Error> {
        let request = Request::read(text);
        let paths = self.candidates(corpus, text, &request).await?;
        let digests = self.digests.of(&self.index, corpus, &paths).await?;
        let files: Vec<_> = paths.into_iter().zip(digests).map(|(path, digest)| Candidate { path, digest }).collect();
        Ok(select(&request, &files, limit))
    }

    /// The files to look at, by name. In a large workspace: those that a search finds, those whose paths name what the
    /// request names, and what stands beside or above them.
    async fn candidates<'a>(&self, corpus: &Corpus<'a>, text: &str, request: &Request) -> Result<Vec<&'a str>, Error> {
        let manifest = corpus.manifest;
        let mut all: Vec<&str> = manifest.keys().map(String::as_str).collect();
        all.sort_unstable();
        if all.len() <= MAX_CANDIDATES {
            return Ok(all);
        }
        let query = Query { words: text.to_owned(), limit: CANDIDATE_HITS, ..Query::default() };
        let hits = corpus.hits(&self.index, query).await?;
        let found: BTreeSet<&str> = hits.iter().map(|h| h.point.path.as_str()).collect();
        let folders: HashSet<&str> = found.iter().flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at])).collect();
        let rank = |path: &str| {
            let beside = path.rsplit_once('/').is_none_or(|(folder, _)| folders.contains(folder));
            (!found.contains(path), usize::MAX - request.named_in(path), !beside)
        };
        all.sort_by_cached_key(|path| rank(path));
        all.truncate(MAX_CANDIDATES);
        all.sort_unstable();
        Ok(all)
    }
}
