//! One collection: take up what another left, mark, condemn, judge, remove. Any line may be the last one that runs.

use std::collections::HashMap;
use std::time::Duration;

use blake3::Hash;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use slipway_storage::Lease;
use tokio::time::Instant;

use super::{BATCH, CollectError, Collector, Report};
use crate::blobs::BlobError;
use crate::model::Manifest;
use crate::store::Owners;

/// How many manifests are listed, and how many read, at once. In tests so few that overlays change between two listings.
const MANIFESTS: u64 = if cfg!(test) { 2 } else { 500 };
const READS: usize = 4;
/// How many deltas are listed at once: a row may have tens of KiB.
const DELTAS: u64 = if cfg!(test) { 2 } else { 100 };
/// How many uploads are listed at once.
const UPLOADS: u64 = 500;
/// How many blobs are removed for one look at the lease, and how many at once.
const REMOVALS: usize = 64;
const REMOVES: usize = 8;
/// How long a look at the lease is good for, and how long a removal may take.
const FRESH: Duration = Duration::from_secs(10);
const REMOVE: Duration = Duration::from_secs(20);
/// Remains of broken writes are at least so old, whatever the grace period: an upload lasts minutes.
const REMAINS: Duration = Duration::from_secs(3600);

/// Blobs to be judged, with their sizes.
type Candidates = HashMap<Hash, u64>;

impl Collector {
    pub(super) async fn attempt(&self, lease: &Lease, report: &mut Report) -> Result<(), CollectError> {
        if !self.store.list_condemned(1).await?.is_empty() {
            tokio::select! {
                () = lease.lost.cancelled() => return Err(CollectError::Late),
                () = tokio::time::sleep(self.quarantine) => {}
            }
            self.execute(lease, report).await?;
        }
        self.store.delete_expired_overlays(lease, self.clock.now()).await?;
        self.remove_expired_uploads(lease).await?;
        self.mark(lease, report).await?;
        let before = self.clock.ago(self.grace);
        loop {
            self.step(lease)?;
            #[cfg(test)]
            self.steps.come_by(super::steps::Place::Condemning).await;
            if self.store.condemn(lease, before, BATCH as u64).await? == 0 {
                break;
            }
            self.execute(lease, report).await?;
        }
        report.remains = self.blobs.remove_remains(self.clock.ago(self.grace.max(REMAINS))).await?;
        self.store.delete_stray_reports(lease, before).await?;
        self.step(lease)?;
        self.store.finish(lease, report, self.clock.now()).await
    }

    /// Lists everything, and marks what is old enough and named by no manifest.
    async fn mark(&self, lease: &Lease, report: &mut Report) -> Result<(), CollectError> {
        let before = self.clock.ago(self.grace);
        let mut candidates = Candidates::new();
        let mut blobs = self.blobs.list();
        while let Some(blob) = blobs.try_next().await? {
            report.blobs += 1;
            report.bytes += blob.size;
            if blob.time > before {
                continue;
            }
            candidates.insert(blob.hash, blob.size);
            if candidates.len() == BATCH {
                report.marked += self.mark_batch(lease, std::mem::take(&mut candidates)).await?;
            }
        }
        report.marked += self.mark_batch(lease, candidates).await?;
        Ok(())
    }

    async fn mark_batch(&self, lease: &Lease, mut candidates: Candidates) -> Result<u64, CollectError> {
        self.strike_referenced(lease, &mut candidates).await?;
        self.step(lease)?;
        let unreferenced: Vec<_> = candidates.into_iter().collect();
        self.store.mark(lease, &unreferenced, self.clock.now()).await
    }

    /// Judges the condemned, and removes those that nothing refers to.
    async fn execute(&self, lease: &Lease, report: &mut Report) -> Result<(), CollectError> {
        loop {
            self.step(lease)?;
            let condemned = self.store.list_condemned(BATCH as u64).await?;
            if condemned.is_empty() {
                return Ok(());
            }
            let mut guilty: Candidates = condemned.iter().copied().collect();
            self.strike_referenced(lease, &mut guilty).await?;
            let absolved: Vec<Hash> = condemned.iter().map(|(hash, _)| *hash).filter(|hash| !guilty.contains_key(hash)).collect();
            self.step(lease)?;
            self.store.forget(lease, &absolved).await?;
            report.absolved += absolved.len() as u64;
            let guilty: Vec<(Hash, u64)> = guilty.into_iter().collect();
            for blobs in guilty.chunks(REMOVALS) {
                self.remove(lease, blobs).await?;
                report.removed += blobs.len() as u64;
                report.removed_bytes += blobs.iter().map(|(_, size)| size).sum::<u64>();
            }
        }
    }

