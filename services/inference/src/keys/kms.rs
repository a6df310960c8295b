//! Who keeps the keys that keys are wrapped with.

use std::fmt;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use sha2::{Digest as _, Sha256};

use crate::settings::KeysSettings;

/// The length of a data key and of a key-encryption key.
pub(crate) const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// A key for one secret, in the clear.
pub(super) type DataKey = SecretBox<[u8; KEY_BYTES]>;

/// A data key that only its keeper can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrapped {
    /// Which key-encryption key wrapped it.
    pub(crate) kek_id: String,
    /// The nonce and the encrypted key.
    pub(crate) bytes: Vec<u8>,
}

/// Why a key cannot be wrapped or unwrapped.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum KmsError {
    /// There is no key-encryption key at all.
    #[error(
        "no key-encryption key is set; set SLIPWAY_INFERENCE__KEYS__ENCRYPTION_KEY to 32 random bytes in base64 (openssl rand -base64 32)"
    )]
    Missing,
    /// There are some, but not the one that is needed.
    #[error("the key-encryption key {0} is not set; add it to inference.keys.old_encryption_keys")]
    Unknown(String),
    /// It is there, and what it should open is not what it closed.
    #[error("the key-encryption key {0} does not open this key: the row was changed, or belongs elsewhere")]
    Mismatch(String),
}

/// Wraps data keys. `bound_to` is what a wrapped key belongs to: with anything else it does not open.
#[async_trait]
pub(crate) trait Kms: Send + Sync + fmt::Debug {
    /// Wraps a data key with the key-encryption key in use.
    async fn wrap(&self, key: &DataKey, bound_to: &[u8]) -> Result<Wrapped, KmsError>;

    /// The data key again.
    async fn unwrap(&self, wrapped: &Wrapped, bound_to: &[u8]) -> Result<DataKey, KmsError>;

    /// The key-encryption key in use; `None`: keys cannot be wrapped.
    fn current(&self) -> Option<&str>;
}

/// Key-encryption keys from the settings or the environment: the first wraps, all unwrap.
#[derive(Debug)]
pub(crate) struct LocalKms {
    keys: Vec<Kek>,
}

struct Kek {
    id: String,
    key: SecretBox<[u8; KEY_BYTES]>,
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kek").field(&self.id).finish()
    }
}

impl LocalKms {
    /// Reads the keys of the settings, which have been checked.
    pub(crate) fn new(settings: &KeysSettings) -> Self {
        Self { keys: settings.all().filter_map(Kek::read).collect() }
    }
}

impl Kek {
    fn read(text: &SecretString) -> Option<Self> {
        let key = read_key(text)?;
        // Tells keys apart, and says nothing of them.
        let digest = Sha256::new().chain_update(b"slipway key-encryption key").chain_update(key.expose_secret()).finalize();
        Some(Self { id: hex::encode(&digest[..6]), key })
    }

    fn cipher(&self) -> Aes256Gcm {
        cipher(&self.key)
    }
}

/// 32 bytes in base64.
pub(crate) fn read_key(text: &SecretString) -> Option<SecretBox<[u8; KEY_BYTES]>> {
    let bytes = STANDARD.decode(text.expose_secret().trim()).ok()?;
    let key: [u8; KEY_BYTES] = bytes.try_into().ok()?;
    Some(SecretBox::new(Box::new(key)))
}

fn cipher(key: &SecretBox<[u8; KEY_BYTES]>) -> Aes256Gcm {
    Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key.expose_secret()))
}

/// Encrypts under a key: a fresh nonce, then the ciphertext with its tag.
pub(super) fn seal(key: &DataKey, plain: &[u8], bound_to: &[u8]) -> Option<Vec<u8>> {
    seal_with(&cipher(key), plain, bound_to)
}

/// The plain text again; `None` when the key, the bytes or what they are bound to is another.
pub(super) fn open(key: &DataKey, sealed: &[u8], bound_to: &[u8]) -> Option<Vec<u8>> {
    open_with(&cipher(key), sealed, bound_to)
}

fn seal_with(cipher: &Aes256Gcm, plain: &[u8], bound_to: &[u8]) -> Option<Vec<u8>> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let mut sealed = nonce.to_vec();
    sealed.extend(cipher.encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: bound_to }).ok()?);
    Some(sealed)
}

fn open_with(cipher: &Aes256Gcm, sealed: &[u8], bound_to: &[u8]) -> Option<Vec<u8>> {
    let (nonce, bytes) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    cipher.decrypt(&Nonce::from(*nonce), Payload { msg: bytes, aad: bound_to }).ok()
}

#[async_trait]
impl Kms for LocalKms {
    async fn wrap(&self, key: &DataKey, bound_to: &[u8]) -> Result<Wrapped, KmsError> {
        let kek = self.keys.first().ok_or(KmsError::Missing)?;
        let mismatch = || KmsError::Mismatch(kek.id.clone());
        let bytes = seal_with(&kek.cipher(), key.expose_secret(), bound_to).ok_or_else(mismatch)?;
        Ok(Wrapped { kek_id: kek.id.clone(), bytes })
    }

    async fn unwrap(&self, wrapped: &Wrapped, bound_to: &[u8]) -> Result<DataKey, KmsError> {
        if self.keys.is_empty() {
            return Err(KmsError::Missing);
        }
        let kek = self.keys.iter().find(|k| k.id == wrapped.kek_id).ok_or_else(|| KmsError::Unknown(wrapped.kek_id.clone()))?;
        let opened = open_with(&kek.cipher(), &wrapped.bytes, bound_to).and_then(|bytes| bytes.try_into().ok());
        let key: [u8; KEY_BYTES] = opened.ok_or_else(|| KmsError::Mismatch(kek.id.clone()))?;
        Ok(SecretBox::new(Box::new(key)))
    }

    fn current(&self) -> Option<&str> {
        self.keys.first().map(|kek| kek.id.as_str())
    }
}
