//! One shard of qdrant-edge for all tenants: the engine's operations, blocking.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use qdrant_edge::{
    Condition, ConditionalInsertOperation, CreateIndex, Distance, EdgeConfig, EdgeOptimizersConfig, EdgeShard,
    EdgeSparseVectorParams, EdgeVectorParams, FieldIndexOperations, Filter, Fusion, HasVectorCondition, KeywordIndexParams,
    Modifier, NamedQuery, PayloadFieldSchema, PayloadSchemaParams, PointId, PointInsertOperations, PointOperations,
    PointStructPersisted, PointVectorsPersisted, QueryEnum, Record, ScoredPoint, ScoringQuery, ScrollRequest, UpdateOperation,
    UpdateVectorsOp, VectorInternal, VectorOperations, VectorPersisted, VectorStructPersisted, WalOptions, WithPayloadInterface,
    WithVector,
};
use uuid::Uuid;

use super::request::json_path;
use super::request::{payload, point_of, prefetch, ranks, request, tenant_filter, uuid_of, with_ids, with_paths, written_before};
use crate::index::sparse::Sparse;
use crate::index::{DENSE, Found, IndexError, Point, Query, RRF_K, Tenant, WORDS, field, sort};
use crate::model::chunk::embedded_text;

const WAL_SEGMENT_BYTES: usize = 8 << 20;
const PAGE: usize = 2_000;
/// A segment with more vectors than this gets a graph (in KiB: 20,000 vectors). Below it, looking at every vector of a
/// workspace takes a few milliseconds; above it, the model has worked thirty times longer than building the graph takes.
const GRAPH_FROM_KIB: usize = 30_000;
const BUSY: &str = "lock acquired";
const FLUSH_TRIES: u32 = 500;
const FLUSH_AGAIN: Duration = Duration::from_millis(10);
const WRITE_BATCH: usize = 256;

/// An open shard. Calls block.
pub(super) struct Shard {
    shard: EdgeShard,
    sparse: Sparse,
    /// The engine's flush must not meet another write.
    writing: Mutex<()>,
}

impl Shard {
    /// Opens what is in `dir`.
    pub(super) fn load(dir: &Path, dimensions: usize) -> Result<Self, IndexError> {
        Self::of(guard(|| EdgeShard::load(dir, Some(config(dimensions))))?)
    }

    /// Makes an empty one in `dir`, which exists and is empty.
    pub(super) fn create(dir: &Path, dimensions: usize) -> Result<Self, IndexError> {
        let shard = Self::of(guard(|| EdgeShard::new(dir, config(dimensions)))?)?;
        shard.create_payload_indexes()?;
        shard.flush()?;
        Ok(shard)
    }

    fn of(shard: EdgeShard) -> Result<Self, IndexError> {
        Ok(Self { shard, sparse: Sparse::new()?, writing: Mutex::new(()) })
    }

