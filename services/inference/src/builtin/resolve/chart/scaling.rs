//! Autoscaling and probe wishes for a chart.

use super::super::{Changes, Resolved, typed};
use super::In;
use super::ingress::{template_labels, template_name};
use crate::builtin::op::Op;
use crate::builtin::template::Template;
use crate::builtin::wish::Wish;
use crate::builtin::yaml::{Node, Value};

const SCALING: [&str; 4] = ["autoscaling", "hpa", "autoscaler", "horizontalPodAutoscaler"];
const MIN: [&str; 3] = ["minReplicas", "min", "minReplicaCount"];
const MAX: [&str; 3] = ["maxReplicas", "max", "maxReplicaCount"];
const CPU: [&str; 6] = [
    "targetCPUUtilizationPercentage",
    "targetCPUUtilization",
    "targetCPU",
    "targetCpuUtilizationPercentage",
    "cpuUtilization",
    "cpu",
];

/// The fewest and the most replicas must be in order.
pub(in crate::builtin::resolve) fn check_range(min: Option<u64>, max: Option<u64>) -> Result<(), String> {
    match (min, max) {
        (Some(min), Some(max)) if min > max => Err(format!("the fewest replicas ({min}) would be more than the most ({max})")),
        _ => Ok(()),
    }
}

impl In<'_, '_> {
    pub(super) fn autoscaling(&self, enabled: bool, min: Option<u64>, max: Option<u64>, cpu: Option<u64>) -> Resolved {
        check_range(min, max)?;
        if cpu.is_some_and(|c| c == 0 || c > 1000) {
            return Err("the CPU target is not a percentage".to_owned());
        }
        let key_of = |n: &Node| SCALING.into_iter().find(|k| n.get(k).is_some_and(Node::is_map));
        let places = self.places(|n| key_of(n).is_some());
        if places.is_empty() {
            return self.new_autoscaling(enabled, min, max, cpu);
        }
        let mut changes = Changes::default();
        for owner in self.pick(&places, "autoscaling")? {
            let node = self.node(&owner).ok_or("the values have changed")?;
            let key = key_of(node).unwrap_or(SCALING[0]);
            let scaling = node.get(key).ok_or("the values have changed")?;
            let number = |known: &[&str]| {
                known.iter().find_map(|k| scaling.get(k)).and_then(Node::text).and_then(|t| t.parse::<u64>().ok())
            };
            if enabled {
                check_range(min.or(number(&MIN)), max.or(number(&MAX)))?;
            }
            changes.set(&self.file, Self::below(&owner, &[key, "enabled"]), Value::Bool(enabled));
            for (known, value) in [(&MIN[..], min), (&MAX[..], max), (&CPU[..], cpu)] {
                let Some(value) = value else { continue };
                let own: Vec<String> = owner.iter().cloned().chain([key.to_owned()]).collect();
                let name = known
                    .iter()
                    .find(|k| scaling.get(k).is_some())
                    .or_else(|| known.iter().find(|k| self.would_be_read(&own, k)));
                let name = name.ok_or_else(|| format!("the chart's autoscaling has no {}", known[0]))?;
                changes.set(&self.file, Self::below(&owner, &[key, name]), Value::number(value));
            }
        }
        Ok(changes)
    }

    /// The chart has no autoscaling: values and a template are written, and the workload's replicas step aside.
    fn new_autoscaling(&self, enabled: bool, min: Option<u64>, max: Option<u64>, cpu: Option<u64>) -> Resolved {
        if !enabled {
            return Err("the chart has no autoscaling".to_owned());
        }
        let file = format!("{}templates/hpa.yaml", self.chart.dir);
        if self.project.has(&file) || !self.chart.of_kind("HorizontalPodAutoscaler").is_empty() {
            return Err("the chart has a template for autoscaling that reads other values".to_owned());
        }
        let owner = self.component("autoscaling")?;
        let (path, text) = self.workload(&owner)?;
        let name = template_name(text).ok_or("the workload has a name that cannot be used elsewhere")?;
        let kind = if text.contains("kind: StatefulSet") { "StatefulSet" } else { "Deployment" };
        let own: Vec<String> = owner.iter().cloned().chain(["autoscaling".to_owned()]).collect();
        let values = own.join(".");
        let least = min.unwrap_or(2).min(max.unwrap_or(u64::MAX));
        let scaling = Value::map([
            ("enabled", Value::Bool(true)),
            ("minReplicas", Value::number(least)),
            ("maxReplicas", Value::number(max.unwrap_or(least.max(5)))),
            ("targetCPUUtilizationPercentage", Value::number(cpu.unwrap_or(80))),
        ]);
        let guard = Op::Template(Template::Guard { values: values.clone() });
        guard.apply(text)?;
        let mut changes = Changes::default();
        changes.set(&self.file, Self::below(&own, &[]), scaling);
        changes.op(path, guard);
        let labels = template_labels(text);
        changes.op(&file, Op::Template(Template::ChartScaler { values, kind: kind.to_owned(), name, labels }));
        Ok(changes)
    }

