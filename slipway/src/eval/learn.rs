//! `slipway eval weights`: what real changes touched, as the weights of the choice of files.

use std::collections::HashMap;
use std::path::Path;

use slipway_embedding::evaluation::{File, MAX_FILE_BYTES, Observer};

use super::fit::{Observation, fit};
use super::history::{History, Sample};
use super::metrics::{Metrics, ranks};
use crate::args::Weights;
use crate::error::Failure;
use crate::output::{Out, Spinner};

/// As much as so many commits counts each repository.
const COUNTS: f64 = 3_000.0;
/// A weight below this is left out.
const LEAST_WEIGHT: f64 = 0.1;
/// The trait that all files have: its weight is free.
const BASE: &str = "base";
const HEAD: &str = "\
# Log-odds by trait, learned from real changes; docs/retrieval.md tells how. A tab between name and weight.
# base: every file. kind, size, depth: by path and length. object: by what a template makes. sort, topic: by what the
# request says. text, path: by the words that it shares.
";

/// A commit, and what the ranking sees of each file before it.
struct Lesson {
    repository: usize,
    truth: Vec<String>,
    files: Vec<(String, Observation)>,
}

/// All commits. Traits are numbered as they are seen, the base first.
struct Lessons {
    numbers: HashMap<String, usize>,
    all: Vec<Lesson>,
}

/// Learns and prints weights.
pub(crate) async fn weights(out: &Out, asked: Weights) -> anyhow::Result<()> {
    let (l2, repositories) = (asked.l2, asked.from.len());
    let spinner = Spinner::start("reading the histories");
    let lessons = tokio::task::spawn_blocking(move || Lessons::read(&asked)).await??;
    spinner.say("fitting".to_owned());
    let fitted = tokio::task::spawn_blocking(move || {
        let checks = if repositories > 1 { lessons.validate(repositories, l2) } else { Vec::new() };
        (lessons.table(l2), checks)
    });
    let (lines, checks) = fitted.await?;
    drop(spinner);
    for check in checks {
        out.note(check);
    }
    out.line(format!("{HEAD}{}", lines.join("\n")))
}

impl Lessons {
    fn read(asked: &Weights) -> anyhow::Result<Self> {
        let mut lessons = Self { numbers: HashMap::from([(BASE.to_owned(), 0)]), all: Vec::new() };
        for (repository, from) in asked.from.iter().enumerate() {
            let (dir, below) = from.rsplit_once(':').unwrap_or((from, ""));
            let history = History::open(Path::new(dir))?;
            let samples = history.sample("HEAD", below, asked.seed, asked.samples as usize)?;
            if samples.is_empty() {
                return Err(Failure::usage(format!("{from} has no commit to learn from")).into());
            }
            let counts = COUNTS / samples.len() as f64;
            let mut observer = Observer::default();
            for sample in samples {
                lessons.add(&history, &mut observer, repository, counts, sample)?;
            }
        }
        Ok(lessons)
    }

    fn add(
        &mut self,
        history: &History,
        observer: &mut Observer,
        repository: usize,
        counts: f64,
        sample: Sample,
    ) -> anyhow::Result<()> {
        let files = history.files(&sample)?;
        let mut read = |new: &[&File]| {
            let blobs: Vec<&str> = new.iter().map(|f| f.blob.as_str()).collect();
            Ok(history.read(&blobs, MAX_FILE_BYTES)?)
        };
        let seen = observer.see(&sample.package, &files, &sample.request, &mut read).map_err(anyhow::Error::from_boxed)?;
        let observed = files.into_iter().zip(seen).map(|(file, traits)| {
            let holds = sample.truth.contains(&file.path);
            let some = traits.into_iter().filter(|(_, value)| *value != 0.0);
            let traits = some.map(|(name, value)| (self.number(name), value)).collect();
            (file.path, Observation { traits, holds, counts })
        });
        let files = observed.collect();
        self.all.push(Lesson { repository, truth: sample.truth, files });
        Ok(())
    }

    fn number(&mut self, name: String) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(name).or_insert(next)
    }

    fn fit<'a>(&self, of: impl Iterator<Item = &'a Lesson>, l2: f64) -> Vec<f64> {
        let observations: Vec<&Observation> = of.flat_map(|lesson| lesson.files.iter().map(|(_, o)| o)).collect();
        fit(&observations, self.numbers.len(), l2)
    }

    /// The lines of the file of weights.
    fn table(&self, l2: f64) -> Vec<String> {
        let weights = self.fit(self.all.iter(), l2);
        let mut named: Vec<(&String, f64)> = self.numbers.iter().map(|(name, at)| (name, weights[*at])).collect();
        named.sort_by_key(|(name, _)| *name);
        named.retain(|(_, weight)| weight.abs() >= LEAST_WEIGHT);
        named.into_iter().map(|(name, weight)| format!("{name}\t{weight:.2}")).collect()
    }

    /// Each repository by what the others teach; a line each.
    fn validate(&self, repositories: usize, l2: f64) -> Vec<String> {
        let line = |repository| {
            let weights = self.fit(self.all.iter().filter(|lesson| lesson.repository != repository), l2);
            let held_out = self.all.iter().filter(|lesson| lesson.repository == repository);
            let found: Vec<_> = held_out.map(|lesson| lesson.found(&weights)).collect();
            let metrics = Metrics::of(found.iter().map(Vec::as_slice));
            let figures = Metrics::NAMES.iter().zip(metrics.values()).map(|(name, value)| format!("{name} {value:.3}"));
            let figures = figures.collect::<Vec<_>>().join(", ");
            format!("repository {}, {} commits, learned from the others: {figures}", repository + 1, found.len())
        };
        (0..repositories).map(line).collect()
    }
}

impl Lesson {
    /// Where the files that the commit modified are in the ranking that some weights make.
    fn found(&self, weights: &[f64]) -> Vec<Option<usize>> {
        let mut scored: Vec<(f64, &str)> = self.files.iter().map(|(path, o)| (o.score(weights), path.as_str())).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let ranking: Vec<&str> = scored.into_iter().map(|(_, path)| path).collect();
        ranks(&ranking, &self.truth)
    }
}
