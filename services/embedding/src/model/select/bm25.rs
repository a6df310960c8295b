//! BM25 over whole files: which of them speak of what the request speaks of.

const K1: f64 = 1.2;

/// A document: how often each word occurs in it.
pub(super) trait Document {
    /// How often a word occurs.
    fn count(&self, word: u32) -> u32;
    /// How many words there are.
    fn length(&self) -> u32;
}

/// What each document scores for the words; `b` is how much long ones are made to pay.
pub(super) fn scores<D: Document>(words: &[u32], documents: &[&D], b: f64) -> Vec<f64> {
    let total: u64 = documents.iter().map(|d| u64::from(d.length())).sum();
    let average = (total as f64 / documents.len().max(1) as f64).max(1.0);
    let mut scores = vec![0.0; documents.len()];
    for word in words {
        let counts: Vec<u32> = documents.iter().map(|d| d.count(*word)).collect();
        let rarity = rarity(documents.len(), counts.iter().filter(|n| **n > 0).count());
        for ((score, count), document) in scores.iter_mut().zip(counts).zip(documents) {
            let n = f64::from(count);
            *score += rarity * n * (K1 + 1.0) / (n + K1 * (1.0 - b + b * f64::from(document.length()) / average));
        }
    }
    scores
}

fn rarity(documents: usize, with: usize) -> f64 {
    (1.0 + (documents as f64 - with as f64 + 0.5) / (with as f64 + 0.5)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Text(Vec<u32>);

    impl Document for Text {
        fn count(&self, word: u32) -> u32 {
            self.0.iter().filter(|w| **w == word).count() as u32
        }

        fn length(&self) -> u32 {
            self.0.len() as u32
        }
    }

    #[test]
    fn rare_words_count_more_and_long_documents_less() {
        let (short, long, other) = (Text(vec![1, 2]), Text([vec![1, 2], vec![9; 50]].concat()), Text(vec![1]));
        let found = scores(&[1, 2], &[&short, &long, &other], 0.75);
        assert!(found[0] > found[1] && found[1] > found[2], "{found:?}");
        let even = scores(&[2], &[&short, &long], 0.0);
        assert!((even[0] - even[1]).abs() < 1e-12);
        assert!(scores::<Text>(&[1], &[], 0.75).is_empty());
    }
}
