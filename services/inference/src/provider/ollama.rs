//! Ollama's own API: chat as JSON lines, models that are there and what each can do.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Embedded;
use super::http::{self, Endpoint, Http, Wire, embedding};
use crate::error::ProviderError;
use crate::model::{ModelInfo, Request};
use crate::settings::ProviderSettings;

mod line;
mod request;

use line::Reader;

/// How many models are looked at together, and for how long each.
const TOGETHER: usize = 8;
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// The protocol.
pub(crate) struct Ollama {
    root: String,
    url: Url,
}

/// A provider that speaks it. The base is the server's address, with or without the path of one of its APIs.
pub(crate) fn provider(name: &str, settings: &ProviderSettings) -> Result<Http<Ollama>, reqwest::Error> {
    let base = settings.base_url.trim_end_matches('/');
    let root = base.strip_suffix("/v1").or_else(|| base.strip_suffix("/api")).unwrap_or(base).to_owned();
    let url = http::url(&format!("{root}/api/chat"));
    Http::new(name, settings, Ollama { root, url }, HeaderMap::new())
}

impl Wire for Ollama {
    type Reader = Reader;

    fn key_header(&self, key: &str) -> (HeaderName, String) {
        (AUTHORIZATION, format!("Bearer {key}"))
    }

    fn url(&self, _request: &Request) -> Url {
        self.url.clone()
    }

    fn encode(&self, request: &Request) -> Result<Vec<u8>, serde_json::Error> {
        request::encode(request)
    }

    fn reader(&self, request: &Request) -> Reader {
        Reader::new(request.messages.iter().map(|m| m.tool_calls.len() as u32).sum())
    }

    fn list<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<Vec<ModelInfo>, ProviderError>> {
        async move {
            let list: Tags = at.get(&format!("{}/api/tags", self.root)).await?;
            Ok(stream::iter(list.models).map(|m| self.look(at, m.name)).buffered(TOGETHER).collect().await)
        }
        .boxed()
    }

    fn embed<'a>(&'a self, at: &'a Endpoint, model: &'a str, text: &'a str) -> BoxFuture<'a, Result<Embedded, ProviderError>> {
        embedding::ollama(at, http::url(&format!("{}/api/embed", self.root)), model, text).boxed()
    }

    fn usual(&self) -> ModelInfo {
        // The server holds any model to a schema by the grammar of its output.
        ModelInfo { tools: true, json: true, ..ModelInfo::default() }
    }
}

impl Ollama {
    /// What the server knows of a model. One that does not tell is listed all the same.
    async fn look(&self, at: &Endpoint, name: String) -> ModelInfo {
        let body = json!({"model": name}).to_string();
        let shown = tokio::time::timeout(LOOK_TIMEOUT, at.post::<Shown>(&format!("{}/api/show", self.root), body)).await;
        let shown = shown.ok().and_then(Result::ok);
        let mut info = ModelInfo { display_name: name.clone(), name, ..self.usual() };
        if let Some(shown) = shown {
            info.context_window = shown.context_length();
            // Servers before 0.6 tell no capabilities.
            if let Some(capabilities) = shown.capabilities {
                let can = |what: &str| capabilities.iter().any(|c| c == what);
                (info.tools, info.images, info.reasoning) = (can("tools"), can("vision"), can("thinking"));
            }
        }
        info
    }
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    models: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
}

#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    model_info: Map<String, Value>,
}

impl Shown {
    // `llama.context_length`: the key begins with the model's architecture.
    fn context_length(&self) -> u64 {
        let length = self.model_info.iter().find(|(key, _)| key.ends_with(".context_length"));
        length.and_then(|(_, v)| v.as_u64()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use crate::provider::http::testing::{Upstream, opened, refusal};
    use crate::settings::ProviderSettings;

    #[tokio::test]
    async fn models_are_listed_with_what_they_can() {
        let tags = r#"{"models":[{"name":"qwen3:8b","size":1},{"name":"old:7b"}]}"#;
        let shown = r#"{"capabilities":["completion","tools","thinking"],"model_info":{"qwen3.context_length":40960}}"#;
        let mut upstream = Upstream::start(vec![refusal("200 OK", "", tags), refusal("200 OK", "", shown)]).await;
        let provider = opened("ollama", &ProviderSettings { idle_timeout_ms: 2_000, ..upstream.settings() });
        let models = provider.models().await;
        let told: Vec<_> = models.iter().map(|m| (m.name.as_str(), m.context_window, m.tools, m.images, m.reasoning)).collect();
        assert_eq!(told, [("qwen3:8b", 40_960, true, false, true), ("old:7b", 40_960, true, false, true)]);
        assert!(upstream.bodies.recv().await.unwrap().starts_with("GET /api/tags "));
        assert!(upstream.bodies.recv().await.unwrap().starts_with("POST /api/show "));
    }
}
