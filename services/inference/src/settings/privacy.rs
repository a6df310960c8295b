//! What may leave to a provider.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use slipway_secrets::Scanner;

/// `[inference.privacy]`. A call can ask for more privacy than this, never for less.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrivacySettings {
    /// Secrets are taken out of everything that goes to a provider.
    pub redact: bool,
    /// Regular expressions of whole secrets that may leave all the same.
    pub allow: Vec<String>,
    /// Whether facts about clusters leave, and the clusters' names.
    pub send_cluster_metadata: bool,
    /// Whether names of resources leave.
    pub send_resource_names: bool,
    /// Whether names of pods leave.
    pub send_pod_names: bool,
    /// Whether logs leave.
    pub send_logs: bool,
    /// Whether names that are found in manifests and context leave as pseudonyms only.
    pub pseudonyms: bool,
    /// What pseudonyms are made with, so that they stay the same on every replica and after a restart. At least 16
    /// characters; absent: a new one for each process.
    #[serde(serialize_with = "super::masked", skip_serializing_if = "Option::is_none")]
    pub pseudonym_key: Option<SecretString>,
}

impl Default for PrivacySettings {
    fn default() -> Self {
        Self {
            redact: true,
            allow: Vec::new(),
            send_cluster_metadata: true,
            send_resource_names: true,
            send_pod_names: true,
            send_logs: true,
            pseudonyms: false,
            pseudonym_key: None,
        }
    }
}

impl PrivacySettings {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.pseudonym_key.as_ref().is_some_and(|key| key.expose_secret().len() < 16) {
            return Err("inference.privacy.pseudonym_key has less than 16 characters".into());
        }
        Scanner::allowing(&self.allow).map(drop).map_err(|e| format!("inference.privacy.allow: {e}"))
    }
}
