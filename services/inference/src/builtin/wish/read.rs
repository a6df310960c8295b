//! The readers of single clauses, one for each kind of wish, and the words that they know.

use super::{Bearer, Bound, Request, Surroundings, Target, Wish, said};
use crate::builtin::words::{Word, singular};
use crate::builtin::yaml::Value;

const VERBS: &[&str] = &[
    "set",
    "change",
    "make",
    "put",
    "add",
    "use",
    "run",
    "scale",
    "increase",
    "decrease",
    "raise",
    "lower",
    "reduce",
    "bump",
    "update",
    "upgrade",
    "downgrade",
    "enable",
    "disable",
    "turn",
    "switch",
    "expose",
    "give",
    "deploy",
    "create",
    "remove",
    "delete",
    "drop",
    "rename",
    "configure",
    "allow",
    "have",
    "start",
    "keep",
    "point",
    "serve",
    "publish",
    "annotate",
    "pin",
    "leave",
    "skip",
    "omit",
    "autoscale",
    "activate",
    "deactivate",
    "assign",
    "define",
    "provide",
    "want",
    "need",
    "please",
    "request",
    "limit",
    "double",
    "triple",
    "rewrite",
    "install",
    "move",
    "stop",
    "replace",
    "do",
    "ensure",
];

// Words that carry nothing for the engine.
const FILLERS: &[&str] = &[
    "a",
    "an",
    "the",
    "of",
    "to",
    "for",
    "on",
    "in",
    "at",
    "with",
    "from",
    "by",
    "per",
    "each",
    "it",
    "its",
    "them",
    "they",
    "is",
    "are",
    "be",
    "should",
    "must",
    "that",
    "this",
    "these",
    "those",
    "please",
    "can",
    "could",
    "you",
    "would",
    "i",
    "we",
    "want",
    "need",
    "like",
    "let",
    "lets",
    "let's",
    "us",
    "me",
    "our",
    "my",
    "your",
    "has",
    "have",
    "as",
    "into",
    "so",
    "only",
    "just",
    "now",
    "new",
    "value",
    "values",
    "file",
    "key",
    "field",
    "setting",
    "to-be",
    "their",
    "there",
    "which",
    "via",
    "through",
    "using",
    "instead",
    "than",
    "more",
    "i'd",
    "we'd",
    "i'll",
    "we'll",
    "will",
    "up",
    "out",
    "over",
    "under",
    "behind",
    "availability",
    "high",
    "ha",
    "production",
    "resilience",
    "redundancy",
    "safety",
    "testing",
    "load",
    "traffic",
    "peak",
    "today",
    "later",
    "tonight",
    "tomorrow",
    "again",
    "too",
    "well",
    "currently",
    "number",
    "count",
    "amount",
    "total",
    "about",
    "one",
    "ones",
    "same",
    "own",
    "default",
    "kubernetes",
    "k8s",
    "helm",
    "yaml",
    "manifest",
    "manifests",
    "config",
    "configuration",
    "cluster",
    "release",
    "all",
    "every",
    "both",
    "any",
    "with",
    "without",
    "thanks",
    "thank",
    "hello",
    "hi",
    "hey",
    "ok",
    "everything",
];

const GENERIC: &[&str] = &[
    "app",
    "apps",
    "application",
    "service",
    "services",
    "deployment",
    "deployments",
    "pod",
    "pods",
    "container",
    "containers",
    "chart",
    "workload",
    "component",
    "components",
    "backend",
    "server",
    "statefulset",
    "daemonset",
    "process",
    "project",
    "image",
];

const REPLICA_NOUNS: &[&str] = &[
    "replica",
    "replicas",
    "replicacount",
    "instance",
    "instances",
    "copy",
    "copies",
    "pod",
    "pods",
    "node",
    "nodes",
    "replica's",
];

/// True when a fragment starts a request of its own.
pub(super) fn begins_with_verb(words: &[Word]) -> bool {
    let polite = [
        "please", "can", "could", "would", "you", "i", "we", "i'd", "we'd", "let's", "lets", "let", "us", "like", "to", "just",
        "now",
    ];
    // "the limit and request to 1": nouns as often as verbs.
    words.iter().find(|w| !w.is(&polite)).is_some_and(|w| w.is(VERBS) && !w.is(&["request", "limit"]))
}

/// Greetings and thanks, which want nothing.
pub(super) fn is_talk(words: &[Word]) -> bool {
    words.iter().all(|w| !w.quoted && w.is(FILLERS) && w.number().is_none_or(|_| w.is(&["one"])))
}

