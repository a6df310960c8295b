//! Mending what an audit found: what is of no use goes, and what is missing is built, or embedded, again.

use std::time::Duration;

use slipway_rpc::Ctx;

use super::Kind;
use super::inspect::Inspection;
use crate::error::Error;
use crate::index::Tenant;
use crate::model::state::State;
use crate::service::Service;
use crate::store::Wanted;

/// How often the record is looked at when nothing announces a change: another replica may have the job.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What takes a build of every file.
const BY_BUILDING: [Kind; 6] =
    [Kind::StaleRevision, Kind::FileMismatch, Kind::CountMismatch, Kind::ChunksMissing, Kind::ChunksWrong, Kind::TenantWrong];

impl Service {
    /// Mends what was found, as far as that can be done here. Returns when the work is done or has failed.
    pub(super) async fn repair(&self, ctx: &Ctx, tenant: Tenant, inspection: &Inspection) -> Result<(), Error> {
        let Some(index) = inspection.index.as_ref().filter(|_| !inspection.gone) else {
            return self.workspace_deleted(tenant).await;
        };
        let engine = self.index.engines().await?.home(&index.engine);
        if !inspection.wrong.is_empty() {
            // Their ids are made of this tenant: nobody else has a point under them.
            engine.erase(inspection.wrong.clone()).await?;
        }
        if !inspection.orphans.is_empty() {
            engine.remove(tenant, index.built, inspection.orphans.clone()).await?;
        }
        engine.flush().await?;
        if inspection.has(&BY_BUILDING) {
            self.build_again(ctx, tenant).await?;
        } else if inspection.has(&[Kind::VectorsMissing]) {
            let mut tx = self.records.begin().await?;
            self.records.unsettle(&tx, tenant, index.built).await?;
            self.enqueue_vectors(&mut tx, tenant, index.built, &ctx.traceparent()).await?;
            tx.commit().await?;
        }
        self.settle(tenant).await
    }

    /// Has every file of the head chunked again.
    async fn build_again(&self, ctx: &Ctx, tenant: Tenant) -> Result<(), Error> {
        let head = self.files.head(ctx, tenant.workspace).await?;
        let Some(revision) = head.revision else { return Ok(()) };
        let wanted = Wanted { tenant, user: ctx.caller.user, revision, number: head.number };
        let mut tx = self.records.begin().await?;
        if let Some(index) = self.records.want(&tx, wanted, true).await? {
            self.enqueue_build(&mut tx, &index, &ctx.traceparent()).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Waits until nothing is under way in a workspace: neither a build nor the vectors of one.
    pub(super) async fn settle(&self, tenant: Tenant) -> Result<(), Error> {
        let mut changed = self.changed.subscribe();
        loop {
            let Some(index) = self.records.find_index(tenant.project, tenant.workspace).await? else { return Ok(()) };
            if index.state() != State::Indexing && index.settled >= index.built {
                return Ok(());
            }
            // Whatever ends the wait, the record is what counts.
            let _ = tokio::time::timeout(LOOK_AGAIN, changed.recv()).await;
        }
    }
}
