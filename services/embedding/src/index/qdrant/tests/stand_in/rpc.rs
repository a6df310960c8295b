//! The RPCs of the stand-in.

use std::sync::Arc;
use std::time::Instant;

use ::qdrant_client::qdrant::alias_operations::Action;
use ::qdrant_client::qdrant::collections_server::Collections;
use ::qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use ::qdrant_client::qdrant::points_server::Points;
use ::qdrant_client::qdrant::*;
use qdrant_edge as edge;
use qdrant_edge::{EdgeShard, PointOperations, UpdateOperation, VectorOperations};
use tonic::{Request, Response, Status};

use super::{State, convert};

/// The server behind its RPCs.
pub(super) struct Rpc(pub(super) Arc<State>);

type Answer<T> = Result<Response<T>, Status>;

/// The RPCs that nobody here calls.
macro_rules! unused {
    ($($name:ident($request:ident) -> $response:ident;)*) => {
        $(
            fn $name<'a: 'b, 'b>(
                &'a self,
                _: Request<$request>,
            ) -> std::pin::Pin<Box<dyn Future<Output = Answer<$response>> + Send + 'b>>
            where
                Self: 'b,
            {
                Box::pin(async { Err(Status::unimplemented(concat!("the stand-in has no ", stringify!($name)))) })
            }
        )*
    };
}

fn done() -> Answer<PointsOperationResponse> {
    let result = UpdateResult { status: UpdateStatus::Completed.into(), ..UpdateResult::default() };
    Ok(Response::new(PointsOperationResponse { result: Some(result), ..PointsOperationResponse::default() }))
}

fn changed() -> Answer<CollectionOperationResponse> {
    Ok(Response::new(CollectionOperationResponse { result: true, time: 0.0 }))
}

/// The shard panics where a server answers with an error.
fn update(shard: &EdgeShard, wait: Option<bool>, operation: UpdateOperation) -> Answer<PointsOperationResponse> {
    if wait != Some(true) {
        return Err(Status::invalid_argument("the stand-in only knows writes that are waited for"));
    }
    match shard.update(operation) {
        Ok(()) => done(),
        Err(edge::OperationError::PointIdError { missed_point_id }) => {
            Err(Status::not_found(format!("Not found: No point with id {missed_point_id} found")))
        }
        Err(error) => Err(Status::internal(error.to_string())),
    }
}

#[tonic::async_trait]
impl Points for Rpc {
    async fn upsert(&self, request: Request<UpsertPoints>) -> Answer<PointsOperationResponse> {
        self.0.admit("upsert", &request)?;
        let message = request.into_inner();
        let shard = self.0.shard(&message.collection_name, &convert::fields(message.update_filter.as_ref()))?;
        let points = message.points.into_iter().map(convert::point).collect::<Result<Vec<_>, _>>()?;
        let points = edge::PointInsertOperations::PointsList(points);
        let operation = match &message.update_filter {
            None => PointOperations::UpsertPoints(points),
            Some(filter) => PointOperations::UpsertPointsConditional(edge::ConditionalInsertOperation {
                points_op: points,
                condition: convert::filter(filter)?,
                update_mode: None,
            }),
        };
        update(&shard, message.wait, UpdateOperation::PointOperation(operation))
    }

    async fn delete(&self, request: Request<DeletePoints>) -> Answer<PointsOperationResponse> {
        self.0.admit("delete", &request)?;
        let message = request.into_inner();
        let Some(PointsSelectorOneOf::Filter(filter)) = message.points.and_then(|p| p.points_selector_one_of) else {
            return Err(Status::invalid_argument("the stand-in deletes by filters"));
        };
        let shard = self.0.shard(&message.collection_name, &convert::fields(Some(&filter)))?;
        let operation = PointOperations::DeletePointsByFilter(convert::filter(&filter)?);
        update(&shard, message.wait, UpdateOperation::PointOperation(operation))
    }

    async fn update_vectors(&self, request: Request<UpdatePointVectors>) -> Answer<PointsOperationResponse> {
        self.0.admit("update_vectors", &request)?;
        let message = request.into_inner();
        let shard = self.0.shard(&message.collection_name, &convert::fields(message.update_filter.as_ref()))?;
        let vectors = |point: PointVectors| {
            Ok(edge::PointVectorsPersisted { id: convert::id_of(point.id.as_ref())?, vector: convert::vectors(point.vectors)? })
        };
        let points = message.points.into_iter().map(vectors).collect::<Result<Vec<_>, Status>>()?;
        let operation = VectorOperations::UpdateVectors(edge::UpdateVectorsOp { points, update_filter: None });
        update(&shard, message.wait, UpdateOperation::VectorOperation(operation))
    }

