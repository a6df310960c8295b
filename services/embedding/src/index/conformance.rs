//! What every engine must do, whichever it is: one suite that all of them pass.

use std::collections::HashSet;
use std::sync::Arc;

use slipway_rpc::ProjectId;
use uuid::Uuid;

use super::{Found, Point, Query, Tenant, VectorIndex};
use crate::embedder::DIMENSIONS;

/// Runs everything on one engine, each part for tenants of its own.
pub(super) async fn all(engine: &dyn VectorIndex) {
    no_query_reaches_another_tenant(engine).await;
    both_rankings_are_fused_and_told(engine).await;
    rare_words_weigh_more(engine).await;
    points_wait_for_their_vectors(engine).await;
    paths_filter_in_the_engine(engine).await;
    ties_come_in_the_same_order(engine).await;
    many_points_are_listed_and_removed(engine).await;
    an_overtaken_build_undoes_nothing(engine).await;
    nothing_to_do_is_no_mistake(engine).await;
}

/// Another one for every part, and every run: an engine may hold what earlier ones left.
pub(super) fn tenant() -> Tenant {
    Tenant { project: ProjectId(Uuid::now_v7()), workspace: Uuid::now_v7() }
}

pub(super) fn axis(n: usize) -> Vec<f32> {
    (0..DIMENSIONS).map(|d| if d == n { 1.0 } else { 0.01 }).collect()
}

pub(super) fn point(tenant: Tenant, path: &str, text: &str, vector: Option<usize>) -> Point {
    Point {
        id: id(tenant, path),
        path: path.to_owned(),
        blob: "blob".to_owned(),
        start_line: 1,
        end_line: 2,
        title: format!("title of {path}"),
        text: text.to_owned(),
        vector: vector.map(axis),
    }
}

pub(super) fn id(tenant: Tenant, path: &str) -> Uuid {
    tenant.point_id(path, "blob", 0)
}

pub(super) fn words(text: &str) -> Query {
    Query { words: text.to_owned(), limit: 10, ..Query::default() }
}

fn near(axis_of: usize, limit: usize) -> Query {
    Query { vector: Some(Arc::new(axis(axis_of))), limit, ..Query::default() }
}

pub(super) fn paths(found: &[Found]) -> Vec<&str> {
    found.iter().map(|f| f.point.path.as_str()).collect()
}

async fn no_query_reaches_another_tenant(engine: &dyn VectorIndex) {
    let (one, other) = (tenant(), tenant());
    let crossed = |a: Tenant, b: Tenant| Tenant { project: a.project, workspace: b.workspace };
    let tenants = [one, crossed(one, other), crossed(other, one), other];
    for t in tenants {
        engine.upsert(t, 1, vec![point(t, "values.yaml", "gateway replicas secret", Some(1))]).await.unwrap();
    }
    for t in tenants {
        let own = id(t, "values.yaml");
        let queries = [
            words("gateway secret"),
            near(1, 100),
            Query { vector: Some(Arc::new(axis(1))), ..words("replicas") },
            Query { paths: Some(vec!["values.yaml".to_owned(), "*".to_owned()]), ..words("gateway") },
        ];
        for query in queries {
            let found = engine.search(t, query).await.unwrap();
            assert_eq!(found.iter().map(|f| f.point.id).collect::<Vec<_>>(), [own]);
        }
        assert_eq!(engine.ids(t, false).await.unwrap(), [own]);
        // Ids of others are no way in either.
        let others: Vec<_> = tenants.iter().filter(|o| **o != t).map(|o| id(*o, "values.yaml")).collect();
        assert!(engine.points(t, others.clone()).await.unwrap().is_empty());
        engine.remove(t, 9, others.clone()).await.unwrap();
        engine.set_vectors(t, others.iter().map(|id| (*id, axis(7))).collect()).await.unwrap();
    }
    for t in tenants {
        let found = engine.search(t, near(7, 1)).await.unwrap();
        assert!(found[0].score < 0.5, "another tenant has changed the vector");
    }
    engine.clear(tenants[0]).await.unwrap();
    assert!(engine.ids(tenants[0], false).await.unwrap().is_empty());
    assert_eq!(engine.ids(tenants[1], false).await.unwrap().len(), 1);
}

