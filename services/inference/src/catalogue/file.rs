//! The catalogue's format: JSON to entries, or an error that names the line and the field.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use time::Date;
use time::macros::format_description;

use super::entry::{Ability, Entry, Price, Rates};

const MAX_TOKENS: u64 = 1 << 40;
// A thousand dollars for a thousand tokens: beyond it somebody wrote the wrong unit.
const MAX_RATE: i64 = 1_000_000_000_000;

/// A file that is as it should be.
#[derive(Debug)]
pub(super) struct File {
    /// Its models by their key, in lower case.
    pub(super) models: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: String,
    #[serde(default, rename = "date")]
    _date: String,
    #[serde(default, rename = "source")]
    _source: String,
    #[serde(default, rename = "licence")]
    _licence: String,
    models: BTreeMap<String, RawEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    #[serde(default)]
    window: Option<u64>,
    #[serde(default)]
    max_output: Option<u64>,
    #[serde(default)]
    can: Option<Vec<Ability>>,
    #[serde(default, deserialize_with = "day_or_none")]
    deprecated: Option<Date>,
    #[serde(default)]
    successor: Option<String>,
    #[serde(default)]
    prices: Vec<RawPrice>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrice {
    #[serde(deserialize_with = "day")]
    from: Date,
    #[serde(default)]
    version: Option<String>,
    input: i64,
    output: i64,
    #[serde(default)]
    cached_input: Option<i64>,
    #[serde(default)]
    cache_write: Option<i64>,
    #[serde(default)]
    reasoning: Option<i64>,
    #[serde(default)]
    image: Option<i64>,
    #[serde(default)]
    above: Option<RawAbove>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAbove {
    tokens: u64,
    #[serde(default)]
    input: Option<i64>,
    #[serde(default)]
    output: Option<i64>,
    #[serde(default)]
    cached_input: Option<i64>,
    #[serde(default)]
    cache_write: Option<i64>,
    #[serde(default)]
    reasoning: Option<i64>,
    #[serde(default)]
    image: Option<i64>,
}

/// Reads a file. The error says where it is wrong.
pub(super) fn read(text: &str) -> Result<File, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let raw: Raw = serde_path_to_error::deserialize(&mut json).map_err(|e| match e.path().to_string() {
        at if at == "." => e.inner().to_string(),
        at => format!("{at}: {}", e.inner()),
    })?;
    json.end().map_err(|e| e.to_string())?;
    if raw.version.is_empty() || raw.version.len() > 100 {
        return Err("version: is not 1 to 100 bytes long".into());
    }
    let version: Arc<str> = raw.version.into();
    let mut models = BTreeMap::new();
    for (key, entry) in raw.models {
        let at = format!("models.{key}");
        check_key(&key).map_err(|e| format!("{at}: {e}"))?;
        let entry = entry.checked(&version).map_err(|e| format!("{at}.{e}"))?;
        if models.insert(key.to_lowercase(), entry).is_some() {
            return Err(format!("{at}: is there twice, but for upper and lower case"));
        }
    }
    Ok(File { models })
}

fn check_key(key: &str) -> Result<(), &'static str> {
    let Some((seller, model)) = key.split_once('/') else { return Err("is not of the form seller/model") };
    if seller.is_empty() || model.is_empty() || key.len() > 300 {
        return Err("is not of the form seller/model");
    }
    if model.matches('*').count() > 1 || (seller != "*" && seller.contains('*')) {
        return Err("has more than one \"*\", or one inside the seller's name");
    }
    Ok(())
}

impl RawEntry {
    fn checked(self, version: &Arc<str>) -> Result<Entry, String> {
        for (field, tokens) in [("window", self.window), ("max_output", self.max_output)] {
            if tokens.is_some_and(|t| t == 0 || t > MAX_TOKENS) {
                return Err(format!("{field}: is not between 1 and {MAX_TOKENS}"));
            }
        }
        let mut prices: Vec<Price> = Vec::new();
        for (n, raw) in self.prices.into_iter().enumerate() {
            let price = raw.checked(version).map_err(|e| format!("prices[{n}].{e}"))?;
            if prices.last().is_some_and(|before| before.from > price.from) {
                return Err(format!("prices[{n}].from: is before the price above it"));
            }
            prices.push(price);
        }
        let Self { window, max_output, can, deprecated, successor, .. } = self;
        Ok(Entry { window, max_output, can, deprecated, successor, prices })
    }
}

impl RawPrice {
    fn checked(self, version: &Arc<str>) -> Result<Price, String> {
        // What has no price of its own costs what it is a part of.
        let rates = Rates {
            input: self.input,
            cached_input: self.cached_input.unwrap_or(self.input),
            cache_write: self.cache_write.unwrap_or(self.input),
            output: self.output,
            reasoning: self.reasoning.unwrap_or(self.output),
            image: self.image.unwrap_or(self.input),
        };
        rates.check()?;
        let above = match &self.above {
            None => None,
            Some(above) => {
                let higher = above.over(&rates, &self);
                higher.check().map_err(|e| format!("above.{e}"))?;
                Some((above.tokens, higher))
            }
        };
        let version = self.version.map_or_else(|| version.clone(), Arc::from);
        Ok(Price { version, from: self.from, rates, above })
    }
}