    async fn create_field_index(&self, request: Request<CreateFieldIndexCollection>) -> Answer<PointsOperationResponse> {
        self.0.admit("create_field_index", &request)?;
        let message = request.into_inner();
        let params = match message.field_type() {
            FieldType::Keyword => edge::PayloadFieldSchema::FieldType(edge::PayloadSchemaType::Keyword),
            FieldType::Integer => edge::PayloadFieldSchema::FieldType(edge::PayloadSchemaType::Integer),
            other => return Err(Status::invalid_argument(format!("the stand-in has no index of {other:?}"))),
        };
        let shard = self.0.shard(&message.collection_name, &Default::default())?;
        let field_name = message.field_name.parse().map_err(|()| Status::invalid_argument("no field name"))?;
        let index = edge::CreateIndex { field_name, field_schema: Some(params) };
        let operation = UpdateOperation::FieldIndexOperation(edge::FieldIndexOperations::CreateIndex(index));
        update(&shard, message.wait, operation)?;
        let mut held = self.0.held();
        if let Some(collection) = held.collections.get_mut(&message.collection_name) {
            collection.indexed.insert(message.field_name);
        }
        done()
    }

    async fn scroll(&self, request: Request<ScrollPoints>) -> Answer<ScrollResponse> {
        self.0.admit("scroll", &request)?;
        let message = request.into_inner();
        let filter = message.filter.as_ref().ok_or_else(|| Status::invalid_argument("a scroll without a filter"))?;
        let shard = self.0.shard(&message.collection_name, &convert::fields(Some(filter)))?;
        let selector = message.with_payload.and_then(|w| w.selector_options);
        let payload = matches!(selector, Some(with_payload_selector::SelectorOptions::Enable(true)));
        let scroll = edge::ScrollRequest {
            offset: message.offset.as_ref().map(|id| convert::id_of(Some(id))).transpose()?,
            limit: message.limit.map(|limit| limit as usize),
            filter: Some(convert::filter(filter)?),
            with_payload: Some(edge::WithPayloadInterface::Bool(payload)),
            with_vector: edge::WithVector::Bool(false),
            order_by: None,
        };
        let (records, next) = shard.scroll(scroll).map_err(|e| Status::internal(e.to_string()))?;
        Ok(Response::new(ScrollResponse {
            next_page_offset: next.map(convert::id_to),
            result: records.into_iter().map(convert::retrieved).collect(),
            ..ScrollResponse::default()
        }))
    }

    async fn query_batch(&self, request: Request<QueryBatchPoints>) -> Answer<QueryBatchResponse> {
        self.0.admit("query_batch", &request)?;
        let started = Instant::now();
        let message = request.into_inner();
        let mut result = Vec::new();
        for query in &message.query_points {
            if query.collection_name != message.collection_name {
                return Err(Status::invalid_argument("a query of another collection"));
            }
            let prefetched = query.prefetch.iter().flat_map(|prefetch| convert::fields(prefetch.filter.as_ref()));
            let fields = convert::fields(query.filter.as_ref()).into_iter().chain(prefetched).collect();
            let shard = self.0.shard(&query.collection_name, &fields)?;
            let found = shard.query(convert::query(query)?).map_err(|e| Status::internal(e.to_string()))?;
            result.push(BatchResult { result: found.into_iter().map(convert::scored).collect() });
        }
        let time = started.elapsed().as_secs_f64();
        Ok(Response::new(QueryBatchResponse { result, time, ..QueryBatchResponse::default() }))
    }

