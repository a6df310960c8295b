//! Digests of files, kept as long as there is room: a file is read again from the engine only when its content is new.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::choose::Corpus;
use crate::error::Error;
use crate::index::{Index, Point, Tenant};
use crate::model::select::Digest;

const MAX_BYTES: u64 = 64 << 20;
const POINTS_AT_ONCE: usize = 1_000;

/// The digests; cheap to clone.
#[derive(Clone)]
pub(super) struct Digests {
    /// By tenant, path and content, as the id of a chunk that no file has.
    known: moka::future::Cache<Uuid, Arc<Digest>>,
}

impl Digests {
    pub(super) fn new() -> Self {
        let weigher = |_: &Uuid, digest: &Arc<Digest>| u32::try_from(digest.weight()).unwrap_or(u32::MAX);
        Self { known: moka::future::Cache::builder().max_capacity(MAX_BYTES).weigher(weigher).build() }
    }

    pub(super) async fn keep(&self, tenant: Tenant, path: &str, blob: &str, digest: Digest) {
        self.known.insert(tenant.point_id(path, blob, u32::MAX), Arc::new(digest)).await;
    }

    /// The digests of files of a corpus, in order.
    pub(super) async fn of(&self, index: &Index, corpus: &Corpus<'_>, paths: &[&str]) -> Result<Vec<Arc<Digest>>, Error> {
        let mut digests: HashMap<&str, Arc<Digest>> = HashMap::with_capacity(paths.len());
        let (mut waiting, mut points) = (Vec::new(), 0);
        for path in paths {
            let Some(file) = corpus.manifest.get(*path) else { continue };
            if let Some(digest) = self.known.get(&corpus.tenant.point_id(path, &file.blob, u32::MAX)).await {
                digests.insert(path, digest);
                continue;
            }
            waiting.push(*path);
            points += file.chunks;
            if points >= POINTS_AT_ONCE {
                self.read(index, corpus, &std::mem::take(&mut waiting), &mut digests).await?;
                points = 0;
            }
        }
        self.read(index, corpus, &waiting, &mut digests).await?;
        Ok(paths.iter().map(|path| digests.remove(path).unwrap_or_default()).collect())
    }

    async fn read<'a>(
        &self,
        index: &Index,
        corpus: &Corpus<'_>,
        paths: &[&'a str],
        digests: &mut HashMap<&'a str, Arc<Digest>>,
    ) -> Result<(), Error> {
        let tenant = corpus.tenant;
        let files = || paths.iter().filter_map(|path| Some((*path, corpus.manifest.get(*path)?)));
        let ids = files().flat_map(|(path, file)| (0..file.chunks as u32).map(move |n| tenant.point_id(path, &file.blob, n)));
        let ids: Vec<Uuid> = ids.collect();
        let mut by_path: HashMap<String, Vec<Point>> = HashMap::new();
        if !ids.is_empty() {
            for point in index.points(corpus.engine, tenant, ids).await? {
                by_path.entry(point.path.clone()).or_default().push(point);
            }
        }
        for (path, file) in files() {
            let mut points = by_path.remove(path).unwrap_or_default();
            points.sort_by_key(|p| (p.start_line, p.end_line));
            let digest = Arc::new(Digest::of(points.iter().map(|p| p.text.as_str())));
            // A build may have taken some away meanwhile: that is no digest of the file.
            if points.len() == file.chunks {
                self.known.insert(tenant.point_id(path, &file.blob, u32::MAX), digest.clone()).await;
            }
            digests.insert(path, digest);
        }
        Ok(())
    }
}
