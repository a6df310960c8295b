//! Tests of the engine in a directory of its own.

use std::sync::Arc;

use slipway_rpc::ProjectId;
use tempfile::TempDir;

use super::*;

fn tenant(project: u128, workspace: u128) -> Tenant {
    Tenant { project: ProjectId(Uuid::from_u128(project)), workspace: Uuid::from_u128(workspace) }
}

fn axis(n: usize) -> Vec<f32> {
    (0..DIMENSIONS).map(|d| if d == n { 1.0 } else { 0.01 }).collect()
}

fn point(tenant: Tenant, path: &str, text: &str, vector: Option<usize>) -> Point {
    Point {
        id: tenant.point_id(path, "blob", 0),
        path: path.to_owned(),
        blob: "blob".to_owned(),
        start_line: 1,
        end_line: 2,
        title: format!("title of {path}"),
        text: text.to_owned(),
        vector: vector.map(axis),
    }
}

fn open() -> (TempDir, EdgeIndex) {
    let dir = tempfile::tempdir().unwrap();
    let (index, fresh) = EdgeIndex::open(dir.path()).unwrap();
    assert!(fresh);
    index.confirm().unwrap();
    (dir, index)
}

fn words(text: &str) -> Query {
    Query { words: text.to_owned(), limit: 10, ..Query::default() }
}

fn paths(found: &[Found]) -> Vec<&str> {
    found.iter().map(|f| f.point.path.as_str()).collect()
}

#[test]
fn no_query_reaches_another_tenant() {
    let (_dir, index) = open();
    let tenants = [tenant(1, 1), tenant(1, 2), tenant(2, 1), tenant(2, 2)];
    for t in tenants {
        index.upsert(t, vec![point(t, "values.yaml", "gateway replicas secret", Some(1))]).unwrap();
    }
    for t in tenants {
        let own = t.point_id("values.yaml", "blob", 0);
        let queries = [
            words("gateway secret"),
            Query { vector: Some(Arc::new(axis(1))), limit: 100, ..Query::default() },
            Query { vector: Some(Arc::new(axis(1))), ..words("replicas") },
            Query { paths: Some(vec!["values.yaml".to_owned(), "*".to_owned()]), ..words("gateway") },
        ];
        for query in queries {
            let found = index.search(t, &query).unwrap();
            assert_eq!(found.iter().map(|f| f.point.id).collect::<Vec<_>>(), [own]);
        }
        assert_eq!(index.ids(t, false).unwrap(), [own]);
        // Ids of others are no way in either.
        let others: Vec<_> = tenants.iter().filter(|o| **o != t).map(|o| o.point_id("values.yaml", "blob", 0)).collect();
        assert!(index.points(t, &others).unwrap().is_empty());
        index.remove(t, others.clone()).unwrap();
        index.set_vectors(t, others.iter().map(|id| (*id, axis(7))).collect()).unwrap();
    }
    for t in tenants {
        let found = index.search(t, &Query { vector: Some(Arc::new(axis(7))), limit: 1, ..Query::default() }).unwrap();
        assert!(found[0].score < 0.5, "another tenant has changed the vector");
    }
    index.clear(tenants[0]).unwrap();
    assert!(index.ids(tenants[0], false).unwrap().is_empty());
    assert_eq!(index.ids(tenants[1], false).unwrap().len(), 1);
}

#[test]
fn both_rankings_are_fused_and_told() {
    let (_dir, index) = open();
    let t = tenant(1, 1);
    let points = vec![
        point(t, "both", "ingress for the gateway", Some(1)),
        point(t, "near", "something else entirely", Some(1)),
        point(t, "said", "ingress ingress ingress", Some(9)),
        point(t, "none", "unrelated", Some(20)),
    ];
    index.upsert(t, points).unwrap();
    let found = index.search(t, &Query { vector: Some(Arc::new(axis(1))), ..words("ingress gateway") }).unwrap();
    assert_eq!(found[0].point.path, "both");
    assert!(found[0].dense_rank > 0 && found[0].lexical_rank > 0);
    let by_path = |path| found.iter().find(|f| f.point.path == path).unwrap();
    assert_eq!(by_path("near").lexical_rank, 0);
    assert!(by_path("near").dense_rank <= 2);
    assert!(by_path("said").lexical_rank > 0);
    let lexical = index.search(t, &words("ingress gateway")).unwrap();
    assert_eq!(lexical.len(), 2);
    assert!(lexical.iter().all(|f| f.dense_rank == 0 && f.lexical_rank > 0));
}

#[test]
fn rare_words_weigh_more() {
    let (_dir, index) = open();
    let t = tenant(1, 1);
    let mut points: Vec<_> = (0..20).map(|n| point(t, &format!("common{n}"), "service port name", None)).collect();
    points.push(point(t, "rare", "service autoscaler", None));
    index.upsert(t, points).unwrap();
    assert_eq!(index.search(t, &words("service autoscaler")).unwrap()[0].point.path, "rare");
}

