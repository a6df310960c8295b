//! Ingress wishes for a chart: the shapes that charts give to hosts and TLS, and the Ingress that a chart lacks.

use super::super::{Changes, Resolved, secret_name};
use super::In;
use crate::builtin::op::Op;
use crate::builtin::template::Template;
use crate::builtin::yaml::{Node, Path, Seg, Value};

/// What is wanted of an Ingress.
pub(super) struct Wanted<'w> {
    pub(super) enabled: bool,
    pub(super) hosts: &'w [String],
    pub(super) more: bool,
    pub(super) class: Option<&'w str>,
    pub(super) tls: bool,
    pub(super) secret: Option<&'w str>,
}

impl In<'_, '_> {
    pub(super) fn ingress(&self, wanted: &Wanted<'_>) -> Resolved {
        let mut places = self.places(|n| n.get("ingress").is_some_and(|i| i.is_map() || i.is_null()));
        // Network policies and the like have lists of that name, and sub-mappings that are none.
        places.retain(|p| !p.iter().any(|k| k.to_lowercase().contains("policy")));
        if places.is_empty() {
            return if self.chart.of_kind("Ingress").is_empty() {
                self.new_ingress(wanted)
            } else {
                self.ingress_from_template(wanted)
            };
        }
        let mut changes = Changes::default();
        for owner in self.pick(&places, "an ingress")? {
            self.set_ingress(&mut changes, &owner, wanted)?;
        }
        Ok(changes)
    }

    fn set_ingress(&self, changes: &mut Changes, owner: &[String], wanted: &Wanted<'_>) -> Result<(), String> {
        let nothing = Node::nothing();
        let ingress = self.node(owner).and_then(|o| o.get("ingress")).unwrap_or(&nothing);
        let own: Vec<String> = owner.iter().cloned().chain(["ingress".to_owned()]).collect();
        let at = |rest: &[&str]| Self::below(&own, rest);
        if ingress.get("enabled").is_some() || self.would_be_read(&own, "enabled") {
            changes.set(&self.file, at(&["enabled"]), Value::Bool(wanted.enabled));
        } else if !wanted.enabled {
            return Err("this ingress has no switch to turn it off".to_owned());
        }
        if !wanted.enabled {
            return Ok(());
        }
        self.set_hosts(changes, &own, ingress, wanted)?;
        if let Some(class) = wanted.class {
            let known = ["className", "ingressClassName", "class", "ingressClass"];
            let key =
                known.iter().find(|k| ingress.get(k).is_some()).or_else(|| known.iter().find(|k| self.would_be_read(&own, k)));
            changes.set(&self.file, at(&[key.ok_or("the chart's ingress takes no class from the values")?]), Value::text(class));
        }
        if wanted.tls {
            self.set_tls(changes, &own, ingress, wanted)?;
        }
        if wanted.hosts.is_empty() && has_no_host(ingress) {
            changes.notes.push("the ingress has no host yet".to_owned());
        }
        Ok(())
    }

    fn set_hosts(&self, changes: &mut Changes, own: &[String], ingress: &Node, wanted: &Wanted<'_>) -> Result<(), String> {
        let at = |rest: &[&str]| Self::below(own, rest);
        let Some((first, others)) = wanted.hosts.split_first() else { return Ok(()) };
        let single = ["host", "hostname", "hostName", "domain"];
        let key = single.iter().find(|k| ingress.get(k).is_some_and(|h| h.text().is_some()));
        let listed = ingress.get("hosts").is_some_and(|h| h.is_list() || h.is_null());
        if let Some(key) = key.filter(|_| !listed) {
            if wanted.more || !others.is_empty() {
                return Err("this chart's ingress has one host only".to_owned());
            }
            self.rename_in_tls(changes, own, ingress, ingress.get(key).and_then(Node::text), first);
            changes.set(&self.file, at(&[key]), Value::text(first.clone()));
            return Ok(());
        }
        if !listed {
            let read_one = single.iter().find(|k| self.would_be_read(own, k) && !self.would_be_read(own, "hosts"));
            if let Some(key) = read_one.filter(|_| others.is_empty()) {
                changes.set(&self.file, at(&[key]), Value::text(first.clone()));
                return Ok(());
            }
            if !self.would_be_read(own, "hosts") {
                return Err("the chart's ingress takes no host from the values".to_owned());
            }
        }
        let items = ingress.get("hosts").map(Node::items).unwrap_or_default();
        let list = at(&["hosts"]);
        for (n, host) in wanted.hosts.iter().enumerate() {
            if items.iter().any(|i| host_of(i) == Some(host)) {
                continue;
            }
            if n == 0 && !wanted.more && !items.is_empty() {
                let mut path = list.clone();
                path.push(Seg::Index(0));
                if items[0].is_map() {
                    path.push(Seg::Key(host_key(&items[0]).to_owned()));
                }
                self.rename_in_tls(changes, own, ingress, host_of(&items[0]), host);
                changes.set(&self.file, path, Value::text(host.clone()));
            } else {
                changes.op(&self.file, Op::Add(None, list.clone(), self.new_host(own, items.first(), host)));
            }
        }
        Ok(())
    }

