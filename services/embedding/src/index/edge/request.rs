//! What the engine is asked, and what its answers mean: filters, requests, payloads.

use std::collections::HashMap;

use qdrant_edge::external::ordered_float::OrderedFloat;
use qdrant_edge::external::serde_json::{Map, Value};
use qdrant_edge::{
    Condition, FieldCondition, Filter, HasIdCondition, JsonPath, Match, Payload, PointId, Prefetch, QueryRequest, Range,
    ScoredPoint, ScoringQuery, WithPayloadInterface, WithVector,
};
use uuid::Uuid;

use crate::index::{IndexError, Point, Tenant, field};

pub(super) fn json_path(field: &str) -> Result<JsonPath, IndexError> {
    field.parse().map_err(|()| IndexError::Engine(format!("{field} is no payload field")))
}

/// The condition that every request carries: this project's, this workspace's points.
pub(super) fn tenant_filter(tenant: Tenant) -> Result<Filter, IndexError> {
    let is = |field, id: Uuid| Ok(Condition::Field(FieldCondition::new_match(json_path(field)?, Match::from(id.to_string()))));
    let must = vec![is(field::PROJECT, tenant.project.0)?, is(field::WORKSPACE, tenant.workspace)?];
    Ok(Filter { must: Some(must), ..Filter::new() })
}

pub(super) fn with_ids(filter: Filter, ids: &[Uuid]) -> Filter {
    let ids: HasIdCondition = ids.iter().map(|id| PointId::Uuid(*id)).collect();
    with(filter, Condition::HasId(ids))
}

pub(super) fn with_paths(filter: Filter, paths: &[String]) -> Result<Filter, IndexError> {
    let only = FieldCondition::new_match(json_path(field::PATH)?, Match::from(paths.to_vec()));
    Ok(with(filter, Condition::Field(only)))
}

/// Only what was written by a build before `build`.
pub(super) fn written_before(filter: Filter, build: u64) -> Result<Filter, IndexError> {
    // Exact up to 2^53 builds.
    let earlier = Range { lt: Some(OrderedFloat(build as f64)), ..Range::default() };
    Ok(with(filter, Condition::Field(FieldCondition::new_range(json_path(field::BUILD)?, earlier))))
}

fn with(mut filter: Filter, condition: Condition) -> Filter {
    filter.must.get_or_insert_default().push(condition);
    filter
}

pub(super) fn prefetch(query: ScoringQuery, filter: Filter, limit: usize) -> Prefetch {
    Prefetch { prefetches: Vec::new(), query: Some(query), limit, params: None, filter: Some(filter), score_threshold: None }
}

pub(super) fn request(
    prefetches: Vec<Prefetch>,
    query: ScoringQuery,
    filter: &Filter,
    limit: usize,
    with_payload: bool,
) -> QueryRequest {
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

pub(super) fn ranks(found: &[ScoredPoint]) -> HashMap<PointId, u32> {
    found.iter().map(|p| p.id).zip(1..).collect()
}

pub(super) fn uuid_of(id: PointId) -> Option<Uuid> {
    match id {
        PointId::Uuid(id) => Some(id),
        PointId::NumId(_) => None,
    }
}

pub(super) fn payload(tenant: Tenant, build: u64, point: Point) -> Payload {
    let fields = [
        (field::PROJECT, Value::from(tenant.project.to_string())),
        (field::WORKSPACE, Value::from(tenant.workspace.to_string())),
        (field::BUILD, Value::from(build)),
        (field::PATH, Value::from(point.path)),
        (field::BLOB, Value::from(point.blob)),
        (field::START_LINE, Value::from(point.start_line)),
        (field::END_LINE, Value::from(point.end_line)),
        (field::TITLE, Value::from(point.title)),
        (field::TEXT, Value::from(point.text)),
    ];
    Payload(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())
}

pub(super) fn point_of(id: PointId, payload: Option<Payload>) -> Option<Point> {
    let mut fields = payload?.0;
    let mut text = |key: &str| match fields.remove(key) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (path, blob, title, content) = (text(field::PATH), text(field::BLOB), text(field::TITLE), text(field::TEXT));
    let number = |key: &str| fields.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let (start_line, end_line) = (number(field::START_LINE), number(field::END_LINE));
    Some(Point { id: uuid_of(id)?, path, blob, start_line, end_line, title, text: content, vector: None })
}
