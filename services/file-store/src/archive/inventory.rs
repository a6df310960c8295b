//! Which files an archive has: names become paths, one shared top folder is dropped, clashes refuse the whole.

use std::collections::BTreeSet;

use super::{ArchiveError, MAX_NAME, RawEntry, refuse};
use crate::model::{Clash, PathError, PathRule, check_length, check_parts, check_tree, fold, nfc};

/// The files of an archive that was read to its end and found good.
#[derive(Debug)]
pub(crate) struct Inventory {
    paths: Vec<String>,
}

impl Inventory {
    /// The files' paths in the order of the archive.
    pub(crate) fn into_paths(self) -> Vec<String> {
        self.paths
    }
}

#[derive(Default)]
pub(super) struct Builder {
    files: Vec<String>,
    folders: BTreeSet<String>,
    /// True when an entry lies at the root itself, so that there is no shared top folder.
    root: bool,
}

impl Builder {
    pub(super) fn add(&mut self, entry: &RawEntry) -> Result<(), ArchiveError> {
        if entry.name.len() > MAX_NAME {
            let path = entry.name.chars().take(200).collect();
            return Err(ArchiveError::Path { error: PathError { path, rule: PathRule::TooLong } });
        }
        if entry.name.starts_with('/') {
            return Err(refuse(&entry.name, PathRule::Absolute.to_string()));
        }
        let mut name = entry.name.as_str();
        while let Some(rest) = name.strip_prefix("./") {
            name = rest;
        }
        if entry.folder {
            name = name.strip_suffix('/').unwrap_or(name);
            if name.is_empty() || name == "." {
                self.root = true;
                return Ok(());
            }
        }
        // Archives made on macOS have names in another normal form; they are meant to be the same.
        let path = nfc(name);
        check_parts(&path).map_err(|e| refusal(entry, e))?;
        if entry.folder {
            self.folders.insert(path);
        } else {
            self.files.push(path);
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Inventory, ArchiveError> {
        if let Some(top) = self.shared_top().map(str::len) {
            self.files.iter_mut().for_each(|path| drop(path.drain(..=top)));
            self.folders = self.folders.iter().filter_map(|path| path.get(top + 1..)).map(str::to_owned).collect();
        }
        for path in &self.files {
            check_length(path).map_err(|error| ArchiveError::Path { error })?;
        }
        check_tree(self.files.iter().map(String::as_str)).map_err(|clash| refuse(clash.path(), describe(&clash)))?;
        self.check_folders()?;
        Ok(Inventory { paths: self.files })
    }

    /// A folder that has no files is not kept, but may not have the name of a file either.
    fn check_folders(&self) -> Result<(), ArchiveError> {
        let folders: BTreeSet<String> = self.folders.iter().map(|f| fold(f)).collect();
        match self.files.iter().find(|path| folders.contains(&fold(path))) {
            Some(path) => Err(refuse(path, "is both a file and a folder")),
            None => Ok(()),
        }
    }

    /// The one folder in which everything lies.
    fn shared_top(&self) -> Option<&str> {
        let (top, _) = self.files.first()?.split_once('/')?;
        let below = |path: &str| path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'));
        let all =
            !self.root && self.files.iter().all(|path| below(path)) && self.folders.iter().all(|path| path == top || below(path));
        all.then_some(top)
    }
}

/// A path that leaves the root is the archive's fault; any other rule is about the name.
fn refusal(entry: &RawEntry, error: PathError) -> ArchiveError {
    if error.leaves_root() { refuse(&entry.name, error.rule.to_string()) } else { ArchiveError::Path { error } }
}

fn describe(clash: &Clash) -> String {
    match clash {
        Clash::Twice { .. } => "is there twice".to_owned(),
        Clash::Case { other, .. } => format!("differs from {other:?} only in case"),
        Clash::FileAndFolder { other, .. } => format!("is a file, and {other:?} needs it to be a folder"),
    }
}
