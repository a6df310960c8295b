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
    out.line(format!("{place}  {}  {}", hit.title, paint.dim(score(hit))))?;
    for line in hit.text.lines().take(lines) {
        out.line(format!("    {}", paint.dim(line)))?;
    }
    let more = hit.text.lines().count().saturating_sub(lines);
    if more > 0 {
        out.line(format!("    {}", paint.dim(format!("… {more} more"))))?;
    }
    Ok(())
}

/// The score, and what adds up to it where that is more than one thing.
fn score(hit: &Hit) -> String {
    let parts: Vec<_> = hit.parts.iter().map(|p| format!("{} {:.3}", p.name, p.value)).collect();
    if parts.len() > 1 { format!("{:.3} = {}", hit.score, parts.join(" + ")) } else { format!("{:.3}", hit.score) }
}

#[cfg(test)]
mod tests {
    use slipway_proto::embedding::ScorePart;

    use super::*;

    #[test]
    fn a_score_of_several_parts_shows_them() {
        let part = |name: &str, value| ScorePart { name: name.into(), value, note: String::new() };
        let one = Hit { score: 7.25, parts: vec![part("lexical", 7.25)], ..Hit::default() };
        assert_eq!(score(&one), "7.250");
        let two = Hit { score: 0.15, parts: vec![part("dense", 0.1), part("lexical", 0.05)], ..Hit::default() };
        assert_eq!(score(&two), "0.150 = dense 0.100 + lexical 0.050");
    }
}
