//! Requests to the model, with every violation named, and the model to responses. Limits are those of the proto comments.

mod audit;

use slipway_proto::embedding::{
    EmbedTextsRequest, EmbedTextsResponse, Embedding, Heartbeat, Hit, Index, IndexState, ReindexProgress, ReindexResponse,
    ScorePart, SearchMode, SearchRequest, SearchResponse, SelectFilesRequest, SelectFilesResponse, SelectedFile,
    reindex_response,
};
use slipway_rpc::{Check, Fault, now_micros, timestamp};
use uuid::Uuid;

use crate::embedder::Space;
use crate::error::Error;
use crate::model::glob::Glob;
use crate::model::select::{Part, Selected};
use crate::model::state::{Mode, Model, State, WorkspaceIndex};
use crate::service::{self, Described, Search, SearchAnswer, Selection, Step};

pub(crate) use audit::{audit_index, audit_index_response};

const MAX_QUERY: usize = 4_000;
const MAX_REQUEST: usize = 32_000;
const MAX_GLOB: usize = 500;
const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 100;
const MAX_TEXTS: usize = 256;
const MAX_TEXT: usize = 32_000;

pub(crate) fn search(request: &SearchRequest) -> Result<Search, Error> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", &request.workspace_id);
    let query = check.text("query", &request.query, 1, MAX_QUERY);
    let limit = check.page_size("limit", request.limit, DEFAULT_LIMIT, MAX_LIMIT) as usize;
    let mode = match SearchMode::try_from(request.mode) {
        Ok(SearchMode::Unspecified) => None,
        Ok(SearchMode::Hybrid) => Some(Mode::Hybrid),
        Ok(SearchMode::Lexical) => Some(Mode::Lexical),
        Ok(SearchMode::Dense) => Some(Mode::Dense),
        Err(_) => {
            check.fail("mode", "is not a search mode");
            None
        }
    };
    check.text("glob", &request.glob, 0, MAX_GLOB);
    check.finish()?;
    let glob = Glob::new(&request.glob).map_err(Error::Pattern)?;
    Ok(Search { workspace, query, limit, mode, glob })
}

pub(crate) fn select_files(request: &SelectFilesRequest) -> Result<(Uuid, String, usize), Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", &request.workspace_id);
    let text = check.text("request", &request.request, 1, MAX_REQUEST);
    let limit = check.page_size("limit", request.limit, DEFAULT_LIMIT, MAX_LIMIT) as usize;
    check.finish()?;
    Ok((workspace, text, limit))
}

pub(crate) fn workspace(id: &str) -> Result<Uuid, Fault> {
    let mut check = Check::new();
    let workspace = check.uuid("workspace_id", id);
    check.finish()?;
    Ok(workspace)
}

pub(crate) fn texts(request: EmbedTextsRequest) -> Result<Vec<String>, Fault> {
    let mut check = Check::new();
    check.ensure(!request.texts.is_empty(), "texts", "is required");
    check.ensure(request.texts.len() <= MAX_TEXTS, "texts", format!("has more than {MAX_TEXTS} elements"));
    for (at, text) in request.texts.iter().take(MAX_TEXTS).enumerate() {
        check.text(&format!("texts[{at}]"), text, 1, MAX_TEXT);
    }
    check.finish()?;
    Ok(request.texts)
}

pub(crate) fn search_response(answer: SearchAnswer) -> SearchResponse {
    SearchResponse {
        hits: answer.hits.into_iter().map(hit).collect(),
        revision_id: answer.revision.to_string(),
        mode: mode(answer.mode).into(),
    }
}

fn hit(service::Hit { found, used_by }: service::Hit) -> Hit {
    let parts = found.parts().into_iter().map(|(name, value, note)| ScorePart { name: name.to_owned(), value, note });
    Hit {
        parts: parts.collect(),
        path: found.point.path,
        start_line: found.point.start_line,
        end_line: found.point.end_line,
        text: found.point.text,
        score: found.score,
        dense_rank: found.dense_rank,
        lexical_rank: found.lexical_rank,
        title: found.point.title,
        used_by,
    }
}

pub(crate) fn select_files_response(selection: Selection) -> SelectFilesResponse {
    let part = |p: Part| ScorePart { name: p.name.to_owned(), value: p.value, note: p.note };
    let file = |f: Selected| SelectedFile {
        path: f.path,
        score: f.score,
        reason: f.reason,
        parts: f.parts.into_iter().map(part).collect(),
    };
    SelectFilesResponse { files: selection.files.into_iter().map(file).collect(), revision_id: selection.revision.to_string() }
}

