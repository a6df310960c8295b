//! The kind of a refusal: by the names that providers give it, then by its status. Providers disagree about statuses.

use super::Said;
use crate::error::Kind;

const BAD_KEY: [&str; 4] = ["api_key_invalid", "api key not valid", "reported as leaked", "unregistered callers"];
const NO_CREDIT: [&str; 7] = [
    "insufficient_quota",
    "insufficient credit",
    "billing_hard_limit",
    "billing_error",
    "exceeded your current quota",
    "insufficient balance",
    "credit balance is too low",
];
const TOO_LONG: [&str; 12] = [
    "context_length_exceeded",
    "context length",
    "context window",
    "context size",
    "context limit",
    "maximum prompt length",
    "prompt is too long",
    "input is too long",
    "too many tokens",
    "input token count",
    "input tokens exceed",
    "exceeds the maximum number of tokens",
];
const REFUSED: [&str; 6] =
    ["content_filter", "content_policy", "content management policy", "responsibleaipolicyviolation", "flagged by", "moderation"];
const NO_RIGHT: [&str; 7] = [
    "permission_error",
    "permission_denied",
    "permissiondenied",
    "does not have access",
    "not have permission",
    "not authorized to access",
    "model access denied",
];
const NO_MODEL: [&str; 3] = ["model_not_found", "deploymentnotfound", "is not a valid model"];
const OVERLOADED: [&str; 6] = ["overloaded", "capacity", "server busy", "server is busy", "high demand", "unavailable"];

/// What a refusal is; a status of 0 is that of an error inside a stream.
pub(super) fn kind_of(status: u16, said: &Said) -> Kind {
    let all = format!("{} {} {} {}", said.code, said.kind, said.reason, said.message).to_ascii_lowercase();
    let says = |marks: &[&str]| marks.iter().any(|m| all.contains(m));
    if status == 401 || says(&BAD_KEY) {
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
    // OpenAI gives a model that is there, but not for this key, the code of one that is not.
    if matches!(status, 0 | 400 | 403 | 404) && says(&NO_RIGHT) {
        return Kind::Permission;
    }
    if says(&NO_MODEL) {
        return Kind::ModelNotFound;
    }
    if is_overloaded(status, &says) {
        return Kind::Overloaded;
    }
    match status {
        0 => kind_by_name(&says),
        402 => Kind::CreditExhausted,
        403 => Kind::Permission,
        404 if says(&["model"]) => Kind::ModelNotFound,
        408 | 504 => Kind::TimeoutBeforeAnswer,
        413 => Kind::ContextTooLong,
        429 => Kind::RateLimited,
        300..=499 => Kind::BadRequest,
        _ => Kind::Server,
    }
}

/// The provider has too much to do, whoever asks; a limit of ours is another thing, and may be called the same.
fn is_overloaded(status: u16, says: &impl Fn(&[&str]) -> bool) -> bool {
    match status {
        503 | 529 => true,
        0 | 429 => says(&OVERLOADED) && !says(&["rate limit", "rate_limit"]),
        498 | 500..=599 => says(&OVERLOADED),
        _ => false,
    }
}

// An error that comes inside a stream has no status of its own.
fn kind_by_name(says: &impl Fn(&[&str]) -> bool) -> Kind {
    if says(&["rate_limit", "rate limit", "resource_exhausted"]) {
        Kind::RateLimited
    } else if says(&["invalid_api_key", "authentication"]) {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kind(status: u16, body: &str) -> Kind {
        let parsed: Option<Value> = serde_json::from_str(body).ok();
        kind_of(status, &parsed.as_ref().map(Said::of).unwrap_or_default())
    }

    #[test]
    fn statuses_and_names_become_kinds() {
        let cases = [
            (401, r#"{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}"#, Kind::Auth),
            (401, r#"{"error":{"code":"PermissionDenied","message":"x does not have access to API/Operation"}}"#, Kind::Auth),
            (402, r#"{"error":{"message":"Insufficient credits","code":402}}"#, Kind::CreditExhausted),
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
            (502, r#"{"error":{"message":"Provider returned error","code":502}}"#, Kind::Server),
            (504, "", Kind::TimeoutBeforeAnswer),
            (302, "", Kind::BadRequest),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
                Kind::CreditExhausted,
            ),
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
        for (status, body, wanted) in cases {
            assert_eq!(kind(status, body), wanted, "{status} {body}");
        }
    }

    #[test]
    fn a_key_that_may_not_is_not_a_bad_key() {
        let cases = [
            (403, "", Kind::Permission),
            (403, r#"{"type":"error","error":{"type":"permission_error","message":"x"}}"#, Kind::Permission),
            (
                403,
                r#"{"error":{"message":"Project `p` does not have access to model `gpt-4o`","type":"invalid_request_error","code":"model_not_found"}}"#,
                Kind::Permission,
            ),
            (
                404,
                r#"{"error":{"message":"The model `x` does not exist or you do not have access to it.","code":"model_not_found"}}"#,
                Kind::ModelNotFound,
            ),
            (403, r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"no"}}"#, Kind::Permission),
            (
                403,
                r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"Your API key was reported as leaked."}}"#,
                Kind::Auth,
            ),
            (400, r#"{"error":{"message":"Model access denied","type":"invalid_request_error"}}"#, Kind::Permission),
            (403, r#"{"error":{"message":"no","code":403,"metadata":{"reasons":["violence"]}}}"#, Kind::ContentRefused),
        ];
        for (status, body, wanted) in cases {
            assert_eq!(kind(status, body), wanted, "{status} {body}");
        }
    }

    #[test]
    fn an_overloaded_provider_is_not_a_limit_of_ours() {
        let cases = [
            (529, "{}", Kind::Overloaded),
            (503, "", Kind::Overloaded),
            (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Kind::Overloaded),
            (503, r#"{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}"#, Kind::Overloaded),
            (503, r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#, Kind::Overloaded),
            (429, r#"{"error":{"code":"NoCapacity","message":"There is no capacity for this deployment"}}"#, Kind::Overloaded),
            (429, r#"{"error":{"code":"429","message":"The server is busy. Please try again later."}}"#, Kind::Overloaded),
            (429, r#"{"message":"Service tier capacity exceeded for this model."}"#, Kind::Overloaded),
            (500, r#"{"error":{"message":"That model is currently overloaded with other requests."}}"#, Kind::Overloaded),
            (429, r#"{"error":{"message":"Rate limit reached: the capacity of your tier"}}"#, Kind::RateLimited),
            (400, r#"{"error":{"message":"unknown field: capacity"}}"#, Kind::BadRequest),
        ];
        for (status, body, wanted) in cases {
            assert_eq!(kind(status, body), wanted, "{status} {body}");
        }
    }

    #[test]
    fn errors_inside_a_stream_have_no_status() {
        let kind = |v: Value| kind_of(0, &Said::of(&v));
        assert_eq!(kind(json!({"error": {"message": "x", "type": "rate_limit_exceeded"}})), Kind::RateLimited);
        assert_eq!(kind(json!({"error": {"message": "x", "type": "server_error"}})), Kind::Server);
        assert_eq!(kind(json!({"error": "overloaded"})), Kind::Overloaded);
        assert_eq!(kind(json!({"type": "overloaded_error", "message": "Overloaded"})), Kind::Overloaded);
        assert_eq!(kind(json!({"type": "authentication_error", "message": "x"})), Kind::Auth);
        assert_eq!(kind(json!({"type": "permission_error", "message": "x"})), Kind::Permission);
        assert_eq!(kind(json!({"type": "timeout_error", "message": "x"})), Kind::TimeoutBetweenDeltas);
    }
}
