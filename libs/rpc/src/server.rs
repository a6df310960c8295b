//! [`Server`]: what a process serves. Services register themselves with it; nothing runs before [`Server::start`].

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, OnceLock};

use futures::FutureExt as _;
use futures::future::BoxFuture;
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
use crate::{BoxError, Channel, IdentityKey};

/// The services and background tasks of one process.
pub struct Server {
    key: IdentityKey,
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    tasks: Vec<(&'static str, BoxFuture<'static, ()>)>,
    shutdown: CancellationToken,
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
            shutdown: CancellationToken::new(),
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

    /// Adds a background task. It starts with the server and must end soon after [`Server::shutdown`] is cancelled;
    /// should it end or panic before, the server stops: a process without its workers must not look healthy.
    pub fn add_task(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push((name, Box::pin(task)));
    }

    /// Cancelled when the server is to stop.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
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
        let door = Door::new(self.routes.routes().prepare(), self.key);
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
        Running { door, health, names: self.names, tasks, shutdown: self.shutdown }
    }
}

/// A server that has started.
pub struct Running {
    door: Door,
    health: HealthReporter,
    names: Vec<&'static str>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Running {
    /// Cancelled when the server is to stop, or when a background task has died.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Serves over TCP until the shutdown token is cancelled, then lets the calls that are under way finish.
    pub async fn serve(&self, listener: TcpListener) -> Result<(), BuildError> {
        let health = self.health.clone();
        let (names, shutdown) = (self.names.clone(), self.shutdown.clone());
        let drained = async move {
            shutdown.cancelled().await;
            for name in names {
                health.set_service_status(name, ServingStatus::NotServing).await;
            }
        };
        // The builder's own `tcp_nodelay` says nothing to sockets that come from outside.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tonic::transport::Server::builder()
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .serve_with_incoming_shutdown(self.door.clone(), incoming, drained)
            .await
            .map_err(|e| BuildError::of("the server failed", e))
    }

    /// Stops the background tasks and waits for them.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.wait().await;
    }
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
