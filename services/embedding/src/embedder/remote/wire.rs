//! What each provider is sent and answers.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Purpose;
use crate::settings::{EmbedderKind, EmbedderSettings};

/// The method, behind the API's address.
pub(super) fn path(kind: EmbedderKind) -> &'static str {
    match kind {
        EmbedderKind::Ollama => "api/embed",
        EmbedderKind::Cohere => "embed",
        EmbedderKind::InProcess | EmbedderKind::Openai | EmbedderKind::Voyage => "embeddings",
    }
}

/// The body of a request. Lengths are asked for only where somebody has set them: not every model can choose.
pub(super) fn request(settings: &EmbedderSettings, texts: &[&str], purpose: Purpose) -> Value {
    let model = &settings.model;
    let is_query = purpose == Purpose::Query;
    let (mut body, length) = match settings.kind {
        EmbedderKind::InProcess | EmbedderKind::Openai => {
            (json!({"model": model, "input": texts, "encoding_format": "float"}), "dimensions")
        }
        EmbedderKind::Voyage => {
            let kind = if is_query { "query" } else { "document" };
            (json!({"model": model, "input": texts, "input_type": kind, "truncation": true}), "output_dimension")
        }
        EmbedderKind::Cohere => {
            let kind = if is_query { "search_query" } else { "search_document" };
            let body =
                json!({"model": model, "texts": texts, "input_type": kind, "embedding_types": ["float"], "truncate": "END"});
            (body, "output_dimension")
        }
        EmbedderKind::Ollama => (json!({"model": model, "input": texts, "truncate": true}), "dimensions"),
    };
    if settings.dimensions > 0
        && let Some(fields) = body.as_object_mut()
    {
        fields.insert(length.to_owned(), settings.dimensions.into());
    }
    body
}

#[derive(Deserialize)]
struct Data {
    data: Vec<Datum>,
}

#[derive(Deserialize)]
struct Datum {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct ByType {
    embeddings: Floats,
}

#[derive(Deserialize)]
struct Floats {
    float: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Plain {
    embeddings: Vec<Vec<f32>>,
}

/// The vectors of an answer, in the order of the texts.
pub(super) fn answer(kind: EmbedderKind, bytes: &[u8]) -> Result<Vec<Vec<f32>>, serde_json::Error> {
    match kind {
        EmbedderKind::Cohere => serde_json::from_slice::<ByType>(bytes).map(|answer| answer.embeddings.float),
        EmbedderKind::Ollama => serde_json::from_slice::<Plain>(bytes).map(|answer| answer.embeddings),
        EmbedderKind::InProcess | EmbedderKind::Openai | EmbedderKind::Voyage => {
            let mut data = serde_json::from_slice::<Data>(bytes)?.data;
            // The order is said, not promised.
            if data.iter().all(|datum| datum.index.is_some()) {
                data.sort_by_key(|datum| datum.index);
            }
            Ok(data.into_iter().map(|datum| datum.embedding).collect())
        }
    }
}
