//! [`Remote`]: a provider's model, over HTTP. Texts go in batches, several at once; what is refused for now is asked again,
//! when the provider says so or a little later each time; what comes back is checked and made to be of length 1.

mod wait;
mod wire;

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, StatusCode, Url, redirect};
use secrecy::ExposeSecret as _;
use time::OffsetDateTime;
use tokio::runtime::Handle;

use super::Embedder;
use crate::error::BoxError;
use crate::settings::{EmbedderKind, EmbedderSettings};

const TRIES: usize = 4;
/// A query is waited for; when the provider is that slow, words alone are the better answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(4);
const QUERY_TRIES: usize = 1;
/// A provider that wants us to wait longer is treated as away.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// A request holds at most about so many tokens: the smallest of the providers' limits.
const REQUEST_TOKENS: usize = 60_000;
/// What is longer than any model's window does not count; at about four characters a token.
const MAX_CHARS: usize = 24_000;
const MAX_ANSWER_BYTES: usize = 64 << 20;
const MAX_REASON: usize = 300;

/// What a text is, to models that tell these apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Something that is searched.
    Passage,
    /// Something that is searched for.
    Query,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(String, Again);

impl Failure {
    /// Whether it may be gone when it is asked again.
    pub(crate) fn is_passing(&self) -> bool {
        !matches!(self.1, Again::No)
    }
}

/// Whether to ask again.
#[derive(Clone, Copy, Debug)]
enum Again {
    /// It would be no better.
    No,
    /// After a pause.
    Yes,
    /// After this pause.
    After(Duration),
}

/// A provider's model.
pub(crate) struct Remote {
    settings: EmbedderSettings,
    url: Url,
    client: Client,
    runtime: Handle,
}

impl Remote {
    /// Prepares calls; connects to nothing yet. Inside a runtime, on which the calls are made.
    pub(crate) fn new(settings: EmbedderSettings) -> Result<Self, BoxError> {
        let mut headers = HeaderMap::new();
        let key = settings.api_key.expose_secret();
        if !key.is_empty() {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let url = Url::parse(&format!("{}/{}", settings.base_url.trim_end_matches('/'), wire::path(settings.kind)))?;
        let mut builder = Client::builder()
            .connect_timeout(Duration::from_secs(10))
            // An API does not redirect; following one could carry the key elsewhere.
            .redirect(redirect::Policy::none())
            .default_headers(headers);
        if matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
            builder = builder.no_proxy();
        }
        Ok(Self { url, client: builder.build()?, settings, runtime: Handle::current() })
    }

