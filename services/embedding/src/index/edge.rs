//! [`EdgeIndex`]: the engine on qdrant-edge, one shard for all tenants. The only file that knows qdrant-edge's points.
//!
//! This version of the engine neither replays nor trims its write-ahead log: what must last is flushed, and a log that has
//! grown out of proportion is a reason to build the index anew.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use qdrant_edge::external::serde_json::{Map, Value};
use qdrant_edge::{
    Condition, CreateIndex, Distance, EdgeConfig, EdgeOptimizersConfig, EdgeShard, EdgeSparseVectorParams, EdgeVectorParams,
    FieldCondition, FieldIndexOperations, Filter, Fusion, HasIdCondition, HasVectorCondition, JsonPath, KeywordIndexParams,
    Match, Modifier, NamedQuery, Payload, PayloadFieldSchema, PayloadSchemaParams, PointId, PointInsertOperations,
    PointOperations, PointStructPersisted, PointVectorsPersisted, Prefetch, QueryEnum, QueryRequest, Record, ScoredPoint,
    ScoringQuery, ScrollRequest, UpdateOperation, UpdateVectorsOp, VectorInternal, VectorOperations, VectorPersisted,
    VectorStructPersisted, WalOptions, WithPayloadInterface, WithVector,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::sparse::Sparse;
use super::{Found, IndexError, Point, Query, Tenant, VectorIndex};
use crate::embedder::{DIMENSIONS, MODEL};
use crate::model::chunk::embedded_text;

/// What the files in the directory were made by; another value is another index.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    format: u32,
    engine: String,
    model: String,
    dimensions: usize,
}

impl Stamp {
    fn ours() -> Self {
        Self { format: FORMAT, engine: ENGINE.to_owned(), model: MODEL.to_owned(), dimensions: DIMENSIONS }
    }
}

/// Raised whenever chunking, words or the payload change.
const FORMAT: u32 = 1;
const ENGINE: &str = "qdrant-edge 0.7";
const STAMP: &str = "stamp.json";
const SHARD: &str = "shard";

const DENSE: &str = "dense";
const WORDS: &str = "words";
const PROJECT: &str = "project_id";
const WORKSPACE: &str = "workspace_id";
const PATH: &str = "path";

const WAL_SEGMENT_BYTES: usize = 8 << 20;
/// The log only grows; beyond this a new index is smaller than the log of the old one.
const WAL_LIMIT_BYTES: u64 = 1 << 30;
/// The constant of reciprocal rank fusion: two middling ranks outweigh one good one.
const RRF_K: usize = 10;
const PAGE: usize = 2_000;
/// A segment with more vectors than this gets a graph (in KiB: 20,000 vectors). Below it, looking at every vector of a
/// workspace takes a few milliseconds; above it, the model has worked thirty times longer than building the graph takes.
const GRAPH_FROM_KIB: usize = 30_000;
const BUSY: &str = "lock acquired";
const FLUSH_TRIES: u32 = 500;
const FLUSH_AGAIN: Duration = Duration::from_millis(10);
const WRITE_BATCH: usize = 256;

/// A shard of qdrant-edge.
pub(crate) struct EdgeIndex {
    dir: PathBuf,
    shard: EdgeShard,
    sparse: Sparse,
    /// The engine's flush must not meet another write.
    writing: Mutex<()>,
}

impl EdgeIndex {
    /// Opens the index in `dir`, which the caller has locked. True with it when it had to be begun anew: then the caller
    /// forgets what it knew to be in it, and says so by [`EdgeIndex::confirm`].
    pub(crate) fn open(dir: &Path) -> Result<(Self, bool), IndexError> {
        let stamp = Stamp::ours();
        let shard_dir = dir.join(SHARD);
        let found = std::fs::read(dir.join(STAMP)).ok().and_then(|bytes| serde_json::from_slice::<Stamp>(&bytes).ok());
        if found.as_ref() == Some(&stamp) && wal_bytes(&shard_dir) <= WAL_LIMIT_BYTES {
            match guard(|| EdgeShard::load(&shard_dir, Some(config()))) {
                Ok(shard) => return Ok((Self::of(dir, shard)?, false)),
                Err(error) => tracing::error!(error = %error, "the search index is damaged and is built anew"),
            }
        } else if shard_dir.exists() {
            tracing::info!(?found, "the search index is of another make or has outgrown its log, and is built anew");
        }
        let failed = |source| IndexError::File { path: dir.to_owned(), source };
        if shard_dir.exists() {
            std::fs::remove_dir_all(&shard_dir).map_err(failed)?;
        }
        if found.is_some() {
            std::fs::remove_file(dir.join(STAMP)).map_err(failed)?;
        }
        std::fs::create_dir_all(&shard_dir).map_err(failed)?;
        let index = Self::of(dir, guard(|| EdgeShard::new(&shard_dir, config()))?)?;
        index.create_payload_indexes()?;
        index.flush()?;
        Ok((index, true))
    }

