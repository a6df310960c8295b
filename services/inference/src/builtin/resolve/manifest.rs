//! Wishes for plain Kubernetes manifests: which objects and fields they mean.

use super::chart::scaling::check_range;
use super::{Changes, Resolved, reference, secret_name, typed};
use crate::builtin::op::Op;
use crate::builtin::project::{Manifest, Project, pick};
use crate::builtin::template::Template;
use crate::builtin::wish::{Bearer, Bound, Request, Target, Wish};
use crate::builtin::yaml::{Node, Path, Seg, Value, keys};

const WORKLOADS: [&str; 5] = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "CronJob"];
const SCALABLE: [&str; 3] = ["Deployment", "StatefulSet", "ReplicaSet"];

pub(super) fn resolve(project: &Project<'_>, request: &Request) -> Resolved {
    let at = In { project, target: &request.target, file: request.file.as_deref() };
    match &request.wish {
        Wish::Replicas { count } => at.each(&SCALABLE, "a replica count", |m, c| {
            c.op(&m.path, at.set(m, keys(&["spec", "replicas"]), Value::number(count)));
            Ok(())
        }),
        Wish::Image { repository, tag } => at.each(&WORKLOADS, "an image", |m, c| {
            let container = at.container(m)?;
            let path = [container, keys(&["image"])].concat();
            let old = m.root.find(&path).and_then(Node::text).unwrap_or_default();
            c.op(&m.path, at.set(m, path, Value::text(reference(old, repository.as_deref(), tag.as_deref()))));
            Ok(())
        }),
        Wish::Resources { amounts } => at.each(&WORKLOADS, "resources", |m, c| at.resources(m, c, amounts)),
        Wish::Env { name, value } => at.each(&WORKLOADS, "environment variables", |m, c| at.env(m, c, name, value.as_deref())),
        Wish::Port { port, container: true } => at.each(&WORKLOADS, "a container port", |m, c| {
            let path = [at.container(m)?, keys(&["ports"]), vec![Seg::Index(0)], keys(&["containerPort"])].concat();
            c.op(&m.path, at.set(m, path, Value::number(port)));
            Ok(())
        }),
        Wish::Port { port, container: false } => at.each(&["Service"], "a service port", |m, c| {
            let path = [keys(&["spec", "ports"]), vec![Seg::Index(0)], keys(&["port"])].concat();
            c.op(&m.path, at.set(m, path, Value::number(port)));
            Ok(())
        }),
        Wish::ServiceType { kind } => at.each(&["Service"], "a service type", |m, c| {
            c.op(&m.path, at.set(m, keys(&["spec", "type"]), Value::text(*kind)));
            Ok(())
        }),
        Wish::Ingress { enabled, hosts, more, class, tls, secret } => {
            if !enabled || *more {
                return Err("in plain manifests an ingress can be made and its host set, no more".to_owned());
            }
            at.ingress(hosts, class.as_deref(), *tls, secret.as_deref())
        }
        Wish::Autoscaling { enabled, min, max, cpu } => {
            if !enabled {
                return Err("in plain manifests autoscaling is turned off by deleting its file".to_owned());
            }
            at.autoscaling(*min, *max, *cpu)
        }
        Wish::Probe { .. } => at.each(&WORKLOADS, "a container", |m, c| at.probes(m, c, &request.wish)),
        Wish::Meta { annotation, bearer, key, value } => at.meta(*annotation, *bearer, key, value.as_deref()),
        Wish::ChartVersion { .. } => Err("there is no chart whose version could be set".to_owned()),
        Wish::Key { words, .. } | Wish::Switch { words, .. } => {
            Err(format!("no key is called \"{}\"; name it by its path, such as spec.replicas", words.join(" ")))
        }
        Wish::Path { .. } => Err("this is not a path of the manifests".to_owned()),
    }
}

struct In<'p, 'a> {
    project: &'p Project<'a>,
    target: &'p Target,
    file: Option<&'p str>,
}

