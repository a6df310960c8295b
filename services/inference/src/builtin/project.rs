//! The files of a workspace seen as what they are: charts with values and templates, and plain manifests.

use std::collections::BTreeSet;

use super::op::{Object, read_path};
use super::prompt::File;
use super::wish::{Surroundings, Target};
use super::words::{parts, singular, squashed};
use super::yaml::{Node, Seg, parse};

/// A workspace.
pub(super) struct Project<'a> {
    pub(super) files: &'a [File<'a>],
    pub(super) charts: Vec<Chart<'a>>,
    pub(super) manifests: Vec<Manifest>,
}

/// A Helm chart.
pub(super) struct Chart<'a> {
    /// Its folder with the last slash; empty at the top.
    pub(super) dir: String,
    pub(super) name: String,
    /// The file with its defaults, and what is in it.
    pub(super) values: Option<(String, Node)>,
    pub(super) templates: Vec<File<'a>>,
    refs: BTreeSet<String>,
}

/// A Kubernetes object in a plain file.
pub(super) struct Manifest {
    pub(super) path: String,
    pub(super) object: Object,
    pub(super) root: Node,
}

impl<'a> Project<'a> {
    pub(super) fn new(files: &'a [File<'a>]) -> Self {
        let dirs = chart_dirs(files);
        let charts: Vec<_> = dirs.iter().map(|dir| Chart::new(dir, files)).collect();
        let in_chart = |path: &str| {
            dirs.iter().any(|d| path.starts_with(&format!("{d}templates/")) || path.starts_with(&format!("{d}charts/")))
        };
        let mut manifests = Vec::new();
        for file in files.iter().filter(|f| is_yaml(f.path) && !in_chart(f.path)) {
            for root in file.text.and_then(parse).unwrap_or_default() {
                let text = |keys: &[&str]| root.at(keys).and_then(Node::text).map(str::to_owned);
                if let (Some(kind), Some(name), Some(_)) = (text(&["kind"]), text(&["metadata", "name"]), text(&["apiVersion"])) {
                    manifests.push(Manifest { path: file.path.to_owned(), object: Object { kind, name }, root });
                }
            }
        }
        Self { files, charts, manifests }
    }

    /// A file's text.
    pub(super) fn text(&self, path: &str) -> Option<&'a str> {
        self.files.iter().find(|f| f.path == path).and_then(|f| f.text)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.files.iter().any(|f| f.path == path)
    }

    /// The values files: each chart's own, and others that were shown.
    fn roots(&self) -> impl Iterator<Item = &Node> {
        let values = self.charts.iter().filter_map(|c| c.values.as_ref()).map(|(_, root)| root);
        values.chain(self.manifests.iter().map(|m| &m.root))
    }
}

impl Surroundings for Project<'_> {
    fn is_path(&self, text: &str) -> bool {
        let Some(path) = read_path(text) else { return false };
        self.roots().any(|root| root.find(&path).is_some() || (path.len() > 1 && takes(root, &path)))
    }

    fn file(&self, name: &str) -> Option<String> {
        if self.has(name) {
            return Some(name.to_owned());
        }
        let mut same = self.files.iter().filter(|f| f.path.rsplit('/').next() == Some(name));
        same.next().filter(|_| same.next().is_none()).map(|f| f.path.to_owned())
    }

    fn is_component(&self, word: &str) -> bool {
        let named = |name: &str| squashed(name) == squashed(word);
        self.manifests.iter().any(|m| named(&m.object.name))
            || self.roots().flat_map(Node::maps).any(|(path, _)| path.last().is_some_and(|k| named(k)))
    }
}

