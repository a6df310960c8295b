//! Looking at one workspace: everything that is said of it in one place is compared with the others.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::{StreamExt as _, TryStreamExt as _};
use slipway_proto::filestore::FileEntry;
use slipway_rpc::{Ctx, Fault, Reason};
use uuid::Uuid;

use super::{Finding, Kind};
use crate::clients::Head;
use crate::error::Error;
use crate::index::{Tenant, VectorIndex};
use crate::model::chunk::MAX_FILE_BYTES;
use crate::model::state::{Model, State, WorkspaceIndex};
use crate::service::Service;
use crate::service::build::ids_of;
use crate::store::IndexedFile;

/// A workspace that moves under the audit is looked at again, but not for ever.
const TRIES: usize = 5;
const READS_AT_ONCE: usize = 4;
const POINTS: usize = 500;

/// What was found in a workspace, and the ids that mending takes.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    found: Vec<Finding>,
    /// Files of the index.
    pub(super) files: u64,
    /// Chunks of the index.
    pub(super) chunks: u64,
    /// The record; `None` when there is none.
    pub(super) index: Option<WorkspaceIndex>,
    /// The workspace is gone.
    pub(super) gone: bool,
    /// Points of no file.
    pub(super) orphans: Vec<Uuid>,
    /// Points that carry what is not theirs.
    pub(super) wrong: Vec<Uuid>,
}

impl Inspection {
    /// What was found, in order.
    pub(super) fn findings(&self) -> Vec<Finding> {
        self.found.clone()
    }

    /// Whether one of these was found.
    pub(super) fn has(&self, kinds: &[Kind]) -> bool {
        self.found.iter().any(|finding| kinds.contains(&finding.kind))
    }

    fn add(&mut self, tenant: Tenant, kind: Kind, path: &str, count: u64, detail: impl Into<String>) {
        let (workspace, path, detail) = (tenant.workspace, path.to_owned(), detail.into());
        self.found.push(Finding { workspace, kind, path, count, detail, repaired: false });
    }

    /// One finding for each file.
    fn add_by_path<'a>(&mut self, tenant: Tenant, kind: Kind, paths: impl Iterator<Item = &'a str>, detail: &str) {
        let mut counts = BTreeMap::<&str, u64>::new();
        for path in paths {
            *counts.entry(path).or_default() += 1;
        }
        for (path, count) in counts {
            self.add(tenant, kind, path, count, detail);
        }
    }
}

