//! What the catalogue says of a model: how much it reads and writes, what it can do, what it costs and since when.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::Date;

/// Something that not every model can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ability {
    /// Calls tools.
    Tools,
    /// Takes images.
    Images,
    /// Reasons before it answers.
    Reasoning,
    /// Its provider holds it to a JSON schema.
    Json,
    /// Its provider keeps prompts and charges less for what it has kept.
    Cache,
}

/// A model. What is `None` or empty is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    /// The most tokens that it reads.
    pub(crate) window: Option<u64>,
    /// The most tokens that it writes.
    pub(crate) max_output: Option<u64>,
    /// What it can do.
    pub(crate) can: Option<Vec<Ability>>,
    /// The day from which its provider does not serve it any more.
    pub(crate) deprecated: Option<Date>,
    /// What its provider names instead.
    pub(crate) successor: Option<String>,
    /// Its prices by the day from which they hold, the oldest first.
    pub(crate) prices: Vec<Price>,
}

/// What a model costs from a day on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Price {
    /// The file that says so: kept with every call.
    pub(crate) version: Arc<str>,
    /// The first day.
    pub(crate) from: Date,
    /// What tokens cost.
    pub(crate) rates: Rates,
    /// What they cost when the input has more tokens than this.
    pub(crate) above: Option<(u64, Rates)>,
}

/// Micro-dollars for a million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    /// Of the request.
    pub(crate) input: i64,
    /// Of the request that the provider had kept from before.
    pub(crate) cached_input: i64,
    /// Of the request that the provider keeps for later.
    pub(crate) cache_write: i64,
    /// Of the answer.
    pub(crate) output: i64,
    /// Of the answer that is reasoning.
    pub(crate) reasoning: i64,
    /// Of the request that is images.
    pub(crate) image: i64,
}

impl Price {
    /// What the tokens of a call with this much input cost.
    pub(crate) fn rates(&self, input_tokens: u64) -> &Rates {
        match &self.above {
            Some((limit, higher)) if input_tokens > *limit => higher,
            _ => &self.rates,
        }
    }
}

impl Entry {
    /// True when it is known that the model can.
    pub(crate) fn can(&self, ability: Ability) -> bool {
        self.can.as_ref().is_some_and(|all| all.contains(&ability))
    }

    /// What the model costs on a day; `None`: not known. A day before the first price has the first.
    pub(crate) fn price(&self, day: Date) -> Option<&Price> {
        self.prices.iter().rev().find(|p| p.from <= day).or(self.prices.first())
    }

    /// Takes from another entry what this one does not say.
    pub(super) fn fill(&mut self, other: &Self) {
        self.window = self.window.or(other.window);
        self.max_output = self.max_output.or(other.max_output);
        if self.can.is_none() {
            self.can.clone_from(&other.can);
        }
        if self.deprecated.is_none() {
            self.deprecated = other.deprecated;
            self.successor.clone_from(&other.successor);
        }
        if self.prices.is_empty() {
            self.prices.clone_from(&other.prices);
        }
    }

    /// The same without what only its own seller can say.
    pub(super) fn traits(&self) -> Self {
        Self { prices: Vec::new(), deprecated: None, successor: None, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    fn price(from: Date, input: i64) -> Price {
        Price { version: "t".into(), from, rates: Rates { input, ..Rates::default() }, above: None }
    }

    #[test]
    fn a_day_has_the_price_that_held_then() {
        let entry = Entry { prices: vec![price(date!(2026 - 01 - 01), 1), price(date!(2026 - 06 - 01), 2)], ..Entry::default() };
        let on = |day| entry.price(day).unwrap().rates.input;
        assert_eq!(on(date!(2025 - 01 - 01)), 1);
        assert_eq!(on(date!(2026 - 05 - 31)), 1);
        assert_eq!(on(date!(2026 - 06 - 01)), 2);
        assert_eq!(on(date!(2030 - 01 - 01)), 2);
        assert!(Entry::default().price(date!(2026 - 01 - 01)).is_none());
    }

    #[test]
    fn long_input_has_its_own_price() {
        let higher = Rates { input: 9, ..Rates::default() };
        let price = Price { above: Some((100, higher)), ..price(date!(2026 - 01 - 01), 1) };
        assert_eq!((price.rates(100).input, price.rates(101).input), (1, 9));
    }
}
