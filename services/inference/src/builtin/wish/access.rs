//! Readers of how things are reached and marked: ports, service types, ingresses, labels and annotations.

use super::read::Clause;
use super::vocabulary::{FILLERS, host};
use super::{Bearer, Request, Surroundings, Wish};

impl Clause<'_> {
    pub(super) fn meta(&mut self, before: Option<&Request>, verb: bool) -> Option<Wish> {
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

    pub(super) fn service_type(&mut self) -> Option<Wish> {
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

    pub(super) fn ingress(&mut self, around: &dyn Surroundings, before: Option<&Request>, verb: bool) -> Option<Wish> {
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

    pub(super) fn port(&mut self) -> Option<Wish> {
        if !self.take(&["port", "ports", "listen", "containerport", "targetport"]) {
            return None;
        }
        let container = self.take(&["container", "target", "containerport", "targetport"]) || self.has(&["listen"]);
        let port = self.number().filter(|p| (1..=65_535).contains(p))?;
        self.take(&["service", "http"]);
        Some(Wish::Port { port, container })
    }
}