impl<'a> Chart<'a> {
    fn new(dir: &str, files: &'a [File<'a>]) -> Self {
        let text = |name: &str| files.iter().find(|f| f.path == format!("{dir}{name}")).and_then(|f| f.text);
        let document = |name: &str| text(name).and_then(parse);
        let name = document("Chart.yaml")
            .and_then(|docs| docs.first().and_then(|d| d.get("name")).and_then(Node::text).map(str::to_owned))
            .unwrap_or_else(|| dir.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned());
        let root = document("values.yaml").map(|docs| docs.into_iter().next().unwrap_or_else(Node::nothing));
        let templates: Vec<File<'a>> =
            files.iter().filter(|f| f.path.starts_with(&format!("{dir}templates/"))).cloned().collect();
        let refs = templates.iter().filter_map(|t| t.text).flat_map(references).collect();
        Self { dir: dir.to_owned(), name, values: root.map(|r| (format!("{dir}values.yaml"), r)), templates, refs }
    }

    /// True when a template reads the value, or something below it.
    pub(super) fn reads(&self, path: &[String]) -> bool {
        let path = path.join(".");
        self.refs.iter().any(|r| *r == path || r.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.')))
    }

    /// True when a template takes a mapping whole that the value is in, as `toYaml .Values.nodeSelector` does.
    pub(super) fn reads_above(&self, path: &[String]) -> bool {
        (1..path.len()).any(|n| self.refs.contains(&path[..n].join(".")))
    }

    /// True when some template reads a key of this name below whatever the dot or a variable stands for there.
    pub(super) fn mentions(&self, key: &str) -> bool {
        let dotted = format!(".{key}");
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        self.templates
            .iter()
            .filter_map(|t| t.text)
            .any(|t| t.match_indices(&dotted).any(|(at, _)| ends(&t[at + dotted.len()..])))
    }

    /// True when a template was named but not shown: what it reads is not known.
    pub(super) fn is_blind(&self) -> bool {
        self.templates.iter().any(|t| t.text.is_none())
    }

    /// The templates that make objects of a kind.
    pub(super) fn of_kind(&self, kind: &str) -> Vec<&File<'a>> {
        let line = format!("kind: {kind}");
        let makes = |t: &&File<'_>| {
            let text = t.text.unwrap_or_default();
            let shown = text.lines().any(|l| l.trim_end() == line);
            let named = t.text.is_none() && t.path.to_lowercase().ends_with(&format!("{}.yaml", kind.to_lowercase()));
            shown || named
        };
        self.templates.iter().filter(makes).collect()
    }
}

