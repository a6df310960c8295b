//! What the file store tells the others: `revision.committed` and `workspace.deleted`. It consumes nothing.

use bytes::Bytes;
use prost::Message as _;
use slipway_bus::Event;
use slipway_proto::events::event::Event as Kind;
use slipway_proto::events::{Event as Payload, RevisionCommitted, WorkspaceDeleted};
use slipway_rpc::{Ctx, timestamp};
use uuid::Uuid;

use crate::model::Revision;

/// A workspace has a new head.
pub(crate) fn revision_committed(ctx: &Ctx, revision: &Revision) -> Event {
    let kind = Kind::RevisionCommitted(RevisionCommitted {
        workspace_id: revision.workspace_id.to_string(),
        revision_id: revision.id.to_string(),
        number: revision.number,
        parent_revision_id: revision.parent_id.map(|id| id.to_string()).unwrap_or_default(),
    });
    event(ctx, "revision.committed", revision.workspace_id, revision.create_time, kind)
}

/// A workspace and all its revisions are gone.
pub(crate) fn workspace_deleted(ctx: &Ctx, workspace_id: Uuid, time: i64) -> Event {
    let kind = Kind::WorkspaceDeleted(WorkspaceDeleted { workspace_id: workspace_id.to_string() });
    event(ctx, "workspace.deleted", workspace_id, time, kind)
}

fn event(ctx: &Ctx, subject: &str, workspace_id: Uuid, time: i64, kind: Kind) -> Event {
    let id = Uuid::now_v7();
    let traceparent = ctx.traceparent();
    let payload = Payload {
        id: id.to_string(),
        create_time: Some(timestamp(time)),
        ignorable: false,
        project_id: ctx.project.to_string(),
        user_id: ctx.caller.user.to_string(),
        traceparent: traceparent.clone(),
        event: Some(kind),
    };
    let payload = Bytes::from(payload.encode_to_vec());
    Event { id, subject: subject.to_owned(), entity_id: workspace_id.to_string(), traceparent, payload }
}