    /// An item of `hosts` in the shape of the first one, or in the one that the template reads.
    fn new_host(&self, own: &[String], like: Option<&Node>, host: &str) -> Value {
        let paths = Value::List(vec![Value::map([("path", Value::text("/")), ("pathType", Value::text("Prefix"))])]);
        match like {
            Some(item) if item.is_map() => {
                let copied =
                    item.entries().iter().filter_map(|(k, _)| k.text()).filter(|k| *k == "paths").map(|k| (k, paths.clone()));
                Value::map(std::iter::once((host_key(item), Value::text(host))).chain(copied))
            }
            Some(_) => Value::text(host),
            None => {
                let range = format!("range .Values.{}.hosts", own.join("."));
                let templates: Vec<&str> =
                    self.chart.templates.iter().filter_map(|t| t.text).filter(|t| t.contains("Ingress")).collect();
                let read = |mark: &str| {
                    templates.iter().any(|t| t.find(&range).or_else(|| t.find(".hosts")).is_some_and(|at| t[at..].contains(mark)))
                };
                if !templates.is_empty() && !read(".host ") && !read(".host}") {
                    return Value::text(host);
                }
                let mut entries = vec![("host", Value::text(host))];
                if templates.is_empty() || read(".paths") {
                    entries.push(("paths", paths));
                }
                Value::map(entries)
            }
        }
    }

    /// A certificate for the old host would not fit the new one.
    fn rename_in_tls(&self, changes: &mut Changes, own: &[String], ingress: &Node, old: Option<&str>, new: &str) {
        let Some(old) = old.filter(|o| !o.is_empty() && *o != new) else { return };
        for (n, tls) in ingress.get("tls").map(Node::items).unwrap_or_default().iter().enumerate() {
            for (m, host) in tls.get("hosts").map(Node::items).unwrap_or_default().iter().enumerate() {
                if host.text() == Some(old) {
                    let mut path: Path = Self::below(own, &["tls"]);
                    path.extend([Seg::Index(n), Seg::Key("hosts".to_owned()), Seg::Index(m)]);
                    changes.set(&self.file, path, Value::text(new));
                }
            }
        }
    }

    fn set_tls(&self, changes: &mut Changes, own: &[String], ingress: &Node, wanted: &Wanted<'_>) -> Result<(), String> {
        let at = |rest: &[&str]| Self::below(own, rest);
        let tls = ingress.get("tls");
        if let Some(tls) = tls.filter(|t| t.is_map() && t.get("enabled").is_some()) {
            changes.set(&self.file, at(&["tls", "enabled"]), Value::Bool(true));
            if let Some(secret) = wanted.secret {
                let key = if tls.get("secret").is_some() { "secret" } else { "secretName" };
                changes.set(&self.file, at(&["tls", key]), Value::text(secret));
            }
            return Ok(());
        }
        if tls.is_some_and(|t| t.as_bool().is_some()) {
            changes.set(&self.file, at(&["tls"]), Value::Bool(true));
            return Ok(());
        }
        if let (Some(_), Some(secret)) = (tls.and_then(|t| t.items().first()), wanted.secret) {
            let mut path = at(&["tls"]);
            path.extend([Seg::Index(0), Seg::Key("secretName".to_owned())]);
            changes.set(&self.file, path, Value::text(secret));
            return Ok(());
        }
        if tls.is_some_and(|t| !t.is_empty()) {
            return Ok(());
        }
        if tls.is_none() && !self.would_be_read(own, "tls") {
            return Err("the chart's ingress takes no TLS from the values".to_owned());
        }
        let existing = ingress
            .get("hosts")
            .and_then(|h| h.items().first())
            .and_then(host_of)
            .or_else(|| ingress.get("host").and_then(Node::text));
        let host = wanted
            .hosts
            .first()
            .map(String::as_str)
            .or(existing.filter(|h| !h.is_empty()))
            .ok_or("TLS needs a host; say which")?;
        let secret = wanted.secret.map_or_else(|| secret_name(host), str::to_owned);
        let item = Value::map([("secretName", Value::text(secret)), ("hosts", Value::List(vec![Value::text(host)]))]);
        changes.set(&self.file, at(&["tls"]), Value::List(vec![item]));
        Ok(())
    }

    /// The values have no ingress, but a template makes one: it says what it reads.
    fn ingress_from_template(&self, wanted: &Wanted<'_>) -> Resolved {
        let mut changes = Changes::default();
        let owner: Vec<String> = if self.chart.reads(&["ingress".to_owned()]) || self.chart.is_blind() {
            Vec::new()
        } else {
            let component = self.component("an ingress").ok().filter(|o| self.would_be_read(o, "ingress"));
            component.ok_or("the chart's Ingress template reads other values")?
        };
        self.set_ingress(&mut changes, &owner, wanted)?;
        Ok(changes)
    }

