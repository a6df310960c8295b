//! Vectors from a provider: what fails there leaves search by words, and other models are other indexes.

use super::*;
use crate::embedder::{Remote, Space};
use crate::index::{DirLock, EdgeIndex, Server, StandIn, VectorIndex as _};
use crate::settings::{EmbedderKind, EmbedderSettings};

fn nobody() -> EmbedderSettings {
    EmbedderSettings {
        kind: EmbedderKind::Ollama,
        model: "m".to_owned(),
        base_url: "http://127.0.0.1:1".to_owned(),
        dimensions: 8,
        ..EmbedderSettings::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_leaves_search_by_words_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let url = slipway_testkit::postgres::store_url(dir.path(), "embedding").await.unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let parts = Parts { embedder: Some(Arc::new(Remote::new(nobody()).unwrap())), ..Parts::default() };
    let world = World::start_with(dir, &url, FileStore::default(), Model::None, parts).await;
    let (p, w) = (project(1), Uuid::now_v7());
    world.commit(p, w, &chart()).await;
    world.ready(p, w, 1).await;
    let index = world.wait(p, w, |index| index.mode_reason.contains("cannot be reached")).await;
    assert_eq!((index.mode(), index.state()), (SearchMode::Lexical, IndexState::Ready));
    let found = world.search(p, w, "gateway replicas").await.unwrap();
    assert!(paths(&found).contains(&"values.yaml"));
    assert_eq!(found.mode(), SearchMode::Lexical);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_cannot_be_embedded_is_searched_by_words() {
    let embedder = Arc::new(CountingEmbedder::default());
    let world = World::start(Model::Counting(embedder.clone())).await;
    let (p, w) = (project(1), Uuid::now_v7());
    world.commit(p, w, &chart()).await;
    world.hybrid(p, w, 1).await;
    embedder.failing.store(true, Ordering::SeqCst);
    for query in ["gateway replicas", "ingress"] {
        let found = world.search(p, w, query).await.unwrap();
        assert_eq!((found.mode(), found.hits.is_empty()), (SearchMode::Lexical, false));
    }
    let index = world.index(p, w).await.unwrap();
    assert!(index.mode_reason.contains("out of order"), "{}", index.mode_reason);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_or_length_is_another_index() {
    let (one, other) = (nobody().space(), EmbedderSettings { dimensions: 16, ..nobody() }.space());
    let dir = tempfile::tempdir().unwrap();
    let open = |space: &Space| EdgeIndex::open(dir.path(), DirLock::take(dir.path()).unwrap(), space).unwrap();
    for (space, anew) in [(&one, true), (&one, false), (&other, true), (&Space::default(), true), (&other, false), (&one, false)]
    {
        let (index, begun_anew) = open(space);
        assert_eq!(begun_anew, anew, "{space:?}");
        index.confirm().unwrap();
        index.close().await;
    }
    let stand_in = StandIn::start().await;
    for space in [&one, &other] {
        let server = Server::of(&stand_in.settings(), space).unwrap();
        server.create().await.unwrap();
    }
    let (names, _) = stand_in.names();
    assert!(names.len() == 2 && names[0] != names[1] && names.iter().all(|n| n.starts_with("slipway_ollama-m-")), "{names:?}");
    stand_in.lose();
}