/// The wish of a clause. `before` is the wish that the clause goes on from.
pub(super) fn request(words: &[Word], around: &dyn Surroundings, before: Option<&Request>, verb: bool) -> Option<Request> {
    let mut clause = Clause { words, used: vec![false; words.len()] };
    let file = clause.file(around);
    let wish = clause
        .path(around)
        .or_else(|| clause.meta(before, verb))
        .or_else(|| clause.autoscaling(before))
        .or_else(|| clause.probe(before, verb))
        .or_else(|| clause.service_type())
        .or_else(|| clause.env())
        .or_else(|| clause.ingress(around, before, verb))
        .or_else(|| clause.resources(before, verb))
        .or_else(|| clause.version())
        .or_else(|| clause.image())
        .or_else(|| clause.port())
        .or_else(|| clause.replicas(around))
        .or_else(|| clause.switch())
        .or_else(|| clause.key())?;
    let mut target = clause.target();
    for word in &mut target.words {
        if !around.is_component(word) && around.is_component(singular(word)) {
            *word = singular(word).to_owned();
        }
    }
    let refers = !verb || clause.has(&["it", "its", "them", "their"]);
    if let Some(before) = before.filter(|_| refers && target.is_empty()) {
        target.words.clone_from(&before.target.words);
        target.all = before.target.all;
    }
    let file = file.or_else(|| before.filter(|_| !verb).and_then(|b| b.file.clone()));
    Some(Request { wish, target, file, said: said(words) })
}

struct Clause<'a> {
    words: &'a [Word],
    used: Vec<bool>,
}

