//! Audits: the records against the file store's files and the engine's chunks, and mending what does not fit together.
//!
//! A workspace is looked at when nothing is under way in it. What is mended is looked at again: only what is gone then
//! counts as mended.

mod inspect;
mod repair;

use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use slipway_rpc::Ctx;
use uuid::Uuid;

use super::Service;
use crate::error::Error;
use crate::index::Tenant;

/// What does not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The workspace is gone.
    DanglingWorkspace,
    /// The index is not of the head.
    StaleRevision,
    /// A file's record is not what the revision holds.
    FileMismatch,
    /// The counts are not those of the files.
    CountMismatch,
    /// Chunks are not there.
    ChunksMissing,
    /// Chunks are of another path or content.
    ChunksWrong,
    /// Chunks are marked as another workspace's.
    TenantWrong,
    /// Chunks are of no file.
    ChunksOrphaned,
    /// Chunks have no vector, or are not counted as they are.
    VectorsMissing,
    /// A file's content cannot be had.
    BlobMissing,
}

/// Something that was found.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Where.
    pub(crate) workspace: Uuid,
    /// What.
    pub(crate) kind: Kind,
    /// The file; empty for the whole.
    pub(crate) path: String,
    /// Chunks concerned.
    pub(crate) count: u64,
    /// For people.
    pub(crate) detail: String,
    /// Whether it is gone.
    pub(crate) repaired: bool,
}

/// What was looked at, in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Workspaces.
    pub(crate) workspaces: u64,
    /// Files.
    pub(crate) files: u64,
    /// Chunks.
    pub(crate) chunks: u64,
    /// Findings.
    pub(crate) findings: u64,
    /// Those mended.
    pub(crate) repaired: u64,
}

/// One step of an audit.
#[derive(Clone, Debug)]
pub(crate) enum Audited {
    /// Something was found.
    Finding(Finding),
    /// A workspace is done.
    Workspace(Uuid, Counts),
    /// All are. Last.
    Summary(Counts),
}

impl Service {
    /// Audits one workspace, or all of the project.
    pub(crate) async fn audit(
        self: &Arc<Self>,
        ctx: &Ctx,
        workspace: Option<Uuid>,
        repair: bool,
    ) -> Result<impl Stream<Item = Result<Audited, Error>> + Send + 'static, Error> {
        let workspaces = match workspace {
            Some(workspace) => vec![workspace],
            None => self.records.list_workspaces(ctx.project).await?,
        };
        if let [only] = workspaces.as_slice()
            && workspace.is_some()
            && self.records.find_index(ctx.project, *only).await?.is_none()
        {
            // Chunks without a record are a finding; without either there is nothing to audit.
            let engine = self.index.engine().await?;
            if engine.ids(Tenant { project: ctx.project, workspace: *only }, false).await?.is_empty() {
                return Err(Error::IndexNotFound);
            }
        }
        let (service, ctx) = (self.clone(), ctx.clone());
        let each = futures::stream::iter(workspaces).then(move |workspace| {
            let (service, ctx) = (service.clone(), ctx.clone());
            async move { service.audit_workspace(&ctx, Tenant { project: ctx.project, workspace }, repair).await }
        });
        let ended = each.map(|audited| audited.map(Some)).chain(futures::stream::iter([Ok(None)]));
        let steps = ended.scan(Counts::default(), |all, audited| {
            let steps = audited.map(|audited| steps_of(all, audited));
            std::future::ready(Some(steps))
        });
        Ok(steps.map_ok(|steps| futures::stream::iter(steps.into_iter().map(Ok))).try_flatten())
    }

    async fn audit_workspace(&self, ctx: &Ctx, tenant: Tenant, repair: bool) -> Result<(Uuid, Counts, Vec<Finding>), Error> {
        let inspection = self.inspect(ctx, tenant).await?;
        let counts = Counts { workspaces: 1, files: inspection.files, chunks: inspection.chunks, ..Counts::default() };
        let mut findings = inspection.findings();
        if repair && !findings.is_empty() {
            self.repair(ctx, tenant, &inspection).await?;
            let left = self.inspect(ctx, tenant).await?.findings();
            for finding in &mut findings {
                finding.repaired = !left.iter().any(|other| (other.kind, &other.path) == (finding.kind, &finding.path));
            }
            let new = left.into_iter().filter(|l| !findings.iter().any(|f| (f.kind, &f.path) == (l.kind, &l.path)));
            let new: Vec<_> = new.collect();
            findings.extend(new);
        }
        let repaired = findings.iter().filter(|finding| finding.repaired).count() as u64;
        Ok((tenant.workspace, Counts { findings: findings.len() as u64, repaired, ..counts }, findings))
    }
}

fn steps_of(all: &mut Counts, audited: Option<(Uuid, Counts, Vec<Finding>)>) -> Vec<Audited> {
    let Some((workspace, counts, findings)) = audited else { return vec![Audited::Summary(*all)] };
    all.workspaces += counts.workspaces;
    all.files += counts.files;
    all.chunks += counts.chunks;
    all.findings += counts.findings;
    all.repaired += counts.repaired;
    findings.into_iter().map(Audited::Finding).chain([Audited::Workspace(workspace, counts)]).collect()
}
