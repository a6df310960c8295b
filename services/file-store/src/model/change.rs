//! Changes to the files of a revision: applied in order, all of them or none.

use std::collections::BTreeMap;

use blake3::Hash;
use bytes::Bytes;

use super::{FileEntry, Manifest, ManifestError};

/// One change to a file. Paths are valid by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Creates or replaces; `executable: None` keeps what is there.
    Write { path: String, content: Bytes, executable: Option<bool>, expected: Expected },
    /// As `Write`, with a content that is there already.
    Place { path: String, hash: Hash, size: u64, executable: Option<bool>, expected: Expected },
    /// Deletes a file that exists.
    Delete { path: String, expected: Expected },
    /// Renames a file that exists to a name that is free.
    Rename { path: String, new_path: String, expected: Expected },
}

/// What a change expects to find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Expected {
    #[default]
    Whatever,
    Nothing,
    Content(Hash),
}

impl Expected {
    fn allows(self, present: Option<&FileEntry>) -> bool {
        match self {
            Self::Whatever => true,
            Self::Nothing => present.is_none(),
            Self::Content(hash) => present.is_some_and(|entry| entry.hash == hash),
        }
    }
}

impl Change {
    /// The file that the change is about, and what it expects of it.
    pub(crate) fn target(&self) -> (&str, Expected) {
        match self {
            Self::Write { path, expected, .. }
            | Self::Place { path, expected, .. }
            | Self::Delete { path, expected }
            | Self::Rename { path, expected, .. } => (path, *expected),
        }
    }
}

/// Why changes do not fit their base.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("change {index}: there is no file {path:?}")]
    Missing { index: usize, path: String },
    #[error("change {index}: there is a file {path:?} already")]
    Taken { index: usize, path: String },
    #[error("change {index}: the file {path:?} is not the one that the change expects; read it and try again")]
    Unexpected { index: usize, path: String, present: Option<Box<FileEntry>> },
    #[error(transparent)]
    Result(#[from] ManifestError),
}

/// The files after the changes, and the contents that they bring.
pub(crate) fn apply(base: &Manifest, changes: Vec<Change>) -> Result<(Manifest, Vec<(Hash, Bytes)>), ChangeError> {
    let mut files = Files { base, changed: BTreeMap::new() };
    let mut contents = Vec::new();
    for (index, change) in changes.into_iter().enumerate() {
        let (path, expected) = change.target();
        let present = files.find(path);
        if !expected.allows(present) {
            return Err(ChangeError::Unexpected { index, path: path.to_owned(), present: present.cloned().map(Box::new) });
        }
        match change {
            Change::Write { path, content, executable, .. } => {
                let hash = blake3::hash(&content);
                files.write(path, hash, content.len() as u64, executable);
                contents.push((hash, content));
            }
            Change::Place { path, hash, size, executable, .. } => files.write(path, hash, size, executable),
            Change::Delete { path, .. } => {
                if files.take(&path).is_none() {
                    return Err(ChangeError::Missing { index, path });
                }
            }
            Change::Rename { path, new_path, .. } => {
                if files.find(&path).is_none() {
                    return Err(ChangeError::Missing { index, path });
                }
                if files.find(&new_path).is_some() {
                    return Err(ChangeError::Taken { index, path: new_path });
                }
                if let Some(entry) = files.take(&path) {
                    files.changed.insert(new_path.clone(), Some(FileEntry { path: new_path, ..entry }));
                }
            }
        }
    }
    Ok((base.with(files.changed)?, contents))
}

/// The files of a base, but for some.
struct Files<'a> {
    base: &'a Manifest,
    /// `None`: it is gone.
    changed: BTreeMap<String, Option<FileEntry>>,
}

