//! Tokens times prices, exactly: whole numbers, rounded once for a call.

use std::sync::Arc;

use super::prices::{Quote, Source};
use crate::catalogue::Rates;
use crate::model::{Charge, Usage};

const MILLION: i128 = 1_000_000;
/// The version of a cost that the provider itself told.
const TOLD: &str = "provider";

/// What a call cost.
pub(super) fn charge(price: Option<&Quote>, usage: &Usage) -> Charge {
    match (price, usage.cost_micros) {
        (Some(quote), told) if told.is_none() || quote.source == Source::Operator => {
            Charge { micros: cost(quote.price.rates(usage.input), usage), version: Some(quote.price.version.clone()) }
        }
        (_, Some(told)) => Charge { micros: told.max(0), version: Some(Arc::from(TOLD)) },
        (_, None) => Charge::default(),
    }
}

/// Micro-dollars for tokens whose prices are for a million; halves go up.
pub(super) fn cost(rates: &Rates, usage: &Usage) -> i64 {
    let parts = usage.cached_input.saturating_add(usage.cache_write).saturating_add(usage.images);
    // Providers count the parts within the whole; one that does not must not make the rest negative.
    let input = usage.input.saturating_sub(parts);
    let output = usage.output.saturating_sub(usage.reasoning);
    let millionths: i128 = [
        (input, rates.input),
        (usage.cached_input, rates.cached_input),
        (usage.cache_write, rates.cache_write),
        (usage.images, rates.image),
        (output, rates.output),
        (usage.reasoning, rates.reasoning),
    ]
    .into_iter()
    .map(|(tokens, rate)| i128::from(tokens).saturating_mul(i128::from(rate)))
    .fold(0, i128::saturating_add);
    let rounded = millionths.saturating_add(MILLION / 2).div_euclid(MILLION);
    i64::try_from(rounded.max(0)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Price;

    const RATES: Rates = Rates {
        input: 3_000_000,
        cached_input: 300_000,
        cache_write: 3_750_000,
        output: 15_000_000,
        reasoning: 15_000_000,
        image: 3_000_000,
    };

    fn quote(source: Source) -> Quote {
        let above = Some((1_000, Rates { input: 6_000_000, ..RATES }));
        Quote { price: Price { version: "list".into(), from: time::Date::MIN, rates: RATES, above }, source }
    }

    #[test]
    fn every_token_has_its_own_price() {
        let usage = Usage {
            input: 1_000,
            cached_input: 400,
            cache_write: 100,
            images: 50,
            output: 200,
            reasoning: 150,
            ..Usage::default()
        };
        // 450 × 3 + 400 × 0.3 + 100 × 3.75 + 50 × 3 + 50 × 15 + 150 × 15
        assert_eq!(cost(&RATES, &usage), 1350 + 120 + 375 + 150 + 750 + 2250);
        assert_eq!(cost(&RATES, &Usage::default()), 0);
        let odd = Usage { input: 5, cached_input: 9, ..Usage::default() };
        assert_eq!(cost(&RATES, &odd), 3, "2.7: the cached part alone");
    }

    #[test]
    fn halves_go_up_and_nothing_overflows() {
        let rates = Rates { input: 150_000, ..Rates::default() };
        for (input, micros) in [(3, 0), (4, 1), (10, 2), (11, 2)] {
            assert_eq!(cost(&rates, &Usage { input, ..Usage::default() }), micros, "{input}");
        }
        let huge = Usage { input: u64::MAX, output: u64::MAX, ..Usage::default() };
        assert_eq!(cost(&Rates { input: i64::MAX, output: i64::MAX, ..RATES }, &huge), i64::MAX);
    }

    #[test]
    fn long_prompts_have_the_higher_price_for_all_of_it() {
        let usage = |input| Usage { input, ..Usage::default() };
        assert_eq!(charge(Some(&quote(Source::List)), &usage(1_000)).micros, 3_000);
        assert_eq!(charge(Some(&quote(Source::List)), &usage(1_001)).micros, 6_006);
    }

    #[test]
    fn the_provider_goes_before_the_list_and_the_operator_before_both() {
        let told = Usage { input: 100, cost_micros: Some(7), ..Usage::default() };
        let version = |charge: Charge| (charge.micros, charge.version.map(|v| v.to_string()));
        assert_eq!(version(charge(Some(&quote(Source::List)), &told)), (7, Some("provider".into())));
        assert_eq!(version(charge(Some(&quote(Source::Operator)), &told)), (300, Some("list".into())));
        assert_eq!(version(charge(None, &told)), (7, Some("provider".into())));
        assert_eq!(charge(None, &Usage { input: 100, ..Usage::default() }), Charge::default());
    }
}
