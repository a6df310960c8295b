//! [`Link`]: what lets somebody without a token do one thing to one object until a time, through the gateway.
//!
//! The service that owns the object signs, the gateway verifies; both derive the key from the suite's [`IdentityKey`]. The
//! signature covers the method, the object as it stands in the address, the time and the type of the content: whoever
//! changes any of them has no link any more.
//!
//! [`IdentityKey`]: crate::IdentityKey

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::Sha256;
use uuid::Uuid;

use crate::{Ctx, ProjectId, UserId};

/// What the addresses of all links begin with.
pub const LINKS: &str = "/files/";

/// Written as they are: what no address treats specially.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Signs and verifies links.
#[derive(Clone)]
pub struct LinkKey([u8; 32]);

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkKey(***)")
    }
}

/// What a link lets one do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whose object it is.
    pub project: ProjectId,
    /// On whose behalf.
    pub user: UserId,
    /// The object and with it the method.
    pub object: Linked,
    /// Seconds since 1970.
    pub expires: u64,
    /// For `PUT`, the `content-type` that must come; for `GET`, the one that is sent. Empty: any, or plain bytes.
    pub content_type: String,
}

/// The object of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linked {
    /// A file of a revision, to be read by `GET`.
    File {
        /// The workspace.
        workspace: Uuid,
        /// The revision.
        revision: Uuid,
        /// The file's path.
        path: String,
    },
    /// An upload, to be sent by `PUT`.
    Upload {
        /// Its id.
        id: Uuid,
    },
}

/// Why an address is no good link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It is not made like a link.
    #[error("there is no such page")]
    Unknown,
    /// Something was changed, or the link is for another method.
    #[error("the link is not one of this server for this method and object")]
    Forged,
    /// It was good once.
    #[error("the link has expired")]
    Expired,
}

impl LinkKey {
    /// Derived from the suite's secret, so that neither is any use for the other's purpose.
    pub(crate) fn derive(secret: &[u8]) -> Self {
        let mut mac = mac(secret);
        mac.update(b"slipway links 1");
        Self(mac.finalize().into_bytes().into())
    }

    fn mac(&self, method: &str, path: &str, expires: &str, content_type: &str) -> Hmac<Sha256> {
        let mut mac = mac(&self.0);
        // None of them holds a line end.
        for part in [method, path, expires, content_type] {
            mac.update(part.as_bytes());
            mac.update(b"\n");
        }
        mac
    }
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length")
}

impl Linked {
    /// The one method of the object.
    pub fn method(&self) -> Method {
        match self {
            Self::File { .. } => Method::GET,
            Self::Upload { .. } => Method::PUT,
        }
    }
}

impl Link {
    /// The whole address, below the gateway's. It is a secret for as long as it is good.
    pub fn url(&self, gateway: &str, key: &LinkKey) -> String {
        let object = match &self.object {
            Linked::File { workspace, revision, path } => {
                let parts: Vec<_> = path.split('/').map(|part| utf8_percent_encode(part, PLAIN).to_string()).collect();
                format!("workspaces/{workspace}/revisions/{revision}/{}", parts.join("/"))
            }
            Linked::Upload { id } => format!("uploads/{id}"),
        };
        let path = format!("{LINKS}{}/{}/{object}", self.project, self.user);
        let expires = self.expires.to_string();
        let mac = key.mac(self.object.method().as_str(), &path, &expires, &self.content_type);
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        let kind = utf8_percent_encode(&self.content_type, PLAIN);
        let kind = if self.content_type.is_empty() { String::new() } else { format!("&type={kind}") };
        format!("{}{path}?expires={expires}{kind}&signature={signature}", gateway.trim_end_matches('/'))
    }

    /// The link that an address is, if it is a good one at `now`, in seconds since 1970.
    pub fn open(method: &Method, path: &str, query: &str, key: &LinkKey, now: u64) -> Result<Self, LinkError> {
        let rest = path.strip_prefix(LINKS).ok_or(LinkError::Unknown)?;
        let named = |name: &str| query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name));
        let value = |name: &str| named(name).map(|(_, value)| value);
        let expires = value("expires").ok_or(LinkError::Unknown)?;
        let content_type = decode(value("type").unwrap_or_default()).ok_or(LinkError::Forged)?;
        let signature = value("signature").and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(LinkError::Forged)?;
        if content_type.contains('\n') {
            return Err(LinkError::Forged);
        }
        let mac = key.mac(method.as_str(), path, expires, &content_type);
        mac.verify_slice(&signature).map_err(|_| LinkError::Forged)?;
        let link = parse(rest, expires, content_type).ok_or(LinkError::Unknown)?;
        if link.expires <= now { Err(LinkError::Expired) } else { Ok(link) }
    }

    /// The context of a call on behalf of whoever made the link; it allows what the method needs and no more.
    pub fn context(&self, request_id: String, deadline: Option<std::time::Instant>) -> Ctx {
        let scope = match self.object {
            Linked::File { .. } => crate::Scope::Read,
            Linked::Upload { .. } => crate::Scope::Write,
        };
        Ctx::new(crate::Caller::new(self.user, scope), self.project, request_id, deadline, String::new())
    }
}

