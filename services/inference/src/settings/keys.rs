//! The settings of providers' keys that projects bring along.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{all_masked, masked};
use crate::keys::read_key;

/// `[inference.keys]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysSettings {
    /// Encrypts the keys in the database: 32 bytes in base64. Absent: there are none.
    #[serde(serialize_with = "masked")]
    pub encryption_key: Option<SecretString>,
    /// Those that it replaced, as long as something is encrypted with them.
    #[serde(serialize_with = "all_masked")]
    pub old_encryption_keys: Vec<SecretString>,
}

impl KeysSettings {
    /// All of them, the one in use first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &SecretString> {
        self.encryption_key.iter().chain(&self.old_encryption_keys)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.encryption_key.as_ref().is_some_and(|key| read_key(key).is_none()) {
            return Err("inference.keys.encryption_key is not 32 bytes in base64; make one with openssl rand -base64 32".into());
        }
        if self.old_encryption_keys.iter().any(|key| read_key(key).is_none()) {
            return Err("inference.keys.old_encryption_keys holds something that is not 32 bytes in base64".into());
        }
        if self.encryption_key.is_none() && !self.old_encryption_keys.is_empty() {
            return Err("inference.keys.encryption_key is missing, and there are old ones".into());
        }
        Ok(())
    }
}
