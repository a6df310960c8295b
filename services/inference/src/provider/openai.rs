//! Providers that speak OpenAI's Chat Completions: one connection pool each, answers as server-sent events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt as _;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Url, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::error::{Kind, ProviderError};
use crate::model::{ModelInfo, Request, estimate_request};
use crate::provider::{Deltas, Provider};
use crate::settings::ProviderSettings;

mod call;
mod chunk;
mod failure;
mod request;
mod sse;
#[cfg(test)]
mod tests;

const IDLE_CONNECTIONS: usize = 1024;
const LIST_TIMEOUT: Duration = Duration::from_secs(3);
const LIST_FRESH: Duration = Duration::from_secs(300);
const LIST_FAILED_FRESH: Duration = Duration::from_secs(30);
const MAX_LIST_BYTES: usize = 8 << 20;
const MAX_LISTED: usize = 5_000;

/// One provider: where it is, and the connections to it.
pub(crate) struct OpenAi {
    at: Arc<Endpoint>,
    configured: Vec<String>,
    models_url: String,
    listed: Mutex<Option<Listed>>,
}

/// What a call needs to know of its provider.
pub(super) struct Endpoint {
    pub(super) name: String,
    pub(super) client: Client,
    pub(super) chat_url: Url,
    pub(super) headers: HeaderMap,
    pub(super) key: Option<SecretString>,
    /// OpenAI's own newer models want the limit under its newer name; most others know only the old one.
    pub(super) completion_limit: bool,
    pub(super) headers_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) max_retries: u32,
}

struct Listed {
    models: Vec<ModelInfo>,
    until: Instant,
}

impl OpenAi {
    /// Opens a client; connects to nothing yet.
    pub(crate) fn new(name: &str, settings: &ProviderSettings) -> Result<Self, reqwest::Error> {
        let base = settings.base_url.trim_end_matches('/');
        let chat_url = format!("{base}/chat/completions");
        // The settings' check has parsed the base already.
        let parsed = Url::parse(&chat_url).unwrap_or_else(|_| unusable_url());
        let host = parsed.host_str().unwrap_or_default().to_owned();
        let mut builder = Client::builder()
            .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout())
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(Duration::from_secs(90))
            .tcp_nodelay(true)
            // An API does not redirect; following one could carry the key elsewhere.
            .redirect(redirect::Policy::none());
        if is_loopback(&host) {
            builder = builder.no_proxy();
        }
        let at = Endpoint {
            name: name.to_owned(),
            client: builder.build()?,
            completion_limit: host == "api.openai.com",
            chat_url: parsed,
            headers: headers(settings.api_key.as_ref()),
            key: settings.api_key.clone(),
            headers_timeout: settings.headers_timeout(),
            idle_timeout: settings.idle_timeout(),
            max_retries: settings.max_retries,
        };
        let models_url = format!("{base}/models");
        Ok(Self { at: Arc::new(at), configured: settings.models.clone(), models_url, listed: Mutex::new(None) })
    }

    /// What the provider lists itself, at most a few minutes old. A failure is remembered too, for less long.
    async fn listed(&self) -> Vec<ModelInfo> {
        let mut listed = self.listed.lock().await;
        if let Some(known) = listed.as_ref().filter(|l| l.until > Instant::now()) {
            return known.models.clone();
        }
        let before = listed.take().map(|l| l.models).unwrap_or_default();
        let (models, fresh) = match tokio::time::timeout(LIST_TIMEOUT, self.fetch_models()).await {
            Ok(Ok(models)) => (models, LIST_FRESH),
            Ok(Err(error)) => {
                tracing::debug!(provider = self.at.name, %error, "models could not be listed");
                (before, LIST_FAILED_FRESH)
            }
            Err(_) => (before, LIST_FAILED_FRESH),
        };
        *listed = Some(Listed { models: models.clone(), until: Instant::now() + fresh });
        models
    }

    async fn fetch_models(&self) -> Result<Vec<ModelInfo>, ProviderError> {
        let failed = |e: reqwest::Error| {
            ProviderError::new(Kind::Network, &self.at.name, "the list of models failed").caused_by(e.without_url())
        };
        let request = self.at.client.get(&self.models_url).headers(self.at.headers.clone());
        let response = request.send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(failed)?);
            if body.len() > MAX_LIST_BYTES {
                return Err(ProviderError::new(Kind::Server, &self.at.name, "the list of models is too long"));
            }
        }
        let list: ModelList = serde_json::from_slice(&body)
            .map_err(|e| ProviderError::new(Kind::Server, &self.at.name, "the list of models cannot be read").caused_by(e))?;
        Ok(list.data.into_iter().filter(ListedModel::is_callable).take(MAX_LISTED).map(ListedModel::into_info).collect())
    }
}

#[async_trait]
impl Provider for OpenAi {
    fn stream(&self, request: Request) -> Deltas {
        let input = estimate_request(&request);
        match request::encode(&request, self.at.completion_limit) {
            Ok(body) => call::Call::new(self.at.clone(), body.into(), input).boxed(),
            Err(error) => {
                let error =
                    ProviderError::new(Kind::BadRequest, &self.at.name, "the request cannot be written as JSON").caused_by(error);
                futures::stream::iter([Err(error)]).boxed()
            }
        }
    }

    async fn models(&self) -> Vec<ModelInfo> {
        let mut models = self.listed().await;
        for name in &self.configured {
            if !models.iter().any(|m| m.name == *name) {
                let display_name = name.clone();
                models.push(ModelInfo { name: name.clone(), display_name, tools: true, ..ModelInfo::default() });
            }
        }
        models
    }
}

#[derive(Deserialize)]
struct ModelList {
    #[serde(default)]
    data: Vec<ListedModel>,
}

/// OpenAI lists an id only; OpenRouter adds a name, the window and the parameters; vLLM calls the window `max_model_len`.
#[derive(Deserialize)]
struct ListedModel {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default, alias = "max_model_len")]
    context_length: Option<u64>,
    #[serde(default)]
    supported_parameters: Option<Vec<String>>,
}

impl ListedModel {
    // OpenAI's list holds models that are not for conversations as well.
    fn is_callable(&self) -> bool {
        const OTHERS: [&str; 9] =
            ["embedding", "whisper", "tts", "dall-e", "moderation", "gpt-image", "sora", "transcribe", "realtime"];
        let id = self.id.to_ascii_lowercase();
        !id.is_empty() && id.len() <= 150 && !OTHERS.iter().any(|o| id.contains(o))
    }

    fn into_info(self) -> ModelInfo {
        ModelInfo {
            context_window: self.context_length.unwrap_or(0),
            tools: self.supported_parameters.is_none_or(|p| p.iter().any(|p| p == "tools")),
            display_name: self.name.unwrap_or_else(|| self.id.clone()),
            name: self.id,
            ..ModelInfo::default()
        }
    }
}

fn headers(key: Option<&SecretString>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
    let bearer = key.and_then(|k| HeaderValue::from_str(&format!("Bearer {}", k.expose_secret())).ok());
    if let Some(mut bearer) = bearer {
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    headers
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[expect(clippy::expect_used, reason = "a constant that parses")]
fn unusable_url() -> Url {
    Url::parse("http://0.0.0.0:0/").expect("a constant that parses")
}
