//! `slipway files text`.

use slipway_proto::filestore::GetDocumentTextRequest;

use crate::client::{Api, Rev};
use crate::output::Out;

pub(super) async fn text(api: &Api, out: &Out, workspace: &str, path: String, rev: Rev<'_>) -> anyhow::Result<()> {
    let workspace = api.workspace(workspace).await?;
    let revision_id = api.revision_id(&workspace, rev).await?;
    let request = GetDocumentTextRequest { workspace_id: workspace.id, revision_id, path, ..Default::default() };
    let document = api.documents.clone().get_document_text(request).await?.into_inner();
    if out.json("filestore.v1.GetDocumentTextResponse", &document)? {
        return Ok(());
    }
    out.raw(document.text.as_bytes())?;
    if document.truncated {
        out.note("the document goes on; only its beginning was taken");
    }
    Ok(())
}
