//! Messages to the shard's operations, and its answers to messages. What is not known is refused.

use std::collections::{HashMap, HashSet};

use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::{
    Condition, Filter, PointId, PointStruct, PrefetchQuery, Query, QueryPoints, RetrievedPoint, ScoredPoint, Value, Vectors,
    query, vector, vector_input, vectors,
};
use qdrant_edge as edge;
use qdrant_edge::external::ordered_float::OrderedFloat;
use qdrant_edge::external::serde_json;
use tonic::Status;

type Answer<T> = Result<T, Status>;

fn unknown(what: &str) -> Status {
    Status::invalid_argument(format!("the stand-in does not know {what}"))
}

pub(super) fn id_of(id: Option<&PointId>) -> Answer<edge::PointId> {
    match id.and_then(|id| id.point_id_options.as_ref()) {
        Some(PointIdOptions::Uuid(id)) => Ok(edge::PointId::Uuid(id.parse().map_err(|_| unknown("this UUID"))?)),
        _ => Err(unknown("ids that are no UUIDs")),
    }
}

pub(super) fn id_to(id: edge::PointId) -> PointId {
    PointId { point_id_options: Some(PointIdOptions::Uuid(id.to_string())) }
}

/// The fields that a filter names.
pub(super) fn fields(filter: Option<&Filter>) -> HashSet<String> {
    let conditions = filter.into_iter().flat_map(|f| f.must.iter().chain(&f.must_not));
    let field = |condition: &Condition| match &condition.condition_one_of {
        Some(ConditionOneOf::Field(field)) => Some(field.key.clone()),
        _ => None,
    };
    conditions.filter_map(field).collect()
}

pub(super) fn filter(filter: &Filter) -> Answer<edge::Filter> {
    if !filter.should.is_empty() || filter.min_should.is_some() {
        return Err(unknown("should"));
    }
    let all = |conditions: &[Condition]| conditions.iter().map(condition).collect::<Answer<Vec<_>>>();
    Ok(edge::Filter { must: Some(all(&filter.must)?), must_not: Some(all(&filter.must_not)?), ..edge::Filter::new() })
}

fn condition(condition: &Condition) -> Answer<edge::Condition> {
    match condition.condition_one_of.as_ref() {
        Some(ConditionOneOf::HasId(ids)) => {
            let ids = ids.has_id.iter().map(|id| id_of(Some(id))).collect::<Answer<Vec<_>>>()?;
            Ok(edge::Condition::HasId(ids.into_iter().collect()))
        }
        Some(ConditionOneOf::HasVector(has)) => {
            Ok(edge::Condition::HasVector(edge::HasVectorCondition::from(has.has_vector.clone())))
        }
        Some(ConditionOneOf::Field(field)) => {
            let key = field.key.parse().map_err(|()| unknown("this key"))?;
            let value = field.r#match.as_ref().and_then(|m| m.match_value.as_ref());
            Ok(edge::Condition::Field(match (value, &field.range) {
                (Some(MatchValue::Keyword(word)), None) => edge::FieldCondition::new_match(key, edge::Match::from(word.clone())),
                (Some(MatchValue::Keywords(words)), None) => {
                    edge::FieldCondition::new_match(key, edge::Match::from(words.strings.clone()))
                }
                (None, Some(range)) => {
                    let float = |bound: Option<f64>| bound.map(OrderedFloat);
                    let range =
                        edge::Range { lt: float(range.lt), gt: float(range.gt), gte: float(range.gte), lte: float(range.lte) };
                    edge::FieldCondition::new_range(key, range)
                }
                _ => return Err(unknown("this match")),
            }))
        }
        _ => Err(unknown("this condition")),
    }
}

pub(super) fn vectors(given: Option<Vectors>) -> Answer<edge::VectorStructPersisted> {
    let Some(vectors::VectorsOptions::Vectors(named)) = given.and_then(|v| v.vectors_options) else {
        return Err(unknown("vectors without names"));
    };
    let one = |vector: qdrant_client::qdrant::Vector| match vector.vector {
        Some(vector::Vector::Dense(dense)) => Ok(edge::VectorPersisted::Dense(dense.data)),
        Some(vector::Vector::Sparse(sparse)) => Ok(edge::VectorPersisted::Sparse(sparse_of(sparse)?)),
        _ => Err(unknown("this vector")),
    };
    let named = named.vectors.into_iter().map(|(name, vector)| Ok((name, one(vector)?)));
    Ok(edge::VectorStructPersisted::Named(named.collect::<Answer<HashMap<_, _>>>()?))
}

