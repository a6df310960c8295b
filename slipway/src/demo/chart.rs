//! What to ask for on a given chart: a change that its values can express, and what must be true afterwards.

use saphyr::{LoadableYamlNode as _, Yaml};

/// The names under which charts keep a number of replicas.
const REPLICAS: [&str; 2] = ["replicas", "replicaCount"];
const WORDS: [&str; 8] = ["zero", "one", "two", "three", "four", "five", "six", "seven"];

/// The sentences of the demo, and how their success is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Story {
    /// The question about the chart as it is.
    pub(super) question: String,
    /// The change.
    pub(super) request: String,
    /// What finds the change afterwards.
    pub(super) query: String,
    /// What a hit must hold to be the change, and values.yaml afterwards.
    pub(super) sign: String,
    /// The values that must be there afterwards: path and text.
    pub(super) expected: Vec<(Vec<String>, String)>,
}

impl Story {
    /// The story for a chart with these values.
    pub(super) fn of(values: &str) -> Result<Self, String> {
        let documents = Yaml::load_from_str(values).map_err(|e| format!("it is not YAML: {e}"))?;
        let root = documents.first().ok_or("it is empty")?;
        let replicas = find_replicas(root).ok_or("it has no number of replicas, which the demo would change")?;
        let (owner, now) = (replicas.owner(), replicas.now);
        let wanted = if now == 3 { 5 } else { 3 };
        let subject = owner.map_or_else(|| "replicas".to_owned(), |o| format!("{o} replicas"));
        let mut story = Self {
            question: format!("How many {subject} run?"),
            request: format!("run {} {subject}", WORDS[wanted]),
            query: format!("{subject} {wanted}"),
            sign: wanted.to_string(),
            expected: vec![(replicas.path.clone(), wanted.to_string())],
        };
        if let Some((enabled, host)) = find_ingress(root, &replicas.path) {
            let name = "slipway.example.com";
            story.question = format!("How many {subject} run, and is there an ingress?");
            story.request.push_str(&format!(" and put an ingress on {name}"));
            story.query = format!("ingress host {name}");
            story.sign = name.to_owned();
            story.expected.push((enabled, "true".to_owned()));
            story.expected.extend(host.map(|path| (path, name.to_owned())));
        }
        Ok(story)
    }

    /// The first expectation that these values do not meet, in words.
    pub(super) fn unmet(&self, values: &str) -> Option<String> {
        let documents = match Yaml::load_from_str(values) {
            Ok(documents) => documents,
            Err(e) => return Some(format!("values.yaml is not YAML any more: {e}")),
        };
        if !values.contains(&self.sign) {
            return Some(format!("values.yaml does not say {}", self.sign));
        }
        self.expected.iter().find_map(|(path, wanted)| {
            let found = documents.first().and_then(|root| path.iter().try_fold(root, |node, key| node.as_mapping_get(key)));
            let found = found.map(scalar);
            (found.as_ref() != Some(wanted))
                .then(|| format!("{} is {}, not {wanted}", path.join("."), found.unwrap_or_else(|| "missing".to_owned())))
        })
    }
}

struct Replicas {
    path: Vec<String>,
    now: i64,
}

impl Replicas {
    /// The component that they belong to; none for the chart's only one.
    fn owner(&self) -> Option<&str> {
        self.path.len().checked_sub(2).map(|i| self.path[i].as_str())
    }
}

/// The number of replicas that says most about the chart: its gateway's, else the one nearest to the root.
fn find_replicas(root: &Yaml<'_>) -> Option<Replicas> {
    let mut found = Vec::new();
    walk(root, &mut Vec::new(), &mut |path, node| {
        let named = path.last().is_some_and(|last| REPLICAS.contains(&last.as_str()));
        if let Some(now) = node.as_integer().filter(|_| named) {
            found.push(Replicas { path: path.to_vec(), now });
        }
    });
    found.sort_by_key(|r| (r.owner() != Some("gateway"), r.path.len()));
    found.into_iter().next()
}

/// The switch of the ingress beside the replicas, or of the chart's only one, and where its host name is a plain value.
fn find_ingress(root: &Yaml<'_>, replicas: &[String]) -> Option<(Vec<String>, Option<Vec<String>>)> {
    let parent = &replicas[..replicas.len().saturating_sub(1)];
    let at = |base: &[String]| {
        let node = base.iter().try_fold(root, |node, key| node.as_mapping_get(key))?.as_mapping_get("ingress")?;
        node.as_mapping_get("enabled")?.as_bool()?;
        let path = |key: &str| [base, &["ingress".to_owned(), key.to_owned()]].concat();
        let host = node.as_mapping_get("host").filter(|h| h.as_str().is_some()).map(|_| path("host"));
        Some((path("enabled"), host))
    };
    at(parent).or_else(|| at(&[]))
}

fn walk(node: &Yaml<'_>, path: &mut Vec<String>, visit: &mut dyn FnMut(&[String], &Yaml<'_>)) {
    visit(path, node);
    let Some(mapping) = node.as_mapping() else { return };
    for (key, value) in mapping {
        if let Some(key) = key.as_str() {
            path.push(key.to_owned());
            walk(value, path, visit);
            path.pop();
        }
    }
}

fn scalar(node: &Yaml<'_>) -> String {
    if let Some(text) = node.as_str() {
        return text.to_owned();
    }
    let number = node.as_integer().map(|n| n.to_string());
    number.or_else(|| node.as_bool().map(|b| b.to_string())).unwrap_or_else(|| "something else".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_chart_gets_the_story_of_the_readme() {
        let values = include_str!("../../../infra/helm/slipway/values.yaml");
        let story = Story::of(values).unwrap();
        assert_eq!(story.question, "How many gateway replicas run, and is there an ingress?");
        assert_eq!(story.request, "run three gateway replicas and put an ingress on slipway.example.com");
        assert_eq!(story.unmet(values).unwrap(), "values.yaml does not say slipway.example.com");
    }

    #[test]
    fn other_charts_are_asked_for_what_they_have() {
        let story = Story::of("replicaCount: 3\nimage:\n  tag: a\n").unwrap();
        assert_eq!((story.question.as_str(), story.request.as_str()), ("How many replicas run?", "run five replicas"));
        let story =
            Story::of("web:\n  deep:\n    replicas: 1\nworker:\n  replicaCount: 2\ningress:\n  enabled: false\n").unwrap();
        assert_eq!(story.request, "run three worker replicas and put an ingress on slipway.example.com");
        assert_eq!(story.expected.len(), 2, "no host that is a plain value");
    }

    #[test]
    fn expectations_are_checked_by_path() {
        let story = Story::of("a:\n  replicas: 1\n  ingress:\n    enabled: false\n    host: \"\"\n").unwrap();
        let good = "a:\n  replicas: 3\n  ingress:\n    enabled: true\n    host: slipway.example.com\n";
        assert_eq!(story.unmet(good), None);
        assert_eq!(story.unmet(&good.replace('3', "2")).unwrap(), "a.replicas is 2, not 3");
        let half = "a:\n  replicas: 3\n  host: slipway.example.com\n";
        assert_eq!(story.unmet(half).unwrap(), "a.ingress.enabled is missing, not true");
    }

    #[test]
    fn a_chart_without_replicas_is_told_so() {
        assert!(Story::of("a: 1\n").unwrap_err().contains("replicas"));
        assert!(Story::of("a: [\n").unwrap_err().contains("YAML"));
    }
}
