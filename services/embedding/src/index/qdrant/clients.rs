//! The connection to a Qdrant server: one HTTP/2 channel, kept alive, reconnected by itself. Every call has a time limit,
//! carries the key and says what kind of failure it met.

use std::time::Duration;

use qdrant_client::qdrant::collections_client::CollectionsClient;
use qdrant_client::qdrant::points_client::PointsClient;
use qdrant_client::qdrant::{
    ChangeAliases, CollectionExistsRequest, CreateCollection, CreateFieldIndexCollection, DeleteCollection, DeletePoints,
    ListAliasesRequest, QueryBatchPoints, ScoredPoint, ScrollPoints, ScrollResponse, UpdatePointVectors, UpsertPoints,
};
use secrecy::{ExposeSecret as _, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use crate::index::IndexError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Somebody waits for these.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A busy server queues writes; those that wait are jobs.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Answers carry the texts of chunks.
const MAX_ANSWER_BYTES: usize = 64 << 20;

type Wire = InterceptedService<Channel, ApiKey>;

/// Puts the key into each call.
#[derive(Clone)]
struct ApiKey(Option<MetadataValue<Ascii>>);

impl Interceptor for ApiKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("api-key", key.clone());
        }
        Ok(request)
    }
}

/// The calls that we make; cheap to clone.
#[derive(Clone)]
pub(super) struct Calls {
    points: PointsClient<Wire>,
    collections: CollectionsClient<Wire>,
}

impl Calls {
    /// Connects at the first call.
    pub(super) fn new(url: &str, api_key: Option<&SecretString>) -> Result<Self, IndexError> {
        let wrong = |what: String| IndexError::Engine(format!("embedding.qdrant.{what}"));
        let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(|e| wrong(format!("url is not a URI: {e}")))?;
        if url.starts_with("https:") {
            let tls = ClientTlsConfig::new().with_native_roots();
            endpoint = endpoint.tls_config(tls).map_err(|e| wrong(format!("url cannot be reached by TLS: {e}")))?;
        }
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(WRITE_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let key = match api_key {
            None => None,
            Some(key) => {
                let mut key: MetadataValue<Ascii> =
                    key.expose_secret().parse().map_err(|_| wrong("api_key has characters that no header takes".to_owned()))?;
                key.set_sensitive(true);
                Some(key)
            }
        };
        let wire = InterceptedService::new(endpoint.connect_lazy(), ApiKey(key));
        Ok(Self {
            points: PointsClient::new(wire.clone()).max_decoding_message_size(MAX_ANSWER_BYTES),
            collections: CollectionsClient::new(wire),
        })
    }

    pub(super) async fn upsert(&self, message: UpsertPoints) -> Result<(), IndexError> {
        self.points.clone().upsert(write(message)).await.map(drop).map_err(failed)
    }

    pub(super) async fn update_vectors(&self, message: UpdatePointVectors) -> Result<(), IndexError> {
        self.points.clone().update_vectors(write(message)).await.map(drop).map_err(failed)
    }

    pub(super) async fn delete(&self, message: DeletePoints) -> Result<(), IndexError> {
        self.points.clone().delete(write(message)).await.map(drop).map_err(failed)
    }

    pub(super) async fn scroll(&self, message: ScrollPoints) -> Result<ScrollResponse, IndexError> {
        Ok(self.points.clone().scroll(read(message)).await.map_err(failed)?.into_inner())
    }

    /// One list of hits for each query.
    pub(super) async fn query(&self, message: QueryBatchPoints) -> Result<Vec<Vec<ScoredPoint>>, IndexError> {
        let answer = self.points.clone().query_batch(read(message)).await.map_err(failed)?.into_inner();
        Ok(answer.result.into_iter().map(|batch| batch.result).collect())
    }

    pub(super) async fn create_field_index(&self, message: CreateFieldIndexCollection) -> Result<(), IndexError> {
        self.points.clone().create_field_index(write(message)).await.map(drop).map_err(failed)
    }

    pub(super) async fn collection_exists(&self, name: &str) -> Result<bool, IndexError> {
        let message = CollectionExistsRequest { collection_name: name.to_owned() };
        let answer = self.collections.clone().collection_exists(read(message)).await.map_err(failed)?.into_inner();
        Ok(answer.result.is_some_and(|result| result.exists))
    }

    pub(super) async fn create_collection(&self, message: CreateCollection) -> Result<(), IndexError> {
        self.collections.clone().create(write(message)).await.map(drop).map_err(failed)
    }

    pub(super) async fn delete_collection(&self, name: &str) -> Result<(), IndexError> {
        let message = DeleteCollection { collection_name: name.to_owned(), timeout: None };
        self.collections.clone().delete(write(message)).await.map(drop).map_err(failed)
    }

    /// What an alias stands for.
    pub(super) async fn find_alias(&self, alias: &str) -> Result<Option<String>, IndexError> {
        let answer = self.collections.clone().list_aliases(read(ListAliasesRequest {})).await.map_err(failed)?.into_inner();
        Ok(answer.aliases.into_iter().find(|a| a.alias_name == alias).map(|a| a.collection_name))
    }

    pub(super) async fn change_aliases(&self, message: ChangeAliases) -> Result<(), IndexError> {
        self.collections.clone().update_aliases(write(message)).await.map(drop).map_err(failed)
    }
}

fn read<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(READ_TIMEOUT);
    request
}

fn write<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(WRITE_TIMEOUT);
    request
}

/// Whether to come again, or what is wrong.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(status: Status) -> IndexError {
    let said = format!("{:?}: {}", status.code(), status.message());
    // A broken connection comes as one of the last two, with its cause.
    let broken = std::error::Error::source(&status).is_some();
    match status.code() {
        Code::NotFound => IndexError::Missing(said),
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted | Code::Cancelled => {
            IndexError::Unavailable(said)
        }
        Code::Internal | Code::Unknown if broken => IndexError::Unavailable(said),
        Code::Unauthenticated | Code::PermissionDenied => {
            IndexError::Engine(format!("it refuses embedding.qdrant.api_key: {said}"))
        }
        _ => IndexError::Engine(said),
    }
}
