//! The settings of this service: section `[embedding]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Section `[embedding]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the embedding model is: `model.safetensors`, `config.json` and `tokenizer.json` of all-MiniLM-L6-v2. Empty: the
    /// user's cache directory, `slipway/models/all-MiniLM-L6-v2`.
    pub model_dir: String,
    /// Where the search index is kept. Empty: `index` in the data directory. One process uses it at a time.
    pub index_dir: String,
}

impl Settings {
    /// Says what is wrong, naming the key.
    pub fn check(&self) -> Result<(), String> {
        for (key, value) in [("model_dir", &self.model_dir), ("index_dir", &self.index_dir)] {
            if value.contains('\0') {
                return Err(format!("embedding.{key} holds a NUL character"));
            }
        }
        if self.model_dir.is_empty() && default_model_dir().is_none() {
            return Err("embedding.model_dir is not set and there is no home directory to look for a model in".to_owned());
        }
        Ok(())
    }

    /// Where the model is looked for; `None` when there is no home directory to look in.
    pub fn model_dir(&self) -> Option<PathBuf> {
        if self.model_dir.is_empty() { default_model_dir() } else { Some(expand(&self.model_dir)) }
    }

    pub(crate) fn index_dir(&self, data_dir: &std::path::Path) -> PathBuf {
        if self.index_dir.is_empty() { data_dir.join("index") } else { expand(&self.index_dir) }
    }
}

/// `~/.cache/slipway/models/all-MiniLM-L6-v2`, where `make demo` puts the weights.
pub(crate) fn default_model_dir() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("slipway/models").join(crate::embedder::MODEL))
}

fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), dirs::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_and_bad_keys_are_named() {
        assert!(Settings { model_dir: "/models".to_owned(), ..Settings::default() }.check().is_ok());
        let bad = Settings { model_dir: "/m".to_owned(), index_dir: "a\0b".to_owned() };
        assert!(bad.check().unwrap_err().contains("embedding.index_dir"));
    }

    #[test]
    fn the_home_directory_is_expanded() {
        let settings = Settings { model_dir: "~/models".to_owned(), ..Settings::default() };
        assert_eq!(settings.model_dir(), dirs::home_dir().map(|h| h.join("models")));
        assert_eq!(settings.index_dir(std::path::Path::new("/data")), PathBuf::from("/data/index"));
    }
}
