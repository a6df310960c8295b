//! Providers over HTTP: one connection pool each, answers as they are written, whatever the protocol.
//!
//! A protocol is a [`Wire`]: how a request is written and where it is sent, and a [`Reader`] for what comes back. Everything
//! else is the same for all: the client, the call as a stream, framing, timeouts, refusals, lists of models.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use reqwest::{Client, Response, Url, redirect};
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::{Kind, ProviderError};
use crate::model::{Delta, ModelInfo, Request, estimate_request};
use crate::provider::{Deltas, Embedded, Provider, Sent, Traffic};
use crate::settings::ProviderSettings;

mod call;
pub(crate) mod embedding;
pub(crate) mod failure;
mod frames;
mod lines;
mod listing;
mod sse;
mod tally;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use frames::Framing;
pub(crate) use tally::Tally;

use call::Call;
use listing::Listing;

const AGENT: &str = concat!("slipway/", env!("CARGO_PKG_VERSION"));
const IDLE_CONNECTIONS: usize = 1024;

/// A protocol: how it is asked.
pub(crate) trait Wire: Send + Sync + 'static {
    /// Reads its answers.
    type Reader: Reader;

    /// The header that carries a key, with its value.
    fn key_header(&self, key: &str) -> (HeaderName, String);

    /// Where a request goes.
    fn url(&self, request: &Request) -> Url;

    /// The body of a request.
    fn encode(&self, request: &Request) -> Result<Vec<u8>, serde_json::Error>;

    /// A reader for the answer to a request.
    fn reader(&self, request: &Request) -> Self::Reader;

    /// The models that the provider itself lists.
    fn list<'a>(&'a self, at: &'a Endpoint) -> BoxFuture<'a, Result<Vec<ModelInfo>, ProviderError>>;

    /// A text as a vector, where the protocol has that.
    fn embed<'a>(&'a self, at: &'a Endpoint, model: &'a str, text: &'a str) -> BoxFuture<'a, Result<Embedded, ProviderError>> {
        let _ = (model, text);
        std::future::ready(Err(at.error(Kind::BadRequest, "has no embeddings that are spoken here"))).boxed()
    }

    /// What every model of the provider can do, as far as the protocol tells.
    fn usual(&self) -> ModelInfo {
        ModelInfo { tools: true, ..ModelInfo::default() }
    }
}

/// A protocol: how one answer is read. A clone made before the first event is a reader for another attempt.
pub(crate) trait Reader: Clone + Send + Unpin + 'static {
    /// How the bytes are cut into events when the response does not tell.
    const FRAMING: Framing;

    /// Reads one event; its deltas go to `out`.
    fn event(&mut self, at: &Endpoint, data: &[u8], out: &mut VecDeque<Delta>) -> Result<(), ProviderError>;

    /// True once the provider has said that nothing follows.
    fn is_done(&self) -> bool;

    /// The last delta, when the bytes have ended.
    fn end(&mut self, at: &Endpoint) -> Result<Delta, ProviderError>;

    /// What was counted and written so far.
    fn tally(&mut self) -> &mut Tally;
}

/// What a call needs to know of its provider.
pub(crate) struct Endpoint {
    /// Its name in the settings.
    pub(crate) name: String,
    /// The API's address without a slash at its end.
    pub(crate) base: String,
    pub(super) client: Client,
    pub(super) headers: HeaderMap,
    pub(super) key: Option<SecretString>,
    pub(super) headers_timeout: Duration,
    pub(super) idle_timeout: Duration,
}

