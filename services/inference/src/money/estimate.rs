//! What a call will cost, before it is made: the request's tokens, and an answer as long as this model's usually are.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::cost::cost;
use super::prices::Quote;
use crate::model::{Request, Usage, estimate_request};

/// How long answers are before any has been seen, in tokens.
const USUAL: f64 = 400.0;
/// How much an answer moves what is usual.
const WEIGHT: f64 = 0.1;
/// What is reserved for an answer that the caller does not limit, at least.
const LONGEST: u64 = 4_096;
/// How many usual answers fit into what is reserved.
const TIMES: f64 = 4.0;
/// Models whose answers are remembered; others are as usual.
const MAX_MODELS: usize = 1_000;

/// What a call is expected to use and cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// Tokens of the request.
    pub(crate) input: u64,
    /// Tokens of an answer of the usual length.
    pub(crate) output: u64,
    /// Tokens of the longest answer to be ready for.
    pub(crate) longest: u64,
    /// What it will cost.
    pub(crate) cost: i64,
    /// What it may cost: what budgets must have room for.
    pub(crate) reserve: i64,
}

/// How long the answers of models usually are.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    usual: RwLock<HashMap<String, f64>>,
}

impl Outputs {
    /// Takes an answer into account.
    pub(crate) fn learn(&self, model: &str, tokens: u64) {
        let mut usual = self.usual.write().unwrap_or_else(PoisonError::into_inner);
        if usual.len() >= MAX_MODELS && !usual.contains_key(model) {
            return;
        }
        let tokens = tokens as f64;
        // The first answer says more than a guess does.
        usual.entry(model.to_owned()).and_modify(|usual| *usual += (tokens - *usual) * WEIGHT).or_insert(tokens);
    }

    /// What a request will use and cost.
    pub(crate) fn estimate(&self, model: &str, request: &Request, price: Option<&Quote>) -> Estimate {
        let usual = self.usual.read().unwrap_or_else(PoisonError::into_inner).get(model).copied().unwrap_or(USUAL);
        let input = estimate_request(request);
        let limit = Some(u64::from(request.max_output_tokens)).filter(|limit| *limit > 0);
        let output = (usual.round() as u64).min(limit.unwrap_or(u64::MAX));
        let longest = limit.unwrap_or_else(|| LONGEST.max((usual * TIMES) as u64));
        let priced = |output| {
            let usage = Usage { input, output, ..Usage::default() };
            price.map_or(0, |quote| cost(quote.price.rates(input), &usage))
        };
        Estimate { input, output, longest, cost: priced(output), reserve: priced(longest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Price, Rates};
    use crate::model::{Message, Role};
    use crate::money::prices::Source;

    fn request(max_output_tokens: u32) -> Request {
        Request { messages: vec![Message::new(Role::User, "one two three")], max_output_tokens, ..Request::default() }
    }

    fn price() -> Quote {
        let rates = Rates { input: 1_000_000, output: 2_000_000, ..Rates::default() };
        Quote { price: Price { version: "t".into(), from: time::Date::MIN, rates, above: None }, source: Source::List }
    }

    #[test]
    fn the_longest_answer_is_what_the_caller_allows() {
        let outputs = Outputs::default();
        let estimate = outputs.estimate("m", &request(100), Some(&price()));
        assert_eq!((estimate.output, estimate.longest), (100, 100));
        assert_eq!(estimate.reserve, estimate.input as i64 + 200);
        let free = outputs.estimate("m", &request(0), None);
        assert_eq!((free.longest, free.cost, free.reserve), (LONGEST, 0, 0));
    }

    #[test]
    fn answers_teach_how_long_answers_are() {
        let outputs = Outputs::default();
        for _ in 0..100 {
            outputs.learn("m", 2_000);
        }
        let estimate = outputs.estimate("m", &request(0), Some(&price()));
        assert_eq!((estimate.output, estimate.longest), (2_000, 8_000));
        assert_eq!(outputs.estimate("other", &request(0), None).output, USUAL as u64);
    }
}
