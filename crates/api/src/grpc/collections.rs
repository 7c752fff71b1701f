//! The `Collections` service.

use std::sync::Arc;

use lodestone_types::{AliasAction, Error, Result};
use qdrant_client::qdrant as proto;
use qdrant_client::qdrant::alias_operations::Action;
use qdrant_client::qdrant::collections_server::Collections;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::read::timeout;
use super::{answer, config, info, not_yet};
use crate::{Engine, check};

/// Answers from the engine.
pub(super) struct CollectionsService(pub(super) Arc<dyn Engine>);

fn action(message: proto::AliasOperations) -> Result<AliasAction> {
    match message.action.ok_or_else(|| Error::bad_request("a change of aliases is empty"))? {
        Action::CreateAlias(m) => {
            check::collection_name(&m.alias_name)?;
            Ok(AliasAction::Create { collection: m.collection_name, alias: m.alias_name })
        }
        Action::RenameAlias(m) => {
            check::collection_name(&m.new_alias_name)?;
            Ok(AliasAction::Rename { old: m.old_alias_name, new: m.new_alias_name })
        }
        Action::DeleteAlias(m) => Ok(AliasAction::Delete { alias: m.alias_name }),
    }
}

impl CollectionsService {
    async fn list_of_aliases(
        &self,
        collection: Option<&str>,
        start: Instant,
    ) -> Result<proto::ListAliasesResponse> {
        let pairs = self.0.aliases(collection).await?;
        let aliases = pairs
            .into_iter()
            .map(|(alias_name, collection_name)| proto::AliasDescription { alias_name, collection_name })
            .collect();
        Ok(proto::ListAliasesResponse { aliases, time: start.elapsed().as_secs_f64() })
    }
}

/// The answer to a change.
fn done(result: bool, start: Instant) -> proto::CollectionOperationResponse {
    proto::CollectionOperationResponse { result, time: start.elapsed().as_secs_f64() }
}

#[tonic::async_trait]
impl Collections for CollectionsService {
    async fn get(
        &self,
        request: Request<proto::GetCollectionInfoRequest>,
    ) -> Result<Response<proto::GetCollectionInfoResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let found = self.0.collection(&request.get_ref().collection_name).await?;
            let result = Some(info::message(found)?);
            Ok(proto::GetCollectionInfoResponse { result, time: start.elapsed().as_secs_f64() })
        })
        .await
    }

    async fn list(
        &self,
        _request: Request<proto::ListCollectionsRequest>,
    ) -> Result<Response<proto::ListCollectionsResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let names = self.0.collections().await?;
            let collections = names.into_iter().map(|name| proto::CollectionDescription { name }).collect();
            Ok(proto::ListCollectionsResponse { collections, time: start.elapsed().as_secs_f64() })
        })
        .await
    }

    async fn create(
        &self,
        request: Request<proto::CreateCollection>,
    ) -> Result<Response<proto::CollectionOperationResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let mut message = request.into_inner();
            let name = std::mem::take(&mut message.collection_name);
            check::collection_name(&name)?;
            let timeout = timeout(message.timeout)?;
            self.0.create_collection(&name, config::new(message)?, timeout).await?;
            Ok(done(true, start))
        })
        .await
    }

    async fn update(
        &self,
        request: Request<proto::UpdateCollection>,
    ) -> Result<Response<proto::CollectionOperationResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let mut message = request.into_inner();
            let name = std::mem::take(&mut message.collection_name);
            let timeout = timeout(message.timeout)?;
            self.0.update_collection(&name, config::patch(message)?, timeout).await?;
            Ok(done(true, start))
        })
        .await
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteCollection>,
    ) -> Result<Response<proto::CollectionOperationResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let message = request.into_inner();
            let existed =
                self.0.delete_collection(&message.collection_name, timeout(message.timeout)?).await?;
            Ok(done(existed, start))
        })
        .await
    }

    async fn update_aliases(
        &self,
        request: Request<proto::ChangeAliases>,
    ) -> Result<Response<proto::CollectionOperationResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let message = request.into_inner();
            let actions = message.actions.into_iter().map(action).collect::<Result<_>>()?;
            self.0.update_aliases(actions, timeout(message.timeout)?).await?;
            Ok(done(true, start))
        })
        .await
    }

    async fn list_collection_aliases(
        &self,
        request: Request<proto::ListCollectionAliasesRequest>,
    ) -> Result<Response<proto::ListAliasesResponse>, Status> {
        let start = Instant::now();
        answer(self.list_of_aliases(Some(&request.get_ref().collection_name), start)).await
    }

    async fn list_aliases(
        &self,
        _request: Request<proto::ListAliasesRequest>,
    ) -> Result<Response<proto::ListAliasesResponse>, Status> {
        let start = Instant::now();
        answer(self.list_of_aliases(None, start)).await
    }

    async fn collection_exists(
        &self,
        request: Request<proto::CollectionExistsRequest>,
    ) -> Result<Response<proto::CollectionExistsResponse>, Status> {
        let start = Instant::now();
        answer(async {
            let exists = self.0.collection_exists(&request.get_ref().collection_name).await?;
            let result = Some(proto::CollectionExists { exists });
            Ok(proto::CollectionExistsResponse { result, time: start.elapsed().as_secs_f64() })
        })
        .await
    }

    async fn collection_cluster_info(
        &self,
        _request: Request<proto::CollectionClusterInfoRequest>,
    ) -> Result<Response<proto::CollectionClusterInfoResponse>, Status> {
        not_yet("cluster information")
    }

    async fn update_collection_cluster_setup(
        &self,
        _request: Request<proto::UpdateCollectionClusterSetupRequest>,
    ) -> Result<Response<proto::UpdateCollectionClusterSetupResponse>, Status> {
        not_yet("cluster setup")
    }

    async fn create_shard_key(
        &self,
        _request: Request<proto::CreateShardKeyRequest>,
    ) -> Result<Response<proto::CreateShardKeyResponse>, Status> {
        not_yet("shard keys")
    }

    async fn delete_shard_key(
        &self,
        _request: Request<proto::DeleteShardKeyRequest>,
    ) -> Result<Response<proto::DeleteShardKeyResponse>, Status> {
        not_yet("shard keys")
    }

    async fn list_shard_keys(
        &self,
        _request: Request<proto::ListShardKeysRequest>,
    ) -> Result<Response<proto::ListShardKeysResponse>, Status> {
        not_yet("shard keys")
    }
}
