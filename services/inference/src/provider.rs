//! The provider trait and the table of providers in force.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use reqwest::Url;
use reqwest::header::HeaderMap;
use secrecy::SecretString;
use slipway_telemetry::Metrics;

use crate::builtin::{self, Builtin};
use crate::cassette::{self, Recordings, ScriptError};
use crate::error::{Broken, Error, Kind, ProviderError};
use crate::model::{Completion, Delta, ModelInfo, Request, Usage, split_model};
use crate::route::{Limits, Own, Upstream};
use crate::settings::{ProviderKind, ProviderSettings, RecordingMode, Settings};

mod anthropic;
mod gemini;
pub(crate) mod http;
mod ollama;
mod openai;
mod responses;

pub(crate) use openai::azure;

/// Something that completes prompts.
#[async_trait]
pub(crate) trait Provider: Send + Sync {
    /// Answers as the model writes. Dropping the stream ends the call at once. Nothing is tried twice: that is the router's.
    fn stream(&self, request: &Request) -> Deltas;

    /// The models that can be called, as far as they are known now. Never fails and takes a bounded time.
    async fn models(&self) -> Vec<ModelInfo>;

    /// A text as a vector, where the provider has that.
    async fn embed(&self, model: &str, text: &str) -> Result<Embedded, ProviderError> {
        let _ = text;
        Err(ProviderError::new(Kind::BadRequest, model, "its provider has no embeddings"))
    }
}

/// A text as a vector.
#[derive(Debug)]
pub(crate) struct Embedded {
    pub(crate) vector: Vec<f32>,
    /// What it took.
    pub(crate) usage: Usage,
}

/// A provider whose traffic can be watched.
#[async_trait]
pub(crate) trait Traffic: Provider {
    /// Sends a request once and gives what went out and what came, be it a yes or a no.
    async fn exchange(&self, request: &Request) -> Result<Sent, ProviderError>;

    /// Reads a response as the answer to a request, wherever it is from.
    fn read(&self, request: &Request, response: reqwest::Response) -> Deltas;
}

/// A request that went out, and its response.
pub(crate) struct Sent {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) response: reqwest::Response,
}

/// A provider's answer as a stream; dropping it drops the provider's connection.
pub(crate) type Deltas = BoxStream<'static, Result<Delta, ProviderError>>;

/// An answer on its way to callers, measured or free: from below the meter, or from a cache.
pub(crate) type Answer = BoxStream<'static, Result<Delta, Broken>>;

/// The whole answer of a stream.
pub(crate) async fn collect<E>(mut deltas: BoxStream<'static, Result<Delta, E>>) -> Result<Completion, E> {
    let mut whole = Completion::default();
    while let Some(delta) = deltas.next().await {
        whole.push(delta?);
    }
    Ok(whole)
}

/// Why a provider cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[from] reqwest::Error),
    /// There is nothing to play.
    #[error(transparent)]
    Script(#[from] ScriptError),
}

/// A provider by its kind. Connects to nothing yet.
fn open(name: &str, settings: &ProviderSettings) -> Result<Arc<dyn Provider>, OpenError> {
    if let Some(provider) = open_http(name, settings)? {
        return Ok(provider);
    }
    // The settings' check has seen that there is one.
    Ok(cassette::open_script(name, settings.script.as_deref().unwrap_or(Path::new("")), &settings.models)?)
}

/// The same, of a kind that is spoken to over HTTP.
pub(crate) fn open_http(name: &str, settings: &ProviderSettings) -> Result<Option<Arc<dyn Traffic>>, reqwest::Error> {
    Ok(Some(match settings.kind(name) {
        kind @ (ProviderKind::OpenAi | ProviderKind::Azure | ProviderKind::OpenRouter) => {
            Arc::new(openai::provider(name, kind, settings)?)
        }
        ProviderKind::Responses => Arc::new(responses::provider(name, settings)?),
        ProviderKind::Anthropic => Arc::new(anthropic::provider(name, settings)?),
        ProviderKind::Ollama => Arc::new(ollama::provider(name, settings)?),
        ProviderKind::Gemini => Arc::new(gemini::provider(name, settings)?),
        ProviderKind::Script => return Ok(None),
    }))
}

/// A model with its provider.
pub(crate) struct Target {
    /// `provider/model`.
    pub(crate) id: Arc<str>,
    /// The provider's name of the model.
    pub(crate) model: String,
    /// The provider.
    pub(crate) upstream: Arc<Upstream>,
}

