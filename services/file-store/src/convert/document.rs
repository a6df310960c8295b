//! The messages of documents.

use slipway_documents::Text;
use slipway_proto::filestore as pb;
use slipway_rpc::{Check, Fault};
use uuid::Uuid;

use super::{at, file_entry, required_path};
use crate::model::{At, FileEntry};

pub(crate) fn document(request: pb::GetDocumentTextRequest) -> Result<(Uuid, At, String), Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", &request.workspace_id);
    let at = at(&mut check, ("revision_id", &request.revision_id), ("overlay_id", &request.overlay_id));
    let path = required_path(&mut check, "path", request.path);
    check.finish()?;
    Ok((workspace, at, path?))
}

pub(crate) fn document_text(file: FileEntry, text: Text) -> pb::GetDocumentTextResponse {
    pb::GetDocumentTextResponse { file: Some(file_entry(file)), text: text.text, truncated: text.truncated }
}