impl Files<'_> {
    fn find(&self, path: &str) -> Option<&FileEntry> {
        self.changed.get(path).map_or_else(|| self.base.find(path), Option::as_ref)
    }

    fn write(&mut self, path: String, hash: Hash, size: u64, executable: Option<bool>) {
        let before = self.find(&path).is_some_and(|entry| entry.executable);
        let entry = FileEntry { path: path.clone(), size, hash, executable: executable.unwrap_or(before) };
        self.changed.insert(path, Some(entry));
    }

    fn take(&mut self, path: &str) -> Option<FileEntry> {
        let entry = self.find(path).cloned()?;
        self.changed.insert(path.to_owned(), None);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Clash;
    use super::*;

    fn write(path: &str, content: &str) -> Change {
        expecting(path, content, Expected::Whatever)
    }

    fn expecting(path: &str, content: &str, expected: Expected) -> Change {
        let content = Bytes::copy_from_slice(content.as_bytes());
        Change::Write { path: path.into(), content, executable: None, expected }
    }

    fn mode(path: &str, executable: bool) -> Change {
        let (content, expected) = (Bytes::from_static(b"x"), Expected::Whatever);
        Change::Write { path: path.into(), content, executable: Some(executable), expected }
    }

    fn delete(path: &str) -> Change {
        Change::Delete { path: path.into(), expected: Expected::Whatever }
    }

    fn rename(path: &str, new_path: &str) -> Change {
        Change::Rename { path: path.into(), new_path: new_path.into(), expected: Expected::Whatever }
    }

    fn base() -> Manifest {
        apply(&Manifest::default(), vec![write("a", "1"), write("b/c", "2"), mode("run.sh", true)]).unwrap().0
    }

    fn paths(changes: Vec<Change>) -> Vec<String> {
        apply(&base(), changes).unwrap().0.entries().iter().map(|e| e.path.clone()).collect()
    }

    #[test]
    fn changes_apply_in_order() {
        assert_eq!(paths(vec![delete("a"), write("a/x", "now a folder")]), ["a/x", "b/c", "run.sh"]);
        assert_eq!(paths(vec![rename("a", "z"), write("a", "new"), delete("b/c")]), ["a", "run.sh", "z"]);
        assert_eq!(paths(vec![rename("a", "t"), rename("b/c", "a"), rename("t", "b/c")]), ["a", "b/c", "run.sh"]);
        assert_eq!(paths(vec![write("new", "1"), delete("new")]), ["a", "b/c", "run.sh"]);
        assert_eq!(paths(vec![rename("a", "A")]), ["A", "b/c", "run.sh"]);
    }

    #[test]
    fn the_mode_is_kept_unless_it_is_given() {
        let executable = |changes| apply(&base(), changes).unwrap().0.find("run.sh").unwrap().executable;
        assert!(executable(vec![write("run.sh", "2")]));
        assert!(!executable(vec![mode("run.sh", false)]));
        assert!(!apply(&base(), vec![write("new.sh", "2")]).unwrap().0.find("new.sh").unwrap().executable);
        assert!(apply(&base(), vec![rename("run.sh", "go.sh")]).unwrap().0.find("go.sh").unwrap().executable);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |changes| apply(&base(), changes).unwrap_err();
        assert_eq!(refused(vec![delete("x")]), ChangeError::Missing { index: 0, path: "x".into() });
        assert_eq!(refused(vec![delete("a"), delete("a")]), ChangeError::Missing { index: 1, path: "a".into() });
        assert_eq!(refused(vec![rename("x", "y")]), ChangeError::Missing { index: 0, path: "x".into() });
        assert_eq!(refused(vec![rename("a", "b/c")]), ChangeError::Taken { index: 0, path: "b/c".into() });
        assert_eq!(refused(vec![rename("a", "a")]), ChangeError::Taken { index: 0, path: "a".into() });
        let clash = |changes| matches!(refused(changes), ChangeError::Result(ManifestError::Clash(_)));
        assert!(clash(vec![write("A", "")]));
        assert!(clash(vec![write("a/b", "")]));
        assert!(clash(vec![write("b", "")]));
        let case = refused(vec![rename("run.sh", "B/C")]);
        assert!(matches!(case, ChangeError::Result(ManifestError::Clash(Clash::Case { .. }))));
    }

    #[test]
    fn a_file_that_is_not_the_expected_one_is_refused() {
        let hash = |content: &str| Expected::Content(blake3::hash(content.as_bytes()));
        assert!(apply(&base(), vec![expecting("a", "2", hash("1")), expecting("a", "3", hash("2"))]).is_ok());
        assert!(apply(&base(), vec![expecting("new", "1", Expected::Nothing)]).is_ok());
        let refused = |change| apply(&base(), vec![write("z", "z"), change]).unwrap_err();
        let unexpected = |path: &str, present: bool| {
            let present = present.then(|| Box::new(base().find(path).unwrap().clone()));
            ChangeError::Unexpected { index: 1, path: path.into(), present }
        };
        assert_eq!(refused(expecting("a", "2", hash("0"))), unexpected("a", true));
        assert_eq!(refused(expecting("a", "2", Expected::Nothing)), unexpected("a", true));
        assert_eq!(refused(expecting("x", "2", hash("0"))), unexpected("x", false));
        assert_eq!(refused(Change::Delete { path: "a".into(), expected: hash("0") }), unexpected("a", true));
        let rename = Change::Rename { path: "a".into(), new_path: "y".into(), expected: hash("0") };
        assert_eq!(refused(rename), unexpected("a", true));
    }

    #[test]
    fn no_change_makes_the_same_manifest() {
        let (after, _) = apply(&base(), vec![write("a", "1")]).unwrap();
        assert_eq!(after.encode(), base().encode());
    }
}
