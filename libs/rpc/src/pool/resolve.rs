//! From the addresses in the settings to socket addresses.

use std::io;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use http::Uri;
use http::uri::{Authority, Scheme};

use crate::BuildError;

/// Finds the addresses of a name.
pub(crate) trait Resolve: Send + Sync {
    /// Every address that the name has now.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's names.
pub(crate) struct Names;

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// One place in the settings: a name or an address.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
}

impl Target {
    /// The host, without the brackets of an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    pub(crate) fn port(&self) -> u16 {
        let usual = if self.scheme == Scheme::HTTPS { 443 } else { 80 };
        self.authority.port_u16().unwrap_or(usual)
    }
}

/// Reads `http://planner:50051`, or several of the kind, separated by commas.
pub(crate) fn targets(uris: &str) -> Result<Vec<Target>, BuildError> {
    uris.split(',').map(|uri| target(uri.trim())).collect()
}

fn target(uri: &str) -> Result<Target, BuildError> {
    let parsed: Uri = uri.parse().map_err(|e| BuildError::of(format!("the service address \"{uri}\" is not a URI"), e))?;
    let unusable = || BuildError::new(format!("the service address \"{uri}\" is not like http://planner:50051"));
    let parts = parsed.into_parts();
    let scheme = parts.scheme.filter(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS).ok_or_else(unusable)?;
    Ok(Target { scheme, authority: parts.authority.ok_or_else(unusable)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let several = targets("http://planner:50051, https://[::1],http://10.0.0.1").unwrap();
        let read: Vec<_> = several.iter().map(|target| (target.host(), target.port())).collect();
        assert_eq!(read, [("planner", 50051), ("::1", 443), ("10.0.0.1", 80)]);
        for bad in ["", "planner:50051", "ftp://planner", "http://a,", "http:///x"] {
            assert!(targets(bad).is_err(), "{bad:?}");
        }
    }
}
