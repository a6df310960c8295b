//! The engine on a server: on a stand-in over the wire, always; on a real one when `SLIPWAY_TEST_QDRANT_URL` names it
//! (with `SLIPWAY_TEST_QDRANT_KEY`, if it has a key).

mod stand_in;

use std::collections::HashSet;

use slipway_testkit::tools::skipped;
use uuid::Uuid;

use super::*;
use crate::index::FORMAT;
use crate::index::conformance::{self, id, paths, point, tenant, words};
use crate::settings::Qdrant;
pub(crate) use stand_in::StandIn;

async fn open(settings: &Qdrant) -> QdrantIndex {
    let server = Server::new(settings).unwrap();
    server.create().await.unwrap();
    let engine = server.current().unwrap();
    engine.take_over().await.unwrap();
    engine
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_wire_it_does_what_every_engine_does() {
    let stand_in = StandIn::start().await;
    let engine = open(&stand_in.settings()).await;
    conformance::all(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_does_what_every_engine_does() {
    let Some(settings) = real() else { return };
    let engine = open(&settings).await;
    conformance::all(&engine).await;
    re_indexing_changes_engines_behind_the_alias(&settings).await;
}

/// A collection of its own on the server that the environment names.
fn real() -> Option<Qdrant> {
    let Ok(url) = std::env::var("SLIPWAY_TEST_QDRANT_URL") else {
        skipped("qdrant", "SLIPWAY_TEST_QDRANT_URL names no Qdrant server");
        return None;
    };
    let api_key = std::env::var("SLIPWAY_TEST_QDRANT_KEY").unwrap_or_default().into();
    Some(Qdrant { url, api_key, collection: format!("slipway-test-{}", Uuid::now_v7().simple()) })
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_wire_re_indexing_changes_engines_behind_the_alias() {
    let stand_in = StandIn::start().await;
    let settings = stand_in.settings();
    open(&settings).await;
    re_indexing_changes_engines_behind_the_alias(&settings).await;
    let (collections, aliases) = stand_in.names();
    let newest = format!("slipway_all-MiniLM-L6-v2_384_v{}", FORMAT + 1);
    assert_eq!(collections, [newest.as_str()], "the old one is dropped");
    assert_eq!(aliases, [("slipway".to_owned(), newest)].into());
}

/// From the format of today to the next one.
async fn re_indexing_changes_engines_behind_the_alias(settings: &Qdrant) {
    let (old, new) = (Server::new(settings).unwrap(), Server::with_format(settings, FORMAT + 1).unwrap());
    let t = tenant();
    let before = old.current().unwrap();
    before.upsert(t, 1, vec![point(t, "a", "gateway of old", Some(1))]).await.unwrap();

    assert_eq!((new.is_there().await.unwrap(), new.served().await.unwrap().as_deref()), (false, Some(before.name())));
    for _ in 0..2 {
        new.create().await.unwrap();
    }
    let (current, previous) = (new.current().unwrap(), new.other(before.name()).await.unwrap().unwrap());
    assert_eq!(previous.name(), before.name());
    assert!(new.other("somebody-else").await.unwrap().is_none() && new.other(&before.name()[1..]).await.unwrap().is_none());
    current.upsert(t, 2, vec![point(t, "b", "gateway of new", Some(1))]).await.unwrap();
    for _ in 0..2 {
        current.take_over().await.unwrap();
        assert_eq!(new.served().await.unwrap().as_deref(), Some(current.name()));
        assert_eq!(paths(&previous.search(t, words("gateway")).await.unwrap()), ["a"], "by its own name");
        assert_eq!(current.ids(t, false).await.unwrap(), [id(t, "b")]);
    }
    for _ in 0..2 {
        previous.destroy().await.unwrap();
    }
    assert!(matches!(before.ids(t, false).await, Err(IndexError::Missing(_))), "the old collection is gone");
    assert!(new.other(before.name()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_reach_what_is_there_while_points_go() {
    let stand_in = StandIn::start().await;
    let engine = open(&stand_in.settings()).await;
    let t = tenant();
    let name = |n: usize| format!("f{n}");
    engine.upsert(t, 1, (0..600).map(|n| point(t, &name(n), "text", None)).collect()).await.unwrap();
    let vectors = (0..600).map(|n| (id(t, &name(n)), conformance::axis(n % 300))).collect();
    let (set, removed) = tokio::join!(
        engine.set_vectors(t, vectors),
        engine.remove(t, 1, (0..600).filter(|n| n % 3 == 0).map(|n| id(t, &name(n))).collect())
    );
    removed.unwrap();
    set.unwrap();
    let left: HashSet<_> = engine.ids(t, false).await.unwrap().into_iter().collect();
    assert_eq!(left, (0..600).filter(|n| n % 3 != 0).map(|n| id(t, &name(n))).collect());
    assert!(engine.ids(t, true).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hybrid_search_is_one_call() {
    let stand_in = StandIn::start().await;
    let engine = open(&stand_in.settings()).await;
    let t = tenant();
    engine.upsert(t, 1, vec![point(t, "a", "gateway", Some(1))]).await.unwrap();
    stand_in.held().calls.clear();
    let hybrid = Query { vector: Some(std::sync::Arc::new(conformance::axis(1))), ..words("gateway") };
    assert_eq!(engine.search(t, hybrid).await.unwrap().len(), 1);
    assert_eq!(stand_in.held().calls, [("query_batch", 1)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_says_whether_to_come_again() {
    let stand_in = StandIn::start().await;
    let settings = stand_in.settings();
    let engine = open(&settings).await;
    let t = tenant();
    stand_in.held().away = true;
    assert!(matches!(engine.search(t, words("gateway")).await, Err(IndexError::Unavailable(_))));
    stand_in.held().away = false;
    engine.search(t, words("gateway")).await.unwrap();

    let other_key = Server::new(&Qdrant { api_key: "another".into(), ..settings.clone() }).unwrap();
    let refused = other_key.served().await.unwrap_err();
    assert!(matches!(&refused, IndexError::Engine(why) if why.contains("embedding.qdrant.api_key")), "{refused}");
    assert!(!format!("{refused:?}").contains("another"));

    drop(stand_in);
    let nobody = Server::new(&Qdrant { url: "http://127.0.0.1:1".to_owned(), ..settings }).unwrap();
    assert!(matches!(nobody.served().await, Err(IndexError::Unavailable(_))));
}
