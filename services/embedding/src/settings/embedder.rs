//! Who makes the vectors: section `[embedding.embedder]`.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::masked;
use crate::embedder::Space;

/// Who makes the vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmbedderKind {
    /// The model of this process.
    #[default]
    InProcess,
    /// OpenAI, or whoever speaks its `/embeddings`.
    Openai,
    /// Voyage AI.
    Voyage,
    /// Cohere.
    Cohere,
    /// An Ollama server.
    Ollama,
}

/// Section `[embedding.embedder]`. Texts that are embedded by a provider leave the machine; secrets were taken out of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbedderSettings {
    /// Who.
    pub kind: EmbedderKind,
    /// The provider's model.
    pub model: String,
    /// The API's address; empty: the provider's own, or `OLLAMA_HOST`.
    pub base_url: String,
    /// Empty: `OPENAI_API_KEY`, `VOYAGE_API_KEY` or `COHERE_API_KEY`.
    #[serde(serialize_with = "masked")]
    pub api_key: SecretString,
    /// How long the vectors are; 0: as the model is known for.
    pub dimensions: usize,
    /// Texts a request.
    pub batch: usize,
    /// Requests at once.
    pub concurrency: usize,
    /// How long a request may take.
    pub timeout_ms: u64,
}

impl Default for EmbedderSettings {
    fn default() -> Self {
        Self {
            kind: EmbedderKind::InProcess,
            model: String::new(),
            base_url: String::new(),
            api_key: SecretString::default(),
            dimensions: 0,
            batch: 64,
            concurrency: 4,
            timeout_ms: 30_000,
        }
    }
}

/// How long the vectors of well-known models are, unless told.
const KNOWN: [(&str, usize); 13] = [
    ("text-embedding-3-small", 1_536),
    ("text-embedding-3-large", 3_072),
    ("text-embedding-ada-002", 1_536),
    ("voyage-3.5", 1_024),
    ("voyage-3.5-lite", 1_024),
    ("voyage-3-large", 1_024),
    ("voyage-code-3", 1_024),
    ("embed-v4.0", 1_536),
    ("embed-english-v3.0", 1_024),
    ("embed-multilingual-v3.0", 1_024),
    ("nomic-embed-text", 768),
    ("mxbai-embed-large", 1_024),
    ("all-minilm", 384),
];
const MAX_DIMENSIONS: usize = 4_096;

impl EmbedderSettings {
    /// How long the vectors are.
    pub(crate) fn dimensions(&self) -> usize {
        let model = self.model.split(':').next().unwrap_or_default();
        let known = || KNOWN.iter().find(|(name, _)| *name == model).map_or(0, |(_, dimensions)| *dimensions);
        if self.dimensions == 0 { known() } else { self.dimensions }
    }

    /// What the vectors are of.
    pub(crate) fn space(&self) -> Space {
        let kind = match self.kind {
            EmbedderKind::InProcess => return Space::default(),
            EmbedderKind::Openai => "openai",
            EmbedderKind::Voyage => "voyage",
            EmbedderKind::Cohere => "cohere",
            EmbedderKind::Ollama => "ollama",
        };
        let dimensions = self.dimensions();
        Space { model: format!("{kind}/{}@{dimensions}", self.model), dimensions }
    }

    /// What it takes to ask the same model again, but for the key.
    pub(crate) fn remembered(&self) -> String {
        let without_key = Self { api_key: SecretString::default(), ..self.clone() };
        serde_json::to_string(&without_key).unwrap_or_default()
    }

