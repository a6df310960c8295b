//! A stand-in for a Qdrant server: the few RPCs that we use, on shards of qdrant-edge, over a real gRPC connection.
//!
//! It shows what we send and how we read the answers: names, filters, conditions, vectors, pages, batches. It does not show
//! what a real server does with them. Where it can, it is stricter than a server need be: it refuses what it does not know,
//! filters on fields without an index, and calls without the key.

mod convert;
mod rpc;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qdrant_client::qdrant::collections_server::CollectionsServer;
use qdrant_client::qdrant::points_server::PointsServer;
use qdrant_client::qdrant::{CreateCollection, vectors_config};
use qdrant_edge::{Distance, EdgeConfig, EdgeShard, EdgeSparseVectorParams, EdgeVectorParams, Modifier};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};

use crate::settings::Qdrant;

const KEY: &str = "the-key-of-the-test";

/// A running server; it ends with this.
pub(crate) struct StandIn {
    state: Arc<State>,
    url: String,
    _stop: DropGuard,
}

pub(super) struct State {
    dir: TempDir,
    held: Mutex<Held>,
}

/// What the server holds.
#[derive(Default)]
pub(crate) struct Held {
    collections: BTreeMap<String, Collection>,
    aliases: BTreeMap<String, String>,
    /// Requests of which nothing is answered any more.
    pub(crate) away: bool,
    /// Names and counts of the calls.
    pub(crate) calls: HashMap<&'static str, usize>,
}

struct Collection {
    shard: Arc<EdgeShard>,
    indexed: HashSet<String>,
}

impl StandIn {
    pub(crate) async fn start() -> StandIn {
        let state = Arc::new(State { dir: tempfile::tempdir().unwrap(), held: Mutex::default() });
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", incoming.local_addr().unwrap());
        let stop = CancellationToken::new();
        let server = tonic::transport::Server::builder()
            .add_service(PointsServer::new(rpc::Rpc(state.clone())))
            .add_service(CollectionsServer::new(rpc::Rpc(state.clone())))
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        tokio::spawn(server);
        StandIn { state, url, _stop: stop.drop_guard() }
    }

    pub(crate) fn settings(&self) -> Qdrant {
        Qdrant { url: self.url.clone(), api_key: KEY.into(), ..Qdrant::default() }
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.state.held()
    }

    /// Loses everything, as a server on a new disk has.
    pub(crate) fn lose(&self) {
        let mut held = self.held();
        held.collections.clear();
        held.aliases.clear();
    }

    /// The names of the collections, and what the aliases stand for.
    pub(crate) fn names(&self) -> (Vec<String>, BTreeMap<String, String>) {
        let held = self.held();
        (held.collections.keys().cloned().collect(), held.aliases.clone())
    }
}

impl State {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call in: it has the key and the server is there.
    fn admit<T>(&self, call: &'static str, request: &Request<T>) -> Result<(), Status> {
        if request.metadata().get("api-key").is_none_or(|key| key != KEY) {
            return Err(Status::unauthenticated("Invalid API key"));
        }
        let mut held = self.held();
        *held.calls.entry(call).or_default() += 1;
        if held.away { Err(Status::unavailable("away")) } else { Ok(()) }
    }

    /// A collection by its name or its alias, if every field is indexed that the filters name.
    fn shard(&self, name: &str, fields: &HashSet<String>) -> Result<Arc<EdgeShard>, Status> {
        let held = self.held();
        let name = held.aliases.get(name).map_or(name, String::as_str);
        let collection = held
            .collections
            .get(name)
            .ok_or_else(|| Status::not_found(format!("Not found: Collection `{name}` doesn't exist!")))?;
        match fields.iter().find(|field| !collection.indexed.contains(*field)) {
            Some(field) => Err(Status::invalid_argument(format!("Index required but not found for \"{field}\""))),
            None => Ok(collection.shard.clone()),
        }
    }

    fn create(&self, message: &CreateCollection) -> Result<(), Status> {
        let mut held = self.held();
        let name = &message.collection_name;
        if held.collections.contains_key(name) || held.aliases.contains_key(name) {
            return Err(Status::already_exists(format!("Wrong input: Collection `{name}` already exists!")));
        }
        let dir = self.dir.path().join(name).join(uuid::Uuid::now_v7().to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let shard = Arc::new(make(&dir, message)?);
        held.collections.insert(name.clone(), Collection { shard, indexed: HashSet::new() });
        Ok(())
    }
}

/// A shard as the request describes it.
fn make(dir: &Path, message: &CreateCollection) -> Result<EdgeShard, Status> {
    let Some(vectors_config::Config::ParamsMap(dense)) = message.vectors_config.as_ref().and_then(|c| c.config.as_ref()) else {
        return Err(Status::invalid_argument("named vectors are expected"));
    };
    let mut config = EdgeConfig::builder();
    for (name, params) in &dense.map {
        if params.distance() != qdrant_client::qdrant::Distance::Cosine {
            return Err(Status::invalid_argument("only cosines are known"));
        }
        config = config.vector(name.as_str(), EdgeVectorParams::builder(params.size as usize, Distance::Cosine).build());
    }
    for (name, params) in message.sparse_vectors_config.iter().flat_map(|c| &c.map) {
        let mut sparse = EdgeSparseVectorParams::builder();
        if params.modifier() == qdrant_client::qdrant::Modifier::Idf {
            sparse = sparse.modifier(Modifier::Idf);
        }
        config = config.sparse_vector(name.as_str(), sparse.build());
    }
    EdgeShard::new(dir, config.build()).map_err(|e| Status::internal(e.to_string()))
}
