//! Wishes for a Helm chart: which keys of its values they mean.

use super::{Changes, Resolved, reference, typed};
use crate::builtin::op::Op;
use crate::builtin::project::{Chart, Project, covers, pick};
use crate::builtin::template::Template;
use crate::builtin::wish::{Bound, Request, Target, Wish};
use crate::builtin::words::{parts, squashed};
use crate::builtin::yaml::{Node, Path, Seg, Value, keys};

mod ingress;
mod keys;
pub(super) mod scaling;

const REPLICAS: [&str; 5] = ["replicas", "replicaCount", "replica_count", "replicasCount", "numReplicas"];
const ENV: [&str; 8] = ["env", "extraEnv", "extraEnvVars", "envVars", "environment", "extraEnvs", "environmentVariables", "envs"];

/// What the readers share: the chart, the file with its values, what is wanted for whom.
struct In<'c, 'a> {
    project: &'c Project<'a>,
    chart: &'c Chart<'a>,
    file: String,
    root: &'c Node,
    target: &'c Target,
    aliases: Vec<String>,
}

pub(super) fn resolve(project: &Project<'_>, chart: &Chart<'_>, request: &Request) -> Resolved {
    if let Wish::ChartVersion { app, version } = &request.wish {
        return version_of(project, chart, *app, version);
    }
    let named =
        request.file.as_ref().and_then(|f| Some((f.clone(), crate::builtin::yaml::parse(project.text(f)?)?.into_iter().next()?)));
    if let (Some(file), None) = (&request.file, &named) {
        return Err(format!("{file} is not plain YAML"));
    }
    let Some((file, root)) = named.as_ref().or(chart.values.as_ref()) else {
        return Err(format!("the chart {} has no values.yaml that was shown", chart.name));
    };
    let mut aliases = parts(&chart.name);
    aliases.extend([squashed(&chart.name), chart.name.clone()]);
    let at = In { project, chart, file: file.clone(), root, target: &request.target, aliases };
    match &request.wish {
        Wish::Replicas { count } => at.replicas(*count),
        Wish::Image { repository, tag } => at.image(repository.as_deref(), tag.as_deref()),
        Wish::Resources { amounts } => at.resources(amounts),
        Wish::Env { name, value } => at.env(name, value.as_deref()),
        Wish::Port { port, container } => at.port(*port, *container),
        Wish::Ingress { enabled, hosts, more, class, tls, secret } => at.ingress(&ingress::Wanted {
            enabled: *enabled,
            hosts,
            more: *more,
            class: class.as_deref(),
            tls: *tls,
            secret: secret.as_deref(),
        }),
        Wish::Autoscaling { enabled, min, max, cpu } => at.autoscaling(*enabled, *min, *max, *cpu),
        Wish::Probe { .. } => at.probes(&request.wish),
        Wish::ServiceType { kind } => at.service_type(kind),
        Wish::Meta { annotation, bearer, key, value } => at.meta(*annotation, *bearer, key, value.as_deref()),
        Wish::Key { words, value } => at.key(words, value),
        Wish::Switch { words, on } => at.switch(words, *on),
        Wish::Path { .. } | Wish::ChartVersion { .. } => Err("this is not about the chart's values".to_owned()),
    }
}

fn version_of(project: &Project<'_>, chart: &Chart<'_>, app: bool, version: &str) -> Resolved {
    let file = format!("{}Chart.yaml", chart.dir);
    let docs = project.text(&file).and_then(crate::builtin::yaml::parse).ok_or_else(|| format!("{file} was not shown"))?;
    let path = keys(&[if app { "appVersion" } else { "version" }]);
    let value = typed(&Value::text(version), docs.first().and_then(|d| d.find(&path)));
    let mut changes = Changes::default();
    changes.set(&file, path, value);
    Ok(changes)
}

impl In<'_, '_> {
    /// The mappings that satisfy a condition, by path.
    fn places(&self, fits: impl Fn(&Node) -> bool) -> Vec<Vec<String>> {
        self.root.maps().into_iter().filter(|(_, node)| fits(node)).map(|(path, _)| path).collect()
    }

    fn pick(&self, places: &[Vec<String>], what: &str) -> Result<Vec<Vec<String>>, String> {
        pick(places, self.target, &self.aliases, what)
    }

