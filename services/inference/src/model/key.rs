//! A provider's key that a project has brought along, as it lies in the database.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

const SHOWN: usize = 4;
// Of a shorter key four characters are too much.
const LEAST_TO_SHOW: usize = 16;

/// A key, encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProviderKey {
    /// Its id.
    pub(crate) id: Uuid,
    /// Whose it is.
    pub(crate) project: Uuid,
    /// The provider that it is for, by its name in the settings.
    pub(crate) provider: String,
    /// What people call it.
    pub(crate) title: String,
    /// Tells it from others.
    pub(crate) face: Face,
    /// The key itself.
    pub(crate) sealed: Sealed,
    /// When it was stored, in microseconds.
    pub(crate) create_time: i64,
    /// When it was last replaced, in microseconds.
    pub(crate) rotate_time: i64,
}

/// What may be shown of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Face {
    /// 16 hexadecimal digits. The same key has another one in another project.
    pub(crate) fingerprint: String,
    /// Its last characters; empty for a short key.
    pub(crate) last_four: String,
}

impl Face {
    /// That of a key.
    pub(crate) fn of(project: Uuid, key: &str) -> Self {
        let digest =
            Sha256::new().chain_update(b"slipway provider key\n").chain_update(project.as_bytes()).chain_update(key).finalize();
        let count = key.chars().count();
        let last_four = if count < LEAST_TO_SHOW { String::new() } else { key.chars().skip(count - SHOWN).collect() };
        Self { fingerprint: hex::encode(&digest[..8]), last_four }
    }
}

/// An encrypted key: with a key of its own, which is wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Which key-encryption key has wrapped it.
    pub(crate) kek_id: String,
    /// The wrapped data key.
    pub(crate) wrapped: Vec<u8>,
    /// The encrypted key.
    pub(crate) bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_shown_of_a_key_and_nothing_of_a_short_one() {
        let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
        let face = Face::of(one, "sk-0123456789abcdef");
        assert_eq!((face.last_four.as_str(), face.fingerprint.len()), ("cdef", 16));
        assert_eq!(face, Face::of(one, "sk-0123456789abcdef"));
        assert_ne!(face.fingerprint, Face::of(two, "sk-0123456789abcdef").fingerprint);
        assert_eq!(Face::of(one, "short").last_four, "");
    }
}