    /// Marks the index as one to be opened again. Until then, opening it begins it anew.
    pub(crate) fn confirm(&self) -> Result<(), IndexError> {
        let bytes = serde_json::to_vec(&Stamp::ours()).map_err(|e| IndexError::Engine(e.to_string()))?;
        let path = self.dir.join(STAMP);
        std::fs::write(&path, bytes).map_err(|source| IndexError::File { path, source })
    }

    fn of(dir: &Path, shard: EdgeShard) -> Result<Self, IndexError> {
        Ok(Self { dir: dir.to_owned(), shard, sparse: Sparse::new()?, writing: Mutex::new(()) })
    }

    fn create_payload_indexes(&self) -> Result<(), IndexError> {
        for (field, is_tenant) in [(WORKSPACE, true), (PROJECT, false), (PATH, false)] {
            let params = KeywordIndexParams { is_tenant: Some(is_tenant), ..KeywordIndexParams::default() };
            let field_schema = Some(PayloadFieldSchema::FieldParams(PayloadSchemaParams::Keyword(params)));
            self.update(UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(CreateIndex {
                field_name: json_path(field)?,
                field_schema,
            })))?;
        }
        Ok(())
    }

    fn update(&self, operation: UpdateOperation) -> Result<(), IndexError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        guard(|| self.shard.update(operation))
    }

    fn persisted(&self, tenant: Tenant, point: Point) -> PointStructPersisted {
        let words = self.sparse.document(&embedded_text(&point.path, &point.title, &point.text));
        let mut vectors = HashMap::from([(WORDS.to_owned(), VectorPersisted::Sparse(words))]);
        if let Some(vector) = point.vector.clone() {
            vectors.insert(DENSE.to_owned(), VectorPersisted::Dense(vector));
        }
        PointStructPersisted {
            id: PointId::Uuid(point.id),
            vector: VectorStructPersisted::Named(vectors),
            payload: Some(payload(tenant, point)),
        }
    }

    fn nearest(&self, vector: &[f32]) -> ScoringQuery {
        ScoringQuery::Vector(QueryEnum::Nearest(NamedQuery::new(VectorInternal::Dense(vector.to_vec()), DENSE)))
    }

    fn scroll(
        &self,
        filter: Filter,
        offset: Option<PointId>,
        limit: usize,
        payload: bool,
    ) -> Result<(Vec<Record>, Option<PointId>), IndexError> {
        let request = ScrollRequest {
            offset,
            limit: Some(limit.max(1)),
            filter: Some(filter),
            with_payload: Some(WithPayloadInterface::Bool(payload)),
            with_vector: WithVector::Bool(false),
            order_by: None,
        };
        guard(|| self.shard.scroll(request))
    }

    fn one(
        &self,
        query: ScoringQuery,
        filter: &Filter,
        limit: usize,
        with_payload: bool,
    ) -> Result<Vec<ScoredPoint>, IndexError> {
        let request = request(Vec::new(), query, filter, limit, with_payload);
        guard(|| self.shard.query(request))
    }
}

impl VectorIndex for EdgeIndex {
    fn upsert(&self, tenant: Tenant, points: Vec<Point>) -> Result<(), IndexError> {
        let mut points = points.into_iter().map(|p| self.persisted(tenant, p)).peekable();
        while points.peek().is_some() {
            let batch: Vec<_> = points.by_ref().take(WRITE_BATCH).collect();
            self.update(UpdateOperation::PointOperation(PointOperations::UpsertPoints(PointInsertOperations::PointsList(
                batch,
            ))))?;
        }
        Ok(())
    }

    fn set_vectors(&self, tenant: Tenant, mut vectors: Vec<(Uuid, Vec<f32>)>) -> Result<(), IndexError> {
        while !vectors.is_empty() {
            let batch = vectors.split_off(vectors.len().saturating_sub(WRITE_BATCH));
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            // The engine fails on what is not there, so we look first; nobody else writes meanwhile.
            let ids: Vec<Uuid> = batch.iter().map(|(id, _)| *id).collect();
            let (records, _) = self.scroll(with_ids(tenant_filter(tenant)?, &ids), None, ids.len(), false)?;
            let there: HashSet<Uuid> = records.iter().filter_map(|r| uuid_of(r.id)).collect();
            let points = batch.into_iter().filter(|(id, _)| there.contains(id)).map(|(id, vector)| {
                let named = HashMap::from([(DENSE.to_owned(), VectorPersisted::Dense(vector))]);
                PointVectorsPersisted { id: PointId::Uuid(id), vector: VectorStructPersisted::Named(named) }
            });
            let operation = VectorOperations::UpdateVectors(UpdateVectorsOp { points: points.collect(), update_filter: None });
            guard(|| self.shard.update(UpdateOperation::VectorOperation(operation)))?;
        }
        Ok(())
    }