/// Where the charts are: top-level ones only, unless there are none.
fn chart_dirs(files: &[File<'_>]) -> Vec<String> {
    let of = |name: &str| -> Vec<String> {
        let dir = |f: &File<'_>| f.path.strip_suffix(name).filter(|d| d.is_empty() || d.ends_with('/')).map(str::to_owned);
        files.iter().filter_map(dir).collect()
    };
    let mut dirs = of("Chart.yaml");
    if dirs.is_empty() {
        dirs = of("values.yaml");
    }
    let all = dirs.clone();
    dirs.retain(|d| !all.iter().any(|other| other != d && d.starts_with(&format!("{other}charts/"))));
    dirs.sort_by_key(|d| d.matches('/').count());
    dirs
}

pub(super) fn is_yaml(path: &str) -> bool {
    path.ends_with(".yaml") || path.ends_with(".yml")
}

/// True when a new key can be made there: in a mapping that exists, or below a value that is still empty.
pub(super) fn takes(root: &Node, path: &[Seg]) -> bool {
    let Some((_, above)) = path.split_last() else { return false };
    let is_open = |n: &Node| n.is_empty() && !n.is_list();
    let in_mapping = root.find(above).is_some_and(|n| n.is_map() || is_open(n));
    in_mapping || (1..above.len()).any(|n| root.find(&above[..n]).is_some_and(is_open))
}

/// Every `.Values.x.y` of a template.
fn references(text: &str) -> Vec<String> {
    let name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    text.match_indices(".Values.")
        .map(|(at, mark)| {
            let rest = &text[at + mark.len()..];
            rest[..rest.find(|c| !name(c)).unwrap_or(rest.len())].trim_end_matches('.').to_owned()
        })
        .collect()
}

/// Which of several places a target means. Each place is named by its path.
pub(super) fn pick(places: &[Vec<String>], target: &Target, aliases: &[String], what: &str) -> Result<Vec<Vec<String>>, String> {
    if places.is_empty() {
        return Err(format!("nothing here has {what}"));
    }
    if target.all && target.words.is_empty() {
        return Ok(places.to_vec());
    }
    let known = |word: &String| places.iter().any(|p| covers(p, std::slice::from_ref(word)));
    let words: Vec<String> = target.words.iter().filter(|w| known(w) || !aliases.contains(w)).cloned().collect();
    if words.is_empty() {
        let called = places.iter().find(|p| p.last().is_some_and(|k| target.generic.contains(&squashed(k))));
        let alone = if places.len() == 1 { places.first() } else { None };
        let top = places.iter().find(|p| p.is_empty());
        return match called.or(alone).or(top).or_else(|| shallowest(places)) {
            Some(place) => Ok(vec![place.clone()]),
            None => Err(format!("several things have {what}: say which of {}", names(places))),
        };
    }
    let fitting: Vec<Vec<String>> = places.iter().filter(|p| covers(p, &words)).cloned().collect();
    if let Some(place) = shallowest(&fitting) {
        return Ok(vec![place.clone()]);
    }
    if fitting.is_empty() && words.len() > 1 {
        // "the gateway and the worker"
        let each: Vec<_> = words
            .iter()
            .map(|w| places.iter().filter(|p| covers(p, std::slice::from_ref(w))).cloned().collect::<Vec<_>>())
            .filter_map(|found| shallowest(&found).cloned())
            .collect();
        if each.len() == words.len() {
            return Ok(each);
        }
    }
    if fitting.is_empty() {
        return Err(format!("nothing called \"{}\" has {what}; these have: {}", words.join(" "), names(places)));
    }
    Err(format!("several things called \"{}\" have {what}: say which of {}", words.join(" "), names(&fitting)))
}

/// True when every word names a part of the path.
pub(super) fn covers(path: &[String], words: &[String]) -> bool {
    let whole = squashed(&words.concat());
    if path.iter().any(|seg| squashed(seg) == whole || squashed(seg) == singular(&whole)) {
        return true;
    }
    let named: Vec<String> = path.iter().flat_map(|seg| parts(seg).into_iter().chain([squashed(seg)])).collect();
    words.iter().all(|w| parts(w).iter().all(|w| named.iter().any(|n| n == w || n == singular(w) || singular(n) == w)))
}

fn shallowest(places: &[Vec<String>]) -> Option<&Vec<String>> {
    let least = places.iter().map(Vec::len).min()?;
    let mut found = places.iter().filter(|p| p.len() == least);
    found.next().filter(|_| found.next().is_none())
}

fn names(places: &[Vec<String>]) -> String {
    let mut names: Vec<_> = places.iter().map(|p| if p.is_empty() { "the top level".to_owned() } else { p.join(".") }).collect();
    names.truncate(12);
    names.join(", ")
}

/// The keys of a path.
pub(super) fn seg_keys(path: &[Seg]) -> Vec<String> {
    path.iter().filter_map(|s| if let Seg::Key(k) = s { Some(k.clone()) } else { None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(words: &[&str]) -> Target {
        Target { words: words.iter().map(|w| (*w).to_owned()).collect(), ..Target::default() }
    }

    fn places(all: &[&str]) -> Vec<Vec<String>> {
        all.iter().map(|p| p.split('.').filter(|s| !s.is_empty()).map(str::to_owned).collect()).collect()
    }

    #[test]
    fn a_target_finds_its_place() {
        let all = places(&["apiGateway", "worker", "worker.sidecar"]);
        let picked =
            |words: &[&str]| pick(&all, &target(words), &[], "x").map(|p| p.iter().map(|p| p.join(".")).collect::<Vec<_>>());
        assert_eq!(picked(&["api", "gateway"]).unwrap(), ["apiGateway"]);
        assert_eq!(picked(&["gateway"]).unwrap(), ["apiGateway"]);
        assert_eq!(picked(&["workers"]).unwrap(), ["worker"]);
        assert_eq!(picked(&["worker", "sidecar"]).unwrap(), ["worker.sidecar"]);
        assert_eq!(picked(&["gateway", "worker"]).unwrap(), ["apiGateway", "worker"]);
        assert!(picked(&["redis"]).unwrap_err().contains("apiGateway, worker"));
        assert!(picked(&[]).unwrap_err().contains("say which"));
    }

    #[test]
    fn without_a_target_the_top_level_is_meant() {
        assert_eq!(pick(&places(&["", "a"]), &target(&[]), &[], "x").unwrap(), [Vec::<String>::new()]);
        assert_eq!(pick(&places(&["a"]), &target(&[]), &[], "x").unwrap(), [["a".to_owned()]]);
        let aliases = ["shop".to_owned()];
        assert_eq!(pick(&places(&[""]), &target(&["shop"]), &aliases, "x").unwrap(), [Vec::<String>::new()]);
    }

    #[test]
    fn references_are_found() {
        let found = references("{{ .Values.a.b-c | quote }}{{- with $.Values.x }}{{ .Values.y.}}");
        assert_eq!(found, ["a.b-c", "x", "y"]);
    }
}
