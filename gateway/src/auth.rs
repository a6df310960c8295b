//! Who calls: the local user, or the holder of a bearer token; and whether they may.

use std::collections::HashMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use slipway_rpc::{Caller, Fault, OrganisationId, ProjectId, Reason, Scope, UserId};

use crate::{LOCAL_ORGANISATION, LOCAL_PROJECT, LOCAL_TOKEN, LOCAL_USER, Settings};

/// Who calls, for which project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) caller: Caller,
    pub(crate) project: ProjectId,
}

/// Finds out who calls.
#[derive(Debug)]
pub(crate) enum Authenticator {
    /// Whoever reaches the port is the local user.
    Local,
    /// By the digest of the secret: comparing digests tells nothing about how close a guess was.
    Tokens(HashMap<[u8; 32], Identity>),
}

impl Authenticator {
    pub(crate) fn new(settings: &Settings) -> Authenticator {
        if settings.is_local() {
            return Authenticator::Local;
        }
        let identity = |token: &crate::Token| Identity {
            caller: Caller {
                organisation: OrganisationId(token.organisation),
                token: token.name.as_str().into(),
                ..Caller::new(UserId(token.user), token.scope)
            },
            project: ProjectId(token.project),
        };
        let tokens = settings.tokens.iter().map(|t| (digest(t.secret.expose_secret()), identity(t)));
        Authenticator::Tokens(tokens.collect())
    }

    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Result<Identity, Fault> {
        let tokens = match self {
            Authenticator::Local => return Ok(local()),
            Authenticator::Tokens(tokens) => tokens,
        };
        let Some(value) = headers.get(AUTHORIZATION) else {
            let help = "this server wants a token: send the header \"authorization: Bearer <token>\"";
            return Err(Fault::new(Reason::CredentialsMissing, help));
        };
        let known = value.to_str().ok().and_then(bearer).and_then(|secret| tokens.get(&digest(secret)));
        known.cloned().ok_or_else(|| Fault::new(Reason::CredentialsInvalid, "the token is not one that this server knows"))
    }
}

/// Whether the caller's scope is wide enough.
pub(crate) fn authorise(identity: &Identity, required: Scope) -> Result<(), Fault> {
    let granted = identity.caller.scope;
    if granted >= required {
        return Ok(());
    }
    let message = format!("the token allows \"{granted}\" and this method needs \"{required}\"; use a token with a wider scope");
    Err(Fault::new(Reason::ScopeInsufficient, message).with("required", required).with("granted", granted))
}

fn local() -> Identity {
    let organisation = OrganisationId(LOCAL_ORGANISATION);
    let caller = Caller { organisation, token: LOCAL_TOKEN.into(), ..Caller::new(UserId(LOCAL_USER), Scope::Admin) };
    Identity { caller, project: ProjectId(LOCAL_PROJECT) }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::token;

    const SECRET: &str = "0123456789abcdef0123456789";

    fn ask(settings: &Settings, authorization: Option<&str>) -> Result<Identity, Reason> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        Authenticator::new(settings).authenticate(&headers).map_err(|f| f.reason())
    }

    #[test]
    fn without_tokens_everybody_is_the_local_user() {
        let identity = ask(&Settings::default(), None).unwrap();
        assert_eq!(identity.caller.user, UserId(LOCAL_USER));
        assert_eq!(identity.project, ProjectId(LOCAL_PROJECT));
        assert!(authorise(&identity, Scope::Admin).is_ok());
        assert_eq!(ask(&Settings::default(), Some("Bearer whatever")), Ok(identity));
    }

    #[test]
    fn tokens_open_their_own_project() {
        let settings = Settings { tokens: vec![token(SECRET, Scope::Write)], ..Settings::default() };
        let identity = ask(&settings, Some(&format!("bearer {SECRET}"))).unwrap();
        assert_eq!(identity.caller.user.0, settings.tokens[0].user);
        assert_eq!(identity.project.0, settings.tokens[0].project);
        assert_eq!((&*identity.caller.token, identity.caller.organisation.0), ("test", settings.tokens[0].organisation));
        assert_eq!(ask(&settings, None), Err(Reason::CredentialsMissing));
        for wrong in ["Bearer 0123456789abcdef012345678", "Bearer ", "Bearer", "Basic 0123456789abcdef0123456789", SECRET] {
            assert_eq!(ask(&settings, Some(wrong)), Err(Reason::CredentialsInvalid), "{wrong}");
        }
    }

    #[test]
    fn a_narrow_token_is_refused_with_both_scopes() {
        let settings = Settings { tokens: vec![token(SECRET, Scope::Read)], ..Settings::default() };
        let identity = ask(&settings, Some(&format!("Bearer {SECRET}"))).unwrap();
        assert!(authorise(&identity, Scope::Read).is_ok());
        let fault = authorise(&identity, Scope::Write).unwrap_err();
        assert_eq!(fault.reason(), Reason::ScopeInsufficient);
        assert!(fault.message().contains("read") && fault.message().contains("write"));
    }
}
