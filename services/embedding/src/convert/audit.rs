//! Audits: the request, and each step.

use slipway_proto::embedding::{
    AuditFinding, AuditIndexRequest, AuditIndexResponse, AuditSummary, AuditedWorkspace, FindingKind, audit_index_response,
};
use slipway_rpc::{Check, Fault, now_micros, timestamp};
use uuid::Uuid;

use crate::service::{Audited, Finding, Kind};

pub(crate) fn audit_index(request: &AuditIndexRequest) -> Result<(Option<Uuid>, bool), Fault> {
    let mut check = Check::new();
    let workspace = (!request.workspace_id.is_empty()).then(|| check.uuid("workspace_id", &request.workspace_id));
    check.finish()?;
    Ok((workspace, request.repair))
}

pub(crate) fn audit_index_response(step: Audited, sequence: u64) -> AuditIndexResponse {
    use audit_index_response::Event;
    let event = match step {
        Audited::Finding(found) => Event::Finding(finding(found)),
        Audited::Workspace(id, counts) => Event::Workspace(AuditedWorkspace {
            workspace_id: id.to_string(),
            file_count: counts.files,
            chunk_count: counts.chunks,
            finding_count: counts.findings,
        }),
        Audited::Summary(counts) => Event::Summary(AuditSummary {
            workspace_count: counts.workspaces,
            file_count: counts.files,
            chunk_count: counts.chunks,
            finding_count: counts.findings,
            repaired_count: counts.repaired,
        }),
    };
    AuditIndexResponse { sequence, create_time: Some(timestamp(now_micros())), event: Some(event) }
}

fn finding(found: Finding) -> AuditFinding {
    let kind = match found.kind {
        Kind::DanglingWorkspace => FindingKind::DanglingWorkspace,
        Kind::StaleRevision => FindingKind::StaleRevision,
        Kind::FileMismatch => FindingKind::FileMismatch,
        Kind::CountMismatch => FindingKind::CountMismatch,
        Kind::ChunksMissing => FindingKind::ChunksMissing,
        Kind::ChunksWrong => FindingKind::ChunksWrong,
        Kind::TenantWrong => FindingKind::TenantWrong,
        Kind::ChunksOrphaned => FindingKind::ChunksOrphaned,
        Kind::VectorsMissing => FindingKind::VectorsMissing,
        Kind::BlobMissing => FindingKind::BlobMissing,
    };
    AuditFinding {
        workspace_id: found.workspace.to_string(),
        kind: kind.into(),
        path: found.path,
        count: found.count,
        detail: found.detail,
        repaired: found.repaired,
    }
}