    unused! {
        get(GetPoints) -> GetResponse;
        delete_vectors(DeletePointVectors) -> PointsOperationResponse;
        set_payload(SetPayloadPoints) -> PointsOperationResponse;
        overwrite_payload(SetPayloadPoints) -> PointsOperationResponse;
        delete_payload(DeletePayloadPoints) -> PointsOperationResponse;
        clear_payload(ClearPayloadPoints) -> PointsOperationResponse;
        delete_field_index(DeleteFieldIndexCollection) -> PointsOperationResponse;
        create_vector_name(CreateVectorNameRequest) -> PointsOperationResponse;
        delete_vector_name(DeleteVectorNameRequest) -> PointsOperationResponse;
        search(SearchPoints) -> SearchResponse;
        search_batch(SearchBatchPoints) -> SearchBatchResponse;
        search_groups(SearchPointGroups) -> SearchGroupsResponse;
        recommend(RecommendPoints) -> RecommendResponse;
        recommend_batch(RecommendBatchPoints) -> RecommendBatchResponse;
        recommend_groups(RecommendPointGroups) -> RecommendGroupsResponse;
        discover(DiscoverPoints) -> DiscoverResponse;
        discover_batch(DiscoverBatchPoints) -> DiscoverBatchResponse;
        count(CountPoints) -> CountResponse;
        update_batch(UpdateBatchPoints) -> UpdateBatchResponse;
        query(QueryPoints) -> QueryResponse;
        query_groups(QueryPointGroups) -> QueryGroupsResponse;
        facet(FacetCounts) -> FacetResponse;
        search_matrix_pairs(SearchMatrixPoints) -> SearchMatrixPairsResponse;
        search_matrix_offsets(SearchMatrixPoints) -> SearchMatrixOffsetsResponse;
    }
}

#[tonic::async_trait]
impl Collections for Rpc {
    async fn create(&self, request: Request<CreateCollection>) -> Answer<CollectionOperationResponse> {
        self.0.admit("create", &request)?;
        self.0.create(request.get_ref())?;
        changed()
    }

    async fn delete(&self, request: Request<DeleteCollection>) -> Answer<CollectionOperationResponse> {
        self.0.admit("delete_collection", &request)?;
        let name = request.into_inner().collection_name;
        let mut held = self.0.held();
        held.collections.remove(&name).ok_or_else(|| Status::not_found("Not found: Collection doesn't exist!"))?;
        held.aliases.retain(|_, collection| *collection != name);
        changed()
    }

    /// All actions, or none, at once.
    async fn update_aliases(&self, request: Request<ChangeAliases>) -> Answer<CollectionOperationResponse> {
        self.0.admit("update_aliases", &request)?;
        let mut held = self.0.held();
        let mut aliases = held.aliases.clone();
        for action in request.into_inner().actions.into_iter().filter_map(|operation| operation.action) {
            match action {
                Action::CreateAlias(create) => {
                    if !held.collections.contains_key(&create.collection_name) {
                        return Err(Status::not_found("Not found: Collection doesn't exist!"));
                    }
                    if held.collections.contains_key(&create.alias_name) || aliases.contains_key(&create.alias_name) {
                        return Err(Status::already_exists("Wrong input: there is such a name"));
                    }
                    aliases.insert(create.alias_name, create.collection_name);
                }
                Action::DeleteAlias(delete) => {
                    aliases.remove(&delete.alias_name).ok_or_else(|| Status::not_found("Not found: no such alias"))?;
                }
                Action::RenameAlias(_) => return Err(Status::invalid_argument("the stand-in renames no alias")),
            }
        }
        held.aliases = aliases;
        changed()
    }

    async fn list_aliases(&self, request: Request<ListAliasesRequest>) -> Answer<ListAliasesResponse> {
        self.0.admit("list_aliases", &request)?;
        let described = |(alias, collection): (&String, &String)| AliasDescription {
            alias_name: alias.clone(),
            collection_name: collection.clone(),
        };
        let aliases = self.0.held().aliases.iter().map(described).collect();
        Ok(Response::new(ListAliasesResponse { aliases, time: 0.0 }))
    }

    async fn collection_exists(&self, request: Request<CollectionExistsRequest>) -> Answer<CollectionExistsResponse> {
        self.0.admit("collection_exists", &request)?;
        let exists = self.0.held().collections.contains_key(&request.get_ref().collection_name);
        Ok(Response::new(CollectionExistsResponse { result: Some(CollectionExists { exists }), time: 0.0 }))
    }

    unused! {
        get(GetCollectionInfoRequest) -> GetCollectionInfoResponse;
        list(ListCollectionsRequest) -> ListCollectionsResponse;
        update(UpdateCollection) -> CollectionOperationResponse;
        list_collection_aliases(ListCollectionAliasesRequest) -> ListAliasesResponse;
        collection_cluster_info(CollectionClusterInfoRequest) -> CollectionClusterInfoResponse;
        update_collection_cluster_setup(UpdateCollectionClusterSetupRequest) -> UpdateCollectionClusterSetupResponse;
        create_shard_key(CreateShardKeyRequest) -> CreateShardKeyResponse;
        delete_shard_key(DeleteShardKeyRequest) -> DeleteShardKeyResponse;
        list_shard_keys(ListShardKeysRequest) -> ListShardKeysResponse;
    }
}
