//! The messages of secret scans.

use slipway_proto::filestore as pb;
use slipway_rpc::{Check, Fault};
use uuid::Uuid;

use super::page_request;
use crate::model::Secret;
use crate::service::{PageRequest, Secrets};

pub(crate) fn list_secrets(request: pb::ListSecretFindingsRequest) -> Result<(Uuid, Option<Uuid>, PageRequest), Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", &request.workspace_id);
    let revision = check.optional_uuid("revision_id", &request.revision_id);
    let page = page_request(&mut check, request.page_size, 100, 1_000, request.page_token);
    check.finish().map(|()| (workspace, revision, page))
}

pub(crate) fn secrets(secrets: Secrets) -> pb::ListSecretFindingsResponse {
    let finding = |secret: Secret| pb::SecretFinding {
        path: secret.path,
        line: secret.line,
        column: secret.column,
        rule: secret.rule,
        excerpt: secret.excerpt,
    };
    pb::ListSecretFindingsResponse {
        findings: secrets.page.items.into_iter().map(finding).collect(),
        revision_id: secrets.revision_id.to_string(),
        unscanned_files: secrets.unscanned.unwrap_or_default(),
        scanned: secrets.unscanned.is_some(),
        next_page_token: secrets.page.next,
    }
}
