//! From wishes to exact changes of exact files.

use super::op::{Op, read_path};
use super::project::{Project, pick, seg_keys, takes};
use super::wish::{Request, Target, Wish};
use super::words::parts;
use super::yaml::{Node, Seg, Value};

mod chart;
mod manifest;

/// Changes by file. A file that does not exist is made by its first change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) ops: Vec<(String, Op)>,
    /// What the reader should know besides.
    pub(super) notes: Vec<String>,
}

impl Changes {
    fn op(&mut self, file: &str, op: Op) {
        self.ops.push((file.to_owned(), op));
    }

    fn set(&mut self, file: &str, path: Vec<Seg>, value: Value) {
        self.op(file, Op::Set(None, path, value));
    }
}

type Resolved = Result<Changes, String>;

/// The changes that a wish asks for, or why they cannot be made.
pub(super) fn resolve(project: &Project<'_>, request: &Request) -> Resolved {
    if let Wish::Path { path, value } = &request.wish {
        return by_path(project, request, path, value.as_ref());
    }
    let mut refused = None;
    for chart in charts_meant(project, &request.target) {
        match chart::resolve(project, chart, request) {
            Ok(changes) => return Ok(changes),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    if !project.manifests.is_empty() {
        match manifest::resolve(project, request) {
            Ok(changes) => return Ok(changes),
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    Err(refused.unwrap_or_else(|| "there is no chart and no Kubernetes manifest among the files".to_owned()))
}

/// The charts that a target can mean: those that it names, else all, the outermost first.
fn charts_meant<'p, 'a>(project: &'p Project<'a>, target: &Target) -> Vec<&'p super::project::Chart<'a>> {
    let named: Vec<_> = project
        .charts
        .iter()
        .filter(|c| target.words.iter().any(|w| !c.name.is_empty() && parts(&c.name).concat() == parts(w).concat()))
        .collect();
    if named.is_empty() { project.charts.iter().collect() } else { named }
}

fn by_path(project: &Project<'_>, request: &Request, text: &str, value: Option<&Value>) -> Resolved {
    let path = read_path(text).ok_or_else(|| format!("\"{text}\" is not a path of keys"))?;
    let mut changes = Changes::default();
    let fits = |root: &Node| root.find(&path).is_some() || (value.is_some() && takes(root, &path));
    let op = |at, old: Option<&Node>| match value {
        Some(value) => Op::Set(at, path.clone(), typed(value, old)),
        None => Op::Remove(at, path.clone()),
    };
    if let Some(file) = &request.file {
        let docs = project.text(file).and_then(super::yaml::parse).ok_or_else(|| format!("{file} is not plain YAML"))?;
        changes.op(file, op(None, docs.first().and_then(|d| d.find(&path))));
        return Ok(changes);
    }
    for chart in &project.charts {
        if let Some((file, root)) = chart.values.as_ref().filter(|(_, root)| fits(root)) {
            let is_new = root.find(&path).is_none();
            if is_new
                && !chart.is_blind()
                && !chart.reads(&seg_keys(&path))
                && !chart.reads_above(&seg_keys(&path))
                && !path.last().is_some_and(|s| matches!(s, Seg::Key(k) if chart.mentions(k)))
            {
                changes.notes.push(format!("no template that was shown reads {text}"));
            }
            changes.op(file, op(None, root.find(&path)));
            return Ok(changes);
        }
    }
    let exists = project.manifests.iter().any(|m| m.root.find(&path).is_some());
    let fits = |root: &Node| if exists { root.find(&path).is_some() } else { fits(root) };
    let places: Vec<_> = project
        .manifests
        .iter()
        .filter(|m| fits(&m.root))
        .map(|m| vec![m.object.kind.to_lowercase(), m.object.name.clone()])
        .collect();
    let picked = pick(&places, &request.target, &[], &format!("the key {text}"))?;
    for manifest in &project.manifests {
        if picked.contains(&vec![manifest.object.kind.to_lowercase(), manifest.object.name.clone()]) {
            changes.op(&manifest.path, op(Some(manifest.object.clone()), manifest.root.find(&path)));
        }
    }
    Ok(changes)
}

/// A value as the place wants it: what was a text stays one.
fn typed(value: &Value, old: Option<&Node>) -> Value {
    use super::yaml::{Kind, Style};
    let quoted =
        old.is_some_and(|n| matches!(&n.kind, Kind::Scalar { style: Style::Single | Style::Double, text } if !text.is_empty()));
    match value {
        Value::Number(n) if quoted => Value::text(n.clone()),
        Value::Bool(b) if quoted => Value::text(b.to_string()),
        other => other.clone(),
    }
}

/// A repository and a tag as one reference.
fn reference(old: &str, repository: Option<&str>, tag: Option<&str>) -> String {
    let (old_repository, old_tag) = match old.rsplit_once(':') {
        Some((r, t)) if !t.contains('/') => (r, Some(t)),
        _ => (old, None),
    };
    let old_repository = old_repository.split('@').next().unwrap_or(old_repository);
    // Another image does not have the old one's tags.
    let tag = tag.or(old_tag.filter(|_| repository.is_none_or(|r| r == old_repository)));
    let repository = repository.unwrap_or(old_repository);
    tag.map_or_else(|| repository.to_owned(), |t| format!("{repository}:{t}"))
}

/// A name for the Secret of a host.
fn secret_name(host: &str) -> String {
    format!("{}-tls", host.trim_start_matches("*.").replace('.', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_put_together() {
        assert_eq!(reference("nginx:1.25", None, Some("1.27")), "nginx:1.27");
        assert_eq!(reference("host:5000/nginx", None, Some("1.27")), "host:5000/nginx:1.27");
        assert_eq!(reference("nginx:1.25", Some("httpd"), None), "httpd");
        assert_eq!(reference("nginx@sha256:00", None, Some("1")), "nginx:1");
    }
}
