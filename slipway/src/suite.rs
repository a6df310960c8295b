//! The only place that knows all services: how each is built, and who calls whom.

use std::collections::BTreeMap;
use std::path::PathBuf;

use slipway_bus::Bus;
use slipway_rpc::{Channel, IdentityKey, Server, Tls};
use slipway_storage::{Opened, StoreSettings};
use slipway_telemetry::Metrics;

use crate::args::Service;
use crate::backlog::Backlogs;
use crate::data::{DataDir, Lock};
use crate::error::Failure;
use crate::settings::Settings;

/// The services that keep data of their own.
pub(crate) const STATEFUL: [Service; 5] = SERVICES;
/// All but the gateway, those that are called first.
pub(crate) const SERVICES: [Service; 5] =
    [Service::FileStore, Service::Embedding, Service::Inference, Service::Planner, Service::Conversation];

/// What the services of a process are built from.
pub(crate) struct Parts<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) data: &'a DataDir,
    pub(crate) key: &'a IdentityKey,
    /// How services speak with each other, where they speak TLS.
    pub(crate) tls: Option<Tls>,
    pub(crate) bus: Bus,
    pub(crate) metrics: Metrics,
    /// Where the gateway of this process is reached, if there is one in it.
    pub(crate) gateway: Option<String>,
    stores: Opened,
}

impl<'a> Parts<'a> {
    /// Connects the bus that the settings name.
    pub(crate) async fn new(
        settings: &'a Settings,
        data: &'a DataDir,
        key: &'a IdentityKey,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let bus = Bus::connect(&settings.bus).await?;
        let tls = settings.tls.is_set().then(|| Tls::mutual(&settings.tls)).transpose()?;
        Ok(Self { settings, data, key, tls, bus, metrics: metrics.clone(), gateway: None, stores: Opened::default() })
    }

    /// Opens one service's store and registers it with the server; `neighbour` leads to the others.
    pub(crate) async fn add(
        &self,
        service: Service,
        neighbour: &dyn Fn(Service) -> anyhow::Result<Channel>,
        server: &mut Server,
    ) -> anyhow::Result<Option<Lock>> {
        let lock = if STATEFUL.contains(&service) { self.data.lock_store(self.settings, service)? } else { None };
        let (settings, bus) = (self.settings, self.bus.clone());
        let store = StoreSettings { opened: self.stores.clone(), ..self.data.store(settings, service) };
        let data_dir: PathBuf = self.data.path().to_owned();
        match service {
            Service::Gateway => {}
            Service::FileStore => {
                let documents = slipway_documents::Worker::new(std::env::current_exe()?);
                let deps = slipway_file_store::Deps { data_dir, store, bus, gateway: self.gateway.clone(), documents };
                slipway_file_store::build(&settings.file_store, deps, server).await?;
            }
            Service::Embedding => {
                let deps = slipway_embedding::Deps { data_dir, store, bus, file_store: neighbour(Service::FileStore)? };
                slipway_embedding::build(&settings.embedding, deps, server).await?;
            }
            Service::Inference => {
                let deps = slipway_inference::Deps { store, bus, metrics: self.metrics.clone() };
                slipway_inference::build(&settings.inference, deps, server).await?;
            }
            Service::Planner => {
                let deps = slipway_planner::Deps {
                    store,
                    bus,
                    file_store: neighbour(Service::FileStore)?,
                    embedding: neighbour(Service::Embedding)?,
                    inference: neighbour(Service::Inference)?,
                };
                slipway_planner::build(&settings.planner, deps, server).await?;
            }
            Service::Conversation => {
                let deps = slipway_conversation::Deps {
                    store,
                    bus,
                    planner: neighbour(Service::Planner)?,
                    embedding: neighbour(Service::Embedding)?,
                    inference: neighbour(Service::Inference)?,
                    file_store: neighbour(Service::FileStore)?,
                };
                slipway_conversation::build(&settings.conversation, deps, server).await?;
            }
        }
        Ok(lock)
    }

    /// Runs the bus with the server, and measures what waits for it.
    pub(crate) fn add_bus(&self, server: &mut Server) {
        let (bus, shutdown) = (self.bus.clone(), server.shutdown());
        let stop = shutdown.clone();
        server.add_task("bus", async move { bus.run(stop).await });
        if self.settings.telemetry.metrics_listen.is_empty() {
            return;
        }
        let backlogs = Backlogs::new(self.metrics.clone(), self.stores.clone(), self.bus.clone());
        server.add_task("backlogs", async move {
            shutdown.run_until_cancelled(backlogs.measure()).await;
        });
    }

    /// Has new certificates noticed while the server runs.
    pub(crate) fn add_certificates(&self, server: &mut Server) {
        if let Some(tls) = self.tls.clone() {
            server.add_task("certificates", tls.follow(server.shutdown()));
        }
    }

    /// A channel to a service at its address in the settings.
    pub(crate) fn remote(&self, service: Service) -> anyhow::Result<Channel> {
        let key = service.name().replace('-', "_");
        let missing = || Failure::usage(format!("services.{key} is not set: where does the {} service listen?", service.name()));
        Ok(Channel::remote(self.settings.services.of(service).ok_or_else(missing)?, self.key, self.tls.as_ref())?)
    }
}

/// The gateway's way to those of these services that keep data of their own, by the names of the command line.
pub(crate) fn addressed(
    services: impl IntoIterator<Item = Service>,
    channel: impl Fn(Service) -> anyhow::Result<Channel>,
) -> anyhow::Result<BTreeMap<String, Channel>> {
    let stateful = services.into_iter().filter(|service| STATEFUL.contains(service));
    stateful.map(|service| Ok((service.name().to_owned(), channel(service)?))).collect()
}

/// The gateway's way to these services, by the package's name in `proto/`.
pub(crate) fn upstreams(
    services: impl IntoIterator<Item = Service>,
    channel: impl Fn(Service) -> anyhow::Result<Channel>,
) -> anyhow::Result<BTreeMap<String, Channel>> {
    services.into_iter().map(|service| Ok((service.name().replace('-', ""), channel(service)?))).collect()
}