impl Clause<'_> {
    fn has(&self, words: &[&str]) -> bool {
        self.words.iter().any(|w| w.is(words))
    }

    fn position(&self, words: &[&str]) -> Option<usize> {
        self.words.iter().position(|w| w.is(words))
    }

    fn take(&mut self, words: &[&str]) -> bool {
        let mut found = false;
        for (word, used) in self.words.iter().zip(&mut self.used) {
            if word.is(words) {
                *used = true;
                found = true;
            }
        }
        found
    }

    fn has_pair(&self, a: &[&str], b: &[&str]) -> bool {
        self.words.windows(2).any(|w| w[0].is(a) && w[1].is(b))
    }

    /// The next word after a position that is not a filler of values.
    fn after(&self, at: usize) -> Option<usize> {
        let fillers = [
            "to", "of", "at", "is", "=", "as", "be", "with", "value", "the", "a", "an", "on", "for", "named", "called", "only",
            "from",
        ];
        (at + 1..self.words.len()).find(|&n| !self.used[n] && !self.words[n].is(&fillers))
    }

    fn text(&mut self, at: usize) -> String {
        self.used[at] = true;
        self.words[at].text.clone()
    }

    fn number_after(&mut self, words: &[&str]) -> Option<u64> {
        let at = self.position(words)?;
        let next = self.after(at)?;
        let number = seconds_or_number(&self.words[next])?;
        self.used[next] = true;
        Some(number)
    }

    /// The number that is meant: after "to" if there is one, else the last.
    fn number(&mut self) -> Option<u64> {
        let numbers: Vec<usize> = (0..self.words.len()).filter(|&n| !self.used[n] && self.words[n].number().is_some()).collect();
        let after_to = numbers.iter().copied().find(|&n| n > 0 && self.words[n - 1].is(&["to", "=", "into"]));
        let real = numbers.iter().copied().find(|&n| !self.words[n].is(&["one", "single"]));
        let at = after_to.or(real).or(numbers.first().copied())?;
        for n in numbers {
            self.used[n] = true;
        }
        self.words[at].number()
    }

    fn is_off(&self) -> bool {
        self.has(&["disable", "disabled", "off", "remove", "delete", "drop", "without", "no", "deactivate", "stop"])
    }

    fn removes(&self) -> bool {
        self.has(&["remove", "delete", "drop", "unset"])
    }

    fn file(&mut self, around: &dyn Surroundings) -> Option<String> {
        let at = self.words.iter().position(|w| w.text.contains('.') && around.file(&w.text).is_some())?;
        self.used[at] = true;
        around.file(&self.words[at].text)
    }

    fn path(&mut self, around: &dyn Surroundings) -> Option<Wish> {
        let plain = |w: &Word| {
            !w.text.contains('=')
                && (w.text.contains(['.', '[']) || w.text.chars().any(char::is_uppercase))
                && around.is_path(&w.text)
        };
        if let Some(at) = self.words.iter().position(|w| w.text.split_once('=').is_some_and(|(k, _)| around.is_path(k))) {
            let word = self.words[at].clone();
            let (path, value) = word.text.split_once('=')?;
            self.used.fill(true);
            let value = if word.quoted { Value::text(value) } else { Value::of_word(value) };
            return Some(Wish::Path { path: path.to_owned(), value: Some(value) });
        }
        let at = (0..self.words.len()).find(|&n| !self.used[n] && plain(&self.words[n]))?;
        let path = self.words[at].text.clone();
        if self.removes() {
            self.used.fill(true);
            return Some(Wish::Path { path, value: None });
        }
        // What comes after the value may name the object that has the path.
        let end = self.value_end(at);
        let value = self.value_after(at);
        if value.is_none() && self.has(&["enable", "disable", "on", "off", "activate", "deactivate"]) {
            let on = !self.is_off();
            self.used.fill(true);
            return Some(Wish::Path { path, value: Some(Value::Bool(on)) });
        }
        self.used[..end].fill(true);
        Some(Wish::Path { path, value: Some(value?) })
    }

    /// Everything after "to", or after a position: one word with its type, or several as one text.
    fn value_after(&self, at: usize) -> Option<Value> {
        let (from, end) = (self.value_begin(at), self.value_end(at));
        let rest: Vec<&Word> = (from..end).filter(|&n| !self.used[n]).map(|n| &self.words[n]).collect();
        match rest[..] {
            [] => None,
            [word] if word.quoted => Some(Value::text(word.text.clone())),
            [word] => Some(word.number().map_or_else(|| Value::of_word(&word.text), Value::number)),
            _ => Some(Value::text(rest.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" "))),
        }
    }

    fn value_begin(&self, at: usize) -> usize {
        (at + 1..self.words.len()).rev().find(|&n| self.words[n].is(&["to", "=", "as"])).map_or(at + 1, |n| n + 1)
    }

    fn value_end(&self, at: usize) -> usize {
        let from = self.value_begin(at);
        let ends = |n: &usize| self.words[*n].is(&["please", "in", "instead", "for", "on"]);
        (from + 1..self.words.len()).find(ends).unwrap_or(self.words.len())
    }

    fn meta(&mut self, before: Option<&Request>, verb: bool) -> Option<Wish> {
        let nouns_a = ["annotation", "annotations", "annotate"];
        let nouns_l = ["label", "labels"];
        let pair = (0..self.words.len()).find(|&n| self.words[n].text.contains('=') && !self.used[n]);
        let noun = self.position(&nouns_a).or_else(|| self.position(&nouns_l));
        let (annotation, inherited) = match (noun, before.map(|b| &b.wish)) {
            (Some(at), _) => (self.words[at].is(&nouns_a), None),
            (None, Some(Wish::Meta { annotation, bearer, .. })) if !verb && pair.is_some() => (*annotation, Some(*bearer)),
            _ => return None,
        };
        self.take(&nouns_a);
        self.take(&nouns_l);
        let removes = self.removes();
        let (key, value) = match pair {
            Some(at) => {
                let text = self.text(at);
                let (key, value) = text.split_once('=')?;
                (key.to_owned(), Some(value.to_owned()))
            }
            None => {
                let key = self.after(noun?)?;
                let key_text = self.text(key);
                if removes {
                    (key_text, None)
                } else {
                    let value = self.after(key)?;
                    (key_text, Some(self.text(value)))
                }
            }
        };
        let bearer = if self.take(&["pod", "pods"]) {
            Bearer::Pods
        } else if self.take(&["ingress"]) {
            Bearer::Ingress
        } else if self.take(&["service", "services"]) {
            Bearer::Service
        } else if self.take(&["all", "every", "everything", "common", "resources", "objects"]) {
            Bearer::Common
        } else {
            inherited.unwrap_or(Bearer::Any)
        };
        Some(Wish::Meta { annotation, bearer, key, value: value.filter(|_| !removes) })
    }

    fn autoscaling(&mut self, before: Option<&Request>) -> Option<Wish> {
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

    fn probe(&mut self, before: Option<&Request>, verb: bool) -> Option<Wish> {
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

    fn service_type(&mut self) -> Option<Wish> {
        let kinds: [(&str, &[&str], &[&str]); 3] = [
            ("LoadBalancer", &["load"], &["balancer"]),
            ("NodePort", &["node"], &["port"]),
            ("ClusterIP", &["cluster"], &["ip"]),
        ];
        for (kind, a, b) in kinds {
            let joined = kind.to_lowercase();
            if self.take(&[&joined]) || self.has_pair(a, b) {
                self.take(a);
                self.take(b);
                self.take(&["type", "kind"]);
                return Some(Wish::ServiceType { kind });
            }
        }
        None
    }

    fn env(&mut self) -> Option<Wish> {
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

    fn ingress(&mut self, around: &dyn Surroundings, before: Option<&Request>, verb: bool) -> Option<Wish> {
        let hosts: Vec<usize> = (0..self.words.len())
            .filter(|&n| !self.used[n] && host(&self.words[n]).is_some_and(|h| !around.is_path(&h)))
            .collect();
        let named = self.has(&["ingress", "ingresses"]);
        let about =
            self.has(&["host", "hostname", "domain", "expose", "serve", "publish", "available", "reachable", "dns", "url"]);
        let inherited = before.is_some_and(|b| matches!(b.wish, Wish::Ingress { .. }));
        let continues = inherited && (!hosts.is_empty() || self.has(&["class", "tls", "https", "secret", "classname"]));
        if !(named || (about && !hosts.is_empty()) || continues) {
            return None;
        }
        let more = (inherited && !verb && !hosts.is_empty())
            || (self.has(&["add", "also", "another"]) && self.has(&["host", "hostname"]));
        let names: Vec<String> = hosts.iter().filter_map(|&n| host(&self.words[n])).collect();
        for n in hosts {
            self.used[n] = true;
        }
        let class = self.position(&["class", "ingressclass", "classname", "ingressclassname"]).and_then(|at| {
            let next = self
                .after(at)
                .or_else(|| at.checked_sub(1).filter(|&n| !self.words[n].is(FILLERS) && !self.words[n].is(&["ingress"])))?;
            Some(self.text(next))
        });
        let secret = self.position(&["secret", "secretname"]).and_then(|at| self.after(at)).map(|n| self.text(n));
        let tls = self.take(&["tls", "https", "ssl"]) || secret.is_some();
        self.take(&[
            "ingress",
            "ingresses",
            "host",
            "hostname",
            "domain",
            "class",
            "ingressclass",
            "classname",
            "secret",
            "ingressclassname",
        ]);
        self.take(&[
            "secretname",
            "available",
            "reachable",
            "dns",
            "url",
            "rule",
            "certificate",
            "name",
            "another",
            "under",
            "outside",
            "world",
            "internet",
        ]);
        let enabled = !self.is_off() || self.has(&["without"]);
        let tls = tls && !self.has(&["without"]);
        Some(Wish::Ingress { enabled, hosts: names, more, class, tls, secret })
    }

    fn resources(&mut self, before: Option<&Request>, verb: bool) -> Option<Wish> {
        let cpu = ["cpu", "cpus", "core", "cores", "vcpu", "vcpus", "millicores"];
        let memory = ["memory", "ram", "mem"];
        let (mut bound, mut measure) = (None, None);
        let (mut amounts, mut loose): (Vec<(Option<Bound>, &'static str, String)>, Vec<(Option<Bound>, String)>) =
            Default::default();
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

    fn version(&mut self) -> Option<Wish> {
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

    fn image(&mut self) -> Option<Wish> {
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

    fn port(&mut self) -> Option<Wish> {
        if !self.take(&["port", "ports", "listen", "containerport", "targetport"]) {
            return None;
        }
        let container = self.take(&["container", "target", "containerport", "targetport"]) || self.has(&["listen"]);
        let port = self.number().filter(|p| (1..=65_535).contains(p))?;
        self.take(&["service", "http"]);
        Some(Wish::Port { port, container })
    }

    fn replicas(&mut self, around: &dyn Surroundings) -> Option<Wish> {
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

    fn switch(&mut self) -> Option<Wish> {
        let on = self.has(&["enable", "activate"]) || (self.has(&["turn", "switch"]) && self.has(&["on"]));
        let off = self.has(&["disable", "deactivate"]) || (self.has(&["turn", "switch"]) && self.has(&["off"]));
        if on == off {
            return None;
        }
        self.take(&["on", "off"]);
        let words = self.rest();
        (!words.is_empty()).then_some(Wish::Switch { words, on })
    }

    fn key(&mut self) -> Option<Wish> {
        if let Some(at) = (0..self.words.len()).find(|&n| self.words[n].text.contains('=') && !self.used[n]) {
            let word = self.words[at].clone();
            let (key, value) = word.text.split_once('=')?;
            self.used[at] = true;
            let mut words: Vec<String> = self.rest();
            words.extend(crate::builtin::words::parts(key));
            let value = if word.quoted { Value::text(value) } else { Value::of_word(value) };
            return Some(Wish::Key { words, value });
        }
        let verb = [
            "set",
            "change",
            "make",
            "increase",
            "decrease",
            "raise",
            "lower",
            "reduce",
            "bump",
            "update",
            "switch",
            "use",
            "put",
            "configure",
        ];
        let to = self.position(&["to", "=", "as"]).filter(|_| self.has(&verb))?;
        let value = self.value_after(to.checked_sub(1)?)?;
        for used in &mut self.used[to..] {
            *used = true;
        }
        let words = self.rest();
        (!words.is_empty()).then_some(Wish::Key { words, value })
    }

    /// The words that no reader took and that mean something; taken now.
    fn rest(&mut self) -> Vec<String> {
        let mut rest = Vec::new();
        for (word, used) in self.words.iter().zip(&mut self.used) {
            if !*used && !word.is(FILLERS) && !word.is(VERBS) {
                let text = if word.quoted { &word.text } else { &word.lower };
                rest.extend(crate::builtin::words::parts(text.strip_suffix("'s").unwrap_or(text)));
            }
            *used = true;
        }
        rest
    }

    /// What is left names the component.
    fn target(&self) -> Target {
        let mut target = Target { all: self.has(&["all", "every", "everything", "each"]), ..Target::default() };
        for (word, _) in self.words.iter().zip(&self.used).filter(|(_, used)| !**used) {
            let text = if word.quoted { word.text.to_lowercase() } else { word.lower.clone() };
            let text = text.strip_suffix("'s").unwrap_or(&text).to_owned();
            if word.is(FILLERS) || word.is(VERBS) || text.is_empty() {
                continue;
            }
            if GENERIC.contains(&text.as_str()) { target.generic.push(text) } else { target.words.push(text) }
        }
        target
    }
}

fn seconds_or_number(word: &Word) -> Option<u64> {
    word.number().or_else(|| word.lower.trim_end_matches("seconds").trim_end_matches("sec").trim_end_matches('s').parse().ok())
}

/// A host name, also out of a URL.
fn host(word: &Word) -> Option<String> {
    let text = word.text.trim_start_matches("https://").trim_start_matches("http://");
    let text = text.split('/').next().unwrap_or_default();
    let labels: Vec<&str> = text.split('.').collect();
    let label = |l: &&str| {
        *l == "*"
            || (!l.is_empty()
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    let last = labels.last()?;
    let files = ["yaml", "yml", "json", "tpl", "md", "txt", "toml"];
    let legal = labels.len() >= 2 && labels.iter().all(label) && last.len() >= 2 && last.bytes().all(|b| b.is_ascii_alphabetic());
    (legal && !files.contains(last)).then(|| text.to_ascii_lowercase())
}

/// An amount of cpu or memory, with what it certainly is; a unit may stand apart.
fn quantity(text: &str, next: Option<&Word>) -> Option<(String, Option<&'static str>)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() || number.parse::<f64>().is_err() || number.ends_with('.') {
        return None;
    }
    let apart = next.filter(|w| unit.is_empty() && !w.quoted).map(|w| w.text.as_str()).filter(|u| memory_unit(u).is_some());
    match apart.unwrap_or(unit) {
        "" => Some((number.to_owned(), None)),
        "m" => Some((text.to_owned(), Some("cpu"))),
        unit => memory_unit(unit).map(|u| (format!("{number}{u}"), Some("memory"))),
    }
}

fn memory_unit(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "Ki" | "KiB" | "ki" => "Ki",
        "Mi" | "MiB" | "mi" | "mib" => "Mi",
        "Gi" | "GiB" | "gi" | "gib" => "Gi",
        "Ti" | "TiB" | "ti" => "Ti",
        "M" | "MB" | "mb" => "M",
        "G" | "GB" | "gb" | "g" => "G",
        _ => return None,
    })
}

fn is_version(text: &str) -> bool {
    let body = text.strip_prefix('v').unwrap_or(text);
    body.starts_with(|c: char| c.is_ascii_digit())
        && body.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+'))
        || ["latest", "stable", "main", "edge"].contains(&text)
}

/// `nginx:1.27`, `ghcr.io/acme/web`, `repo@sha256:…`.
fn is_reference(word: &Word) -> bool {
    let text = word.text.as_str();
    let legal = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':' | '@'));
    let name = text.split(':').next().unwrap_or_default();
    let shaped = text.contains('/') || text.split_once(':').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
    legal
        && shaped
        && !text.starts_with('/')
        && !text.contains("://")
        && !text.ends_with(['/', ':'])
        && name.chars().any(|c| c.is_ascii_alphabetic())
}

fn split_reference(text: &str) -> (String, Option<String>) {
    if text.contains('@') {
        return (text.to_owned(), None);
    }
    match text.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), Some(tag.to_owned())),
        _ => (text.to_owned(), None),
    }
}
