//! Garbage collection: removes blobs that no revision or overlay of any workspace and no upload refers to, and never one that is
//! referred to, whatever commits, imports, restores, changes of overlays, deletions and other replicas do meanwhile.
//!
//! # The protocol
//!
//! A collector lists the bucket or directory and **marks** what no manifest names: a row of `garbage` each. At least a grace
//! period later it **condemns** the marked: one transaction turns their rows and adds one to the *epoch*, a number in the one
//! row of `collection`. Only then it reads all manifests again, **absolves** the condemned that one of them names (the row
//! goes, the blob stays), deletes the others' blobs, and then their rows.
//!
//! A writer (1) reads the epoch, (2) for each content: if it is condemned, waits until its row is gone; then writes the blob,
//! and remembers "there since epoch e"; only what is there since the current epoch need not be written again; (3) in the
//! transaction that makes the revision, or changes the overlay: holds the epoch (a shared lock; on SQLite the transaction is alone) and compares. If
//! it moved, the writer goes back: new epoch, wait for what is condemned, look that every blob is still there, else fail as
//! retryable.
//!
//! An overlay, other than a revision, changes; so it protects no content for whoever builds on it. Who changes an overlay, or
//! makes a revision of one, **adopts** the contents (and the manifest) that the result takes over from it and its base
//! revision does not have: does step 2 for each without writing it, that is waits while it is condemned, and then looks
//! that it is there.
//!
//! # What refers to what
//!
//! A revision or overlay refers to the contents that its manifest names, and to the blob that one needs to read the manifest: the
//! manifest itself, or, when the row has a delta, its root. A root is a manifest that is kept whole and that
//!
//! - an earlier revision of the same workspace refers to, from which the writer took it over like any content: of a commit the
//!   revision that it was made on, of an overlay its base revision, or
//! - the writer itself has written for an earlier revision of the same change, which it brings like any content.
//!
//! So a root is one of the contents *b* below, and nothing else has to be said of it. A delta lies in the row itself: it is there
//! when the row is. The collector strikes out whatever roots and deltas name, which may be more than the manifests do: of a
//! file that is gone since the root, the content of the root's own revision.
//!
//! # Why nothing that is referred to is removed
//!
//! Let a collector delete blob *b* that was condemned by the transaction *C*, which made epoch *e*. First, suppose some
//! revision that is committed refers to *b*; take the earliest such revision *R* of its workspace that is not deleted.
//!
//! - *R* was committed before *C*: the manifests are read in statements that begin after *C*, so *R*'s was read: *b* is absolved.
//! - *R* was committed after *C*, and *b* is one of the contents that *R*'s writer brought or adopted: its transaction held an
//!   epoch that is at least *e*, since *C* had committed, and that the writer had read before it saw *b* as not condemned. So
//!   it saw *b*'s row gone, that is after the deletion, and wrote *b* again or saw it there. A memory of having written *b*,
//!   or of having seen it there, does not count if it is of an epoch before *e*; of an epoch from *e* on, the same holds for
//!   that writing or seeing.
//! - *R* was committed after *C* and took *b* over from the revision that it was made on or that it restores: that one is of
//!   the same workspace and earlier, against the choice of *R*; and a workspace goes with all its revisions or not at all.
//! - *R* was committed after *C* and *b* came by an upload: its writer adopted *b*, as above.
//!
//! Second, suppose that an overlay refers to *b* when *b* is deleted or later, in its version *V*, but no revision of its workspace does.
//!
//! - *V* was committed before *C*: an overlay's version has one manifest, and *V* is still the present one, so that it was there
//!   during all the statements that read the manifests, and one of them found it: *b* is absolved. (A version that came or went
//!   while they ran may have been missed; but then it is not *V*.)
//! - *V* was committed after *C*: *b* is not in the overlay's base revision, so *V*'s writer brought or adopted it, and the
//!   second point above holds word for word. An overlay that is new has the files of its base, which stays: the transaction
//!   that makes it holds the workspace.
//!
//! Third, a finished upload refers to its one content until it expires: its row is made in a transaction that held the epoch
//! under which the content was written, and is read after the manifests, that is after *C*. So the first and the second point
//! hold for it. An upload that is not finished refers to nothing: its pieces are no blobs and are not listed. They go with
//! their row, once it has expired.
//!
//! A version that another replaced loses its contents, even while somebody still reads them: it has the grace period to finish.
//! The same goes for an overlay that ends: by deletion, with its workspace, or by expiry, which the collector sees to first.
//!
//! No clock takes part in this. The grace period only spares work: contents that are uploaded for a commit which is about to
//! follow are not marked, let alone written twice.
//!
//! Only one replica collects at a time: collecting is a leased job. But deleting an object of a bucket cannot be fenced. So
//! a collector asks for its lease before each few deletions, gives each a deadline, and one who finds condemned rows that
//! another left waits [`QUARANTINE`] first, longer than a request of the other's may last. What remains is a process that
//! stands still for more than a minute between a comparison of clocks and sending the request after it.
//!
//! # Bounds
//!
//! A pass over the manifests serves [`BATCH`] candidates, of about 56 bytes each: 6 MiB at most, beside four manifests (of
//! 20,000 files, 4 MiB each, at most) or a hundred deltas of some KiB. Manifests with the same root cost one reading of it. A bucket of `n` objects older than the grace period costs `n / 100,000` passes.

