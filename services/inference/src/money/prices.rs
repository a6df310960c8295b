//! Which price holds for a model: the operator's own, else the catalogue's of the day. The rule engine is free.

use std::collections::HashMap;
use std::sync::Arc;

use time::{Date, OffsetDateTime};

use crate::builtin;
use crate::catalogue::{Catalogue, Price, Rates};
use crate::model::{SEPARATOR, split_model};
use crate::settings::{PriceSettings, Settings};

/// Who says a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The settings.
    Operator,
    /// The catalogue.
    List,
}

/// The price of a model at a time.
#[derive(Clone, Debug)]
pub(crate) struct Quote {
    /// What it says.
    pub(crate) price: Price,
    /// Who says so.
    pub(crate) source: Source,
}

/// Finds prices.
#[derive(Debug)]
pub(crate) struct Prices {
    own: HashMap<String, Quote>,
    catalogue: Arc<Catalogue>,
}

impl Prices {
    pub(crate) fn new(settings: &Settings, catalogue: Arc<Catalogue>) -> Self {
        let mut own = HashMap::new();
        for (provider, settings) in &settings.providers {
            for (model, price) in &settings.prices {
                own.insert(format!("{provider}{SEPARATOR}{model}"), quote("settings", rates(price), Source::Operator));
            }
        }
        Self { own, catalogue }
    }

    /// The price of `provider/model` at a time; `None`: not known.
    pub(crate) fn find(&self, id: &str, time: i64) -> Option<Quote> {
        if let Some(own) = self.own.get(id) {
            return Some(own.clone());
        }
        if split_model(id).is_some_and(|(provider, _)| provider == builtin::PROVIDER) {
            return Some(quote("builtin", Rates::default(), Source::List));
        }
        let day = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time) * 1000).ok()?.date();
        let entry = self.catalogue.find(id)?;
        let price = entry.price(day)?;
        Some(Quote { price: price.clone(), source: Source::List })
    }
}

fn quote(version: &str, rates: Rates, source: Source) -> Quote {
    Quote { price: Price { version: version.into(), from: Date::MIN, rates, above: None }, source }
}

/// What is not said of cached, written and shown input is as of other input; of reasoning, as of other output.
fn rates(price: &PriceSettings) -> Rates {
    Rates {
        input: price.input_micros,
        cached_input: price.cached_input_micros.unwrap_or(price.input_micros),
        cache_write: price.cache_write_micros.unwrap_or(price.input_micros),
        output: price.output_micros,
        reasoning: price.reasoning_micros.unwrap_or(price.output_micros),
        image: price.image_micros.unwrap_or(price.input_micros),
    }
}
