//! `slipway eval retrieval`: mines a Git history for requests with known answers, and measures how well the live ranking finds
//! them; `slipway eval weights` learns from them. Everything happens in this process.

mod baseline;
mod fit;
mod history;
mod learn;
mod metrics;
mod query;
mod report;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use slipway_embedding::evaluation::{By, Choice, Evaluation, File, MAX_FILE_BYTES};

use crate::args::{Eval, Retrieval};
use crate::error::Failure;
use crate::output::{Out, Spinner};
use history::{History, Sample};
use metrics::{Metrics, ranks};
use report::{Report, Row};

/// What is kept of files for the baseline, by blob.
const WORDS_KEPT: usize = 20_000;

/// Files that most changes of a package touch: a change of nothing else is told from its like by its kind alone.
const ROUTINE: [&str; 10] = [
    "Chart.yaml",
    "Chart.lock",
    "requirements.yaml",
    "requirements.lock",
    "values.yaml",
    "values.schema.json",
    "README.md",
    "README.md.gotmpl",
    "CHANGELOG.md",
    "package-lock.json",
];

/// The parts of a score, and what the ranking is called without one.
const PARTS: [(&str, &str); 4] =
    [("kind", "without kind"), ("request", "without request"), ("text", "without text"), ("path", "without path")];

/// What searches are called, in the order of [`By::ALL`].
const SEARCHES: [&str; 3] = ["search by words", "search by meaning", "search by both"];

/// How one sample was ranked.
struct Outcome {
    live: Vec<Option<usize>>,
    baseline: Vec<Option<usize>>,
    /// By the parts, in their order: the live ranking without it.
    without: Vec<Vec<Option<usize>>>,
    /// What Search finds, in the order of [`SEARCHES`]; empty when it was not asked.
    searched: Vec<Vec<Option<usize>>>,
    elapsed: Duration,
    files: usize,
    routine: bool,
}

/// Runs a self-test.
pub(crate) async fn eval(out: &Out, command: Eval) -> anyhow::Result<()> {
    match command {
        Eval::Retrieval(asked) => retrieval(asked).await?.print(out),
        Eval::Weights(asked) => learn::weights(out, asked).await,
    }
}

async fn retrieval(asked: Retrieval) -> anyhow::Result<Report> {
    let spinner = Spinner::start("reading the history");
    let history = Arc::new(History::open(&asked.git)?);
    let samples = {
        let (history, revision, path) = (history.clone(), asked.revision.clone(), asked.path.clone());
        let (seed, count) = (asked.seed, asked.samples as usize);
        tokio::task::spawn_blocking(move || history.sample(&revision, &path, seed, count)).await??
    };
    if samples.is_empty() {
        return Err(Failure::usage("no commit there modifies one to ten files of one package and nothing else").into());
    }
    let dir = tempfile::tempdir()?;
    let mut evaluation = Evaluation::start(dir.path()).await.map_err(anyhow::Error::from_boxed)?;
    if asked.search {
        evaluation = evaluation.with_meanings(None).await.map_err(anyhow::Error::from_boxed)?;
    }
    let mut words = HashMap::new();
    let mut outcomes = Vec::new();
    for (done, sample) in samples.iter().enumerate() {
        spinner.say(format!("{} of {}: {}", done + 1, samples.len(), sample.package));
        if words.len() > WORDS_KEPT {
            words.clear();
        }
        outcomes.push(
            measure(&mut evaluation, &history, sample, &mut words, asked.search).await.with_context(|| sample.commit.clone())?,
        );
    }
    drop(spinner);
    Ok(summary(&asked, &outcomes))
}

