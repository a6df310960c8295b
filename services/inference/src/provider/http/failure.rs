//! A provider's refusals read: from a status with a body, or from an error inside a stream, to a kind with advice.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use time::OffsetDateTime;

use super::Endpoint;
use crate::error::{Kind, ProviderError, Size};

mod kind;
pub(super) mod network;
mod size;
mod wait;

use kind::kind_of;

const MAX_MESSAGE: usize = 400;

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
    let now = OffsetDateTime::now_utc();
    let of_limits = || wait::of_limits(headers, now).filter(|_| kind == Kind::RateLimited);
    error.retry_after = wait::named(headers, now).or_else(of_limits).or_else(|| said.wait(kind));
    error.size = said.size(kind);
    error
}

/// An error object inside a stream whose status was success.
pub(crate) fn from_stream(at: &Endpoint, error: &Value) -> ProviderError {
    let said = Said::of(error);
    // OpenRouter puts the status that it would have been into `code`.
    let status = said.code.parse().ok().filter(|s| (400..600).contains(s)).unwrap_or(0);
    let message = if said.message.is_empty() { "failed in the middle of its answer" } else { &said.message };
    let kind = kind_of(status, &said);
    let mut error = at.error(kind, tidy(message, at.key.as_ref()));
    error.retry_after = said.wait(kind);
    error.size = said.size(kind);
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
    size: Size,
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
            return Self { message: message.clone(), size: size::of(None, message), ..Self::default() };
        }
        let first = |keys: &[&str]| keys.iter().map(|k| text(error.get(k))).find(|m| !m.is_empty()).unwrap_or_default();
        let detail = |key: &str| error.get("details")?.as_array()?.iter().find_map(|d| d.get(key));
        let message = first(&["message", "detail", "error_description"]);
        Self {
            code: first(&["code", "statusCode"]),
            kind: first(&["type", "status"]),
            reason: text(detail("reason")),
            moderated: error.pointer("/metadata/reasons").is_some(),
            retry_after: detail("retryDelay")
                .and_then(Value::as_str)
                .and_then(|d| d.trim_end_matches('s').parse().ok())
                .and_then(wait::seconds),
            size: size::of(Some(error), &message),
            message,
        }
    }

    /// How long to wait, when waiting helps.
    fn wait(&self, kind: Kind) -> Option<Duration> {
        let helps = matches!(kind, Kind::RateLimited | Kind::Overloaded);
        self.retry_after.or_else(|| wait::of_message(&self.message).filter(|_| helps))
    }

    /// Sizes of a request that is too long.
    fn size(&self, kind: Kind) -> Option<Box<Size>> {
        let told = kind == Kind::ContextTooLong && self.size != Size::default();
        told.then(|| Box::new(self.size))
    }
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
    fn an_error_inside_a_stream_may_bring_its_status() {
        let kind = |v: Value| from_stream(&endpoint(""), &v).kind;
        assert_eq!(kind(json!({"error": {"message": "Rate limit", "code": 429}})), Kind::RateLimited);
        assert_eq!(kind(json!({"error": {"message": "x", "code": 403}})), Kind::Permission);
        assert_eq!(kind(json!({"error": {"message": "x", "code": "42"}})), Kind::Server);
    }

    #[test]
    fn a_wait_may_stand_in_the_body() {
        let body = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"x","details":[{"retryDelay":"34.5s"}]}}"#;
        assert_eq!(read(429, body).retry_after, Some(Duration::from_millis(34_500)));
    }

    #[test]
    fn a_wait_in_words_is_one_where_waiting_helps() {
        let body = r#"{"error":{"message":"Rate limit reached. Please try again in 1.2s.","code":"rate_limit_exceeded"}}"#;
        assert_eq!(read(429, body).retry_after, Some(Duration::from_millis(1_200)));
        assert_eq!(read(401, r#"{"error":{"message":"bad key, try again in 5s"}}"#).retry_after, None);
    }

    #[test]
    fn sizes_are_told_of_what_is_too_long() {
        let body =
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}"#;
        assert_eq!(read(400, body).size.as_deref(), Some(&Size { limit: Some(8), sent: Some(9) }));
        let silent = r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#;
        assert_eq!((read(400, silent).kind, read(400, silent).size), (Kind::ContextTooLong, None));
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
