//! A provider that cannot be reached: what is in the way, and what to do about it.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};

use super::super::Endpoint;
use crate::error::{Kind, ProviderError};

/// What stands between us and a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    Dns,
    Refused,
    Unreachable,
    Tls,
    Certificate,
    Slow,
    Reset,
    Other,
}

/// A request that could not be sent, or an answer that did not begin.
pub(in crate::provider::http) fn not_sent(at: &Endpoint, error: reqwest::Error) -> ProviderError {
    let obstacle = Obstacle::of(&error);
    let (connecting, error) = (error.is_connect(), error.without_url());
    let message = match (obstacle, connecting) {
        (Obstacle::Dns, _) => "cannot be reached: its host name has no address",
        (Obstacle::Refused, _) => "cannot be reached: the connection was refused",
        (Obstacle::Unreachable, _) => "cannot be reached: there is no route to its address",
        (Obstacle::Tls, _) => "cannot be reached: the TLS handshake failed",
        (Obstacle::Certificate, _) => "cannot be reached: its TLS certificate is not accepted",
        (Obstacle::Slow, true) => "cannot be reached: the connection was not made in time",
        (Obstacle::Reset, true) => "cannot be reached: the connection was reset",
        (Obstacle::Other, true) => "cannot be reached",
        (Obstacle::Slow, false) => "did not answer in time",
        (Obstacle::Reset, false) => "broke off before it answered: the connection was reset",
        (Obstacle::Other, false) => "broke off before it answered",
    };
    let mut failed = at.error(Kind::Network, message);
    failed.advice = obstacle.advice();
    failed.caused_by(error)
}

/// An answer that broke off.
pub(in crate::provider::http) fn broke_off(at: &Endpoint, error: reqwest::Error) -> ProviderError {
    let obstacle = Obstacle::of(&error);
    let mut failed = at.broke_off();
    if obstacle == Obstacle::Reset {
        failed.message.push_str(": the connection was reset");
    }
    failed.advice = obstacle.advice();
    failed.caused_by(error.without_url())
}

impl Obstacle {
    /// The first in the chain of causes that says more than that something failed.
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(cause) = next {
            let found = Self::of_cause(cause);
            if found != Self::Other {
                return found;
            }
            // What is wrapped in an I/O error is not among its sources.
            let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = match inner {
                Some(inner) => Some(inner),
                None => cause.source(),
            };
        }
        Self::Other
    }

    fn of_cause(cause: &(dyn StdError + 'static)) -> Self {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            let certificate = matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented);
            return if certificate { Self::Certificate } else { Self::Tls };
        }
        // The connector's own error has no type that could be named.
        if cause.to_string().starts_with("dns error") {
            return Self::Dns;
        }
        // reqwest's own timer is known by reqwest alone.
        if cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout) {
            return Self::Slow;
        }
        match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(ErrorKind::ConnectionRefused) => Self::Refused,
            Some(
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::AddrNotAvailable,
            ) => Self::Unreachable,
            Some(ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe) => Self::Reset,
            Some(ErrorKind::TimedOut) => Self::Slow,
            _ => Self::Other,
        }
    }

    /// `None`: what is said of all of them will do.
    fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::Dns => "check the host in the provider's base_url, and this machine's DNS",
            Self::Refused => "check that the provider runs, and the port in its base_url",
            Self::Unreachable => "check this machine's network and routes, or the proxy in HTTPS_PROXY",
            Self::Tls => "check that the base_url's port speaks TLS (https) and not plain HTTP",
            Self::Certificate => "check the host in the base_url, or add its authority to this machine's certificates",
            Self::Slow => "check this machine's network and firewall, or raise the provider's connect_timeout_ms",
            Self::Reset => "try again; if it stays, look for a proxy or a firewall between here and the provider",
            Self::Other => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::Arc;
    use std::time::Duration;

    use reqwest::dns::{Addrs, Name, Resolve, Resolving};
    use slipway_rpc::Fault;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::provider::http::testing::{PATIENCE, endpoint};

    /// A name server that knows nothing, or never answers.
    struct Names {
        answers: bool,
    }

    impl Resolve for Names {
        fn resolve(&self, _: Name) -> Resolving {
            let answers = self.answers;
            Box::pin(async move {
                if answers {
                    return Err::<Addrs, _>("no such name".into());
                }
                std::future::pending().await
            })
        }
    }

    async fn failure(address: &str, names: Option<bool>) -> ProviderError {
        let mut client = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_millis(300));
        if let Some(answers) = names {
            client = client.dns_resolver(Arc::new(Names { answers }));
        }
        let at = endpoint("");
        let sent = client.build().unwrap().post(address).body("{}").send();
        not_sent(&at, tokio::time::timeout(PATIENCE, sent).await.unwrap().unwrap_err())
    }

    /// The failure at somebody who does this with the first connection.
    async fn failure_at<F: Future<Output = ()> + Send>(
        scheme: &str,
        act: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> ProviderError {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = async move { act(listener.accept().await.unwrap().0).await };
        let address = format!("{scheme}://{address}/v1");
        let (failed, ()) = tokio::join!(failure(&address, None), serving);
        failed
    }

    fn expect(failed: ProviderError, message: &str, advice: &str) {
        assert_eq!((failed.kind, failed.message.as_str()), (Kind::Network, message), "{failed:?}");
        let told = Fault::from(failed);
        assert!(told.message().contains(advice), "{}", told.message());
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_named() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let refused = failure(&format!("http://{gone}/v1"), None).await;
        expect(refused, "cannot be reached: the connection was refused", "check that the provider runs");
        let unknown = failure("http://provider.example/v1", Some(true)).await;
        expect(unknown, "cannot be reached: its host name has no address", "this machine's DNS");
        let slow = failure("http://provider.example/v1", Some(false)).await;
        expect(slow, "cannot be reached: the connection was not made in time", "connect_timeout_ms");
        let plain = failure_at("https", async |mut socket| {
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
        });
        expect(plain.await, "cannot be reached: the TLS handshake failed", "speaks TLS");
        // A socket that is closed with something unread resets its connection.
        let reset = failure_at("http", async |socket| drop(socket.peek(&mut [0]).await));
        expect(reset.await, "broke off before it answered: the connection was reset", "a proxy or a firewall");
        let silent = failure_at("http", async |mut socket| {
            let _ = socket.read(&mut [0; 4096]).await;
        });
        expect(silent.await, "broke off before it answered", "check the provider's base_url");
    }

    #[test]
    fn a_certificate_that_is_not_accepted_is_told_from_a_broken_handshake() {
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(Obstacle::of(&io::Error::new(ErrorKind::InvalidData, unknown)), Obstacle::Certificate);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure);
        assert_eq!(Obstacle::of(&io::Error::other(alert)), Obstacle::Tls);
        for (kind, obstacle) in [
            (ErrorKind::NetworkUnreachable, Obstacle::Unreachable),
            (ErrorKind::BrokenPipe, Obstacle::Reset),
            (ErrorKind::TimedOut, Obstacle::Slow),
            (ErrorKind::NotFound, Obstacle::Other),
        ] {
            assert_eq!(Obstacle::of(&io::Error::other(io::Error::from(kind))), obstacle, "{kind:?}");
        }
    }
}
