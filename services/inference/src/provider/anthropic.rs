//! Anthropic's Messages: content in blocks, system apart, reasoning that is signed and wanted back.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::http::{self, Endpoint, Http, Wire};
use crate::error::ProviderError;
use crate::model::{ModelInfo, Request};
use crate::settings::ProviderSettings;

mod event;
mod generation;
mod request;

use event::Reader;
use generation::Generation;

/// The protocol's name in a reasoning's record.
const WIRE: &str = "anthropic";
const VERSION: &str = "2023-06-01";

/// The protocol.
pub(crate) struct Messages {
    url: Url,
}

/// A provider that speaks it.
pub(crate) fn provider(name: &str, settings: &ProviderSettings) -> Result<Http<Messages>, reqwest::Error> {
    let url = http::url(&format!("{}/messages", settings.base_url.trim_end_matches('/')));
    let mut headers = HeaderMap::new();
    headers.insert("anthropic-version", HeaderValue::from_static(VERSION));
    Http::new(name, settings, Messages { url }, headers)
}

impl Wire for Messages {
    type Reader = Reader;

    fn key_header(&self, key: &str) -> (HeaderName, String) {
        (HeaderName::from_static("x-api-key"), key.to_owned())
    }

    fn url(&self, _request: &Request) -> Url {
        self.url.clone()
    }

    fn encode(&self, request: &Request) -> Result<Vec<u8>, serde_json::Error> {
        request::encode(request)
    }

    fn reader(&self, request: &Request) -> Reader {
        let form = request.json.as_ref().filter(|_| !Generation::of(&request.model).has_forms());
        Reader::new(&request.model, form.map(|f| f.name.clone()))
    }

    fn list<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<Vec<ModelInfo>, ProviderError>> {
        async move {
            let list: ModelList = at.get(&format!("{}/models?limit=1000", at.base)).await?;
            Ok(list.data.into_iter().map(|m| self.listed(m)).collect())
        }
        .boxed()
    }

    fn usual(&self) -> ModelInfo {
        // JSON by a tool that the model must call, where the provider has nothing of its own.
        ModelInfo { tools: true, json: true, images: true, ..ModelInfo::default() }
    }
}

impl Messages {
    fn listed(&self, model: ListedModel) -> ModelInfo {
        ModelInfo {
            reasoning: Generation::of(&model.id).reasons(),
            context_window: model.max_input_tokens.unwrap_or(0),
            display_name: model.display_name.unwrap_or_else(|| model.id.clone()),
            name: model.id,
            ..self.usual()
        }
    }
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ListedModel>,
}

#[derive(Deserialize)]
struct ListedModel {
    id: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    max_input_tokens: Option<u64>,
}
