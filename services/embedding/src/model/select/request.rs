//! What a request says: the words that name what it is about, the verbs that tell what sort of change it is, and the topics.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use super::words::{alias, hash, is_stop, list, of_path, stem};

/// Words that tell the sort of a change.
const SORTS: [(&str, &str); 17] = [
    ("bump", "bump upgrade updat updating release version appversion latest up rev"),
    ("release", "release releases"),
    (
        "dep",
        "dependency dependencies subchart dep deps require requirement requirements renovate component reference chart helm lock",
    ),
    ("image", "image tag docker registry digest container"),
    ("doc", "readme doc docs document documentation typo link grammar comment description note changelog markdown spelling"),
    ("fix", "fix bug bugfix correct wrong resolve broken issue error missing"),
    (
        "add",
        "add feat feature support allow enable option optional introduce configurable ability expose make custom customize \
         provide parameter param",
    ),
    ("remove", "remove delete drop cleanup deprecate deprecated disable obsolete"),
    ("refactor", "refactor rename move lint format style whitespace replace standardize harmonize sync"),
    ("default", "default value set change increase decrease adjust use switch raise lower run put keep want need"),
    ("maint", "maintainer owner home url icon keyword metadata annotation source sources license copyright header year"),
    ("ci", "ci test tests testing lint workflow vib goss"),
    ("schema", "schema json validation validate"),
    ("crd", "crd crds definition"),
    ("helper", "helper tpl template"),
    ("dash", "dashboard rule alert mixin"),
    ("notes", "note warning instruction message"),
];

/// Sorts whose words say nothing about which file is meant.
const EMPTY_SORTS: [&str; 7] = ["bump", "release", "fix", "add", "remove", "refactor", "default"];

/// Words that tell what in a cluster a request is about.
const TOPICS: [(&str, &str); 15] = [
    ("ingress", "ingress host hostname tls domain route httproute gateway path"),
    ("replicas", "replica scale strategy rollout rolling"),
    ("scale", "autoscale autoscaling autoscaler hpa vpa pdb disruption budget keda"),
    (
        "pod",
        "env environment variable probe liveness readiness startup affinity toleration nodeselector topology spread priority \
         class lifecycle init initcontainer sidecar container command arg args pod hostnetwork dns hostalias \
         terminationgraceperiod grace securitycontext security context runasuser resource cpu memory limit request volume mount \
         extra pullsecret pull enableservicelinks automount",
    ),
    ("image", "image tag registry digest"),
    ("port", "port service nodeport loadbalancer clusterip headless"),
    ("meta", "label annotation selector name fullname namespace"),
    ("secret", "secret password credential token auth existing key"),
    ("config", "configmap config configuration setting file log"),
    ("rbac", "serviceaccount account rbac role rolebinding clusterrole permission psp podsecuritypolicy policy"),
    ("net", "networkpolicy egress network traffic"),
    ("monitor", "monitor servicemonitor podmonitor metric prometheus rule alert scrape relabeling interval exporter"),
    ("job", "cronjob job schedule hook backup migration"),
    ("storage", "storage disk pvc persistence persistent claim volumeclaimtemplate storageclass retention"),
    ("cert", "certificate cert ca webhook ssl"),
];

type Table = HashMap<&'static str, Vec<&'static str>>;

static SORT_OF: LazyLock<Table> = LazyLock::new(|| table(&SORTS));
static TOPIC_OF: LazyLock<Table> = LazyLock::new(|| table(&TOPICS));

fn table(groups: &[(&'static str, &'static str)]) -> Table {
    let mut table = Table::new();
    for (group, words) in groups {
        for word in words.split_whitespace() {
            let groups = table.entry(stem(word)).or_default();
            if !groups.contains(group) {
                groups.push(group);
            }
        }
    }
    table
}

/// A request, read.
#[derive(Debug)]
pub(crate) struct Request {
    /// The words that say which files are meant, each once.
    pub(super) words: Vec<String>,
    /// Their hashes.
    pub(super) hashes: Vec<u32>,
    /// The sorts of change that its words tell; `bare` and `short` when there is little else.
    pub(super) sorts: BTreeSet<&'static str>,
    /// What it is about.
    pub(super) topics: BTreeSet<&'static str>,
}

impl Request {
    /// Reads a request.
    pub(crate) fn read(text: &str) -> Self {
        let all = list(text);
        let mut said: Vec<String> = all.iter().filter(|w| !is_stop(w)).cloned().collect();
        let full: Vec<String> = said.iter().filter_map(|w| alias(w)).map(|name| stem(name).to_owned()).collect();
        said.extend(full);
        let sorts_of = |word: &String| SORT_OF.get(word.as_str()).into_iter().flatten().copied();
        let mut sorts: BTreeSet<&str> = all.iter().flat_map(sorts_of).collect();
        let topics = said.iter().flat_map(|w| TOPIC_OF.get(w.as_str()).into_iter().flatten().copied()).collect();
        let mut words: Vec<String> = Vec::new();
        for word in said {
            if !sorts_of(&word).any(|sort| EMPTY_SORTS.contains(&sort)) && !words.contains(&word) {
                words.push(word);
            }
        }
        match words.len() {
            0 => sorts.insert("bare"),
            1 | 2 => sorts.insert("short"),
            _ => false,
        };
        let hashes = words.iter().map(|w| hash(w)).collect();
        Self { words, hashes, sorts, topics }
    }

    /// How many of its words a path has.
    pub(crate) fn named_in(&self, path: &str) -> usize {
        let path = of_path(path);
        self.words.iter().filter(|word| path.contains(word)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_tell_the_sort_and_the_rest_what_it_is_about() {
        let request = Request::read("Add an ingress host to the gateway");
        assert!(request.sorts.contains("add") && request.topics.contains("ingress"));
        assert_eq!(request.words, ["ingress", "host", "gateway"]);
        let bump = Request::read("Bump version to");
        assert!(bump.words.is_empty() && bump.sorts.contains("bare") && bump.sorts.contains("bump"));
    }

    #[test]
    fn short_names_stand_for_the_long_ones() {
        assert!(Request::read("pdb").words.contains(&"poddisruptionbudget".to_owned()));
    }
}