impl Service {
    /// Looks at a workspace when nothing is under way in it.
    pub(super) async fn inspect(&self, ctx: &Ctx, tenant: Tenant) -> Result<Inspection, Error> {
        for attempt in 1.. {
            self.settle(tenant).await?;
            let inspection = self.look(ctx, tenant).await?;
            let now = self.records.find_index(tenant.project, tenant.workspace).await?;
            let moved = |index: &Option<WorkspaceIndex>| {
                index.as_ref().map(|i| (i.wanted, i.built, i.settled, i.vector_count, i.engine.clone()))
            };
            if attempt == TRIES || moved(&now) == moved(&inspection.index) {
                return Ok(inspection);
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn look(&self, ctx: &Ctx, tenant: Tenant) -> Result<Inspection, Error> {
        let mut inspection = Inspection::default();
        let engine = self.index.engine().await?;
        let Some(index) = self.records.find_index(tenant.project, tenant.workspace).await? else {
            let left = engine.ids(tenant, false).await?;
            if !left.is_empty() {
                inspection.add(tenant, Kind::ChunksOrphaned, "", left.len() as u64, "there is no record of an index");
                inspection.orphans = left;
            }
            return Ok(inspection);
        };
        inspection.index = Some(index.clone());
        let head = match self.files.head(ctx, tenant.workspace).await {
            Ok(head) => head,
            Err(fault) if fault.reason() == Reason::WorkspaceNotFound => {
                inspection.gone = true;
                inspection.add(tenant, Kind::DanglingWorkspace, "", index.chunk_count, "the file store has no such workspace");
                return Ok(inspection);
            }
            Err(fault) => return Err(fault.into()),
        };
        let files = self.records.list_files(tenant).await?;
        (inspection.files, inspection.chunks) = (files.len() as u64, files.iter().map(|f| f.chunk_count).sum());
        compare_head(&mut inspection, tenant, &index, head);
        self.compare_files(&mut inspection, ctx, tenant, &files).await?;
        // While a workspace moves, the engine that it is in is the one that counts.
        if let Ok(engine) = self.index.engines().await?.named(&index.engine) {
            self.compare_points(&mut inspection, engine.as_ref(), tenant, &files).await?;
        }
        Ok(inspection)
    }

    /// The files of the record against those of the revision, and these against their content.
    async fn compare_files(
        &self,
        inspection: &mut Inspection,
        ctx: &Ctx,
        tenant: Tenant,
        files: &[IndexedFile],
    ) -> Result<(), Error> {
        let Some(index) = inspection.index.clone() else { return Ok(()) };
        if index.file_count != inspection.files || index.chunk_count != inspection.chunks {
            let detail = format!(
                "the record counts {} files and {} chunks; there are {} and {}",
                index.file_count, index.chunk_count, inspection.files, inspection.chunks
            );
            inspection.add(tenant, Kind::CountMismatch, "", 0, detail);
        }
        let Some(revision) = index.revision else { return Ok(()) };
        let listed = match self.files.list(ctx, tenant.workspace, revision).await {
            Ok(listed) => listed,
            // Overtaken revisions may be gone: then the index is stale, which was said.
            Err(fault) if fault.reason() == Reason::RevisionNotFound => return Ok(()),
            Err(fault) => return Err(fault.into()),
        };
        let mut known: HashMap<&str, &IndexedFile> = files.iter().map(|file| (file.path.as_str(), file)).collect();
        for file in &listed {
            match known.remove(file.path.as_str()) {
                None => inspection.add(tenant, Kind::FileMismatch, &file.path, 0, "the index lacks the file"),
                Some(indexed) if indexed.blob != file.hash => {
                    inspection.add(tenant, Kind::FileMismatch, &file.path, 0, "the index has other content of the file");
                }
                Some(_) => {}
            }
        }
        let mut extra: Vec<&str> = known.into_keys().collect();
        extra.sort_unstable();
        for path in extra {
            inspection.add(tenant, Kind::FileMismatch, path, 0, "the revision has no such file");
        }
        for (path, detail) in self.unreadable(ctx, tenant, revision, &listed).await? {
            inspection.add(tenant, Kind::BlobMissing, &path, 0, detail);
        }
        Ok(())
    }

    /// The files whose content cannot be had, and why.
    async fn unreadable(
        &self,
        ctx: &Ctx,
        tenant: Tenant,
        revision: Uuid,
        listed: &[FileEntry],
    ) -> Result<Vec<(String, String)>, Error> {
        let reads = futures::stream::iter(listed.iter().cloned()).map(|file| async move {
            let read = self.files.read(ctx, tenant.workspace, revision, &file.path).await;
            Ok::<_, Error>(match read {
                // Of what is too large only the beginning was read.
                Ok(_) if file.size > MAX_FILE_BYTES => None,
                Ok(bytes) if bytes.len() as u64 != file.size => Some((file.path, "its content is cut short".to_owned())),
                Ok(_) => None,
                Err(fault) if is_away(&fault) => return Err(fault.into()),
                Err(fault) => Some((file.path, format!("its content cannot be read: {}", fault.message()))),
            })
        });
        let found: Vec<_> = reads.buffered(READS_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The chunks and vectors of the engine against the files.
    async fn compare_points(
        &self,
        inspection: &mut Inspection,
        engine: &dyn VectorIndex,
        tenant: Tenant,
        files: &[IndexedFile],
    ) -> Result<(), Error> {
        let live: HashMap<Uuid, &IndexedFile> =
            files.iter().flat_map(|file| ids_of(tenant, file).map(move |id| (id, file))).collect();
        let present: HashSet<Uuid> = engine.ids(tenant, false).await?.into_iter().collect();
        let path_of = |id: &Uuid| live.get(id).map_or("", |file| file.path.as_str());

        let missing: Vec<Uuid> = live.keys().filter(|id| !present.contains(id)).copied().collect();
        let strays: HashSet<Uuid> = engine.present(missing.clone()).await?.into_iter().collect();
        inspection.add_by_path(tenant, Kind::TenantWrong, strays.iter().map(path_of), "chunks are marked as another workspace's");
        let nowhere = missing.iter().filter(|id| !strays.contains(id)).map(path_of);
        inspection.add_by_path(tenant, Kind::ChunksMissing, nowhere, "chunks are not in the engine");
        inspection.wrong.extend(strays);

        let mut ids: Vec<Uuid> = present.iter().copied().collect();
        ids.sort_unstable();
        let (mut wrong, mut orphans) = (Vec::new(), Vec::new());
        for batch in ids.chunks(POINTS) {
            for point in engine.points(tenant, batch.to_vec()).await? {
                match live.get(&point.id) {
                    Some(file) if (&file.path, &file.blob) == (&point.path, &point.blob) => {}
                    Some(file) => wrong.push((point.id, file.path.clone())),
                    None => orphans.push((point.id, point.path)),
                }
            }
        }
        let detail = "chunks carry another path or content than their own";
        inspection.add_by_path(tenant, Kind::ChunksWrong, wrong.iter().map(|(_, path)| path.as_str()), detail);
        let detail = "chunks in the engine are of no file";
        inspection.add_by_path(tenant, Kind::ChunksOrphaned, orphans.iter().map(|(_, path)| path.as_str()), detail);
        inspection.wrong.extend(wrong.into_iter().map(|(id, _)| id));
        inspection.orphans = orphans.into_iter().map(|(id, _)| id).collect();

        // What the model before has not seen is filled in by ours, after the move.
        let is_ours = self.index.engine().await?.name() == engine.name();
        if is_ours && self.model() == Model::Ready {
            let without: Vec<Uuid> = engine.ids(tenant, true).await?.into_iter().filter(|id| live.contains_key(id)).collect();
            inspection.add_by_path(tenant, Kind::VectorsMissing, without.iter().map(path_of), "chunks have no vector");
            let counted = inspection.index.as_ref().map_or(0, |index| index.vector_count);
            let there = (live.len() - without.len()) as u64;
            if without.is_empty() && missing.is_empty() && counted != there {
                let detail = format!("the record counts {counted} vectors; there are {there}");
                inspection.add(tenant, Kind::VectorsMissing, "", 0, detail);
            }
        }
        Ok(())
    }
}

fn compare_head(inspection: &mut Inspection, tenant: Tenant, index: &WorkspaceIndex, head: Head) {
    if index.revision != head.revision && index.state() != State::Indexing {
        let (indexed, newest) = (index.revision_number, head.number);
        let why = if index.failure.is_empty() { String::new() } else { format!(" ({})", index.failure) };
        let detail = format!("the index is of revision {indexed}; the head is revision {newest}{why}");
        inspection.add(tenant, Kind::StaleRevision, "", 0, detail);
    }
}

/// Whether the file store as a whole cannot answer; that says nothing of one file.
fn is_away(fault: &Fault) -> bool {
    matches!(fault.reason(), Reason::ServiceUnavailable | Reason::DeadlineExceeded)
}
