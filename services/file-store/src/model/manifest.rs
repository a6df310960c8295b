//! The manifest: which files a revision has. Its canonical bytes are what a revision's hash is made of.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use blake3::Hash;

use super::{MAX_FILE_BYTES, MAX_FILES, MAX_REVISION_BYTES, fold};

/// The first line of the canonical form; another form gets another line.
const MAGIC: &str = "slipway manifest 1";

/// A file of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileEntry {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) hash: Hash,
    pub(crate) executable: bool,
}

/// The files of a revision, sorted by the bytes of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    entries: Vec<FileEntry>,
    total_bytes: u64,
}

/// Why files cannot make a revision.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("the revision would have more than {MAX_FILES} files")]
    TooManyFiles,
    #[error("the file {path:?} is larger than {MAX_FILE_BYTES} bytes")]
    FileTooLarge { path: String },
    #[error("the files together are larger than {MAX_REVISION_BYTES} bytes")]
    TooManyBytes,
    #[error(transparent)]
    Clash(#[from] Clash),
}

/// Two paths that cannot live in one tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Clash {
    #[error("the path {path:?} is there twice")]
    Twice { path: String },
    #[error("the paths {path:?} and {other:?} differ only in case")]
    Case { path: String, other: String },
    #[error("the path {path:?} is a file, and {other:?} needs it to be a folder")]
    FileAndFolder { path: String, other: String },
}

impl Clash {
    /// The path to name to the caller.
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Twice { path } | Self::Case { path, .. } | Self::FileAndFolder { path, .. } => path,
        }
    }
}

impl Manifest {
    /// A manifest of these files. Their paths are valid by themselves; here they are checked against each other.
    pub(crate) fn new(mut entries: Vec<FileEntry>) -> Result<Self, ManifestError> {
        let total_bytes = check_sizes(&entries)?;
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        check_tree(entries.iter().map(|e| e.path.as_str()))?;
        Ok(Self { entries, total_bytes })
    }

    /// This one with some files written, or gone. As long as no path is new, paths need not be checked again.
    pub(super) fn with(&self, changed: BTreeMap<String, Option<FileEntry>>) -> Result<Self, ManifestError> {
        let mut entries = Vec::with_capacity(self.entries.len() + changed.len());
        let (mut rest, mut new) = (self.entries.as_slice(), false);
        for (path, entry) in changed {
            let (before, after) = rest.split_at(rest.partition_point(|e| e.path < path));
            entries.extend_from_slice(before);
            let known = after.first().is_some_and(|e| e.path == path);
            rest = if known { &after[1..] } else { after };
            new |= !known && entry.is_some();
            entries.extend(entry);
        }
        entries.extend_from_slice(rest);
        let total_bytes = check_sizes(&entries)?;
        if new {
            check_tree(entries.iter().map(|e| e.path.as_str()))?;
        }
        Ok(Self { entries, total_bytes })
    }

    /// The files, by path.
    pub(crate) fn entries(&self) -> &[FileEntry] {
        &self.entries
    }

    /// The bytes of all files together.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The file with this path.
    pub(crate) fn find(&self, path: &str) -> Option<&FileEntry> {
        self.entries.binary_search_by(|e| e.path.as_str().cmp(path)).ok().map(|at| &self.entries[at])
    }

    /// The files whose paths come after `path`.
    pub(crate) fn after(&self, path: Option<&str>) -> &[FileEntry] {
        let start = path.map_or(0, |path| self.entries.partition_point(|e| e.path.as_str() <= path));
        &self.entries[start..]
    }

    /// The canonical form: a line a file. Paths hold no control characters, so lines need no escapes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = String::with_capacity(32 + self.entries.iter().map(|e| e.path.len() + 84).sum::<usize>());
        text.push_str(MAGIC);
        text.push('\n');
        for entry in &self.entries {
            encode_line(&mut text, entry);
        }
        text.into_bytes()
    }

    /// Reads the canonical form; `None` when it is damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let mut lines = text.split('\n');
        if lines.next()? != MAGIC {
            return None;
        }
        Self::of_sorted(lines.map(decode_line).collect::<Option<Vec<_>>>()?)
    }

    /// A manifest of files that made one before; `None` when they are not sorted.
    pub(super) fn of_sorted(entries: Vec<FileEntry>) -> Option<Self> {
        let total_bytes = entries.iter().map(|e| e.size).sum();
        entries.is_sorted_by(|a, b| a.path < b.path).then_some(Self { entries, total_bytes })
    }

    /// About how much memory it takes.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.entries.iter().map(|e| size_of::<FileEntry>() + e.path.len()).sum::<usize>()
    }
}

/// The bytes of all together.
fn check_sizes(entries: &[FileEntry]) -> Result<u64, ManifestError> {
    if entries.len() as u64 > MAX_FILES {
        return Err(ManifestError::TooManyFiles);
    }
    if let Some(large) = entries.iter().find(|e| e.size > MAX_FILE_BYTES) {
        return Err(ManifestError::FileTooLarge { path: large.path.clone() });
    }
    let total_bytes = entries.iter().map(|e| e.size).sum();
    if total_bytes > MAX_REVISION_BYTES {
        return Err(ManifestError::TooManyBytes);
    }
    Ok(total_bytes)
}

