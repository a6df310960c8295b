//! [`Pool`]: the connections to every replica of one service. A name counts for every address that it resolves to and is
//! looked up again and again; each address has one connection, made anew when it is lost; a call goes to the less loaded of
//! two that are up, chosen by chance (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
//!
//! A call is only ever sent on a connection that stands. One that ended or was told to go away takes no new calls, and what
//! was not yet sent on it goes to another: a replica that stops costs no call, one that dies costs those that it had.

mod peer;
mod replay;
mod resolve;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use rand::Rng as _;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;

use crate::{BoxError, BuildError, Tls};
use peer::{Peer, Sender};
use resolve::{Target, targets};

pub(crate) use resolve::{Names, Resolve};

/// How long a call waits for the first connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often names are looked up.
const LOOK_UP: Duration = Duration::from_secs(5);
/// Lookups that a failure asks for are at least so far apart.
const LOOK_UP_AGAIN: Duration = Duration::from_millis(250);

/// Connections to the replicas of a service; cheap to clone. They close when the last clone and the last call are gone.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    targets: Vec<Target>,
    resolver: Arc<dyn Resolve>,
    tls: Option<Tls>,
    peers: Mutex<HashMap<SocketAddr, Peer>>,
    /// Counts whatever has happened to the peers; those who wait look again.
    changed: watch::Sender<u64>,
    /// Peers that pause after a failure need not wait any longer.
    hurry: Arc<Notify>,
    /// A failure is a reason to look names up.
    look_up: Notify,
    /// What the last lookup failed with.
    unknown: Mutex<Option<String>>,
    tasks: TaskTracker,
    started: Mutex<bool>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be reached: {1}")]
pub(crate) struct Unreachable(String, String);

impl Pool {
    /// A pool of `uri`, or of several, separated by commas. Nothing is looked up before the first call.
    pub(crate) fn new(uri: &str, resolver: Arc<dyn Resolve>, tls: Option<Tls>) -> Result<Self, BuildError> {
        let targets = targets(uri)?;
        if tls.is_none() && targets.iter().any(|target| target.scheme == Scheme::HTTPS) {
            return Err(BuildError::new(format!("the service address \"{uri}\" wants TLS, and [tls] is not set")));
        }
        Ok(Self(Arc::new(Inner {
            targets,
            resolver,
            tls,
            peers: Mutex::default(),
            changed: watch::channel(0).0,
            hurry: Arc::default(),
            look_up: Notify::new(),
            unknown: Mutex::default(),
            tasks: TaskTracker::new(),
            started: Mutex::default(),
        })))
    }

    /// Sends a request to one of the replicas.
    pub(crate) async fn call(&self, mut request: Request<Body>) -> Result<Response<Body>, BoxError> {
        self.start();
        loop {
            let sender = self.acquire().await?;
            *request.uri_mut() = at(request.uri(), &sender.scheme, &sender.authority)?;
            match sender.send(request).await {
                Ok(response) => return Ok(response),
                Err(peer::SendError::NotSent(back)) => request = *back,
                Err(peer::SendError::Broken(error)) => {
                    self.0.look_up.notify_one();
                    return Err(error.into());
                }
            }
        }
    }

    /// A connection that is up, as soon as there is one. Fails when every address has failed since the call came.
    async fn acquire(&self) -> Result<Sender, Unreachable> {
        let (came, mut changes) = (Instant::now(), self.0.changed.subscribe());
        loop {
            changes.borrow_and_update();
            if let Some(sender) = self.0.pick() {
                return Ok(sender);
            }
            if let Some(why) = self.0.all_failed_since(came) {
                return Err(Unreachable(self.0.name(), why));
            }
            self.0.hurry.notify_waiters();
            self.0.look_up.notify_one();
            let waited = tokio::time::timeout_at(came + CONNECT_TIMEOUT, changes.changed()).await;
            if waited.is_err() {
                return Err(Unreachable(self.0.name(), format!("there is no connection after {CONNECT_TIMEOUT:?}")));
            }
        }
    }

    /// Has the names looked up from now on, until the pool is dropped.
    fn start(&self) {
        let mut started = self.0.started.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *started, true) {
            self.0.tasks.spawn(keep(Arc::downgrade(&self.0)));
        }
    }
}

impl Inner {
    fn name(&self) -> String {
        self.targets.iter().map(|target| target.authority.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn pick(&self) -> Option<Sender> {
        let peers = self.peers();
        let mut up: Vec<&Sender> = peers.values().filter_map(Peer::sender).collect();
        if up.len() < 2 {
            return up.pop().cloned();
        }
        let first = up.swap_remove(rand::rng().random_range(0..up.len()));
        let second = up.swap_remove(rand::rng().random_range(0..up.len()));
        Some(if second.load() < first.load() { second } else { first }.clone())
    }

    fn all_failed_since(&self, came: Instant) -> Option<String> {
        let peers = self.peers();
        if peers.is_empty() {
            return self.unknown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
        let mut why = None;
        for peer in peers.values() {
            why = Some(peer.failure_since(came)?);
        }
        why
    }

    /// Adds what is new, and lets go of what is no longer an address: calls that are under way there go on.
    fn follow(self: &Arc<Self>, found: HashMap<SocketAddr, Target>) {
        let mut peers = self.peers();
        peers.retain(|address, _| found.contains_key(address));
        for (address, target) in found {
            peers.entry(address).or_insert_with(|| {
                let gone = CancellationToken::new();
                self.tasks.spawn(peer::keep(Arc::downgrade(self), address, target, self.tls.clone(), gone.clone()));
                Peer::new(gone)
            });
        }
    }
}

/// Looks the names up, now and again, while there is a pool.
async fn keep(pool: Weak<Inner>) {
    while let Some(pool) = pool.upgrade() {
        let (mut found, mut failure) = (HashMap::new(), None);
        for target in &pool.targets {
            match pool.resolver.resolve(target.host(), target.port()).await {
                Ok(addresses) => found.extend(addresses.into_iter().map(|address| (address, target.clone()))),
                Err(error) => failure = Some(error.to_string()),
            }
        }
        // A name server that is away for a moment takes no connection from us.
        if !found.is_empty() || failure.is_none() {
            pool.follow(found);
        }
        *pool.unknown.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        pool.tell();
        let asked = pool.look_up.notified();
        let pause = async {
            tokio::time::sleep(LOOK_UP_AGAIN).await;
            // Sooner only for those who have nobody to call, or have just lost somebody.
            let _ = tokio::time::timeout(LOOK_UP - LOOK_UP_AGAIN, asked).await;
        };
        pause.await;
    }
}

/// The same path at another place.
fn at(uri: &Uri, scheme: &Scheme, authority: &Authority) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder().scheme(scheme.clone()).authority(authority.clone()).path_and_query(path).build()
}
