//! What the server is asked, and what its answers mean: filters, vectors, payloads.

use std::collections::HashMap;

use qdrant_client::Payload;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{
    Condition, Filter, NamedVectors, PointId, PointStruct, PointVectors, PrefetchQuery, Query as Asked, QueryPoints, Range, Rrf,
    ScoredPoint, Value, Vector, VectorInput, query,
};
use qdrant_edge::SparseVector;
use uuid::Uuid;

use crate::index::{DENSE, Point, RRF_K, Tenant, WORDS, field};

/// The condition that every request carries: this project's, this workspace's points.
pub(super) fn tenant_filter(tenant: Tenant) -> Filter {
    Filter::must([
        Condition::matches(field::PROJECT, tenant.project.to_string()),
        Condition::matches(field::WORKSPACE, tenant.workspace.to_string()),
    ])
}

pub(super) fn with_ids(filter: Filter, ids: &[Uuid]) -> Filter {
    with(filter, Condition::has_id(ids.iter().map(|id| point_id(*id))))
}

pub(super) fn with_paths(filter: Filter, paths: Vec<String>) -> Filter {
    with(filter, Condition::matches(field::PATH, paths))
}

/// Only what was written by a build before `build`.
pub(super) fn written_before(filter: Filter, build: u64) -> Filter {
    // Exact up to 2^53 builds.
    with(filter, Condition::range(field::BUILD, Range { lt: Some(build as f64), ..Range::default() }))
}

/// Only what waits for its dense vector.
pub(super) fn without_vector(mut filter: Filter) -> Filter {
    filter.must_not.push(Condition::has_vector(DENSE));
    filter
}

fn with(mut filter: Filter, condition: Condition) -> Filter {
    filter.must.push(condition);
    filter
}

/// One of the rankings that a search may go by.
#[derive(Clone)]
pub(super) enum Ranking {
    Dense(Vec<f32>),
    Words(SparseVector),
}

impl Ranking {
    fn using(&self) -> Option<String> {
        Some(if matches!(self, Self::Dense(_)) { DENSE } else { WORDS }.to_owned())
    }

    fn asked(&self) -> Option<Asked> {
        Some(Asked::new_nearest(match self {
            Self::Dense(vector) => VectorInput::new_dense(vector.clone()),
            Self::Words(words) => VectorInput::new_sparse(words.indices.clone(), words.values.clone()),
        }))
    }

    /// The nearest by this ranking alone.
    pub(super) fn query(&self, filter: &Filter, limit: usize, with_payload: bool) -> QueryPoints {
        QueryPoints {
            query: self.asked(),
            using: self.using(),
            filter: Some(filter.clone()),
            limit: Some(limit as u64),
            with_payload: Some(with_payload.into()),
            ..QueryPoints::default()
        }
    }

    fn prefetch(&self, filter: &Filter, limit: usize) -> PrefetchQuery {
        PrefetchQuery {
            query: self.asked(),
            using: self.using(),
            // Each part is confined to its tenant by itself, whatever the outer query hands on.
            filter: Some(filter.clone()),
            limit: Some(limit as u64),
            ..PrefetchQuery::default()
        }
    }
}

/// Both rankings, fused by the server: reciprocal ranks with a constant of our own, which takes version 1.16.
pub(super) fn fused(rankings: &[Ranking], filter: &Filter, depth: usize, limit: usize) -> QueryPoints {
    QueryPoints {
        prefetch: rankings.iter().map(|r| r.prefetch(filter, depth)).collect(),
        query: Some(Asked { variant: Some(query::Variant::Rrf(Rrf { k: Some(RRF_K), weights: Vec::new() })) }),
        filter: Some(filter.clone()),
        limit: Some(limit as u64),
        with_payload: Some(true.into()),
        ..QueryPoints::default()
    }
}

pub(super) fn ranks(found: &[ScoredPoint]) -> HashMap<Uuid, u32> {
    found.iter().zip(1..).filter_map(|(p, rank)| Some((uuid_of(p.id.as_ref())?, rank))).collect()
}

pub(super) fn point_id(id: Uuid) -> PointId {
    PointId { point_id_options: Some(PointIdOptions::Uuid(id.to_string())) }
}

pub(super) fn uuid_of(id: Option<&PointId>) -> Option<Uuid> {
    match id?.point_id_options.as_ref()? {
        PointIdOptions::Uuid(id) => id.parse().ok(),
        PointIdOptions::Num(_) => None,
    }
}

pub(super) fn point_struct(tenant: Tenant, build: u64, mut point: Point, words: SparseVector) -> PointStruct {
    let mut vectors = NamedVectors::default().add_vector(WORDS, Vector::new_sparse(words.indices, words.values));
    if let Some(vector) = point.vector.take() {
        vectors = vectors.add_vector(DENSE, Vector::new_dense(vector));
    }
    PointStruct::new(point_id(point.id), vectors, payload(tenant, build, point))
}

pub(super) fn point_vectors(id: Uuid, vector: Vec<f32>) -> PointVectors {
    let vectors = NamedVectors::default().add_vector(DENSE, Vector::new_dense(vector));
    PointVectors { id: Some(point_id(id)), vectors: Some(vectors.into()) }
}

fn payload(tenant: Tenant, build: u64, point: Point) -> Payload {
    let mut payload = Payload::new();
    payload.insert(field::PROJECT, tenant.project.to_string());
    payload.insert(field::WORKSPACE, tenant.workspace.to_string());
    payload.insert(field::BUILD, i64::try_from(build).unwrap_or(i64::MAX));
    payload.insert(field::PATH, point.path);
    payload.insert(field::BLOB, point.blob);
    payload.insert(field::START_LINE, i64::from(point.start_line));
    payload.insert(field::END_LINE, i64::from(point.end_line));
    payload.insert(field::TITLE, point.title);
    payload.insert(field::TEXT, point.text);
    payload
}

pub(super) fn point_of(id: Option<&PointId>, mut payload: HashMap<String, Value>) -> Option<Point> {
    let mut take = |key: &str| payload.remove(key).and_then(|value| value.kind);
    let mut text = |key: &str| match take(key) {
        Some(Kind::StringValue(text)) => text,
        _ => String::new(),
    };
    let (path, blob, title, content) = (text(field::PATH), text(field::BLOB), text(field::TITLE), text(field::TEXT));
    let mut number = |key: &str| match take(key) {
        Some(Kind::IntegerValue(n)) => u32::try_from(n).unwrap_or(0),
        _ => 0,
    };
    let (start_line, end_line) = (number(field::START_LINE), number(field::END_LINE));
    Some(Point { id: uuid_of(id)?, path, blob, start_line, end_line, title, text: content, vector: None })
}
