//! Searches in one workspace of many chunks: how long they take, and how many of the truly nearest they find.
//!
//! The vectors are no embeddings, which would take hours to make, and no plain noise either, in which nothing is near anything.
//! They lie in clusters, like those of texts of a kind: a chunk's has a cosine of about .7 with the others of its fifty, and of
//! about 0 with all the rest. So the ten nearest are a matter of the differences within a cluster.

use super::*;
use crate::embedder::Space;
use crate::index::{DirLock, EdgeIndex, Point, Query, Server, Tenant, VectorIndex};
use crate::settings::Qdrant;

const CLUSTER: usize = 50;
/// How far the members of a cluster are from its centre, which is at 1.
const SPREAD: f32 = 0.65;
const QUERIES: usize = 100;
const NEAREST: usize = 10;
/// Of the nearest, in the share of queries' answers that must be there.
const LEAST_RECALL: f64 = 0.98;
const BATCH: usize = 1_000;

/// The vector of a chunk, or, beyond all chunks, of a query.
fn vector(n: usize, clusters: usize) -> Vec<f32> {
    // Far from the seeds of the members.
    let centre = noise((1 << 40) + n % clusters);
    let own = noise(n);
    let vector: Vec<f32> = centre.iter().zip(&own).map(|(centre, own)| centre + SPREAD * own).collect();
    let length = dot(&vector, &vector).sqrt();
    vector.iter().map(|v| v / length).collect()
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// The nearest by looking at all: kept up while chunks are made.
struct Exact {
    queries: Vec<Vec<f32>>,
    nearest: Vec<Vec<(f32, Uuid)>>,
}

impl Exact {
    fn see(&mut self, id: Uuid, vector: &[f32]) {
        for (query, nearest) in self.queries.iter().zip(&mut self.nearest) {
            let score = dot(query, vector);
            if nearest.len() < NEAREST || score > nearest[NEAREST - 1].0 {
                nearest.push((score, id));
                nearest.sort_by(|a, b| b.0.total_cmp(&a.0));
                nearest.truncate(NEAREST);
            }
        }
    }
}

fn point(tenant: Tenant, n: usize, vector: Vec<f32>) -> Point {
    let path = format!("d{}/f{n}.yaml", n % 1_000);
    Point {
        id: tenant.point_id(&path, "b", 0),
        path,
        blob: "b".to_owned(),
        start_line: 1,
        end_line: 30,
        title: String::new(),
        text: text(n),
        vector: Some(vector),
    }
}

/// How long searches take, and the share of the nearest that those by meaning find.
async fn measure(label: &str, engine: &dyn VectorIndex, tenant: Tenant, exact: &Exact) -> f64 {
    let mut recall = 0.0;
    for (mode, dense, lexical) in [("meaning", true, false), ("words", false, true), ("both", true, true)] {
        let (mut times, mut right) = (Vec::new(), 0);
        for (n, (vector, nearest)) in exact.queries.iter().zip(&exact.nearest).enumerate() {
            let query = Query {
                words: if lexical { format!("gateway{} replicas value{}", n % 97, n * 5 % 1_013) } else { String::new() },
                vector: dense.then(|| Arc::new(vector.clone())),
                limit: NEAREST,
                ..Query::default()
            };
            let start = Instant::now();
            let found = engine.search(tenant, query).await.unwrap();
            times.push(start.elapsed());
            assert_eq!(found.len(), NEAREST);
            right += found.iter().filter(|found| nearest.iter().any(|(_, id)| *id == found.point.id)).count();
        }
        let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
        print!("{label:>34}, by {mode:<8} p50 {p50:>9.2?}  p99 {p99:>9.2?}");
        if dense && !lexical {
            recall = right as f64 / (QUERIES * NEAREST) as f64;
            print!("  recall@{NEAREST} {recall:.3}");
        }
        println!();
    }
    recall
}

async fn fill(engine: &dyn VectorIndex, tenant: Tenant, chunks: usize) -> Exact {
    let clusters = (chunks / CLUSTER).max(1);
    let queries: Vec<_> = (0..QUERIES).map(|n| vector(chunks + n * 7_919, clusters)).collect();
    let mut exact = Exact { nearest: vec![Vec::new(); queries.len()], queries };
    let mut writing = Duration::ZERO;
    for from in (0..chunks).step_by(BATCH) {
        let points: Vec<_> = (from..chunks.min(from + BATCH)).map(|n| point(tenant, n, vector(n, clusters))).collect();
        for point in &points {
            exact.see(point.id, point.vector.as_ref().unwrap());
        }
        let start = Instant::now();
        engine.upsert(tenant, 1, points).await.unwrap();
        writing += start.elapsed();
    }
    println!(
        "{chunks} chunks, {}: written in {writing:.1?} ({:.0} a second)",
        engine.name(),
        chunks as f64 / writing.as_secs_f64()
    );
    exact
}

fn sizes() -> Vec<usize> {
    let sizes = std::env::var("SLIPWAY_BENCH_CHUNKS").unwrap_or_else(|_| "10000 100000 1000000".to_owned());
    sizes.split_whitespace().map(|size| size.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn bench_search_embedded() {
    for chunks in sizes() {
        let dir = tempfile::tempdir().unwrap();
        let (index, _) = EdgeIndex::open(dir.path(), DirLock::take(dir.path()).unwrap(), &Space::default()).unwrap();
        let tenant = Tenant { project: project(1), workspace: Uuid::from_u128(1) };
        let exact = fill(&index, tenant, chunks).await;
        index.flush().await.unwrap();
        measure("every vector is looked at", &index, tenant, &exact).await;
        let start = Instant::now();
        while index.optimize().await.unwrap() {}
        println!("{:>34} in {:.1?}", "rearranged", start.elapsed());
        let recall = measure("as it stays", &index, tenant, &exact).await;
        assert!(recall >= LEAST_RECALL, "only {recall} of the nearest are found");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn bench_search_on_a_server() {
    let Ok(url) = std::env::var("SLIPWAY_TEST_QDRANT_URL") else {
        slipway_testkit::tools::skipped("qdrant", "SLIPWAY_TEST_QDRANT_URL names no Qdrant server");
        return;
    };
    let api_key = std::env::var("SLIPWAY_TEST_QDRANT_KEY").unwrap_or_default();
    for chunks in sizes() {
        let collection = format!("slipway-bench-{}", Uuid::now_v7().simple());
        let server = Server::new(&Qdrant { url: url.clone(), api_key: api_key.clone().into(), collection }).unwrap();
        server.create().await.unwrap();
        let engine = server.current().unwrap();
        let tenant = Tenant { project: project(1), workspace: Uuid::from_u128(1) };
        let exact = fill(&engine, tenant, chunks).await;
        // The server builds its graphs by itself, whenever it likes.
        let recall = measure("as it is", &engine, tenant, &exact).await;
        engine.clear(tenant).await.unwrap();
        assert!(recall >= LEAST_RECALL, "only {recall} of the nearest are found");
    }
}
