//! The index: fresh within seconds, both ways of searching, only new content embedded, honest about what it is.

use std::time::{Duration, Instant};

use slipway_proto::embedding::reindex_response::Event;
use slipway_proto::embedding::{
    EmbedTextsRequest, Index, ReindexRequest, SearchMode, SearchRequest, SearchResponse, SelectFilesRequest,
};
use slipway_proto::filestore::{DeleteWorkspaceRequest, RestoreRevisionRequest};
use slipway_testkit::suite::Client;
use slipway_testkit::{SuiteOptions, tools};
use tonic::{Code, Status};

use crate::story::{self, commit, indexed, refused, suite, suite_with, write};

/// Waits until the chunks of a revision have their vectors: the model is loaded after the start, and works after the words.
async fn embedded(client: &Client, workspace: &str, number: u64) -> Index {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let index = indexed(client, workspace, number).await;
        if index.mode() == SearchMode::Hybrid {
            return index;
        }
        assert!(Instant::now() < deadline, "{index:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

async fn search(client: &Client, workspace: &str, query: &str, mode: SearchMode) -> Result<SearchResponse, Status> {
    let request = SearchRequest { workspace_id: workspace.into(), query: query.into(), mode: mode.into(), ..Default::default() };
    Ok(client.embedding.clone().search(request).await?.into_inner())
}

fn have_weights(test: &str) -> bool {
    let there = tools::cache().join("models/all-MiniLM-L6-v2/model.safetensors").is_file();
    if !there {
        tools::skipped(test, "the embedding weights are not in the cache");
    }
    there
}

#[tokio::test]
async fn a_commit_is_searchable_within_two_seconds() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, first) = story::workspace(&client, &story::small_chart()).await;
    indexed(&client, &workspace, 1).await;
    let committed = Instant::now();
    let second =
        commit(&client, &workspace, &first.id, vec![write("NOTES.md", "# Zanzibar\n\nThe quokka lives here.\n")]).await.unwrap();
    indexed(&client, &workspace, 2).await;
    let found = search(&client, &workspace, "quokka", SearchMode::Unspecified).await.unwrap();
    assert!(committed.elapsed() < Duration::from_secs(2), "it took {:?}", committed.elapsed());
    assert_eq!((found.hits[0].path.as_str(), &found.revision_id), ("NOTES.md", &second.id));
    assert!(found.hits[0].start_line <= 3 && found.hits[0].end_line >= 3 && found.hits[0].text.contains("quokka"));
}

#[tokio::test]
async fn search_finds_by_words_and_by_meaning() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, _) = story::workspace(&client, &story::small_chart()).await;
    indexed(&client, &workspace, 1).await;
    let found = search(&client, &workspace, "ingress className", SearchMode::Lexical).await.unwrap();
    assert!(found.hits.iter().take(3).any(|h| h.path == "templates/ingress.yaml" || h.path == "values.yaml"), "{:?}", found.hits);
    assert!(found.hits.iter().all(|h| h.dense_rank == 0 && h.lexical_rank > 0));
    if have_weights("search_finds_by_meaning") {
        embedded(&client, &workspace, 1).await;
        let found = search(&client, &workspace, "how do I deploy this application", SearchMode::Dense).await.unwrap();
        assert_eq!(found.hits[0].path, "README.md", "{:?}", found.hits);
        let fused = search(&client, &workspace, "scaling the catalogue", SearchMode::Hybrid).await.unwrap();
        assert!(fused.hits.iter().any(|h| h.dense_rank > 0 && h.lexical_rank > 0), "{:?}", fused.hits);
    }
    let request = SelectFilesRequest { workspace_id: workspace, request: "put an ingress on example.com".into(), limit: 3 };
    let files = client.embedding.clone().select_files(request).await.unwrap().into_inner().files;
    let paths: Vec<_> = files.iter().map(|f| f.path.as_str()).collect();
    assert!(["templates/ingress.yaml", "values.yaml"].iter().all(|path| paths.contains(path)), "{paths:?}");
    assert!(files.iter().all(|f| (f.parts.iter().map(|p| p.value).sum::<f64>() - f.score).abs() < 1e-9), "{files:?}");
}

