//! How long a provider wants to be left alone: `Retry-After`, in seconds or as a date.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// The wait that the headers name; what cannot be read is none, what has passed is none to wait for.
pub(super) fn named(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => Some(Duration::try_from(OffsetDateTime::parse(value, &Rfc2822).ok()? - now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn seconds_and_dates_are_read() {
        let now = datetime!(2025-07-20 10:00:00 UTC);
        let read = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            named(&headers, now).map(|wait| wait.as_secs_f64())
        };
        assert_eq!(read("7"), Some(7.0));
        assert_eq!(read(" 0.5 "), Some(0.5));
        assert_eq!(read("Sun, 20 Jul 2025 10:00:09 GMT"), Some(9.0));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0.0));
        for nonsense in ["", "-1", "inf", "NaN", "soon", "2025-07-20"] {
            assert_eq!(read(nonsense), None, "{nonsense:?}");
        }
        assert_eq!(named(&HeaderMap::new(), now), None);
    }
}
