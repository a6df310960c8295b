//! [`Server`]: what a process serves. Services register themselves with it; nothing runs before [`Server::start`].

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::Service;

use crate::layer::Door;
use crate::{BoxError, Channel, IdentityKey, Tls};

/// How long streams may take to say that they end.
const GOODBYE: Duration = Duration::from_secs(1);
/// How many connections may be in their handshake.
const HANDSHAKES: usize = 256;

/// The services and background tasks of one process.
pub struct Server {
    key: IdentityKey,
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    tasks: Vec<(&'static str, BoxFuture<'static, ()>)>,
    shared: http::Extensions,
    shutdown: CancellationToken,
    drained: CancellationToken,
    door: Arc<OnceLock<Door>>,
}

impl Server {
    /// A server without services.
    pub fn new(key: IdentityKey) -> Self {
        Self {
            key,
            routes: RoutesBuilder::default(),
            names: Vec::new(),
            tasks: Vec::new(),
            shared: http::Extensions::new(),
            shutdown: CancellationToken::new(),
            drained: CancellationToken::new(),
            door: Arc::default(),
        }
    }

    /// Adds a generated service.
    pub fn add_service<S>(&mut self, service: S)
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes.add_service(service);
    }

    /// The key by which callers are believed.
    pub fn key(&self) -> &IdentityKey {
        &self.key
    }

    /// What the services of one process share while they are built, by its type.
    pub fn shared(&mut self) -> &mut http::Extensions {
        &mut self.shared
    }

    /// Adds a background task. It starts with the server and must end soon after [`Server::shutdown`] is cancelled;
    /// should it end or panic before, the server stops: a process without its workers must not look healthy.
    pub fn add_task(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push((name, Box::pin(task)));
    }

    /// Cancelled when the server is to stop: background work ends, and calls under way may finish.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Cancelled after [`Server::shutdown`], when no call from outside is under way any more: what calls need may go.
    pub fn drained(&self) -> CancellationToken {
        self.drained.clone()
    }

    /// A channel to the services of this server, without a socket. Works once the server has started.
    pub fn channel(&self) -> Channel {
        Channel::local(self.door.clone(), self.key.clone())
    }

    /// The names of the services that were added.
    pub fn services(&self) -> &[&'static str] {
        &self.names
    }

    /// Starts the background tasks and opens the local channel.
    pub async fn start(mut self) -> Running {
        let (health, health_service) = tonic_health::server::health_reporter();
        self.routes.add_service(health_service);
        for name in &self.names {
            health.set_service_status(name, ServingStatus::Serving).await;
        }
        let hang_up = CancellationToken::new();
        let door = Door::new(self.routes.routes().prepare(), self.key, hang_up.clone());
        let tasks = TaskTracker::new();
        // The cell is only ever set here, and `start` consumes the server.
        let _ = self.door.set(door.clone());
        for (name, task) in self.tasks {
            let shutdown = self.shutdown.clone();
            tasks.spawn(async move {
                let panicked = std::panic::AssertUnwindSafe(task).catch_unwind().await.is_err();
                if panicked || !shutdown.is_cancelled() {
                    tracing::error!(task = name, panicked, "a background task ended; the server stops");
                    shutdown.cancel();
                }
            });
        }
        tasks.close();
        let Self { names, shutdown, drained, .. } = self;
        Running { door, health, names, tasks, shutdown, drained, hang_up }
    }
}

/// A server that has started.
pub struct Running {
    door: Door,
    health: HealthReporter,
    names: Vec<&'static str>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    drained: CancellationToken,
    /// Streams end now, whatever they wait for.
    hang_up: CancellationToken,
}

impl Running {
    /// Cancelled when the server is to stop, or when a background task has died.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Serves over TCP until the shutdown token is cancelled. Then health turns NOT_SERVING, connections are told to go
    /// elsewhere, and calls that are under way may finish: streams that follow what another replica goes on with, too. What
    /// takes longer than `drain` ends with UNAVAILABLE.
    pub async fn serve(&self, listener: TcpListener, tls: Option<Tls>, drain: Duration) -> Result<(), BuildError> {
        let health = self.health.clone();
        let (names, shutdown) = (self.names.clone(), self.shutdown.clone());
        let leaving = async move {
            shutdown.cancelled().await;
            // The empty name is the process itself: what probes ask for.
            for name in names.into_iter().chain([""]) {
                health.set_service_status(name, ServingStatus::NotServing).await;
            }
        };
        // The builder's own `tcp_nodelay` says nothing to sockets that come from outside.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server =
            tonic::transport::Server::builder().initial_stream_window_size(1 << 20).initial_connection_window_size(8 << 20);
        let serving = match tls {
            None => server.serve_with_incoming_shutdown(self.door.clone(), incoming, leaving).left_future(),
            Some(tls) => server.serve_with_incoming_shutdown(self.door.clone(), encrypted(incoming, tls), leaving).right_future(),
        };
        let too_long = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(drain).await;
            self.hang_up.cancel();
            tokio::time::sleep(GOODBYE).await;
        };
        let served = tokio::select! {
            served = serving => served.map_err(|e| BuildError::of("the server failed", e)),
            () = too_long => {
                tracing::warn!("calls were broken off: they took longer than drain_seconds");
                Ok(())
            }
        };
        self.drained.cancel();
        served
    }

    /// Stops the background tasks and waits for them. No call from outside may be under way any more.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.drained.cancel();
        self.tasks.wait().await;
        self.hang_up.cancel();
    }
}

/// The connections whose handshake succeeded; those who dawdle keep nobody waiting.
fn encrypted(
    incoming: TcpIncoming,
    tls: Tls,
) -> impl Stream<Item = std::io::Result<tokio_rustls::server::TlsStream<tokio::net::TcpStream>>> {
    let handshakes = incoming.filter_map(|accepted| std::future::ready(accepted.ok())).map(move |stream| {
        let tls = tls.clone();
        async move {
            tls.accept(stream).await.map_err(|error| {
                tracing::warn!(error = &*error as &dyn std::error::Error, "a connection is refused: no handshake");
            })
        }
    });
    handshakes.buffer_unordered(HANDSHAKES).filter_map(|done| std::future::ready(done.ok().map(Ok)))
}

/// Why a process cannot start: one sentence, with its cause.
#[derive(Debug)]
pub struct BuildError {
    message: String,
    source: Option<BoxError>,
}

impl BuildError {
    /// An error with a message that says what to change.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// An error with its cause.
    pub fn of(message: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self { message: message.into(), source: Some(source.into()) }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
