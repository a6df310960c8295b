//! What the live ranking is measured against: BM25 over path and content, a file a document, words as they stand.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// The words of a document with how often each occurs.
pub(crate) type Words = Arc<HashMap<String, u32>>;

/// The words of a text: letters and digits, in lower case.
pub(crate) fn words(text: &str) -> HashMap<String, u32> {
    let mut words = HashMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
        *words.entry(word.to_lowercase()).or_default() += 1;
    }
    words
}

/// The paths of documents, the best for the request first; the rest by name.
pub(crate) fn rank<'a>(request: &str, documents: &'a [(String, Words)]) -> Vec<&'a str> {
    let documents: Vec<_> = documents.iter().map(|(path, content)| (path.as_str(), words(path), content)).collect();
    let count = |(_, path, content): &(&str, HashMap<String, u32>, &Words), word: &str| {
        f64::from(path.get(word).copied().unwrap_or(0) + content.get(word).copied().unwrap_or(0))
    };
    let length = |(_, path, content): &(&str, HashMap<String, u32>, &Words)| {
        f64::from(path.values().sum::<u32>() + content.values().sum::<u32>())
    };
    let lengths: Vec<f64> = documents.iter().map(length).collect();
    let average = (lengths.iter().sum::<f64>() / lengths.len().max(1) as f64).max(1.0);
    let mut scores = vec![0.0; documents.len()];
    let mut asked: Vec<String> = words(request).into_keys().collect::<HashSet<_>>().into_iter().collect();
    // Sums of floating-point numbers depend on their order.
    asked.sort_unstable();
    for word in asked {
        let counts: Vec<f64> = documents.iter().map(|d| count(d, &word)).collect();
        let with = counts.iter().filter(|n| **n > 0.0).count() as f64;
        let rarity = (1.0 + (documents.len() as f64 - with + 0.5) / (with + 0.5)).ln();
        for ((score, n), length) in scores.iter_mut().zip(counts).zip(&lengths) {
            *score += rarity * n * (K1 + 1.0) / (n + K1 * (1.0 - B + B * length / average));
        }
    }
    let mut order: Vec<usize> = (0..documents.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then_with(|| documents[*a].0.cmp(documents[*b].0)));
    order.into_iter().map(|at| documents[at].0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_words_and_paths_count() {
        let documents: Vec<(String, Words)> = [
            ("values.yaml", "image: x\nservice: y\nimage again"),
            ("templates/ingress.yaml", "kind Ingress"),
            ("templates/service.yaml", "kind: Service image"),
        ]
        .map(|(path, text)| (path.to_owned(), Arc::new(words(text))))
        .into();
        assert_eq!(rank("the ingress", &documents)[0], "templates/ingress.yaml");
        assert_eq!(rank("image", &documents)[0], "values.yaml");
        assert_eq!(rank("nothing", &documents), ["templates/ingress.yaml", "templates/service.yaml", "values.yaml"]);
    }
}
