//! The use cases of the keys that a project brings along.

use secrecy::SecretString;
use slipway_rpc::Ctx;
use uuid::Uuid;

use super::Inference;
use super::models::{decode_token, encode_token};
use crate::error::Error;
use crate::keys::Rewrapped;
use crate::model::ProviderKey;

/// A key to store.
pub(crate) struct NewKey {
    pub(crate) provider: String,
    pub(crate) title: String,
    pub(crate) key: SecretString,
}

/// A page of keys.
pub(crate) struct ListedKeys {
    pub(crate) keys: Vec<ProviderKey>,
    pub(crate) next_page_token: String,
}

impl Inference {
    /// Stores a key of the project.
    pub(crate) async fn create_provider_key(&self, ctx: &Ctx, new: NewKey) -> Result<ProviderKey, Error> {
        if !self.providers().takes_keys(&new.provider) {
            return Err(Error::ProviderNotConfigured { provider: new.provider });
        }
        let stored = self.keys.create(ctx.project, new.provider, new.title, &new.key).await?;
        tracing::info!(provider = stored.provider, fingerprint = stored.face.fingerprint, "a provider's key was stored");
        Ok(stored)
    }

    /// The keys of the project.
    pub(crate) async fn list_provider_keys(&self, ctx: &Ctx, size: u32, token: &str) -> Result<ListedKeys, Error> {
        let after = match token {
            "" => None,
            token => Some(decode_token(token).and_then(|id| id.parse::<Uuid>().ok()).ok_or(Error::PageToken)?),
        };
        let mut keys = self.keys.list(ctx.project, after, u64::from(size) + 1).await?;
        let more = keys.len() > size as usize;
        keys.truncate(size as usize);
        let next_page_token = keys.last().filter(|_| more).map(|k| encode_token(&k.id.to_string())).unwrap_or_default();
        Ok(ListedKeys { keys, next_page_token })
    }

    /// Replaces a key of the project.
    pub(crate) async fn rotate_provider_key(&self, ctx: &Ctx, id: Uuid, key: &SecretString) -> Result<ProviderKey, Error> {
        let stored = self.keys.rotate(ctx.project, id, key).await?;
        tracing::info!(provider = stored.provider, fingerprint = stored.face.fingerprint, "a provider's key was replaced");
        Ok(stored)
    }

    /// Encrypts all keys with the key-encryption key in use.
    pub(crate) async fn rewrap_provider_keys(&self, ctx: &Ctx) -> Result<Rewrapped, Error> {
        let done = self.keys.rewrap(ctx.project).await?;
        tracing::info!(encryption_key_id = done.current, still_needed = done.old.join(" "), "providers' keys are encrypted anew");
        Ok(done)
    }

    /// Deletes a key of the project.
    pub(crate) async fn delete_provider_key(&self, ctx: &Ctx, id: Uuid) -> Result<(), Error> {
        self.keys.delete(ctx.project, id).await
    }
}
