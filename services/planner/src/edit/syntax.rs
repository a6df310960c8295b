//! The check behind each edit: what parsed before must parse after, and a new file must parse.

use super::{template, yaml};

/// What a file is checked as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Yaml,
    Json,
    Toml,
    Template,
    Other,
}

/// Checks an edit. A file that was broken before may stay broken: an edit is not asked to mend what it did not break.
pub(crate) fn check_edit(path: &str, before: Option<&str>, after: &str) -> Result<(), String> {
    let Err(error) = check(path, after).and_then(|()| keeps_shape(path, before, after)) else { return Ok(()) };
    match before {
        Some(before) if check(path, before).is_err() => Ok(()),
        _ => Err(error),
    }
}

/// Checks a file by its name and content.
pub(crate) fn check(path: &str, text: &str) -> Result<(), String> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    match language(path, text) {
        Language::Yaml => yaml::check(body).map(drop).map_err(|e| format!("not valid YAML: {e}")),
        Language::Json => {
            serde_json::from_str::<serde::de::IgnoredAny>(body).map(drop).map_err(|e| format!("not valid JSON: {e}"))
        }
        Language::Toml => toml::from_str::<toml::Table>(body)
            .map(drop)
            .map_err(|e| format!("not valid TOML: {}", e.to_string().trim().replace('\n', " "))),
        Language::Template => template::check(body).map_err(|e| format!("not a valid template: {e}")),
        Language::Other => Ok(()),
    }
}

/// Values stay values: a mapping does not become a word, and YAML that holds template text stays YAML.
fn keeps_shape(path: &str, before: Option<&str>, after: &str) -> Result<(), String> {
    let Some(before) = before else { return Ok(()) };
    if in_templates(path) || !is_yaml(path) {
        return Ok(());
    }
    let Ok(was) = yaml::check(before) else { return Ok(()) };
    let is = yaml::check(after).map_err(|e| format!("not valid YAML: {e}"))?;
    if was.mapping && !is.mapping {
        return Err("the file was a YAML mapping and would no longer be one".to_owned());
    }
    Ok(())
}

fn language(path: &str, text: &str) -> Language {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let extension = name.rsplit_once('.').map_or("", |(_, e)| e);
    let structured = matches!(extension, "yaml" | "yml" | "json" | "toml" | "tpl");
    match extension {
        "tpl" => Language::Template,
        "txt" if in_templates(path) => Language::Template,
        _ if structured && (in_templates(path) || text.contains("{{")) => Language::Template,
        "yaml" | "yml" => Language::Yaml,
        "json" => Language::Json,
        "toml" => Language::Toml,
        _ if name == "chart.lock" => Language::Yaml,
        _ => Language::Other,
    }
}

fn is_yaml(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.ends_with(".yaml") || path.ends_with(".yml")
}

fn in_templates(path: &str) -> bool {
    path.split('/').rev().skip(1).any(|part| part == "templates")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_checked_as_what_it_is() {
        for (path, text, ok) in [
            ("values.yaml", "a: 1\n", true),
            ("values.yaml", "a: [\n", false),
            ("values.yml", "a: 1\na: 2\n", false),
            ("values.yaml", "host: \"{{ .Release.Name }}\"\n", true),
            ("values.yaml", "host: {{ .Release.Name\n", false),
            ("templates/a.yaml", "{{ if .x }}\na: [\n{{ end }}", true),
            ("templates/a.yaml", "{{ if .x }}\n", false),
            ("charts/sub/templates/tests/a.yaml", "{{ end }}", false),
            ("templates/NOTES.txt", "{{ range .x }}", false),
            ("notes.txt", "{{ range .x }}", true),
            ("templates/_helpers.tpl", "{{ define \"a\" }}{{ end }}", true),
            ("templates/_helpers.tpl", "{{ define \"a\" }}", false),
            ("values.schema.json", "{\"a\": 1}", true),
            ("values.schema.json", "{\"a\": 1,}", false),
            ("a.json", "", false),
            ("Cargo.toml", "[a]\nb = 1\n", true),
            ("Cargo.toml", "[a\n", false),
            ("README.md", "{{ anything [ goes", true),
            ("Dockerfile", "FROM x", true),
            ("templates", "{{", true),
            ("Chart.lock", "a: [", false),
            ("\u{feff}x.json", "\u{feff}{}", true),
        ] {
            assert_eq!(check(path, text).is_ok(), ok, "{path}: {text:?}: {:?}", check(path, text));
        }
    }

    #[test]
    fn an_edit_must_not_break_but_need_not_mend() {
        assert!(check_edit("values.yaml", Some("a: 1\n"), "a: [\n").is_err());
        assert!(check_edit("values.yaml", Some("a: [\n"), "a: [\nb: 1\n").is_ok(), "it was broken before");
        assert!(check_edit("values.yaml", None, "a: [\n").is_err());
        assert!(check_edit("values.yaml", Some("a: 1\n"), "just words\n").unwrap_err().contains("mapping"));
        assert!(check_edit("values.yaml", Some("a: 1\n"), "").is_err());
        assert!(check_edit("values.yaml", Some("a: \"{{ x }}\"\n"), "a: \"{{ x }}\n").is_err(), "still YAML");
        assert!(check_edit("templates/a.yaml", Some("a: 1\n"), "{{ if .x }}\na: 1\n").is_err());
    }
}
