//! How long a provider wants to be left alone: in headers of many spellings, and in its words.

use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);
/// The limits that providers count down in headers of their own: what is left of each, and when it is whole again.
const LIMITS: [(&str, &str); 6] = [
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
];

/// The wait that the headers name: `Retry-After` in seconds or as a date, or OpenAI's `retry-after-ms`.
pub(super) fn named(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    if let Some(ms) = text(headers, "retry-after-ms").and_then(|v| v.parse::<f64>().ok()) {
        return seconds(ms / 1000.0);
    }
    let value = text(headers, RETRY_AFTER.as_str())?;
    value.parse().ok().map_or_else(|| until(OffsetDateTime::parse(value, &Rfc2822).ok()?, now), seconds)
}

/// The time until the last of the spent limits is whole again.
pub(super) fn of_limits(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let spent = LIMITS.iter().filter(|(left, _)| text(headers, left).is_some_and(|left| left == "0"));
    let reset = |name: &str| {
        let value = text(headers, name)?;
        let time = OffsetDateTime::parse(value, &Rfc3339).ok();
        time.map_or_else(|| duration(value), |time| until(time, now))
    };
    spent.filter_map(|(_, name)| reset(name)).max()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim)
}

/// What a message says, for people: "Please try again in 1m30s.", "retry after 6 seconds".
pub(super) fn of_message(message: &str) -> Option<Duration> {
    static WAIT: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?i)\b(?:try again|retry) (?:in|after) (\d[\d.]*(?:[dhms][\d.dhms]*| seconds?))\b").ok());
    let said = WAIT.as_ref()?.captures(message)?.get(1)?.as_str();
    let value = said.split(' ').next()?;
    duration(value).or_else(|| seconds(value.parse().ok()?))
}

/// A duration as Go writes it: "1s", "6m0s", "7.66s", "20ms".
fn duration(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (0.0, text);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * unit;
        rest = after;
    }
    seconds(total)
}

fn until(time: OffsetDateTime, now: OffsetDateTime) -> Option<Duration> {
    seconds((time - now).as_seconds_f64().max(0.0))
}

/// So many seconds, when that is a time to wait.
pub(super) fn seconds(value: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(value).ok().map(|d| d.min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2025-07-20 10:00:00 UTC);

    fn read(headers: &[(&'static str, &str)]) -> Option<f64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        named(&map, NOW).or_else(|| of_limits(&map, NOW)).map(|d| d.as_secs_f64())
    }

    #[test]
    fn a_wait_by_name_comes_in_three_spellings() {
        assert_eq!(read(&[("retry-after", "7")]), Some(7.0));
        assert_eq!(read(&[("retry-after", "7"), ("retry-after-ms", "250")]), Some(0.25));
        assert_eq!(read(&[("retry-after", "Sun, 20 Jul 2025 10:00:09 GMT")]), Some(9.0));
        assert_eq!(read(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]), Some(0.0));
        for nonsense in ["soon", "-1", "1e300"] {
            assert_eq!(read(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn limits_that_are_spent_say_when_they_are_whole_again() {
        let (requests, tokens) = ("x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens");
        let (requests_reset, tokens_reset) = ("x-ratelimit-reset-requests", "x-ratelimit-reset-tokens");
        assert_eq!(read(&[(requests, "0"), (requests_reset, "1s"), (tokens, "149984"), (tokens_reset, "6m0s")]), Some(1.0));
        assert_eq!(read(&[(requests, "59"), (requests_reset, "1s"), (tokens, "0"), (tokens_reset, "6m0s")]), Some(360.0));
        assert_eq!(read(&[(requests, "0"), (requests_reset, "1s"), (tokens, "0"), (tokens_reset, "20ms")]), Some(1.0));
        assert_eq!(read(&[(requests, "1"), (requests_reset, "1s")]), None, "nothing is spent");
        assert_eq!(read(&[(requests, "0"), (requests_reset, "1s"), ("retry-after", "3")]), Some(3.0), "a wait by name");
        let (left, reset) = ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset");
        assert_eq!(read(&[(left, "0"), (reset, "2025-07-20T10:00:42Z")]), Some(42.0));
        let other = ("anthropic-ratelimit-requests-reset", "2025-07-20T10:30:00Z");
        assert_eq!(read(&[(left, "0"), (reset, "2025-07-20T10:00:42Z"), other]), Some(42.0), "that one is not spent");
        assert_eq!(read(&[(left, "0"), (reset, "later")]), None);
    }

    #[test]
    fn words_say_it_too() {
        for (message, wanted) in [
            ("Rate limit reached: Limit 3, Used 3. Please try again in 20s. Visit x", Some(20.0)),
            ("Please try again in 7.66s.", Some(7.66)),
            ("Please try again in 1m30.5s. Need more?", Some(90.5)),
            ("Please try again in 6ms.", Some(0.006)),
            ("Please retry after 6 seconds.", Some(6.0)),
            ("Please retry in 34.07s.", Some(34.07)),
            ("Please try again later.", None),
            ("try again in 5 minutes", None),
            ("try again after 2025-01-01", None),
        ] {
            assert_eq!(of_message(message).map(|d| d.as_secs_f64()), wanted, "{message}");
        }
    }
}
