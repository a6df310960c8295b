//! Measurements, ignored by default; `tests/bench/search` runs those of searching and indexing.
#![allow(clippy::print_stdout, reason = "figures are for people")]

mod indexing;
mod search;

use super::*;
use crate::embedder::MiniLm;
use crate::model::chunk::{chunk, embedded_text};

/// The time within which the given share of the runs was done.
fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize]
}

fn noise(seed: usize) -> Vec<f32> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 16_777_216.0 - 0.5
    };
    let vector: Vec<f32> = (0..DIMENSIONS).map(|_| next()).collect();
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    vector.iter().map(|v| v / length).collect()
}

fn text(n: usize) -> String {
    const WORDS: [&str; 16] = [
        "gateway", "replicas", "ingress", "service", "port", "image", "tag", "memory", "limits", "probe", "label", "secret",
        "volume", "config", "host", "metrics",
    ];
    (0..30).map(|k| format!("{}{}: value{}\n", WORDS[(n + k * 7) % 16], (n * 31 + k) % 97, (n * 17 + k) % 1013)).collect()
}

#[test]
#[ignore = "a measurement"]
fn bench_model() {
    let Some(dir) = crate::testing::weights() else { return };
    let start = Instant::now();
    let model = MiniLm::load(&dir).unwrap();
    println!("model loaded in {:.2?}", start.elapsed());
    let queries: Vec<_> = (0..50).map(|n| format!("how many replicas of service {n} run behind the gateway")).collect();
    model.embed(&queries[..1]).unwrap();
    let mut times = Vec::new();
    for query in &queries {
        let start = Instant::now();
        model.embed(std::slice::from_ref(query)).unwrap();
        times.push(start.elapsed());
    }
    println!("one query: p50 {:.1?}", quantile(&mut times, 0.5));
    let mut texts = Vec::new();
    for (path, content) in chart() {
        texts.extend(chunk(path, content).into_iter().map(|c| embedded_text(path, &c.title, &c.text)));
    }
    let texts: Vec<String> = texts.iter().cycle().take(96).cloned().collect();
    let start = Instant::now();
    for batch in texts.chunks(16) {
        model.embed(batch).unwrap();
    }
    println!("chunks of a chart: {:.1} a second", texts.len() as f64 / start.elapsed().as_secs_f64());
    let long: Vec<_> = (0..16).map(|n| format!("number {n} {}", "replica ".repeat(198))).collect();
    let start = Instant::now();
    model.embed(&long).unwrap();
    println!("texts of 200 tokens: {:.1} a second", long.len() as f64 / start.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn bench_indexing_by_words() {
    let world = World::start(Model::None).await;
    let (p, w) = (project(1), Uuid::now_v7());
    let files: Vec<_> = (0..2_000).map(|n| (format!("d{}/f{n}.yaml", n % 50), text(n).repeat(4))).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let start = Instant::now();
    world.commit(p, w, &files).await;
    let index = world.ready(p, w, 1).await;
    let elapsed = start.elapsed();
    println!(
        "2,000 files, {} chunks searchable by words in {elapsed:.1?}: {:.0} chunks a second",
        index.chunk_count,
        index.chunk_count as f64 / elapsed.as_secs_f64()
    );
    let mut changed = files.clone();
    changed[7].1 = "replicas: 3";
    let start = Instant::now();
    world.commit(p, w, &changed).await;
    world.ready(p, w, 2).await;
    println!("one changed file of 2,000 searchable in {:.0?}", start.elapsed());
    world.stop().await;
}
