//! The settings of this service: section `[embedding]`.

mod embedder;

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};

pub use embedder::{EmbedderKind, EmbedderSettings};

/// Section `[embedding]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the embedding model is: `model.safetensors`, `config.json` and `tokenizer.json` of all-MiniLM-L6-v2. Empty: the
    /// user's cache directory, `slipway/models/all-MiniLM-L6-v2`.
    pub model_dir: String,
    /// Where the search index is kept when its engine is in this process. Empty: `index` in the data directory. One process
    /// uses it at a time.
    pub index_dir: String,
    /// Who makes the vectors.
    pub embedder: EmbedderSettings,
    /// A Qdrant server, which several replicas share; absent: the engine is in this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qdrant: Option<Qdrant>,
}

/// Section `[embedding.qdrant]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Qdrant {
    /// The server's gRPC address, `http://qdrant:6334` or `https://…`.
    pub url: String,
    /// The server's key; empty: none.
    #[serde(serialize_with = "masked")]
    pub api_key: SecretString,
    /// The alias that is searched; the collections behind it are named after it.
    pub collection: String,
}

impl Default for Qdrant {
    fn default() -> Self {
        Self { url: String::new(), api_key: SecretString::default(), collection: "slipway".to_owned() }
    }
}

impl Qdrant {
    /// The key, if there is one.
    pub(crate) fn api_key(&self) -> Option<&SecretString> {
        Some(&self.api_key).filter(|key| !key.expose_secret().is_empty())
    }

    fn check(&self) -> Result<(), String> {
        if !["http://", "https://"].iter().any(|scheme| self.url.len() > scheme.len() && self.url.starts_with(scheme)) {
            return Err(format!("embedding.qdrant.url = \"{}\" is not of the form http://host:6334", self.url));
        }
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.collection.is_empty() || self.collection.len() > 100 || !self.collection.chars().all(named) {
            let name = &self.collection;
            return Err(format!("embedding.qdrant.collection = \"{name}\" is not 1 to 100 letters, digits, \"_\" and \"-\""));
        }
        if !self.api_key.expose_secret().chars().all(|c| c.is_ascii_graphic()) {
            return Err("embedding.qdrant.api_key has characters that no header takes".to_owned());
        }
        Ok(())
    }
}

// A key never leaves by `slipway config`.
fn masked<S: Serializer>(key: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    if key.expose_secret().is_empty() { "" } else { "********" }.serialize(serializer)
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
        self.embedder.check()?;
        self.qdrant.as_ref().map_or(Ok(()), Qdrant::check)
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
        let bad = Settings { model_dir: "/m".to_owned(), index_dir: "a\0b".to_owned(), ..Settings::default() };
        assert!(bad.check().unwrap_err().contains("embedding.index_dir"));
    }

    #[test]
    fn the_home_directory_is_expanded() {
        let settings = Settings { model_dir: "~/models".to_owned(), ..Settings::default() };
        assert_eq!(settings.model_dir(), dirs::home_dir().map(|h| h.join("models")));
        assert_eq!(settings.index_dir(std::path::Path::new("/data")), PathBuf::from("/data/index"));
    }

    #[test]
    fn a_server_is_checked_and_its_key_never_shown() {
        let check = |qdrant| Settings { model_dir: "/m".to_owned(), qdrant: Some(qdrant), ..Settings::default() }.check();
        let good = Qdrant { url: "http://qdrant:6334".to_owned(), api_key: "s3cret".into(), ..Qdrant::default() };
        assert!(check(good.clone()).is_ok());
        let bad = [
            (Qdrant::default(), "embedding.qdrant.url"),
            (Qdrant { url: "qdrant:6334".to_owned(), ..good.clone() }, "embedding.qdrant.url"),
            (Qdrant { collection: "a/b".to_owned(), ..good.clone() }, "embedding.qdrant.collection"),
            (Qdrant { api_key: "two\nlines".into(), ..good.clone() }, "embedding.qdrant.api_key"),
        ];
        for (settings, key) in bad {
            assert!(check(settings).unwrap_err().contains(key));
        }
        let shown = serde_json::to_string(&good).unwrap() + &format!("{good:?}");
        assert!(!shown.contains("s3cret") && shown.contains("********"), "{shown}");
    }
}
