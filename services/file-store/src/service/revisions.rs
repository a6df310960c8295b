//! The use cases of revisions: commit, restore, get, list. Every new one lands by the same compare-and-swap.

use std::sync::Arc;

use blake3::Hash;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use slipway_rpc::{Ctx, now_micros};
use slipway_storage::{crash, page};
use uuid::Uuid;

use super::secrets::Scanned;
use super::writing::Writing;
use super::{FileStore, Page, PageRequest, cursor, cut_page};
use crate::error::Error;
use crate::events;
use crate::model::{Change, ChangeError, Expected, Head, Kept, Manifest, Revision, RevisionKind, apply};
use crate::store::{RequestKey, Write};

/// How many contents are written to the blob store at once.
pub(super) const WRITES: usize = 8;

/// Of a file that was not expected, no more bytes are shown: they travel in headers.
const MAX_SHOWN: u64 = 256;

/// How often a change is brought together with a head that moves on meanwhile.
pub(super) const MERGES: usize = 8;

/// How often a change makes sure of its contents while garbage is collected.
pub(super) const RENEWALS: usize = 5;

/// Changes to make one revision of.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) workspace_id: Uuid,
    pub(crate) base: Option<Uuid>,
    pub(crate) changes: Vec<Change>,
    pub(crate) message: String,
    pub(crate) plan_id: Option<Uuid>,
    /// Whether to merge when the base is no longer the head.
    pub(crate) merge: bool,
    pub(crate) key: RequestKey,
}

impl Commit {
    /// Each change says what it expects, and none is about a base.
    fn is_on_any_head(&self) -> bool {
        self.base.is_none() && self.changes.iter().all(|change| change.target().1 != Expected::Whatever)
    }
}

/// An older revision to make a new one of.
#[derive(Debug)]
pub(crate) struct Restore {
    pub(crate) workspace_id: Uuid,
    pub(crate) revision_id: Uuid,
    /// `None`: on whatever the head is.
    pub(crate) base: Option<Uuid>,
    /// Empty: says which revision it restores.
    pub(crate) message: String,
    pub(crate) key: RequestKey,
}

/// The head that a new revision may follow.
#[derive(Clone, Copy, Debug)]
pub(super) enum Base {
    Any,
    Exactly(Option<Uuid>),
}

impl Base {
    fn accepts(self, head: Option<Head>) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(id) => id == head.map(|head| head.revision_id),
        }
    }
}

/// A revision that wants to become the head. Its blobs are safe already.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) workspace_id: Uuid,
    pub(super) base: Base,
    pub(super) kind: RevisionKind,
    pub(super) message: String,
    pub(super) manifest: Kept,
    pub(super) file_count: u64,
    pub(super) total_bytes: u64,
    pub(super) restored_from_id: Option<Uuid>,
    pub(super) plan_id: Option<Uuid>,
    pub(super) merged_base_id: Option<Uuid>,
    /// The bytes of the contents that the head does not have.
    pub(super) brought: u64,
    /// The overlay that it is made of, in this version, and that goes when it lands.
    pub(super) overlay: Option<(Uuid, u64)>,
}

impl FileStore {
    /// Applies changes to a base as one new revision, all of them or none.
    pub(crate) async fn commit(&self, ctx: &Ctx, commit: Commit) -> Result<Revision, Error> {
        self.get_workspace(ctx, commit.workspace_id).await?;
        if let Some(first) = self.find_first(ctx, commit.workspace_id, &commit.key).await? {
            return Ok(first);
        }
        for _ in 0..MERGES {
            match self.try_commit(ctx, &commit).await {
                // The head moved under what could be made on any.
                Err(Error::Stale { .. }) if commit.merge || commit.is_on_any_head() => {}
                result => return result,
            }
        }
        self.try_commit(ctx, &commit).await
    }

