//! Paths as the file store takes them: relative, clean, in Unicode normal form C.

use unicode_normalization::UnicodeNormalization;

const MAX_BYTES: usize = 1024;
const MAX_PART_BYTES: usize = 255;

/// The path in its one spelling; the error says what is wrong with it.
pub(crate) fn clean(path: &str) -> Result<String, String> {
    let trimmed = path.trim();
    let mut rest = trimmed;
    while let Some(less) = rest.strip_prefix("./") {
        rest = less;
    }
    let path: String = rest.nfc().collect();
    let wrong = |what: &str| Err(format!("the path `{}` {what}", shown(trimmed)));
    if path.is_empty() {
        return Err("a path is empty".to_owned());
    }
    if path.starts_with('/') {
        return wrong("is absolute; paths are relative to the workspace");
    }
    if path.len() > MAX_BYTES {
        return wrong("is longer than 1,024 bytes");
    }
    if path.chars().any(|c| c.is_control() || matches!(c, '\\' | ':')) {
        return wrong("holds a control character, a backslash or a colon");
    }
    for part in path.split('/') {
        match part {
            "" => return wrong("has an empty part"),
            "." | ".." => return wrong("has a part `.` or `..`"),
            _ if part.len() > MAX_PART_BYTES => return wrong("has a part longer than 255 bytes"),
            _ => {}
        }
    }
    Ok(path)
}

/// The folder of a path; empty at the top.
pub(crate) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The last part of a path.
pub(crate) fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn shown(path: &str) -> String {
    path.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(120).collect()
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
            ("../x", "`.` or `..`"),
            ("a/../b", "`.` or `..`"),
            ("a/./b", "`.` or `..`"),
            ("a//b", "empty part"),
            ("a/", "empty part"),
            ("a\\b", "backslash"),
            ("C:/x", "colon"),
            ("a\0b", "control"),
            ("a\nb", "control"),
            (long.as_str(), "1,024"),
            (part.as_str(), "255"),
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