#[test]
fn points_wait_for_their_vectors() {
    let (_dir, index) = open();
    let t = tenant(1, 1);
    index.upsert(t, vec![point(t, "a", "alpha", None), point(t, "b", "beta", Some(3))]).unwrap();
    let waiting = index.ids(t, true).unwrap();
    assert_eq!(waiting, [t.point_id("a", "blob", 0)]);
    assert_eq!(index.points(t, &waiting).unwrap()[0].text, "alpha");
    let gone = t.point_id("gone", "blob", 0);
    index.set_vectors(t, vec![(waiting[0], axis(5)), (gone, axis(6))]).unwrap();
    assert!(index.ids(t, true).unwrap().is_empty());
    assert_eq!(index.ids(t, false).unwrap().len(), 2, "a vector must not make a point");
    let found = index.search(t, &Query { vector: Some(Arc::new(axis(5))), limit: 1, ..Query::default() }).unwrap();
    assert_eq!(paths(&found), ["a"]);
    assert_eq!(found[0].point.text, "alpha");
    assert_eq!(index.search(t, &words("alpha")).unwrap().len(), 1, "the words stay");
}

#[test]
fn paths_filter_in_the_engine() {
    let (_dir, index) = open();
    let t = tenant(1, 1);
    index.upsert(t, (0..30).map(|n| point(t, &format!("f{n}"), "common text", None)).collect()).unwrap();
    let found = index.search(t, &Query { paths: Some(vec!["f7".to_owned(), "f9".to_owned()]), ..words("common") }).unwrap();
    assert_eq!(paths(&found), ["f7", "f9"]);
}

#[test]
fn what_was_flushed_is_there_after_opening_again() {
    let (dir, index) = open();
    let t = tenant(1, 1);
    index.upsert(t, vec![point(t, "a", "alpha", Some(1))]).unwrap();
    index.flush().unwrap();
    drop(index);
    let (index, fresh) = EdgeIndex::open(dir.path()).unwrap();
    assert!(!fresh);
    assert_eq!(paths(&index.search(t, &words("alpha")).unwrap()), ["a"]);
    index.upsert(t, vec![point(t, "b", "alpha too", None)]).unwrap();
    assert_eq!(index.ids(t, false).unwrap().len(), 2);
}

#[test]
fn another_make_or_damage_begins_anew() {
    let (dir, index) = open();
    let t = tenant(1, 1);
    index.upsert(t, vec![point(t, "a", "alpha", None)]).unwrap();
    index.flush().unwrap();
    drop(index);
    std::fs::write(dir.path().join(STAMP), r#"{"format":0,"engine":"x","model":"y","dimensions":3}"#).unwrap();
    let (index, fresh) = EdgeIndex::open(dir.path()).unwrap();
    assert!(fresh && index.ids(t, false).unwrap().is_empty());
    drop(index);
    let (index, fresh) = EdgeIndex::open(dir.path()).unwrap();
    assert!(fresh, "not confirmed");
    index.confirm().unwrap();
    drop(index);
    std::fs::write(dir.path().join(SHARD).join("edge_config.json"), "not json").unwrap();
    for entry in std::fs::read_dir(dir.path().join(SHARD).join("segments")).unwrap().flatten() {
        std::fs::write(entry.path().join("segment.json"), "not json").unwrap();
    }
    let (index, fresh) = EdgeIndex::open(dir.path()).unwrap();
    assert!(fresh && index.ids(t, false).unwrap().is_empty());
}

#[test]
fn deleted_points_are_gone_after_optimizing_and_flushing() {
    let (_dir, index) = open();
    let t = tenant(1, 1);
    index.upsert(t, (0..2_000).map(|n| point(t, &format!("f{n}"), "common text", Some(n % 300))).collect()).unwrap();
    let ids: Vec<_> = (0..1_900).map(|n| t.point_id(&format!("f{n}"), "blob", 0)).collect();
    index.remove(t, ids).unwrap();
    index.flush().unwrap();
    index.optimize().unwrap();
    index.flush().unwrap();
    assert_eq!(index.ids(t, false).unwrap().len(), 100);
    assert_eq!(index.search(t, &Query { limit: 200, ..words("common") }).unwrap().len(), 100);
}

#[test]
fn writing_flushing_and_searching_go_on_while_optimizing() {
    let (dir, index) = open();
    let t = tenant(1, 1);
    index.upsert(t, (0..3_000).map(|n| point(t, &format!("f{n}"), "common text", Some(n % 300))).collect()).unwrap();
    index.remove(t, (0..2_000).map(|n| t.point_id(&format!("f{n}"), "blob", 0)).collect()).unwrap();
    index.flush().unwrap();
    std::thread::scope(|threads| {
        let optimizing = threads.spawn(|| (0..3).map(|_| index.optimize().unwrap()).collect::<Vec<_>>());
        for n in 0..40 {
            index.upsert(t, vec![point(t, &format!("new{n}"), "common text", None)]).unwrap();
            index.set_vectors(t, vec![(t.point_id(&format!("new{n}"), "blob", 0), axis(n))]).unwrap();
            index.remove(t, vec![t.point_id(&format!("f{}", 2_000 + n), "blob", 0)]).unwrap();
            index.flush().unwrap();
            assert_eq!(index.search(t, &words("common")).unwrap().len(), 10);
        }
        assert!(optimizing.join().unwrap()[0], "there was something to do");
    });
    let expected: HashSet<_> = (2_040..3_000)
        .map(|n| format!("f{n}"))
        .chain((0..40).map(|n| format!("new{n}")))
        .map(|p| t.point_id(&p, "blob", 0))
        .collect();
    let ids = |index: &EdgeIndex| index.ids(t, false).unwrap().into_iter().collect::<HashSet<_>>();
    assert_eq!(ids(&index), expected);
    assert!(index.ids(t, true).unwrap().is_empty());
    index.flush().unwrap();
    drop(index);
    let (index, fresh) = EdgeIndex::open(dir.path()).unwrap();
    assert!(!fresh);
    assert_eq!(ids(&index), expected);
}