    async fn try_commit(&self, ctx: &Ctx, commit: &Commit) -> Result<Revision, Error> {
        let Commit { workspace_id, changes, message, plan_id, key, .. } = commit;
        // Before the work, for the caller's sake; what counts is the look in the transaction.
        let head = self.get_workspace(ctx, *workspace_id).await?.head;
        let base = if commit.is_on_any_head() { head.map(|head| head.revision_id) } else { commit.base };
        let base_files = self.files_of(ctx, *workspace_id, base).await?;
        let is_stale = !Base::Exactly(base).accepts(head);
        if is_stale && !commit.merge {
            // The same request may have landed since.
            return self.find_first(ctx, *workspace_id, key).await?.ok_or(Error::Stale { head });
        }
        let writing = self.start_writing().await?;
        let changes = self.place_contents(ctx, &writing, &base_files, changes.clone()).await?;
        let (mut manifest, contents) = self.apply(base_files.clone(), changes).await?;
        let contents = stream::iter(contents).map(|(hash, content)| self.put(&writing, hash, content));
        let contents = contents.buffer_unordered(WRITES).try_collect::<()>();
        if is_stale {
            contents.await?;
            let ours = self.files_of(ctx, *workspace_id, head.map(|head| head.revision_id)).await?;
            manifest = self.merge_into(&writing, base_files, (head, ours), Arc::new(manifest)).await?;
            let on = Base::Exactly(head.map(|head| head.revision_id));
            let draft = self.draft(ctx, &writing, *workspace_id, on, message.clone(), manifest).await?;
            let draft = Draft { plan_id: *plan_id, merged_base_id: base, ..draft };
            return self.land(ctx, draft, Some(writing), key).await;
        }
        let draft = self.draft(ctx, &writing, *workspace_id, Base::Exactly(base), message.clone(), manifest);
        // Each is flushed by itself, so they wait for the disk together.
        let ((), draft) = tokio::try_join!(contents, draft)?;
        crash::point("file_store.blobs_written");
        self.land(ctx, Draft { plan_id: *plan_id, ..draft }, Some(writing), key).await
    }

    /// The files after the changes, and the contents that they bring.
    pub(super) async fn apply(&self, base: Arc<Manifest>, changes: Vec<Change>) -> Result<(Manifest, Vec<(Hash, Bytes)>), Error> {
        let error = match tokio::task::spawn_blocking(move || apply(&base, changes)).await? {
            Ok(applied) => return Ok(applied),
            Err(error) => error,
        };
        // Whoever expected another file wants to see what is there, if it fits.
        if let ChangeError::Unexpected { present: Some(entry), .. } = &error
            && entry.size <= MAX_SHOWN
            && let Ok(content) = self.blobs.get(entry.hash).await
            && let Ok(content) = String::from_utf8(content.into())
        {
            return Err(Error::Unexpected { error: Box::new(error), content });
        }
        Err(error.into())
    }

    /// Makes a new revision whose files equal those of an older one.
    pub(crate) async fn restore(&self, ctx: &Ctx, restore: Restore) -> Result<Revision, Error> {
        let Restore { workspace_id, revision_id, base, message, key } = restore;
        let source = self.resolve_some(ctx, workspace_id, Some(revision_id)).await?;
        let message = if message.is_empty() { format!("restore revision {}", source.number) } else { message };
        let draft = Draft {
            workspace_id,
            base: base.map_or(Base::Any, |id| Base::Exactly(Some(id))),
            kind: RevisionKind::Restore,
            message,
            manifest: source.manifest,
            file_count: source.file_count,
            total_bytes: source.total_bytes,
            restored_from_id: Some(source.id),
            plan_id: None,
            merged_base_id: None,
            // The workspace has it all.
            brought: 0,
            overlay: None,
        };
        // Its contents are those of a revision that is there as long as the workspace.
        self.land(ctx, draft, None, &key).await
    }

    /// One revision; the head when none is named.
    pub(crate) async fn get_revision(&self, ctx: &Ctx, workspace: Uuid, id: Option<Uuid>) -> Result<Revision, Error> {
        self.resolve_some(ctx, workspace, id).await
    }

