//! Which files were renamed, as git finds it: first those whose content is the same, then those whose names are alone of
//! their kind and whose contents are three quarters alike, then the most alike of the others, down to a half.

use std::collections::{HashMap, HashSet};

use blake3::Hash;

use super::{FileEntry, Manifest};

/// How much of two contents must be the same, in parts of [`SCALE`].
const SIMILAR: u64 = SCALE / 2;
/// When the names say the same, too.
const SIMILAR_BY_NAME: u64 = SCALE * 3 / 4;
const SCALE: u64 = 60_000;
/// Beyond so many files on either side only those with the same content, or the same name, are looked at.
const MAX_FILES: usize = 1_000;
/// Contents are cut into pieces that end with their line, or here.
const PIECE: usize = 64;
/// How many of the most alike sources are remembered of each target.
const CANDIDATES: usize = 4;

/// A file that has another name in the newer tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rename {
    pub(crate) from: FileEntry,
    pub(crate) to: FileEntry,
    /// In percent.
    pub(crate) similarity: u32,
}

/// Files that are only in one of two trees, and of which some may be the same.
#[derive(Debug)]
pub(crate) struct Search {
    gone: Vec<FileEntry>,
    new: Vec<FileEntry>,
    found: Vec<Rename>,
}

/// How often each piece is in a content, by the piece's hash, and the content's length.
#[derive(Clone, Debug, Default)]
pub(crate) struct Print {
    pieces: Vec<(u64, u64)>,
    length: u64,
}

impl Search {
    /// Finds the files whose content is the same. `empty`: whether files without content count.
    pub(crate) fn new(old: &Manifest, new: &Manifest, empty: bool) -> Self {
        let only = |one: &Manifest, other: &Manifest| -> Vec<FileEntry> {
            one.entries().iter().filter(|e| other.find(&e.path).is_none() && (empty || e.size > 0)).cloned().collect()
        };
        let mut search = Self { gone: only(old, new), new: only(new, old), found: Vec::new() };
        search.find_same();
        search
    }

    fn find_same(&mut self) {
        let mut by_hash: HashMap<Hash, Vec<usize>> = HashMap::new();
        for (at, entry) in self.gone.iter().enumerate() {
            by_hash.entry(entry.hash).or_default().push(at);
        }
        let mut pairs = Vec::new();
        for (to, entry) in self.new.iter().enumerate() {
            let Some(sources) = by_hash.get_mut(&entry.hash) else { continue };
            let same_name = sources.iter().position(|from| name(&self.gone[*from].path) == name(&entry.path));
            if !sources.is_empty() {
                pairs.push((sources.remove(same_name.unwrap_or(0)), to, SCALE));
            }
        }
        self.take(&pairs);
    }

    /// The files whose contents must be compared: of each side, those that may be the same as one of the other.
    pub(crate) fn to_compare(&self) -> Vec<&FileEntry> {
        if self.gone.is_empty() || self.new.is_empty() {
            return Vec::new();
        }
        if self.gone.len().max(self.new.len()) <= MAX_FILES {
            return self.gone.iter().chain(&self.new).collect();
        }
        let by_name = self.named_alike();
        by_name.iter().flat_map(|(from, to)| [&self.gone[*from], &self.new[*to]]).collect()
    }

    /// Finds the files whose contents are alike. Those without a print are like nothing.
    pub(crate) fn finish(mut self, prints: &HashMap<Hash, Print>) -> Vec<Rename> {
        let score = |from: &FileEntry, to: &FileEntry, least: u64| -> Option<u64> {
            let score = prints.get(&from.hash)?.similarity(prints.get(&to.hash)?, least);
            (score >= least).then_some(score)
        };
        let named = self.named_alike().into_iter();
        let named =
            named.filter_map(|(from, to)| score(&self.gone[from], &self.new[to], SIMILAR_BY_NAME).map(|score| (from, to, score)));
        let named: Vec<_> = named.collect();
        self.take(&named);
        if self.gone.len().max(self.new.len()) <= MAX_FILES {
            let mut pairs = Vec::new();
            for (to, new) in self.new.iter().enumerate() {
                let sources = self.gone.iter().enumerate();
                let mut of_target: Vec<_> =
                    sources.filter_map(|(from, gone)| score(gone, new, SIMILAR).map(|score| (from, to, score))).collect();
                of_target.sort_by_key(|pair| self.order(pair));
                of_target.truncate(CANDIDATES);
                pairs.extend(of_target);
            }
            pairs.sort_by_key(|pair| self.order(pair));
            self.take(&pairs);
        }
        self.found.sort_by(|a, b| a.to.path.cmp(&b.to.path));
        self.found
    }

