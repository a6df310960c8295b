//! A provider's refusals read: from a status with a body, or from an error inside a stream, to a kind with advice.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::Endpoint;
use crate::error::{Kind, ProviderError};

const MAX_MESSAGE: usize = 400;
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// An answer with a status other than success.
pub(super) fn from_response(at: &Endpoint, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let said = parsed.as_ref().map(Said::of).unwrap_or_default();
    let kind = kind_of(status.as_u16(), &said);
    let text = if said.message.is_empty() { plain_text(body) } else { said.message.clone() };
    let reason = status.canonical_reason().map(|r| format!(" {r}")).unwrap_or_default();
    let answered = format!("answered {}{reason}", status.as_u16());
    let message = if text.is_empty() { answered } else { format!("{answered}: {text}") };
    let mut error = at.error(kind, tidy(&message, at.key.as_ref()));
    error.retry_after = retry_after(headers).or(said.retry_after);
    error
}

/// An error object inside a stream whose status was success.
pub(crate) fn from_stream(at: &Endpoint, error: &Value) -> ProviderError {
    let said = Said::of(error);
    // OpenRouter puts the status that it would have been into `code`.
    let status = said.code.parse().ok().filter(|s| (400..600).contains(s)).unwrap_or(0);
    let message = if said.message.is_empty() { "failed in the middle of its answer" } else { &said.message };
    let mut error = at.error(kind_of(status, &said), tidy(message, at.key.as_ref()));
    error.retry_after = said.retry_after;
    error
}

/// What providers put into their error objects.
#[derive(Default)]
struct Said {
    message: String,
    // OpenAI's `code`; Gemini's number.
    code: String,
    // OpenAI's and Anthropic's `type`; Gemini's `status`.
    kind: String,
    // Gemini's `details[].reason`.
    reason: String,
    moderated: bool,
    retry_after: Option<Duration>,
}

impl Said {
    fn of(value: &Value) -> Self {
        // Gemini sends a list of one where it streams.
        let value = value.get(0).unwrap_or(value);
        let error = value.get("error").unwrap_or(value);
        let text = |v: Option<&Value>| match v {
            Some(Value::String(s)) => s.clone(),
            Some(Value::Number(n)) => n.to_string(),
            _ => String::new(),
        };
        if let Value::String(message) = error {
            return Self { message: message.clone(), ..Self::default() };
        }
        let first = |keys: &[&str]| keys.iter().map(|k| text(error.get(k))).find(|m| !m.is_empty()).unwrap_or_default();
        let detail = |key: &str| error.get("details")?.as_array()?.iter().find_map(|d| d.get(key));
        Self {
            message: first(&["message", "detail", "error_description"]),
            code: first(&["code", "statusCode"]),
            kind: first(&["type", "status"]),
            reason: text(detail("reason")),
            moderated: error.pointer("/metadata/reasons").is_some(),
            retry_after: detail("retryDelay")
                .and_then(Value::as_str)
                .and_then(|d| d.trim_end_matches('s').parse().ok())
                .and_then(seconds),
        }
    }
}

const NO_CREDIT: [&str; 7] = [
    "insufficient_quota",
    "insufficient credit",
    "billing_hard_limit",
    "billing_error",
    "exceeded your current quota",
    "insufficient balance",
    "credit balance is too low",
];
const TOO_LONG: [&str; 8] = [
    "context_length_exceeded",
    "maximum context length",
    "context window",
    "context size",
    "prompt is too long",
    "too many tokens",
    "input token count",
    "exceeds the maximum number of tokens",
];
const REFUSED: [&str; 6] =
    ["content_filter", "content_policy", "content management policy", "responsibleaipolicyviolation", "flagged by", "moderation"];

