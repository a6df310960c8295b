//! The service as a whole, against a file store of the tests' own: from an event to a hit.

mod audit;
mod bench;
mod events;
mod file_store;
mod on_server;
mod provider;
mod reindex;
mod replicas;
mod searching;
mod switching;
mod tenants;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use slipway_bus::Bus;
use slipway_proto::embedding::embedding_service_client::EmbeddingServiceClient;
use slipway_proto::embedding::{GetIndexRequest, Index, IndexState, SearchMode, SearchRequest, SearchResponse};
use slipway_rpc::{Caller, Channel, Ctx, IdentityKey, ProjectId, Running, Scope, Server, UserId};
use slipway_storage::{Durability, StoreSettings};
use tempfile::TempDir;
use tonic::Status;
use uuid::Uuid;

use crate::embedder::{DIMENSIONS, Embedder};
use crate::error::BoxError;
use crate::model::words::words;
use crate::{Deps, EmbedderSettings, Parts, Settings, build_with};
use file_store::FileStore;

/// Our own chart has more than two hundred chunks, of which a busy machine embeds a few a second.
const PATIENCE: Duration = Duration::from_secs(180);

/// Makes vectors of the words of a text, and counts what it was asked for.
#[derive(Default)]
struct CountingEmbedder {
    texts: AtomicUsize,
    failing: std::sync::atomic::AtomicBool,
}

impl Embedder for CountingEmbedder {
    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, BoxError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err("out of order".into());
        }
        self.texts.fetch_add(texts.len(), Ordering::SeqCst);
        Ok(texts.iter().map(|text| vector_of(text)).collect())
    }
}

fn vector_of(text: &str) -> Vec<f32> {
    let mut vector = vec![0.001; DIMENSIONS];
    for word in words(text) {
        let hash = blake3::hash(word.trim_end_matches('s').as_bytes());
        vector[usize::from(u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]])) % DIMENSIONS] += 1.0;
    }
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    vector.iter().map(|v| v / length).collect()
}

/// How a test's service embeds.
enum Model {
    None,
    Counting(Arc<CountingEmbedder>),
    Files(PathBuf),
}

/// The service with its neighbour, running.
struct World {
    dir: TempDir,
    bus: Bus,
    files: FileStore,
    channel: Channel,
    running: Running,
}

impl World {
    async fn start(model: Model) -> World {
        Self::start_in(tempfile::tempdir().unwrap(), FileStore::default(), model).await
    }

    async fn start_in(dir: TempDir, files: FileStore, model: Model) -> World {
        let url = slipway_testkit::postgres::store_url(dir.path(), "embedding").await.unwrap();
        Self::start_with(dir, &url, files, model, Parts::default()).await
    }

    async fn start_with(dir: TempDir, url: &str, files: FileStore, model: Model, parts: Parts) -> World {
        Self::start_by(dir, url, files, model, parts, EmbedderSettings::default()).await
    }

    async fn start_by(
        dir: TempDir,
        url: &str,
        files: FileStore,
        model: Model,
        mut parts: Parts,
        embedder: EmbedderSettings,
    ) -> World {
        let bus = Bus::in_process();
        let mut server = Server::new(IdentityKey::new(&IdentityKey::generate()).unwrap());
        server.add_service(files.service());
        let model_dir = match &model {
            Model::Files(dir) => dir.display().to_string(),
            _ => dir.path().join("no-model-here").display().to_string(),
        };
        let deps = Deps { data_dir: dir.path().to_owned(), store: store(url), bus: bus.clone(), file_store: server.channel() };
        if let Model::Counting(embedder) = model {
            parts.embedder = Some(embedder);
        }
        let settings = Settings { model_dir, embedder, ..Settings::default() };
        build_with(&settings, deps, &mut server, parts).await.unwrap();
        let channel = server.channel();
        World { dir, bus, files, channel, running: server.start().await }
    }

    fn client(&self) -> EmbeddingServiceClient<Channel> {
        EmbeddingServiceClient::new(self.channel.clone())
    }

    async fn commit(&self, project: ProjectId, workspace: Uuid, files: &[(&str, &str)]) -> u64 {
        let event = self.files.commit(project, workspace, files);
        self.bus.publish(&event).await.unwrap();
        self.files.number(workspace)
    }

    async fn index(&self, project: ProjectId, workspace: Uuid) -> Result<Index, Status> {
        let request = ctx(project).request(GetIndexRequest { workspace_id: workspace.to_string() });
        Ok(self.client().get_index(request).await?.into_inner().index.unwrap())
    }

    /// Waits until the index is as the test wants it.
    async fn wait(&self, project: ProjectId, workspace: Uuid, until: impl Fn(&Index) -> bool) -> Index {
        let start = Instant::now();
        loop {
            let index = self.index(project, workspace).await.unwrap();
            if until(&index) {
                return index;
            }
            assert!(start.elapsed() < PATIENCE, "still {index:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ready(&self, project: ProjectId, workspace: Uuid, number: u64) -> Index {
        self.wait(project, workspace, |i| i.state() == IndexState::Ready && i.revision_number == number).await
    }

    async fn hybrid(&self, project: ProjectId, workspace: Uuid, number: u64) -> Index {
        self.wait(project, workspace, |i| i.revision_number == number && i.mode_reason.starts_with("every chunk")).await
    }

    async fn search(&self, project: ProjectId, workspace: Uuid, query: &str) -> Result<SearchResponse, Status> {
        self.search_with(
            project,
            SearchRequest { workspace_id: workspace.to_string(), query: query.to_owned(), ..SearchRequest::default() },
        )
        .await
    }

    async fn search_with(&self, project: ProjectId, request: SearchRequest) -> Result<SearchResponse, Status> {
        Ok(self.client().search(ctx(project).request(request)).await?.into_inner())
    }

    /// Stops the service and gives back what outlives it.
    async fn stop(self) -> (TempDir, FileStore) {
        self.running.stop().await;
        (self.dir, self.files)
    }
}

/// The indexes in the data directory, each in a folder of its own.
fn folders(dir: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path().join("index")).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "lock");
    names.sort();
    names
}

fn store(url: &str) -> StoreSettings {
    StoreSettings { url: url.to_owned(), durability: Durability::Process, ..Default::default() }
}

fn ctx(project: ProjectId) -> Ctx {
    let caller = Caller::new(UserId(Uuid::from_u128(7)), Scope::Admin);
    Ctx::new(caller, project, "test".to_owned(), None, String::new())
}

fn project(n: u128) -> ProjectId {
    ProjectId(Uuid::from_u128(n))
}

fn chart() -> Vec<(&'static str, &'static str)> {
    vec![
        ("Chart.yaml", "apiVersion: v2\nname: demo\nversion: 0.1.0\n"),
        ("values.yaml", include_str!("model/chunk/testdata/values.yaml")),
        ("templates/gateway/deployment.yaml", include_str!("model/chunk/testdata/deployment.yaml")),
        (
            "templates/ingress.yaml",
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: demo\nspec:\n  rules: {{ .Values.ingress.hosts }}\n",
        ),
        ("README.md", "# Demo\nA chart.\n\n## Installing\n\nRun helm install.\n"),
        ("logo.png", "\u{0}PNG"),
    ]
}

fn paths(response: &SearchResponse) -> Vec<&str> {
    response.hits.iter().map(|h| h.path.as_str()).collect()
}