/// Brings the index to the state before the commit, and asks for its files.
async fn measure(
    evaluation: &mut Evaluation,
    history: &Arc<History>,
    sample: &Sample,
    words: &mut HashMap<String, baseline::Words>,
    search: bool,
) -> anyhow::Result<Outcome> {
    let files = history.files(sample)?;
    let mut read = |new: &[&File]| {
        let blobs: Vec<&str> = new.iter().map(|f| f.blob.as_str()).collect();
        let contents = history.read(&blobs, MAX_FILE_BYTES)?;
        Ok(contents)
    };
    evaluation.bring(&sample.package, &files, &mut read).await.map_err(anyhow::Error::from_boxed)?;
    let started = Instant::now();
    let chosen = evaluation.choose(&sample.package, &sample.request, files.len()).await.map_err(anyhow::Error::from_boxed)?;
    let elapsed = started.elapsed();
    let without = PARTS.iter().map(|(part, _)| ranks(&ranked_without(&chosen, part), &sample.truth)).collect();
    let mut searched = Vec::new();
    for by in By::ALL.into_iter().filter(|_| search) {
        let found = evaluation.search(&sample.package, &sample.request, by).await.map_err(anyhow::Error::from_boxed)?;
        searched.push(ranks(&found.iter().map(String::as_str).collect::<Vec<_>>(), &sample.truth));
    }
    let chosen: Vec<&str> = chosen.iter().map(|c| c.path.as_str()).collect();

    let unknown: Vec<&str> = files.iter().map(|f| f.blob.as_str()).filter(|blob| !words.contains_key(*blob)).collect();
    for (blob, bytes) in unknown.iter().zip(history.read(&unknown, MAX_FILE_BYTES)?) {
        words.insert((*blob).to_owned(), Arc::new(baseline::words(&String::from_utf8_lossy(&bytes))));
    }
    let documents: Vec<(String, baseline::Words)> =
        files.iter().filter_map(|f| Some((f.path.clone(), words.get(&f.blob)?.clone()))).collect();
    Ok(Outcome {
        live: ranks(&chosen, &sample.truth),
        without,
        searched,
        baseline: ranks(&baseline::rank(&sample.request, &documents), &sample.truth),
        elapsed,
        files: files.len(),
        routine: sample.truth.iter().all(|path| ROUTINE.contains(&path.as_str())),
    })
}

/// The ranking that a score without one of its parts makes.
fn ranked_without<'a>(chosen: &'a [Choice], part: &str) -> Vec<&'a str> {
    let rest = |c: &Choice| c.parts.iter().filter(|(name, _)| *name != part).map(|(_, value)| value).sum::<f64>();
    let mut scored: Vec<(f64, &str)> = chosen.iter().map(|c| (rest(c), c.path.as_str())).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.into_iter().map(|(_, path)| path).collect()
}

fn summary(asked: &Retrieval, outcomes: &[Outcome]) -> Report {
    let beyond: Vec<&Outcome> = outcomes.iter().filter(|o| !o.routine).collect();
    let all: Vec<&Outcome> = outcomes.iter().collect();
    let row = |name: &str, of: &[&Outcome], ranking: &dyn Fn(&Outcome) -> Vec<Option<usize>>| {
        let rankings: Vec<_> = of.iter().map(|o| ranking(o)).collect();
        Row { name: name.to_owned(), samples: of.len(), metrics: Metrics::of(rankings.iter().map(Vec::as_slice)) }
    };
    let mut rows = vec![
        row("live ranking", &all, &|o| o.live.clone()),
        row("BM25", &all, &|o| o.baseline.clone()),
        row("live ranking, beyond routine", &beyond, &|o| o.live.clone()),
        row("BM25, beyond routine", &beyond, &|o| o.baseline.clone()),
    ];
    if asked.ablate {
        let parts = PARTS.iter().enumerate();
        rows.extend(parts.map(|(n, (_, name))| row(name, &all, &|o| o.without.get(n).cloned().unwrap_or_default())));
    }
    if asked.search {
        let searches = SEARCHES.iter().enumerate();
        rows.extend(searches.map(|(n, name)| row(name, &all, &|o| o.searched.get(n).cloned().unwrap_or_default())));
    }
    let mut times: Vec<Duration> = outcomes.iter().map(|o| o.elapsed).collect();
    times.sort_unstable();
    let quantile =
        |share: f64| times.get((times.len().saturating_sub(1) as f64 * share) as usize).map_or(0.0, Duration::as_secs_f64);
    let mut sizes: Vec<usize> = outcomes.iter().map(|o| o.files).collect();
    sizes.sort_unstable();
    Report {
        seed: asked.seed,
        samples: outcomes.len(),
        median_files: sizes.get(sizes.len() / 2).copied().unwrap_or(0),
        p50_ms: quantile(0.5) * 1e3,
        p95_ms: quantile(0.95) * 1e3,
        rows,
    }
}
