//! Chat Completions: OpenAI's older protocol, which most others speak too, each with an accent.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::Embedded;
use super::http::{self, Endpoint, Http, Wire, embedding};
use crate::error::ProviderError;
use crate::model::{ModelInfo, Request};
use crate::settings::{ProviderKind, ProviderSettings};

pub(crate) mod azure;
mod chunk;
mod details;
mod request;

use chunk::Reader;
pub(crate) use request::{data_url, takes_temperature};

/// Who is spoken to, where that makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accent {
    /// OpenAI itself: newer names, and models that take no temperature.
    OpenAi,
    /// OpenAI's models at Azure.
    Azure,
    /// Reasoning under its own name, handed back in pieces; costs.
    OpenRouter,
    /// Wants the reasoning back as it was.
    DeepSeek,
    /// Anybody else.
    Plain,
}

impl Accent {
    fn of(kind: ProviderKind, host: &str) -> Self {
        match (kind, host) {
            (ProviderKind::Azure, _) => Self::Azure,
            (ProviderKind::OpenRouter, _) | (_, "openrouter.ai") => Self::OpenRouter,
            (_, "api.openai.com") => Self::OpenAi,
            (_, "api.deepseek.com") => Self::DeepSeek,
            _ => Self::Plain,
        }
    }
}

/// The protocol.
pub(crate) struct Chat {
    accent: Accent,
    address: Address,
    // The model behind a name that its owner gave it.
    deployments: BTreeMap<String, String>,
}

enum Address {
    /// One for all models.
    Fixed(Url),
    /// Azure's older API: the model's deployment is part of the path.
    Deployment { endpoint: String, api_version: String },
}

/// A provider that speaks it.
pub(crate) fn provider(name: &str, kind: ProviderKind, settings: &ProviderSettings) -> Result<Http<Chat>, reqwest::Error> {
    let base = settings.base_url.trim_end_matches('/');
    let accent = Accent::of(kind, &http::host_of(base));
    let address = match accent {
        Accent::Azure => azure::address(base, settings.api_version.as_deref()),
        _ => Address::Fixed(http::url(&format!("{base}/chat/completions"))),
    };
    let mut headers = HeaderMap::new();
    if accent == Accent::OpenRouter {
        headers.insert("x-title", HeaderValue::from_static("Slipway"));
    }
    let deployments = settings.deployments.clone();
    Http::new(name, settings, Chat { accent, address, deployments }, headers)
}

impl Wire for Chat {
    type Reader = Reader;

    fn key_header(&self, key: &str) -> (HeaderName, String) {
        match self.accent {
            Accent::Azure => azure::key_header(key),
            _ => (AUTHORIZATION, format!("Bearer {key}")),
        }
    }

    fn url(&self, request: &Request) -> Url {
        match &self.address {
            Address::Fixed(url) => url.clone(),
            Address::Deployment { endpoint, api_version } => azure::deployment_url(endpoint, &request.model, api_version),
        }
    }

    fn encode(&self, request: &Request) -> Result<Vec<u8>, serde_json::Error> {
        let behind = self.deployments.get(&request.model).unwrap_or(&request.model);
        request::encode(request, behind, self.accent)
    }

    fn reader(&self, request: &Request) -> Reader {
        Reader::new(self.accent, &request.model)
    }

    fn list<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<Vec<ModelInfo>, ProviderError>> {
        async move {
            if self.accent == Accent::Azure {
                // It lists the models that could be deployed, not those that are.
                return Ok(Vec::new());
            }
            list(at).await
        }
        .boxed()
    }

    fn embed<'a>(&'a self, at: &'a Endpoint, model: &'a str, text: &'a str) -> BoxFuture<'a, Result<Embedded, ProviderError>> {
        let chat = match &self.address {
            Address::Fixed(url) => url.clone(),
            Address::Deployment { endpoint, api_version } => azure::deployment_url(endpoint, model, api_version),
        };
        embedding::openai(at, embedding::beside(chat, 2), model, text).boxed()
    }
}

/// The models of an API like OpenAI's.
pub(crate) async fn list(at: &Endpoint) -> Result<Vec<ModelInfo>, ProviderError> {
    let list: ModelList = at.get(&format!("{}/models", at.base)).await?;
    Ok(list.data.into_iter().filter(|m| is_callable(&m.id)).map(ListedModel::into_info).collect())
}

/// True for models that write text. Lists hold others too.
fn is_callable(id: &str) -> bool {
    const OTHERS: [&str; 9] =
        ["embedding", "whisper", "tts", "dall-e", "moderation", "gpt-image", "sora", "transcribe", "realtime"];
    let id = id.to_ascii_lowercase();
    !OTHERS.iter().any(|o| id.contains(o))
}

/// A list of models, as OpenAI and those who follow it write it.
#[derive(Deserialize)]
struct ModelList {
    #[serde(default)]
    data: Vec<ListedModel>,
}

/// OpenAI lists an id only; OpenRouter adds a name, the window, the parameters and what goes in; vLLM calls the window
/// `max_model_len`.
#[derive(Deserialize)]
struct ListedModel {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default, alias = "max_model_len")]
    context_length: Option<u64>,
    #[serde(default)]
    supported_parameters: Option<Vec<String>>,
    #[serde(default)]
    architecture: Option<Architecture>,
}

#[derive(Deserialize)]
struct Architecture {
    #[serde(default)]
    input_modalities: Vec<String>,
}

impl ListedModel {
    /// What it says. What it leaves out the catalogue may know.
    fn into_info(self) -> ModelInfo {
        let takes = |name: &str| self.supported_parameters.as_ref().map(|p| p.iter().any(|p| p == name));
        ModelInfo {
            context_window: self.context_length.unwrap_or(0),
            tools: takes("tools").unwrap_or(true),
            reasoning: takes("reasoning").unwrap_or(false),
            json: takes("structured_outputs").unwrap_or(false),
            images: self.architecture.is_some_and(|a| a.input_modalities.iter().any(|m| m == "image")),
            display_name: self.name.unwrap_or_else(|| self.id.clone()),
            name: self.id,
        }
    }
}
