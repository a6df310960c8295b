//! The three-way merge of trees, as git does it: which files the merged tree has, which contents must be merged line by line,
//! and where the two sides cannot be brought together. Files that one side renamed are merged with what the other made of them.

mod lines;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{FileEntry, Manifest, Rename};

pub(crate) use lines::{Clash as LineClash, Lines, Merged, merge_lines};

/// Why two sides cannot be brought together; the numbers are those of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConflictKind {
    /// Both changed the same lines.
    Content = 1,
    /// Both added the file, with other contents or modes.
    AddAdd = 2,
    /// One changed the file, or renamed it, and the other deleted it.
    ModifyDelete = 3,
    /// Both changed a file that is not text, or too large to be merged.
    Binary = 4,
    /// Both renamed the file, to other names.
    RenameRename = 5,
    /// The merged files cannot live in one tree.
    Tree = 6,
}

impl ConflictKind {
    /// As the API names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Content => "CONTENT",
            Self::AddAdd => "ADD_ADD",
            Self::ModifyDelete => "MODIFY_DELETE",
            Self::Binary => "BINARY",
            Self::RenameRename => "RENAME_RENAME",
            Self::Tree => "TREE",
        }
    }
}

/// Where two sides cannot be brought together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub(crate) path: String,
    pub(crate) kind: ConflictKind,
    pub(crate) base: Option<FileEntry>,
    pub(crate) ours: Option<FileEntry>,
    pub(crate) theirs: Option<FileEntry>,
    pub(crate) lines: Vec<LineClash>,
}

/// A file whose content both sides changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContentMerge {
    pub(crate) path: String,
    pub(crate) base: FileEntry,
    pub(crate) ours: FileEntry,
    pub(crate) theirs: FileEntry,
    pub(crate) executable: bool,
}

impl ContentMerge {
    /// What it is when the contents cannot be merged.
    pub(crate) fn conflict(&self, kind: ConflictKind, lines: Vec<LineClash>) -> Conflict {
        let [base, ours, theirs] = [&self.base, &self.ours, &self.theirs].map(|entry| Some(entry.clone()));
        Conflict { path: self.path.clone(), kind, base, ours, theirs, lines }
    }
}

/// What is known of a merge before any content is read.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Files that are as they are on one side.
    pub(crate) files: Vec<FileEntry>,
    pub(crate) contents: Vec<ContentMerge>,
    pub(crate) conflicts: Vec<Conflict>,
}

/// One file through all three trees.
#[derive(Clone, Copy, Debug, Default)]
struct Trio<'a> {
    base: Option<&'a FileEntry>,
    ours: Option<&'a FileEntry>,
    theirs: Option<&'a FileEntry>,
}

/// The three trees and what was renamed on either side.
struct Trees<'a> {
    base: &'a Manifest,
    ours: &'a Manifest,
    theirs: &'a Manifest,
    our_names: HashMap<&'a str, &'a str>,
    their_names: HashMap<&'a str, &'a str>,
    our_targets: HashSet<&'a str>,
    their_targets: HashSet<&'a str>,
}

/// Plans the merge of what two sides made of `base`.
pub(crate) fn plan(base: &Manifest, ours: &Manifest, theirs: &Manifest, our: &[Rename], their: &[Rename]) -> Plan {
    let names = |renames| -> HashMap<&str, &str> {
        let renames: &[Rename] = renames;
        renames.iter().map(|rename| (rename.from.path.as_str(), rename.to.path.as_str())).collect()
    };
    let (our_names, their_names) = (names(our), names(their));
    let (our_targets, their_targets) = (our_names.values().copied().collect(), their_names.values().copied().collect());
    let trees = Trees { base, ours, theirs, our_names, their_names, our_targets, their_targets };
    let mut plan = Plan::default();
    let mut files: BTreeMap<&str, Vec<Trio<'_>>> = BTreeMap::new();
    for entry in base.entries() {
        if let Some((path, trio)) = trees.follow(entry, &mut plan) {
            files.entry(path).or_default().push(trio);
        }
    }
    for path in trees.added() {
        let trio = Trio { base: None, ours: trees.added_by_us(path), theirs: trees.added_by_them(path) };
        files.entry(path).or_default().push(trio);
    }
    for (path, trios) in files {
        match trios.as_slice() {
            [trio] => plan.resolve(path, *trio),
            several => plan.collide(path, several),
        }
    }
    plan
}

