//! What is kept of a file to rank it by: how often each word occurs, what objects it makes, which values it uses. Made of its
//! chunks, small, and the same for as long as its content is.

use std::collections::{BTreeMap, BTreeSet};

use super::bm25::Document;
use super::kind::category;
use super::words::{each, hash};

/// More references than this tell nothing new.
const MAX_REFERENCES: usize = 1_000;
const VALUES: &str = ".Values.";

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
    /// For each value that it uses, `.Values.a.b`, the words of the key.
    pub(super) uses: Vec<Vec<u32>>,
}

impl Digest {
    /// Of a file's chunks, in order.
    pub(crate) fn of<'a>(chunks: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut counts, mut uses) = (BTreeMap::<u32, u32>::new(), BTreeSet::new());
        let mut digest = Self::default();
        for chunk in chunks {
            digest.size += chunk.len() + 1;
            each(chunk, |word| {
                let count = counts.entry(hash(word)).or_default();
                *count = count.saturating_add(1);
            });
            for line in chunk.lines() {
                let found = line.strip_prefix("kind:").and_then(|object| category(object.trim().trim_matches('"')));
                if found.is_some() && (digest.category.is_none() || found == Some("workload")) {
                    digest.category = found;
                }
            }
            references(chunk, &mut uses);
        }
        digest.length = counts.values().fold(0, |sum, n| sum.saturating_add(*n));
        digest.counts = counts.into_iter().collect();
        digest.uses = uses.into_iter().collect();
        digest
    }

    /// About how much memory it takes.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.counts.len() * 8 + self.uses.iter().map(|u| 24 + u.len() * 4).sum::<usize>()
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

/// The words of the values that a text refers to.
fn references(text: &str, uses: &mut BTreeSet<Vec<u32>>) {
    for rest in text.split(VALUES).skip(1) {
        if uses.len() == MAX_REFERENCES {
            return;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
        let mut words = BTreeSet::new();
        each(&rest[..end], |word| {
            words.insert(hash(word));
        });
        uses.insert(words.into_iter().collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_objects_and_values_are_kept() {
        let digest = Digest::of(["kind: Service\nname: a", "kind: Deployment\nreplicas: {{ .Values.gateway.replicaCount }}"]);
        assert_eq!(digest.category, Some("workload"));
        assert_eq!(digest.count(hash("replica")), 2);
        assert_eq!(digest.count(hash("quokka")), 0);
        let uses: BTreeSet<u32> = digest.uses.iter().flatten().copied().collect();
        assert!(["gateway", "replica", "count"].iter().all(|w| uses.contains(&hash(super::super::words::stem(w)))));
        assert!(digest.weight() > size_of::<Digest>());
        assert_eq!(Digest::of([]), Digest::default());
    }
}
