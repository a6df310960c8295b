//! Searching and choosing files. Both answer from one build, whatever is being written meanwhile.

use std::sync::Arc;

use slipway_rpc::Ctx;
use uuid::Uuid;

use super::choose::Corpus;
use super::{Entry, Manifest, Service};
use crate::error::Error;
use crate::index::{Found, Query, Tenant};
use crate::model::glob::Glob;
use crate::model::select::Selected;
use crate::model::state::{Mode, Model, WorkspaceIndex};
use crate::store::IndexedFile;

/// A build that moves the index under a search makes it start again, but not for ever.
const TRIES: usize = 4;

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
    pub(crate) hits: Vec<Hit>,
    /// The revision that was searched.
    pub(crate) revision: Uuid,
    /// How.
    pub(crate) mode: Mode,
}

/// A chunk that was found.
#[derive(Debug)]
pub(crate) struct Hit {
    /// The chunk.
    pub(crate) found: Found,
    /// Files that refer to what it is.
    pub(crate) used_by: Vec<String>,
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
            let (mode, vector) = self.vector_for(&snapshot.index, search).await?;
            let words = if mode == Mode::Dense { String::new() } else { search.query.clone() };
            let paths = search.glob.as_ref().map(|glob| snapshot.paths(glob));
            let query = Query { words, vector, paths, limit: search.limit };
            let found = self.hits(&snapshot.corpus(), query).await;
            if attempt == TRIES || self.is_current(&snapshot).await? {
                return Ok(SearchAnswer { hits: found?, revision: snapshot.revision, mode });
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Chooses the files that a change request is about.
    pub(crate) async fn select_files(&self, ctx: &Ctx, workspace: Uuid, request: &str, limit: usize) -> Result<Selection, Error> {
        for attempt in 1.. {
            let snapshot = self.snapshot(ctx, workspace).await?;
            let chosen = self.chooser.choose(&snapshot.corpus(), request, limit).await;
            if attempt == TRIES || self.is_current(&snapshot).await? {
                return Ok(Selection { files: chosen?, revision: snapshot.revision });
            }
        }
        unreachable!("the last attempt returns")
    }

    /// The hits, each with what uses its file.
    async fn hits(&self, corpus: &Corpus<'_>, query: Query) -> Result<Vec<Hit>, Error> {
        let found = corpus.hits(&self.index, query).await?;
        let users = self.chooser.users(corpus, &found).await?;
        Ok(found.into_iter().zip(users).map(|(found, used_by)| Hit { found, used_by }).collect())
    }

    /// How a search is carried out, and its query's vector by the model of the engine that it goes to.
    async fn vector_for(&self, index: &WorkspaceIndex, search: &Search) -> Result<(Mode, Option<Arc<Vec<f32>>>), Error> {
        let Ok(embedding) = self.models.of(&index.engine) else { return Ok((Mode::Lexical, None)) };
        let model = match self.model_of(&index.engine) {
            // One that has failed is asked again after a rest.
            Model::Failing(_) if !embedding.rests() => Model::Ready,
            model => model,
        };
        let mode = index.mode_for(search.mode, &model);
        let vector = if mode == Mode::Lexical { None } else { embedding.query(&search.query).await? };
        Ok(if vector.is_some() { (mode, vector) } else { (Mode::Lexical, None) })
    }

    /// The files of the build that `index` is at.
    pub(super) async fn manifest(&self, index: &WorkspaceIndex) -> Result<Arc<Manifest>, Error> {
        let tenant = Tenant { project: index.project, workspace: index.workspace };
        let key = (tenant, index.built, index.revision, index.engine.clone());
        if let Some(manifest) = self.manifests.get(&key).await {
            return Ok(manifest);
        }
        let files = self.records.list_files(tenant).await?;
        let manifest: Arc<Manifest> = Arc::new(files.into_iter().map(entry).collect());
        // The files were read after the record: keep them only if they are still of that build.
        let now = self.records.find_index(index.project, index.workspace).await?;
        if now.is_some_and(|now| (now.built, now.engine) == (index.built, index.engine.clone())) {
            self.manifests.insert(key, manifest.clone()).await;
        }
        Ok(manifest)
    }

    async fn snapshot(&self, ctx: &Ctx, workspace: Uuid) -> Result<Snapshot, Error> {
        let index = self.get_index(ctx, workspace).await?;
        let revision = index.revision.ok_or(Error::IndexNotFound)?;
        // That it is away is said by the search itself: by then the workspace may have moved.
        let _ = self.engine_named(&index.engine).await;
        let manifest = self.manifest(&index).await?;
        Ok(Snapshot { tenant: Tenant { project: ctx.project, workspace }, index, revision, manifest })
    }

    async fn is_current(&self, snapshot: &Snapshot) -> Result<bool, Error> {
        let now = self.records.find_index(snapshot.tenant.project, snapshot.tenant.workspace).await?;
        Ok(now.is_some_and(|now| (now.built, &now.engine) == (snapshot.index.built, &snapshot.index.engine)))
    }
}

impl Snapshot {
    fn corpus(&self) -> Corpus<'_> {
        Corpus { tenant: self.tenant, engine: &self.index.engine, manifest: &self.manifest }
    }

    fn paths(&self, glob: &Glob) -> Vec<String> {
        let mut paths: Vec<String> = self.manifest.keys().filter(|path| glob.matches(path)).cloned().collect();
        paths.sort_unstable();
        paths
    }
}

fn entry(file: IndexedFile) -> (String, Entry) {
    (file.path, Entry { blob: file.blob, chunks: usize::try_from(file.chunk_count).unwrap_or(usize::MAX) })
}
