//! [`Tls`]: the certificates of this process, read again whenever their files change. Connections that stand are left alone;
//! new ones are made with what is in the files then. A file that cannot be used changes nothing, and is complained about.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

use crate::{BoxError, BuildError};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The section `[tls]`: mutual TLS between the services. All three or none; PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The certificate that this process shows to those who call it and to those whom it calls, with its chain.
    pub cert: String,
    /// Its private key.
    pub key: String,
    /// The authority whose certificates the others must show.
    pub ca: String,
}

/// The section `[gateway.tls]`: the certificate of the front door; PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FrontTlsSettings {
    /// The certificate, with its chain.
    pub cert: String,
    /// Its private key.
    pub key: String,
}

impl TlsSettings {
    /// Whether the services speak TLS with each other.
    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }

    /// Names the first key that is missing.
    pub fn check(&self) -> Result<(), String> {
        let missing = [("cert", &self.cert), ("key", &self.key), ("ca", &self.ca)].into_iter().find(|(_, file)| file.is_empty());
        match missing {
            Some((name, _)) if self.is_set() => Err(format!("tls.{name} is missing: cert, key and ca go together")),
            _ => Ok(()),
        }
    }
}

impl FrontTlsSettings {
    /// Whether the front door speaks TLS.
    pub fn is_set(&self) -> bool {
        *self != Self::default()
    }

    /// Names the first key that is missing.
    pub fn check(&self) -> Result<(), String> {
        match self.is_set() && (self.cert.is_empty() || self.key.is_empty()) {
            true => Err("gateway.tls.cert and gateway.tls.key go together".to_owned()),
            false => Ok(()),
        }
    }
}

/// The certificates of this process; cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    cert: PathBuf,
    key: PathBuf,
    ca: Option<PathBuf>,
    now: RwLock<Configs>,
}

/// What connections are made with.
#[derive(Clone)]
struct Configs {
    /// The files that these were made of.
    read: Files,
    server: Arc<ServerConfig>,
    client: Option<Arc<ClientConfig>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
}

impl Tls {
    /// For services among themselves: both sides show a certificate.
    pub fn mutual(settings: &TlsSettings) -> Result<Self, BuildError> {
        Self::open("tls", &settings.cert, &settings.key, Some(&settings.ca))
    }

    /// For the front door: only we show one.
    pub fn front(settings: &FrontTlsSettings) -> Result<Self, BuildError> {
        Self::open("gateway.tls", &settings.cert, &settings.key, None)
    }

    fn open(section: &str, cert: &str, key: &str, ca: Option<&str>) -> Result<Self, BuildError> {
        let (cert, key, ca) = (PathBuf::from(cert), PathBuf::from(key), ca.map(PathBuf::from));
        let unusable = |e: BoxError| BuildError::of(format!("the files of [{section}] cannot be used"), e);
        let files = Files::read(&cert, &key, ca.as_deref()).map_err(unusable)?;
        let now = RwLock::new(Configs::of(files).map_err(unusable)?);
        Ok(Self(Arc::new(Inner { cert, key, ca, now })))
    }

    /// Looks at the files again and again, until `shutdown`.
    pub async fn follow(self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            self.look();
        }
    }

    fn look(&self) {
        let inner = &self.0;
        let found = Files::read(&inner.cert, &inner.key, inner.ca.as_deref());
        let changed = found.and_then(|files| if files == self.now().read { Ok(None) } else { Configs::of(files).map(Some) });
        match changed {
            Ok(None) => {}
            Ok(Some(configs)) => {
                *inner.now.write().unwrap_or_else(PoisonError::into_inner) = configs;
                tracing::info!(cert = %inner.cert.display(), "new certificates are in use");
            }
            Err(error) => {
                let cert = inner.cert.display();
                tracing::error!(%cert, error = &*error as &dyn std::error::Error, "new certificates cannot be used; the old ones stay");
            }
        }
    }

    fn now(&self) -> Configs {
        self.0.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server's side of a connection.
    pub async fn accept(&self, stream: TcpStream) -> Result<tokio_rustls::server::TlsStream<TcpStream>, BoxError> {
        let acceptor = TlsAcceptor::from(self.now().server);
        Ok(tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??)
    }

    /// The client's side of a connection to `host`.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, BoxError> {
        let client = self.now().client.ok_or("there is no authority to trust")?;
        let name = ServerName::try_from(host.to_owned())?;
        Ok(tokio::time::timeout(HANDSHAKE, TlsConnector::from(client).connect(name, stream)).await??)
    }
}

impl Files {
    fn read(cert: &Path, key: &Path, ca: Option<&Path>) -> Result<Self, BoxError> {
        let read = |path: &Path| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        Ok(Self { cert: read(cert)?, key: read(key)?, ca: ca.map(read).transpose()? })
    }
}

impl Configs {
    fn of(read: Files) -> Result<Self, BoxError> {
        let certs = certificates(&read.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&read.key).map_err(|e| format!("the key is not one: {e}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (mut server, client) = match &read.ca {
            Some(ca) => {
                let roots = Arc::new(roots(ca)?);
                let mut client = client(provider.clone(), roots.clone()).with_client_auth_cert(certs.clone(), key.clone_key())?;
                client.alpn_protocols = vec![b"h2".to_vec()];
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
                let server = server(provider)?.with_client_cert_verifier(verifier).with_single_cert(certs, key)?;
                (server, Some(Arc::new(client)))
            }
            None => (server(provider)?.with_no_client_auth().with_single_cert(certs, key)?, None),
        };
        // The services speak HTTP/2 alone; the front door also speaks with those who cannot.
        server.alpn_protocols = vec![b"h2".to_vec()];
        if client.is_none() {
            server.alpn_protocols.push(b"http/1.1".to_vec());
        }
        Ok(Self { read, server: Arc::new(server), client })
    }
}

fn server(provider: Arc<CryptoProvider>) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

fn client(
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // Fails for a provider that knows none of the default protocol versions.
    versions.expect("ring knows TLS 1.2 and 1.3").with_root_certificates(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BoxError> {
    let certs: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    if certs.is_empty() { Err("there is no certificate in it".into()) } else { Ok(certs) }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, BoxError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
