//! What a provider lists, remembered for a while; and how lists are fetched.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::Endpoint;
use crate::error::{Kind, ProviderError};
use crate::model::ModelInfo;

const TIMEOUT: Duration = Duration::from_secs(3);
const FRESH: Duration = Duration::from_secs(300);
const FAILED_FRESH: Duration = Duration::from_secs(30);
const MAX_BYTES: usize = 8 << 20;
const MAX_MODELS: usize = 5_000;
const MAX_NAME: usize = 150;

/// The list of one provider.
#[derive(Default)]
pub(super) struct Listing {
    known: Mutex<Option<Known>>,
}

struct Known {
    models: Vec<ModelInfo>,
    until: Instant,
}

impl Listing {
    /// What the provider lists itself, at most a few minutes old. A failure is remembered too, for less long.
    pub(super) async fn get<'a>(
        &self,
        at: &Endpoint,
        fetch: impl FnOnce() -> BoxFuture<'a, Result<Vec<ModelInfo>, ProviderError>>,
    ) -> Vec<ModelInfo> {
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref().filter(|k| k.until > Instant::now()) {
            return known.models.clone();
        }
        let before = known.take().map(|k| k.models).unwrap_or_default();
        let (models, fresh) = match tokio::time::timeout(TIMEOUT, fetch()).await {
            Ok(Ok(models)) => (usable(models), FRESH),
            Ok(Err(error)) => {
                tracing::debug!(provider = at.name, %error, "models could not be listed");
                (before, FAILED_FRESH)
            }
            Err(_) => (before, FAILED_FRESH),
        };
        *known = Some(Known { models: models.clone(), until: Instant::now() + fresh });
        models
    }
}

fn usable(models: Vec<ModelInfo>) -> Vec<ModelInfo> {
    models.into_iter().filter(|m| !m.name.is_empty() && m.name.len() <= MAX_NAME).take(MAX_MODELS).collect()
}

impl Endpoint {
    /// A document of the API.
    pub(crate) async fn get<T: DeserializeOwned>(&self, address: &str) -> Result<T, ProviderError> {
        self.fetch(self.client.get(address)).await
    }

    /// A document of the API that has to be asked for with a body.
    pub(crate) async fn post<T: DeserializeOwned>(&self, address: &str, body: String) -> Result<T, ProviderError> {
        self.fetch(self.client.post(address).body(body)).await
    }

    async fn fetch<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ProviderError> {
        let failed = |e: reqwest::Error| self.error(Kind::Network, "the list of models failed").caused_by(e.without_url());
        let response = request.headers(self.headers.clone()).send().await;
        let response = response.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(failed)?);
            if body.len() > MAX_BYTES {
                return Err(self.error(Kind::Server, "the list of models is too long"));
            }
        }
        serde_json::from_slice(&body).map_err(|e| self.error(Kind::Server, "the list of models cannot be read").caused_by(e))
    }
}
