//! Readers of what runs: replicas, images, resources, environment variables, autoscaling, probes.

use super::read::Clause;
use super::vocabulary::{REPLICA_NOUNS, is_reference, is_version, quantity, split_reference};
use super::{Bound, Request, Surroundings, Wish};
use crate::builtin::words::{Word, singular};

impl Clause<'_> {
    pub(super) fn autoscaling(&mut self, before: Option<&Request>) -> Option<Wish> {
        let nouns = [
            "autoscaling",
            "autoscale",
            "autoscaler",
            "auto-scaling",
            "auto-scale",
            "hpa",
            "autoscaled",
            "horizontalpodautoscaler",
        ];
        let low = ["min", "minimum", "least", "minreplicas", "min-replicas"];
        let high = ["max", "maximum", "most", "maxreplicas", "max-replicas"];
        let named = self.take(&nouns);
        let inherited = before.is_some_and(|b| matches!(b.wish, Wish::Autoscaling { .. }));
        let bounded = (self.has(&low) || self.has(&high)) && (self.has(REPLICA_NOUNS) || inherited);
        let aimed = inherited && self.words.iter().any(|w| w.text.ends_with('%') || w.is(&["percent"]));
        if !named && !bounded && !aimed {
            return None;
        }
        let percent = (0..self.words.len()).find_map(|n| {
            let word = &self.words[n];
            let digits = word.text.strip_suffix('%').and_then(|d| d.parse().ok());
            let spoken = self.words.get(n + 1).filter(|w| w.is(&["percent", "%"])).and_then(|_| word.number());
            digits.or(spoken).map(|p| (n, p))
        });
        if let Some((at, _)) = percent {
            self.used[at] = true;
        }
        let mut cpu = percent.map(|(_, p)| p);
        let (mut min, mut max) = (self.number_after(&low), self.number_after(&high));
        let numbers: Vec<(usize, u64)> =
            (0..self.words.len()).filter(|&n| !self.used[n]).filter_map(|n| Some((n, self.words[n].number()?))).collect();
        let before_is = |n: usize, words: &[&str]| n > 0 && self.words[n - 1].is(words);
        for (n, number) in numbers {
            if cpu.is_none() && (before_is(n, &["cpu"]) || (n > 1 && self.words[n - 2].is(&["cpu"]))) {
                cpu = Some(number);
            } else if min.is_none() && max.is_none() && !before_is(n, &["to"]) {
                min = Some(number);
            } else if max.is_none() {
                max = Some(number);
            } else {
                continue;
            }
            self.used[n] = true;
        }
        self.take(&low);
        self.take(&high);
        self.take(REPLICA_NOUNS);
        self.take(&["cpu", "percent", "utilization", "utilisation", "usage", "target", "horizontal", "down"]);
        Some(Wish::Autoscaling { enabled: !self.is_off(), min, max, cpu })
    }

    pub(super) fn probe(&mut self, before: Option<&Request>, verb: bool) -> Option<Wish> {
        let named = self.take(&["probe", "probes", "probe's", "healthcheck", "healthchecks", "health-check"])
            || self.has_pair(&["health"], &["check", "checks"]);
        let kinds = ["liveness", "readiness", "startup"];
        let mut which: Vec<&'static str> =
            kinds.into_iter().filter(|k| self.has(&[k]) || self.has(&[&format!("{k}probe")])).collect();
        let inherited = match before.map(|b| &b.wish) {
            Some(Wish::Probe { which, .. }) if !verb => Some(which.clone()),
            _ => None,
        };
        if !named && which.is_empty() && inherited.is_none() {
            return None;
        }
        if which.is_empty() {
            which = inherited.unwrap_or_else(|| vec!["liveness", "readiness"]);
        }
        self.take(&[
            "liveness",
            "readiness",
            "startup",
            "livenessprobe",
            "readinessprobe",
            "startupprobe",
            "health",
            "check",
            "checks",
        ]);
        let path = (0..self.words.len()).find(|&n| self.words[n].text.starts_with('/')).map(|n| self.text(n));
        let port = self.position(&["port"]).and_then(|at| self.after(at)).map(|n| self.text(n));
        let fields: Vec<_> = [
            ("initialDelaySeconds", &["delay", "initialdelayseconds"][..]),
            ("periodSeconds", &["period", "interval", "every", "periodseconds"]),
            ("timeoutSeconds", &["timeout", "timeoutseconds"]),
            ("failureThreshold", &["failures", "failure", "failurethreshold"]),
            ("successThreshold", &["success", "successes", "successthreshold"]),
        ]
        .into_iter()
        .filter_map(|(field, words)| {
            self.take(&["threshold"]);
            Some((field, self.number_after(words)?))
        })
        .collect();
        let removed = self.is_off();
        if path.is_none() && port.is_none() && fields.is_empty() && !removed {
            return None;
        }
        let known = [
            "path",
            "port",
            "initial",
            "delay",
            "period",
            "interval",
            "every",
            "timeout",
            "failures",
            "failure",
            "success",
            "threshold",
            "second",
            "seconds",
            "s",
            "initialdelayseconds",
            "periodseconds",
            "timeoutseconds",
            "failurethreshold",
            "http",
            "get",
            "endpoint",
        ];
        self.take(&known);
        Some(Wish::Probe { which, path, port, fields, removed })
    }

    pub(super) fn env(&mut self) -> Option<Wish> {
        let nouns = ["env", "envs", "environment", "variable", "variables", "var", "vars", "envvar"];
        let named = self.has(&nouns);
        let is_name = |text: &str| {
            let upper = text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
            let usual = [
                "CPU", "RAM", "HPA", "TLS", "HTTP", "HTTPS", "DNS", "URL", "API", "HA", "I", "A", "SSL", "GPU", "YAML", "ENV",
                "MB", "GB", "KB", "TB",
            ];
            begins
                && text.len() > 1
                && if named {
                    upper || text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                } else {
                    upper && !usual.contains(&text)
                }
        };
        if let Some(at) = (0..self.words.len()).find(|&n| self.words[n].text.split_once('=').is_some_and(|(k, _)| is_name(k))) {
            let text = self.text(at);
            let (name, value) = text.split_once('=')?;
            self.take(&nouns);
            let value = (!self.removes()).then(|| value.to_owned());
            return Some(Wish::Env { name: name.to_owned(), value });
        }
        let upper =
            |w: &Word| w.text.len() > 1 && w.text.chars().any(char::is_uppercase) && !w.text.chars().any(char::is_lowercase);
        let candidates: Vec<usize> =
            (0..self.words.len()).filter(|&n| !self.words[n].is(&nouns) && is_name(&self.words[n].text)).collect();
        let at = candidates.iter().copied().find(|&n| upper(&self.words[n])).or_else(|| {
            let noun = self.words.iter().rposition(|w| w.is(&nouns))?;
            self.after(noun).filter(|n| candidates.contains(n))
        })?;
        // Without the noun, only what reads like an assignment is one.
        let assigned = self.words.get(at + 1).is_some_and(|w| w.is(&["to", "=", "as", "with"]));
        if !named && !assigned && !self.removes() {
            return None;
        }
        let name = self.text(at);
        self.take(&nouns);
        if self.removes() {
            return Some(Wish::Env { name, value: None });
        }
        let value = self.after(at)?;
        let value = self.text(value);
        Some(Wish::Env { name, value: Some(value) })
    }

    pub(super) fn resources(&mut self, before: Option<&Request>, verb: bool) -> Option<Wish> {
        let cpu = ["cpu", "cpus", "core", "cores", "vcpu", "vcpus", "millicores"];
        let memory = ["memory", "ram", "mem"];
        let (mut bound, mut measure) = (None, None);
        let mut amounts: Vec<(Option<Bound>, &'static str, String)> = Vec::new();
        let mut loose: Vec<(Option<Bound>, String)> = Vec::new();
        let mut marks = Vec::new();
        let mut seen = Vec::new();
        let mut skip = false;
        for n in 0..self.words.len() {
            if std::mem::take(&mut skip) {
                continue;
            }
            let word = &self.words[n];
            let (name, value) = match word.lower.split_once('=') {
                Some((name, _)) => (name.to_owned(), word.text.split_once('=').map(|(_, v)| v.to_owned())),
                None => (word.lower.clone(), None),
            };
            let name = name.trim_end_matches(':');
            if ["limit", "limits"].contains(&name) || ["request", "requests"].contains(&name) {
                let this = if name.starts_with('l') { Bound::Limits } else { Bound::Requests };
                seen.push(this);
                bound = Some(this);
                marks.push(n);
            } else if cpu.contains(&name) || memory.contains(&name) {
                let this = if cpu.contains(&name) { "cpu" } else { "memory" };
                measure = Some(this);
                marks.push(n);
                if let Some(value) = value {
                    amounts.push((bound, this, quantity(&value, None)?.0));
                } else if let Some((of, amount)) = loose.pop() {
                    amounts.push((of, this, amount));
                    measure = None;
                }
            } else if let Some((amount, certain)) =
                quantity(&word.text, self.words.get(n + 1)).or_else(|| Some((word.number()?.to_string(), None)))
            {
                marks.push(n);
                skip = amount.ends_with(|c: char| c.is_ascii_alphabetic())
                    && word.text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
                if skip {
                    marks.push(n + 1);
                }
                match certain.or(measure.take()) {
                    Some(measure) => amounts.push((bound, measure, amount)),
                    None => loose.push((bound, amount)),
                }
                if certain.is_some() {
                    measure = None;
                }
            }
        }
        let about = !seen.is_empty()
            || self.has(&cpu)
            || self.has(&memory)
            || self.has(&["resources"])
            || amounts.iter().any(|_| !marks.is_empty());
        if amounts.is_empty() || !loose.is_empty() || !about {
            return None;
        }
        let inherited = match before.map(|b| &b.wish) {
            Some(Wish::Resources { amounts }) if !verb => amounts.last().map(|a| a.0),
            _ => None,
        };
        // "500m cpu limit" names its bound last; "limit and request" names both.
        let both = seen.contains(&Bound::Limits) && seen.contains(&Bound::Requests) && amounts.len() == 1;
        let fallback = if both { Bound::Both } else { seen.first().copied().or(inherited).unwrap_or(Bound::Both) };
        let amounts =
            amounts.into_iter().map(|(b, m, q)| (if both { Bound::Both } else { b.unwrap_or(fallback) }, m, q)).collect();
        for n in marks {
            self.used[n] = true;
        }
        self.take(&["resources", "resource"]);
        Some(Wish::Resources { amounts })
    }

    pub(super) fn version(&mut self) -> Option<Wish> {
        let app = self.has(&["appversion"]) || self.has_pair(&["app", "application"], &["version"]);
        let chart = self.has_pair(&["chart"], &["version"]) || self.has_pair(&["chart's"], &["version"]);
        if !app && !chart {
            return None;
        }
        let at = (0..self.words.len()).rev().find(|&n| is_version(&self.words[n].text))?;
        let version = self.text(at);
        self.take(&["app", "application", "appversion", "version", "chart", "chart's"]);
        Some(Wish::ChartVersion { app, version })
    }

    pub(super) fn image(&mut self) -> Option<Wish> {
        let named = self.has(&["image", "images", "repository"]);
        let tagged = self.has(&["tag", "version", "tags"]);
        let reference = (0..self.words.len()).find(|&n| !self.used[n] && is_reference(&self.words[n]));
        if let Some(at) = reference.filter(|&n| named || self.words[n].text.contains(':')) {
            let text = self.text(at);
            self.take(&["image", "images", "repository", "tag", "version"]);
            let (repository, tag) = split_reference(&text);
            return Some(Wish::Image { repository: Some(repository), tag });
        }
        let value = |c: &Self, words: &[&str]| {
            let at = c.position(words)?;
            let to = (at..c.words.len()).find(|&n| c.words[n].is(&["to", "="])).unwrap_or(at);
            c.after(to)
        };
        if tagged {
            let versioned = (0..self.words.len()).rev().find(|&n| {
                !self.used[n] && is_version(&self.words[n].text) && self.words[n].text.contains(|c: char| c.is_ascii_digit())
            });
            let at = versioned.or_else(|| value(self, &["tag", "version", "tags"]))?;
            let tag = self.text(at);
            self.take(&["image", "images", "tag", "version", "tags"]);
            return Some(Wish::Image { repository: None, tag: Some(tag) });
        }
        if named {
            let at = value(self, &["image", "images", "repository"])?;
            let text = self.text(at);
            self.take(&["image", "images", "repository"]);
            let (repository, tag) = split_reference(&text);
            return Some(Wish::Image { repository: Some(repository), tag });
        }
        None
    }

    pub(super) fn replicas(&mut self, around: &dyn Surroundings) -> Option<Wish> {
        if self.has(&["double", "triple", "halve", "half", "by", "more", "fewer", "less", "another", "additional", "extra"]) {
            return None;
        }
        let named = self.take(REPLICA_NOUNS) || self.has(&["scale"]);
        let component = || {
            let verb = self.has(&["run", "have", "start", "want", "need", "deploy", "use", "keep"]);
            let next = |n: usize| {
                self.words.get(n + 1).is_some_and(|w| around.is_component(&w.lower) || around.is_component(singular(&w.lower)))
            };
            verb && (0..self.words.len()).any(|n| self.words[n].number().is_some() && next(n))
        };
        if !named && !component() {
            return None;
        }
        Some(Wish::Replicas { count: self.number()? })
    }
}