    /// The most alike first; of those, the ones with the same name.
    fn order(&self, &(from, to, score): &(usize, usize, u64)) -> (u64, bool, usize, usize) {
        (SCALE - score, name(&self.gone[from].path) != name(&self.new[to].path), to, from)
    }

    /// Those on both sides whose names, without their folders, are there once on each.
    fn named_alike(&self) -> Vec<(usize, usize)> {
        let (gone, new) = (alone(&self.gone), alone(&self.new));
        let mut pairs: Vec<_> = gone.iter().filter_map(|(name, from)| new.get(name).map(|to| (*from, *to))).collect();
        pairs.sort_unstable();
        pairs
    }

    /// Takes pairs in their order, each file once.
    fn take(&mut self, pairs: &[(usize, usize, u64)]) {
        let (mut from_taken, mut to_taken) = (HashSet::new(), HashSet::new());
        for &(from, to, score) in pairs {
            if from_taken.contains(&from) || to_taken.contains(&to) {
                continue;
            }
            from_taken.insert(from);
            to_taken.insert(to);
            let similarity = u32::try_from(score * 100 / SCALE).unwrap_or(100);
            self.found.push(Rename { from: self.gone[from].clone(), to: self.new[to].clone(), similarity });
        }
        let mut at = 0..;
        self.gone.retain(|_| at.next().is_some_and(|at| !from_taken.contains(&at)));
        let mut at = 0..;
        self.new.retain(|_| at.next().is_some_and(|at| !to_taken.contains(&at)));
    }
}

impl Print {
    pub(crate) fn of(content: &[u8]) -> Self {
        let mut counts: HashMap<u64, u64> = HashMap::new();
        let text = !is_binary(content);
        let mut piece = Vec::with_capacity(PIECE);
        for (at, byte) in content.iter().enumerate() {
            // The two ends of a line that there are differ by nothing.
            if text && *byte == b'\r' && content.get(at + 1) == Some(&b'\n') {
                continue;
            }
            piece.push(*byte);
            if piece.len() == PIECE || *byte == b'\n' {
                *counts.entry(hash_of(&piece)).or_default() += piece.len() as u64;
                piece.clear();
            }
        }
        if !piece.is_empty() {
            *counts.entry(hash_of(&piece)).or_default() += piece.len() as u64;
        }
        let mut pieces: Vec<_> = counts.into_iter().collect();
        pieces.sort_unstable();
        Self { pieces, length: content.len() as u64 }
    }

    /// How many of the larger one's bytes are in the other, in parts of [`SCALE`]; 0 when the lengths say that it is less than
    /// `least`.
    fn similarity(&self, other: &Self, least: u64) -> u64 {
        let (smaller, larger) = (self.length.min(other.length), self.length.max(other.length));
        if larger == 0 || larger * (SCALE - least) < (larger - smaller) * SCALE {
            return 0;
        }
        let (mut ours, mut theirs) = (self.pieces.iter().peekable(), other.pieces.iter().peekable());
        let mut shared = 0;
        while let (Some((a, our_bytes)), Some((b, their_bytes))) = (ours.peek(), theirs.peek()) {
            if a == b {
                shared += our_bytes.min(their_bytes);
            }
            let order = a.cmp(b);
            if order.is_le() {
                ours.next();
            }
            if order.is_ge() {
                theirs.next();
            }
        }
        shared * SCALE / larger
    }
}

/// As git tells: a NUL among the first bytes.
pub(crate) fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(8_000)].contains(&0)
}

fn hash_of(piece: &[u8]) -> u64 {
    let hash = blake3::hash(piece);
    hash.as_bytes()[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The files whose names no other has.
fn alone(files: &[FileEntry]) -> HashMap<&str, usize> {
    let mut names: HashMap<&str, Option<usize>> = HashMap::new();
    for (at, entry) in files.iter().enumerate() {
        names.entry(name(&entry.path)).and_modify(|there| *there = None).or_insert(Some(at));
    }
    names.into_iter().filter_map(|(name, at)| Some((name, at?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn similarity(one: &str, other: &str) -> u64 {
        Print::of(one.as_bytes()).similarity(&Print::of(other.as_bytes()), 0) * 100 / SCALE
    }

    #[test]
    fn likeness_is_the_share_of_the_larger_one() {
        assert_eq!(similarity("a\nb\nc\nd\n", "a\nb\nc\nd\n"), 100);
        assert_eq!(similarity("a\nb\nc\nd\n", "d\na\n"), 50);
        assert_eq!(similarity("a\r\nb\r\n", "a\nb\n"), 66, "the ends are alike, the lengths are not");
        assert_eq!(similarity("a\n", "b\n"), 0);
        assert_eq!(similarity("", ""), 0);
        let long = "x".repeat(1_000);
        assert!(similarity(&long, &format!("{long}y")) > 90, "a line is cut into pieces");
    }
}
