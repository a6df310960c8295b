//! A provider's refusals read: from a status with a body, or from an error inside a stream, to a kind with advice.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::error::{Kind, ProviderError};

const MAX_MESSAGE: usize = 400;
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// An answer with a status other than success.
pub(super) fn from_response(
    provider: &str,
    key: Option<&SecretString>,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> ProviderError {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let said = parsed.as_ref().map(Said::of).unwrap_or_default();
    let kind = kind_of(status.as_u16(), &said);
    let text = if said.message.is_empty() { plain_text(body) } else { said.message.clone() };
    let message = if text.is_empty() { format!("answered {status}") } else { format!("answered {status}: {text}") };
    let mut error = ProviderError::new(kind, provider, tidy(&message, key));
    error.retry_after = retry_after(headers);
    error
}

/// An error object inside a stream whose status was success.
pub(super) fn from_stream(provider: &str, key: Option<&SecretString>, error: &Value) -> ProviderError {
    let said = Said::of(error);
    // OpenRouter puts the status that it would have been into `code`.
    let status = said.code.parse().ok().filter(|s| (400..600).contains(s)).unwrap_or(0);
    let message = if said.message.is_empty() { "failed in the middle of its answer" } else { &said.message };
    ProviderError::new(kind_of(status, &said), provider, tidy(message, key))
}

/// What providers put into their error objects.
#[derive(Default)]
struct Said {
    message: String,
    code: String,
    kind: String,
    moderated: bool,
}

impl Said {
    fn of(value: &Value) -> Self {
        let error = value.get("error").unwrap_or(value);
        let text = |v: Option<&Value>| match v {
            Some(Value::String(s)) => s.clone(),
            Some(Value::Number(n)) => n.to_string(),
            _ => String::new(),
        };
        if let Value::String(message) = error {
            return Self { message: message.clone(), ..Self::default() };
        }
        let message = ["message", "detail", "error_description"].iter().map(|k| text(error.get(k))).find(|m| !m.is_empty());
        Self {
            message: message.unwrap_or_default(),
            code: text(error.get("code")),
            kind: text(error.get("type")),
            moderated: error.pointer("/metadata/reasons").is_some(),
        }
    }
}

fn kind_of(status: u16, said: &Said) -> Kind {
    let all = format!("{} {} {}", said.code, said.kind, said.message).to_ascii_lowercase();
    let says = |marks: &[&str]| marks.iter().any(|m| all.contains(m));
    // The names first: providers disagree about statuses.
    if says(&[
        "insufficient_quota",
        "insufficient credit",
        "billing_hard_limit",
        "exceeded your current quota",
        "insufficient balance",
    ]) {
        return Kind::CreditExhausted;
    }
    let too_long = [
        "context_length_exceeded",
        "maximum context length",
        "context window",
        "context size",
        "prompt is too long",
        "too many tokens",
    ];
    if matches!(status, 0 | 400 | 413 | 422 | 500) && says(&too_long) {
        return Kind::ContextTooLong;
    }
    if said.moderated || says(&["content_filter", "content_policy", "content management policy", "flagged by", "moderation"]) {
        return Kind::ContentRefused;
    }
    if says(&["model_not_found"]) {
        return Kind::ModelNotFound;
    }
    match status {
        401 | 403 => Kind::Auth,
        402 => Kind::CreditExhausted,
        404 if says(&["model"]) => Kind::ModelNotFound,
        408 | 504 => Kind::TimeoutBeforeAnswer,
        413 => Kind::ContextTooLong,
        429 => Kind::RateLimited,
        300..=499 => Kind::BadRequest,
        0 if says(&["rate_limit", "rate limit"]) => Kind::RateLimited,
        0 if says(&["invalid_api_key", "authentication"]) => Kind::Auth,
        0 if says(&["invalid_request"]) => Kind::BadRequest,
        _ => Kind::Server,
    }
}

/// `Retry-After` in seconds or as a date, or OpenAI's `retry-after-ms`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|v| v.parse::<f64>().ok()) {
        return seconds(ms / 1000.0);
    }
    let value = text(RETRY_AFTER.as_str())?;
    if let Ok(value) = value.parse::<f64>() {
        return seconds(value);
    }
    let until = OffsetDateTime::parse(value, &Rfc2822).ok()?;
    seconds((until - OffsetDateTime::now_utc()).as_seconds_f64().max(0.0))
}

