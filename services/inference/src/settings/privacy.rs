//! What may leave to a provider.

use serde::{Deserialize, Serialize};
use slipway_secrets::Scanner;

/// `[inference.privacy]`. A call can ask for more privacy than this, never for less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrivacySettings {
    /// Secrets are taken out of everything that goes to a provider.
    pub redact: bool,
    /// Regular expressions of whole secrets that may leave all the same.
    pub allow: Vec<String>,
}

impl Default for PrivacySettings {
    fn default() -> Self {
        Self { redact: true, allow: Vec::new() }
    }
}

impl PrivacySettings {
    pub(super) fn check(&self) -> Result<(), String> {
        Scanner::allowing(&self.allow).map(drop).map_err(|e| format!("inference.privacy.allow: {e}"))
    }
}
