//! `slipway files view` and `slipway files overlay edit`.

use slipway_proto::filestore::edit::Edit as Said;
use slipway_proto::filestore::{Edit, EditOverlayRequest, EditText, FileDiff, ViewFileRequest};
use uuid::Uuid;

use crate::client::{Api, Rev};
use crate::error::Failure;
use crate::output::{Out, unified};

pub(super) async fn view(
    api: &Api,
    out: &Out,
    workspace: &str,
    path: String,
    rev: Rev<'_>,
    (first_line, last_line): (u32, u32),
) -> anyhow::Result<()> {
    let workspace = api.workspace(workspace).await?;
    let revision_id = api.revision_id(&workspace, rev).await?;
    let request = ViewFileRequest { workspace_id: workspace.id, revision_id, path, first_line, last_line, ..Default::default() };
    let view = api.edits.clone().view_file(request).await?.into_inner();
    if out.json("filestore.v1.ViewFileResponse", &view)? {
        return Ok(());
    }
    let width = view.lines.last().map_or(1, |line| line.number.to_string().len());
    for line in &view.lines {
        out.line(format!("{}  {}", out.paint.dim(format!("{:>width$}", line.number)), line.text))?;
    }
    if view.truncated {
        let next = view.lines.last().map_or(1, |line| line.number + 1);
        out.note(format!("there is more, up to line {}: --first {next}", view.total_lines));
    }
    Ok(())
}

pub(super) async fn edit(api: &Api, out: &Out, overlay_id: String, text: Vec<u8>, path: String) -> anyhow::Result<()> {
    let text = String::from_utf8(text).map_err(|_| Failure::usage("the text of the edits is not UTF-8"))?;
    let said = Said::Text(EditText { text, path, ..Default::default() });
    let edits = vec![Edit { edit: Some(said) }];
    let request = EditOverlayRequest { overlay_id, edits, request_id: Uuid::now_v7().to_string(), ..Default::default() };
    let edited = api.edits.clone().edit_overlay(request).await?.into_inner();
    if out.json("filestore.v1.EditOverlayResponse", &edited)? {
        return Ok(());
    }
    let files: Vec<FileDiff> = edited
        .results
        .into_iter()
        .map(|result| {
            let lines =
                |sign: &str| result.unified.lines().skip_while(|l| !l.starts_with("@@")).filter(|l| l.starts_with(sign)).count();
            let (additions, deletions) = (lines("+") as u32, lines("-") as u32);
            FileDiff { path: result.path, unified: result.unified, additions, deletions, ..Default::default() }
        })
        .collect();
    out.raw(unified(&files, out.paint).as_bytes())
}
