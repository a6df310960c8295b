//! Which files a change request is about: hits of chunks, added up per file, with what is known of charts. Deterministic.

use std::collections::{BTreeMap, BTreeSet};

use super::words::words;

/// A chunk that the search for the request found.
#[derive(Clone, Debug)]
pub(crate) struct ChunkHit {
    /// Its file.
    pub(crate) path: String,
    /// Its title.
    pub(crate) title: String,
    /// Its fused score.
    pub(crate) score: f64,
}

/// A file with its score and the reasons for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selected {
    /// The file.
    pub(crate) path: String,
    /// Comparable within one selection.
    pub(crate) score: f64,
    /// For people.
    pub(crate) reason: String,
}

/// Words of a request, and the names that templates of the kinds they speak of usually carry.
const KINDS: &[(&[&str], &[&str])] = &[
    (&["ingress", "host", "hostname", "tls", "domain"], &["ingress", "httproute"]),
    (&["replica", "replicas", "scale"], &["deployment", "statefulset", "hpa"]),
    (&["autoscale", "autoscaling", "autoscaler", "hpa"], &["hpa", "autoscaling", "horizontalpodautoscaler", "deployment"]),
    (
        &["image", "tag", "env", "environment", "variable", "probe", "probes", "liveness", "readiness"],
        &["deployment", "statefulset"],
    ),
    (
        &["resources", "cpu", "memory", "limits", "requests", "container", "command", "args", "volume"],
        &["deployment", "statefulset"],
    ),
    (&["port", "ports", "service", "nodeport", "loadbalancer", "clusterip"], &["service", "deployment"]),
    (&["label", "labels", "annotation", "annotations"], &["helpers", "deployment"]),
    (&["secret", "password", "credentials"], &["secret"]),
    (&["configmap", "config", "configuration"], &["configmap", "config"]),
    (&["serviceaccount", "rbac", "role", "permission"], &["serviceaccount", "role", "rolebinding", "rbac"]),
    (&["pdb", "disruption", "budget"], &["pdb", "poddisruptionbudget"]),
    (&["networkpolicy", "egress"], &["networkpolicy"]),
    (&["monitor", "servicemonitor", "metrics", "prometheus"], &["servicemonitor", "podmonitor"]),
    (&["cronjob", "schedule"], &["cronjob"]),
    (&["storage", "disk", "pvc", "persistence", "persistent"], &["pvc", "persistentvolumeclaim", "statefulset"]),
    (&["version", "appversion", "dependency", "dependencies"], &["chart"]),
    (&["readme", "documentation", "docs"], &["readme"]),
    (&["notes"], &["notes"]),
];

const STOP: &[&str] = &[
    "a",
    "an",
    "the",
    "to",
    "of",
    "on",
    "in",
    "for",
    "and",
    "or",
    "with",
    "it",
    "is",
    "be",
    "by",
    "at",
    "as",
    "from",
    "put",
    "run",
    "set",
    "add",
    "make",
    "use",
    "change",
    "update",
    "please",
    "that",
    "this",
    "my",
    "our",
    "all",
    "yaml",
    "yml",
    "file",
    "values",
    "templates",
];

const HIT: f64 = 1.0;
const VALUES: f64 = 0.7;
const KIND: f64 = 0.5;
const NAMED: f64 = 0.3;
const REFERS: f64 = 0.35;

