//! Vectors for chunks that have none: known ones from the ledger, the others from the model. A job of its own after a build,
//! since a model takes a hundred times longer than the rest of indexing.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use slipway_rpc::ProjectId;
use slipway_storage::{JobError, Lease, crash};
use uuid::Uuid;

use super::build::text_hash;
use super::{Manifest, Service, VectorsJob};
use crate::embedder::{Embedder, State};
use crate::error::Error;
use crate::index::{Point, Tenant};
use crate::model::chunk::embedded_text;

/// Chunks between two looks at whether the work is still wanted; also what a crash repeats at most.
const BATCH: usize = 32;

impl Service {
    pub(super) async fn compute_vectors(self: Arc<Self>, lease: Lease) -> Result<(), JobError> {
        let job: VectorsJob = serde_json::from_slice(&lease.payload).map_err(|e| JobError::Fatal(e.into()))?;
        let tenant = Tenant { project: ProjectId(lease.project_id), workspace: job.workspace };
        let model = tokio::select! {
            () = lease.lost.cancelled() => return Err(JobError::LeaseLost),
            model = self.models.ours.settled() => model,
        };
        let done = match model {
            // A batch takes seconds: a stop does not wait for it. What is in the ledger is not computed again.
            State::Ready(embedder) if !lease.exhausted => tokio::select! {
                () = lease.lost.cancelled() => return Err(JobError::LeaseLost),
                done = self.fill(tenant, job, &lease, &embedder) => done,
            },
            // Without a model the job ends; loading one asks for it again.
            _ => Ok(None),
        };
        self.written.store(true, Ordering::Relaxed);
        let (missing, failure) = match done {
            Ok(missing) => (missing, String::new()),
            Err(_) if lease.lost.is_cancelled() => return Err(JobError::LeaseLost),
            // What is away comes back: whoever looks for chunks without vectors asks again.
            Err(error) if lease.last_attempt && error.is_of_absence() => (None, String::new()),
            Err(error) if lease.last_attempt => {
                tracing::error!(error = &error as &dyn std::error::Error, workspace_id = %job.workspace, "vectors cannot be computed");
                (None, error.to_string())
            }
            Err(error) => return Err(JobError::Retry(Box::new(error))),
        };
        let tx = self.records.begin().await?;
        self.records.set_settled(&tx, tenant, job.build, missing, &failure).await?;
        lease.complete(&tx).await?;
        tx.commit().await?;
        self.notify(job.workspace);
        Ok(())
    }

    /// Fills in what is missing, and returns how many chunks of the build still are without; `None` when the build is no
    /// longer the one that searches answer from.
    async fn fill(
        &self,
        tenant: Tenant,
        job: VectorsJob,
        lease: &Lease,
        embedder: &Arc<dyn Embedder>,
    ) -> Result<Option<u64>, Error> {
        let engine = self.index.engine().await?;
        let mut waiting = engine.ids(tenant, true).await?;
        waiting.sort_unstable();
        let Some(manifest) = self.current_manifest(tenant, job).await? else { return Ok(None) };
        for ids in waiting.chunks(embedder.batch(false).max(BATCH)) {
            if lease.lost.is_cancelled() || self.current_manifest(tenant, job).await?.is_none() {
                return Ok(None);
            }
            self.fill_batch(tenant, job, lease, ids.to_vec(), (&manifest, embedder)).await?;
            self.notify(job.workspace);
        }
        engine.flush().await?;
        let without = engine.points(tenant, engine.ids(tenant, true).await?).await?;
        Ok(Some(without.iter().filter(|point| is_live(&manifest, point)).count() as u64))
    }

    async fn fill_batch(
        &self,
        tenant: Tenant,
        job: VectorsJob,
        lease: &Lease,
        ids: Vec<Uuid>,
        (manifest, embedder): (&Manifest, &Arc<dyn Embedder>),
    ) -> Result<(), Error> {
        let engine = self.index.engine().await?;
        let points = engine.points(tenant, ids).await?;
        let points: Vec<_> = points.into_iter().filter(|point| is_live(manifest, point)).collect();
        let (vectors, embedded) = self.vectors_of(tenant, &points, embedder).await?;
        let filled = vectors.len() as u64;
        engine.set_vectors(tenant, vectors).await?;
        // A kill takes away what is not flushed: nothing that is counted is.
        engine.flush().await?;
        crash::point("embedding.vectors_written");

        // Counted only now, and once: what is said to have its vector is found by it.
        let tx = self.records.begin().await?;
        if lease.check(&tx).await.is_err() {
            lease.lost.cancel();
            return Ok(());
        }
        self.records.add_vectors(&tx, tenant, job.build, filled, embedded).await?;
        Ok(tx.commit().await?)
    }

    /// The vectors of points, by our model, and how many of them were computed; those are in the ledger then.
    pub(super) async fn vectors_of(
        &self,
        tenant: Tenant,
        points: &[Point],
        embedder: &Arc<dyn Embedder>,
    ) -> Result<(Vec<(Uuid, Vec<f32>)>, u64), Error> {
        let hashes: Vec<_> = points.iter().map(text_hash).collect();
        let mut known = self.records.find_vectors(tenant, &self.space().model, &hashes).await?;

        let mut asked = HashSet::new();
        let unknown: Vec<_> =
            points.iter().zip(&hashes).filter(|(_, hash)| !known.contains_key(*hash) && asked.insert(**hash)).collect();
        let texts = unknown.iter().map(|(p, _)| embedded_text(&p.path, &p.title, &p.text)).collect();
        let computed = self.models.ours.embed(embedder, texts, false).await?;
        let computed: Vec<_> = unknown.iter().map(|(_, hash)| **hash).zip(computed).collect();

        let tx = self.records.begin().await?;
        self.records.add_to_ledger(&tx, tenant, &self.space().model, &computed).await?;
        tx.commit().await?;
        let embedded = computed.len() as u64;
        known.extend(computed);
        let vectors = points.iter().zip(&hashes).filter_map(|(point, hash)| Some((point.id, known.get(hash)?.clone()))).collect();
        Ok((vectors, embedded))
    }

    async fn current_manifest(&self, tenant: Tenant, job: VectorsJob) -> Result<Option<Arc<Manifest>>, Error> {
        let index = self.records.find_index(tenant.project, tenant.workspace).await?;
        let engine = self.index.engine().await?;
        match index.filter(|index| index.built == job.build && index.engine == engine.name()) {
            Some(index) => Ok(Some(self.manifest(&index).await?)),
            None => Ok(None),
        }
    }
}

fn is_live(manifest: &Manifest, point: &Point) -> bool {
    manifest.get(&point.path).is_some_and(|file| file.blob == point.blob)
}
