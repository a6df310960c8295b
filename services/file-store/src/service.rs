//! The use cases of workspaces; those of revisions, overlays, archives, reading, searching and comparing are beside.

mod archives;
mod chart_import;
mod compare;
mod documents;
mod editing;
mod garbage;
mod git_export;
mod git_import;
mod history;
mod links;
mod merging;
mod overlays;
mod quotas;
mod read;
mod revisions;
mod secrets;
mod uploads;
mod watch;
mod writing;

use std::path::PathBuf;
use std::sync::Arc;

use blake3::Hash;
use moka::future::Cache;
use slipway_rpc::{Ctx, now_micros};
use slipway_storage::page;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::blobs::{BlobError, Blobs};
use crate::clock::Clock;
use crate::error::Error;
use crate::events;
use crate::garbage::Collector;
use crate::model::{At, Delta, Kept, Manifest, Pin, Rename, Revision, Tree, Workspace};
use crate::settings::{ImportSettings, OverlaySettings, SecretScan, Settings, UploadSettings};
use crate::store::{RequestKey, WorkspaceStore};
use quotas::Quotas;
use writing::Writing;

pub(crate) use archives::Import;
pub(crate) use chart_import::{ChartFrom, ChartImport, ChartImported};
pub(crate) use compare::DiffRequest;
pub(crate) use editing::Made;
pub(crate) use git_import::{GitFrom, GitImport, GitImported};
pub(crate) use history::{Event as HistoryEvent, HistoryRequest};
pub(crate) use links::{DownloadLink, Links, UploadLink};
pub(crate) use merging::{Outcome, Preview};
pub(crate) use overlays::{Alteration, NewOverlay, OverlayChange, OverlayCommit};
pub(crate) use read::{Search, Searched};
pub(crate) use revisions::{Commit, Restore};
pub(crate) use secrets::Secrets;
pub(crate) use uploads::BeginUpload;
pub(crate) use watch::Change as WatchedChange;

/// A page of a listing stays below this many bytes, so that it fits into a message.
pub(crate) const PAGE_BYTES: usize = 3 << 20;

/// How many renamed files are remembered.
const RENAMES: u64 = 20_000;

/// One page of a listing.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Empty on the last page.
    pub(crate) next: String,
}

/// Where a listing goes on.
#[derive(Clone, Debug)]
pub(crate) struct PageRequest {
    pub(crate) size: usize,
    /// Empty for the first page.
    pub(crate) token: String,
}

/// The file store.
pub(crate) struct FileStore {
    store: WorkspaceStore,
    blobs: Blobs,
    manifests: Cache<Hash, Arc<Manifest>>,
    /// Which files have another name, from one manifest to another.
    renames: Cache<(Hash, Hash), Arc<Vec<Rename>>>,
    /// Where uploads and large contents lie while they are worked on.
    spool: PathBuf,
    /// Calls that take much processor time or memory wait for each other here.
    heavy: Arc<Semaphore>,
    collector: Collector,
    clock: Clock,
    /// Counts what this process committed.
    landed: tokio::sync::watch::Sender<u64>,
    quotas: Quotas,
    overlays: OverlaySettings,
    secret_scan: SecretScan,
    secrets: secrets::Remembered,
    uploads: UploadSettings,
    links: Links,
    import: ImportSettings,
    documents: slipway_documents::Worker,
}

impl FileStore {
    pub(crate) fn new(
        store: WorkspaceStore,
        blobs: Blobs,
        spool: PathBuf,
        settings: &Settings,
        (collector, clock): (Collector, Clock),
        links: Links,
        documents: slipway_documents::Worker,
    ) -> Self {
        let weigh = |_: &Hash, manifest: &Arc<Manifest>| u32::try_from(manifest.weight()).unwrap_or(u32::MAX);
        let manifests = Cache::builder().weigher(weigh).max_capacity(settings.manifest_cache_mib << 20).build();
        let weigh = |_: &(Hash, Hash), found: &Arc<Vec<Rename>>| u32::try_from(found.len() + 1).unwrap_or(u32::MAX);
        let renames = Cache::builder().weigher(weigh).max_capacity(RENAMES).build();
        let heavy = Arc::new(Semaphore::new(settings.heavy_calls));
        let quotas = Quotas::new(&settings.quotas);
        let overlays = settings.overlays.clone();
        let (secret_scan, secrets) = (settings.secrets, Cache::new(secrets::REMEMBERED));
        let uploads = settings.uploads.clone();
        let import = settings.import.clone();
        Self {
            store,
            blobs,
            manifests,
            renames,
            spool,
            heavy,
            collector,
            clock,
            landed: Default::default(),
            quotas,
            overlays,
            secret_scan,
            secrets,
            uploads,
            links,
            import,
            documents,
        }
    }

