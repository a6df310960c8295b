//! Providers' keys on the wire: they come in, and never go out.

use secrecy::SecretString;
use slipway_proto::inference as pb;
use slipway_rpc::{Check, Fault, timestamp};
use uuid::Uuid;

use crate::model::ProviderKey;
use crate::service::{ListedKeys, NewKey};

const MAX_PROVIDER: usize = 64;
const MAX_KEY: usize = 512;
const MAX_TITLE: usize = 200;

/// A key to store.
pub(crate) fn new_key(request: pb::CreateProviderKeyRequest) -> Result<NewKey, Fault> {
    let mut check = Check::new();
    let provider = check.text("provider", &request.provider, 1, MAX_PROVIDER);
    let title = check.text("title", &request.title, 0, MAX_TITLE);
    let key = secret(&mut check, request.key);
    check.finish()?;
    Ok(NewKey { provider, title, key })
}

/// A key to put in another's place.
pub(crate) fn rotation(request: pb::RotateProviderKeyRequest) -> Result<(Uuid, SecretString), Fault> {
    let mut check = Check::new();
    let id = check.uuid("provider_key_id", &request.provider_key_id);
    let key = secret(&mut check, request.key);
    check.finish()?;
    Ok((id, key))
}

// Whatever is wrong with a key, it is not repeated.
fn secret(check: &mut Check, key: String) -> SecretString {
    let key = SecretString::from(key);
    let trimmed = secrecy::ExposeSecret::expose_secret(&key).trim();
    let count = trimmed.chars().count();
    check.ensure(count > 0, "key", "is required");
    check.ensure(count <= MAX_KEY, "key", format!("is longer than {MAX_KEY} characters"));
    check.ensure(trimmed.chars().all(|c| c.is_ascii_graphic()), "key", "holds characters that no header can carry");
    SecretString::from(trimmed)
}

/// The key that a call is about.
pub(crate) fn key_id(id: &str) -> Result<Uuid, Fault> {
    let mut check = Check::new();
    let id = check.uuid("provider_key_id", id);
    check.finish()?;
    Ok(id)
}

/// The page that is asked for.
pub(crate) fn list_keys(request: &pb::ListProviderKeysRequest) -> Result<u32, Fault> {
    let mut check = Check::new();
    let size = check.page_size("page_size", request.page_size, 100, 1_000);
    check.finish()?;
    Ok(size)
}

/// A page of keys.
pub(crate) fn keys(listed: ListedKeys) -> pb::ListProviderKeysResponse {
    let provider_keys = listed.keys.into_iter().map(provider_key).collect();
    pb::ListProviderKeysResponse { provider_keys, next_page_token: listed.next_page_token }
}

/// A key, without the key.
pub(crate) fn provider_key(key: ProviderKey) -> pb::StoredProviderKey {
    pb::StoredProviderKey {
        id: key.id.to_string(),
        provider: key.provider,
        title: key.title,
        fingerprint: key.face.fingerprint,
        last_four: key.face.last_four,
        encryption_key_id: key.sealed.kek_id,
        create_time: Some(timestamp(key.create_time)),
        rotate_time: Some(timestamp(key.rotate_time)),
    }
}
