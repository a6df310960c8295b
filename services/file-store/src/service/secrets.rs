//! The use cases of secrets: every new revision is looked through before it lands, and its findings can be listed.
//!
//! A revision's report is made of its parent's, for what is the same, and of the new files. A file is looked into once: what
//! was found is remembered by its path and content, since some rules are about names.

use std::collections::HashMap;
use std::sync::Arc;

use blake3::{Hash, Hasher};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use slipway_rpc::Ctx;
use slipway_storage::page;
use uuid::Uuid;

use super::revisions::{Base, Draft};
use super::writing::Writing;
use super::{FileStore, Page, PageRequest, cursor, cut_page};
use crate::error::Error;
use crate::model::{FileEntry, Kept, MAX_SCANNED, Manifest, RevisionKind, Secret, SecretReport, find_secrets};
use crate::settings::SecretScan;

/// How many files are looked through at once.
const SCANS: usize = 4;
/// How many files' findings are remembered.
pub(super) const REMEMBERED: u64 = 100_000;

/// The findings of a revision.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) revision_id: Uuid,
    /// `None`: nobody looks.
    pub(crate) unscanned: Option<u32>,
    pub(crate) page: Page<Secret>,
}

/// What a file was found to hold, by [`key_of`] it.
pub(super) type Remembered = moka::future::Cache<Hash, Arc<[Secret]>>;

/// What a new revision brings.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) hash: Hash,
    pub(super) report: SecretReport,
}

impl FileStore {
    /// Looks through what a draft brings. An error when that must not land; `None` when nobody looks.
    pub(super) async fn scan(&self, ctx: &Ctx, draft: &Draft, writing: Option<&Writing>) -> Result<Option<Scanned>, Error> {
        if self.secret_scan == SecretScan::Off {
            return Ok(None);
        }
        let base = self.base_manifest(ctx, draft).await?;
        self.scan_after(draft, base.as_ref(), writing).await.map(Some)
    }

    /// The same for several that follow each other.
    pub(super) async fn scan_all(&self, ctx: &Ctx, drafts: &[Draft], writing: &Writing) -> Result<Vec<Option<Scanned>>, Error> {
        let mut scans = Vec::new();
        let mut base = None;
        for (n, draft) in drafts.iter().enumerate() {
            if self.secret_scan == SecretScan::Off {
                scans.push(None);
                continue;
            }
            if n == 0 {
                base = self.base_manifest(ctx, draft).await?;
            }
            scans.push(Some(self.scan_after(draft, base.as_ref(), Some(writing)).await?));
            base = Some(draft.manifest.clone());
        }
        Ok(scans)
    }

    async fn scan_after(&self, draft: &Draft, base: Option<&Kept>, writing: Option<&Writing>) -> Result<Scanned, Error> {
        let manifest = self.manifest(&draft.manifest).await?;
        let report = match self.store.find_secrets(draft.manifest.hash).await? {
            Some(report) => report,
            None => self.report(&manifest, base, writing).await?,
        };
        // What was there before is no reason to refuse what comes, and restoring brings nothing new.
        if self.secret_scan == SecretScan::Refuse && draft.kind != RevisionKind::Restore && report.count > 0 {
            self.refuse_new(&manifest, base, &report).await?;
        }
        Ok(Scanned { hash: draft.manifest.hash, report })
    }

    async fn base_manifest(&self, ctx: &Ctx, draft: &Draft) -> Result<Option<Kept>, Error> {
        let id = match draft.base {
            Base::Exactly(id) => id,
            Base::Any => self.get_workspace(ctx, draft.workspace_id).await?.head.map(|head| head.revision_id),
        };
        let Some(id) = id else { return Ok(None) };
        Ok(self.store.find_revision(ctx.project, draft.workspace_id, id).await?.map(|revision| revision.manifest))
    }

    async fn refuse_new(&self, manifest: &Manifest, base: Option<&Kept>, report: &SecretReport) -> Result<(), Error> {
        let before = match base {
            Some(base) => self.manifest(base).await?,
            None => Arc::default(),
        };
        let is_new = |secret: &&Secret| {
            let entry = manifest.find(&secret.path);
            entry.is_some_and(|entry| !before.find(&entry.path).is_some_and(|old| old.hash == entry.hash))
        };
        let found: Vec<Secret> = report.found.iter().filter(is_new).cloned().collect();
        if found.is_empty() { Ok(()) } else { Err(Error::SecretFound { found }) }
    }