/// Ranks the files of a revision for a request. `hits` are the chunks that the request finds; `references` are those that
/// mention the values keys among them (see [`values_keys`]); `paths` are all files.
pub(crate) fn select(
    request: &str,
    hits: &[ChunkHit],
    references: &[ChunkHit],
    paths: &BTreeSet<String>,
    limit: usize,
) -> Vec<Selected> {
    let mut files: BTreeMap<&str, (f64, Vec<String>)> = BTreeMap::new();
    let asked: BTreeSet<String> = words(request).into_iter().filter(|w| !STOP.contains(&w.as_str())).collect();
    let charts: BTreeSet<&str> = paths.iter().filter_map(|p| p.strip_suffix("Chart.yaml")).collect();

    for (path, (score, title)) in best_hits(hits) {
        let entry = files.entry(path).or_default();
        entry.0 += HIT * score;
        entry.1.push(if title.is_empty() { "its text matches".to_owned() } else { format!("`{title}` matches") });
    }
    for (path, (score, title)) in best_hits(references) {
        if let Some(chart) = charts.iter().find(|c| path.strip_prefix(**c).is_some_and(|rest| rest.starts_with("templates/"))) {
            let entry = files.entry(path).or_default();
            entry.0 += REFERS * score;
            entry.1.push(format!("`{}` uses values that match", if title.is_empty() { &path[chart.len()..] } else { title }));
        }
    }
    for path in paths {
        let (score, reasons) = path_prior(path, &asked, &charts);
        if score != 0.0 {
            let entry = files.entry(path).or_default();
            entry.0 += score;
            entry.1.extend(reasons);
        }
    }
    let mut selected: Vec<_> = files
        .into_iter()
        .filter(|(_, (score, _))| *score > 0.05)
        .map(|(path, (score, reasons))| Selected { path: path.to_owned(), score, reason: reasons.join("; ") })
        .collect();
    selected.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.path.cmp(&b.path)));
    selected.truncate(limit);
    selected
}

/// The values keys that hits stand for, as a query for the templates that use them: `Values.ingress`.
pub(crate) fn values_keys(hits: &[ChunkHit]) -> Vec<String> {
    let keys = hits.iter().filter_map(|h| h.title.strip_prefix("values ")).map(|key| key.replace("[]", ""));
    let mut found: Vec<String> = Vec::new();
    for key in keys.map(|k| format!("Values.{}", k.split('.').take(2).collect::<Vec<_>>().join("."))) {
        if found.len() < 4 && !found.contains(&key) {
            found.push(key);
        }
    }
    found
}

/// Each file's score from its best hits, the best file's being 1, and the title of its best hit.
fn best_hits(hits: &[ChunkHit]) -> BTreeMap<&str, (f64, &str)> {
    let mut files: BTreeMap<&str, (f64, &str, usize)> = BTreeMap::new();
    for hit in hits {
        let entry = files.entry(&hit.path).or_insert((0.0, &hit.title, 0));
        if entry.2 < 3 {
            entry.0 += hit.score / f64::from(1u32 << entry.2);
            entry.2 += 1;
        }
    }
    let best = files.values().map(|f| f.0).fold(f64::MIN_POSITIVE, f64::max);
    files.into_iter().map(|(path, (score, title, _))| (path, (score / best, title))).collect()
}