mod run;
#[cfg(test)]
pub(crate) mod steps;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_storage::{JobError, Lease, LeaseLost, NewJob, Queue, QueueSettings, StorageError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::blobs::{BlobError, Blobs};
use crate::clock::Clock;
use crate::error::Error;
use crate::settings::GcSettings;
use crate::store::WorkspaceStore;

const KIND: &str = "file-store.gc";
/// How often a replica looks whether it is time to collect.
const LOOK: Duration = Duration::from_secs(60);
/// How often one who waits for the end of a collection looks.
const ASK: Duration = Duration::from_millis(100);
/// The next collection comes anyway.
const ATTEMPTS: u32 = 3;
/// How many blobs are judged in one pass over the manifests.
const BATCH: usize = 100_000;
/// How long to wait before taking up what another collector condemned.
pub(crate) const QUARANTINE: Duration = Duration::from_secs(60);

/// What a collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    /// Blobs that were listed, and their bytes.
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    /// Newly found to be without a reference.
    pub(crate) marked: u64,
    /// Found to be referred to after all.
    pub(crate) absolved: u64,
    /// Removed, and their bytes.
    pub(crate) removed: u64,
    pub(crate) removed_bytes: u64,
    /// Remains of broken writes in the local directory that were removed.
    pub(crate) remains: u64,
    pub(crate) start_time: i64,
    /// Empty, or why the collection did not reach its end.
    pub(crate) failure: String,
}