fn seconds(value: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(value).ok().map(|d| d.min(MAX_WAIT))
}

// The first line of a body that is not JSON, unless it is a web page.
fn plain_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(2048)]);
    let text = text.trim();
    if text.starts_with('<') { String::new() } else { text.lines().next().unwrap_or_default().to_owned() }
}

/// One line, not too long, without our key.
fn tidy(message: &str, key: Option<&SecretString>) -> String {
    let mut text: String = message.split_whitespace().collect::<Vec<_>>().join(" ");
    text.retain(|c| !c.is_control());
    if let Some(key) = key.map(|k| k.expose_secret()).filter(|k| k.len() >= 8) {
        text = text.replace(key, "***");
    }
    if text.chars().count() > MAX_MESSAGE {
        text = text.chars().take(MAX_MESSAGE).chain(['…']).collect();
    }
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(status: u16, body: &str) -> ProviderError {
        from_response("p", None, StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn statuses_and_names_become_kinds() {
        let cases = [
            (401, r#"{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}"#, Kind::Auth),
            (402, r#"{"error":{"message":"Insufficient credits","code":402}}"#, Kind::CreditExhausted),
            (403, r#"{"error":{"message":"no","code":403,"metadata":{"reasons":["violence"]}}}"#, Kind::ContentRefused),
            (403, "", Kind::Auth),
            (429, r#"{"error":{"message":"slow down","type":"requests"}}"#, Kind::RateLimited),
            (429, r#"{"error":{"message":"x","code":"insufficient_quota"}}"#, Kind::CreditExhausted),
            (400, r#"{"error":{"message":"This model's maximum context length is 8192 tokens"}}"#, Kind::ContextTooLong),
            (400, r#"{"error":{"message":"bad","code":"content_filter"}}"#, Kind::ContentRefused),
            (400, r#"{"error":{"message":"unknown field"}}"#, Kind::BadRequest),
            (400, r#"{"object":"error","message":"bad"}"#, Kind::BadRequest),
            (404, r#"{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}"#, Kind::ModelNotFound),
            (404, "<html>", Kind::BadRequest),
            (404, r#"{"error":"model 'x' not found"}"#, Kind::ModelNotFound),
            (500, "oops", Kind::Server),
            (529, "{}", Kind::Server),
            (504, "", Kind::TimeoutBeforeAnswer),
            (302, "", Kind::BadRequest),
        ];
        for (status, body, kind) in cases {
            assert_eq!(read(status, body).kind, kind, "{status} {body}");
        }
    }

    #[test]
    fn errors_inside_a_stream_are_read_too() {
        let kind = |v: Value| from_stream("p", None, &v).kind;
        assert_eq!(kind(json!({"error": {"message": "Rate limit", "code": 429}})), Kind::RateLimited);
        assert_eq!(kind(json!({"error": {"message": "x", "type": "rate_limit_exceeded"}})), Kind::RateLimited);
        assert_eq!(kind(json!({"error": {"message": "x", "type": "server_error"}})), Kind::Server);
        assert_eq!(kind(json!({"error": "overloaded"})), Kind::Server);
    }

    #[test]
    fn retry_after_comes_in_three_spellings() {
        let read = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(read("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(read("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(read("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("retry-after", "soon"), None);
        assert_eq!(read("retry-after", "-1"), None);
        assert_eq!(read("retry-after", "1e300"), None);
    }

    #[test]
    fn messages_are_short_and_hold_no_key() {
        let key = SecretString::from("sk-1234567890");
        let body = format!(r#"{{"error":{{"message":"bad key sk-1234567890\n{}"}}}}"#, "x".repeat(5000));
        let error = from_response("p", Some(&key), StatusCode::UNAUTHORIZED, &HeaderMap::new(), body.as_bytes());
        assert!(!error.message.contains("sk-1234567890"));
        assert!(error.message.chars().count() <= MAX_MESSAGE + 1);
        assert!(!error.message.contains('\n'));
    }
}
