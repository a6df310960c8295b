//! Real handshakes, with certificates that are made for them.

use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::{Channel, IdentityKey, Running, Server};

/// An authority, and the files of a process that it vouches for.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    fn issue(&self, dir: &Path, expired: bool) -> TlsSettings {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let file = |name: &str, text: String| {
            std::fs::write(dir.join(name), text).unwrap();
            dir.join(name).display().to_string()
        };
        TlsSettings {
            cert: file("tls.crt", cert.pem()),
            key: file("tls.key", key.serialize_pem()),
            ca: file("ca.crt", self.pem.clone()),
        }
    }
}

fn key() -> IdentityKey {
    IdentityKey::new(&SecretString::from("0123456789abcdef0123456789abcdef")).unwrap()
}

struct Service {
    address: SocketAddr,
    tls: Tls,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Service {
    async fn start(settings: &TlsSettings) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running: Running = Server::new(key()).start().await;
        let (tls, shutdown) = (Tls::mutual(settings).unwrap(), running.shutdown());
        let given = tls.clone();
        let serving = tokio::spawn(async move { running.serve(listener, Some(given), Duration::ZERO).await.unwrap() });
        Service { address, tls, shutdown, serving }
    }

    fn client(&self, tls: &Tls) -> HealthClient<Channel> {
        let uri = format!("https://localhost:{}", self.address.port());
        HealthClient::new(Channel::remote(&uri, &key(), Some(tls)).unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.serving.abort();
    }
}

async fn check(client: &mut HealthClient<Channel>) -> Result<(), tonic::Status> {
    client.check(HealthCheckRequest::default()).await.map(drop)
}

fn dirs() -> (TempDir, TempDir) {
    (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn those_whom_one_authority_vouches_for_meet() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (here, there) = dirs();
    let service = Service::start(&authority.issue(here.path(), false)).await;
    check(&mut service.client(&Tls::mutual(&authority.issue(there.path(), false)).unwrap())).await.unwrap();

    // Nobody's client is refused by the server, nobody's server by the client, and an old certificate by either.
    let mut stranger = other.issue(there.path(), false);
    check(&mut service.client(&Tls::mutual(&stranger).unwrap())).await.unwrap_err();
    let trusted = here.path().join("ca.crt").display().to_string();
    stranger.ca = trusted;
    check(&mut service.client(&Tls::mutual(&stranger).unwrap())).await.unwrap_err();
    check(&mut service.client(&Tls::mutual(&authority.issue(there.path(), true)).unwrap())).await.unwrap_err();
    let plain = format!("http://localhost:{}", service.address.port());
    check(&mut HealthClient::new(Channel::remote(&plain, &key(), None).unwrap())).await.unwrap_err();
}

#[tokio::test]
async fn new_files_are_used_for_new_connections_and_broken_ones_are_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let (here, there) = dirs();
    let service = Service::start(&old.issue(here.path(), false)).await;
    let settings = old.issue(there.path(), false);
    let ours = Tls::mutual(&settings).unwrap();
    let mut standing = service.client(&ours);
    let mut watched = standing.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watched.message().await.unwrap();

    std::fs::write(here.path().join("tls.crt"), "not a certificate").unwrap();
    service.tls.look();
    check(&mut service.client(&ours)).await.expect("the old ones stay");

    new.issue(here.path(), false);
    service.tls.look();
    check(&mut service.client(&ours)).await.expect_err("ours are not its any more");
    new.issue(there.path(), false);
    ours.look();
    check(&mut service.client(&ours)).await.expect("both have new ones");
    check(&mut standing).await.expect("a connection that stands is left alone");
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(TlsSettings::default().check(), Ok(()));
    let half = TlsSettings { cert: "x".to_owned(), ..TlsSettings::default() };
    assert!(half.check().unwrap_err().starts_with("tls.key"));
    let nowhere = TlsSettings { cert: "/nowhere/x".into(), key: "/nowhere/y".into(), ca: "/nowhere/z".into() };
    assert!(Tls::mutual(&nowhere).err().unwrap().to_string().contains("[tls]"));
}