async fn both_rankings_are_fused_and_told(engine: &dyn VectorIndex) {
    let t = tenant();
    let points = vec![
        point(t, "both", "ingress for the gateway", Some(1)),
        point(t, "near", "something else entirely", Some(1)),
        point(t, "said", "ingress ingress ingress", Some(9)),
        point(t, "none", "unrelated", Some(20)),
    ];
    engine.upsert(t, 1, points).await.unwrap();
    let found = engine.search(t, Query { vector: Some(Arc::new(axis(1))), ..words("ingress gateway") }).await.unwrap();
    assert_eq!(found[0].point.path, "both");
    assert!(found[0].dense_rank > 0 && found[0].lexical_rank > 0);
    let by_path = |path| found.iter().find(|f| f.point.path == path).unwrap();
    assert_eq!(by_path("near").lexical_rank, 0);
    assert!(by_path("near").dense_rank <= 2);
    assert!(by_path("said").lexical_rank > 0);
    assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score), "the best first");
    let lexical = engine.search(t, words("ingress gateway")).await.unwrap();
    assert_eq!(lexical.len(), 2);
    assert!(lexical.iter().zip(1..).all(|(f, rank)| f.dense_rank == 0 && f.lexical_rank == rank));
    let dense = engine.search(t, near(9, 2)).await.unwrap();
    assert_eq!((dense[0].point.path.as_str(), dense[0].dense_rank, dense[0].lexical_rank), ("said", 1, 0));
    assert!((0.99..1.01).contains(&dense[0].score), "the cosine: {}", dense[0].score);
    // A chunk comes back as it went, but for its vector.
    assert_eq!(found[0].point, Point { vector: None, ..point(t, "both", "ingress for the gateway", None) });
}

async fn rare_words_weigh_more(engine: &dyn VectorIndex) {
    let t = tenant();
    let mut points: Vec<_> = (0..20).map(|n| point(t, &format!("common{n}"), "service port name", None)).collect();
    points.push(point(t, "rare", "service autoscaler", None));
    engine.upsert(t, 1, points).await.unwrap();
    assert_eq!(engine.search(t, words("service autoscaler")).await.unwrap()[0].point.path, "rare");
}

async fn points_wait_for_their_vectors(engine: &dyn VectorIndex) {
    let t = tenant();
    engine.upsert(t, 1, vec![point(t, "a", "alpha", None), point(t, "b", "beta", Some(3))]).await.unwrap();
    let waiting = engine.ids(t, true).await.unwrap();
    assert_eq!(waiting, [id(t, "a")]);
    assert_eq!(engine.points(t, waiting.clone()).await.unwrap()[0].text, "alpha");
    let gone = id(t, "gone");
    engine.set_vectors(t, vec![(waiting[0], axis(5)), (gone, axis(6))]).await.unwrap();
    assert!(engine.ids(t, true).await.unwrap().is_empty());
    assert_eq!(engine.ids(t, false).await.unwrap().len(), 2, "a vector must not make a point");
    let found = engine.search(t, near(5, 1)).await.unwrap();
    assert_eq!(paths(&found), ["a"]);
    assert_eq!(found[0].point.text, "alpha");
    assert_eq!(engine.search(t, words("alpha")).await.unwrap().len(), 1, "the words stay");
}

async fn paths_filter_in_the_engine(engine: &dyn VectorIndex) {
    let t = tenant();
    engine.upsert(t, 1, (0..30).map(|n| point(t, &format!("f{n}"), "common text", Some(n))).collect()).await.unwrap();
    let only = Some(vec!["f7".to_owned(), "f9".to_owned()]);
    let found = engine.search(t, Query { paths: only.clone(), ..words("common") }).await.unwrap();
    assert_eq!(paths(&found), ["f7", "f9"]);
    let hybrid = Query { paths: only, vector: Some(Arc::new(axis(1))), ..words("common") };
    let found = engine.search(t, hybrid).await.unwrap();
    assert_eq!(paths(&found).into_iter().collect::<HashSet<_>>(), HashSet::from(["f7", "f9"]));
}

async fn ties_come_in_the_same_order(engine: &dyn VectorIndex) {
    let t = tenant();
    for n in [3, 1, 8, 0, 5] {
        engine.upsert(t, 1, vec![point(t, &format!("f{n}"), "equal words", Some(4))]).await.unwrap();
    }
    let expected = ["f0", "f1", "f3", "f5", "f8"];
    for _ in 0..3 {
        assert_eq!(paths(&engine.search(t, words("equal")).await.unwrap()), expected);
        assert_eq!(paths(&engine.search(t, near(4, 10)).await.unwrap()), expected);
    }
}