impl<'a> Trees<'a> {
    /// Where a file of the base ends up, and what the sides made of it; `None` when it ends up nowhere.
    fn follow(&self, base: &'a FileEntry, plan: &mut Plan) -> Option<(&'a str, Trio<'a>)> {
        let path = base.path.as_str();
        let (our_name, their_name) = (self.our_names.get(path).copied(), self.their_names.get(path).copied());
        let ours = self.ours.find(our_name.unwrap_or(path));
        let theirs = self.theirs.find(their_name.unwrap_or(path));
        let trio = Trio { base: Some(base), ours, theirs };
        match (our_name, their_name) {
            (Some(our), Some(their)) if our != their => {
                plan.conflicts.push(trio.conflict(path, ConflictKind::RenameRename));
                None
            }
            // Renamed here and deleted there, though it may be that nothing else was changed.
            (Some(_), None) if theirs.is_none() => {
                plan.conflicts.push(trio.conflict(path, ConflictKind::ModifyDelete));
                None
            }
            (None, Some(_)) if ours.is_none() => {
                plan.conflicts.push(trio.conflict(path, ConflictKind::ModifyDelete));
                None
            }
            _ => Some((our_name.or(their_name).unwrap_or(path), trio)),
        }
    }

    /// The names that are new on either side and not those of renamed files.
    fn added(&self) -> BTreeSet<&'a str> {
        let of = |side: &'a Manifest| side.entries().iter().map(|entry| entry.path.as_str());
        let all = of(self.ours).chain(of(self.theirs));
        all.filter(|path| self.added_by_us(path).is_some() || self.added_by_them(path).is_some()).collect()
    }

    fn added_by_us(&self, path: &str) -> Option<&'a FileEntry> {
        self.ours.find(path).filter(|_| self.base.find(path).is_none() && !self.our_targets.contains(path))
    }

    fn added_by_them(&self, path: &str) -> Option<&'a FileEntry> {
        self.theirs.find(path).filter(|_| self.base.find(path).is_none() && !self.their_targets.contains(path))
    }
}

impl Trio<'_> {
    fn conflict(&self, path: &str, kind: ConflictKind) -> Conflict {
        let (base, ours, theirs) = (self.base.cloned(), self.ours.cloned(), self.theirs.cloned());
        Conflict { path: path.to_owned(), kind, base, ours, theirs, lines: Vec::new() }
    }
}

impl Plan {
    fn keep(&mut self, path: &str, entry: &FileEntry, executable: bool) {
        self.files.push(FileEntry { path: path.to_owned(), executable, ..entry.clone() });
    }

    fn resolve(&mut self, path: &str, trio: Trio<'_>) {
        let Trio { base, ours, theirs } = trio;
        let same = |a: &FileEntry, b: &FileEntry| a.hash == b.hash && a.executable == b.executable;
        match (base, ours, theirs) {
            (_, None, None) => {}
            (None, Some(only), None) | (None, None, Some(only)) => self.keep(path, only, only.executable),
            (Some(base), Some(left), None) | (Some(base), None, Some(left)) => {
                if !same(base, left) {
                    self.conflicts.push(trio.conflict(path, ConflictKind::ModifyDelete));
                }
            }
            (None, Some(ours), Some(theirs)) if same(ours, theirs) => self.keep(path, ours, ours.executable),
            (None, Some(_), Some(_)) => self.conflicts.push(trio.conflict(path, ConflictKind::AddAdd)),
            (Some(base), Some(ours), Some(theirs)) => {
                let executable = if ours.executable == base.executable { theirs.executable } else { ours.executable };
                if ours.hash == theirs.hash || theirs.hash == base.hash {
                    self.keep(path, ours, executable);
                } else if ours.hash == base.hash {
                    self.keep(path, theirs, executable);
                } else {
                    let [base, ours, theirs] = [base, ours, theirs].map(FileEntry::clone);
                    self.contents.push(ContentMerge { path: path.to_owned(), base, ours, theirs, executable });
                }
            }
        }
    }

    /// Two files end up under one name, one of them or both renamed.
    fn collide(&mut self, path: &str, trios: &[Trio<'_>]) {
        let side = |of: fn(&Trio<'_>) -> Option<FileEntry>| trios.iter().find_map(|t| of(t).filter(|e| e.path == path));
        let ours = side(|trio| trio.ours.cloned());
        let theirs = side(|trio| trio.theirs.cloned());
        let conflict =
            Conflict { path: path.to_owned(), kind: ConflictKind::AddAdd, base: None, ours, theirs, lines: Vec::new() };
        self.conflicts.push(conflict);
    }
}

#[cfg(test)]
pub(crate) mod tests;
