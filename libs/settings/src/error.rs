//! The sentence for each mistake: which key, where it came from, what is wrong, and what was probably meant.

use std::path::Path;

use figment::error::Kind;
use figment::{Error, Figment};

use crate::{env, print};

/// Why the settings could not be loaded; displays as one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

impl SettingsError {
    pub(crate) fn file(path: &Path, problem: &str) -> SettingsError {
        SettingsError(format!("cannot read the settings in {}: {problem}", path.display()))
    }

    pub(crate) fn value(key: &str, origin: &str, problem: &str) -> SettingsError {
        SettingsError(format!("the setting `{key}` from {origin} {problem}"))
    }
}

/// Where the value of `key` came from. For a key inside a list: where the list came from.
pub(crate) fn origin(figment: &Figment, key: &str) -> String {
    origin_name(figment, key).unwrap_or_else(|| "the defaults".to_owned())
}

fn origin_name(figment: &Figment, key: &str) -> Option<String> {
    let mut key = key;
    loop {
        if let Some(metadata) = figment.find_metadata(key) {
            let set = metadata.source.as_ref().is_none_or(|s| s.file_path().is_some());
            return set.then(|| metadata.name.to_string());
        }
        key = key.rsplit_once('.')?.0;
    }
}

/// The variable whose value was read as something else than the text that is wanted, if that is what went wrong.
pub(crate) fn text_expected(figment: &Figment, error: &Error) -> Option<String> {
    let Kind::InvalidType(_, expected) = &error.kind else { return None };
    let name = origin_name(figment, &error.path.join("."))?;
    (expected.contains("string") && name.starts_with("SLIPWAY_")).then_some(name)
}

/// One sentence for the first of figment's errors. `known` are the keys that have a default.
pub(crate) fn explain(figment: &Figment, known: &[String], error: Error) -> SettingsError {
    let key = error.path.join(".");
    let from = origin(figment, &key);
    let secret = print::is_secret(&key);
    match &error.kind {
        // Figment's path ends in the unknown field itself.
        Kind::UnknownField(field, siblings) => {
            let parent = key.strip_suffix(field.as_str()).map_or(key.as_str(), |p| p.trim_end_matches('.'));
            unknown(figment, known, parent, field, siblings)
        }
        Kind::UnknownVariant(found, choices) => {
            SettingsError::value(&key, &from, &format!("is `{found}`, which is not one of {}", choices.join(", ")))
        }
        Kind::MissingField(field) => {
            let at = if key.is_empty() { String::new() } else { format!(" of `{key}` from {from}") };
            SettingsError(format!("the setting `{field}`{at} is missing"))
        }
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) if !secret => {
            SettingsError::value(&key, &from, &format!("should be {expected}, not {found}"))
        }
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            SettingsError::value(&key, &from, &format!("should be {expected}"))
        }
        other => SettingsError::value(&key, &from, &format!("is wrong: {other}")),
    }
}

fn unknown(figment: &Figment, known: &[String], parent: &str, field: &str, siblings: &[&str]) -> SettingsError {
    let join = |name: &str| if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
    let key = join(field);
    let from = origin(figment, &key);
    let candidates = siblings.iter().map(|s| join(s)).chain(known.iter().cloned());
    let nearest = candidates.map(|c| (distance(&plain(&key), &plain(&c)), c)).min_by_key(|(d, _)| *d);
    let by_variable = from.starts_with("SLIPWAY_");
    let hint = match nearest {
        Some((d, meant)) if d <= 2.max(key.len() / 3) => {
            format!("; did you mean `{}`?", if by_variable { env::name_of(&meant) } else { meant })
        }
        _ if !siblings.is_empty() => format!("; known here: {}", siblings.join(", ")),
        _ => String::new(),
    };
    SettingsError(format!("there is no setting `{key}` (from {from}){hint}"))
}

/// The key without its punctuation: `inference_default_model` should find `inference.default_model`.
fn plain(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("lisen", "listen"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
