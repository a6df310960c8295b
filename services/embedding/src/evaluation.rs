//! The self-test's way in: an index in a directory of its own that is brought from one state of a package to the next, and
//! asked by the code that answers SelectFiles. No store, no jobs, no other service; chunks, engine and ranking are the live
//! ones.

mod observer;
mod search;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use slipway_rpc::ProjectId;
use uuid::Uuid;

use crate::embedder::Space;
use crate::error::BoxError;
use crate::index::{DirLock, EdgeIndex, Engines, Index, Tenant, VectorIndex};
use crate::model::chunk;
use crate::model::select::{Digest, Selected};
use crate::service::{Chooser, Corpus, Entry, Manifest, points_of};

pub use observer::{Observer, Traits};
pub use search::By;

/// Files over this many bytes are known by their paths alone.
pub const MAX_FILE_BYTES: u64 = chunk::MAX_FILE_BYTES;

/// A file of a state.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path in the package.
    pub path: String,
    /// What names its content: the same name, the same bytes.
    pub blob: String,
}

/// Gives the bytes of files, in order.
pub type Read<'a> = dyn FnMut(&[&File]) -> Result<Contents, BoxError> + Send + 'a;

/// The bytes of some files.
pub type Contents = Vec<Vec<u8>>;

/// A file that was chosen.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Its path.
    pub path: String,
    /// Its score.
    pub score: f64,
    /// What adds up to the score, by name.
    pub parts: Vec<(&'static str, f64)>,
}

impl From<Selected> for Choice {
    fn from(selected: Selected) -> Self {
        let parts = selected.parts.iter().map(|part| (part.name, part.value)).collect();
        Self { path: selected.path, score: selected.score, parts }
    }
}

/// An index under test.
pub struct Evaluation {
    engine: Arc<dyn VectorIndex>,
    chooser: Chooser,
    packages: HashMap<String, Package>,
    builds: u64,
    meanings: Option<search::Meanings>,
}

/// What the index holds of a package.
#[derive(Default)]
struct Package {
    manifest: Manifest,
    points: HashMap<String, Vec<Uuid>>,
}

impl Evaluation {
    /// Opens an empty index in `dir`, which is empty.
    pub async fn start(dir: &Path) -> Result<Self, BoxError> {
        let dir = dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || EdgeIndex::open(&dir, DirLock::take(&dir)?, &Space::default())).await?;
        let engine: Arc<dyn VectorIndex> = Arc::new(opened?.0);
        let index = Index::opening();
        index.set(Engines::one(engine.clone()));
        Ok(Self { engine, chooser: Chooser::new(index), packages: HashMap::new(), builds: 0, meanings: None })
    }

    /// Brings the index of a package to a state; `read` gives the bytes of a blob, and is asked for new ones only.
    pub async fn bring(&mut self, name: &str, files: &[File], read: &mut Read<'_>) -> Result<(), BoxError> {
        self.builds += 1;
        let tenant = tenant(name);
        let mut package = self.packages.remove(name).unwrap_or_default();
        let wanted: HashMap<&str, &str> = files.iter().map(|f| (f.path.as_str(), f.blob.as_str())).collect();
        let is_gone = |path: &str, file: &Entry| wanted.get(path) != Some(&file.blob.as_str());
        let gone: Vec<String> =
            package.manifest.iter().filter(|(path, file)| is_gone(path, file)).map(|(path, _)| path.clone()).collect();
        let stale = gone.iter().flat_map(|path| package.points.remove(path).unwrap_or_default()).collect();
        self.engine.remove(tenant, self.builds, stale).await?;
        package.manifest.retain(|path, _| !gone.contains(path));

        let new: Vec<&File> = files.iter().filter(|f| !package.manifest.contains_key(&f.path)).collect();
        let contents = read(&new)?;
        let mut points = Vec::new();
        for (file, bytes) in new.into_iter().zip(contents) {
            let made = points_of(tenant, &file.path, &file.blob, &bytes);
            let digest = Digest::of(made.iter().map(|p| p.text.as_str()));
            self.chooser.note(tenant, &file.path, &file.blob, digest).await;
            package.points.insert(file.path.clone(), made.iter().map(|p| p.id).collect());
            package.manifest.insert(file.path.clone(), Entry { blob: file.blob.clone(), chunks: made.len() });
            points.extend(made);
        }
        if let Some(meanings) = &mut self.meanings {
            meanings.give(&mut points).await?;
        }
        self.engine.upsert(tenant, self.builds, points).await?;
        self.packages.insert(name.to_owned(), package);
        Ok(())
    }

    /// Chooses files of a package for a request, as SelectFiles does.
    pub async fn choose(&self, name: &str, request: &str, limit: usize) -> Result<Vec<Choice>, BoxError> {
        let package = self.packages.get(name).ok_or("the package was not indexed")?;
        let corpus = Corpus { tenant: tenant(name), engine: self.engine.name(), manifest: &package.manifest };
        let chosen = self.chooser.choose(&corpus, request, limit).await?;
        Ok(chosen.into_iter().map(Choice::from).collect())
    }
}

fn tenant(package: &str) -> Tenant {
    let id = blake3::hash(package.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&id.as_bytes()[..16]);
    Tenant { project: ProjectId(Uuid::nil()), workspace: uuid::Builder::from_custom_bytes(bytes).into_uuid() }
}
