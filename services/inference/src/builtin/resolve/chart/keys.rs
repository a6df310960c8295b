//! Wishes that name keys of a chart's values more or less outright: labels and annotations, keys in words, switches.

use super::super::{Changes, Resolved, typed};
use super::In;
use crate::builtin::op::Op;
use crate::builtin::wish::Bearer;
use crate::builtin::words::{parts, singular, squashed};
use crate::builtin::yaml::{Node, Value, keys};

impl In<'_, '_> {
    pub(super) fn meta(&self, annotation: bool, bearer: Bearer, key: &str, value: Option<&str>) -> Resolved {
        let what = if annotation { "annotations" } else { "labels" };
        let of = |a: &'static str, l: &'static str| if annotation { a } else { l };
        let paths: Vec<Vec<&str>> = match bearer {
            Bearer::Pods => vec![
                vec![of("podAnnotations", "podLabels")],
                vec!["pod", what],
                vec!["deployment", of("podAnnotations", "podLabels")],
            ],
            Bearer::Service => vec![vec!["service", what], vec![of("serviceAnnotations", "serviceLabels")]],
            Bearer::Ingress => vec![vec!["ingress", what], vec![of("ingressAnnotations", "ingressLabels")]],
            Bearer::Common => {
                vec![vec![of("commonAnnotations", "commonLabels")], vec![of("extraAnnotations", "extraLabels")], vec![what]]
            }
            Bearer::Any => vec![
                vec![of("podAnnotations", "podLabels")],
                vec![what],
                vec![of("commonAnnotations", "commonLabels")],
                vec![of("extraAnnotations", "extraLabels")],
            ],
        };
        let holds = |n: &Node, path: &[&str]| n.at(path).is_some_and(|v| v.is_map() || v.is_empty());
        let mut changes = Changes::default();
        let mut refused = None;
        for path in &paths {
            let places = self.places(|n| holds(n, path));
            let places: Vec<_> = places
                .into_iter()
                .filter(|p| {
                    path.len() > 1 || p.last().is_none_or(|k| !["service", "ingress", "serviceAccount"].contains(&k.as_str()))
                })
                .collect();
            match self.pick(&places, what) {
                Ok(owners) => {
                    for owner in owners {
                        let path = [Self::below(&owner, path), keys(&[key])].concat();
                        match value {
                            Some(value) => changes.set(&self.file, path, Value::text(value)),
                            None => changes.op(&self.file, Op::Remove(None, path)),
                        }
                    }
                    return Ok(changes);
                }
                Err(why) if places.is_empty() => refused = refused.or(Some(why)),
                Err(why) => return Err(why),
            }
        }
        let owner = self.component(what)?;
        let read = |path: &&Vec<&str>| {
            let (last, above) = path.split_last().unwrap_or((&"", &[]));
            let owner: Vec<String> = owner.iter().cloned().chain(above.iter().map(|k| (*k).to_owned())).collect();
            self.would_be_read(&owner, last)
        };
        match (paths.iter().find(read), value) {
            (Some(path), Some(value)) => {
                changes.set(&self.file, [Self::below(&owner, path), keys(&[key])].concat(), Value::text(value));
                Ok(changes)
            }
            _ => Err(refused.unwrap_or_else(|| format!("the chart's templates take no {what} from the values"))),
        }
    }

    /// A key in words: every word is in its path, and the whole of its own name is among the words.
    pub(super) fn key(&self, words: &[String], value: &Value) -> Resolved {
        let leaves = self.leaves(|v| v.text().is_some());
        let path =
            self.by_words(&leaves, words).ok_or_else(|| format!("no key of {} is called \"{}\"", self.file, words.join(" ")))?;
        let path = keys(&path);
        let value = typed(value, self.root.find(&path));
        let mut changes = Changes::default();
        changes.set(&self.file, path, value);
        Ok(changes)
    }

    pub(super) fn switch(&self, words: &[String], on: bool) -> Resolved {
        let places: Vec<Vec<String>> = self.places(|n| n.get("enabled").is_some_and(|e| e.as_bool().is_some()));
        let places: Vec<_> = places.into_iter().filter(|p| !p.is_empty()).collect();
        let path = match self.by_words(&places, words) {
            Some(mut path) => {
                path.push("enabled".to_owned());
                path
            }
            None => {
                let leaves = self.leaves(|v| v.as_bool().is_some());
                self.by_words(&leaves, words)
                    .ok_or_else(|| format!("nothing called \"{}\" can be turned on or off in {}", words.join(" "), self.file))?
            }
        };
        let mut changes = Changes::default();
        changes.set(&self.file, keys(&path), Value::Bool(on));
        Ok(changes)
    }

    pub(super) fn leaves(&self, fits: impl Fn(&Node) -> bool) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        for (path, node) in self.root.maps() {
            for (key, value) in node.entries() {
                if let Some(key) = key.text().filter(|_| fits(value)) {
                    found.push([&path[..], &[key.to_owned()]].concat());
                }
            }
        }
        found
    }

    pub(super) fn by_words(&self, places: &[Vec<String>], words: &[String]) -> Option<Vec<String>> {
        let words: Vec<&str> = words.iter().map(|w| singular(w)).collect();
        let fits = |path: &&Vec<String>| {
            let mut own: Vec<String> = path.last().map(|k| parts(k)).unwrap_or_default();
            // Nobody says the unit that a key's name ends with.
            if own.len() > 1 {
                own.pop_if(|unit| ["seconds", "percentage", "count", "ms", "minutes"].contains(&unit.as_str()));
            }
            let all: Vec<String> = path.iter().flat_map(|k| parts(k)).collect();
            let own_said = own.iter().all(|p| words.contains(&singular(p)));
            let squashed_said = path.last().is_some_and(|k| squashed(k) == words.concat());
            squashed_said || (own_said && words.iter().all(|w| all.iter().any(|p| singular(p) == *w)))
        };
        let fitting: Vec<_> = places.iter().filter(fits).collect();
        let least = fitting.iter().map(|p| p.len()).min()?;
        let mut nearest = fitting.into_iter().filter(|p| p.len() == least);
        let first = nearest.next()?;
        nearest.next().is_none().then(|| first.clone())
    }
}