impl RawAbove {
    fn over(&self, base: &Rates, price: &RawPrice) -> Rates {
        let input = self.input.unwrap_or(base.input);
        let output = self.output.unwrap_or(base.output);
        // A rate that follows another one below the limit follows it above the limit too.
        let pick = |own: Option<i64>, apart: Option<i64>, whole: i64| own.or(apart).unwrap_or(whole);
        Rates {
            input,
            cached_input: pick(self.cached_input, price.cached_input, input),
            cache_write: pick(self.cache_write, price.cache_write, input),
            output,
            reasoning: pick(self.reasoning, price.reasoning, output),
            image: pick(self.image, price.image, input),
        }
    }
}

impl Rates {
    fn check(&self) -> Result<(), String> {
        let all = [
            ("input", self.input),
            ("cached_input", self.cached_input),
            ("cache_write", self.cache_write),
            ("output", self.output),
            ("reasoning", self.reasoning),
            ("image", self.image),
        ];
        match all.iter().find(|(_, rate)| !(0..=MAX_RATE).contains(rate)) {
            Some((field, rate)) => {
                Err(format!("{field}: {rate} is not between 0 and {MAX_RATE} micro-dollars for a million tokens"))
            }
            None => Ok(()),
        }
    }
}

fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
    let text = String::deserialize(deserializer)?;
    Date::parse(&text, format_description!("[year]-[month]-[day]"))
        .map_err(|_| serde::de::Error::custom(format!("\"{text}\" is not a day like 2026-11-25")))
}

fn day_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
    day(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(entry: &str) -> Result<File, String> {
        read(&format!("{{\"version\":\"t\",\n\"models\":{{\n\"a/b\":{entry}\n}}}}"))
    }

    #[test]
    fn rates_that_are_not_told_follow_what_they_are_a_part_of() {
        let file = with(
            r#"{"prices":[{"from":"2026-01-01","input":10,"output":20,"cached_input":1,"above":{"tokens":5,"input":100,"output":200}}]}"#,
        )
        .unwrap();
        let price = &file.models["a/b"].prices[0];
        let base = Rates { input: 10, cached_input: 1, cache_write: 10, output: 20, reasoning: 20, image: 10 };
        assert_eq!((price.rates, price.version.as_ref()), (base, "t"));
        let higher = Rates { input: 100, cached_input: 1, cache_write: 100, output: 200, reasoning: 200, image: 100 };
        assert_eq!(price.above, Some((5, higher)));
    }

    #[test]
    fn errors_say_where() {
        let price = |more: &str| format!(r#"{{"prices":[{{"from":"2026-01-01","input":1,"output":1{more}}}]}}"#);
        let cases = [
            (r#"{"window":"big"}"#.to_owned(), ["models.a/b.window", "line 3"]),
            (r#"{"windows":1}"#.to_owned(), ["models.a/b", "windows"]),
            (r#"{"window":0}"#.to_owned(), ["models.a/b.window", "between 1"]),
            (r#"{"can":["fly"]}"#.to_owned(), ["models.a/b.can[0]", "fly"]),
            (r#"{"deprecated":"soon"}"#.to_owned(), ["models.a/b.deprecated", "\"soon\" is not a day"]),
            (r#"{"prices":[{"from":"2026-01-01","input":1}]}"#.to_owned(), ["models.a/b.prices[0]", "output"]),
            (price(r#","image":-1"#), ["models.a/b.prices[0].image", "-1 is not between"]),
            (price(r#","above":{"tokens":1,"input":-1}"#), ["models.a/b.prices[0].above.input", "-1"]),
            (price(r#"},{"from":"2025-01-01","input":1,"output":1"#), ["models.a/b.prices[1].from", "before"]),
            (r#"{"window":1"#.to_owned(), ["line 4", "EOF"]),
        ];
        for (entry, wanted) in cases {
            let error = with(&entry).unwrap_err();
            assert!(wanted.iter().all(|w| error.contains(w)), "{entry}: {error}");
        }
    }

    #[test]
    fn keys_name_a_seller_and_a_model() {
        let key = |key: &str| read(&format!(r#"{{"version":"t","models":{{"{key}":{{}}}}}}"#)).map(|_| ());
        for good in ["a/b", "a/b/c", "*/b*", "a/*", "a/*:free"] {
            key(good).unwrap();
        }
        for bad in ["a", "/b", "a/", "a*/b", "a/*b*"] {
            let error = key(bad).unwrap_err();
            assert!(error.contains(bad), "{bad}: {error}");
        }
        let twice = r#"{"version":"t","models":{"a/b":{},"A/B":{}}}"#;
        assert!(read(twice).unwrap_err().contains("twice"));
    }
}