    fn remove(&self, tenant: Tenant, ids: Vec<Uuid>) -> Result<(), IndexError> {
        if ids.is_empty() {
            return Ok(());
        }
        let filter = with_ids(tenant_filter(tenant)?, &ids);
        self.update(UpdateOperation::PointOperation(PointOperations::DeletePointsByFilter(filter)))
    }

    fn clear(&self, tenant: Tenant) -> Result<(), IndexError> {
        self.update(UpdateOperation::PointOperation(PointOperations::DeletePointsByFilter(tenant_filter(tenant)?)))
    }

    fn ids(&self, tenant: Tenant, without_vector: bool) -> Result<Vec<Uuid>, IndexError> {
        let mut filter = tenant_filter(tenant)?;
        if without_vector {
            filter.must_not = Some(vec![Condition::HasVector(HasVectorCondition::from(DENSE.to_owned()))]);
        }
        let (mut ids, mut offset) = (Vec::new(), None);
        loop {
            let (records, next) = self.scroll(filter.clone(), offset, PAGE, false)?;
            ids.extend(records.iter().filter_map(|r| uuid_of(r.id)));
            if next.is_none() {
                return Ok(ids);
            }
            offset = next;
        }
    }

    fn points(&self, tenant: Tenant, ids: &[Uuid]) -> Result<Vec<Point>, IndexError> {
        let (records, _) = self.scroll(with_ids(tenant_filter(tenant)?, ids), None, ids.len(), true)?;
        Ok(records.into_iter().filter_map(|r| point_of(r.id, r.payload)).collect())
    }

    fn search(&self, tenant: Tenant, query: &Query) -> Result<Vec<Found>, IndexError> {
        let mut filter = tenant_filter(tenant)?;
        if let Some(paths) = &query.paths {
            let only = FieldCondition::new_match(json_path(PATH)?, Match::from(paths.clone()));
            filter.must.get_or_insert_default().push(Condition::Field(only));
        }
        let depth = (query.limit * 4).max(50);
        let dense = query.vector.as_ref().map(|v| self.nearest(v));
        let words = self.sparse.query(&query.words);
        let words = words.map(|w| ScoringQuery::Vector(QueryEnum::Nearest(NamedQuery::new(VectorInternal::Sparse(w), WORDS))));
        let (found, dense_ranks, lexical_ranks) = match (dense, words) {
            (Some(dense), Some(words)) => {
                let near = self.one(dense.clone(), &filter, depth, false)?;
                let said = self.one(words.clone(), &filter, depth, false)?;
                // The engine fuses; confined to what was just found, it need not search a second time.
                let prefetch = |query, found: &[ScoredPoint]| {
                    let ids: Vec<Uuid> = found.iter().filter_map(|p| uuid_of(p.id)).collect();
                    prefetch(query, with_ids(filter.clone(), &ids), depth)
                };
                let prefetches = vec![prefetch(dense, &near), prefetch(words, &said)];
                let fusion = ScoringQuery::Fusion(Fusion::Rrf { k: RRF_K, weights: None });
                let request = request(prefetches, fusion, &filter, query.limit, true);
                (guard(|| self.shard.query(request))?, ranks(&near), ranks(&said))
            }
            (Some(dense), None) => {
                let found = self.one(dense, &filter, query.limit, true)?;
                let ranks = ranks(&found);
                (found, ranks, HashMap::new())
            }
            (None, Some(words)) => {
                let found = self.one(words, &filter, query.limit, true)?;
                let ranks = ranks(&found);
                (found, HashMap::new(), ranks)
            }
            (None, None) => return Ok(Vec::new()),
        };
        let rank = |ranks: &HashMap<PointId, u32>, id| ranks.get(&id).copied().unwrap_or(0);
        let found = found.into_iter().filter_map(|scored| {
            let (dense_rank, lexical_rank) = (rank(&dense_ranks, scored.id), rank(&lexical_ranks, scored.id));
            Some(Found { point: point_of(scored.id, scored.payload)?, score: f64::from(scored.score), dense_rank, lexical_rank })
        });
        let mut found: Vec<_> = found.collect();
        // The engine leaves ties as they come; an answer is the same each time.
        found.sort_by(|a, b| {
            b.score
                .total_cmp(&a.score)
                .then_with(|| (&a.point.path, a.point.start_line).cmp(&(&b.point.path, b.point.start_line)))
        });
        Ok(found)
    }