    /// The revisions of a workspace, the newest first.
    pub(crate) async fn list_revisions(&self, ctx: &Ctx, workspace: Uuid, request: PageRequest) -> Result<Page<Revision>, Error> {
        self.get_workspace(ctx, workspace).await?;
        let scope = format!("ListRevisions/{}/{workspace}", ctx.project);
        let before: Option<u64> = cursor(&scope, &request.token)?;
        let rows = self.store.list_revisions(ctx.project, workspace, before, request.size as u64 + 1).await?;
        Ok(cut_page(rows, request.size, |r| r.message.len() + 512, |r| page::encode(&scope, &r.number)))
    }

    /// Writes the manifest and drafts the revision that refers to it.
    pub(super) async fn draft(
        &self,
        ctx: &Ctx,
        writing: &Writing,
        workspace_id: Uuid,
        base: Base,
        message: String,
        manifest: Manifest,
    ) -> Result<Draft, Error> {
        // A base that is none is not the head: that is said when it lands.
        let before = match base {
            Base::Exactly(Some(id)) => self.store.find_revision(ctx.project, workspace_id, id).await?,
            Base::Exactly(None) | Base::Any => None,
        };
        self.draft_after(writing, (workspace_id, base), before.as_ref().map(|before| &before.manifest), message, manifest).await
    }

    /// As [`Self::draft`], of a revision that follows one with the manifest `before`.
    pub(super) async fn draft_after(
        &self,
        writing: &Writing,
        (workspace_id, base): (Uuid, Base),
        before: Option<&Kept>,
        message: String,
        manifest: Manifest,
    ) -> Result<Draft, Error> {
        let (file_count, total_bytes) = (manifest.entries().len() as u64, manifest.total_bytes());
        let files = match before {
            Some(before) => self.manifest(before).await?,
            None => Arc::default(),
        };
        let brought = self.quotas.check_files(&files, &manifest)?;
        let manifest = self.save_manifest(writing, before, manifest).await?;
        Ok(Draft {
            workspace_id,
            base,
            kind: RevisionKind::Commit,
            message,
            manifest,
            file_count,
            total_bytes,
            restored_from_id: None,
            plan_id: None,
            merged_base_id: None,
            brought,
            overlay: None,
        })
    }

    /// Makes the draft the head, remembers the request and has the event leave, in one transaction, when everything that was
    /// written for it is there.
    pub(super) async fn land(
        &self,
        ctx: &Ctx,
        draft: Draft,
        mut writing: Option<Writing>,
        key: &RequestKey,
    ) -> Result<Revision, Error> {
        let scanned = self.scan(ctx, &draft, writing.as_ref()).await?;
        #[cfg(test)]
        self.collector.steps.pass().await;
        for _ in 0..RENEWALS {
            let write = self.store.begin().await?;
            if let Some(first) = write.claim(ctx.project, key).await? {
                return write.find_revision(ctx.project, draft.workspace_id, first).await?.ok_or(Error::RevisionNotFound);
            }
            match &mut writing {
                Some(writing) if write.hold_epoch().await? != writing.epoch() => {
                    drop(write);
                    self.renew(writing).await?;
                }
                _ => return self.move_head(ctx, write, draft, scanned, key).await,
            }
        }
        Err(Error::Swept)
    }

    async fn move_head(
        &self,
        ctx: &Ctx,
        mut write: Write,
        draft: Draft,
        scanned: Option<Scanned>,
        key: &RequestKey,
    ) -> Result<Revision, Error> {
        let revision = self.advance(ctx, &mut write, draft, scanned).await?;
        write.record(ctx.project, key, revision.id).await?;
        crash::point("file_store.landing");
        write.commit().await?;
        self.announce();
        crash::point("file_store.landed");
        tracing::info!(workspace = %revision.workspace_id, revision = %revision.id, number = revision.number, "a revision is the new head");
        Ok(revision)
    }