pub(crate) fn embed_texts_response(vectors: Vec<Vec<f32>>, space: &Space) -> EmbedTextsResponse {
    let embeddings = vectors.into_iter().map(|values| Embedding { values }).collect();
    EmbedTextsResponse { embeddings, model: space.model.clone() }
}

pub(crate) fn index(index: &WorkspaceIndex, described: &Described) -> Index {
    let Described { model, space, moving_to } = described;
    let (best, mut mode_reason) = index.mode(model);
    if let Some(name) = moving_to {
        mode_reason.push_str(&format!("; the index is moving to {name}, and answers as it is until it has"));
    }
    let state = match index.state() {
        State::Indexing => IndexState::Indexing,
        State::Ready => IndexState::Ready,
        State::Failed => IndexState::Failed,
    };
    let there = matches!(model, Model::Ready | Model::Failing(_));
    Index {
        workspace_id: index.workspace.to_string(),
        state: state.into(),
        revision_id: index.revision.map(|id| id.to_string()).unwrap_or_default(),
        revision_number: index.revision_number,
        mode: mode(best).into(),
        mode_reason,
        model: space.as_ref().filter(|_| there).map_or(String::new(), |space| space.model.clone()),
        dimensions: space.as_ref().filter(|_| there).map_or(0, |space| space.dimensions as u32),
        file_count: index.file_count,
        chunk_count: index.chunk_count,
        embedded_count: index.embedded_count,
        failure: if state == IndexState::Failed { index.failure.clone() } else { String::new() },
        update_time: Some(timestamp(index.update_time)),
    }
}

fn mode(mode: Mode) -> SearchMode {
    match mode {
        Mode::Hybrid => SearchMode::Hybrid,
        Mode::Lexical => SearchMode::Lexical,
        Mode::Dense => SearchMode::Dense,
    }
}

/// One message of a re-index; heartbeats have no sequence.
pub(crate) fn reindex_response(step: &Step, sequence: u64, described: impl Fn(&WorkspaceIndex) -> Described) -> ReindexResponse {
    use reindex_response::Event;
    let event = match step {
        Step::Progress { done, total } => Event::Progress(ReindexProgress { done: *done, total: *total }),
        Step::Ready(ready) => Event::Ready(index(ready, &described(ready))),
        Step::Failed(failed) => Event::Failed(index(failed, &described(failed))),
        Step::Heartbeat => Event::Heartbeat(Heartbeat {}),
    };
    let ignorable = matches!(step, Step::Progress { .. } | Step::Heartbeat);
    ReindexResponse { sequence, create_time: Some(timestamp(now_micros())), ignorable, event: Some(event) }
}

#[cfg(test)]
mod tests {
    use slipway_rpc::Reason;

    use super::*;

    fn request() -> SearchRequest {
        SearchRequest { workspace_id: Uuid::now_v7().to_string(), query: "x".to_owned(), ..SearchRequest::default() }
    }

    #[test]
    fn every_bad_field_is_named() {
        let bad =
            SearchRequest { workspace_id: "x".to_owned(), query: String::new(), limit: 101, mode: 9, glob: "a\0".to_owned() };
        let fault = Fault::from(search(&bad).unwrap_err());
        let fields: Vec<_> = fault.violations().iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["workspace_id", "query", "limit", "mode", "glob"]);
        let long = SelectFilesRequest { workspace_id: String::new(), request: "x".repeat(MAX_REQUEST + 1), limit: 0 };
        assert_eq!(select_files(&long).unwrap_err().violations().len(), 2);
        let many = EmbedTextsRequest { texts: vec!["x".to_owned(); 257] };
        assert_eq!(texts(many).unwrap_err().violations()[0].field, "texts");
        let blank = EmbedTextsRequest { texts: vec!["x".to_owned(), String::new()] };
        assert_eq!(texts(blank).unwrap_err().violations()[0].field, "texts[1]");
    }

    #[test]
    fn defaults_and_globs() {
        assert_eq!(search(&request()).unwrap().limit, 10);
        let fault = Fault::from(search(&SearchRequest { glob: "[".to_owned(), ..request() }).unwrap_err());
        assert_eq!(fault.reason(), Reason::PatternInvalid);
    }
}