    /// The chart has no Ingress: values and a template are written, in the names of the chart's own Service.
    fn new_ingress(&self, wanted: &Wanted<'_>) -> Resolved {
        if !wanted.enabled {
            return Err("the chart has no ingress".to_owned());
        }
        let [host] = wanted.hosts else { return Err("a new ingress needs exactly one host; say which".to_owned()) };
        let file = format!("{}templates/ingress.yaml", self.chart.dir);
        if self.project.has(&file) {
            return Err(format!("{file} is there but was not shown"));
        }
        let (owner, service) = self.service_template()?;
        let own: Vec<String> = owner.iter().cloned().chain(["ingress".to_owned()]).collect();
        let mut changes = Changes::default();
        let tls = if wanted.tls {
            let secret = wanted.secret.map_or_else(|| secret_name(host), str::to_owned);
            vec![Value::map([("secretName", Value::text(secret)), ("hosts", Value::List(vec![Value::text(host.clone())]))])]
        } else {
            Vec::new()
        };
        let values = Value::map([
            ("enabled", Value::Bool(true)),
            ("className", Value::text(wanted.class.unwrap_or_default())),
            ("annotations", Value::Map(Vec::new())),
            ("host", Value::text(host.clone())),
            ("tls", Value::List(tls)),
        ]);
        changes.set(&self.file, Self::below(&own, &[]), values);
        let values = own.join(".");
        let name = template_name(service).ok_or("the chart's Service has a name that cannot be used elsewhere")?;
        let port = service_port(service).ok_or("the chart's Service has no port that can be used elsewhere")?;
        changes.op(&file, Op::Template(Template::ChartIngress { values, name, port, labels: template_labels(service) }));
        Ok(changes)
    }

    /// The Service that an Ingress would lead to, with the component that it belongs to.
    fn service_template(&self) -> Result<(Vec<String>, &str), String> {
        let mut found: Vec<(&str, &str)> =
            self.chart.of_kind("Service").into_iter().filter_map(|t| Some((t.path, t.text?))).collect();
        let component = if self.target.words.is_empty() { None } else { Some(self.component("a service")?) };
        if let Some(owner) = component.as_ref().and_then(|o| o.last()) {
            found.retain(|(path, text)| path.contains(owner.as_str()) || text.contains(&format!(".Values.{owner}")));
        }
        if found.len() > 1 {
            let front = ["gateway", "frontend", "front", "web", "proxy", "ui", "api", "server"];
            let best = front.iter().find_map(|f| found.iter().find(|(path, _)| path.to_lowercase().contains(f)).copied());
            if let Some(best) = best {
                found = vec![best];
            }
        }
        match found[..] {
            [(_, text)] => Ok((component.unwrap_or_default(), text)),
            [] => Err("the chart has no Service that was shown and that an ingress could lead to".to_owned()),
            _ => Err("the chart has several Services: say which one the ingress leads to".to_owned()),
        }
    }
}

fn host_of(item: &Node) -> Option<&str> {
    item.text().or_else(|| item.get(host_key(item)).and_then(Node::text))
}

fn host_key(item: &Node) -> &'static str {
    if item.get("host").is_none() && item.get("name").is_some() { "name" } else { "host" }
}

fn has_no_host(ingress: &Node) -> bool {
    let single = ["host", "hostname"].iter().any(|k| ingress.get(k).and_then(Node::text).is_some_and(|h| !h.is_empty()));
    !single && ingress.get("hosts").is_none_or(Node::is_empty)
}

fn metadata(text: &str) -> Option<&str> {
    let at = if text.starts_with("metadata:") { 0 } else { text.find("\nmetadata:")? + 1 };
    Some(&text[at..])
}

/// The text after `name:` of a template's `metadata`. Text with a variable means something only where it stands.
pub(super) fn template_name(text: &str) -> Option<String> {
    let line = metadata(text)?.lines().find_map(|l| l.strip_prefix("  name:"))?;
    let name = line.trim();
    (!name.is_empty() && !name.contains('$')).then(|| name.to_owned())
}

/// The line that prints a template's labels, when one include does it.
pub(super) fn template_labels(text: &str) -> String {
    let mut lines = metadata(text).unwrap_or_default().lines().skip_while(|l| l.trim_end() != "  labels:").skip(1);
    let line = lines.next().map(str::trim).unwrap_or_default();
    if line.starts_with("{{") && line.contains("include") && !line.contains('$') { line.to_owned() } else { String::new() }
}

/// The Service's first port: its name when it has one, which survives other numbers.
fn service_port(text: &str) -> Option<String> {
    let ports = &text[text.find("ports:")?..];
    let value = |key: &str| {
        let find = |l: &str| l.trim_start().trim_start_matches("- ").strip_prefix(key).map(|v| v.trim().to_owned());
        ports.lines().skip(1).take(8).find_map(find).filter(|v| !v.is_empty() && !v.contains('$'))
    };
    let port = value("port:").filter(|p| p.contains(".Values.") || p.bytes().all(|b| b.is_ascii_digit()));
    value("name:").filter(|n| !n.contains("{{")).map(|n| format!("name {n}")).or(port)
}