fn sparse_of(sparse: qdrant_client::qdrant::SparseVector) -> Answer<edge::SparseVector> {
    edge::SparseVector::new(sparse.indices, sparse.values).map_err(|e| Status::invalid_argument(e.to_string()))
}

pub(super) fn point(point: PointStruct) -> Answer<edge::PointStructPersisted> {
    let payload = point.payload.into_iter().map(|(key, value)| Ok((key, json(value)?)));
    let payload = payload.collect::<Answer<serde_json::Map<_, _>>>()?;
    Ok(edge::PointStructPersisted {
        id: id_of(point.id.as_ref())?,
        vector: vectors(point.vectors)?,
        payload: Some(edge::Payload(payload)),
    })
}

fn json(value: Value) -> Answer<serde_json::Value> {
    match value.kind {
        Some(Kind::StringValue(text)) => Ok(text.into()),
        Some(Kind::IntegerValue(number)) => Ok(number.into()),
        _ => Err(unknown("this value")),
    }
}

fn payload(payload: Option<edge::Payload>) -> HashMap<String, Value> {
    let kind = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => Kind::StringValue(text),
        other => Kind::IntegerValue(other.as_i64().unwrap_or_default()),
    };
    let fields = payload.into_iter().flat_map(|payload| payload.0);
    fields.map(|(key, value)| (key, Value { kind: Some(kind(value)) })).collect()
}

pub(super) fn retrieved(record: edge::Record) -> RetrievedPoint {
    RetrievedPoint { id: Some(id_to(record.id)), payload: payload(record.payload), ..RetrievedPoint::default() }
}

pub(super) fn scored(point: edge::ScoredPoint) -> ScoredPoint {
    ScoredPoint {
        id: Some(id_to(point.id)),
        payload: payload(point.payload),
        score: point.score,
        version: point.version,
        ..ScoredPoint::default()
    }
}

fn scoring(query: Option<&Query>, using: Option<&String>) -> Answer<edge::ScoringQuery> {
    let nearest = |vector| {
        let using = using.ok_or_else(|| unknown("a query without the name of a vector"))?;
        let query = edge::NamedQuery::new(vector, using.as_str());
        Ok(edge::ScoringQuery::Vector(edge::QueryEnum::Nearest(query)))
    };
    match query.and_then(|q| q.variant.as_ref()) {
        Some(query::Variant::Nearest(input)) => match input.variant.clone() {
            Some(vector_input::Variant::Dense(dense)) => nearest(edge::VectorInternal::Dense(dense.data)),
            Some(vector_input::Variant::Sparse(sparse)) => nearest(edge::VectorInternal::Sparse(sparse_of(sparse)?)),
            _ => Err(unknown("this vector")),
        },
        Some(query::Variant::Rrf(rrf)) => {
            let k = rrf.k.ok_or_else(|| unknown("a fusion without its constant"))?;
            Ok(edge::ScoringQuery::Fusion(edge::Fusion::Rrf { k: k as usize, weights: None }))
        }
        _ => Err(unknown("this query")),
    }
}

fn prefetch(prefetch: &PrefetchQuery) -> Answer<edge::Prefetch> {
    Ok(edge::Prefetch {
        prefetches: Vec::new(),
        query: Some(scoring(prefetch.query.as_ref(), prefetch.using.as_ref())?),
        limit: prefetch.limit.unwrap_or(10) as usize,
        params: None,
        filter: prefetch.filter.as_ref().map(filter).transpose()?,
        score_threshold: None,
    })
}

pub(super) fn query(query: &QueryPoints) -> Answer<edge::QueryRequest> {
    let with_payload =
        query.with_payload.clone().and_then(|w| w.selector_options).is_some_and(|selector| {
            matches!(selector, qdrant_client::qdrant::with_payload_selector::SelectorOptions::Enable(true))
        });
    Ok(edge::QueryRequest {
        prefetches: query.prefetch.iter().map(prefetch).collect::<Answer<_>>()?,
        query: Some(scoring(query.query.as_ref(), query.using.as_ref())?),
        filter: query.filter.as_ref().map(filter).transpose()?,
        score_threshold: None,
        limit: query.limit.unwrap_or(10) as usize,
        offset: 0,
        params: None,
        with_vector: edge::WithVector::Bool(false),
        with_payload: edge::WithPayloadInterface::Bool(with_payload),
    })
}
