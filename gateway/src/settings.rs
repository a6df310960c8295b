//! The `[gateway]` settings: who may call, from which web pages, how often.

use std::collections::HashSet;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use slipway_bus::cells::KEPT;
use slipway_rpc::{FrontTlsSettings, Scope};
use uuid::Uuid;

/// Shorter secrets can be guessed.
const MIN_SECRET: usize = 24;

/// The front door.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Who may call. None: local mode, in which every caller on this machine is one local user with one default project,
    /// and only loopback addresses can be listened on.
    pub tokens: Vec<Token>,
    /// Web pages that may call by gRPC-Web, such as `https://app.example.com`; `*` for all. In local mode pages from this
    /// machine may always.
    pub allowed_origins: Vec<String>,
    /// How long calls under way may take to finish when the process is asked to stop.
    pub drain_seconds: u64,
    /// How often one user may call.
    pub rate_limit: RateLimits,
    /// The certificate that callers see; absent: no TLS.
    pub tls: FrontTlsSettings,
}

/// A static bearer token: `authorization: Bearer <secret>`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// What people call it; usage and budgets know it by this name, in its project.
    pub name: String,
    /// At least 24 characters, printable, without spaces.
    #[serde(skip_serializing)]
    pub secret: SecretString,
    /// The user it stands for.
    pub user: Uuid,
    /// The project it opens.
    pub project: Uuid,
    /// Who pays for the project, so that several projects may have one budget; absent: the project is on its own. A token
    /// with the scope `admin` administers its whole organisation's budgets and sees its whole usage.
    #[serde(default, skip_serializing_if = "Uuid::is_nil")]
    pub organisation: Uuid,
    /// What it allows.
    pub scope: Scope,
}

/// One rate per class of methods; each user has a bucket per class.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Limits the local user of local mode too.
    pub in_local_mode: bool,
    /// Whether all gateways have these rates together, over NATS (`bus.url`); else each has them by itself. Their clocks must
    /// agree to within a burst.
    pub shared: bool,
    /// With `shared`: how long a call may wait for NATS, in milliseconds. After that, and while NATS is away, a gateway limits
    /// by itself.
    pub wait_ms: u64,
    /// Ordinary calls.
    pub api: Rate,
    /// Calls that carry files.
    pub upload: Rate,
    /// Calls that a language model answers.
    pub generate: Rate,
}

/// A steady rate, and how many calls may come at once.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Calls a minute; 0: unlimited.
    pub per_minute: u32,
    /// Calls at once; at least 1.
    pub burst: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            tokens: Vec::new(),
            allowed_origins: Vec::new(),
            drain_seconds: 10,
            rate_limit: RateLimits::default(),
            tls: FrontTlsSettings::default(),
        }
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        RateLimits {
            in_local_mode: false,
            shared: false,
            wait_ms: 100,
            api: Rate { per_minute: 3000, burst: 300 },
            upload: Rate { per_minute: 120, burst: 30 },
            generate: Rate { per_minute: 300, burst: 60 },
        }
    }
}

impl Settings {
    /// Whether nobody has to sign in.
    pub fn is_local(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Names the first setting that makes no sense.
    pub fn check(&self) -> Result<(), String> {
        self.tls.check()?;
        let mut seen = HashSet::new();
        for (i, token) in self.tokens.iter().enumerate() {
            let secret = token.secret.expose_secret();
            if secret.len() < MIN_SECRET || !secret.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(format!(
                    "gateway.tokens.{i}.secret (\"{}\") must be at least {MIN_SECRET} printable characters without spaces",
                    token.name
                ));
            }
            if !seen.insert(secret) {
                return Err(format!("gateway.tokens.{i}.secret (\"{}\") is the secret of another token too", token.name));
            }
        }
        for origin in &self.allowed_origins {
            if origin != "*" && (!origin.contains("://") || origin.ends_with('/')) {
                return Err(format!(
                    "gateway.allowed_origins has \"{origin}\", which is not an origin such as https://app.example.com"
                ));
            }
        }
        self.rate_limit.check()
    }
}

impl RateLimits {
    fn check(&self) -> Result<(), String> {
        if self.wait_ms == 0 {
            return Err("gateway.rate_limit.wait_ms is 0; it must be at least 1, or NATS could never answer in time".into());
        }
        for (class, rate) in [("api", self.api), ("upload", self.upload), ("generate", self.generate)] {
            if rate.per_minute > 0 && rate.burst == 0 {
                return Err(format!("gateway.rate_limit.{class}.burst is 0; it must be at least 1, or nobody could ever call"));
            }
            // What a user has taken is forgotten then.
            let kept = KEPT.as_secs().saturating_mul(rate.per_minute.into());
            if self.shared && rate.per_minute > 0 && u64::from(rate.burst) * 60 > kept {
                return Err(format!(
                    "gateway.rate_limit.{class}.burst must come back within a day to be shared: raise per_minute"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn token(secret: &str, scope: Scope) -> Token {
        let (user, project) = (Uuid::now_v7(), Uuid::now_v7());
        Token { name: "test".into(), secret: secret.into(), user, project, organisation: Uuid::now_v7(), scope }
    }

    #[test]
    fn nonsense_is_named() {
        let good = "0123456789abcdef0123456789";
        let with = |tokens: Vec<Token>| Settings { tokens, ..Settings::default() };
        assert_eq!(with(vec![token(good, Scope::Read)]).check(), Ok(()));
        assert!(with(vec![token("short", Scope::Read)]).check().unwrap_err().starts_with("gateway.tokens.0.secret"));
        let twice = with(vec![token(good, Scope::Read), token(good, Scope::Write)]);
        let refusal = twice.check().unwrap_err();
        assert!(refusal.starts_with("gateway.tokens.1.secret"));
        assert!(!refusal.contains(good), "secrets stay out of messages");
        let origin = Settings { allowed_origins: vec!["example.com".into()], ..Settings::default() };
        assert!(origin.check().unwrap_err().starts_with("gateway.allowed_origins"));
        let half = FrontTlsSettings { cert: "x".into(), ..FrontTlsSettings::default() };
        assert!(Settings { tls: half, ..Settings::default() }.check().unwrap_err().starts_with("gateway.tls"));
        let mut limits = RateLimits::default();
        limits.generate.burst = 0;
        let limited = Settings { rate_limit: limits, ..Settings::default() };
        assert!(limited.check().unwrap_err().starts_with("gateway.rate_limit.generate.burst"));
        let slow = RateLimits { shared: true, api: Rate { per_minute: 1, burst: 1441 }, ..RateLimits::default() };
        assert!(slow.check().unwrap_err().starts_with("gateway.rate_limit.api.burst"));
        assert_eq!(RateLimits { shared: false, ..slow }.check(), Ok(()));
        let hasty = RateLimits { wait_ms: 0, ..RateLimits::default() };
        assert!(hasty.check().unwrap_err().starts_with("gateway.rate_limit.wait_ms"));
    }

    #[test]
    fn tokens_are_read_from_toml_and_their_secrets_not_written_back() {
        let text = r#"
            [[tokens]]
            name = "ci"
            secret = "0123456789abcdef0123456789"
            user = "0197b000-0000-7000-8000-000000000001"
            project = "0197b000-0000-7000-8000-000000000002"
            scope = "write"
        "#;
        let settings: Settings = toml::from_str(text).unwrap();
        assert_eq!(settings.tokens[0].scope, Scope::Write);
        assert!(!settings.is_local());
        assert!(!toml::to_string(&settings).unwrap().contains("0123456789abcdef"));
        assert!(!format!("{settings:?}").contains("0123456789abcdef"));
    }
}
