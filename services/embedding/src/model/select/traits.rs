//! The traits of a file under a request. Their names are those of the weights.

use std::collections::{BTreeSet, HashSet};

use super::bm25::{Document, scores};
use super::kind::{self, is_common, is_rendered};
use super::weights::weight;
use super::words::{hash, of_path};
use super::{Candidate, Part, Request};

/// How much long files, and long paths, are made to pay.
const LONG_TEXT: f64 = 0.6;
const LONG_PATH: f64 = 0.3;
/// A raw score beyond this tells nothing more.
const MOST: f64 = 20.0;

/// The words of a path.
struct PathWords(Vec<u32>);

impl Document for PathWords {
    fn count(&self, word: u32) -> u32 {
        self.0.iter().filter(|w| **w == word).count() as u32
    }

    fn length(&self) -> u32 {
        self.0.len() as u32
    }
}

/// What the files of a package have together to do with a request.
pub(super) struct Package<'a> {
    files: &'a [Candidate<'a>],
    /// By file: its path in its chart, and its kind.
    places: Vec<(&'a str, &'static str)>,
    text: Vec<f64>,
    path: Vec<f64>,
    best_text: f64,
    best_rendered: f64,
    best_path: f64,
}

impl<'a> Package<'a> {
    pub(super) fn new(request: &Request, files: &'a [Candidate<'a>]) -> Self {
        let digests: Vec<_> = files.iter().map(|f| &*f.digest).collect();
        let charts: BTreeSet<&str> = files.iter().filter_map(|f| chart_of(f.path)).collect();
        let below = |path: &'a str| -> &'a str {
            // The outermost chart: those inside belong to it.
            let chart = charts.iter().filter(|chart| path.starts_with(**chart)).min_by_key(|chart| chart.len());
            chart.map_or(path, |chart| &path[chart.len()..])
        };
        let places: Vec<_> = files.iter().map(|f| below(f.path)).map(|path| (path, kind::kind(path))).collect();
        let paths: Vec<PathWords> = files.iter().map(|f| PathWords(of_path(f.path).iter().map(|w| hash(w)).collect())).collect();
        let text = scores(&request.hashes, &digests, LONG_TEXT);
        let path = scores(&request.hashes, &paths.iter().collect::<Vec<_>>(), LONG_PATH);
        let rendered = text.iter().zip(&places).filter(|(_, (_, kind))| is_rendered(kind)).map(|(score, _)| *score);
        Self {
            best_rendered: rendered.fold(0.0, f64::max),
            best_text: text.iter().copied().fold(0.0, f64::max),
            best_path: path.iter().copied().fold(0.0, f64::max),
            files,
            places,
            text,
            path,
        }
    }
}

/// The directory of a chart, by the path of its `Chart.yaml`.
fn chart_of(path: &str) -> Option<&str> {
    path.strip_suffix("Chart.yaml").filter(|dir| dir.is_empty() || dir.ends_with('/'))
}

/// Something that is so of a file, and how much.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trait {
    /// The part of the score that it adds to.
    pub(crate) part: &'static str,
    /// What the weights call it.
    pub(crate) name: String,
    /// How much.
    pub(crate) value: f64,
}

/// The traits of one file, and what people are told of them.
pub(super) struct Facts {
    pub(super) traits: Vec<Trait>,
    notes: Notes,
}

struct Notes {
    kind: &'static str,
    category: Option<&'static str>,
    said: Vec<String>,
    in_path: Vec<String>,
}

