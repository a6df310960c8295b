//! A text as a vector: one request and one answer, in the two shapes that servers speak.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use super::{Endpoint, call};
use crate::error::{Kind, ProviderError};
use crate::model::{Usage, estimate_tokens};
use crate::provider::Embedded;

const MAX_BYTES: usize = 1 << 20;
const MAX_DIMENSIONS: usize = 16_384;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Data {
    data: Vec<Datum>,
    #[serde(default)]
    usage: Counted,
}

#[derive(Deserialize)]
struct Datum {
    embedding: Vec<f32>,
}

#[derive(Default, Deserialize)]
struct Counted {
    #[serde(default)]
    prompt_tokens: u64,
}

#[derive(Deserialize)]
struct Embeddings {
    embeddings: Vec<Vec<f32>>,
    #[serde(default)]
    prompt_eval_count: u64,
}

/// The shape of OpenAI's API, which most others have too.
pub(crate) async fn openai(at: &Endpoint, url: Url, model: &str, text: &str) -> Result<Embedded, ProviderError> {
    let answer: Data = ask(at, url, model, text).await?;
    embedded(at, answer.data.into_iter().map(|d| d.embedding).next(), answer.usage.prompt_tokens, text)
}

/// The shape of Ollama's own API.
pub(crate) async fn ollama(at: &Endpoint, url: Url, model: &str, text: &str) -> Result<Embedded, ProviderError> {
    let answer: Embeddings = ask(at, url, model, text).await?;
    embedded(at, answer.embeddings.into_iter().next(), answer.prompt_eval_count, text)
}

/// The address of the embeddings of an API whose other method's address ends in so many segments.
pub(crate) fn beside(mut url: Url, segments: usize) -> Url {
    if let Ok(mut path) = url.path_segments_mut() {
        for _ in 0..segments {
            path.pop();
        }
        path.push("embeddings");
    }
    url
}

async fn ask<T: DeserializeOwned>(at: &Endpoint, url: Url, model: &str, text: &str) -> Result<T, ProviderError> {
    let body = json!({"model": model, "input": text}).to_string();
    let response = call::accept(at, call::send(at, url, body.into()).await?).await?;
    let mut chunks = response.bytes_stream();
    let read = async {
        let mut body = Vec::new();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(|e| at.broke_off().caused_by(e.without_url()))?);
            if body.len() > MAX_BYTES {
                return Err(at.error(Kind::Server, "sent an embedding that is too long"));
            }
        }
        Ok(body)
    };
    let late = |_| at.error(Kind::TimeoutBetweenDeltas, format!("did not send its embedding within {BODY_TIMEOUT:?}"));
    let body = timeout(BODY_TIMEOUT, read).await.map_err(late)??;
    serde_json::from_slice(&body).map_err(|e| at.unreadable("an embedding", e))
}

fn embedded(at: &Endpoint, vector: Option<Vec<f32>>, tokens: u64, text: &str) -> Result<Embedded, ProviderError> {
    let sane = |v: &Vec<f32>| (1..=MAX_DIMENSIONS).contains(&v.len()) && v.iter().all(|x| x.is_finite());
    let vector = vector.filter(sane).ok_or_else(|| at.error(Kind::Server, "sent no usable embedding"))?;
    let told = Usage { input: tokens, ..Usage::default() };
    let guessed = || Usage { input: estimate_tokens(text), estimated: true, ..Usage::default() };
    Ok(Embedded { vector, usage: if tokens > 0 { told } else { guessed() } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::http::testing::{Upstream, opened, refusal};

    #[tokio::test]
    async fn both_shapes_are_read() {
        let openai = r#"{"data":[{"index":0,"embedding":[0.5,-1]}],"usage":{"prompt_tokens":3,"total_tokens":3}}"#;
        let ollama = r#"{"model":"m","embeddings":[[0.5,-1]]}"#;
        let cases = [
            ("openai", openai, "POST /v1/embeddings ", 3, false),
            ("responses", openai, "POST /v1/embeddings ", 3, false),
            ("ollama", ollama, "POST /api/embed ", 2, true),
        ];
        for (kind, answer, line, tokens, estimated) in cases {
            let mut upstream = Upstream::start(vec![refusal("200 OK", "", answer)]).await;
            let embedded = opened(kind, &upstream.settings()).embed("m", "hello world").await.unwrap();
            assert_eq!(embedded.vector, [0.5, -1.0], "{kind}");
            assert_eq!((embedded.usage.input, embedded.usage.estimated), (tokens, estimated), "{kind}");
            let sent = upstream.bodies.recv().await.unwrap();
            assert!(sent.starts_with(line) && sent.contains(r#""input":"hello world""#), "{kind}: {sent}");
        }
    }

    #[tokio::test]
    async fn what_is_no_embedding_is_an_error() {
        for answer in ["{}", r#"{"data":[]}"#, r#"{"data":[{"embedding":[]}]}"#, r#"{"data":[{"embedding":[1e99]}]}"#] {
            let upstream = Upstream::start(vec![refusal("200 OK", "", answer)]).await;
            let error = opened("openai", &upstream.settings()).embed("m", "x").await.unwrap_err();
            assert_eq!(error.kind, Kind::Server, "{answer}");
        }
        let upstream = Upstream::start(vec![refusal("404 Not Found", "", "")]).await;
        opened("openai", &upstream.settings()).embed("m", "x").await.unwrap_err();
        let upstream = Upstream::start(vec![]).await;
        assert_eq!(opened("anthropic", &upstream.settings()).embed("m", "x").await.unwrap_err().kind, Kind::BadRequest);
    }

    #[test]
    fn embeddings_are_beside_the_chat() {
        let url = |text: &str| Url::parse(text).unwrap();
        let azure = beside(url("https://x/openai/deployments/d/chat/completions?api-version=1"), 2);
        assert_eq!(azure.as_str(), "https://x/openai/deployments/d/embeddings?api-version=1");
        assert_eq!(beside(url("http://h/v1/responses"), 1).as_str(), "http://h/v1/embeddings");
    }
}