    /// What was remembered, if it can be read.
    pub(crate) fn recalled(remembered: &str) -> Option<Self> {
        serde_json::from_str::<Self>(remembered).ok().filter(|settings| settings.check().is_ok())
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// What is not set, from the environment; nothing is looked at that the kind does not need.
    pub(crate) fn completed(&self, env: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| env(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let (key, base_url) = match self.kind {
            EmbedderKind::InProcess => return self.clone(),
            EmbedderKind::Openai => (Some("OPENAI_API_KEY"), Some("https://api.openai.com/v1".to_owned())),
            EmbedderKind::Voyage => (Some("VOYAGE_API_KEY"), Some("https://api.voyageai.com/v1".to_owned())),
            EmbedderKind::Cohere => (Some("COHERE_API_KEY"), Some("https://api.cohere.com/v2".to_owned())),
            EmbedderKind::Ollama => (None, get("OLLAMA_HOST").map(|host| address(&host))),
        };
        let mut completed = self.clone();
        // A key from the environment goes to its provider alone, not to another address.
        if self.api_key.expose_secret().is_empty()
            && self.base_url.is_empty()
            && let Some(found) = key.and_then(get)
        {
            completed.api_key = found.into();
        }
        if self.base_url.is_empty() {
            completed.base_url = base_url.unwrap_or_else(|| "http://127.0.0.1:11434".to_owned());
        }
        completed
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("embedding.embedder.{what}"));
        if self.kind == EmbedderKind::InProcess {
            return Ok(());
        }
        let named = |c: char| c.is_ascii_graphic();
        if self.model.is_empty() || self.model.len() > 100 || !self.model.chars().all(named) {
            return wrong("model is not the name of a model");
        }
        if !(1..=MAX_DIMENSIONS).contains(&self.dimensions()) {
            return wrong(&format!("dimensions is not how long the model's vectors are, 1 to {MAX_DIMENSIONS}"));
        }
        let url = &self.base_url;
        if !url.is_empty() && !["http://", "https://"].iter().any(|s| url.len() > s.len() && url.starts_with(s)) {
            return wrong(&format!("base_url = \"{url}\" is not of the form https://host/path"));
        }
        if !self.api_key.expose_secret().chars().all(|c| c.is_ascii_graphic()) {
            return wrong("api_key has characters that no header takes");
        }
        if !(1..=1_000).contains(&self.batch) || !(1..=64).contains(&self.concurrency) {
            return wrong("batch is not 1 to 1,000, or concurrency is not 1 to 64");
        }
        if !(100..=600_000).contains(&self.timeout_ms) {
            return wrong("timeout_ms is not 100 to 600,000");
        }
        Ok(())
    }
}

/// The address of an Ollama server: a host, with or without a scheme and a port.
fn address(host: &str) -> String {
    let (scheme, rest) = host.split_once("://").unwrap_or(("http", host));
    let rest = rest.trim_end_matches('/').replace("0.0.0.0", "127.0.0.1");
    let rest = if rest.starts_with(':') { format!("127.0.0.1{rest}") } else { rest };
    if rest.contains(':') || host.contains("://") { format!("{scheme}://{rest}") } else { format!("{scheme}://{rest}:11434") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: EmbedderKind, model: &str) -> EmbedderSettings {
        EmbedderSettings { kind, model: model.to_owned(), ..EmbedderSettings::default() }
    }

    #[test]
    fn keys_come_from_the_environment_only_when_chosen_and_go_only_where_they_belong() {
        let env = |name: &str| Some(format!("{name}-value"));
        let nothing = |name: &str| panic!("{name} was looked at");
        assert!(EmbedderSettings::default().completed(nothing).api_key.expose_secret().is_empty());
        let openai = of(EmbedderKind::Openai, "text-embedding-3-small").completed(env);
        assert_eq!(openai.api_key.expose_secret(), "OPENAI_API_KEY-value");
        assert_eq!(openai.base_url, "https://api.openai.com/v1");
        let elsewhere =
            EmbedderSettings { base_url: "http://10.0.0.1/v1".to_owned(), ..of(EmbedderKind::Openai, "m") }.completed(env);
        assert!(elsewhere.api_key.expose_secret().is_empty(), "not to somebody else");
        assert_eq!(of(EmbedderKind::Voyage, "m").completed(env).api_key.expose_secret(), "VOYAGE_API_KEY-value");
        assert_eq!(of(EmbedderKind::Cohere, "m").completed(env).api_key.expose_secret(), "COHERE_API_KEY-value");
        for (host, expected) in [
            ("0.0.0.0", "http://127.0.0.1:11434"),
            (":1234", "http://127.0.0.1:1234"),
            ("https://ollama.example/", "https://ollama.example"),
            ("box:11434", "http://box:11434"),
        ] {
            assert_eq!(of(EmbedderKind::Ollama, "m").completed(|_| Some(host.to_owned())).base_url, expected);
        }
        assert_eq!(of(EmbedderKind::Ollama, "m").completed(|_| None).base_url, "http://127.0.0.1:11434");
    }

    #[test]
    fn spaces_differ_by_everything_that_vectors_are_of() {
        let spaces = [
            of(EmbedderKind::InProcess, "").space(),
            of(EmbedderKind::Openai, "text-embedding-3-small").space(),
            EmbedderSettings { dimensions: 512, ..of(EmbedderKind::Openai, "text-embedding-3-small") }.space(),
            of(EmbedderKind::Ollama, "nomic-embed-text:v1.5").space(),
        ];
        let distinct: std::collections::HashSet<_> = spaces.iter().map(|s| &s.model).collect();
        assert_eq!(distinct.len(), spaces.len());
        assert_eq!(spaces.map(|s| s.dimensions), [384, 1_536, 512, 768]);
    }

    #[test]
    fn what_is_wrong_is_named_and_keys_are_not_shown() {
        let good = EmbedderSettings { api_key: "s3cret".into(), ..of(EmbedderKind::Voyage, "voyage-3.5") };
        assert!(good.check().is_ok());
        let bad = [
            (of(EmbedderKind::Openai, ""), "model"),
            (of(EmbedderKind::Openai, "unheard-of"), "dimensions"),
            (EmbedderSettings { base_url: "x".to_owned(), ..good.clone() }, "base_url"),
            (EmbedderSettings { api_key: "a\nb".into(), ..good.clone() }, "api_key"),
            (EmbedderSettings { batch: 0, ..good.clone() }, "batch"),
            (EmbedderSettings { timeout_ms: 1, ..good.clone() }, "timeout_ms"),
        ];
        for (settings, key) in bad {
            assert!(settings.check().unwrap_err().contains(key));
        }
        assert!(!(serde_json::to_string(&good).unwrap() + &format!("{good:?}")).contains("s3cret"));
        let recalled = EmbedderSettings::recalled(&good.remembered()).unwrap();
        assert_eq!((recalled.space(), recalled.api_key.expose_secret()), (good.space(), ""));
        assert!(EmbedderSettings::recalled("{}").is_some() && EmbedderSettings::recalled("{\"kind\":\"voyage\"}").is_none());
    }
}