    /// As [`Self::land`], of several that follow each other: all of them or none. Gives the last one.
    pub(super) async fn land_all(
        &self,
        ctx: &Ctx,
        drafts: Vec<Draft>,
        mut writing: Writing,
        key: &RequestKey,
    ) -> Result<Revision, Error> {
        let workspace = drafts.first().map(|draft| draft.workspace_id).ok_or(Error::WorkspaceEmpty)?;
        let scans = self.scan_all(ctx, &drafts, &writing).await?;
        for _ in 0..RENEWALS {
            let mut write = self.store.begin().await?;
            if let Some(first) = write.claim(ctx.project, key).await? {
                return write.find_revision(ctx.project, workspace, first).await?.ok_or(Error::RevisionNotFound);
            }
            if write.hold_epoch().await? != writing.epoch() {
                drop(write);
                self.renew(&mut writing).await?;
                continue;
            }
            let mut last = None;
            for (draft, scanned) in drafts.into_iter().zip(scans) {
                last = Some(self.advance(ctx, &mut write, draft, scanned).await?);
            }
            let last = last.ok_or(Error::WorkspaceEmpty)?;
            write.record(ctx.project, key, last.id).await?;
            write.commit().await?;
            self.announce();
            tracing::info!(%workspace, revision = %last.id, number = last.number, "several revisions are new, this is the head");
            return Ok(last);
        }
        Err(Error::Swept)
    }

    /// Makes the draft the head, and has the event leave with the transaction.
    async fn advance(&self, ctx: &Ctx, write: &mut Write, draft: Draft, scanned: Option<Scanned>) -> Result<Revision, Error> {
        let head = read_head(write, ctx, draft.workspace_id).await?;
        if !draft.base.accepts(head) {
            return Err(Error::Stale { head });
        }
        let revision = Revision {
            id: Uuid::now_v7(),
            workspace_id: draft.workspace_id,
            number: head.map_or(0, |head| head.number) + 1,
            parent_id: head.map(|head| head.revision_id),
            kind: draft.kind,
            message: draft.message,
            author_id: ctx.caller.user.0,
            manifest: draft.manifest,
            file_count: draft.file_count,
            total_bytes: draft.total_bytes,
            restored_from_id: draft.restored_from_id,
            plan_id: draft.plan_id,
            merged_base_id: draft.merged_base_id,
            create_time: now_micros(),
            secrets: scanned.as_ref().map(|scanned| scanned.report.count),
        };
        if !write.move_head(ctx.project, head, &revision).await? {
            return Err(Error::Stale { head: read_head(write, ctx, draft.workspace_id).await? });
        }
        if let Some((id, version)) = draft.overlay
            && !write.delete_overlay(ctx.project, id, Some(version)).await?
        {
            let now = write.find_overlay(ctx.project, id, self.clock.now()).await?.ok_or(Error::OverlayNotFound)?;
            return Err(Error::EtagMismatch { etag: now.etag() });
        }
        if let Some(scanned) = scanned {
            write.save_secrets(scanned.hash, &scanned.report).await?;
        }
        let (of_workspace, of_project) = write.charge(ctx.project, revision.workspace_id, draft.brought).await?;
        self.quotas.check_usage(&revision, ctx.project, of_workspace, of_project)?;
        write.emit(&events::revision_committed(ctx, &revision)).await?;
        Ok(revision)
    }

    /// What the request made, when it was carried out before: looked up first, since its base is no longer the head.
    pub(super) async fn find_first(&self, ctx: &Ctx, workspace: Uuid, key: &RequestKey) -> Result<Option<Revision>, Error> {
        if key.id.is_empty() {
            return Ok(None);
        }
        let write = self.store.begin().await?;
        match write.claim(ctx.project, key).await? {
            Some(first) => Ok(Some(write.find_revision(ctx.project, workspace, first).await?.ok_or(Error::RevisionNotFound)?)),
            None => Ok(None),
        }
    }
}

async fn read_head(write: &Write, ctx: &Ctx, workspace: Uuid) -> Result<Option<Head>, Error> {
    Ok(write.find_workspace(ctx.project, workspace).await?.ok_or(Error::WorkspaceNotFound)?.head)
}