impl Endpoint {
    fn new(name: &str, settings: &ProviderSettings, mut headers: HeaderMap) -> Result<Self, reqwest::Error> {
        let base = settings.base_url.trim_end_matches('/').to_owned();
        let mut builder = Client::builder()
            .connect_timeout(settings.connect_timeout())
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(Duration::from_secs(90))
            .tcp_nodelay(true)
            // An API does not redirect; following one could carry the key elsewhere.
            .redirect(redirect::Policy::none());
        if is_loopback(&host_of(&base)) {
            builder = builder.no_proxy();
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/x-ndjson, application/json"));
        Ok(Self {
            name: name.to_owned(),
            base,
            client: builder.build()?,
            headers,
            key: settings.api_key.clone(),
            headers_timeout: settings.headers_timeout(),
            idle_timeout: settings.idle_timeout(),
        })
    }

    /// A failure of this provider.
    pub(crate) fn error(&self, kind: Kind, message: impl Into<String>) -> ProviderError {
        ProviderError::new(kind, &self.name, message)
    }

    /// The answer is not what the protocol says.
    pub(crate) fn unreadable(&self, what: &str, error: serde_json::Error) -> ProviderError {
        self.error(Kind::Server, format!("sent something that is not {what}")).caused_by(error)
    }

    /// The bytes ended before the answer did.
    pub(crate) fn broke_off(&self) -> ProviderError {
        self.error(Kind::Network, "broke off in the middle of its answer")
    }
}

/// A provider that speaks a protocol.
pub(crate) struct Http<W> {
    at: Arc<Endpoint>,
    wire: W,
    configured: Vec<String>,
    listing: Listing,
}

impl<W: Wire> Http<W> {
    /// Opens a client; connects to nothing yet. `headers`: what the protocol wants besides the key.
    pub(crate) fn new(name: &str, settings: &ProviderSettings, wire: W, mut headers: HeaderMap) -> Result<Self, reqwest::Error> {
        let header = settings.api_key.as_ref().map(|k| wire.key_header(k.expose_secret()));
        if let Some((name, value)) = header
            && let Ok(mut value) = HeaderValue::from_str(&value)
        {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let at = Arc::new(Endpoint::new(name, settings, headers)?);
        Ok(Self { at, wire, configured: settings.models.clone(), listing: Listing::default() })
    }

    fn reader(&self, request: &Request) -> W::Reader {
        let mut reader = self.wire.reader(request);
        reader.tally().expect_input(estimate_request(request));
        reader
    }

    fn unwritable(&self, error: serde_json::Error) -> ProviderError {
        self.at.error(Kind::BadRequest, "the request cannot be written as JSON").caused_by(error)
    }
}

#[async_trait]
impl<W: Wire> Provider for Http<W> {
    fn stream(&self, request: &Request) -> Deltas {
        match self.wire.encode(request) {
            Ok(body) => Call::new(self.at.clone(), self.wire.url(request), body.into(), self.reader(request)).boxed(),
            Err(error) => futures::stream::iter([Err(self.unwritable(error))]).boxed(),
        }
    }

    async fn models(&self) -> Vec<ModelInfo> {
        let mut models = self.listing.get(&self.at, || self.wire.list(&self.at)).await;
        for name in &self.configured {
            if !models.iter().any(|m| m.name == *name) {
                models.push(ModelInfo { name: name.clone(), display_name: name.clone(), ..self.wire.usual() });
            }
        }
        models
    }

    async fn embed(&self, model: &str, text: &str) -> Result<Embedded, ProviderError> {
        self.wire.embed(&self.at, model, text).await
    }
}

#[async_trait]
impl<W: Wire> Traffic for Http<W> {
    async fn exchange(&self, request: &Request) -> Result<Sent, ProviderError> {
        let body = self.wire.encode(request).map_err(|e| self.unwritable(e))?;
        let url = self.wire.url(request);
        let response = call::send(&self.at, url.clone(), body.clone().into()).await?;
        Ok(Sent { url, headers: self.at.headers.clone(), body, response })
    }

    fn read(&self, request: &Request, response: Response) -> Deltas {
        Call::replay(self.at.clone(), self.reader(request), response).boxed()
    }
}

/// The address of an API's method. The settings' check has parsed the base already.
pub(crate) fn url(address: &str) -> Url {
    Url::parse(address).unwrap_or_else(|_| unusable_url())
}

/// The host of an address; empty when there is none.
pub(crate) fn host_of(address: &str) -> String {
    Url::parse(address).ok().and_then(|u| u.host_str().map(str::to_owned)).unwrap_or_default()
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[expect(clippy::expect_used, reason = "a constant that parses")]
fn unusable_url() -> Url {
    Url::parse("http://0.0.0.0:0/").expect("a constant that parses")
}
