//! Names of files, as they stand before what is about them.

use crate::path::check_path;

/// The name that a line before a block gives: alone, in backticks, in bold, behind `File:`, in a heading.
pub(super) fn in_line(line: &str) -> Option<String> {
    let mut text = line.trim();
    for label in ["#", ">", "- ", "* ", "//"] {
        text = text.trim_start_matches(label).trim_start();
    }
    text = text.trim_end_matches(':').trim_matches('*').trim_end_matches(':').trim();
    if let Some((before, rest)) = text.split_once('`') {
        let (quoted, after) = rest.split_once('`')?;
        let single = !before.contains('`') && !after.contains('`');
        return if single { clean(quoted) } else { None };
    }
    for label in ["file:", "filename:", "path:", "file name:", "file path:"] {
        if text.get(..label.len()).is_some_and(|start| start.eq_ignore_ascii_case(label)) {
            return clean(text[label.len()..].trim().trim_matches('*').trim());
        }
    }
    let sentence = text.contains(char::is_whitespace) || text.ends_with(['.', '!', '?', ',']);
    if sentence { None } else { clean(text) }
}

/// The name that stands behind a fence's mark: `yaml values.yaml`, `yaml:values.yaml`, `title="values.yaml"`.
pub(super) fn in_info(info: &str) -> Option<String> {
    for key in ["title=", "file=", "filename=", "path="] {
        if let Some((_, rest)) = info.split_once(key) {
            let name = match rest.strip_prefix(['"', '\'']) {
                Some(quoted) => quoted.split(['"', '\'']).next().unwrap_or_default(),
                None => rest.split_whitespace().next().unwrap_or_default(),
            };
            return clean(name);
        }
    }
    let mut words = info.split_whitespace();
    let first = words.next()?;
    let name = match (first.split_once(':'), words.next()) {
        (Some((_, name)), _) => name,
        (None, Some(name)) => name,
        (None, None) => first,
    };
    if name.contains(['.', '/']) { clean(name) } else { None }
}

/// A path in its one spelling.
pub(super) fn clean(name: &str) -> Option<String> {
    let mut name = name.trim();
    while let Some(rest) = name.strip_prefix("./") {
        name = rest;
    }
    check_path(name).is_ok().then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_sentences() {
        for line in [
            "templates/a.yaml",
            "  ./templates/a.yaml:",
            "`templates/a.yaml`",
            "**templates/a.yaml**",
            "### templates/a.yaml",
            "**`templates/a.yaml`**:",
            "File: templates/a.yaml",
            "In `templates/a.yaml`, change this:",
            "- templates/a.yaml",
            "# templates/a.yaml",
            "**File: templates/a.yaml**",
        ] {
            assert_eq!(in_line(line).as_deref(), Some("templates/a.yaml"), "{line}");
        }
        for line in ["Here is the change:", "Done.", "", "```", "change `a` in `b`", "see https://x.y/z", "../x", "*"] {
            assert_eq!(in_line(line), None, "{line}");
        }
        assert_eq!(in_line("Makefile").as_deref(), Some("Makefile"));
        assert_eq!(in_line("`with a blank.txt`").as_deref(), Some("with a blank.txt"));
    }

    #[test]
    fn a_fence_may_name_its_file() {
        for (info, name) in [
            ("yaml values.yaml", Some("values.yaml")),
            ("yaml:templates/a.yaml", Some("templates/a.yaml")),
            ("js title=\"src/a b.js\"", Some("src/a b.js")),
            ("values.yaml", Some("values.yaml")),
            ("yaml", None),
            ("", None),
            ("rust ignore", None),
        ] {
            assert_eq!(in_info(info).as_deref(), name, "{info}");
        }
    }
}