#[tokio::test]
async fn what_was_embedded_once_is_not_embedded_again() {
    if !have_weights("what_was_embedded_once_is_not_embedded_again") {
        return;
    }
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, first) = story::workspace(&client, &story::small_chart()).await;
    let index = embedded(&client, &workspace, 1).await;
    assert!(index.chunk_count > 0 && index.mode() == SearchMode::Hybrid && index.dimensions == 384, "{index:?}");
    let changed = story::small_chart()[4].1.replace("Scaling", "Growing");
    commit(&client, &workspace, &first.id, vec![write("README.md", &changed)]).await.unwrap();
    let index = embedded(&client, &workspace, 2).await;
    assert!(index.embedded_count <= 2, "only the changed sections are new: {index:?}");
    let request = RestoreRevisionRequest { workspace_id: workspace.clone(), revision_id: first.id, ..Default::default() };
    client.files.clone().restore_revision(request).await.unwrap();
    let index = embedded(&client, &workspace, 3).await;
    assert_eq!(index.embedded_count, 0, "restored content is known: {index:?}");
}

#[tokio::test]
async fn without_weights_it_searches_by_words_and_says_so() {
    let empty = tempfile::tempdir().unwrap();
    let mut options = SuiteOptions::default();
    options.env.push(("SLIPWAY_EMBEDDING__MODEL_DIR".into(), empty.path().display().to_string()));
    let suite = suite_with(options).await;
    let client = suite.client().unwrap();
    let (workspace, _) = story::workspace(&client, &story::small_chart()).await;
    let index = indexed(&client, &workspace, 1).await;
    assert_eq!((index.mode(), index.model.as_str()), (SearchMode::Lexical, ""));
    assert!(index.mode_reason.contains("weights"), "{}", index.mode_reason);
    let found = search(&client, &workspace, "catalogue replicas", SearchMode::Unspecified).await.unwrap();
    assert_eq!((found.mode(), found.hits[0].path.as_str()), (SearchMode::Lexical, "values.yaml"));
    let request = EmbedTextsRequest { texts: vec!["x".into()] };
    refused(client.embedding.clone().embed_texts(request).await, Code::FailedPrecondition, "EMBEDDER_UNAVAILABLE");
}

#[tokio::test]
async fn a_reindex_tells_its_progress_and_a_deleted_workspace_is_forgotten() {
    let suite = suite().await;
    let client = suite.client().unwrap();
    let (workspace, _) = story::workspace(&client, &story::small_chart()).await;
    indexed(&client, &workspace, 1).await;
    let stream = client.embedding.clone().reindex(ReindexRequest { workspace_id: workspace.clone() }).await.unwrap().into_inner();
    let events = story::collect(stream, |r| r).await.unwrap();
    let last = events.last().unwrap();
    assert!(matches!(&last.event, Some(Event::Ready(index)) if index.revision_number == 1), "{last:?}");
    story::assert_dense(events.iter().map(|e| e.sequence), 1);

    client.files.clone().delete_workspace(DeleteWorkspaceRequest { workspace_id: workspace.clone() }).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while search(&client, &workspace, "replicas", SearchMode::Unspecified).await.is_ok() {
        assert!(Instant::now() < deadline, "the index outlives its workspace");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    refused(search(&client, &workspace, "replicas", SearchMode::Unspecified).await, Code::NotFound, "INDEX_NOT_FOUND");
}

#[tokio::test]
async fn an_index_survives_a_kill() {
    let mut suite = suite().await;
    let (workspace, first) = story::workspace(&suite.client().unwrap(), &story::small_chart()).await;
    indexed(&suite.client().unwrap(), &workspace, 1).await;
    commit(&suite.client().unwrap(), &workspace, &first.id, vec![write("NOTES.md", "the quokka\n")]).await.unwrap();
    suite.kill();
    suite.restart().await.unwrap();
    let client = suite.client().unwrap();
    indexed(&client, &workspace, 2).await;
    let found = search(&client, &workspace, "quokka", SearchMode::Lexical).await.unwrap();
    assert_eq!(found.hits[0].path, "NOTES.md");
    let found = search(&client, &workspace, "catalogue replicas", SearchMode::Lexical).await.unwrap();
    assert!(found.hits.iter().any(|h| h.path == "values.yaml"), "{:?}", found.hits);
}
