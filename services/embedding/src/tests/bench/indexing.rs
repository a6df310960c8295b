//! How many files and tokens the service indexes a second, from the event to searchable by meaning.

use std::path::Path;

use tokenizers::{Tokenizer, TruncationParams};

use super::*;

/// What the model reads of a chunk.
const MAX_TOKENS: usize = 256;

/// The text files below a directory, with their paths in it.
fn texts_below(root: &Path) -> Vec<(String, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if let Ok(text) = std::fs::read_to_string(entry.path()) {
                found.push((entry.path().strip_prefix(root).unwrap().display().to_string(), text));
            }
        }
    }
    found.sort();
    found
}

/// Of `SLIPWAY_BENCH_TREE`; how many cores there are is for the caller to say, with `taskset`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn bench_indexing_a_tree() {
    let Some(model) = crate::testing::weights() else { return };
    let files = texts_below(Path::new(&std::env::var("SLIPWAY_BENCH_TREE").expect("SLIPWAY_BENCH_TREE names a directory")));
    let mut tokenizer = Tokenizer::from_file(model.join("tokenizer.json")).unwrap();
    tokenizer.with_truncation(Some(TruncationParams { max_length: MAX_TOKENS, ..Default::default() })).unwrap();
    let mut tokens = 0;
    for (path, content) in &files {
        for part in chunk(path, content) {
            let text = embedded_text(path, &part.title, &part.text);
            let read = tokenizer.encode(text, true).unwrap();
            tokens += read.get_attention_mask().iter().filter(|mask| **mask == 1).count();
        }
    }
    let world = World::start(Model::Files(model)).await;
    let (p, w) = (project(1), Uuid::now_v7());
    // The model is loaded before the clock starts.
    world.commit(p, w, &[("warm.txt", "up")]).await;
    world.hybrid(p, w, 1).await;
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let began = Instant::now();
    world.commit(p, w, &files).await;
    world.ready(p, w, 2).await;
    let by_words = began.elapsed().as_secs_f64();
    let index = world.hybrid(p, w, 2).await;
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} cores: {} files, {} chunks, {tokens} tokens: by words after {by_words:.2} s, by meaning after {seconds:.1} s: \
         {:.1} files, {:.1} chunks, {:.0} tokens a second",
        std::thread::available_parallelism().unwrap(),
        files.len(),
        index.chunk_count,
        files.len() as f64 / seconds,
        index.chunk_count as f64 / seconds,
        tokens as f64 / seconds,
    );
    world.stop().await;
}
