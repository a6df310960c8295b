//! The use cases of overlays: make, change, commit, delete. A change is a compare-and-swap on the overlay's version.

use std::collections::HashSet;
use std::sync::Arc;

use blake3::Hash;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use slipway_edits::Edit;
use slipway_rpc::Ctx;
use slipway_storage::page;
use uuid::Uuid;

use super::editing::Made;
use super::revisions::{Base, Draft, MERGES, RENEWALS, WRITES};
use super::writing::Writing;
use super::{FileStore, Page, PageRequest, cursor, cut_page};
use crate::error::Error;
use crate::model::{Change, Head, Kept, Manifest, Overlay, Revision};
use crate::store::RequestKey;

/// How often a change that names no version is made on what another one left.
const ATTEMPTS: usize = 16;

/// An overlay to make.
#[derive(Debug)]
pub(crate) struct NewOverlay {
    pub(crate) workspace_id: Uuid,
    /// `None`: the head.
    pub(crate) base: Option<Uuid>,
    pub(crate) name: String,
    pub(crate) key: RequestKey,
}

/// What is to become of the files of an overlay.
#[derive(Debug)]
pub(crate) enum Alteration {
    /// These changes.
    Changes(Vec<Change>),
    /// What these edits come to; each with the place of what said it.
    Edits(Vec<(usize, Edit)>),
}

/// Changes to the files of an overlay.
#[derive(Debug)]
pub(crate) struct OverlayChange {
    pub(crate) overlay_id: Uuid,
    pub(crate) what: Alteration,
    /// The etag that the changes were made for; `None`: whatever it is.
    pub(crate) expected: Option<String>,
    pub(crate) key: RequestKey,
}

/// An overlay to make a revision of.
#[derive(Debug)]
pub(crate) struct OverlayCommit {
    pub(crate) overlay_id: Uuid,
    pub(crate) message: String,
    pub(crate) plan_id: Option<Uuid>,
    /// The etag of what is to be committed; `None`: whatever it is.
    pub(crate) expected: Option<String>,
    /// Whether to merge when the base is no longer the head.
    pub(crate) merge: bool,
    pub(crate) key: RequestKey,
}

impl FileStore {
    /// Makes an overlay whose files are those of a revision.
    pub(crate) async fn create_overlay(&self, ctx: &Ctx, new: NewOverlay) -> Result<Overlay, Error> {
        let NewOverlay { workspace_id, base, name, key } = new;
        let base = self.resolve(ctx, workspace_id, base).await?;
        let now = self.clock.now();
        // The files of a revision are there as long as the workspace; none at all is a manifest too.
        let (manifest, writing) = match &base {
            Some(base) => (base.manifest.clone(), None),
            None => {
                let writing = self.start_writing().await?;
                (self.save_manifest(&writing, None, Manifest::default()).await?, Some(writing))
            }
        };
        let overlay = Overlay {
            id: Uuid::now_v7(),
            workspace_id,
            base: base.as_ref().map(|base| Head { revision_id: base.id, number: base.number }),
            name,
            author_id: ctx.caller.user.0,
            version: 1,
            manifest,
            file_count: base.as_ref().map_or(0, |base| base.file_count),
            total_bytes: base.as_ref().map_or(0, |base| base.total_bytes),
            create_time: now,
            update_time: now,
            expire_time: self.overlay_expiry(now),
        };
        self.land_overlay(ctx, None, overlay, writing, &key).await?.ok_or(Error::WorkspaceNotFound)
    }

    /// One overlay.
    pub(crate) async fn get_overlay(&self, ctx: &Ctx, id: Uuid) -> Result<Overlay, Error> {
        self.store.find_overlay(ctx.project, id, self.clock.now()).await?.ok_or(Error::OverlayNotFound)
    }

