//! The traits of a file under a request. Their names are those of the weights.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::bm25::{Document, rarities, scores};
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
    rarity: HashMap<u32, f64>,
    all_rarity: f64,
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
        let rarity = rarities(&request.hashes, &digests);
        let rendered = text.iter().zip(&places).filter(|(_, (_, kind))| is_rendered(kind)).map(|(score, _)| *score);
        Self {
            best_rendered: rendered.fold(0.0, f64::max),
            best_text: text.iter().copied().fold(0.0, f64::max),
            best_path: path.iter().copied().fold(0.0, f64::max),
            // In the order of the request, so that the sum is the same each time.
            all_rarity: request.hashes.iter().filter_map(|w| rarity.get(w)).sum(),
            files,
            places,
            text,
            path,
            rarity,
        }
    }

    /// How much of the request, by what its words tell, is said in the key of one value that the file uses; the best.
    fn uses(&self, at: usize) -> f64 {
        if self.all_rarity <= 0.0 {
            return 0.0;
        }
        let said = |key: &Vec<u32>| key.iter().filter_map(|word| self.rarity.get(word)).sum::<f64>() / self.all_rarity;
        self.files[at].digest.uses.iter().map(said).fold(0.0, f64::max)
    }
}

/// The directory of a chart, by the path of its `Chart.yaml`.
fn chart_of(path: &str) -> Option<&str> {
    path.strip_suffix("Chart.yaml").filter(|dir| dir.is_empty() || dir.ends_with('/'))
}

/// What one file's traits add, by part.
pub(super) struct Facts {
    kind: f64,
    request: f64,
    text: f64,
    path: f64,
    structure: f64,
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

        let mut prior = weight("base") + weight(&format!("kind:{kind}"));
        let size = 0.1 * (1.0 + file.digest.size as f64).ln();
        prior += size * weight(if is_rendered(kind) { "size:rendered" } else { "size" });
        prior += 0.1 * below.matches('/').count() as f64 * weight("depth");
        let mut asked: f64 = request.sorts.iter().map(|sort| weight(&format!("sort:{kind}:{sort}"))).sum();
        if templated {
            prior += weight(&format!("object:{category}"));
            asked += request.topics.iter().map(|topic| weight(&format!("topic:{category}:{topic}"))).sum::<f64>();
        }
        let words: HashSet<u32> = of_path(stem_of(below)).iter().map(|w| hash(w)).collect();
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
        Self {
            kind: prior,
            request: asked,
            text: text(package, at, kind),
            path: path(request, package, at, &words),
            structure: if templated { package.uses(at) * weight("uses") } else { 0.0 },
            notes,
        }
    }

    /// The parts that add something, in a fixed order.
    pub(super) fn parts(self) -> Vec<Part> {
        let Notes { kind, category, said, in_path } = self.notes;
        let name = kind::name(kind);
        let quoted = |words: &[String]| words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
        let what = category.map_or_else(|| name.to_owned(), |category| format!("{name} ({category})"));
        let parts = [
            ("kind", self.kind, what),
            ("request", self.request, format!("changes of this sort touch {name}")),
            ("text", self.text, if said.is_empty() { String::new() } else { format!("its text says {}", quoted(&said)) }),
            ("path", self.path, if in_path.is_empty() { String::new() } else { format!("its path names {}", quoted(&in_path)) }),
            ("structure", self.structure, "it uses values that the request speaks of".to_owned()),
        ];
        let part = |(name, value, note)| Part { name, value, note };
        parts.into_iter().map(part).filter(|p| p.name == "kind" || p.value != 0.0).collect()
    }
}

/// What its text says of what the request says: beside the best of the package, beside the best of what is rendered, and by
/// itself.
fn text(package: &Package<'_>, at: usize, kind: &str) -> f64 {
    let score = package.text[at];
    let (beside, alone) = if is_common(kind) { ("text:common", "text:common:raw") } else { ("text", "text:raw") };
    let mut sum = 0.0;
    if package.best_text > 0.0 {
        sum += score / package.best_text * weight(beside) + score.min(MOST) / 10.0 * weight(alone);
    }
    if is_rendered(kind) && package.best_rendered > 0.0 {
        sum += score / package.best_rendered * weight("text:rendered");
    }
    sum
}

/// What its path says of it; words of its name that the request does not have speak against it.
fn path(request: &Request, package: &Package<'_>, at: usize, words: &HashSet<u32>) -> f64 {
    let score = package.path[at];
    if score <= 0.0 {
        return 0.0;
    }
    let beyond = words.iter().filter(|word| !request.hashes.contains(word)).count() as f64 / words.len().max(1) as f64;
    score / package.best_path * weight("path") + score.min(MOST) / 10.0 * weight("path:raw") + beyond * weight("path:beyond")
}

/// A file's name without its ending.
fn stem_of(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}
