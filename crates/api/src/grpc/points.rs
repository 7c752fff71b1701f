//! The `Points` service.

use std::sync::Arc;

use lodestone_types::{Error, QueryRequest, ReadOptions, Result, ScoredPoint, UpdateOp, WriteOptions};
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::points_server::Points;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::point::{id_message, record_message, scored_message};
use super::{answer, field_index, not_yet, read, write};
use crate::Engine;

/// Answers from the engine.
pub(super) struct PointsService(pub(super) Arc<dyn Engine>);

impl PointsService {
    async fn write(
        &self,
        collection: &str,
        operation: Result<UpdateOp>,
        options: Result<WriteOptions>,
        start: Instant,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        answer(async {
            let results = self.0.update(collection, vec![operation?], options?).await?;
            let result = results.first().copied();
            let result = result.ok_or_else(|| Error::internal("the engine did not say what it wrote"))?;
            Ok(operation_response(result, start))
        })
        .await
    }

    async fn hits(
        &self,
        collection: &str,
        request: QueryRequest,
        options: ReadOptions,
    ) -> Result<Vec<proto::ScoredPoint>> {
        let answers = self.0.query(collection, vec![request], options).await?;
        Ok(answers.into_iter().next().map(hits).unwrap_or_default())
    }

    async fn hits_of_each(
        &self,
        collection: &str,
        requests: Vec<QueryRequest>,
        options: ReadOptions,
    ) -> Result<Vec<proto::BatchResult>> {
        let answers = self.0.query(collection, requests, options).await?;
        Ok(answers.into_iter().map(|points| proto::BatchResult { result: hits(points) }).collect())
    }
}

fn hits(points: Vec<ScoredPoint>) -> Vec<proto::ScoredPoint> {
    points.into_iter().map(scored_message).collect()
}

fn operation_response(
    result: lodestone_types::UpdateResult,
    start: Instant,
) -> proto::PointsOperationResponse {
    let time = start.elapsed().as_secs_f64();
    proto::PointsOperationResponse { result: Some(write::result_message(result)), time, usage: None }
}

#[tonic::async_trait]
impl Points for PointsService {
    async fn upsert(
        &self,
        request: Request<proto::UpsertPoints>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        let start = Instant::now();
        let m = request.into_inner();
        let operation = write::upsert(m.points, m.update_filter, m.update_mode, m.shard_key_selector);
        let options = write::options(m.wait, m.ordering, m.timeout);
        self.write(&m.collection_name, operation, options, start).await
    }

    async fn delete(
        &self,
        request: Request<proto::DeletePoints>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        let start = Instant::now();
        let m = request.into_inner();
        let operation = write::delete(m.points, m.shard_key_selector);
        let options = write::options(m.wait, m.ordering, m.timeout);
        self.write(&m.collection_name, operation, options, start).await
    }