    fn node(&self, owner: &[String]) -> Option<&Node> {
        self.root.find(&keys(owner))
    }

    fn below(owner: &[String], rest: &[&str]) -> Path {
        owner.iter().map(String::as_str).chain(rest.iter().copied()).map(|k| Seg::Key(k.to_owned())).collect()
    }

    /// True when a new key would be read by a template.
    fn would_be_read(&self, owner: &[String], key: &str) -> bool {
        let path: Vec<String> = owner.iter().cloned().chain([key.to_owned()]).collect();
        self.chart.reads(&path)
            || (!owner.is_empty() && self.chart.mentions(key))
            || (self.chart.is_blind() && self.chart.templates.iter().all(|t| t.text.is_none()))
    }

    /// The component that new keys are for: the one that is named, or the only one.
    fn component(&self, what: &str) -> Result<Vec<String>, String> {
        let is_component =
            |n: &Node| ["image", "replicas", "replicaCount", "resources", "service"].iter().any(|k| n.get(k).is_some());
        let mut places = self.places(is_component);
        if !self.target.words.is_empty() {
            let named: Vec<_> = self
                .root
                .maps()
                .into_iter()
                .map(|(p, _)| p)
                .filter(|p| (1..=2).contains(&p.len()) && covers(p, &self.target.words))
                .collect();
            if !named.is_empty() {
                places = named;
            }
        }
        let mut picked = self.pick(&places, what)?;
        match (picked.pop(), picked.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(format!("say for which one {what} is meant")),
        }
    }

    fn replicas(&self, count: u64) -> Resolved {
        let key_of = |n: &Node| REPLICAS.into_iter().find(|k| n.get(k).is_some_and(|v| v.text().is_some()));
        let places = self.places(|n| key_of(n).is_some());
        let mut changes = Changes::default();
        match self.pick(&places, "a replica count") {
            Ok(owners) => {
                for owner in owners {
                    let node = self.node(&owner).ok_or("the values have changed")?;
                    let key = key_of(node).unwrap_or(REPLICAS[0]);
                    changes.set(&self.file, Self::below(&owner, &[key]), Value::number(count));
                    if node.at(&["autoscaling", "enabled"]).and_then(Node::as_bool) == Some(true) {
                        changes.notes.push(format!(
                            "{} is ignored while autoscaling is on",
                            [&owner[..], &[key.to_owned()]].concat().join(".")
                        ));
                    }
                }
                Ok(changes)
            }
            Err(why) => {
                let Ok(owner) = self.component("a replica count") else { return Err(why) };

                let key = REPLICAS.iter().find(|k| self.would_be_read(&owner, k)).ok_or(why)?;
                changes.set(&self.file, Self::below(&owner, &[key]), Value::number(count));
                Ok(changes)
            }
        }
    }

    fn image(&self, repository: Option<&str>, tag: Option<&str>) -> Resolved {
        let is_image = |v: &Node| v.text().is_some() || ["repository", "tag", "name"].iter().any(|k| v.get(k).is_some());
        let places = self.places(|n| n.get("image").is_some_and(is_image) || n.get("imageTag").is_some());
        let mut changes = Changes::default();
        for owner in self.pick(&places, "an image")? {
            let node = self.node(&owner).ok_or("the values have changed")?;
            let Some(image) = node.get("image").filter(|i| !i.is_null()) else {
                let tag = tag.ok_or("only the image's tag is in the values")?;
                changes.set(&self.file, Self::below(&owner, &["imageTag"]), Value::text(tag));
                continue;
            };
            if let Some(old) = image.text() {
                let separate = node.get("imageTag").is_some();
                let whole = if separate { repository.map(str::to_owned) } else { Some(reference(old, repository, tag)) };
                if let Some(whole) = whole {
                    changes.set(&self.file, Self::below(&owner, &["image"]), Value::text(whole));
                }
                if let Some(tag) = tag.filter(|_| separate) {
                    changes.set(&self.file, Self::below(&owner, &["imageTag"]), Value::text(tag));
                }
                continue;
            }
            if let Some(repository) = repository {
                let key = if image.get("repository").is_none() && image.get("name").is_some() { "name" } else { "repository" };
                let registry = repository
                    .split_once('/')
                    .filter(|(r, _)| image.get("registry").is_some() && (r.contains(['.', ':']) || *r == "localhost"));
                if let Some((registry, _)) = registry {
                    changes.set(&self.file, Self::below(&owner, &["image", "registry"]), Value::text(registry));
                }
                let rest = registry.map_or(repository, |(_, rest)| rest);
                changes.set(&self.file, Self::below(&owner, &["image", key]), Value::text(rest));
            }
            if let Some(tag) = tag {
                changes.set(&self.file, Self::below(&owner, &["image", "tag"]), Value::text(tag));
            } else if image.get("tag").and_then(Node::text).is_some_and(|t| !t.is_empty()) {
                changes.notes.push("the tag is left as it is".to_owned());
            }
        }
        Ok(changes)
    }

