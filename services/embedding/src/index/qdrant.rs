//! [`QdrantIndex`]: the engine on a Qdrant server or cluster, for several replicas at once. It takes version 1.16 or later:
//! points are written on a condition, and the constant of the fusion is ours.
//!
//! Writes wait until the server has applied them, so that what a build has written is what it then counts. Nothing is kept
//! here: whatever fails can be asked for again.

mod clients;
mod collections;
mod request;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use qdrant_client::qdrant::{
    DeletePoints, Filter, PointId, PointsSelector, QueryBatchPoints, ScoredPoint, ScrollPoints, ScrollResponse,
    UpdatePointVectors, UpsertPoints,
};
use uuid::Uuid;

use clients::Calls;
pub(crate) use collections::Server;
use request::{
    Ranking, fused, point_of, point_struct, point_vectors, ranks, tenant_filter, uuid_of, with_ids, with_paths, without_vector,
    written_before,
};

use super::sparse::Sparse;
use super::{Found, IndexError, Point, Query, Tenant, VectorIndex, sort};
use crate::model::chunk::embedded_text;

const PAGE: u32 = 2_000;
/// Points a request: a chunk is a few kilobytes.
const WRITE_BATCH: usize = 256;
/// Ids a filter.
const IDS: usize = 500;
/// Points may go between the look and the write.
const LOOKS: u32 = 4;

/// A collection of a server.
pub(crate) struct QdrantIndex {
    calls: Calls,
    /// What the records and requests call it.
    collection: String,
    /// What outsiders call what is served.
    alias: String,
    sparse: Sparse,
}

impl QdrantIndex {
    fn new(server: &Server, collection: String) -> Result<Self, IndexError> {
        Ok(Self { calls: server.calls.clone(), collection, alias: server.alias.clone(), sparse: Sparse::new()? })
    }

    async fn scroll(
        &self,
        filter: Filter,
        offset: Option<PointId>,
        limit: u32,
        payload: bool,
    ) -> Result<ScrollResponse, IndexError> {
        let request = ScrollPoints {
            collection_name: self.collection.clone(),
            filter: Some(filter),
            offset,
            limit: Some(limit.max(1)),
            with_payload: Some(payload.into()),
            with_vectors: Some(false.into()),
            ..ScrollPoints::default()
        };
        self.calls.scroll(request).await
    }

    async fn delete(&self, filter: Filter) -> Result<(), IndexError> {
        let request = DeletePoints {
            collection_name: self.collection.clone(),
            wait: Some(true),
            points: Some(PointsSelector::from(filter)),
            ..DeletePoints::default()
        };
        self.calls.delete(request).await
    }

    /// Those of the tenant's ids that are there.
    async fn present_of(&self, tenant: Tenant, ids: &[Uuid]) -> Result<HashSet<Uuid>, IndexError> {
        let page = self.scroll(with_ids(tenant_filter(tenant), ids), None, ids.len() as u32, false).await?;
        Ok(page.result.iter().filter_map(|point| uuid_of(point.id.as_ref())).collect())
    }

    /// The server refuses to add vectors to what is not there, so we look first; what goes in between is looked at again.
    async fn set_batch(&self, tenant: Tenant, vectors: &[(Uuid, Vec<f32>)]) -> Result<(), IndexError> {
        let ids: Vec<Uuid> = vectors.iter().map(|(id, _)| *id).collect();
        let mut look = 1;
        loop {
            let there = self.present_of(tenant, &ids).await?;
            let points: Vec<_> = vectors.iter().filter(|(id, _)| there.contains(id)).cloned().collect();
            if points.is_empty() {
                return Ok(());
            }
            let request = UpdatePointVectors {
                collection_name: self.collection.clone(),
                wait: Some(true),
                points: points.into_iter().map(|(id, vector)| point_vectors(id, vector)).collect(),
                ..UpdatePointVectors::default()
            };
            match self.calls.update_vectors(request).await {
                Err(IndexError::Missing(_)) if look < LOOKS => look += 1,
                set => return set,
            }
        }
    }

    async fn ask(&self, queries: Vec<qdrant_client::qdrant::QueryPoints>) -> Result<Vec<Vec<ScoredPoint>>, IndexError> {
        let collection = &self.collection;
        let query_points =
            queries.into_iter().map(|q| qdrant_client::qdrant::QueryPoints { collection_name: collection.clone(), ..q });
        let batch = QueryBatchPoints {
            collection_name: collection.clone(),
            query_points: query_points.collect(),
            ..QueryBatchPoints::default()
        };
        self.calls.query(batch).await
    }
}

#[async_trait]
impl VectorIndex for QdrantIndex {
    fn name(&self) -> &str {
        &self.collection
    }

    async fn upsert(&self, tenant: Tenant, build: u64, points: Vec<Point>) -> Result<(), IndexError> {
        let mut points = points.into_iter().peekable();
        while points.peek().is_some() {
            let batch = points.by_ref().take(WRITE_BATCH).map(|point| {
                let words = self.sparse.document(&embedded_text(&point.path, &point.title, &point.text));
                point_struct(tenant, build, point, words)
            });
            let request = UpsertPoints {
                collection_name: self.collection.clone(),
                wait: Some(true),
                points: batch.collect(),
                update_filter: Some(written_before(tenant_filter(tenant), build)),
                ..UpsertPoints::default()
            };
            self.calls.upsert(request).await?;
        }
        Ok(())
    }