    /// An overlay and its files.
    pub(crate) async fn open_overlay(&self, ctx: &Ctx, id: Uuid) -> Result<(Overlay, Arc<Manifest>), Error> {
        loop {
            let overlay = self.get_overlay(ctx, id).await?;
            match self.manifest(&overlay.manifest).await {
                Ok(manifest) => return Ok((overlay, manifest)),
                // What another change replaced meanwhile may have been collected.
                Err(_) if self.get_overlay(ctx, id).await?.version != overlay.version => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The overlays of a workspace, the newest first.
    pub(crate) async fn list_overlays(&self, ctx: &Ctx, workspace: Uuid, request: PageRequest) -> Result<Page<Overlay>, Error> {
        self.get_workspace(ctx, workspace).await?;
        let scope = format!("ListOverlays/{}/{workspace}", ctx.project);
        let before: Option<Uuid> = cursor(&scope, &request.token)?;
        let now = self.clock.now();
        let rows = self.store.list_overlays(ctx.project, workspace, before, request.size as u64 + 1, now).await?;
        Ok(cut_page(rows, request.size, |o| o.name.len() + 512, |o| page::encode(&scope, &o.id)))
    }

    /// Applies changes to the files of an overlay, all of them or none.
    pub(crate) async fn change_overlay(&self, ctx: &Ctx, change: OverlayChange) -> Result<Overlay, Error> {
        self.edit_overlay(ctx, change).await.map(|(overlay, _)| overlay)
    }

    /// As [`FileStore::change_overlay`]; also what was done for each edit, the first time.
    pub(crate) async fn edit_overlay(&self, ctx: &Ctx, change: OverlayChange) -> Result<(Overlay, Vec<Made>), Error> {
        let OverlayChange { overlay_id, what, expected, key } = change;
        if self.find_made(ctx, &key).await?.is_some() {
            return Ok((self.get_overlay(ctx, overlay_id).await?, Vec::new()));
        }
        for _ in 0..ATTEMPTS {
            let writing = self.start_writing().await?;
            let (overlay, manifest) = self.open_overlay(ctx, overlay_id).await?;
            if let Some(expected) = &expected {
                check_etag(expected, &overlay)?;
            }
            let (changes, done) = match &what {
                Alteration::Changes(changes) => (changes.clone(), Vec::new()),
                Alteration::Edits(edits) => self.edit(&manifest, edits.clone()).await?,
            };
            let changes = self.place_contents(ctx, &writing, &manifest, changes).await?;
            let (manifest, contents) = self.apply(manifest, changes).await?;
            let contents = stream::iter(contents).map(|(hash, content)| self.put(&writing, hash, content));
            contents.buffer_unordered(WRITES).try_collect::<()>().await?;
            let base = self.adopt(ctx, &writing, &overlay, &manifest).await?;
            let now = self.clock.now();
            let kept = self.save_manifest(&writing, base.as_ref(), manifest.clone()).await?;
            let next = overlay.with(kept, &manifest, now, self.overlay_expiry(now));
            if let Some(changed) = self.land_overlay(ctx, Some(overlay.version), next, Some(writing), &key).await? {
                return Ok((changed, done));
            }
        }
        Err(Error::EtagMismatch { etag: self.get_overlay(ctx, overlay_id).await?.etag() })
    }

    /// Deletes an overlay.
    pub(crate) async fn delete_overlay(&self, ctx: &Ctx, id: Uuid) -> Result<(), Error> {
        self.get_overlay(ctx, id).await?;
        let write = self.store.begin().await?;
        if !write.delete_overlay(ctx.project, id, None).await? {
            return Err(Error::OverlayNotFound);
        }
        write.commit().await
    }

    /// Makes one revision of an overlay, which is gone then.
    pub(crate) async fn commit_overlay(&self, ctx: &Ctx, commit: OverlayCommit) -> Result<Revision, Error> {
        if let Some(made) = self.find_made(ctx, &commit.key).await? {
            return self.store.find_any_revision(ctx.project, made).await?.ok_or(Error::RevisionNotFound);
        }
        for _ in 0..MERGES {
            match self.try_commit_overlay(ctx, &commit).await {
                Err(Error::Stale { .. }) if commit.merge => {}
                result => return result,
            }
        }
        self.try_commit_overlay(ctx, &commit).await
    }

    async fn try_commit_overlay(&self, ctx: &Ctx, commit: &OverlayCommit) -> Result<Revision, Error> {
        let writing = self.start_writing().await?;
        let (overlay, files) = self.open_overlay(ctx, commit.overlay_id).await?;
        if let Some(expected) = &commit.expected {
            check_etag(expected, &overlay)?;
        }
        self.adopt(ctx, &writing, &overlay, &files).await?;
        let workspace_id = overlay.workspace_id;
        let (base, head) = (overlay.base.map(|base| base.revision_id), self.get_workspace(ctx, workspace_id).await?.head);
        let (message, on) = (commit.message.clone(), head.map(|head| head.revision_id));
        let draft = if base == on || !commit.merge {
            // Its manifest is written like any other, unless it is known to be there.
            self.draft(ctx, &writing, workspace_id, Base::Exactly(base), message, (*files).clone()).await?
        } else {
            let (base_files, ours) =
                tokio::try_join!(self.files_of(ctx, workspace_id, base), self.files_of(ctx, workspace_id, on))?;
            let merged = self.merge_into(&writing, base_files, (head, ours), files).await?;
            let draft = self.draft(ctx, &writing, workspace_id, Base::Exactly(on), message, merged).await?;
            Draft { merged_base_id: base, ..draft }
        };
        let draft = Draft { plan_id: commit.plan_id, overlay: Some((overlay.id, overlay.version)), ..draft };
        self.land(ctx, draft, Some(writing), &commit.key).await
    }

    /// Takes the contents that an overlay has and its base has not over into what is being written: an overlay that changes
    /// protects nothing, see [`crate::garbage`]. Gives the manifest of the base.
    async fn adopt(&self, ctx: &Ctx, writing: &Writing, overlay: &Overlay, manifest: &Manifest) -> Result<Option<Kept>, Error> {
        let base = match overlay.base {
            Some(base) => Some(self.resolve_some(ctx, overlay.workspace_id, Some(base.revision_id)).await?.manifest),
            None => None,
        };
        let files = match &base {
            Some(base) => self.manifest(base).await?,
            None => Arc::default(),
        };
        let kept: HashSet<Hash> = files.entries().iter().map(|entry| entry.hash).collect();
        let all = manifest.entries().iter().map(|entry| entry.hash);
        let others = all.filter(|hash| !kept.contains(hash)).collect();
        self.see(writing, others).await?;
        Ok(base)
    }

    /// Refuses one more overlay where there are as many as there may be.
    fn overlays_full(&self, of_workspace: u64, of_project: u64) -> Result<(), Error> {
        let (workspace, project) = (self.overlays.max_of_workspace, self.overlays.max_of_project);
        for (quota, count, limit) in [("workspace", of_workspace, workspace), ("project", of_project, project)] {
            if count >= limit {
                return Err(Error::OverlaysFull { quota, limit });
            }
        }
        Ok(())
    }

    /// Makes a new overlay of `overlay`, or version `from` become it, when everything that was written for it is there.
    /// `None` when there is no version `from` any more; for a new one, no workspace.
    async fn land_overlay(
        &self,
        ctx: &Ctx,
        from: Option<u64>,
        overlay: Overlay,
        mut writing: Option<Writing>,
        key: &RequestKey,
    ) -> Result<Option<Overlay>, Error> {
        #[cfg(test)]
        self.collector.steps.pass().await;
        for _ in 0..RENEWALS {
            let write = self.store.begin().await?;
            if let Some(first) = write.claim(ctx.project, key).await? {
                return write.find_overlay(ctx.project, first, self.clock.now()).await?.ok_or(Error::OverlayNotFound).map(Some);
            }
            match &mut writing {
                Some(writing) if write.hold_epoch().await? != writing.epoch() => {
                    drop(write);
                    self.renew(writing).await?;
                    continue;
                }
                _ => {}
            }
            if !write.hold_workspace(ctx.project, overlay.workspace_id).await? {
                return Ok(None);
            }
            match from {
                None => {
                    let (of_workspace, of_project) =
                        write.count_overlays(ctx.project, overlay.workspace_id, self.clock.now()).await?;
                    self.overlays_full(of_workspace, of_project)?;
                    write.create_overlay(ctx.project, &overlay).await?;
                }
                Some(from) if !write.change_overlay(ctx.project, from, &overlay).await? => return Ok(None),
                Some(_) => {}
            }
            write.record(ctx.project, key, overlay.id).await?;
            write.commit().await?;
            return Ok(Some(overlay));
        }
        Err(Error::Swept)
    }

    /// What the request made, when it was carried out before.
    async fn find_made(&self, ctx: &Ctx, key: &RequestKey) -> Result<Option<Uuid>, Error> {
        if key.id.is_empty() {
            return Ok(None);
        }
        self.store.begin().await?.claim(ctx.project, key).await
    }

    fn overlay_expiry(&self, now: i64) -> i64 {
        now.saturating_add(i64::try_from(self.overlays.idle().as_micros()).unwrap_or(i64::MAX))
    }
}

fn check_etag(expected: &str, overlay: &Overlay) -> Result<(), Error> {
    let etag = overlay.etag();
    if etag == expected { Ok(()) } else { Err(Error::EtagMismatch { etag }) }
}
