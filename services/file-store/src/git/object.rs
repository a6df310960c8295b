//! Git's objects: what they are made of, and what they are called.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use blake3::Hash;
use sha1::{Digest as _, Sha1};

use crate::model::{FileEntry, Manifest, Revision};

/// The name of an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectId(pub(super) [u8; 20]);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The kinds of objects, with their numbers in packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Commit = 1,
    Tree = 2,
    Blob = 3,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
        }
    }
}

/// Names an object whose content comes piece by piece.
#[derive(Clone)]
pub(super) struct Naming(Sha1);

impl Naming {
    pub(super) fn start(kind: Kind, size: u64) -> Self {
        let mut sha = Sha1::new();
        sha.update(format!("{} {size}\0", kind.name()));
        Self(sha)
    }

    pub(super) fn update(&mut self, content: &[u8]) {
        self.0.update(content);
    }

    pub(super) fn finish(self) -> ObjectId {
        ObjectId(self.0.finalize().into())
    }
}

/// The name of an object whose content is at hand.
pub(crate) fn name(kind: Kind, content: &[u8]) -> ObjectId {
    let mut naming = Naming::start(kind, content.len() as u64);
    naming.update(content);
    naming.finish()
}

/// A folder that is being put together.
#[derive(Default)]
struct Folder<'a> {
    files: Vec<(&'a str, &'a FileEntry)>,
    folders: BTreeMap<&'a str, Folder<'a>>,
}

/// The trees of a manifest, each before the one that it lies in; the last one is the root. `None`: a blob has no name yet.
pub(crate) fn trees(manifest: &Manifest, blobs: &HashMap<Hash, ObjectId>) -> Option<Vec<(ObjectId, Vec<u8>)>> {
    let mut root = Folder::default();
    for entry in manifest.entries() {
        let mut folder = &mut root;
        let mut rest = entry.path.as_str();
        while let Some((part, below)) = rest.split_once('/') {
            folder = folder.folders.entry(part).or_default();
            rest = below;
        }
        folder.files.push((rest, entry));
    }
    let mut trees = Vec::new();
    write_folder(&root, blobs, &mut trees)?;
    Some(trees)
}

/// As deep as paths are, which have a limit.
fn write_folder(folder: &Folder<'_>, blobs: &HashMap<Hash, ObjectId>, trees: &mut Vec<(ObjectId, Vec<u8>)>) -> Option<ObjectId> {
    // Git sorts a folder as if its name ended with a slash.
    let mut entries: Vec<(Vec<u8>, &str, &str, ObjectId)> = Vec::new();
    for (name, entry) in &folder.files {
        let mode = if entry.executable { "100755" } else { "100644" };
        entries.push((name.as_bytes().to_vec(), name, mode, *blobs.get(&entry.hash)?));
    }
    for (name, below) in &folder.folders {
        let id = write_folder(below, blobs, trees)?;
        entries.push(([name.as_bytes(), b"/"].concat(), name, "40000", id));
    }
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut content = Vec::new();
    for (_, name, mode, id) in entries {
        content.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        content.extend_from_slice(&id.0);
    }
    let id = name(Kind::Tree, &content);
    trees.push((id, content));
    Some(id)
}

/// The commit that a revision is. Nothing in it depends on when or by whom it is made.
pub(crate) fn commit(revision: &Revision, tree: ObjectId, parent: Option<ObjectId>) -> (ObjectId, Vec<u8>) {
    use std::fmt::Write as _;
    let author = revision.author_id;
    let (time, mut content) = (revision.create_time.div_euclid(1_000_000), String::new());
    // Writing to a string cannot fail.
    let _ = writeln!(content, "tree {tree}");
    if let Some(parent) = parent {
        let _ = writeln!(content, "parent {parent}");
    }
    for role in ["author", "committer"] {
        let _ = writeln!(content, "{role} {author} <{author}@users.slipway.invalid> {time} +0000");
    }
    let end = if revision.message.is_empty() || revision.message.ends_with('\n') { "" } else { "\n" };
    let _ = write!(content, "\n{}{end}", revision.message);
    (name(Kind::Commit, content.as_bytes()), content.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_the_names_that_git_gives_them() {
        assert_eq!(name(Kind::Blob, b"").to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(name(Kind::Blob, b"hello\n").to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(name(Kind::Tree, b"").to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    }

    #[test]
    fn folders_sort_as_if_their_names_ended_with_a_slash() {
        let entry = |path: &str| FileEntry { path: path.into(), size: 0, hash: blake3::hash(b""), executable: false };
        let manifest = Manifest::new(vec![entry("a/x"), entry("a-b"), entry("a.c")]).unwrap();
        let blobs = HashMap::from([(blake3::hash(b""), name(Kind::Blob, b""))]);
        let trees = trees(&manifest, &blobs).unwrap();
        assert_eq!(trees.len(), 2);
        let root = String::from_utf8_lossy(&trees[1].1).into_owned();
        let at = |name: &str| root.find(name).unwrap();
        assert!(at("a-b\0") < at("a.c\0") && at("a.c\0") < at("a\0"), "{root:?}");
        assert!(super::trees(&manifest, &HashMap::new()).is_none());
    }
}
