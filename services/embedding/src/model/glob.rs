//! Globs over paths: `*` and `?` stay within a part, `**` crosses parts, as in the file store.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Selects paths.
#[derive(Clone, Debug)]
pub(crate) struct Glob(GlobSet);

impl Glob {
    /// Reads a pattern; `None` for the empty one, which selects all. The error says what is wrong.
    pub(crate) fn new(pattern: &str) -> Result<Option<Self>, String> {
        if pattern.is_empty() {
            return Ok(None);
        }
        let why = |e: globset::Error| e.kind().to_string();
        let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build().map_err(why)?;
        // A set reports an expression that is too large; a single matcher would panic.
        GlobSetBuilder::new().add(glob).build().map_err(why).map(|set| Some(Self(set)))
    }

    /// True when the whole path matches.
    pub(crate) fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_paths() {
        let matches = |glob: &str, path| Glob::new(glob).unwrap().unwrap().matches(path);
        assert!(matches("*.yaml", "values.yaml") && !matches("*.yaml", "templates/x.yaml"));
        assert!(matches("templates/**", "templates/a/b.yaml") && matches("**/*.yaml", "values.yaml"));
        assert!(Glob::new("").unwrap().is_none());
        for bad in ["[", "a{b"] {
            assert!(Glob::new(bad).is_err(), "{bad}");
        }
        let _ = Glob::new(&"{a,".repeat(150));
    }
}