impl<'p> In<'p, '_> {
    fn of_kinds(&self, kinds: &[&str]) -> Vec<&'p Manifest> {
        let here = |m: &&Manifest| self.file.is_none_or(|f| f == m.path);
        self.project.manifests.iter().filter(here).filter(|m| kinds.contains(&m.object.kind.as_str())).collect()
    }

    fn pick(&self, kinds: &[&str], what: &str) -> Result<Vec<&'p Manifest>, String> {
        let all = self.of_kinds(kinds);
        let name = |m: &Manifest| vec![m.object.name.clone()];
        let picked = pick(&all.iter().map(|m| name(m)).collect::<Vec<_>>(), self.target, &[], what)?;
        Ok(all.into_iter().filter(|m| picked.contains(&name(m))).collect())
    }

    fn each(&self, kinds: &[&str], what: &str, change: impl Fn(&Manifest, &mut Changes) -> Result<(), String>) -> Resolved {
        let mut changes = Changes::default();
        for manifest in self.pick(kinds, what)? {
            change(manifest, &mut changes)?;
        }
        Ok(changes)
    }

    fn set(&self, manifest: &Manifest, path: Path, value: Value) -> Op {
        let value = typed(&value, manifest.root.find(&path));
        Op::Set(Some(manifest.object.clone()), path, value)
    }

    /// The pod's template in a workload.
    fn pod(&self, manifest: &Manifest) -> Path {
        if manifest.object.kind == "CronJob" {
            keys(&["spec", "jobTemplate", "spec", "template"])
        } else {
            keys(&["spec", "template"])
        }
    }

    /// The container that is meant: the only one, the one that is named, or the one called as its workload.
    fn container(&self, manifest: &Manifest) -> Result<Path, String> {
        let list = [self.pod(manifest), keys(&["spec", "containers"])].concat();
        let items = manifest.root.find(&list).map(Node::items).unwrap_or_default();
        let name = |n: &Node| n.get("name").and_then(Node::text).map(str::to_owned);
        let meant = match items {
            [] => return Err(format!("{} {} has no containers", manifest.object.kind, manifest.object.name)),
            [one] => one,
            many => many
                .iter()
                .find(|i| name(i).is_some_and(|n| self.target.words.contains(&n)))
                .or_else(|| many.iter().find(|i| name(i).as_ref() == Some(&manifest.object.name)))
                .unwrap_or(&many[0]),
        };
        let seg = name(meant).map_or(Seg::Index(0), Seg::Named);
        Ok([list, vec![seg]].concat())
    }

    fn resources(&self, m: &Manifest, changes: &mut Changes, amounts: &[(Bound, &'static str, String)]) -> Result<(), String> {
        let container = self.container(m)?;
        for (bound, measure, amount) in amounts {
            let bounds: &[&str] = match bound {
                Bound::Requests => &["requests"],
                Bound::Limits => &["limits"],
                Bound::Both => &["requests", "limits"],
            };
            for bound in bounds {
                let path = [container.clone(), keys(&["resources", bound, measure])].concat();
                changes.op(&m.path, self.set(m, path, Value::of_word(amount)));
            }
        }
        Ok(())
    }

    fn env(&self, m: &Manifest, changes: &mut Changes, name: &str, value: Option<&str>) -> Result<(), String> {
        let path = [self.container(m)?, keys(&["env"]), vec![Seg::Named(name.to_owned())]].concat();
        if m.root.find(&path).is_some_and(|e| e.get("valueFrom").is_some()) && value.is_some() {
            return Err(format!("{name} gets its value from elsewhere (valueFrom)"));
        }
        changes.op(
            &m.path,
            match value {
                Some(value) => Op::Set(Some(m.object.clone()), [path, keys(&["value"])].concat(), Value::text(value)),
                None => Op::Remove(Some(m.object.clone()), path),
            },
        );
        Ok(())
    }

    fn probes(&self, m: &Manifest, changes: &mut Changes, wish: &Wish) -> Result<(), String> {
        let Wish::Probe { which, path, port, fields, removed } = wish else { return Ok(()) };
        let container = self.container(m)?;
        let first_port = m.root.find(&[container.clone(), keys(&["ports"]), vec![Seg::Index(0)]].concat());
        let first_port = first_port.and_then(|p| p.get("name").or_else(|| p.get("containerPort"))).and_then(Node::text);
        for kind in which {
            let probe_path = [container.clone(), keys(&[format!("{kind}Probe")])].concat();
            let probe = m.root.find(&probe_path);
            if *removed {
                changes.op(&m.path, Op::Remove(Some(m.object.clone()), probe_path));
                continue;
            }
            let other = ["grpc", "tcpSocket", "exec"].into_iter().find(|k| probe.is_some_and(|p| p.get(k).is_some()));
            let at = |rest: &[&str]| [probe_path.clone(), keys(rest)].concat();
            if let Some(path) = path {
                if let Some(other) = other {
                    return Err(format!("the {kind} probe is a {other} probe and has no path"));
                }
                changes.op(&m.path, self.set(m, at(&["httpGet", "path"]), Value::text(path)));
                if port.is_none() && probe.is_none_or(|p| p.at(&["httpGet", "port"]).is_none()) {
                    let port = first_port.ok_or("the probe needs a port; say which")?;
                    changes.op(&m.path, self.set(m, at(&["httpGet", "port"]), Value::of_word(port)));
                }
            } else if probe.is_none() {
                // "probes" means the ones that are there.
                if which.len() == 1 {
                    return Err(format!("{} {} has no {kind} probe", m.object.kind, m.object.name));
                }
                continue;
            }
            if let Some(port) = port {
                changes.op(&m.path, self.set(m, at(&[other.unwrap_or("httpGet"), "port"]), Value::of_word(port)));
            }
            for (field, value) in fields {
                changes.op(&m.path, self.set(m, at(&[field]), Value::number(value)));
            }
        }
        Ok(())
    }

    fn meta(&self, annotation: bool, bearer: Bearer, key: &str, value: Option<&str>) -> Resolved {
        let what = if annotation { "annotations" } else { "labels" };
        let kinds: &[&str] = match bearer {
            Bearer::Service => &["Service"],
            Bearer::Ingress => &["Ingress"],
            Bearer::Any | Bearer::Pods | Bearer::Common => &WORKLOADS,
        };
        self.each(kinds, what, |m, c| {
            let above = if bearer == Bearer::Pods { self.pod(m) } else { Path::new() };
            let path = [above, keys(&["metadata", what, key])].concat();
            let object = Some(m.object.clone());
            c.op(
                &m.path,
                match value {
                    Some(value) => Op::Set(object, path, Value::text(value)),
                    None => Op::Remove(object, path),
                },
            );
            Ok(())
        })
    }

    fn ingress(&self, hosts: &[String], class: Option<&str>, tls: bool, secret: Option<&str>) -> Resolved {
        let mut changes = Changes::default();
        if self.of_kinds(&["Ingress"]).is_empty() {
            let [host] = hosts else { return Err("a new ingress needs exactly one host; say which".to_owned()) };
            let services = self.pick(&["Service"], "a service that an ingress could lead to")?;
            let [service] = services[..] else { return Err("say which service the ingress leads to".to_owned()) };
            let port = service.root.find(&[keys(&["spec", "ports"]), vec![Seg::Index(0)]].concat());
            let port = port
                .and_then(|p| p.get("name").or_else(|| p.get("port")))
                .and_then(Node::text)
                .ok_or("the service has no port")?;
            let secret = if tls { secret.map_or_else(|| secret_name(host), str::to_owned) } else { String::new() };
            let file = self.free_name(&service.path, "ingress", &service.object.name);
            changes.op(
                &file,
                Op::Template(Template::PlainIngress {
                    name: service.object.name.clone(),
                    namespace: namespace(service),
                    host: host.clone(),
                    port: port.to_owned(),
                    class: class.unwrap_or_default().to_owned(),
                    secret,
                }),
            );
            return Ok(changes);
        }
        for m in self.pick(&["Ingress"], "an ingress")? {
            if let Some(host) = hosts.first() {
                let rule = [keys(&["spec", "rules"]), vec![Seg::Index(0)], keys(&["host"])].concat();
                let old = m.root.find(&rule).and_then(Node::text).map(str::to_owned);
                changes.op(&m.path, self.set(m, rule, Value::text(host.clone())));
                let tls_list = m.root.at(&["spec", "tls"]).map(Node::items).unwrap_or_default();
                for (n, item) in tls_list.iter().enumerate() {
                    for (k, named) in item.get("hosts").map(Node::items).unwrap_or_default().iter().enumerate() {
                        if named.text().map(str::to_owned) == old {
                            let path =
                                [keys(&["spec", "tls"]), vec![Seg::Index(n)], keys(&["hosts"]), vec![Seg::Index(k)]].concat();
                            changes.op(&m.path, self.set(m, path, Value::text(host.clone())));
                        }
                    }
                }
                if tls && tls_list.is_empty() {
                    let secret = secret.map_or_else(|| secret_name(host), str::to_owned);
                    let item = Value::map([
                        ("hosts", Value::List(vec![Value::text(host.clone())])),
                        ("secretName", Value::text(secret)),
                    ]);
                    changes.op(&m.path, Op::Set(Some(m.object.clone()), keys(&["spec", "tls"]), Value::List(vec![item])));
                }
            }
            if let Some(class) = class {
                changes.op(&m.path, self.set(m, keys(&["spec", "ingressClassName"]), Value::text(class)));
            }
        }
        if changes.ops.is_empty() { Err("the ingress is there; say which host it is for".to_owned()) } else { Ok(changes) }
    }

    fn autoscaling(&self, min: Option<u64>, max: Option<u64>, cpu: Option<u64>) -> Resolved {
        check_range(min, max)?;
        let mut changes = Changes::default();
        if self.of_kinds(&["HorizontalPodAutoscaler"]).is_empty() {
            let workloads = self.pick(&SCALABLE, "a replica count")?;
            let [workload] = workloads[..] else { return Err("say which workload is to be scaled".to_owned()) };
            let least = min.unwrap_or(2).min(max.unwrap_or(u64::MAX));
            let file = self.free_name(&workload.path, "hpa", &workload.object.name);
            changes.op(
                &file,
                Op::Template(Template::PlainScaler {
                    kind: workload.object.kind.clone(),
                    name: workload.object.name.clone(),
                    namespace: namespace(workload),
                    min: least.to_string(),
                    max: max.unwrap_or(least.max(5)).to_string(),
                    cpu: cpu.unwrap_or(80).to_string(),
                }),
            );
            // Two writers of one number would undo each other.
            changes.op(&workload.path, Op::Remove(Some(workload.object.clone()), keys(&["spec", "replicas"])));
            return Ok(changes);
        }
        for m in self.pick(&["HorizontalPodAutoscaler"], "autoscaling")? {
            for (key, value) in [("minReplicas", min), ("maxReplicas", max)] {
                if let Some(value) = value {
                    changes.op(&m.path, self.set(m, keys(&["spec", key]), Value::number(value)));
                }
            }
            if let Some(cpu) = cpu {
                let metrics = m.root.at(&["spec", "metrics"]).map(Node::items).unwrap_or_default();
                let is_cpu = |i: &Node| i.at(&["resource", "name"]).and_then(Node::text) == Some("cpu");
                let path = match metrics.iter().position(is_cpu) {
                    Some(n) => {
                        [keys(&["spec", "metrics"]), vec![Seg::Index(n)], keys(&["resource", "target", "averageUtilization"])]
                            .concat()
                    }
                    None if m.root.at(&["spec", "targetCPUUtilizationPercentage"]).is_some() => {
                        keys(&["spec", "targetCPUUtilizationPercentage"])
                    }
                    None => return Err("the autoscaler does not look at the CPU".to_owned()),
                };
                changes.op(&m.path, self.set(m, path, Value::number(cpu)));
            }
        }
        if changes.ops.is_empty() { Err("autoscaling is on; say between how many replicas".to_owned()) } else { Ok(changes) }
    }

    /// A name for a new file beside another one.
    fn free_name(&self, beside: &str, what: &str, name: &str) -> String {
        let dir = beside.rfind('/').map_or("", |at| &beside[..=at]);
        let plain = format!("{dir}{what}.yaml");
        if self.project.has(&plain) { format!("{dir}{name}-{what}.yaml") } else { plain }
    }
}

fn namespace(m: &Manifest) -> String {
    m.root.at(&["metadata", "namespace"]).and_then(Node::text).unwrap_or_default().to_owned()
}
