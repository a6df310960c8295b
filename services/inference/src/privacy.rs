//! What leaves to a provider: secrets are taken out of every text of a request before anything else is done with it, so
//! that neither the provider nor a log, a trace or a recording ever holds them. What was taken out stays out of the answer.

use slipway_secrets::{AllowError, Scanner};

use crate::error::Error;
use crate::model::Request;
use crate::settings::PrivacySettings;

mod texts;

// A larger request is looked through on a thread of its own, so that other calls are not held up.
const INLINE_BYTES: usize = 64 << 10;

/// The rules in force.
pub(crate) struct Privacy {
    redact: bool,
    scanner: Scanner,
}

impl Privacy {
    /// The rules of the settings.
    pub(crate) fn new(settings: &PrivacySettings) -> Result<Self, AllowError> {
        Ok(Self { redact: settings.redact, scanner: Scanner::allowing(&settings.allow)? })
    }

    /// The request as it may leave.
    pub(crate) async fn screen(&self, request: Request) -> Result<Request, Error> {
        if !self.redact {
            return Ok(request);
        }
        let scanner = self.scanner.clone();
        if texts::size(&request) <= INLINE_BYTES {
            return Ok(redacted(&scanner, request));
        }
        tokio::task::spawn_blocking(move || redacted(&scanner, request)).await.map_err(|_| Error::Screening)
    }
}

fn redacted(scanner: &Scanner, mut request: Request) -> Request {
    texts::rewrite(&mut request, &mut |text| scanner.redact(text));
    request
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{JsonFormat, Message, Role, Tool, ToolCall};

    fn secret() -> String {
        format!("{}_{}", "ghp", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8")
    }

    fn request() -> Request {
        let secret = secret();
        let call =
            ToolCall { id: "1".into(), name: "write".into(), arguments: json!({"text": format!("a\n{secret}")}).to_string() };
        let schema = json!({"type": "object", "properties": {"key": {"default": secret}}});
        Request {
            messages: vec![
                Message::new(Role::System, format!("use {secret}")),
                Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "") },
                Message::new(Role::Tool, format!("TOKEN={secret}\n")),
            ],
            tools: vec![Tool { name: "write".into(), description: format!("like {secret}"), parameters: schema.clone() }],
            json: Some(JsonFormat { name: "answer".into(), schema, strict: false }),
            ..Request::default()
        }
    }

    #[tokio::test]
    async fn nothing_of_a_request_holds_a_secret() {
        let privacy = Privacy::new(&PrivacySettings::default()).unwrap();
        let screened = privacy.screen(request()).await.unwrap();
        assert!(!format!("{screened:?}").contains(&secret()), "{screened:?}");
        let arguments: serde_json::Value = serde_json::from_str(&screened.messages[1].tool_calls[0].arguments).unwrap();
        assert_eq!(arguments["text"], "a\n[REDACTED:github-pat]");
    }

    #[tokio::test]
    async fn large_requests_are_screened_too() {
        let privacy = Privacy::new(&PrivacySettings::default()).unwrap();
        let text = "nothing to see here\n".repeat(5_000) + &secret();
        let request = Request { messages: vec![Message::new(Role::User, text)], ..Request::default() };
        let screened = privacy.screen(request).await.unwrap();
        assert!(screened.messages[0].text.ends_with("here\n[REDACTED:github-pat]"));
    }

    #[tokio::test]
    async fn settings_turn_it_off_and_allow() {
        let off = PrivacySettings { redact: false, ..PrivacySettings::default() };
        let allowing = PrivacySettings { allow: vec!["ghp_.*".into()], ..PrivacySettings::default() };
        for settings in [off, allowing] {
            let screened = Privacy::new(&settings).unwrap().screen(request()).await.unwrap();
            assert!(screened.messages[0].text.contains(&secret()));
        }
    }
}