    fn flush(&self) -> Result<(), IndexError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tries = 0;
        loop {
            let flushed = guard(|| {
                self.shard.flush();
                Ok::<_, IndexError>(())
            });
            match flushed {
                // The engine gives up rather than wait for the moment in which optimizing exchanges segments.
                Err(IndexError::Engine(why)) if why.contains(BUSY) && tries < FLUSH_TRIES => std::thread::sleep(FLUSH_AGAIN),
                flushed => return flushed,
            }
            tries += 1;
        }
    }

    fn optimize(&self) -> Result<bool, IndexError> {
        guard(|| self.shard.optimize())
    }
}

/// The engine panics where others return an error, for instance when the disk is full.
fn guard<T, E: std::fmt::Display>(work: impl FnOnce() -> Result<T, E>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|e| IndexError::Engine(e.to_string())),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Err(IndexError::Engine(format!("it panicked: {}", said.unwrap_or("no message"))))
        }
    }
}

fn config() -> EdgeConfig {
    EdgeConfig::builder()
        .vector(DENSE, EdgeVectorParams::builder(DIMENSIONS, Distance::Cosine).build())
        .sparse_vector(WORDS, EdgeSparseVectorParams::builder().modifier(Modifier::Idf).build())
        .on_disk_payload(true)
        .optimizers(EdgeOptimizersConfig { indexing_threshold: Some(GRAPH_FROM_KIB), ..EdgeOptimizersConfig::default() })
        .wal_options(WalOptions { segment_capacity: WAL_SEGMENT_BYTES, ..WalOptions::default() })
        .build()
}

fn wal_bytes(shard: &Path) -> u64 {
    let entries: Vec<PathBuf> = std::fs::read_dir(shard.join("wal")).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.iter().filter_map(|path| path.metadata().ok()).map(|m| m.len()).sum()
}

fn json_path(field: &str) -> Result<JsonPath, IndexError> {
    field.parse().map_err(|()| IndexError::Engine(format!("{field} is no payload field")))
}

/// The condition that every request carries: this project's, this workspace's points.
fn tenant_filter(tenant: Tenant) -> Result<Filter, IndexError> {
    let is = |field, id: Uuid| Ok(Condition::Field(FieldCondition::new_match(json_path(field)?, Match::from(id.to_string()))));
    Ok(Filter { must: Some(vec![is(PROJECT, tenant.project.0)?, is(WORKSPACE, tenant.workspace)?]), ..Filter::new() })
}

fn with_ids(mut filter: Filter, ids: &[Uuid]) -> Filter {
    let ids: HasIdCondition = ids.iter().map(|id| PointId::Uuid(*id)).collect();
    filter.must.get_or_insert_default().push(Condition::HasId(ids));
    filter
}

fn prefetch(query: ScoringQuery, filter: Filter, limit: usize) -> Prefetch {
    Prefetch {
        prefetches: Vec::new(),
        query: Some(query),
        limit,
        params: None,
        filter: Some(filter.clone()),
        score_threshold: None,
    }
}

fn request(prefetches: Vec<Prefetch>, query: ScoringQuery, filter: &Filter, limit: usize, with_payload: bool) -> QueryRequest {
    QueryRequest {
        prefetches,
        query: Some(query),
        filter: Some(filter.clone()),
        score_threshold: None,
        limit,
        offset: 0,
        params: None,
        with_vector: WithVector::Bool(false),
        with_payload: WithPayloadInterface::Bool(with_payload),
    }
}

fn ranks(found: &[ScoredPoint]) -> HashMap<PointId, u32> {
    found.iter().map(|p| p.id).zip(1..).collect()
}

fn uuid_of(id: PointId) -> Option<Uuid> {
    match id {
        PointId::Uuid(id) => Some(id),
        PointId::NumId(_) => None,
    }
}

fn payload(tenant: Tenant, point: Point) -> Payload {
    let fields = [
        (PROJECT, Value::from(tenant.project.to_string())),
        (WORKSPACE, Value::from(tenant.workspace.to_string())),
        (PATH, Value::from(point.path)),
        ("blob", Value::from(point.blob)),
        ("start_line", Value::from(point.start_line)),
        ("end_line", Value::from(point.end_line)),
        ("title", Value::from(point.title)),
        ("text", Value::from(point.text)),
    ];
    Payload(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())
}

fn point_of(id: PointId, payload: Option<Payload>) -> Option<Point> {
    let mut fields = payload?.0;
    let mut text = |key: &str| match fields.remove(key) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (path, blob, title, content) = (text(PATH), text("blob"), text("title"), text("text"));
    let number = |key: &str| fields.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let (start_line, end_line) = (number("start_line"), number("end_line"));
    Some(Point { id: uuid_of(id)?, path, blob, start_line, end_line, title, text: content, vector: None })
}

#[cfg(test)]
mod tests;
