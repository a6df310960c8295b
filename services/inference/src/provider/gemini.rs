//! Google's Gemini API: contents of parts, thoughts among them, streamed as server-sent events.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName};
use serde::Deserialize;

use super::http::{self, Endpoint, Http, Wire};
use crate::error::ProviderError;
use crate::model::{ModelInfo, Request};
use crate::settings::ProviderSettings;

mod chunk;
mod request;

use chunk::Reader;

/// The protocol's name in a reasoning's record.
const WIRE: &str = "gemini";
const MODELS: &str = "models/";

/// The protocol.
pub(crate) struct Gemini {
    base: String,
}

/// A provider that speaks it.
pub(crate) fn provider(name: &str, settings: &ProviderSettings) -> Result<Http<Gemini>, reqwest::Error> {
    let base = settings.base_url.trim_end_matches('/').to_owned();
    Http::new(name, settings, Gemini { base }, HeaderMap::new())
}

impl Wire for Gemini {
    type Reader = Reader;

    fn key_header(&self, key: &str) -> (HeaderName, String) {
        (HeaderName::from_static("x-goog-api-key"), key.to_owned())
    }

    fn url(&self, request: &Request) -> Url {
        let mut url = http::url(&self.base);
        let model = request.model.strip_prefix(MODELS).unwrap_or(&request.model);
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(["models", &format!("{model}:streamGenerateContent")]);
        }
        url.set_query(Some("alt=sse"));
        url
    }

    fn encode(&self, request: &Request) -> Result<Vec<u8>, serde_json::Error> {
        request::encode(request)
    }

    fn reader(&self, request: &Request) -> Reader {
        Reader::new(&request.model, request.messages.iter().map(|m| m.tool_calls.len() as u32).sum())
    }

    fn list<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<Vec<ModelInfo>, ProviderError>> {
        async move {
            let list: ModelList = at.get(&format!("{}/models?pageSize=1000", at.base)).await?;
            Ok(list.models.into_iter().filter(ListedModel::writes_text).map(|m| self.listed(m)).collect())
        }
        .boxed()
    }

    fn usual(&self) -> ModelInfo {
        ModelInfo { tools: true, images: true, json: true, ..ModelInfo::default() }
    }
}

impl Gemini {
    fn listed(&self, model: ListedModel) -> ModelInfo {
        let name = model.name.strip_prefix(MODELS).unwrap_or(&model.name).to_owned();
        ModelInfo {
            context_window: model.input_token_limit.unwrap_or(0),
            reasoning: model.thinking.unwrap_or(false),
            display_name: model.display_name.unwrap_or_else(|| name.clone()),
            name,
            ..self.usual()
        }
    }
}

#[derive(Deserialize)]
struct ModelList {
    #[serde(default)]
    models: Vec<ListedModel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedModel {
    name: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    input_token_limit: Option<u64>,
    #[serde(default)]
    thinking: Option<bool>,
    #[serde(default)]
    supported_generation_methods: Vec<String>,
}

impl ListedModel {
    fn writes_text(&self) -> bool {
        self.supported_generation_methods.iter().any(|m| m == "generateContent")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_address_holds_its_name() {
        let wire = Gemini { base: "https://g.example/v1beta".into() };
        let url = |model: &str| wire.url(&Request { model: model.into(), ..Request::default() }).to_string();
        assert_eq!(url("gemini-2.5-pro"), "https://g.example/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse");
        assert_eq!(url("models/x"), "https://g.example/v1beta/models/x:streamGenerateContent?alt=sse");
        assert!(url("../../evil?x").starts_with("https://g.example/v1beta/models/"));
    }
}