impl Target {
    /// Is called with the project's own keys, when it has some for this provider.
    pub(crate) fn take(&mut self, own: &Own) {
        if let Some(upstream) = own.get(&self.upstream.name) {
            self.upstream = upstream.clone();
        }
    }
}

/// The providers in force, by name.
pub(crate) struct Providers {
    default_model: String,
    by_name: BTreeMap<String, Arc<Upstream>>,
    opener: Opener,
}

/// What it takes to open a provider once more.
struct Opener {
    settings: BTreeMap<String, ProviderSettings>,
    recordings: Recordings,
    replays: bool,
    limits: Limits,
}

impl Opener {
    fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.providers.clone(),
            recordings: Recordings::new(&settings.recordings, settings.providers.values()),
            replays: settings.recordings.mode == RecordingMode::Replay,
            limits: Limits::of(&settings.breaker),
        }
    }

    /// A provider with a client for each of its keys.
    fn open(&self, name: &str, provider: &ProviderSettings, metrics: &Metrics) -> Result<Upstream, OpenError> {
        let client = |one: ProviderSettings| Ok(self.recordings.of(name, &one, open(name, &one)?));
        let clients = provider.with_each_key().map(client).collect::<Result<Vec<_>, OpenError>>()?;
        let kind = provider.kind(name);
        let plays = kind == ProviderKind::Script || self.replays;
        let limits = Limits { opens: !plays, ..self.limits };
        Ok(Upstream::new(name, kind.name(), clients, provider.max_retries, limits, metrics))
    }
}

impl Providers {
    /// Opens clients for everything in the settings: one for each key.
    pub(crate) fn new(settings: &Settings, metrics: &Metrics) -> Result<Self, OpenError> {
        let delay = Duration::from_millis(settings.builtin_delta_delay_ms);
        let limits = Limits::of(&settings.breaker);
        let rules: Arc<dyn Provider> = Arc::new(Builtin::new(delay));
        let rules = Upstream::new(builtin::PROVIDER, builtin::PROVIDER, vec![rules], 0, limits, metrics);
        let mut by_name = BTreeMap::from([(builtin::PROVIDER.to_owned(), Arc::new(rules))]);
        let opener = Opener::new(settings);
        for (name, provider) in &settings.providers {
            by_name.insert(name.clone(), Arc::new(opener.open(name, provider, metrics)?));
        }
        Ok(Self { default_model: settings.default_model.clone(), by_name, opener })
    }

    /// These, for a test.
    #[cfg(test)]
    pub(crate) fn of(default_model: &str, upstreams: Vec<Upstream>) -> Self {
        let by_name = upstreams.into_iter().map(|u| (u.name.clone(), Arc::new(u))).collect();
        Self { default_model: default_model.to_owned(), by_name, opener: Opener::new(&Settings::default()) }
    }

    /// True when the settings have a provider of this name that is called with a key.
    pub(crate) fn takes_keys(&self, name: &str) -> bool {
        self.opener.settings.get(name).is_some_and(|provider| provider.kind(name) != ProviderKind::Script)
    }

    /// A provider of the settings with other keys than theirs. How it stands is told to nobody: metrics know no projects.
    pub(crate) fn with_keys(&self, name: &str, api_keys: Vec<SecretString>) -> Result<Upstream, Error> {
        let missing = || Error::ProviderNotConfigured { provider: name.to_owned() };
        let settings = self.opener.settings.get(name).ok_or_else(missing)?;
        let own = ProviderSettings { api_key: None, api_keys, ..settings.clone() };
        self.opener.open(name, &own, &Metrics::new()).map_err(|error| Error::Client(error.into()))
    }

    /// The model that an empty name means.
    pub(crate) fn default_model(&self) -> &str {
        &self.default_model
    }

    /// The provider of a model; an empty id means the default.
    pub(crate) fn get(&self, id: &str) -> Result<Target, Error> {
        let id = if id.is_empty() { self.default_model.as_str() } else { id };
        let missing = || Error::ModelNotFound { model: id.to_owned() };
        let (name, model) = split_model(id).ok_or_else(missing)?;
        let upstream = self.by_name.get(name).ok_or_else(missing)?;
        if name == builtin::PROVIDER && model != builtin::MODEL {
            return Err(missing());
        }
        Ok(Target { id: id.into(), model: model.to_owned(), upstream: upstream.clone() })
    }

    /// All providers, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.by_name.values()
    }
}