    /// Makes an empty workspace.
    pub(crate) async fn create_workspace(&self, ctx: &Ctx, name: String, key: &RequestKey) -> Result<Workspace, Error> {
        let write = self.store.begin().await?;
        if let Some(first) = write.claim(ctx.project, key).await? {
            return write.find_workspace(ctx.project, first).await?.ok_or(Error::WorkspaceNotFound);
        }
        let now = now_micros();
        let workspace =
            Workspace { id: Uuid::now_v7(), project_id: ctx.project.0, name, head: None, create_time: now, update_time: now };
        write.create_workspace(&workspace).await?;
        write.record(ctx.project, key, workspace.id).await?;
        write.commit().await?;
        Ok(workspace)
    }

    /// One workspace.
    pub(crate) async fn get_workspace(&self, ctx: &Ctx, id: Uuid) -> Result<Workspace, Error> {
        self.store.find_workspace(ctx.project, id).await?.ok_or(Error::WorkspaceNotFound)
    }

    /// The project's workspaces, the newest first.
    pub(crate) async fn list_workspaces(&self, ctx: &Ctx, request: PageRequest) -> Result<Page<Workspace>, Error> {
        let scope = format!("ListWorkspaces/{}", ctx.project);
        let before: Option<Uuid> = cursor(&scope, &request.token)?;
        let rows = self.store.list_workspaces(ctx.project, before, request.size as u64 + 1).await?;
        Ok(cut_page(rows, request.size, |w| w.name.len() + 256, |w| page::encode(&scope, &w.id)))
    }

    /// Deletes a workspace with all its revisions.
    pub(crate) async fn delete_workspace(&self, ctx: &Ctx, id: Uuid) -> Result<(), Error> {
        let mut write = self.store.begin().await?;
        if !write.delete_workspace(ctx.project, id).await? {
            return Err(Error::WorkspaceNotFound);
        }
        write.emit(&events::workspace_deleted(ctx, id, now_micros())).await?;
        write.commit().await?;
        self.announce();
        tracing::info!(workspace = %id, "a workspace is deleted");
        Ok(())
    }

    /// The revision that a request names, or the head when it names none; `None` for an empty workspace's head.
    async fn resolve(&self, ctx: &Ctx, workspace: Uuid, revision: Option<Uuid>) -> Result<Option<Revision>, Error> {
        if let Some(id) = revision {
            if let Some(found) = self.store.find_revision(ctx.project, workspace, id).await? {
                return Ok(Some(found));
            }
            self.get_workspace(ctx, workspace).await?;
            return Err(Error::RevisionNotFound);
        }
        let Some(head) = self.get_workspace(ctx, workspace).await?.head else { return Ok(None) };
        let found = self.store.find_revision(ctx.project, workspace, head.revision_id).await?;
        // The workspace was deleted between the two looks.
        found.ok_or(Error::WorkspaceNotFound).map(Some)
    }

    /// As [`Self::resolve`], where there must be a revision.
    async fn resolve_some(&self, ctx: &Ctx, workspace: Uuid, revision: Option<Uuid>) -> Result<Revision, Error> {
        self.resolve(ctx, workspace, revision).await?.ok_or(Error::WorkspaceEmpty)
    }

    /// What a request reads; `None` for an empty workspace's head.
    async fn tree(&self, ctx: &Ctx, workspace: Uuid, at: At) -> Result<Option<Tree>, Error> {
        let revision = match at {
            At::Head => None,
            At::Revision(id) => Some(id),
            At::Overlay(id) => {
                let found = self.store.find_overlay(ctx.project, id, self.clock.now()).await?;
                if let Some(overlay) = found.filter(|overlay| overlay.workspace_id == workspace) {
                    return Ok(Some(Tree::from(&overlay)));
                }
                self.get_workspace(ctx, workspace).await?;
                return Err(Error::OverlayNotFound);
            }
        };
        Ok(self.resolve(ctx, workspace, revision).await?.as_ref().map(Tree::from))
    }

    /// As [`Self::tree`], where there must be one.
    async fn tree_some(&self, ctx: &Ctx, workspace: Uuid, at: At) -> Result<Tree, Error> {
        self.tree(ctx, workspace, at).await?.ok_or(Error::WorkspaceEmpty)
    }

