//! The front door: who are you, may you, how often; then bytes pass through. Knows no domain.
//!
//! Besides calls it serves files by signed links over plain HTTP, see `files.rs`: there it is a client of the file store.
//!
//! What a method needs of its caller is written in `proto/` and read from the compiled descriptor set; the gateway knows no
//! method by name. A call's body is never decoded: a call is a lookup, four questions, and two streams of bytes. The
//! signed identity, the request id, the trace and the deadline go to the service in headers that only Slipway may set.
//!
//! Without tokens in the settings the gateway is in local mode: it listens on loopback only, and whoever reaches it is
//! [`LOCAL_USER`] with the one project [`LOCAL_PROJECT`].

mod answer;
mod auth;
mod files;
mod front;
mod limit;
mod open;
pub mod policy;
mod serve;
pub mod settings;
mod web;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use slipway_bus::Bus;
use slipway_rpc::{BuildError, Channel, LinkKey, Tls};
use slipway_telemetry::Metrics;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::front::{Front, Ways};
use crate::limit::Limits;
use crate::open::Health;
use crate::policy::{Policies, split, upstream};
use crate::web::Origins;

pub use settings::{Settings, Token};

/// The user of local mode: `00000000-0000-7000-8000-000000000001`.
pub const LOCAL_USER: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001);
/// The project of local mode: `00000000-0000-7000-8000-000000000002`.
pub const LOCAL_PROJECT: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0002);

/// The organisation of local mode: `00000000-0000-7000-8000-000000000003`.
pub const LOCAL_ORGANISATION: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0003);
/// What the token of local mode would be called, if there were one.
pub const LOCAL_TOKEN: &str = "local";

/// What the gateway is given.
pub struct Deps {
    /// The address to listen on: `127.0.0.1:50051`.
    pub listen: String,
    /// The services, by their package: `filestore` for `slipway.filestore.v1`. A service that is not there is not public.
    pub upstreams: BTreeMap<String, Channel>,
    /// Those that calls of addressed methods may name, by the names that they use: `file-store`.
    pub addressed: BTreeMap<String, Channel>,
    /// The way to the other gateways, where all have one rate.
    pub bus: Bus,
    /// Where calls are counted.
    pub metrics: Metrics,
    /// What the links to files are signed with.
    pub links: LinkKey,
}

/// A gateway that has its port and waits to be run.
pub struct Gateway {
    listener: TcpListener,
    address: SocketAddr,
    local: bool,
    front: Arc<Front>,
    origins: Arc<Origins>,
    health: Health,
    tls: Option<Tls>,
    drain: Duration,
}

impl Gateway {
    /// Checks the settings, reads the policies, and binds the port. Nothing runs before [`Gateway::run`].
    pub async fn build(settings: &Settings, deps: Deps) -> Result<Gateway, BuildError> {
        settings.check().map_err(BuildError::new)?;
        let policies = Policies::read(slipway_proto::DESCRIPTORS)?;
        warn_of_missing(&policies, &deps.upstreams);
        let (open, health) = open::routes(&policies, slipway_proto::DESCRIPTORS, &deps).await?;
        let limits = Limits::new(settings, &deps.bus, &deps.metrics);
        let ways = Ways { upstreams: &deps.upstreams, addressed: deps.addressed, links: deps.links };
        let front = Front::new(settings, &policies, ways, limits, deps.metrics, open);
        let tls = settings.tls.is_set().then(|| Tls::front(&settings.tls)).transpose()?;
        let listener = bind(&deps.listen, settings.is_local()).await?;
        let address = listener.local_addr().map_err(|e| BuildError::of("the listen address cannot be read back", e))?;
        Ok(Gateway {
            listener,
            address,
            local: settings.is_local(),
            front: Arc::new(front),
            origins: Arc::new(Origins::new(settings)),
            health,
            tls,
            drain: Duration::from_secs(settings.drain_seconds),
        })
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it is reached.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Whether nobody has to sign in.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Serves until `shutdown` is cancelled. Then health turns NOT_SERVING, clients are asked to go elsewhere, and calls
    /// under way may finish for `gateway.drain_seconds`.
    pub async fn run(self, shutdown: CancellationToken) {
        if self.local {
            tracing::info!(
                "listening on {} in local mode: no sign-in, loopback only, one local user and one default project",
                self.address
            );
        } else {
            tracing::info!("listening on {}; callers need a token", self.address);
        }
        let silenced = CancellationToken::new();
        let health = async {
            self.health.run(shutdown.clone()).await;
            silenced.cancel();
        };
        let certificates = async {
            if let Some(tls) = self.tls.clone() {
                tls.follow(shutdown.clone()).await;
            }
        };
        let house = serve::House { front: self.front, origins: self.origins, tls: self.tls.clone() };
        let served = serve::serve(self.listener, house, self.drain, silenced.clone(), shutdown.clone());
        tokio::join!(health, certificates, served);
    }
}

/// Binds the address, which in local mode must be one that only this machine can reach.
async fn bind(listen: &str, local: bool) -> Result<TcpListener, BuildError> {
    let unusable = || format!("listen \"{listen}\" is not an address such as 127.0.0.1:50051");
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(listen).await.map_err(|e| BuildError::of(unusable(), e))?.collect();
    if local && !addresses.iter().all(|a| a.ip().is_loopback()) {
        return Err(BuildError::new(format!(
            "listen \"{listen}\" can be reached from other machines, and without gateway.tokens nobody has to sign in: \
             configure gateway.tokens, or listen on a loopback address such as 127.0.0.1:50051"
        )));
    }
    let bound = TcpListener::bind(addresses.as_slice()).await;
    bound.map_err(|e| BuildError::of(format!("cannot listen on \"{listen}\""), e))
}

fn warn_of_missing(policies: &Policies, upstreams: &BTreeMap<String, Channel>) {
    let of_one = policies.iter().filter(|(_, policy)| !policy.addressed);
    let mut missing: Vec<&str> = of_one.map(|(path, _)| split(path).0).collect();
    missing.retain(|service| !upstreams.contains_key(upstream(service)));
    missing.dedup();
    for service in missing {
        tracing::warn!("{service} is not served here: the settings give no address for it");
    }
}

#[cfg(test)]
mod tests;
