//! Fetching from the network, for imports, so that nobody can make the server call what only the server can reach.
//!
//! One client, and one guard that every address passes, those of redirects too: `https` unless told otherwise, hosts that the
//! settings allow, no credentials in the address, and no address of a private network. A name is resolved once, and what it
//! resolves to is what is connected to.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::settings::ImportSettings;

const CONNECT: Duration = Duration::from_secs(10);
const REDIRECTS: usize = 5;

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0}")]
    Refused(String),
    #[error("{host} answered {status}")]
    Status { host: String, status: u16 },
    #[error("{host} sends more than {limit} bytes")]
    TooLarge { host: String, limit: u64 },
    #[error("{host} cannot be reached, or broke off")]
    Failed { host: String, source: reqwest::Error },
    #[error("a file of ours failed")]
    Io(#[from] std::io::Error),
    #[error("no client can be made")]
    Client(#[source] reqwest::Error),
}

/// What was fetched, in a file without a name.
pub(crate) struct Fetched {
    pub(crate) file: File,
    pub(crate) sha256: [u8; 32],
}

/// Says which addresses may be called.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    hosts: Arc<[String]>,
    private: bool,
    http: bool,
}

impl Guard {
    pub(crate) fn new(settings: &ImportSettings) -> Self {
        let hosts = settings.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { hosts, private: settings.private_addresses, http: settings.http }
    }

    /// An address that may be called, as far as it shows.
    pub(crate) fn check(&self, url: &str) -> Result<Url, FetchError> {
        let refuse = |why: &str| FetchError::Refused(why.to_owned());
        let url = Url::parse(url).map_err(|_| refuse("the address is not a URL such as https://example.com/x"))?;
        self.check_url(&url)?;
        Ok(url)
    }

    fn check_url(&self, url: &Url) -> Result<(), FetchError> {
        let refuse = |why: String| Err(FetchError::Refused(why));
        if url.scheme() != "https" && !(self.http && url.scheme() == "http") {
            return refuse(format!("addresses must begin with https://, and not with {}:", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("addresses may not hold credentials".to_owned());
        }
        let Some(host) = url.host_str() else { return refuse("the address names no host".to_owned()) };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if !self.hosts.is_empty() && !self.hosts.iter().any(|allowed| matches(allowed, host)) {
            return refuse(format!("the host {host} is not one of `file_store.import.hosts`"));
        }
        match host.parse::<IpAddr>() {
            Ok(address) => self.check_address(host, address),
            Err(_) => Ok(()),
        }
    }

    fn check_address(&self, host: &str, address: IpAddr) -> Result<(), FetchError> {
        if self.private || is_public(address) {
            return Ok(());
        }
        Err(FetchError::Refused(format!("{host} is an address of a private network, see `file_store.import.private_addresses`")))
    }

    /// Where a host is, if all of that may be called.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, FetchError> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let unknown = |_| FetchError::Refused(format!("the host {host} is not known"));
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await.map_err(unknown)?.collect();
        for address in &addresses {
            self.check_address(host, address.ip())?;
        }
        if addresses.is_empty() { Err(FetchError::Refused(format!("the host {host} has no address"))) } else { Ok(addresses) }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = Self::resolve(&guard, name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// `*.example.com` stands for everything below.
fn matches(allowed: &str, host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match allowed.strip_prefix("*.") {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
        None => host == allowed,
    }
}

/// Whether an address is one of the open internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special = v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_broadcast()
        || v4.is_documentation()
        || v4.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b));
    !special
}

/// Only what is given out for the internet; of ways to write an IPv4 address, none.
fn is_public_v6(v6: Ipv6Addr) -> bool {
    if let Some(v4) = v6.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let [first, second, ..] = v6.segments();
    let global = (0x2000..0x4000).contains(&first);
    let of_protocols = first == 0x2001 && (second < 0x0200 || second == 0x0db8);
    let special = of_protocols || first == 0x2002;
    global && !special
}

/// Fetches, and looks at every address before.
pub(crate) struct Fetcher {
    client: Client,
    pub(crate) guard: Guard,
    spool: PathBuf,
    limit: u64,
}

impl Fetcher {
    pub(crate) fn new(settings: &ImportSettings, spool: PathBuf) -> Result<Self, FetchError> {
        let guard = Guard::new(settings);
        let hops = guard.clone();
        let policy = Policy::custom(move |attempt| {
            if attempt.previous().len() > REDIRECTS {
                return attempt.error("there are too many redirects");
            }
            match hops.check_url(attempt.url()) {
                Ok(()) => attempt.follow(),
                Err(error) => attempt.error(error.to_string()),
            }
        });
        let client = Client::builder()
            .dns_resolver(guard.clone())
            .redirect(policy)
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(Duration::from_secs(settings.timeout_seconds))
            .user_agent("slipway")
            .build()
            .map_err(FetchError::Client)?;
        Ok(Self { client, guard, spool, limit: settings.max_mib << 20 })
    }

