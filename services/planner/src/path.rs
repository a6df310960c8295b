//! Paths as models write them, and the parts of paths. What the file store takes as a path is said in [`slipway_edits`].

use slipway_edits::{check_path, nfc};

/// The path in its one spelling; the error says what is wrong with it.
pub(crate) fn clean(path: &str) -> Result<String, String> {
    let mut rest = path.trim();
    while let Some(less) = rest.strip_prefix("./") {
        rest = less;
    }
    let path = nfc(rest);
    check_path(&path).map(|()| path).map_err(|e| e.to_string())
}

/// The folder of a path; empty at the top.
pub(crate) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The last part of a path.
pub(crate) fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_paths_pass_in_one_spelling() {
        for (given, clean_one) in [
            ("values.yaml", "values.yaml"),
            (" ./templates/a.yaml\n", "templates/a.yaml"),
            ("././a", "a"),
            ("a b/c.d", "a b/c.d"),
            ("e\u{301}.yaml", "é.yaml"),
            (".helmignore", ".helmignore"),
            ("..a/b..", "..a/b.."),
        ] {
            assert_eq!(clean(given).as_deref(), Ok(clean_one), "{given:?}");
        }
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        let long = "x".repeat(1025);
        let part = "x".repeat(256);
        for (given, why) in [
            ("", "empty"),
            ("  ", "empty"),
            ("./", "empty"),
            ("/etc/passwd", "absolute"),
            ("../x", "leaves the workspace"),
            ("a/../b", "leaves the workspace"),
            ("a/./b", "the part `.`"),
            ("a//b", "empty part"),
            ("a/", "empty part"),
            ("a\\b", "backslash"),
            ("C:/x", "colon"),
            ("a\0b", "control"),
            ("a\nb", "control"),
            (long.as_str(), "1024 bytes"),
            (part.as_str(), "255"),
            ("con.yaml", "a device on Windows"),
        ] {
            let error = clean(given).expect_err(given);
            assert!(error.contains(why), "{given:?}: {error}");
        }
    }

    #[test]
    fn folders_and_names() {
        assert_eq!((folder("a/b/c"), name("a/b/c")), ("a/b", "c"));
        assert_eq!((folder("c"), name("c")), ("", "c"));
    }
}
