//! The files of a base revision with the plan's edits on top, in memory. Nothing here reaches the workspace.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Its text.
    Text(String),
    /// It cannot be edited as text; why.
    Unreadable(String),
}

/// The files as the plan would leave them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    paths: BTreeSet<String>,
    files: BTreeMap<String, Content>,
}

impl Overlay {
    /// An overlay over these paths; contents come as they are loaded.
    pub(crate) fn over(paths: impl IntoIterator<Item = String>) -> Overlay {
        Overlay { paths: paths.into_iter().collect(), files: BTreeMap::new() }
    }

    /// True where the file is there.
    pub(crate) fn exists(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// True where the file is there and its content is not known yet.
    pub(crate) fn wants(&self, path: &str) -> bool {
        self.exists(path) && !self.files.contains_key(path)
    }

    /// Takes a content of the base.
    pub(crate) fn load(&mut self, path: &str, content: Content) {
        if self.wants(path) {
            self.files.insert(path.to_owned(), content);
        }
    }

    /// The content, where the file is there and loaded.
    pub(crate) fn find(&self, path: &str) -> Option<&Content> {
        self.files.get(path)
    }

    /// The text, where there is one.
    pub(crate) fn find_text(&self, path: &str) -> Option<&str> {
        match self.find(path) {
            Some(Content::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Writes a file.
    pub(crate) fn write(&mut self, path: &str, text: String) {
        self.paths.insert(path.to_owned());
        self.files.insert(path.to_owned(), Content::Text(text));
    }

    /// Deletes a file.
    pub(crate) fn delete(&mut self, path: &str) {
        self.paths.remove(path);
        self.files.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_lie_over_the_base() {
        let mut overlay = Overlay::over(["a".to_owned(), "b".to_owned()]);
        assert!(overlay.wants("a") && !overlay.wants("c"));
        overlay.load("a", Content::Text("1".into()));
        overlay.load("c", Content::Text("never".into()));
        assert_eq!((overlay.find_text("a"), overlay.find_text("c")), (Some("1"), None));
        overlay.write("a", "2".into());
        overlay.load("a", Content::Text("1".into()));
        assert_eq!(overlay.find_text("a"), Some("2"), "a late load does not undo an edit");
        overlay.delete("a");
        assert!(!overlay.exists("a") && !overlay.wants("a"));
        overlay.write("d", "new".into());
        assert!(overlay.exists("d"));
    }
}