    pub(super) fn probes(&self, wish: &Wish) -> Resolved {
        let Wish::Probe { which, .. } = wish else { return Err("this is not about probes".to_owned()) };
        let mut changes = Changes::default();
        let mut refused = None;
        for kind in which {
            // "probes" means the ones that the chart has.
            if let Err(why) = self.probe(&mut changes, kind, wish) {
                refused = refused.or(Some(why));
            }
        }
        match refused {
            Some(why) if changes.ops.is_empty() || which.len() == 1 => Err(why),
            _ => Ok(changes),
        }
    }

    fn probe(&self, changes: &mut Changes, kind: &str, wish: &Wish) -> Result<(), String> {
        let Wish::Probe { path, port, fields, removed, .. } = wish else { return Ok(()) };
        let long = format!("{kind}Probe");
        let shapes: [&[&str]; 4] = [&[&long], &["probes", kind], &["probes", &long], &["healthCheck", kind]];
        let is_probe = |n: &Node, shape: &[&str]| n.at(shape).is_some_and(|p| p.is_map() || p.is_null());
        let places = self.places(|n| shapes.iter().any(|s| is_probe(n, s)));
        let what = format!("a {kind} probe");
        let (owner, shape) = match self.pick(&places, &what) {
            Ok(owners) => {
                let owner = owners.into_iter().next().ok_or("the values have changed")?;
                let node = self.node(&owner).ok_or("the values have changed")?;
                let shape = shapes.iter().find(|s| is_probe(node, s)).copied().unwrap_or(shapes[0]);
                (owner, shape)
            }
            Err(why) if !places.is_empty() || *removed || path.is_none() => return Err(why),
            Err(why) => (self.new_container_value(changes, &long).map_err(|_| why)?, shapes[0]),
        };
        let nothing = Node::nothing();
        let probe = self.node(&owner).and_then(|o| o.at(shape)).unwrap_or(&nothing);
        let at = |rest: &[&str]| Self::below(&owner, &[shape, rest].concat());
        if *removed {
            if probe.get("enabled").is_none() {
                return Err(format!("the {kind} probe has no switch to turn it off"));
            }
            changes.set(&self.file, at(&["enabled"]), Value::Bool(false));
            return Ok(());
        }
        let other = ["grpc", "tcpSocket", "exec"].into_iter().find(|k| probe.get(k).is_some());
        let flat = probe.get("path").is_some() || probe.get("port").is_some();
        if let Some(path) = path {
            if let Some(other) = other {
                return Err(format!("the {kind} probe is a {other} probe and has no path"));
            }
            let place: &[&str] = if flat { &["path"] } else { &["httpGet", "path"] };
            changes.set(&self.file, at(place), Value::text(path));
            if port.is_none() && !flat && probe.at(&["httpGet", "port"]).is_none() {
                changes.set(&self.file, at(&["httpGet", "port"]), Value::text("http"));
            }
        }
        if let Some(port) = port {
            let place = match other {
                Some("exec") => return Err(format!("the {kind} probe runs a command and has no port")),
                Some(other) => vec![other, "port"],
                None if flat => vec!["port"],
                None => vec!["httpGet", "port"],
            };
            let place = at(&place);
            let value = typed(&Value::of_word(port), self.root.find(&place));
            changes.set(&self.file, place, value);
        }
        for (field, value) in fields {
            changes.set(&self.file, at(&[field]), Value::number(value));
        }
        Ok(())
    }
}
