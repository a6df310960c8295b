//! all-MiniLM-L6-v2 on candle: tokenise, run the encoder, average over the tokens, normalise.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tokenizers::{Encoding, Tokenizer, TruncationParams};

use super::{DIMENSIONS, Embedder};
use crate::error::BoxError;

const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";

/// The window that the model was trained with.
const MAX_TOKENS: usize = 256;
/// A batch holds at most so many tokens, padding included: more is no faster and makes others wait.
const BATCH_TOKENS: usize = 1_024;

/// The model in memory.
pub(crate) struct MiniLm {
    model: BertModel,
    tokenizer: Tokenizer,
}

/// What is missing in a directory for [`MiniLm::load`], in words.
pub(crate) fn missing_files(dir: &Path) -> Option<String> {
    let missing: Vec<_> = [WEIGHTS, CONFIG, TOKENIZER].into_iter().filter(|name| !dir.join(name).is_file()).collect();
    (!missing.is_empty()).then(|| format!("{} has no {}", dir.display(), missing.join(", no ")))
}

impl MiniLm {
    /// Reads the model from a directory. Takes about half a second.
    pub(crate) fn load(dir: &Path) -> Result<Self, BoxError> {
        let config: Config = serde_json::from_slice(&std::fs::read(dir.join(CONFIG))?)?;
        if config.hidden_size != DIMENSIONS {
            return Err(format!("it makes vectors of {} dimensions, not {DIMENSIONS}", config.hidden_size).into());
        }
        let mut tokenizer = Tokenizer::from_file(dir.join(TOKENIZER))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(Some(TruncationParams { max_length: MAX_TOKENS, ..TruncationParams::default() }))?;
        let weights = std::fs::read(dir.join(WEIGHTS))?;
        let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        Ok(Self { model: BertModel::load(weights, &config)?, tokenizer })
    }

    fn forward(&self, batch: &[&Encoding]) -> Result<Vec<Vec<f32>>, BoxError> {
        let rows = batch.len();
        let width = batch.iter().map(|e| e.get_ids().len()).max().unwrap_or(0);
        let (mut ids, mut mask) = (Vec::with_capacity(rows * width), Vec::with_capacity(rows * width));
        for encoding in batch {
            let padding = width - encoding.get_ids().len();
            ids.extend_from_slice(encoding.get_ids());
            ids.extend(std::iter::repeat_n(0u32, padding));
            mask.extend(std::iter::repeat_n(1f32, encoding.get_ids().len()));
            mask.extend(std::iter::repeat_n(0f32, padding));
        }
        let ids = Tensor::from_vec(ids, (rows, width), &Device::Cpu)?;
        let mask = Tensor::from_vec(mask, (rows, width), &Device::Cpu)?;
        let tokens = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let weights = mask.unsqueeze(2)?;
        let mean = tokens.broadcast_mul(&weights)?.sum(1)?.broadcast_div(&weights.sum(1)?)?;
        let length = mean.sqr()?.sum_keepdim(1)?.sqrt()?;
        Ok(mean.broadcast_div(&length)?.to_vec2()?)
    }
}

impl Embedder for MiniLm {
    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, BoxError> {
        let encodings = self.tokenizer.encode_batch(texts.iter().map(String::as_str).collect(), true)?;
        // By length, so that little of a batch is padding.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|at| encodings[*at].get_ids().len());
        let mut vectors = vec![Vec::new(); texts.len()];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let fits = |n: &usize| n * encodings[rest[n - 1]].get_ids().len() <= BATCH_TOKENS;
            let size = (1..=rest.len()).take_while(fits).last().unwrap_or(1);
            let (batch, later) = rest.split_at(size);
            let embedded = self.forward(&batch.iter().map(|at| &encodings[*at]).collect::<Vec<_>>())?;
            for (at, vector) in batch.iter().zip(embedded) {
                vectors[*at] = vector;
            }
            rest = later;
        }
        Ok(vectors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::weights;

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn what_is_missing_is_said() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CONFIG), "{}").unwrap();
        let missing = missing_files(dir.path()).unwrap();
        assert!(missing.contains(WEIGHTS) && missing.contains(TOKENIZER) && !missing.contains(CONFIG));
    }

    #[test]
    fn vectors_mean_something_and_do_not_depend_on_their_batch() {
        let Some(dir) = weights() else { return };
        let model = MiniLm::load(&dir).unwrap();
        let texts: Vec<String> =
            ["how many replicas run", "the number of pods", "a recipe for apple cake", &"word ".repeat(600), ""]
                .map(str::to_owned)
                .into();
        let together = model.embed(&texts).unwrap();
        for (text, vector) in texts.iter().zip(&together) {
            assert_eq!(vector.len(), DIMENSIONS);
            assert!((cosine(vector, vector) - 1.0).abs() < 1e-3);
            let alone = model.embed(std::slice::from_ref(text)).unwrap();
            assert!(cosine(vector, &alone[0]) > 0.9999);
        }
        assert!(cosine(&together[0], &together[1]) > cosine(&together[0], &together[2]) + 0.2);
    }
}