    async fn get(&self, request: Request<proto::GetPoints>) -> Result<Response<proto::GetResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let (metadata, _, mut m) = request.into_parts();
            let collection = std::mem::take(&mut m.collection_name);
            let options = read::options(&metadata, m.read_consistency.take(), m.timeout)?;
            let records = self.0.retrieve(&collection, read::retrieve(m)?, options).await?;
            let result = records.into_iter().map(record_message).collect();
            Ok(proto::GetResponse { result, time: start.elapsed().as_secs_f64(), usage: None })
        })
        .await
    }

    async fn update_vectors(
        &self,
        request: Request<proto::UpdatePointVectors>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        let start = Instant::now();
        let m = request.into_inner();
        let operation = write::update_vectors(m.points, m.update_filter, m.shard_key_selector);
        let options = write::options(m.wait, m.ordering, m.timeout);
        self.write(&m.collection_name, operation, options, start).await
    }

    async fn delete_vectors(
        &self,
        request: Request<proto::DeletePointVectors>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        let start = Instant::now();
        let m = request.into_inner();
        let operation = write::delete_vectors(m.vectors, m.points_selector, m.shard_key_selector);
        let options = write::options(m.wait, m.ordering, m.timeout);
        self.write(&m.collection_name, operation, options, start).await
    }

    async fn set_payload(
        &self,
        request: Request<proto::SetPayloadPoints>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        let start = Instant::now();
        let m = request.into_inner();
        let operation = write::set_payload(m.payload, m.key, m.points_selector, m.shard_key_selector);
        let options = write::options(m.wait, m.ordering, m.timeout);
        self.write(&m.collection_name, operation, options, start).await
    }

    async fn overwrite_payload(
        &self,
        request: Request<proto::SetPayloadPoints>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        let start = Instant::now();
        let m = request.into_inner();
        let operation = write::overwrite_payload(m.payload, m.key, m.points_selector, m.shard_key_selector);
        let options = write::options(m.wait, m.ordering, m.timeout);
        self.write(&m.collection_name, operation, options, start).await
    }

    async fn delete_payload(
        &self,
        request: Request<proto::DeletePayloadPoints>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        let start = Instant::now();
        let m = request.into_inner();
        let operation = write::delete_payload(m.keys, m.points_selector, m.shard_key_selector);
        let options = write::options(m.wait, m.ordering, m.timeout);
        self.write(&m.collection_name, operation, options, start).await
    }

    async fn clear_payload(
        &self,
        request: Request<proto::ClearPayloadPoints>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        let start = Instant::now();
        let m = request.into_inner();
        let operation = write::clear_payload(m.points, m.shard_key_selector);
        let options = write::options(m.wait, m.ordering, m.timeout);
        self.write(&m.collection_name, operation, options, start).await
    }

    async fn update_batch(
        &self,
        request: Request<proto::UpdateBatchPoints>,
    ) -> Result<Response<proto::UpdateBatchResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let m = request.into_inner();
            let options = write::options(m.wait, m.ordering, m.timeout)?;
            let results = self.0.update(&m.collection_name, write::batch(m.operations)?, options).await?;
            let result = results.into_iter().map(write::result_message).collect();
            Ok(proto::UpdateBatchResponse { result, time: start.elapsed().as_secs_f64(), usage: None })
        })
        .await
    }

    async fn create_field_index(
        &self,
        request: Request<proto::CreateFieldIndexCollection>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let m = request.into_inner();
            let options = write::options(m.wait, m.ordering, m.timeout)?;
            let index = field_index::index(m.field_type, m.field_index_params)?;
            let field = m.field_name.parse()?;
            let result = self.0.create_field_index(&m.collection_name, field, index, options).await?;
            Ok(operation_response(result, start))
        })
        .await
    }

    async fn delete_field_index(
        &self,
        request: Request<proto::DeleteFieldIndexCollection>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let m = request.into_inner();
            let options = write::options(m.wait, m.ordering, m.timeout)?;
            let field = m.field_name.parse()?;
            let result = self.0.delete_field_index(&m.collection_name, field, options).await?;
            Ok(operation_response(result, start))
        })
        .await
    }

    async fn search(
        &self,
        request: Request<proto::SearchPoints>,
    ) -> Result<Response<proto::SearchResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let (metadata, _, mut m) = request.into_parts();
            let collection = std::mem::take(&mut m.collection_name);
            let options = read::options(&metadata, m.read_consistency.take(), m.timeout)?;
            let result = self.hits(&collection, read::search(m)?, options).await?;
            Ok(proto::SearchResponse { result, time: start.elapsed().as_secs_f64(), usage: None })
        })
        .await
    }

    async fn search_batch(
        &self,
        request: Request<proto::SearchBatchPoints>,
    ) -> Result<Response<proto::SearchBatchResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let (metadata, _, m) = request.into_parts();
            let options = read::options(&metadata, m.read_consistency, m.timeout)?;
            let requests = read::batch(m.search_points, read::search)?;
            let result = self.hits_of_each(&m.collection_name, requests, options).await?;
            Ok(proto::SearchBatchResponse { result, time: start.elapsed().as_secs_f64(), usage: None })
        })
        .await
    }

    async fn query(
        &self,
        request: Request<proto::QueryPoints>,
    ) -> Result<Response<proto::QueryResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let (metadata, _, mut m) = request.into_parts();
            let collection = std::mem::take(&mut m.collection_name);
            let options = read::options(&metadata, m.read_consistency.take(), m.timeout)?;
            let result = self.hits(&collection, read::query(m)?, options).await?;
            Ok(proto::QueryResponse { result, time: start.elapsed().as_secs_f64(), usage: None })
        })
        .await
    }

    async fn query_batch(
        &self,
        request: Request<proto::QueryBatchPoints>,
    ) -> Result<Response<proto::QueryBatchResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let (metadata, _, m) = request.into_parts();
            let options = read::options(&metadata, m.read_consistency, m.timeout)?;
            let requests = read::batch(m.query_points, read::query)?;
            let result = self.hits_of_each(&m.collection_name, requests, options).await?;
            Ok(proto::QueryBatchResponse { result, time: start.elapsed().as_secs_f64(), usage: None })
        })
        .await
    }

    async fn scroll(
        &self,
        request: Request<proto::ScrollPoints>,
    ) -> Result<Response<proto::ScrollResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let (metadata, _, mut m) = request.into_parts();
            let collection = std::mem::take(&mut m.collection_name);
            let options = read::options(&metadata, m.read_consistency.take(), m.timeout)?;
            let page = self.0.scroll(&collection, read::scroll(m)?, options).await?;
            Ok(proto::ScrollResponse {
                next_page_offset: page.next.map(id_message),
                result: page.points.into_iter().map(record_message).collect(),
                time: start.elapsed().as_secs_f64(),
                usage: None,
            })
        })
        .await
    }

    async fn count(
        &self,
        request: Request<proto::CountPoints>,
    ) -> Result<Response<proto::CountResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let (metadata, _, mut m) = request.into_parts();
            let collection = std::mem::take(&mut m.collection_name);
            let options = read::options(&metadata, m.read_consistency.take(), m.timeout)?;
            let count = self.0.count(&collection, read::count(m)?, options).await?;
            let result = Some(proto::CountResult { count });
            Ok(proto::CountResponse { result, time: start.elapsed().as_secs_f64(), usage: None })
        })
        .await
    }

    async fn create_vector_name(
        &self,
        _request: Request<proto::CreateVectorNameRequest>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        not_yet("adding a named vector")
    }

    async fn delete_vector_name(
        &self,
        _request: Request<proto::DeleteVectorNameRequest>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        not_yet("removing a named vector")
    }

    async fn search_groups(
        &self,
        _request: Request<proto::SearchPointGroups>,
    ) -> Result<Response<proto::SearchGroupsResponse>, Status> {
        not_yet("groups")
    }

    async fn query_groups(
        &self,
        _request: Request<proto::QueryPointGroups>,
    ) -> Result<Response<proto::QueryGroupsResponse>, Status> {
        not_yet("groups")
    }

    async fn recommend(
        &self,
        _request: Request<proto::RecommendPoints>,
    ) -> Result<Response<proto::RecommendResponse>, Status> {
        not_yet("recommend")
    }

    async fn recommend_batch(
        &self,
        _request: Request<proto::RecommendBatchPoints>,
    ) -> Result<Response<proto::RecommendBatchResponse>, Status> {
        not_yet("recommend")
    }

    async fn recommend_groups(
        &self,
        _request: Request<proto::RecommendPointGroups>,
    ) -> Result<Response<proto::RecommendGroupsResponse>, Status> {
        not_yet("recommend")
    }

    async fn discover(
        &self,
        _request: Request<proto::DiscoverPoints>,
    ) -> Result<Response<proto::DiscoverResponse>, Status> {
        not_yet("discover")
    }

    async fn discover_batch(
        &self,
        _request: Request<proto::DiscoverBatchPoints>,
    ) -> Result<Response<proto::DiscoverBatchResponse>, Status> {
        not_yet("discover")
    }

    async fn facet(
        &self,
        _request: Request<proto::FacetCounts>,
    ) -> Result<Response<proto::FacetResponse>, Status> {
        not_yet("facets")
    }

    async fn search_matrix_pairs(
        &self,
        _request: Request<proto::SearchMatrixPoints>,
    ) -> Result<Response<proto::SearchMatrixPairsResponse>, Status> {
        not_yet("search matrices")
    }

    async fn search_matrix_offsets(
        &self,
        _request: Request<proto::SearchMatrixPoints>,
    ) -> Result<Response<proto::SearchMatrixOffsetsResponse>, Status> {
        not_yet("search matrices")
    }
}