/// Why a collection ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError {
    #[error(transparent)]
    Lost(#[from] LeaseLost),
    #[error("the lease is about to end")]
    Late,
    #[error("the tables cannot be read")]
    Table(#[source] Box<Error>),
    #[error("the database failed")]
    Storage(#[from] StorageError),
    #[error("the blobs cannot be listed or removed")]
    Blobs(#[from] BlobError),
    #[error("manifest {hash} of a revision cannot be read, so nobody knows what it refers to; nothing more is removed")]
    Unreadable { hash: blake3::Hash, source: BlobError },
    #[error("the report cannot be stored")]
    Report(#[source] serde_json::Error),
    /// A test ended the collector here.
    #[cfg(test)]
    #[error("killed")]
    Killed,
}

impl From<Error> for CollectError {
    fn from(error: Error) -> Self {
        Self::Table(Box::new(error))
    }
}

/// Collects, when it is time or when it is asked to.
#[derive(Clone)]
pub(crate) struct Collector {
    store: WorkspaceStore,
    blobs: Blobs,
    clock: Clock,
    grace: Duration,
    interval: Duration,
    quarantine: Duration,
    queue: Queue,
    #[cfg(test)]
    pub(crate) steps: std::sync::Arc<steps::Steps>,
}

impl Collector {
    pub(crate) fn new(store: WorkspaceStore, blobs: Blobs, settings: &GcSettings, clock: Clock, quarantine: Duration) -> Self {
        let queue = QueueSettings { max_attempts: ATTEMPTS, ..QueueSettings::new(KIND, 1) };
        Self {
            queue: Queue::new(store.database(), queue),
            store,
            blobs,
            clock,
            grace: settings.grace(),
            interval: settings.interval(),
            quarantine,
            #[cfg(test)]
            steps: Default::default(),
        }
    }

    /// Works off the queue, and asks for a collection whenever the last one is long enough ago.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let collector = self.clone();
        let work = self.queue.run(shutdown.clone(), move |lease| {
            let collector = collector.clone();
            Box::pin(async move { collector.handle(&lease).await })
        });
        tokio::join!(work, self.keep_time(&shutdown));
    }

    async fn keep_time(&self, shutdown: &CancellationToken) {
        if self.interval.is_zero() {
            return;
        }
        let mut look = tokio::time::interval(LOOK.min(self.interval));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = look.tick() => {}
            }
            if let Err(error) = self.collect_if_due().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot tell whether it is time to collect garbage");
            }
        }
    }

    async fn collect_if_due(&self) -> Result<(), Error> {
        let last = self.store.last_collection().await?;
        if last.end_time > self.clock.ago(self.interval) { Ok(()) } else { self.ask(String::new()).await }
    }

    #[cfg(test)]
    pub(crate) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The names of the manifests that are kept whole.
    #[cfg(test)]
    pub(crate) async fn manifests(&self) -> std::collections::BTreeSet<String> {
        let all = self.store.list_manifests(None, 1_000_000).await.expect("a table");
        all.iter().map(|hash| hash.to_hex().to_string()).collect()
    }

    /// How many bytes the rows of all revisions have instead of manifests.
    #[cfg(test)]
    pub(crate) async fn delta_bytes(&self) -> u64 {
        let deltas = self.store.list_deltas(crate::store::Owners::Revisions, None, 1_000_000).await.expect("a table");
        deltas.iter().filter_map(|(_, kept)| kept.delta.as_ref()).map(|delta| delta.packed.len() as u64).sum()
    }

    async fn ask(&self, traceparent: String) -> Result<(), Error> {
        let mut tx = self.store.database().begin().await?;
        let job = NewJob { kind: KIND, key: "all".to_owned(), project_id: Uuid::nil(), payload: Vec::new(), traceparent };
        self.queue.enqueue(&mut tx, job).await?;
        Ok(tx.commit().await?)
    }

    /// Collects now, on whichever replica, and waits for the end. Joins a collection that is under way.
    pub(crate) async fn collect(&self, traceparent: String) -> Result<(Report, i64), Error> {
        let before = self.store.last_collection().await?.count;
        self.ask(traceparent).await?;
        loop {
            let last = self.store.last_collection().await?;
            if last.count > before {
                return Ok((last.report, last.end_time));
            }
            tokio::time::sleep(ASK).await;
        }
    }

    async fn handle(&self, lease: &Lease) -> Result<(), JobError> {
        let mut report = Report { start_time: self.clock.now(), ..Report::default() };
        let error = match self.attempt(lease, &mut report).await {
            Ok(()) => {
                let Report { blobs, marked, absolved, removed, removed_bytes, .. } = report;
                tracing::info!(blobs, marked, absolved, removed, removed_bytes, "garbage is collected");
                return Ok(());
            }
            Err(CollectError::Lost(_)) => return Err(JobError::LeaseLost),
            Err(error) => error,
        };
        if lease.last_attempt || matches!(error, CollectError::Unreadable { .. }) {
            tracing::error!(error = &error as &dyn std::error::Error, "garbage is not collected");
            report.failure = error.to_string();
            let finished = self.store.finish(lease, &report, self.clock.now()).await;
            return finished.map_err(|e| JobError::Retry(Box::new(e)));
        }
        Err(JobError::Retry(Box::new(error)))
    }
}
