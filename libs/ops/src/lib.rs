//! What operators can do with any service that keeps data of its own: `slipway.operations.v1`, written once.
//!
//! A service calls [`register`] with its store, and [`subscribe`] instead of the bus's own for every event that it follows.
//! Then its dead jobs, and the events that it could not take, can be listed, redriven and deleted; and request ids that are too
//! old for anybody to repeat are forgotten.

mod consumer;
mod rpc;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use slipway_proto::operations::operations_service_server::OperationsServiceServer;
use slipway_rpc::Server;
use slipway_storage::{Store, requests};

pub use consumer::subscribe;

/// The header of a call that names the service which it is about.
pub const SERVICE_HEADER: &str = "slipway-service";

/// The stores of the services in this process, by their names.
#[derive(Clone, Default)]
struct Stores(Arc<RwLock<BTreeMap<&'static str, Store>>>);

impl Stores {
    fn add(&self, service: &'static str, store: Store) {
        self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(service, store);
    }

    fn find(&self, service: &str) -> Option<Store> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(service).cloned()
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).keys().copied().collect()
    }
}

/// Serves the operations on `store` under the service's name, as in `file-store`. Where several services share a process,
/// they share one endpoint.
pub fn register(server: &mut Server, service: &'static str, store: Store) {
    server.add_task("old request ids", requests::forget_old(store.clone(), server.shutdown()));
    if let Some(stores) = server.shared().get::<Stores>() {
        return stores.add(service, store);
    }
    let stores = Stores::default();
    stores.add(service, store);
    server.shared().insert(stores.clone());
    server.add_service(OperationsServiceServer::new(rpc::Rpc(stores)));
}
