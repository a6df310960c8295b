//! The messages of documents.

use slipway_documents::Text;
use slipway_proto::filestore as pb;
use slipway_rpc::Fault;
use uuid::Uuid;

use super::{file_at, file_entry};
use crate::model::{At, FileEntry};

pub(crate) fn document(request: pb::GetDocumentTextRequest) -> Result<(Uuid, At, String), Fault> {
    file_at(&request.workspace_id, &request.revision_id, &request.overlay_id, request.path)
}

pub(crate) fn document_text(file: FileEntry, text: Text) -> pb::GetDocumentTextResponse {
    pb::GetDocumentTextResponse { file: Some(file_entry(file)), text: text.text, truncated: text.truncated }
}
