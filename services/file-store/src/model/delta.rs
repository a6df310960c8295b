//! A manifest by what is different in it from another one, its root.
//!
//! Roots are manifests that are kept whole; so whatever is kept as a delta takes one other manifest to read, never a chain
//! of them. A delta is a line a difference, in the order of the paths: `-` and a path that is gone, or a line of the canonical
//! form for a file that came or changed.

use std::cmp::Ordering;

use blake3::Hash;
use bytes::Bytes;

use super::manifest::{decode_line, encode_line};
use super::{FileEntry, Manifest};
use crate::packed::{pack, unpack};

/// The first line; another form gets another line.
const MAGIC: &str = "slipway delta 1";
/// A manifest of fewer files is about a block of a disk, and kept whole.
const LEAST_FILES: usize = 40;
/// The most bytes of a delta before it is packed.
const MAX_TEXT: usize = 1 << 20;

/// How a manifest is kept: whole, as a blob with its hash as the name, or as a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Of the canonical form, however it is kept.
    pub(crate) hash: Hash,
    pub(crate) delta: Option<Delta>,
}

impl Kept {
    /// The blob that is needed to read it.
    pub(crate) fn root(&self) -> Hash {
        self.delta.as_ref().map_or(self.hash, |delta| delta.root)
    }
}

/// The differences from a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delta {
    /// The hash of a manifest that is kept whole.
    pub(crate) root: Hash,
    /// The lines, packed.
    pub(crate) packed: Bytes,
}

impl Delta {
    /// What makes `manifest` of the root, when that is worth it.
    ///
    /// The deltas of a root's successors add up: each has the differences of the ones before. So after `n` commits of a few
    /// files they came to about `n²`, and the least is stored when they come to as much as a root, which is the case when the last of
    /// them has a few times the square root of the files.
    pub(crate) fn between(root: (Hash, &Manifest), manifest: &Manifest) -> Option<Self> {
        let files = manifest.entries().len();
        if files < LEAST_FILES {
            return None;
        }
        let text = encode(root.1.entries(), manifest.entries(), 3 * files.isqrt())?;
        if text.len() > MAX_TEXT {
            return None;
        }
        Some(Self { root: root.0, packed: pack(text.as_bytes()).ok()?.into() })
    }

    /// The manifest, given its root's; `None` when the delta is damaged.
    pub(crate) fn apply(&self, root: &Manifest) -> Option<Manifest> {
        let lines = self.lines()?;
        let mut entries = Vec::with_capacity(root.entries().len() + lines.len());
        let mut rest = root.entries();
        for line in lines {
            let before = rest.partition_point(|entry| entry.path.as_str() < line.path());
            entries.extend_from_slice(&rest[..before]);
            rest = &rest[before..];
            if rest.first().is_some_and(|entry| entry.path == line.path()) {
                rest = &rest[1..];
            }
            if let Line::There(entry) = line {
                entries.push(entry);
            }
        }
        entries.extend_from_slice(rest);
        Manifest::of_sorted(entries)
    }

    /// The contents that the root does not name under the same path; `None` when the delta is damaged.
    pub(crate) fn contents(&self) -> Option<Vec<Hash>> {
        let there = |line| match line {
            Line::There(entry) => Some(entry.hash),
            Line::Gone(_) => None,
        };
        Some(self.lines()?.into_iter().filter_map(there).collect())
    }

    fn lines(&self) -> Option<Vec<Line>> {
        let text = String::from_utf8(unpack(&self.packed, MAX_TEXT)?).ok()?;
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != MAGIC {
            return None;
        }
        let lines = lines.map(Line::decode).collect::<Option<Vec<_>>>()?;
        lines.is_sorted_by(|a, b| a.path() < b.path()).then_some(lines)
    }
}

/// One difference.
enum Line {
    Gone(String),
    There(FileEntry),
}

impl Line {
    fn decode(line: &str) -> Option<Self> {
        match line.strip_prefix('-') {
            Some(path) => Some(Self::Gone(path.to_owned())),
            None => decode_line(line).map(Self::There),
        }
    }

    fn path(&self) -> &str {
        match self {
            Self::Gone(path) => path,
            Self::There(entry) => &entry.path,
        }
    }
}