    /// The tree of a listing's page before, if there was one, else the one that the request names.
    async fn tree_again(&self, ctx: &Ctx, workspace: Uuid, at: At, before: Option<Pin>) -> Result<Option<Tree>, Error> {
        let tree = self.tree(ctx, workspace, before.map_or(at, Pin::at)).await?;
        match (before, tree.as_ref().map(|tree| tree.pin)) {
            (Some(before @ Pin::Overlay { .. }), Some(now @ Pin::Overlay { version, .. })) if before != now => {
                Err(Error::EtagMismatch { etag: version.to_string() })
            }
            _ => Ok(tree),
        }
    }

    async fn manifest(&self, kept: &Kept) -> Result<Arc<Manifest>, Error> {
        if let Some(manifest) = self.manifests.get(&kept.hash).await {
            return Ok(manifest);
        }
        let manifest = match &kept.delta {
            None => self.read_manifest(kept.hash).await?,
            Some(delta) => {
                let root = self.root(kept).await?.1;
                let (hash, delta) = (kept.hash, delta.clone());
                let apply = move || delta.apply(&root).filter(|manifest| blake3::hash(&manifest.encode()) == hash);
                Arc::new(tokio::task::spawn_blocking(apply).await?.ok_or(BlobError::Damaged(kept.hash))?)
            }
        };
        self.manifests.insert(kept.hash, manifest.clone()).await;
        Ok(manifest)
    }

    /// The manifest that is kept whole and that others are kept as deltas of.
    async fn root(&self, kept: &Kept) -> Result<(Hash, Arc<Manifest>), Error> {
        let root = kept.root();
        if let Some(manifest) = self.manifests.get(&root).await {
            return Ok((root, manifest));
        }
        let manifest = self.read_manifest(root).await?;
        self.manifests.insert(root, manifest.clone()).await;
        Ok((root, manifest))
    }

    async fn read_manifest(&self, hash: Hash) -> Result<Arc<Manifest>, Error> {
        let bytes = self.blobs.get(hash).await?;
        Ok(Arc::new(Manifest::decode(&bytes).ok_or(BlobError::Damaged(hash))?))
    }

    /// Puts a manifest where a revision or overlay can refer to it: a blob, or a delta that goes into its row. A root must be one
    /// of the workspace's revisions, or be written for the same change.
    async fn save_manifest(&self, writing: &Writing, root: Option<&Kept>, manifest: Manifest) -> Result<Kept, Error> {
        let root = match root {
            Some(kept) => Some(self.root(kept).await?),
            None => None,
        };
        let encode = move || {
            let bytes = manifest.encode();
            let delta = root.and_then(|(hash, root)| Delta::between((hash, &root), &manifest));
            (blake3::hash(&bytes), delta, bytes, manifest)
        };
        let (hash, delta, bytes, manifest) = tokio::task::spawn_blocking(encode).await?;
        if delta.is_none() {
            self.put_manifest(writing, hash, bytes.into()).await?;
        }
        self.manifests.insert(hash, Arc::new(manifest)).await;
        Ok(Kept { hash, delta })
    }

    async fn heavy_call(&self) -> Result<OwnedSemaphorePermit, Error> {
        // Nobody closes the semaphore.
        self.heavy.clone().acquire_owned().await.map_err(|e| Error::Io(std::io::Error::other(e)))
    }
}

/// What a page token holds.
fn cursor<T: serde::de::DeserializeOwned>(scope: &str, token: &str) -> Result<Option<T>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    page::decode(scope, token).map(Some).ok_or(Error::PageTokenInvalid)
}

/// Makes a page of rows of which there may be one too many, and ends it earlier when it would get too large.
fn cut_page<T>(mut rows: Vec<T>, size: usize, weigh: impl Fn(&T) -> usize, token: impl Fn(&T) -> String) -> Page<T> {
    let mut bytes = 0;
    let fits = rows.iter().take_while(|row| {
        bytes += weigh(row);
        bytes <= PAGE_BYTES
    });
    let keep = fits.count().clamp(1, size.max(1));
    let more = rows.len() > keep;
    rows.truncate(keep);
    let next = rows.last().filter(|_| more).map(token).unwrap_or_default();
    Page { items: rows, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_at_their_size_or_weight() {
        let page = |rows: usize, size, weight: usize| {
            let page = cut_page((0..rows).collect(), size, |_| weight, |row| row.to_string());
            (page.items.len(), page.next)
        };
        assert_eq!(page(0, 5, 1), (0, String::new()));
        assert_eq!(page(5, 5, 1), (5, String::new()));
        assert_eq!(page(6, 5, 1), (5, "4".to_owned()));
        assert_eq!(page(6, 5, PAGE_BYTES / 2), (2, "1".to_owned()));
        assert_eq!(page(2, 5, PAGE_BYTES * 2), (1, "0".to_owned()));
        assert_eq!(page(1, 5, PAGE_BYTES * 2), (1, String::new()));
    }
}
