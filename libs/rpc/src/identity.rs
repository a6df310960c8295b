//! The signed identity that the gateway gives to the services: an HS256 JWT (RFC 7519) in `x-slipway-identity`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{BuildError, Caller, Fault, LinkKey, OrganisationId, ProjectId, Reason, Scope, UserId};

/// The header that carries it.
pub(crate) const HEADER: &str = "x-slipway-identity";
/// How long an identity is good for: longer than any call waits between two services.
const LIFETIME: Duration = Duration::from_secs(300);
/// Shorter keys can be guessed (RFC 7518, section 3.2).
const MIN_KEY_BYTES: usize = 32;

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: UserId,
    prj: ProjectId,
    scp: Scope,
    // A process of before there were organisations neither says nor reads these.
    #[serde(default = "nobody", skip_serializing_if = "is_nobody")]
    org: OrganisationId,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    tok: String,
    exp: u64,
}

fn nobody() -> OrganisationId {
    OrganisationId(Uuid::nil())
}

fn is_nobody(id: &OrganisationId) -> bool {
    id.0.is_nil()
}

/// The key with which a suite's processes sign and verify identities. All of them share one. Cheap to clone: every client
/// holds one.
#[derive(Clone)]
pub struct IdentityKey(Arc<Keys>);

struct Keys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    links: LinkKey,
}

impl std::fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentityKey(***)")
    }
}

impl IdentityKey {
    /// A key from a secret of at least 32 bytes.
    pub fn new(secret: &SecretString) -> Result<Self, BuildError> {
        let bytes = secret.expose_secret().as_bytes();
        if bytes.len() < MIN_KEY_BYTES {
            return Err(BuildError::new(format!("identity.key is shorter than {MIN_KEY_BYTES} bytes")));
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.leeway = 30;
        let (encoding, decoding) = (EncodingKey::from_secret(bytes), DecodingKey::from_secret(bytes));
        let links = LinkKey::derive(bytes);
        Ok(Self(Arc::new(Keys { encoding, decoding, validation, links })))
    }

    /// A new random secret, fit for [`IdentityKey::new`].
    pub fn generate() -> SecretString {
        SecretString::from(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 48]>()))
    }

    /// What links are signed with, which is good for nothing else.
    pub fn links(&self) -> LinkKey {
        self.0.links.clone()
    }

    /// Signs an identity.
    pub(crate) fn sign(&self, caller: &Caller, project: ProjectId) -> Result<String, Fault> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let claims = Claims {
            sub: caller.user,
            prj: project,
            scp: caller.scope,
            org: caller.organisation,
            tok: caller.token.to_string(),
            exp: (now + LIFETIME).as_secs(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.0.encoding).map_err(Fault::internal)
    }

    /// Verifies an identity.
    pub(crate) fn verify(&self, token: &str) -> Result<(Caller, ProjectId), Fault> {
        let data = jsonwebtoken::decode::<Claims>(token, &self.0.decoding, &self.0.validation)
            .map_err(|e| Fault::new(Reason::CredentialsInvalid, "the identity is expired or not ours").source(e))?;
        let Claims { sub, prj, scp, org, tok, exp: _ } = data.claims;
        Ok((Caller { user: sub, scope: scp, organisation: org, token: tok.into() }, prj))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> (Caller, ProjectId) {
        let organisation = OrganisationId(Uuid::now_v7());
        let caller = Caller { organisation, token: "ci".into(), ..Caller::new(UserId(Uuid::now_v7()), Scope::Write) };
        (caller, ProjectId(Uuid::now_v7()))
    }

    #[test]
    fn what_one_process_signs_another_with_the_key_believes() {
        let secret = IdentityKey::generate();
        let (caller, project) = who();
        let token = IdentityKey::new(&secret).unwrap().sign(&caller, project).unwrap();
        assert_eq!(IdentityKey::new(&secret).unwrap().verify(&token).unwrap(), (caller, project));
    }

    #[test]
    fn another_key_is_not_believed() {
        let (caller, project) = who();
        let token = IdentityKey::new(&IdentityKey::generate()).unwrap().sign(&caller, project).unwrap();
        let other = IdentityKey::new(&IdentityKey::generate()).unwrap();
        assert_eq!(other.verify(&token).unwrap_err().reason(), Reason::CredentialsInvalid);
    }

    #[test]
    fn a_short_key_is_refused() {
        assert!(IdentityKey::new(&SecretString::from("short")).is_err());
    }
}