/// What the path alone says.
fn path_prior(path: &str, asked: &BTreeSet<String>, charts: &BTreeSet<&str>) -> (f64, Vec<String>) {
    let (mut score, mut reasons) = (0.0, Vec::new());
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.split('.').next().unwrap_or(name).to_ascii_lowercase();
    let chart = charts.iter().filter(|c| path.starts_with(**c)).max_by_key(|c| c.len());
    let below = chart.map_or(path, |c| &path[c.len()..]);

    let by_kind = KINDS.iter().find_map(|(words, names)| {
        let word = words.iter().find(|w| asked.contains(**w))?;
        let place = names.iter().position(|n| *n == stem || stem.split(['-', '_']).any(|part| part == *n))?;
        Some((*word, place))
    });
    if let Some((word, place)) = by_kind.filter(|_| chart.is_some() || path.contains("template")) {
        score += KIND / (1.0 + place as f64 * 0.5);
        reasons.push(format!("`{word}` is its kind's business"));
    }
    let parts: BTreeSet<String> =
        words(below.rsplit_once('.').map_or(below, |(stem, _)| stem)).into_iter().filter(|w| !w.contains('.')).collect();
    let named: Vec<&String> = parts.intersection(asked).collect();
    if !named.is_empty() {
        score += NAMED * (named.len().min(2)) as f64;
        reasons.push(format!("its path names {}", named.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")));
    }
    let spoken_of = !reasons.is_empty();
    match below {
        "values.yaml" if chart.is_some_and(|c| !c.contains("charts/")) => {
            score += VALUES;
            reasons.push("the chart's values".to_owned());
        }
        "values.schema.json" => score += 0.1,
        _ if below.starts_with("templates/tests/") || below.starts_with("ci/") => score -= 0.5,
        _ if !spoken_of && ["readme", "notes", "changelog", "license", "contributing"].contains(&stem.as_str()) => score -= 0.4,
        _ if name.ends_with(".lock") => score -= 0.5,
        _ => {}
    }
    (score, reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> BTreeSet<String> {
        let files = [
            ".helmignore",
            "Chart.lock",
            "Chart.yaml",
            "README.md",
            "templates/NOTES.txt",
            "templates/_helpers.tpl",
            "templates/deployment.yaml",
            "templates/gateway/deployment.yaml",
            "templates/gateway/hpa.yaml",
            "templates/ingress.yaml",
            "templates/service.yaml",
            "templates/serviceaccount.yaml",
            "templates/tests/test-connection.yaml",
            "values.yaml",
        ];
        files.map(str::to_owned).into()
    }

    fn hit(path: &str, title: &str, score: f64) -> ChunkHit {
        ChunkHit { path: path.to_owned(), title: title.to_owned(), score }
    }

    fn top(request: &str, hits: &[ChunkHit], n: usize) -> Vec<String> {
        select(request, hits, &[], &chart(), n).into_iter().map(|s| s.path).collect()
    }

    #[test]
    fn the_values_and_the_named_kinds_come_first() {
        let request = "run three gateway replicas and put an ingress on slipway.example.com";
        let hits = [
            hit("README.md", "section Values", 0.9),
            hit("values.yaml", "values gateway", 0.8),
            hit("values.yaml", "values ingress", 0.7),
            hit("templates/ingress.yaml", "template Ingress", 0.6),
            hit("templates/gateway/deployment.yaml", "template Deployment", 0.5),
        ];
        let found = top(request, &hits, 3);
        assert_eq!(found[0], "values.yaml");
        assert!(found[1..].contains(&"templates/ingress.yaml".to_owned()), "{found:?}");
        assert!(found[1..].contains(&"templates/gateway/deployment.yaml".to_owned()), "{found:?}");
    }

    #[test]
    fn without_any_hit_the_paths_still_speak() {
        assert_eq!(top("enable autoscaling", &[], 2), ["values.yaml", "templates/gateway/hpa.yaml"]);
        assert!(top("improve the readme", &[], 3).contains(&"README.md".to_owned()));
    }

    #[test]
    fn templates_that_use_the_values_are_added() {
        let hits = [hit("values.yaml", "values serviceAccount", 1.0)];
        assert_eq!(values_keys(&hits), ["Values.serviceAccount"]);
        let references = [hit("templates/serviceaccount.yaml", "template ServiceAccount", 1.0), hit("README.md", "", 0.9)];
        let found = select("name it robot", &hits, &references, &chart(), 5);
        assert_eq!(found.iter().map(|s| s.path.as_str()).collect::<Vec<_>>(), ["values.yaml", "templates/serviceaccount.yaml"]);
        assert!(found[1].reason.contains("uses values that match"));
    }

    #[test]
    fn the_choice_is_deterministic_and_limited() {
        let hits: Vec<_> = chart().iter().map(|p| hit(p, "", 0.5)).collect();
        let first = select("anything at all", &hits, &hits, &chart(), 4);
        assert_eq!(first.len(), 4);
        assert_eq!(first, select("anything at all", &hits, &hits, &chart(), 4));
    }

    #[test]
    fn outside_charts_hits_decide() {
        let paths: BTreeSet<String> = ["src/main.rs".to_owned(), "src/lib.rs".to_owned()].into();
        let found = select("mend the parser", &[hit("src/lib.rs", "", 0.4)], &[], &paths, 10);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "src/lib.rs");
    }
}