/// What was signed was ours, so that this fails only for what another version has made.
fn parse(rest: &str, expires: &str, content_type: String) -> Option<Link> {
    let mut parts = rest.splitn(3, '/');
    let project = parts.next()?.parse().ok()?;
    let user = parts.next()?.parse().ok()?;
    let object = parts.next()?;
    let object = if let Some(id) = object.strip_prefix("uploads/") {
        Linked::Upload { id: id.parse().ok()? }
    } else {
        let (workspace, rest) = object.strip_prefix("workspaces/")?.split_once("/revisions/")?;
        let (revision, path) = rest.split_once('/')?;
        Linked::File { workspace: workspace.parse().ok()?, revision: revision.parse().ok()?, path: decode(path)? }
    };
    Some(Link { project, user, object, expires: expires.parse().ok()?, content_type })
}

fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        let object = Linked::File { workspace: Uuid::now_v7(), revision: Uuid::now_v7(), path: "a b/ü%2f&?#=.txt".to_owned() };
        let (project, user) = (ProjectId(Uuid::now_v7()), UserId(Uuid::now_v7()));
        Link { project, user, object, expires: 1_000, content_type: "text/plain; charset=utf-8".to_owned() }
    }

    fn open(method: &Method, url: &str, key: &LinkKey, now: u64) -> Result<Link, LinkError> {
        let (path, query) = url.strip_prefix("https://gateway").unwrap().split_once('?').unwrap();
        Link::open(method, path, query, key, now)
    }

    #[test]
    fn a_link_survives_its_address() {
        let key = LinkKey::derive(b"secret");
        let upload = Link { object: Linked::Upload { id: Uuid::now_v7() }, content_type: String::new(), ..link() };
        for link in [link(), upload] {
            let url = link.url("https://gateway/", &key);
            assert_eq!(open(&link.object.method(), &url, &key, 999), Ok(link));
        }
    }

    #[test]
    fn whatever_is_changed_ends_it() {
        let key = LinkKey::derive(b"secret");
        let url = link().url("https://gateway", &key);
        assert_eq!(open(&Method::GET, &url, &key, 1_000), Err(LinkError::Expired));
        assert_eq!(open(&Method::GET, &url, &LinkKey::derive(b"other"), 999), Err(LinkError::Forged));
        for method in [Method::PUT, Method::HEAD, Method::POST, Method::DELETE] {
            assert_eq!(open(&method, &url, &key, 999), Err(LinkError::Forged), "{method}");
        }
        for (from, to) in [("expires=1000", "expires=9000"), ("a%20b", "a%20c"), ("%20", "+"), ("text%2Fplain", "text%2Fhtml")] {
            let changed = url.replacen(from, to, 1);
            assert_ne!(changed, url);
            assert_eq!(open(&Method::GET, &changed, &key, 999), Err(LinkError::Forged), "{to}");
        }
        // Every single character of the address counts. The last one of the signature has bits to spare.
        for at in "https://gateway/files/".len()..url.len() - 1 {
            let old = url.as_bytes()[at];
            let new = if old == b'A' { "B" } else { "A" };
            let changed = format!("{}{new}{}", &url[..at], &url[at + 1..]);
            if changed.contains('?') {
                assert!(open(&Method::GET, &changed, &key, 999).is_err(), "{changed}");
            }
        }
    }

    #[test]
    fn nonsense_is_no_link() {
        let key = LinkKey::derive(b"secret");
        for (path, query) in
            [("/", ""), ("/files/", ""), ("/files/x", "expires=1"), ("/files/x", "expires=1&signature=%"), ("", "&=&")]
        {
            assert!(Link::open(&Method::GET, path, query, &key, 0).is_err(), "{path}?{query}");
        }
    }
}