impl Facts {
    pub(super) fn of(request: &Request, package: &Package<'_>, at: usize) -> Self {
        let file = &package.files[at];
        let (below, kind) = package.places[at];
        let templated = matches!(kind, "template" | "helpers");
        let category = if kind == "helpers" { "helpers" } else { file.digest.category.unwrap_or("none") };
        let mut traits = Vec::with_capacity(24);
        let mut add = |part, name: String, value| traits.push(Trait { part, name, value });
        add("kind", "base".to_owned(), 1.0);
        add("kind", format!("kind:{kind}"), 1.0);
        let size = 0.1 * (1.0 + file.digest.size as f64).ln();
        add("kind", (if is_rendered(kind) { "size:rendered" } else { "size" }).to_owned(), size);
        add("kind", "depth".to_owned(), 0.1 * below.matches('/').count() as f64);
        for sort in &request.sorts {
            add("request", format!("sort:{kind}:{sort}"), 1.0);
        }
        if templated {
            add("kind", format!("object:{category}"), 1.0);
            for topic in &request.topics {
                add("request", format!("topic:{category}:{topic}"), 1.0);
            }
        }
        text(package, at, kind, &mut add);
        let words: HashSet<u32> = of_path(stem_of(below)).iter().map(|w| hash(w)).collect();
        path(request, package, at, &words, &mut add);
        let said_by = |has: &dyn Fn(u32) -> bool| {
            let pairs = request.words.iter().zip(&request.hashes);
            pairs.filter(|(_, hash)| has(**hash)).map(|(word, _)| word.clone()).take(4).collect()
        };
        let all: HashSet<u32> = of_path(file.path).iter().map(|w| hash(w)).collect();
        let notes = Notes {
            kind,
            category: file.digest.category.filter(|_| templated),
            said: said_by(&|hash| file.digest.count(hash) > 0),
            in_path: said_by(&|hash| all.contains(&hash)),
        };
        Self { traits, notes }
    }

    /// The parts that add something, in a fixed order.
    pub(super) fn parts(self) -> Vec<Part> {
        let Notes { kind, category, said, in_path } = self.notes;
        let name = kind::name(kind);
        let quoted = |words: &[String]| words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
        let what = category.map_or_else(|| name.to_owned(), |category| format!("{name} ({category})"));
        let parts = [
            ("kind", what),
            ("request", format!("changes of this sort touch {name}")),
            ("text", if said.is_empty() { String::new() } else { format!("its text says {}", quoted(&said)) }),
            ("path", if in_path.is_empty() { String::new() } else { format!("its path names {}", quoted(&in_path)) }),
        ];
        let sum = |part| self.traits.iter().filter(|t| t.part == part).map(|t| t.value * weight(&t.name)).sum::<f64>();
        let part = |(name, note)| Part { name, value: sum(name), note };
        parts.into_iter().map(part).filter(|p| p.name == "kind" || p.value != 0.0).collect()
    }
}

/// What its text says of what the request says: beside the best of the package, beside the best of what is rendered, and by
/// itself.
fn text(package: &Package<'_>, at: usize, kind: &str, add: &mut impl FnMut(&'static str, String, f64)) {
    let score = package.text[at];
    let (beside, alone) = if is_common(kind) { ("text:common", "text:common:raw") } else { ("text", "text:raw") };
    if package.best_text > 0.0 {
        add("text", beside.to_owned(), score / package.best_text);
        add("text", alone.to_owned(), score.min(MOST) / 10.0);
    }
    if is_rendered(kind) && package.best_rendered > 0.0 {
        add("text", "text:rendered".to_owned(), score / package.best_rendered);
    }
}

/// What its path says of it; words of its name that the request does not have speak against it.
fn path(
    request: &Request,
    package: &Package<'_>,
    at: usize,
    words: &HashSet<u32>,
    add: &mut impl FnMut(&'static str, String, f64),
) {
    let score = package.path[at];
    if score <= 0.0 {
        return;
    }
    let beyond = words.iter().filter(|word| !request.hashes.contains(word)).count() as f64 / words.len().max(1) as f64;
    add("path", "path".to_owned(), score / package.best_path);
    add("path", "path:raw".to_owned(), score.min(MOST) / 10.0);
    add("path", "path:beyond".to_owned(), beyond);
}

/// A file's name without its ending.
fn stem_of(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}