/// The lines, unless there are more than `most`.
fn encode(mut old: &[FileEntry], mut new: &[FileEntry], most: usize) -> Option<String> {
    let mut text = format!("{MAGIC}\n");
    let mut lines = 0;
    loop {
        let order = match (old.first(), new.first()) {
            (None, None) => return Some(text),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.path.cmp(&new.path),
        };
        if order.is_eq() && old[0] == new[0] {
            (old, new) = (&old[1..], &new[1..]);
            continue;
        }
        lines += 1;
        if lines > most {
            return None;
        }
        if order.is_lt() {
            text.push('-');
            text.push_str(&old[0].path);
            text.push('\n');
        } else {
            encode_line(&mut text, &new[0]);
        }
        if order.is_le() {
            old = &old[1..];
        }
        if order.is_ge() {
            new = &new[1..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest(files: impl IntoIterator<Item = (usize, u8)>) -> Manifest {
        let entry = |(name, content): (usize, u8)| FileEntry {
            path: format!("charts/{}/f {name}.yaml", name % 3),
            size: u64::from(content),
            hash: blake3::hash(&[content]),
            executable: content % 7 == 0,
        };
        Manifest::new(files.into_iter().map(entry).collect()).unwrap()
    }

    fn hash(manifest: &Manifest) -> Hash {
        blake3::hash(&manifest.encode())
    }

    fn base() -> Manifest {
        manifest((0..400).map(|n| (n, 1)))
    }

    #[test]
    fn small_manifests_and_large_differences_are_kept_whole() {
        let root = base();
        let root = (hash(&root), &root);
        assert!(Delta::between(root, &manifest((0..39).map(|n| (n, 1)))).is_none());
        let changed = |n| Delta::between(root, &manifest((0..400).map(|at| (at, if at < n { 2 } else { 1 }))));
        assert!(changed(60).is_some() && changed(61).is_none());
    }

    #[test]
    fn a_delta_of_a_few_files_takes_a_few_bytes() {
        let root = base();
        let next = manifest((0..401).map(|n| (n, if n == 7 { 2 } else { 1 })));
        let delta = Delta::between((hash(&root), &root), &next).unwrap();
        assert!(delta.packed.len() < 200, "{}", delta.packed.len());
        assert_eq!(delta.contents().unwrap(), [blake3::hash(&[1]), blake3::hash(&[2])]);
        assert_eq!(delta.apply(&root).unwrap(), next);
    }

    #[test]
    fn a_damaged_delta_is_not_read() {
        let root = base();
        let next = manifest((1..405).map(|n| (n, 1)));
        let whole = Delta::between((hash(&root), &root), &next).unwrap();
        for at in 0..whole.packed.len() {
            let mut packed = whole.packed.to_vec();
            packed[at] ^= 0x55;
            let damaged = Delta { packed: packed.into(), ..whole.clone() };
            // Whoever reads a manifest compares its hash.
            assert!(damaged.apply(&root).is_none_or(|read| hash(&read) != hash(&next) || read == next), "{at}");
            let cut = Delta { packed: whole.packed.slice(..at), ..whole.clone() };
            assert!(cut.apply(&root).is_none() && cut.contents().is_none(), "{at}");
        }
        let bomb = Delta { packed: pack(&vec![b'\n'; MAX_TEXT + 1]).unwrap().into(), ..whole };
        assert!(bomb.apply(&root).is_none());
    }

    proptest! {
        #[test]
        fn a_delta_makes_the_manifest_of_its_root(
            old in prop::collection::btree_map(0..200usize, 0..9u8, 40..120),
            changes in prop::collection::btree_map(0..200usize, 0..12u8, 0..12),
        ) {
            let mut new = old.clone();
            for (name, content) in changes {
                if content < 9 { new.insert(name, content) } else { new.remove(&name) };
            }
            let (old, new) = (manifest(old), manifest(new));
            match Delta::between((hash(&old), &old), &new) {
                Some(delta) => prop_assert_eq!(delta.apply(&old), Some(new)),
                None => prop_assert!(new.entries().len() < LEAST_FILES),
            }
        }
    }
}
