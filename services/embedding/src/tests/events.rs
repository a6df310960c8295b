//! Following the file store: what is embedded, what is not, and what is gone.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_found_by_words_without_a_model_and_the_index_says_why() {
    let world = World::start(Model::None).await;
    let (p, w) = (project(1), Uuid::now_v7());
    let start = Instant::now();
    world.commit(p, w, &chart()).await;
    let index = world.ready(p, w, 1).await;
    assert!(start.elapsed() < Duration::from_secs(2), "searchable after {:?}", start.elapsed());
    assert_eq!((index.mode(), index.model.as_str(), index.dimensions, index.embedded_count), (SearchMode::Lexical, "", 0, 0));
    let index = world.wait(p, w, |i| i.mode_reason.contains("make demo")).await;
    assert!(index.mode_reason.contains("model.safetensors"), "{}", index.mode_reason);
    assert_eq!(index.file_count, 6);

    let found = world.search(p, w, "gateway replicas").await.unwrap();
    assert_eq!(found.mode(), SearchMode::Lexical);
    assert_eq!(found.revision_id, index.revision_id);
    assert!(found.hits.iter().zip(1..).all(|(hit, rank)| hit.lexical_rank == rank && hit.dense_rank == 0));
    let hit = found.hits[..2].iter().find(|h| h.path == "values.yaml").unwrap();
    assert!(hit.title.starts_with("values gateway") && hit.text.contains("replicas: 2"));
    assert!(hit.start_line > 1 && hit.end_line >= hit.start_line);
    // What cannot be done without a model is done by words.
    let asked = SearchRequest {
        workspace_id: w.to_string(),
        query: "ingress".to_owned(),
        mode: SearchMode::Dense.into(),
        ..SearchRequest::default()
    };
    assert_eq!(world.search_with(p, asked).await.unwrap().mode(), SearchMode::Lexical);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_new_is_read_and_embedded_and_what_comes_back_is_known() {
    let embedder = Arc::new(CountingEmbedder::default());
    let world = World::start(Model::Counting(embedder.clone())).await;
    let (p, w) = (project(1), Uuid::now_v7());
    world.commit(p, w, &chart()).await;
    let first = world.hybrid(p, w, 1).await;
    assert_eq!(first.embedded_count, first.chunk_count);
    assert_eq!(embedder.texts.swap(0, Ordering::SeqCst) as u64, first.chunk_count);
    assert_eq!(world.files.take_reads(), 6);

    let changed = chart()[1].1.replace("replicas: 2", "replicas: 3");
    let mut files = chart();
    files[1].1 = &changed;
    world.commit(p, w, &files).await;
    let second = world.hybrid(p, w, 2).await;
    assert_eq!((second.embedded_count, second.chunk_count), (1, first.chunk_count));
    assert_eq!(embedder.texts.swap(0, Ordering::SeqCst), 1, "one chunk has changed");
    assert_eq!(world.files.take_reads(), 1, "one file has changed");
    let found = world.search(p, w, "gateway replicas").await.unwrap();
    assert_eq!(found.mode(), SearchMode::Hybrid);
    assert!(found.hits.iter().any(|h| h.text.contains("replicas: 3")));
    assert!(found.hits.iter().all(|h| !h.text.contains("replicas: 2")), "the old content is not found any more");

    embedder.texts.store(0, Ordering::SeqCst);
    world.commit(p, w, &chart()).await;
    let third = world.hybrid(p, w, 3).await;
    assert_eq!((third.embedded_count, embedder.texts.load(Ordering::SeqCst)), (0, 0), "restored content is known");
    assert!(world.search(p, w, "gateway replicas").await.unwrap().hits.iter().any(|h| h.text.contains("replicas: 2")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_again_or_late_change_nothing() {
    let world = World::start(Model::None).await;
    let (p, w) = (project(1), Uuid::now_v7());
    let first = world.files.commit(p, w, &[("a.md", "alpha")]);
    let second = world.files.commit(p, w, &[("a.md", "beta")]);
    world.bus.publish(&second).await.unwrap();
    world.ready(p, w, 2).await;
    let reads = world.files.take_reads();
    world.bus.publish(&first).await.unwrap();
    world.bus.publish(&second).await.unwrap();
    let index = world.index(p, w).await.unwrap();
    assert_eq!((index.state(), index.revision_number, reads, world.files.take_reads()), (IndexState::Ready, 2, 1, 0));
    assert!(world.search(p, w, "alpha").await.unwrap().hits.is_empty());
    let garbage = slipway_bus::Event { payload: "nonsense".into(), ..first };
    world.bus.publish(&garbage).await.unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_revisions_ends_at_the_newest() {
    let world = World::start(Model::Counting(Arc::default())).await;
    let (p, w) = (project(1), Uuid::now_v7());
    for n in 0..30 {
        world.commit(p, w, &[("a.md", &format!("text{n}")), ("b.md", "constant")]).await;
    }
    world.hybrid(p, w, 30).await;
    assert_eq!(paths(&world.search(p, w, "text29").await.unwrap())[0], "a.md");
    let asked = SearchRequest {
        workspace_id: w.to_string(),
        query: "text7".to_owned(),
        mode: SearchMode::Lexical.into(),
        ..SearchRequest::default()
    };
    assert!(world.search_with(p, asked).await.unwrap().hits.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_workspace_leaves_nothing() {
    let embedder = Arc::new(CountingEmbedder::default());
    let world = World::start(Model::Counting(embedder.clone())).await;
    let (p, w) = (project(1), Uuid::now_v7());
    world.commit(p, w, &chart()).await;
    world.hybrid(p, w, 1).await;
    let gone = world.files.delete(p, w);
    for _ in 0..2 {
        world.bus.publish(&gone).await.unwrap();
    }
    assert_eq!(world.index(p, w).await.unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(world.search(p, w, "gateway").await.unwrap_err().code(), tonic::Code::NotFound);
    // Made again under the same id, everything is new: the ledger has forgotten it too.
    embedder.texts.store(0, Ordering::SeqCst);
    world.commit(p, w, &chart()).await;
    let index = world.hybrid(p, w, 1).await;
    assert_eq!(embedder.texts.load(Ordering::SeqCst) as u64, index.chunk_count);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_workspace_that_is_gone_leaves_no_index() {
    let world = World::start(Model::None).await;
    let (p, w) = (project(1), Uuid::now_v7());
    let event = world.files.commit(p, w, &chart());
    world.files.delete(p, w);
    world.bus.publish(&event).await.unwrap();
    let start = Instant::now();
    while world.index(p, w).await.is_ok() {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_file_store_is_away_searches_answer_from_before() {
    let world = World::start(Model::None).await;
    let (p, w) = (project(1), Uuid::now_v7());
    world.commit(p, w, &[("a.md", "alpha")]).await;
    world.ready(p, w, 1).await;
    world.files.set_away(true);
    world.commit(p, w, &[("a.md", "beta")]).await;
    let index = world.index(p, w).await.unwrap();
    assert_eq!((index.state(), index.revision_number), (IndexState::Indexing, 1));
    assert_eq!(world.search(p, w, "alpha").await.unwrap().hits.len(), 1);
    world.files.set_away(false);
    world.ready(p, w, 2).await;
    assert_eq!(world.search(p, w, "beta").await.unwrap().hits.len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_and_a_lost_index_is_built_anew_from_the_ledger() {
    let world = World::start(Model::None).await;
    let (p, w) = (project(1), Uuid::now_v7());
    world.commit(p, w, &chart()).await;
    world.ready(p, w, 1).await;
    let (dir, files) = world.stop().await;

    // A model has come: what was indexed without it is filled in.
    let embedder = Arc::new(CountingEmbedder::default());
    let world = World::start_in(dir, files, Model::None).await;
    assert!(!world.search(p, w, "ingress").await.unwrap().hits.is_empty(), "there again without any work");
    let (dir, files) = world.stop().await;
    let world = World::start_in(dir, files, Model::Counting(embedder.clone())).await;
    world.commit(p, w, &chart()).await;
    let index = world.hybrid(p, w, 2).await;
    assert_eq!(embedder.texts.swap(0, Ordering::SeqCst) as u64, index.chunk_count);
    let (dir, files) = world.stop().await;

    std::fs::remove_dir_all(dir.path().join("index").join(&folders(&dir)[0])).unwrap();
    let world = World::start_in(dir, files, Model::Counting(embedder.clone())).await;
    world.hybrid(p, w, 2).await;
    assert_eq!(embedder.texts.load(Ordering::SeqCst), 0, "the ledger has the vectors");
    assert!(!world.search(p, w, "ingress").await.unwrap().hits.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_model_finds_by_meaning() {
    let Some(dir) = crate::testing::weights() else { return };
    let world = World::start(Model::Files(dir)).await;
    let (p, w) = (project(1), Uuid::now_v7());
    world.commit(p, w, &chart()).await;
    let index = world.hybrid(p, w, 1).await;
    assert_eq!((index.mode(), index.model.as_str(), index.dimensions), (SearchMode::Hybrid, "all-MiniLM-L6-v2", 384));
    let found = world.search(p, w, "reach the application from the internet through a domain name").await.unwrap();
    assert_eq!(found.mode(), SearchMode::Hybrid);
    assert!(
        found.hits[..3].iter().any(|h| h.title == "values ingress" || h.path == "templates/ingress.yaml"),
        "{:?}",
        paths(&found)
    );
    assert!(found.hits.iter().any(|h| h.dense_rank > 0));
    world.stop().await;
}
