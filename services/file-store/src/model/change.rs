//! Changes to the files of a revision: applied in order, all of them or none.

use std::collections::BTreeMap;

use blake3::Hash;
use bytes::Bytes;

use super::{FileEntry, Manifest, ManifestError};

/// One change to a file. Paths are valid by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Creates or replaces; `executable: None` keeps what is there.
    Write { path: String, content: Bytes, executable: Option<bool> },
    /// Deletes a file that exists.
    Delete { path: String },
    /// Renames a file that exists to a name that is free.
    Rename { path: String, new_path: String },
}

/// Why changes do not fit their base.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("change {index}: there is no file {path:?}")]
    Missing { index: usize, path: String },
    #[error("change {index}: there is a file {path:?} already")]
    Taken { index: usize, path: String },
    #[error(transparent)]
    Result(#[from] ManifestError),
}

/// The files after the changes, and the contents that they bring.
pub(crate) fn apply(base: &Manifest, changes: Vec<Change>) -> Result<(Manifest, Vec<(Hash, Bytes)>), ChangeError> {
    let mut files: BTreeMap<String, FileEntry> = base.entries().iter().map(|e| (e.path.clone(), e.clone())).collect();
    let mut contents = Vec::new();
    for (index, change) in changes.into_iter().enumerate() {
        match change {
            Change::Write { path, content, executable } => {
                let hash = blake3::hash(&content);
                let before = files.get(&path).is_some_and(|e| e.executable);
                let entry =
                    FileEntry { path: path.clone(), size: content.len() as u64, hash, executable: executable.unwrap_or(before) };
                files.insert(path, entry);
                contents.push((hash, content));
            }
            Change::Delete { path } => {
                if files.remove(&path).is_none() {
                    return Err(ChangeError::Missing { index, path });
                }
            }
            Change::Rename { path, new_path } => {
                if !files.contains_key(&path) {
                    return Err(ChangeError::Missing { index, path });
                }
                if files.contains_key(&new_path) {
                    return Err(ChangeError::Taken { index, path: new_path });
                }
                if let Some(entry) = files.remove(&path) {
                    files.insert(new_path.clone(), FileEntry { path: new_path, ..entry });
                }
            }
        }
    }
    Ok((Manifest::new(files.into_values().collect())?, contents))
}

#[cfg(test)]
mod tests {
    use super::super::Clash;
    use super::*;

    fn write(path: &str, content: &str) -> Change {
        Change::Write { path: path.into(), content: Bytes::copy_from_slice(content.as_bytes()), executable: None }
    }

    fn mode(path: &str, executable: bool) -> Change {
        Change::Write { path: path.into(), content: Bytes::from_static(b"x"), executable: Some(executable) }
    }

    fn delete(path: &str) -> Change {
        Change::Delete { path: path.into() }
    }

    fn rename(path: &str, new_path: &str) -> Change {
        Change::Rename { path: path.into(), new_path: new_path.into() }
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
    fn no_change_makes_the_same_manifest() {
        let (after, _) = apply(&base(), vec![write("a", "1")]).unwrap();
        assert_eq!(after.encode(), base().encode());
    }
}