    async fn set_vectors(&self, tenant: Tenant, vectors: Vec<(Uuid, Vec<f32>)>) -> Result<(), IndexError> {
        for batch in vectors.chunks(WRITE_BATCH) {
            self.set_batch(tenant, batch).await?;
        }
        Ok(())
    }

    async fn remove(&self, tenant: Tenant, build: u64, ids: Vec<Uuid>) -> Result<(), IndexError> {
        for batch in ids.chunks(IDS) {
            self.delete(written_before(with_ids(tenant_filter(tenant), batch), build.saturating_add(1))).await?;
        }
        Ok(())
    }

    async fn clear(&self, tenant: Tenant) -> Result<(), IndexError> {
        self.delete(tenant_filter(tenant)).await
    }

    async fn ids(&self, tenant: Tenant, without: bool) -> Result<Vec<Uuid>, IndexError> {
        let filter = if without { without_vector(tenant_filter(tenant)) } else { tenant_filter(tenant) };
        let (mut ids, mut offset) = (Vec::new(), None);
        loop {
            let page = self.scroll(filter.clone(), offset, PAGE, false).await?;
            ids.extend(page.result.iter().filter_map(|point| uuid_of(point.id.as_ref())));
            if page.next_page_offset.is_none() {
                return Ok(ids);
            }
            offset = page.next_page_offset;
        }
    }

    async fn points(&self, tenant: Tenant, ids: Vec<Uuid>) -> Result<Vec<Point>, IndexError> {
        let mut points = Vec::with_capacity(ids.len());
        for batch in ids.chunks(IDS) {
            let page = self.scroll(with_ids(tenant_filter(tenant), batch), None, batch.len() as u32, true).await?;
            points.extend(page.result.into_iter().filter_map(|point| point_of(point.id.as_ref(), point.payload)));
        }
        Ok(points)
    }

    async fn present(&self, ids: Vec<Uuid>) -> Result<Vec<Uuid>, IndexError> {
        let mut present = Vec::new();
        for batch in ids.chunks(IDS) {
            let page = self.scroll(with_ids(Filter::default(), batch), None, batch.len() as u32, false).await?;
            present.extend(page.result.iter().filter_map(|point| uuid_of(point.id.as_ref())));
        }
        Ok(present)
    }

    async fn erase(&self, ids: Vec<Uuid>) -> Result<(), IndexError> {
        for batch in ids.chunks(IDS) {
            self.delete(with_ids(Filter::default(), batch)).await?;
        }
        Ok(())
    }

    async fn search(&self, tenant: Tenant, query: Query) -> Result<Vec<Found>, IndexError> {
        let mut filter = tenant_filter(tenant);
        let (depth, limit) = (query.depth(), query.limit);
        if let Some(paths) = query.paths {
            filter = with_paths(filter, paths);
        }
        let dense = query.vector.map(|vector| Ranking::Dense(vector.to_vec()));
        let words = self.sparse.query(&query.words).map(Ranking::Words);
        let (queries, is_dense) = match (dense, words) {
            // The server fuses; the rankings themselves are asked for beside it, to tell each hit's ranks.
            (Some(dense), Some(words)) => {
                let both = [dense, words];
                let alone = both.iter().map(|ranking| ranking.query(&filter, depth, false));
                let queries = [fused(&both, &filter, depth, limit)].into_iter().chain(alone).collect();
                (queries, false)
            }
            (Some(one), None) => (vec![one.query(&filter, limit, true)], true),
            (None, Some(one)) => (vec![one.query(&filter, limit, true)], false),
            (None, None) => return Ok(Vec::new()),
        };
        let mut lists = self.ask(queries).await?.into_iter();
        let Some(found) = lists.next() else { return Ok(Vec::new()) };
        let (dense_ranks, lexical_ranks) = match (lists.next(), lists.next(), is_dense) {
            (Some(near), Some(said), _) => (ranks(&near), ranks(&said)),
            (_, _, true) => (ranks(&found), HashMap::new()),
            (_, _, false) => (HashMap::new(), ranks(&found)),
        };
        let rank = |ranks: &HashMap<Uuid, u32>, id| ranks.get(&id).copied().unwrap_or(0);
        let found = found.into_iter().filter_map(|scored| {
            let point = point_of(scored.id.as_ref(), scored.payload)?;
            let (dense_rank, lexical_rank) = (rank(&dense_ranks, point.id), rank(&lexical_ranks, point.id));
            Some(Found { point, score: f64::from(scored.score), dense_rank, lexical_rank })
        });
        Ok(sort(found.collect()))
    }

    async fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }

    async fn optimize(&self) -> Result<bool, IndexError> {
        Ok(false)
    }

    async fn take_over(&self) -> Result<(), IndexError> {
        collections::take_over(&self.calls, &self.alias, &self.collection).await
    }

    async fn destroy(&self) -> Result<(), IndexError> {
        match self.calls.delete_collection(&self.collection).await {
            // Another replica was faster.
            Err(IndexError::Missing(_)) => Ok(()),
            dropped => dropped,
        }
    }

    async fn close(&self) {}
}

#[cfg(test)]
pub(crate) mod tests;
