//! Opaque page tokens: where a listing goes on, with a checksum, so that a token is only good for the listing it came from.
//!
//! The checksum is no secret: a token grants nothing (every finder takes the tenant first), it only has to be ours and
//! whole. Its key is therefore a constant, and any replica reads any replica's tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

const CHECKSUM: usize = 8;

/// A token that holds `value`. `scope` is the listing: its method, project and filters.
pub fn encode<T: Serialize>(scope: &str, value: &T) -> String {
    // A cursor is a struct of ids and numbers; what cannot be written decodes as no token at all.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    let checksum = checksum(scope, &bytes);
    bytes.extend_from_slice(&checksum);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What `token` holds; `None` when it is not one of ours for this scope.
pub fn decode<T: DeserializeOwned>(scope: &str, token: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (value, found) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
    if found != checksum(scope, value) {
        return None;
    }
    serde_json::from_slice(value).ok()
}

fn checksum(scope: &str, value: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = blake3::Hasher::new_derive_key("slipway page token v1");
    hasher.update(&(scope.len() as u64).to_le_bytes());
    hasher.update(scope.as_bytes());
    hasher.update(value);
    let mut short = [0; CHECKSUM];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_in_its_scope_only() {
        let token = encode("ListRuns/p1", &("run-7", 42u64));
        assert_eq!(decode::<(String, u64)>("ListRuns/p1", &token), Some(("run-7".to_owned(), 42)));
        assert_eq!(decode::<(String, u64)>("ListRuns/p2", &token), None);
        assert_eq!(decode::<String>("ListRuns/p1", &token), None);
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let token = encode("scope", &7u64);
        for at in 0..token.len() {
            let mut tampered = token.clone().into_bytes();
            tampered[at] = if tampered[at] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(tampered).expect("ascii");
            assert_eq!(decode::<u64>("scope", &tampered), None, "{tampered}");
        }
        for bad in ["", "AAAA", "not base64!", "é"] {
            assert_eq!(decode::<u64>("scope", bad), None);
        }
    }
}
