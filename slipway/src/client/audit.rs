//! `slipway index audit`

use slipway_proto::embedding::audit_index_response::Event;
use slipway_proto::embedding::{AuditFinding, AuditIndexRequest, AuditSummary, FindingKind};

use super::Api;
use crate::error::{Exit, Failure};
use crate::output::{Out, Spinner, count};

/// Audits one index, or all; fails when something is left that does not fit together.
pub(crate) async fn audit(api: &Api, out: &Out, workspace: Option<&str>, repair: bool) -> anyhow::Result<()> {
    let workspace_id = match workspace {
        Some(name) => api.workspace(name).await?.id,
        None => String::new(),
    };
    let mut stream = api.audits.clone().audit_index(AuditIndexRequest { workspace_id, repair }).await?.into_inner();
    let spinner = Spinner::start("comparing");
    while let Some(step) = stream.message().await? {
        let json = out.json("embedding.v1.AuditIndexResponse", &step)?;
        match step.event {
            Some(Event::Finding(finding)) if !json => show(out, &finding)?,
            Some(Event::Summary(summary)) => {
                drop(spinner);
                return end(out, json, &summary);
            }
            _ => {}
        }
    }
    Err(Failure::new(Exit::Failed, "the stream ended before the audit did").into())
}

fn show(out: &Out, finding: &AuditFinding) -> anyhow::Result<()> {
    let paint = out.paint;
    let state = if finding.repaired { paint.green("mended") } else { paint.red("found") };
    let of = if finding.path.is_empty() { finding.workspace_id.clone() } else { finding.path.clone() };
    let chunks = if finding.count == 0 { String::new() } else { format!(" ({})", count(finding.count, "chunk")) };
    out.line(format!("{state}  {}  {of}: {}{chunks}", kind(finding.kind()), finding.detail))
}

fn end(out: &Out, json: bool, summary: &AuditSummary) -> anyhow::Result<()> {
    let left = summary.finding_count.saturating_sub(summary.repaired_count);
    if !json {
        let looked = format!(
            "{}, {}, {}",
            count(summary.workspace_count, "workspace"),
            count(summary.file_count, "file"),
            count(summary.chunk_count, "chunk")
        );
        out.line(format!("{looked}: {}, {} mended", count(summary.finding_count, "finding"), summary.repaired_count))?;
    }
    if left == 0 { Ok(()) } else { Err(Failure::new(Exit::Failed, format!("{} left", count(left, "finding"))).into()) }
}

fn kind(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::DanglingWorkspace => "dangling workspace",
        FindingKind::StaleRevision => "stale revision",
        FindingKind::FileMismatch => "file mismatch",
        FindingKind::CountMismatch => "count mismatch",
        FindingKind::ChunksMissing => "chunks missing",
        FindingKind::ChunksWrong => "chunks wrong",
        FindingKind::TenantWrong => "tenant wrong",
        FindingKind::ChunksOrphaned => "chunks orphaned",
        FindingKind::VectorsMissing => "vectors missing",
        FindingKind::BlobMissing => "blob missing",
        FindingKind::Unspecified => "unknown",
    }
}