    fn create_payload_indexes(&self) -> Result<(), IndexError> {
        for (field, is_tenant) in [(field::WORKSPACE, true), (field::PROJECT, false), (field::PATH, false)] {
            let params = KeywordIndexParams { is_tenant: Some(is_tenant), ..KeywordIndexParams::default() };
            let field_schema = Some(PayloadFieldSchema::FieldParams(PayloadSchemaParams::Keyword(params)));
            self.update(UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(CreateIndex {
                field_name: json_path(field)?,
                field_schema,
            })))?;
        }
        Ok(())
    }

    pub(super) fn upsert(&self, tenant: Tenant, build: u64, points: Vec<Point>) -> Result<(), IndexError> {
        let condition = written_before(tenant_filter(tenant)?, build)?;
        let mut points = points.into_iter().map(|p| self.persisted(tenant, build, p)).peekable();
        while points.peek().is_some() {
            let batch: Vec<_> = points.by_ref().take(WRITE_BATCH).collect();
            let points_op = PointInsertOperations::PointsList(batch);
            let insert = ConditionalInsertOperation { points_op, condition: condition.clone(), update_mode: None };
            self.update(UpdateOperation::PointOperation(PointOperations::UpsertPointsConditional(insert)))?;
        }
        Ok(())
    }

    pub(super) fn set_vectors(&self, tenant: Tenant, mut vectors: Vec<(Uuid, Vec<f32>)>) -> Result<(), IndexError> {
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

    pub(super) fn remove(&self, tenant: Tenant, build: u64, ids: &[Uuid]) -> Result<(), IndexError> {
        if ids.is_empty() {
            return Ok(());
        }
        let filter = written_before(with_ids(tenant_filter(tenant)?, ids), build.saturating_add(1))?;
        self.update(UpdateOperation::PointOperation(PointOperations::DeletePointsByFilter(filter)))
    }

    pub(super) fn clear(&self, tenant: Tenant) -> Result<(), IndexError> {
        self.update(UpdateOperation::PointOperation(PointOperations::DeletePointsByFilter(tenant_filter(tenant)?)))
    }

    pub(super) fn ids(&self, tenant: Tenant, without_vector: bool) -> Result<Vec<Uuid>, IndexError> {
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

    pub(super) fn points(&self, tenant: Tenant, ids: &[Uuid]) -> Result<Vec<Point>, IndexError> {
        let (records, _) = self.scroll(with_ids(tenant_filter(tenant)?, ids), None, ids.len(), true)?;
        Ok(records.into_iter().filter_map(|r| point_of(r.id, r.payload)).collect())
    }

    pub(super) fn present(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, IndexError> {
        let (records, _) = self.scroll(with_ids(Filter::new(), ids), None, ids.len(), false)?;
        Ok(records.into_iter().filter_map(|r| uuid_of(r.id)).collect())
    }

    pub(super) fn erase(&self, ids: &[Uuid]) -> Result<(), IndexError> {
        let ids = ids.iter().map(|id| PointId::Uuid(*id)).collect();
        self.update(UpdateOperation::PointOperation(PointOperations::DeletePoints { ids }))
    }

    pub(super) fn search(&self, tenant: Tenant, query: &Query) -> Result<Vec<Found>, IndexError> {
        let mut filter = tenant_filter(tenant)?;
        if let Some(paths) = &query.paths {
            filter = with_paths(filter, paths)?;
        }
        let depth = query.depth();
        let dense = query.vector.as_ref().map(|v| nearest(VectorInternal::Dense(v.to_vec()), DENSE));
        let words = self.sparse.query(&query.words).map(|w| nearest(VectorInternal::Sparse(w), WORDS));
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
                let fusion = ScoringQuery::Fusion(Fusion::Rrf { k: RRF_K as usize, weights: None });
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
        Ok(sort(found.collect()))
    }

    pub(super) fn flush(&self) -> Result<(), IndexError> {
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

    pub(super) fn optimize(&self) -> Result<bool, IndexError> {
        guard(|| self.shard.optimize())
    }

    fn update(&self, operation: UpdateOperation) -> Result<(), IndexError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        guard(|| self.shard.update(operation))
    }

    fn persisted(&self, tenant: Tenant, build: u64, point: Point) -> PointStructPersisted {
        let words = self.sparse.document(&embedded_text(&point.path, &point.title, &point.text));
        let mut vectors = HashMap::from([(WORDS.to_owned(), VectorPersisted::Sparse(words))]);
        if let Some(vector) = point.vector.clone() {
            vectors.insert(DENSE.to_owned(), VectorPersisted::Dense(vector));
        }
        PointStructPersisted {
            id: PointId::Uuid(point.id),
            vector: VectorStructPersisted::Named(vectors),
            payload: Some(payload(tenant, build, point)),
        }
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

fn nearest(vector: VectorInternal, name: &str) -> ScoringQuery {
    ScoringQuery::Vector(QueryEnum::Nearest(NamedQuery::new(vector, name)))
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

fn config(dimensions: usize) -> EdgeConfig {
    EdgeConfig::builder()
        .vector(DENSE, EdgeVectorParams::builder(dimensions, Distance::Cosine).build())
        .sparse_vector(WORDS, EdgeSparseVectorParams::builder().modifier(Modifier::Idf).build())
        .on_disk_payload(true)
        .optimizers(EdgeOptimizersConfig { indexing_threshold: Some(GRAPH_FROM_KIB), ..EdgeOptimizersConfig::default() })
        .wal_options(WalOptions { segment_capacity: WAL_SEGMENT_BYTES, ..WalOptions::default() })
        .build()
}