    async fn remove(&self, lease: &Lease, blobs: &[(Hash, u64)]) -> Result<(), CollectError> {
        self.step(lease)?;
        let asked = Instant::now();
        self.store.check(lease).await?;
        let hashes: Vec<Hash> = blobs.iter().map(|(hash, _)| *hash).collect();
        let removals = stream::iter(hashes.clone()).map(|hash| async move {
            self.step(lease)?;
            if asked.elapsed() > FRESH {
                return Err(CollectError::Late);
            }
            let removed = tokio::time::timeout(REMOVE, self.blobs.remove(hash)).await;
            removed.map_err(|_| CollectError::Late)?.map_err(CollectError::from)
        });
        removals.buffer_unordered(REMOVES).try_collect::<()>().await?;
        self.step(lease)?;
        self.store.forget(lease, &hashes).await
    }

    /// Strikes out what is a manifest of a revision, or named by one.
    async fn strike_referenced(&self, lease: &Lease, candidates: &mut Candidates) -> Result<(), CollectError> {
        let mut after = None;
        while !candidates.is_empty() {
            self.step(lease)?;
            let manifests = self.store.list_manifests(after, MANIFESTS).await?;
            let Some(last) = manifests.last() else { break };
            after = Some(*last);
            #[cfg(test)]
            self.steps.come_by(super::steps::Place::Page).await;
            for hash in &manifests {
                candidates.remove(hash);
            }
            let mut read = stream::iter(manifests).map(|hash| self.read_manifest(hash)).buffer_unordered(READS);
            while let Some(manifest) = read.try_next().await? {
                for entry in manifest.entries() {
                    candidates.remove(&entry.hash);
                }
            }
        }
        // In the order in which a manifest moves from one to the other.
        self.strike_changed(lease, Owners::Overlays, candidates).await?;
        self.strike_changed(lease, Owners::Revisions, candidates).await?;
        self.strike_uploaded(candidates).await
    }

    /// Strikes out what deltas name. Their roots are among the manifests that were read.
    async fn strike_changed(&self, lease: &Lease, of: Owners, candidates: &mut Candidates) -> Result<(), CollectError> {
        let mut after = None;
        while !candidates.is_empty() {
            self.step(lease)?;
            let deltas = self.store.list_deltas(of, after, DELTAS).await?;
            let Some((last, _)) = deltas.last() else { break };
            after = Some(*last);
            for (_, kept) in deltas {
                let Some(delta) = &kept.delta else { continue };
                let damaged = CollectError::Unreadable { hash: kept.hash, source: BlobError::Damaged(kept.hash) };
                for hash in delta.contents().ok_or(damaged)? {
                    candidates.remove(&hash);
                }
            }
        }
        Ok(())
    }

    /// Strikes out what finished uploads are kept for.
    async fn strike_uploaded(&self, candidates: &mut Candidates) -> Result<(), CollectError> {
        let mut after = None;
        loop {
            let uploaded = self.store.list_uploaded(after, UPLOADS).await?;
            let Some((last, _)) = uploaded.last() else { return Ok(()) };
            after = Some(*last);
            for (_, hash) in &uploaded {
                candidates.remove(hash);
            }
        }
    }

    /// Removes what came of uploads that nobody has touched for too long; what a revision has of them stays.
    async fn remove_expired_uploads(&self, lease: &Lease) -> Result<(), CollectError> {
        loop {
            self.step(lease)?;
            let now = self.clock.now();
            let expired = self.store.list_expired_uploads(now, UPLOADS).await?;
            if expired.is_empty() {
                return Ok(());
            }
            for id in expired {
                self.step(lease)?;
                self.blobs.remove_pieces(id).await?;
                self.store.delete_expired_upload(lease, id, now).await?;
            }
        }
    }

    /// A manifest, which may have gone with its workspace since it was listed.
    async fn read_manifest(&self, hash: Hash) -> Result<Manifest, CollectError> {
        let read = self.blobs.fetch(hash).await;
        let read = read.and_then(|bytes| Manifest::decode(&bytes).ok_or(BlobError::Damaged(hash)));
        match read {
            Ok(manifest) => Ok(manifest),
            Err(error @ BlobError::Away(_)) => Err(error.into()),
            Err(_) if !self.store.has_manifest(hash).await? => Ok(Manifest::default()),
            Err(source) => Err(CollectError::Unreadable { hash, source }),
        }
    }

    /// Between any two of these a process may die; here it also learns that it lost its lease.
    fn step(&self, lease: &Lease) -> Result<(), CollectError> {
        #[cfg(test)]
        self.steps.take()?;
        if lease.lost.is_cancelled() { Err(CollectError::Late) } else { Ok(()) }
    }
}