fn kind_of(status: u16, said: &Said) -> Kind {
    let all = format!("{} {} {} {}", said.code, said.kind, said.reason, said.message).to_ascii_lowercase();
    let says = |marks: &[&str]| marks.iter().any(|m| all.contains(m));
    // The names first: providers disagree about statuses.
    if says(&["api_key_invalid", "api key not valid"]) {
        return Kind::Auth;
    }
    // Gemini says the same of a limit a minute as others of an empty purse.
    let a_limit = said.kind == "RESOURCE_EXHAUSTED";
    if says(&NO_CREDIT) && !a_limit {
        return Kind::CreditExhausted;
    }
    if matches!(status, 0 | 400 | 413 | 422 | 500) && says(&TOO_LONG) {
        return Kind::ContextTooLong;
    }
    if said.moderated || says(&REFUSED) {
        return Kind::ContentRefused;
    }
    if says(&["model_not_found", "deploymentnotfound", "is not a valid model"]) {
        return Kind::ModelNotFound;
    }
    match status {
        0 => kind_by_name(&says),
        401 | 403 => Kind::Auth,
        402 => Kind::CreditExhausted,
        404 if says(&["model"]) => Kind::ModelNotFound,
        408 | 504 => Kind::TimeoutBeforeAnswer,
        413 => Kind::ContextTooLong,
        429 => Kind::RateLimited,
        300..=499 => Kind::BadRequest,
        _ => Kind::Server,
    }
}

// An error that comes inside a stream has no status of its own.
fn kind_by_name(says: &impl Fn(&[&str]) -> bool) -> Kind {
    if says(&["rate_limit", "rate limit", "resource_exhausted"]) {
        Kind::RateLimited
    } else if says(&["invalid_api_key", "authentication", "permission"]) {
        Kind::Auth
    } else if says(&["not_found_error"]) {
        Kind::ModelNotFound
    } else if says(&["request_too_large"]) {
        Kind::ContextTooLong
    } else if says(&["timeout_error"]) {
        Kind::TimeoutBetweenDeltas
    } else if says(&["invalid_request", "invalid_argument"]) {
        Kind::BadRequest
    } else {
        Kind::Server
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
    use crate::provider::http::testing::endpoint;

    fn read(status: u16, body: &str) -> ProviderError {
        from_response(&endpoint(""), StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
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
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
                Kind::CreditExhausted,
            ),
            (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Kind::Server),
            (404, r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-0"}}"#, Kind::ModelNotFound),
            (
                400,
                r#"[{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"API key not valid.","details":[{"reason":"API_KEY_INVALID"}]}}]"#,
                Kind::Auth,
            ),
            (
                429,
                r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"You exceeded your current quota"}}"#,
                Kind::RateLimited,
            ),
            (
                400,
                r#"{"error":{"code":"content_filter","message":"filtered","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
                Kind::ContentRefused,
            ),
            (
                404,
                r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment does not exist"}}"#,
                Kind::ModelNotFound,
            ),
            (401, r#"{"statusCode":401,"message":"Unauthorized. Access token is missing"}"#, Kind::Auth),
        ];
        for (status, body, kind) in cases {
            assert_eq!(read(status, body).kind, kind, "{status} {body}");
        }
    }

    #[test]
    fn errors_inside_a_stream_are_read_too() {
        let kind = |v: Value| from_stream(&endpoint(""), &v).kind;
        assert_eq!(kind(json!({"error": {"message": "Rate limit", "code": 429}})), Kind::RateLimited);
        assert_eq!(kind(json!({"error": {"message": "x", "type": "rate_limit_exceeded"}})), Kind::RateLimited);
        assert_eq!(kind(json!({"error": {"message": "x", "type": "server_error"}})), Kind::Server);
        assert_eq!(kind(json!({"error": "overloaded"})), Kind::Server);
        assert_eq!(kind(json!({"type": "overloaded_error", "message": "Overloaded"})), Kind::Server);
        assert_eq!(kind(json!({"type": "authentication_error", "message": "x"})), Kind::Auth);
    }

    #[test]
    fn a_wait_may_stand_in_the_body() {
        let body = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"x","details":[{"retryDelay":"34.5s"}]}}"#;
        assert_eq!(read(429, body).retry_after, Some(Duration::from_millis(34_500)));
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
        let body = format!(r#"{{"error":{{"message":"bad key sk-1234567890\n{}"}}}}"#, "x".repeat(5000));
        let at = endpoint("sk-1234567890");
        let error = from_response(&at, StatusCode::UNAUTHORIZED, &HeaderMap::new(), body.as_bytes());
        assert!(!error.message.contains("sk-1234567890"));
        assert!(error.message.chars().count() <= MAX_MESSAGE + 1);
        assert!(!error.message.contains('\n'));
    }
}