    /// Asks for something; any answer will do.
    pub(crate) async fn ask(&self, url: &Url, accept: &str, bearer: Option<&str>) -> Result<Response, FetchError> {
        self.guard.check_url(url)?;
        let odd = |_| FetchError::Refused("a header cannot be written".to_owned());
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).map_err(odd)?);
        if let Some(token) = bearer {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).map_err(odd)?);
        }
        let answer = self.client.get(url.clone()).headers(headers).send().await;
        answer.map_err(|error| failed(url, error))
    }

    /// The whole of an answer that is small.
    pub(crate) async fn text(&self, answer: Response, limit: usize) -> Result<Bytes, FetchError> {
        let (url, mut answer) = (answer.url().clone(), good(answer)?);
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&url, error))? {
            if bytes.len() + chunk.len() > limit {
                return Err(FetchError::TooLarge { host: host(&url), limit: limit as u64 });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }

    /// The whole of an answer, in a file.
    pub(crate) async fn file(&self, answer: Response) -> Result<Fetched, FetchError> {
        let (url, mut answer) = (answer.url().clone(), good(answer)?);
        let mut file = tokio::fs::File::from_std(tempfile::tempfile_in(&self.spool)?);
        let (mut sha, mut size) = (Sha256::new(), 0);
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&url, error))? {
            size += chunk.len() as u64;
            if size > self.limit {
                return Err(FetchError::TooLarge { host: host(&url), limit: self.limit });
            }
            sha.update(&chunk);
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        Ok(Fetched { file: file.into_std().await, sha256: sha.finalize().into() })
    }
}

fn good(answer: Response) -> Result<Response, FetchError> {
    if answer.status() == StatusCode::OK {
        return Ok(answer);
    }
    Err(FetchError::Status { host: host(answer.url()), status: answer.status().as_u16() })
}

/// A refusal of the guard lies below the client's error.
fn failed(url: &Url, error: reqwest::Error) -> FetchError {
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        if let Some(FetchError::Refused(why)) = inner.downcast_ref::<FetchError>() {
            return FetchError::Refused(why.clone());
        }
        cause = inner.source();
    }
    if error.is_redirect() {
        let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        return FetchError::Refused(format!("a redirect of {} is refused: {why}", host(url)));
    }
    FetchError::Failed { host: host(url), source: error.without_url() }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or("the host").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_are_known_in_every_spelling() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001:0:1::",
            "::127.0.0.1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "140.82.121.4", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    fn guard(hosts: &[&str], private_addresses: bool, http: bool) -> Guard {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Guard::new(&ImportSettings { hosts, private_addresses, http, ..Default::default() })
    }

    #[test]
    fn addresses_are_looked_at() {
        let usual = guard(&[], false, false);
        assert!(usual.check("https://example.com/x").is_ok());
        for url in [
            "http://example.com/",
            "file:///etc/passwd",
            "ftp://example.com/",
            "https://user@example.com/",
            "https://u:p@example.com/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://[::ffff:169.254.169.254]/",
            "nonsense",
            "",
        ] {
            assert!(matches!(usual.check(url), Err(FetchError::Refused(_))), "{url}");
        }
        let some = guard(&["example.com", "*.example.org"], false, true);
        for url in ["http://example.com/", "https://EXAMPLE.com./", "https://a.example.org/", "https://a.b.example.org/"] {
            assert!(some.check(url).is_ok(), "{url}");
        }
        for url in ["https://other.com/", "https://example.org/", "https://evilexample.org/", "https://example.com.evil.net/"] {
            assert!(some.check(url).is_err(), "{url}");
        }
        assert!(guard(&[], true, true).check("http://127.0.0.1:1/").is_ok());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_private_network_is_refused() {
        let refusal = guard(&[], false, false).resolve("localhost", 443).await.unwrap_err().to_string();
        assert!(refusal.contains("private network"), "{refusal}");
        assert!(guard(&[], true, false).resolve("localhost", 443).await.is_ok());
    }
}