async fn many_points_are_listed_and_removed(engine: &dyn VectorIndex) {
    let t = tenant();
    let points: Vec<_> = (0..4_500).map(|n| point(t, &format!("f{n}"), "common text", (n < 300).then_some(n))).collect();
    let all: HashSet<Uuid> = points.iter().map(|p| p.id).collect();
    engine.upsert(t, 1, points).await.unwrap();
    engine.flush().await.unwrap();
    let listed = engine.ids(t, false).await.unwrap();
    assert_eq!((listed.len(), listed.iter().copied().collect::<HashSet<_>>()), (all.len(), all.clone()), "each one once");
    let without = engine.ids(t, true).await.unwrap();
    assert_eq!(without.len(), 4_200);
    let read = engine.points(t, without.clone()).await.unwrap();
    assert_eq!(read.iter().map(|p| p.id).collect::<HashSet<_>>(), without.iter().copied().collect());
    engine.set_vectors(t, without[..1_000].iter().map(|id| (*id, axis(9))).collect()).await.unwrap();
    assert_eq!(engine.ids(t, true).await.unwrap().len(), 3_200);
    engine.remove(t, 1, (100..4_500).map(|n| id(t, &format!("f{n}"))).collect()).await.unwrap();
    engine.flush().await.unwrap();
    engine.optimize().await.unwrap();
    engine.flush().await.unwrap();
    assert_eq!(engine.ids(t, false).await.unwrap().len(), 100);
    assert_eq!(engine.search(t, Query { limit: 200, ..words("common") }).await.unwrap().len(), 100);
    engine.clear(t).await.unwrap();
    assert!(engine.ids(t, false).await.unwrap().is_empty());
}

async fn an_overtaken_build_undoes_nothing(engine: &dyn VectorIndex) {
    let t = tenant();
    engine.upsert(t, 5, vec![point(t, "a", "of five", Some(1)), point(t, "b", "of five", Some(2))]).await.unwrap();
    // Build 4 wakes up: what it would write is older than what is there, what it would remove is not its own.
    engine.upsert(t, 4, vec![point(t, "a", "of four", None), point(t, "c", "of four", None)]).await.unwrap();
    engine.remove(t, 4, vec![id(t, "a"), id(t, "b")]).await.unwrap();
    let read = engine.points(t, vec![id(t, "a"), id(t, "b"), id(t, "c")]).await.unwrap();
    let texts: HashSet<_> = read.into_iter().map(|p| (p.path, p.text)).collect();
    let expected = [("a", "of five"), ("b", "of five"), ("c", "of four")].map(|(path, text)| (path.to_owned(), text.to_owned()));
    assert_eq!(texts, HashSet::from(expected));
    assert_eq!(engine.ids(t, true).await.unwrap(), [id(t, "c")], "the vectors stay");
    // Build 6 is newer than all of it.
    engine.upsert(t, 6, vec![point(t, "a", "of six", None)]).await.unwrap();
    engine.remove(t, 6, vec![id(t, "b"), id(t, "c")]).await.unwrap();
    let left = engine.points(t, engine.ids(t, false).await.unwrap()).await.unwrap();
    assert_eq!(left, [point(t, "a", "of six", None)]);
    assert_eq!(engine.ids(t, true).await.unwrap(), [id(t, "a")], "replaced as a whole");
}

async fn nothing_to_do_is_no_mistake(engine: &dyn VectorIndex) {
    let t = tenant();
    engine.upsert(t, 1, Vec::new()).await.unwrap();
    engine.set_vectors(t, Vec::new()).await.unwrap();
    engine.remove(t, 1, Vec::new()).await.unwrap();
    engine.clear(t).await.unwrap();
    assert!(engine.ids(t, false).await.unwrap().is_empty());
    assert!(engine.points(t, Vec::new()).await.unwrap().is_empty());
    assert!(engine.search(t, words("anything")).await.unwrap().is_empty());
    assert!(engine.search(t, words("of the ?!")).await.unwrap().is_empty(), "no word that counts");
    engine.flush().await.unwrap();
}