    fn resources(&self, amounts: &[(Bound, &'static str, String)]) -> Resolved {
        let places = self.places(|n| n.get("resources").is_some_and(|r| r.is_map() || r.is_null()));
        let mut changes = Changes::default();
        let owners = match self.pick(&places, "resources") {
            Ok(owners) => owners,
            Err(why) => vec![self.new_container_value(&mut changes, "resources").map_err(|_| why)?],
        };
        for owner in owners {
            for (bound, measure, amount) in amounts {
                let bounds: &[&str] = match bound {
                    Bound::Requests => &["requests"],
                    Bound::Limits => &["limits"],
                    Bound::Both => &["requests", "limits"],
                };
                for bound in bounds {
                    let path = Self::below(&owner, &["resources", bound, measure]);
                    let value = typed(&Value::of_word(amount), self.root.find(&path));
                    changes.set(&self.file, path, value);
                }
            }
        }
        Ok(changes)
    }

    /// The owner of a container's key that the values do not have yet. When no template reads it, the workload's
    /// template is made to.
    fn new_container_value(&self, changes: &mut Changes, key: &str) -> Result<Vec<String>, String> {
        let owner = self.component(key)?;
        if self.would_be_read(&owner, key) {
            return Ok(owner);
        }
        let path = owner.iter().map(String::as_str).chain([key]).collect::<Vec<_>>().join(".");
        let workload = self.workload(&owner)?;
        let op = Op::Template(Template::Container { key: key.to_owned(), values: path });
        op.apply(workload.1)?;
        changes.op(workload.0, op);
        Ok(owner)
    }

    /// The template of a component's workload: its path and text.
    fn workload(&self, owner: &[String]) -> Result<(&str, &str), String> {
        let mut found: Vec<(&str, &str)> = ["Deployment", "StatefulSet", "DaemonSet"]
            .iter()
            .flat_map(|k| self.chart.of_kind(k))
            .filter_map(|t| Some((t.path, t.text?)))
            .collect();
        if found.len() > 1
            && let Some(name) = owner.last()
        {
            found.retain(|(path, text)| {
                text.contains(&format!(".Values.{}", owner.join("."))) || squashed(path).contains(&squashed(name))
            });
        }
        match found[..] {
            [one] => Ok(one),
            [] => Err("no template of a workload was shown".to_owned()),
            _ => Err("several templates make workloads".to_owned()),
        }
    }

    fn env(&self, name: &str, value: Option<&str>) -> Resolved {
        let is_env =
            |v: &Node| v.is_list() || v.is_empty() || (v.is_map() && v.entries().iter().all(|(_, v)| v.text().is_some()));
        let keys_of = |n: &Node| -> Vec<&'static str> { ENV.into_iter().filter(|k| n.get(k).is_some_and(is_env)).collect() };
        let places = self.places(|n| !keys_of(n).is_empty());
        let mut changes = Changes::default();
        let owners = match self.pick(&places, "environment variables") {
            Ok(owners) => owners,
            Err(why) if value.is_some() => {
                let read = self
                    .component("environment variables")
                    .ok()
                    .and_then(|o| Some((ENV.into_iter().find(|k| self.would_be_read(&o, k))?, o)));
                let (key, owner) = match read {
                    Some((key, owner)) => (key, owner),
                    None => ("env", self.new_container_value(&mut changes, "env").map_err(|_| why)?),
                };
                let mut path = Self::below(&owner, &[key]);
                path.extend([Seg::Named(name.to_owned()), Seg::Key("value".to_owned())]);
                changes.set(&self.file, path, Value::text(value.unwrap_or_default()));
                return Ok(changes);
            }
            Err(why) => return Err(why),
        };
        for owner in owners {
            let node = self.node(&owner).ok_or("the values have changed")?;
            let all = keys_of(node);
            let holds =
                |k: &&&str| node.get(k).is_some_and(|e| e.get(name).is_some() || e.step(&Seg::Named(name.to_owned())).is_some());
            let Some(key) = all.iter().find(holds).or(all.first()) else { continue };
            let env = node.get(key).ok_or("the values have changed")?;
            let mut path = Self::below(&owner, &[key]);
            let as_map = env.is_map() && (!env.is_empty() || self.is_ranged_as_map(&owner, key));
            if as_map {
                path.push(Seg::Key(name.to_owned()));
            } else {
                path.push(Seg::Named(name.to_owned()));
            }
            match value {
                None => changes.op(&self.file, Op::Remove(None, path)),
                Some(value) => {
                    if !as_map {
                        if env.step(&Seg::Named(name.to_owned())).is_some_and(|e| e.get("valueFrom").is_some()) {
                            return Err(format!("{name} gets its value from elsewhere (valueFrom)"));
                        }
                        path.push(Seg::Key("value".to_owned()));
                    }
                    changes.set(&self.file, path, Value::text(value));
                }
            }
        }
        Ok(changes)
    }

    /// An empty `{}`: a template that ranges over keys and values wants a mapping, one that prints it wants a list.
    fn is_ranged_as_map(&self, owner: &[String], key: &str) -> bool {
        let path = owner.iter().map(String::as_str).chain([key]).collect::<Vec<_>>().join(".");
        let ranged = self.chart.templates.iter().filter_map(|t| t.text).any(|t| {
            t.lines().any(|l| {
                l.contains("range $")
                    && l.contains(',')
                    && (l.contains(&format!(".Values.{path}")) || l.contains(&format!(".{key}")))
            })
        });
        let printed = self
            .chart
            .templates
            .iter()
            .filter_map(|t| t.text)
            .any(|t| t.contains(&format!("toYaml .Values.{path}")) || t.contains(&format!("with .Values.{path}")));
        ranged || !printed
    }

    fn port(&self, port: u64, container: bool) -> Resolved {
        let mut changes = Changes::default();
        let paths: &[&[&str]] = if container {
            &[
                &["containerPort"],
                &["service", "targetPort"],
                &["container", "port"],
                &["service", "containerPort"],
                &["targetPort"],
                &["port"],
            ]
        } else {
            &[
                &["service", "port"],
                &["servicePort"],
                &["port"],
                &["service", "ports", "http", "port"],
                &["service", "ports", "http"],
            ]
        };
        let is_port = |n: &Node, path: &[&str]| n.at(path).is_some_and(|v| v.text().is_some());
        let places = self.places(|n| paths.iter().any(|p| is_port(n, p)));
        // `service` itself has a key `port`: its owner is meant.
        let places: Vec<_> = places
            .into_iter()
            .filter(|p| p.last().is_none_or(|k| !["service", "httpGet", "container"].contains(&k.as_str())))
            .collect();
        for owner in self.pick(&places, if container { "a container port" } else { "a service port" })? {
            let node = self.node(&owner).ok_or("the values have changed")?;
            let path = paths.iter().find(|p| is_port(node, p)).ok_or("the values have changed")?;
            let path = Self::below(&owner, path);
            let value = typed(&Value::number(port), self.root.find(&path));
            changes.set(&self.file, path, value);
        }
        Ok(changes)
    }

    fn service_type(&self, kind: &str) -> Resolved {
        let places = self.places(|n| n.get("service").is_some_and(|s| s.get("type").is_some()));
        let mut changes = Changes::default();
        let owners = match self.pick(&places, "a service type") {
            Ok(owners) => owners,
            Err(why) => {
                let owner = self.component("a service type").map_err(|_| why.clone())?;
                let service = [&owner[..], &["service".to_owned()]].concat();
                if !self.would_be_read(&service, "type") {
                    return Err(why);
                }
                vec![owner]
            }
        };
        for owner in owners {
            changes.set(&self.file, Self::below(&owner, &["service", "type"]), Value::text(kind));
        }
        Ok(changes)
    }
}