    async fn all(&self, texts: &[String], purpose: Purpose) -> Result<Vec<Vec<f32>>, Failure> {
        let texts: Vec<&str> = texts.iter().map(|text| cut(text)).collect();
        let batches = futures::stream::iter(batches(&texts, self.settings.batch));
        let vectors = batches.map(|batch| self.one(&texts[batch.0..batch.1], purpose));
        Ok(vectors.buffered(self.settings.concurrency).try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    async fn one(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Vec<f32>>, Failure> {
        let tries = if purpose == Purpose::Query { QUERY_TRIES } else { TRIES };
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(250))
            .with_max_delay(Duration::from_secs(10))
            .with_max_times(tries - 1)
            .with_jitter();
        (|| self.ask(texts, purpose))
            .retry(pauses)
            .when(|failure: &Failure| !matches!(failure.1, Again::No))
            .adjust(|failure: &Failure, pause| match failure.1 {
                Again::After(wait) if wait > MAX_WAIT => None,
                // Whoever was told the same moment does not come at the same moment: the pause is a random one.
                Again::After(wait) => pause.map(|pause| wait + pause / 2),
                _ => pause,
            })
            .await
    }

    async fn ask(&self, texts: &[&str], purpose: Purpose) -> Result<Vec<Vec<f32>>, Failure> {
        let timeout = self.settings.timeout();
        let timeout = if purpose == Purpose::Query { timeout.min(QUERY_TIMEOUT) } else { timeout };
        let body = wire::request(&self.settings, texts, purpose);
        let request = self.client.post(self.url.clone()).timeout(timeout).json(&body);
        let response = request.send().await.map_err(|e| self.lost(&e))?;
        let status = response.status();
        let wait = wait::named(response.headers(), OffsetDateTime::now_utc());
        let mut chunks = response.bytes_stream();
        let mut answer = Vec::new();
        while let Some(chunk) = chunks.next().await {
            answer.extend_from_slice(&chunk.map_err(|e| self.lost(&e))?);
            if answer.len() > MAX_ANSWER_BYTES {
                return Err(self.failure("sent more than vectors take", Again::No));
            }
        }
        if !status.is_success() {
            return Err(self.refused(status, wait, &answer));
        }
        let vectors =
            wire::answer(self.settings.kind, &answer).map_err(|e| self.failure(&format!("sent no vectors: {e}"), Again::Yes))?;
        self.checked(vectors, texts.len())
    }

    /// As many as there were texts, each as long as it must be; of length 1.
    fn checked(&self, mut vectors: Vec<Vec<f32>>, count: usize) -> Result<Vec<Vec<f32>>, Failure> {
        if vectors.len() != count {
            return Err(self.failure(&format!("sent {} vectors for {count} texts", vectors.len()), Again::No));
        }
        let dimensions = self.settings.dimensions();
        for vector in &mut vectors {
            if vector.len() != dimensions {
                let (is, model) = (vector.len(), &self.settings.model);
                let why = format!(
                    "makes vectors of {is} dimensions with {model}, not {dimensions}: set embedding.embedder.dimensions to {is}"
                );
                return Err(self.failure(&why, Again::No));
            }
            let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
            if !length.is_finite() || length < 1e-12 {
                return Err(self.failure("sent a vector without a direction", Again::No));
            }
            for x in vector.iter_mut() {
                *x = (f64::from(*x) / length) as f32;
            }
        }
        Ok(vectors)
    }

    fn refused(&self, status: StatusCode, wait: Option<Duration>, answer: &[u8]) -> Failure {
        let said: String =
            String::from_utf8_lossy(answer).split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_REASON).collect();
        let again = match (status.as_u16(), wait) {
            (429 | 503 | 529, Some(wait)) => Again::After(wait),
            (408 | 409 | 429 | 500..=599, _) => Again::Yes,
            _ => Again::No,
        };
        let hint = match (status.as_u16(), self.settings.kind) {
            (401 | 403, _) => "; see embedding.embedder.api_key",
            (404, EmbedderKind::Ollama) => "; `ollama pull` gets a model",
            _ => "",
        };
        self.failure(&format!("answers {}: {said}{hint}", status.as_u16()), again)
    }

    fn lost(&self, error: &reqwest::Error) -> Failure {
        let what = if error.is_timeout() {
            "does not answer in time"
        } else if error.is_connect() {
            "cannot be reached"
        } else {
            "broke off its answer"
        };
        self.failure(what, Again::Yes)
    }

    fn failure(&self, what: &str, again: Again) -> Failure {
        let who = self.url.host_str().unwrap_or("the provider");
        Failure(format!("{who} {what}"), again)
    }
}

impl Embedder for Remote {
    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, BoxError> {
        Ok(self.runtime.block_on(self.all(texts, Purpose::Passage))?)
    }

    fn embed_query(&self, text: &str) -> Result<Vec<f32>, BoxError> {
        let vectors = self.runtime.block_on(self.all(&[text.to_owned()], Purpose::Query))?;
        vectors.into_iter().next().ok_or_else(|| "no vector for the query".into())
    }

    fn batch(&self, _urgent: bool) -> usize {
        self.settings.batch * self.settings.concurrency
    }
}

/// What a model can take of a text; no API takes an empty one.
fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(MAX_CHARS).map_or(text.len(), |(at, _)| at);
    let cut = &text[..end];
    if cut.trim().is_empty() { "." } else { cut }
}

/// From where to where each batch goes: so many texts, and about so many tokens, at most.
fn batches(texts: &[&str], most: usize) -> Vec<(usize, usize)> {
    let (mut batches, mut from, mut tokens) = (Vec::new(), 0, 0);
    for (at, text) in texts.iter().enumerate() {
        // A byte is a third of a token at most, in any writing.
        let cost = text.len() / 3 + 1;
        if at > from && (at - from == most || tokens + cost > REQUEST_TOKENS) {
            batches.push((from, at));
            (from, tokens) = (at, 0);
        }
        tokens += cost;
    }
    if from < texts.len() {
        batches.push((from, texts.len()));
    }
    batches
}

#[cfg(test)]
mod tests;