/// A line of the canonical form, with its end.
pub(super) fn encode_line(text: &mut String, entry: &FileEntry) {
    let mode = if entry.executable { 'x' } else { '-' };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{} {mode} {} {}", entry.hash.to_hex(), entry.size, entry.path);
}

pub(super) fn decode_line(line: &str) -> Option<FileEntry> {
    let mut fields = line.splitn(4, ' ');
    let hash = Hash::from_hex(fields.next()?).ok()?;
    let executable = match fields.next()? {
        "x" => true,
        "-" => false,
        _ => return None,
    };
    let size = fields.next()?.parse().ok()?;
    let path = fields.next().filter(|p| !p.is_empty())?.to_owned();
    Some(FileEntry { path, size, hash, executable })
}

/// Checks that these paths can live in one tree, on any file system.
pub(crate) fn check_tree<'a>(paths: impl Iterator<Item = &'a str>) -> Result<(), Clash> {
    let mut folded: HashMap<String, &str> = HashMap::new();
    for path in paths {
        if let Some(other) = folded.insert(fold(path), path) {
            let path = path.to_owned();
            return Err(if other == path { Clash::Twice { path } } else { Clash::Case { path, other: other.to_owned() } });
        }
    }
    for (key, path) in &folded {
        for (at, _) in key.match_indices('/') {
            if let Some(file) = folded.get(&key[..at]) {
                return Err(Clash::FileAndFolder { path: (*file).to_owned(), other: (*path).to_owned() });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, content: &str) -> FileEntry {
        let hash = blake3::hash(content.as_bytes());
        FileEntry { path: path.to_owned(), size: content.len() as u64, hash, executable: path.ends_with(".sh") }
    }

    #[test]
    fn the_canonical_form_survives_and_ignores_the_order_given() {
        let one = Manifest::new(vec![entry("b c", "2"), entry("a/x.sh", "1"), entry("é", "")]).unwrap();
        let two = Manifest::new(vec![entry("é", ""), entry("a/x.sh", "1"), entry("b c", "2")]).unwrap();
        assert_eq!(one.encode(), two.encode());
        assert_eq!(Manifest::decode(&one.encode()), Some(one.clone()));
        assert_eq!(one.total_bytes(), 2);
        assert!(one.find("a/x.sh").is_some_and(|e| e.executable));
        assert!(one.find("a").is_none());
        let empty = Manifest::default();
        assert_eq!(Manifest::decode(&empty.encode()), Some(empty));
    }

    #[test]
    fn a_damaged_manifest_is_not_read() {
        let whole = Manifest::new(vec![entry("a", "1"), entry("b", "2")]).unwrap().encode();
        for end in 0..whole.len() {
            let read = Manifest::decode(&whole[..end]);
            assert!(read.is_none_or(|m| m.entries().len() < 2), "{end}");
        }
    }

    #[test]
    fn mode_content_and_path_change_the_hash() {
        let hash = |e: FileEntry| blake3::hash(&Manifest::new(vec![e]).unwrap().encode());
        let base = hash(entry("a", "1"));
        assert_ne!(base, hash(entry("b", "1")));
        assert_ne!(base, hash(entry("a", "2")));
        assert_ne!(base, hash(FileEntry { executable: true, ..entry("a", "1") }));
    }

    #[test]
    fn pages_start_after_a_path_that_may_be_gone() {
        let manifest = Manifest::new(vec![entry("a", ""), entry("c", ""), entry("d", "")]).unwrap();
        let after = |p| manifest.after(p).iter().map(|e| e.path.as_str()).collect::<Vec<_>>();
        assert_eq!(after(None), ["a", "c", "d"]);
        assert_eq!(after(Some("a")), ["c", "d"]);
        assert_eq!(after(Some("b")), ["c", "d"]);
        assert!(after(Some("d")).is_empty());
    }

    #[test]
    fn paths_that_cannot_live_together_are_refused() {
        let check = |paths: &[&str]| check_tree(paths.iter().copied());
        assert_eq!(check(&["a", "b/a", "b/c", "b-c", "B/d"]), Ok(()));
        assert!(matches!(check(&["a", "a"]), Err(Clash::Twice { .. })));
        assert!(matches!(check(&["README", "readme"]), Err(Clash::Case { .. })));
        assert!(matches!(check(&["É/x", "é/X"]), Err(Clash::Case { .. })));
        assert!(matches!(check(&["a", "a/b"]), Err(Clash::FileAndFolder { .. })));
        assert!(matches!(check(&["A", "a/b/c"]), Err(Clash::FileAndFolder { .. })));
    }

    #[test]
    fn limits_are_kept() {
        let sized = |path: &str, size| FileEntry { size, ..entry(path, "") };
        assert!(Manifest::new(vec![sized("a", MAX_FILE_BYTES)]).is_ok());
        assert!(matches!(Manifest::new(vec![sized("a", MAX_FILE_BYTES + 1)]), Err(ManifestError::FileTooLarge { .. })));
        let many = |n: u64, size| (0..n).map(|i| sized(&format!("{i}"), size)).collect::<Vec<_>>();
        assert!(Manifest::new(many(4, MAX_FILE_BYTES)).is_ok());
        assert_eq!(Manifest::new(many(5, MAX_FILE_BYTES)), Err(ManifestError::TooManyBytes));
        assert!(Manifest::new(many(MAX_FILES, 0)).is_ok());
        assert_eq!(Manifest::new(many(MAX_FILES + 1, 0)), Err(ManifestError::TooManyFiles));
    }
}
