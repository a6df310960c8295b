//! `slipway search`

use slipway_proto::embedding::{Hit, SearchMode, SearchRequest};

use super::Api;
use crate::args::SearchMode as Mode;
use crate::output::{Out, place};

/// Lines of a hit's text that are shown.
const SHOWN: usize = 6;

/// Searches a workspace.
pub(crate) async fn search(
    api: &Api,
    out: &Out,
    workspace: &str,
    query: String,
    limit: u32,
    glob: String,
    mode: Option<Mode>,
) -> anyhow::Result<()> {
    let workspace = api.workspace(workspace).await?;
    let mode = match mode {
        None => SearchMode::Unspecified,
        Some(Mode::Hybrid) => SearchMode::Hybrid,
        Some(Mode::Lexical) => SearchMode::Lexical,
        Some(Mode::Dense) => SearchMode::Dense,
    };
    let request = SearchRequest { workspace_id: workspace.id, query, limit, mode: mode.into(), glob };
    let response = api.search.clone().search(request).await?.into_inner();
    if out.json("embedding.v1.SearchResponse", &response)? {
        return Ok(());
    }
    for hit in &response.hits {
        show(out, hit, SHOWN)?;
    }
    if response.hits.is_empty() {
        out.note("nothing was found");
    }
    Ok(())
}

fn show(out: &Out, hit: &Hit, lines: usize) -> anyhow::Result<()> {
    let paint = out.paint;
    let place = paint.cyan(place(&hit.path, hit.start_line, hit.end_line));
    out.line(format!("{place}  {}  {}", hit.title, paint.dim(format!("{:.3}", hit.score))))?;
    for line in hit.text.lines().take(lines) {
        out.line(format!("    {}", paint.dim(line)))?;
    }
    let more = hit.text.lines().count().saturating_sub(lines);
    if more > 0 {
        out.line(format!("    {}", paint.dim(format!("… {more} more"))))?;
    }
    Ok(())
}