    /// What the files of a manifest hold. Those that a base with a report has too are not looked into again.
    async fn report(&self, manifest: &Manifest, base: Option<&Kept>, writing: Option<&Writing>) -> Result<SecretReport, Error> {
        let (before, known) = self.known(base).await?;
        let mut report = SecretReport::default();
        let mut fresh: Vec<FileEntry> = Vec::new();
        let mut old = before.entries().iter().peekable();
        for entry in manifest.entries() {
            while old.next_if(|old| old.path < entry.path).is_some() {}
            if entry.size > MAX_SCANNED {
                report.unscanned += 1;
            } else if old.peek().is_none_or(|old| old.path != entry.path || old.hash != entry.hash) {
                fresh.push(entry.clone());
            } else if let Some(found) = known.get(&entry.path) {
                report.add(found.clone());
            }
        }
        let mut scans = stream::iter(fresh).map(|entry| self.scan_file(entry, writing)).buffer_unordered(SCANS);
        while let Some(found) = scans.try_next().await? {
            report.add(found.to_vec());
        }
        Ok(report.finish())
    }

    /// The files of a base that has a report, and their findings by path. A report whose list is not whole is none.
    async fn known(&self, base: Option<&Kept>) -> Result<(Arc<Manifest>, HashMap<String, Vec<Secret>>), Error> {
        let none = Default::default();
        let Some(base) = base else { return Ok(none) };
        let Some(report) = self.store.find_secrets(base.hash).await? else { return Ok(none) };
        if report.found.len() as u64 != u64::from(report.count) {
            return Ok(none);
        }
        let mut by_path: HashMap<String, Vec<Secret>> = HashMap::new();
        for secret in report.found {
            by_path.entry(secret.path.clone()).or_default().push(secret);
        }
        Ok((self.manifest(base).await?, by_path))
    }

    async fn scan_file(&self, entry: FileEntry, writing: Option<&Writing>) -> Result<Arc<[Secret]>, Error> {
        let key = key_of(&entry);
        if let Some(found) = self.secrets.get(&key).await {
            return Ok(found);
        }
        let content: Bytes = match writing.and_then(|writing| writing.content(entry.hash)) {
            Some(content) => content,
            // It may just have been removed as unused.
            None => self.blobs.get(entry.hash).await.map_err(|e| if e.is_missing() { Error::Swept } else { e.into() })?,
        };
        let found: Arc<[Secret]> = tokio::task::spawn_blocking(move || find_secrets(&entry.path, &content)).await?.into();
        self.secrets.insert(key, found.clone()).await;
        Ok(found)
    }

    /// The findings of a revision, by path and line.
    pub(crate) async fn list_secrets(
        &self,
        ctx: &Ctx,
        workspace: Uuid,
        revision: Option<Uuid>,
        request: PageRequest,
    ) -> Result<Secrets, Error> {
        let named = revision.map(|id| id.to_string()).unwrap_or_default();
        let scope = format!("ListSecretFindings/{}/{workspace}/{named}", ctx.project);
        let after: Option<(Uuid, usize)> = cursor(&scope, &request.token)?;
        let revision = self.resolve_some(ctx, workspace, after.map(|(id, _)| id).or(revision)).await?;
        let revision_id = revision.id;
        let empty = Page { items: Vec::new(), next: String::new() };
        let report = match self.store.find_secrets(revision.manifest.hash).await? {
            Some(report) => report,
            None if self.secret_scan == SecretScan::Off => return Ok(Secrets { revision_id, unscanned: None, page: empty }),
            None => self.scan_late(&revision.manifest).await?,
        };
        let done = after.map_or(0, |(_, done)| done);
        let rows: Vec<_> = report.found.into_iter().enumerate().skip(done).take(request.size + 1).collect();
        let weigh = |(_, secret): &(usize, Secret)| secret.path.len() + secret.excerpt.len() + 64;
        let page = cut_page(rows, request.size, weigh, |(n, _)| page::encode(&scope, &(revision_id, n + 1)));
        let items = page.items.into_iter().map(|(_, secret)| secret).collect();
        Ok(Secrets { revision_id, unscanned: Some(report.unscanned), page: Page { items, next: page.next } })
    }

    /// Looks through a revision that landed while nobody looked.
    async fn scan_late(&self, kept: &Kept) -> Result<SecretReport, Error> {
        let manifest = self.manifest(kept).await?;
        let report = self.report(&manifest, None, None).await?;
        let write = self.store.begin().await?;
        write.save_secrets(kept.hash, &report).await?;
        write.commit().await?;
        Ok(report)
    }
}

/// Some rules are about files of certain names.
fn key_of(entry: &FileEntry) -> Hash {
    Hasher::new().update(entry.hash.as_bytes()).update(entry.path.as_bytes()).finalize()
}
