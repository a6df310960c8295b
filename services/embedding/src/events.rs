//! What this service consumes: `revision.committed` and `workspace.deleted`. It publishes nothing.

use std::sync::Arc;

use async_trait::async_trait;
use prost::Message as _;
use slipway_bus::{Bus, Event, Handler, HandlerError};
use slipway_proto::events::Event as Payload;
use slipway_proto::events::event::Event as Kind;
use slipway_rpc::{BuildError, ProjectId, Server, UserId};
use slipway_storage::Store;
use uuid::Uuid;

use crate::index::Tenant;
use crate::service::Service;
use crate::store::Wanted;

/// Subscribes the service to what it follows.
pub(crate) async fn subscribe(bus: &Bus, store: &Store, service: &Arc<Service>, server: &mut Server) -> Result<(), BuildError> {
    let consumer = Arc::new(Consumer(service.clone()));
    for (kind, subject) in
        [("event.embedding-revisions", "revision.committed"), ("event.embedding-workspaces", "workspace.deleted")]
    {
        slipway_ops::subscribe(bus, store, kind, subject, consumer.clone(), server).await?;
    }
    Ok(())
}

struct Consumer(Arc<Service>);

#[async_trait]
impl Handler for Consumer {
    async fn handle(&self, event: &Event, _: u32) -> Result<(), HandlerError> {
        let Some(fact) = read(event) else {
            // Delivered again it would be no better.
            tracing::error!(event_id = %event.id, subject = event.subject, "an event cannot be read and is passed over");
            return Ok(());
        };
        match fact {
            Fact::Committed(wanted) => Ok(self.0.revision_committed(wanted, &event.traceparent).await?),
            Fact::Deleted(tenant) => Ok(self.0.workspace_deleted(tenant).await?),
            Fact::Other => Ok(()),
        }
    }
}

/// What an event says, as far as it concerns us.
enum Fact {
    Committed(Wanted),
    Deleted(Tenant),
    Other,
}

fn read(event: &Event) -> Option<Fact> {
    let payload = Payload::decode(event.payload.clone()).ok()?;
    let project = ProjectId(payload.project_id.parse().ok()?);
    let workspace = |id: &str| Some(Tenant { project, workspace: id.parse::<Uuid>().ok()? });
    Some(match payload.event {
        Some(Kind::RevisionCommitted(committed)) => Fact::Committed(Wanted {
            tenant: workspace(&committed.workspace_id)?,
            user: UserId(payload.user_id.parse().ok()?),
            revision: committed.revision_id.parse().ok()?,
            number: committed.number,
        }),
        Some(Kind::WorkspaceDeleted(deleted)) => Fact::Deleted(workspace(&deleted.workspace_id)?),
        Some(Kind::BudgetThresholdReached(_)) | None => Fact::Other,
    })
}
