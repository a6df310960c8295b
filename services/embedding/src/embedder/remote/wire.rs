//! What each provider is sent and answers.

use serde::Deserialize;
use serde::de::Error as _;
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
            // The order is said, not promised. Servers that are only compatible may say none.
            if data.iter().any(|datum| datum.index.is_some()) {
                data.sort_by_key(|datum| datum.index);
                if data.iter().enumerate().any(|(at, datum)| datum.index != Some(at)) {
                    return Err(serde_json::Error::custom("the places of the vectors are not those of the texts"));
                }
            }
            Ok(data.into_iter().map(|datum| datum.embedding).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_belongs_to_the_text_at_its_place() {
        let read = |indexes: [&str; 2]| {
            let data = indexes.map(|index| format!(r#"{{{index} "embedding": [{}]}}"#, index.len()));
            answer(EmbedderKind::Openai, format!(r#"{{"data": [{}]}}"#, data.join(",")).as_bytes())
        };
        let (first, second) = (r#""index": 0,"#, r#" "index": 1,"#);
        assert_eq!(read([second, first]).unwrap(), [[11.0], [12.0]]);
        assert_eq!(read(["", ""]).unwrap(), [[0.0], [0.0]]);
        for wrong in [[first, first], [second, r#""index": 2,"#], [first, ""]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
