//! Sparse vectors: the engine's BM25 over our words. The engine stems, drops English stop words and hashes; the inverse
//! document frequency is its modifier at query time.

use qdrant_edge::bm25_embed::{EdgeBm25, EdgeBm25Config};
use qdrant_edge::external::ordered_float::NotNan;
use qdrant_edge::{SparseVector, TokenizerType};

use super::IndexError;
use crate::model::words::words;

/// Words in a chunk of ordinary size, its path and title included.
const AVERAGE_WORDS: f64 = 90.0;

pub(super) struct Sparse(EdgeBm25);

impl Sparse {
    pub(super) fn new() -> Result<Self, IndexError> {
        let failed = |e: String| IndexError::Engine(e);
        let avg_len = NotNan::new(AVERAGE_WORDS).map_err(|e| failed(e.to_string()))?;
        let config = EdgeBm25Config { avg_len, tokenizer: TokenizerType::Whitespace, ..EdgeBm25Config::default() };
        EdgeBm25::new(config).map(Self).map_err(|e| failed(e.to_string()))
    }

    pub(super) fn document(&self, text: &str) -> SparseVector {
        self.0.embed_document(&words(text).join(" "))
    }

    /// `None` when the query has no word that counts.
    pub(super) fn query(&self, text: &str) -> Option<SparseVector> {
        let vector = self.0.embed_query(&words(text).join(" "));
        (!vector.indices.is_empty()).then_some(vector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inflected_words_and_parts_of_identifiers_meet() {
        let sparse = Sparse::new().unwrap();
        let document = sparse.document("spec:\n  replicaCount: 2\n  installing: true");
        for query in ["replicas", "replica count", "install", "replicaCount"] {
            let query = sparse.query(query).unwrap();
            assert!(query.indices.iter().any(|i| document.indices.contains(i)));
        }
        assert!(sparse.query("of the").is_none());
        assert!(sparse.query("?!").is_none());
    }
}
