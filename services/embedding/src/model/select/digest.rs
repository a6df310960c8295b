//! What is kept of a file: how often each word occurs and what objects it makes, to rank it by; which values and templates it
//! refers to, to tell who uses what. Made of its chunks, small, and the same for as long as its content is.

use std::collections::{BTreeMap, BTreeSet};

use super::bm25::Document;
use super::kind::category;
use super::words::{each, hash};

/// More references than this tell nothing new.
const MAX_REFERENCES: usize = 4_000;
const MAX_DEPTH: usize = 16;
const VALUES: &str = ".Values.";
const INCLUDES: [&str; 2] = ["include \"", "template \""];

/// A file, digested.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Digest {
    /// By the words' hashes.
    counts: Vec<(u32, u32)>,
    length: u32,
    /// Bytes of text.
    pub(super) size: usize,
    /// The category of the objects that it makes: that of a workload if one is among them, else the first.
    pub(super) category: Option<&'static str>,
    /// What it refers to, sorted; see [`Tie`].
    references: Vec<u32>,
}

/// What a chunk is that other files may refer to, by its title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tie {
    /// A subtree of a chart's values, by its key.
    Values(String),
    /// A named template.
    Define(String),
}

impl Tie {
    /// Of a chunk's title.
    pub(crate) fn of(title: &str) -> Option<Self> {
        if let Some(key) = title.strip_prefix("values ") {
            // Items of a list are used by whoever uses the list.
            let key = key.split("[]").next().unwrap_or(key);
            return (!key.is_empty()).then(|| Self::Values(key.to_owned()));
        }
        title.strip_prefix("define ").map(|name| Self::Define(name.to_owned()))
    }

    /// What files that use it refer to, any of it: the define; the key or one below it; the whole of what the key is in.
    fn names(&self) -> Vec<u32> {
        match self {
            Self::Define(name) => vec![hash(&format!("define {name}"))],
            Self::Values(key) => {
                let whole = key.match_indices('.').map(|(at, _)| whole(&key[..at]));
                whole.chain([hash(key)]).collect()
            }
        }
    }
}

/// A reference to a key that ends there.
fn whole(key: &str) -> u32 {
    hash(&format!("{key}."))
}

impl Digest {
    /// Of a file's chunks, in order.
    pub(crate) fn of<'a>(chunks: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut counts, mut found) = (BTreeMap::<u32, u32>::new(), BTreeSet::new());
        let mut digest = Self::default();
        for chunk in chunks {
            digest.size += chunk.len() + 1;
            each(chunk, |word| {
                let count = counts.entry(hash(word)).or_default();
                *count = count.saturating_add(1);
            });
            for line in chunk.lines() {
                let made = line.strip_prefix("kind:").and_then(|object| category(object.trim().trim_matches('"')));
                if made.is_some() && (digest.category.is_none() || made == Some("workload")) {
                    digest.category = made;
                }
            }
            references(chunk, &mut found);
        }
        digest.length = counts.values().fold(0, |sum, n| sum.saturating_add(*n));
        digest.counts = counts.into_iter().collect();
        digest.references = found.into_iter().collect();
        digest
    }

    /// Whether the file uses what a chunk is.
    pub(crate) fn uses(&self, tie: &Tie) -> bool {
        tie.names().iter().any(|name| self.references.binary_search(name).is_ok())
    }

    /// About how much memory it takes.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.counts.len() * 8 + self.references.len() * 4
    }
}

impl Document for Digest {
    fn count(&self, word: u32) -> u32 {
        self.counts.binary_search_by_key(&word, |(hash, _)| *hash).map_or(0, |at| self.counts[at].1)
    }

    fn length(&self) -> u32 {
        self.length
    }
}

/// The values and named templates that a text refers to.
fn references(text: &str, found: &mut BTreeSet<u32>) {
    for rest in text.split(VALUES).skip(1) {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
        let key = rest[..end].trim_end_matches('.');
        if key.is_empty() || found.len() >= MAX_REFERENCES {
            continue;
        }
        found.extend(key.match_indices('.').take(MAX_DEPTH).map(|(at, _)| hash(&key[..at])));
        found.extend([hash(key), whole(key)]);
    }
    let names = INCLUDES.iter().flat_map(|word| text.split(word).skip(1)).filter_map(|rest| rest.split_once('"'));
    for (name, _) in names {
        if found.len() >= MAX_REFERENCES {
            return;
        }
        found.insert(hash(&format!("define {name}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_objects_are_kept() {
        let digest = Digest::of(["kind: Service\nname: a", "kind: Deployment\nreplicas: {{ .Values.gateway.replicaCount }}"]);
        assert_eq!(digest.category, Some("workload"));
        assert_eq!(digest.count(hash("replica")), 2);
        assert_eq!(digest.count(hash("quokka")), 0);
        assert!(digest.weight() > size_of::<Digest>());
        assert_eq!(Digest::of([]), Digest::default());
    }

    #[test]
    fn a_file_uses_a_value_by_its_key_what_is_below_or_the_whole_above() {
        let digest =
            Digest::of(["a: {{ .Values.gateway.replicaCount }}\n{{ toYaml .Values.pod.probes }}\n{{- with .Values.tls }}"]);
        let uses = |title: &str| digest.uses(&Tie::of(title).unwrap());
        for used in ["gateway", "gateway.replicaCount", "pod.probes", "pod.probes.liveness", "pod.probes.list[].x", "tls.hosts[]"]
        {
            assert!(uses(&format!("values {used}")), "{used}");
        }
        for other in ["gateway.image", "replicaCount", "pod.affinity", "gate", "ingress"] {
            assert!(!uses(&format!("values {other}")), "{other}");
        }
    }

    #[test]
    fn a_file_uses_the_defines_that_it_includes() {
        let digest = Digest::of(["{{- include \"shop.labels\" . | nindent 4 }} {{ template \"shop.name\" . }} include \"open"]);
        let uses = |title: &str| digest.uses(&Tie::of(title).unwrap());
        assert!(uses("define shop.labels") && uses("define shop.name") && !uses("define shop"));
        assert_eq!(Tie::of("template Deployment"), None);
        assert_eq!(Tie::of("values"), None);
    }
}
