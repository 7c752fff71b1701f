//! What the interfaces call, over the roles of this process.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lodestone_api::Engine;
use lodestone_compact::{CompactOptions, Compactor, plan};
use lodestone_ingest::{Ingest, Reader, Updater, Write};
use lodestone_manifest::{CatalogError, Collection, ShardId, Slot, State, SystemOp};
use lodestone_meta::{Consistency, Meta, MetaError};
use lodestone_query::Query;
use lodestone_shard::Views;
use lodestone_store::{Metrics, PartCache};
use lodestone_types::{
    AliasAction, CollectionConfig, CollectionInfo, CollectionPatch, CollectionStatus, CountRequest, Error,
    FieldIndex, Filter, JsonPath, PointId, Prices, QueryRequest, ReadOptions, Record, Result,
    RetrieveRequest, ScoredPoint, ScrollPage, ScrollRequest, UpdateOp, UpdateResult, UpdateStatus,
    WarmRequest, Warmth, WriteOptions,
};
use tokio::time::Instant;

pub(crate) struct NodeEngine {
    pub meta: Arc<dyn Meta>,
    pub query: Arc<Query>,
    /// None where the process only reads.
    pub writing: Option<Writing>,
    /// What makes jobs due.
    pub compact: CompactOptions,
    pub metrics: Arc<Metrics>,
    pub prices: Prices,
    pub parts: Arc<PartCache>,
    pub views: Arc<Views>,
}

/// The roles that write.
pub(crate) struct Writing {
    pub ingest: Arc<Ingest>,
    pub updater: Updater,
    pub compactor: Arc<Compactor>,
}

/// Reads for writes that depend on data.
pub(crate) struct QueryReader(pub Arc<Query>);

#[async_trait]
impl Reader for QueryReader {
    async fn matching(&self, state: &Arc<State>, shard: ShardId, filter: &Filter) -> Result<Vec<PointId>> {
        self.0.matching(state, shard, filter).await
    }

    async fn existing(
        &self,
        state: &Arc<State>,
        shard: ShardId,
        ids: &[PointId],
    ) -> Result<HashSet<PointId>> {
        self.0.existing(state, shard, ids).await
    }
}

impl NodeEngine {
    pub(crate) fn writing(&self) -> Result<&Writing> {
        self.writing.as_ref().ok_or_else(|| MetaError::ReadOnly.into())
    }

    pub(crate) async fn find(&self, name: &str) -> Result<(Arc<State>, Arc<Collection>)> {
        let state = self.meta.read(Consistency::Strong).await?;
        let collection = state.collection(name).cloned().ok_or_else(|| Error::no_collection(name))?;
        Ok((state, collection))
    }

    /// Puts one change of the catalog into the log.
    async fn change(&self, op: SystemOp, timeout: Option<Duration>) -> Result<Result<Slot, CatalogError>> {
        let writing = self.writing()?;
        // A bucket that is down is found out first, while nothing is in doubt.
        self.meta.read(Consistency::Strong).await?;
        let write = writing.ingest.write(Write { system: vec![op], ..Write::default() });
        let written = match timeout {
            None => write.await?,
            Some(limit) => tokio::time::timeout(limit, write).await.map_err(|_| {
                Error::outcome_unknown(
                    "the change was not decided in time; look whether it took effect, or send it again",
                )
            })??,
        };
        let outcome = written.system.into_iter().next();
        let outcome = outcome.ok_or_else(|| Error::internal("a change of the catalog was not answered"))?;
        Ok(outcome.map(|_| written.slot))
    }
}

fn refused(error: CatalogError, name: &str) -> Error {
    let message = error.to_string();
    match error {
        CatalogError::NameTaken(_) | CatalogError::AliasTaken(_) => Error::conflict(message),
        CatalogError::NoCollection => Error::no_collection(name),
        CatalogError::UnknownCollection(_) | CatalogError::UnknownAlias(_) => Error::not_found(message),
        CatalogError::UnknownVector(_) | CatalogError::Limit(_) => Error::bad_request(message),
        CatalogError::Stale(_) => Error::unavailable(message),
    }
}

#[async_trait]
impl Engine for NodeEngine {
    async fn create_collection(
        &self,
        name: &str,
        config: CollectionConfig,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let op = SystemOp::CreateCollection { name: name.to_owned(), config };
        self.change(op, timeout).await?.map(|_| ()).map_err(|e| refused(e, name))
    }

    async fn update_collection(
        &self,
        name: &str,
        patch: CollectionPatch,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let (_, collection) = self.find(name).await?;
        let op = SystemOp::UpdateCollection { collection: collection.id, patch };
        self.change(op, timeout).await?.map(|_| ()).map_err(|e| refused(e, name))
    }

    async fn delete_collection(&self, name: &str, timeout: Option<Duration>) -> Result<bool> {
        self.writing()?;
        let state = self.meta.read(Consistency::Strong).await?;
        // An alias is no name to delete a collection by.
        let Some(id) = state.names.get(name) else { return Ok(false) };
        match self.change(SystemOp::DeleteCollection { collection: *id }, timeout).await? {
            Ok(_) => Ok(true),
            Err(CatalogError::NoCollection) => Ok(false),
            Err(e) => Err(refused(e, name)),
        }
    }

    async fn collections(&self) -> Result<Vec<String>> {
        let state = self.meta.read(Consistency::Strong).await?;
        Ok(state.names.keys().cloned().collect())
    }

    async fn collection(&self, name: &str) -> Result<CollectionInfo> {
        let (state, collection) = self.find(name).await?;
        let mut due = false;
        let (mut segments, mut indexed) = (0, 0);
        let mut covered: BTreeMap<JsonPath, u64> = BTreeMap::new();
        for (id, shard) in collection.shards().filter_map(|id| Some((id, state.shards.get(&id)?))) {
            // Nobody rests for a process that folds nothing.
            let rested = self.writing.as_ref().map_or(Duration::ZERO, |writing| writing.compactor.rested(id));
            due |= plan::is_anything_due(&collection, shard, rested, &self.compact)?;
            indexed += plan::indexed_vectors(shard)?;
            segments += shard.segments.len() as u64 + u64::from(!shard.tail.is_empty());
            for (path, rows) in plan::indexed_rows(&collection, shard)? {
                *covered.entry(path).or_default() += rows;
            }
        }
        let points_count = self.query.points(name, ReadOptions::default()).await?;
        let schema = collection.fields.iter().map(|(path, (index, _))| {
            (path.clone(), (index.clone(), covered.get(path).copied().unwrap_or_default()))
        });
        Ok(CollectionInfo {
            status: if due { CollectionStatus::Yellow } else { CollectionStatus::Green },
            config: CollectionConfig::clone(&collection.config),
            payload_schema: schema.collect(),
            points_count,
            indexed_vectors_count: indexed,
            segments_count: segments,
        })
    }

    async fn collection_exists(&self, name: &str) -> Result<bool> {
        Ok(self.meta.read(Consistency::Strong).await?.collection(name).is_some())
    }

    async fn update_aliases(&self, actions: Vec<AliasAction>, timeout: Option<Duration>) -> Result<()> {
        self.change(SystemOp::Aliases(actions), timeout).await?.map(|_| ()).map_err(|e| refused(e, ""))
    }

    async fn aliases(&self, collection: Option<&str>) -> Result<Vec<(String, String)>> {
        let state = self.meta.read(Consistency::Strong).await?;
        let wanted = match collection {
            Some(name) => Some(state.collection(name).ok_or_else(|| Error::no_collection(name))?.id),
            None => None,
        };
        let all = state.aliases.iter().filter(|(_, id)| wanted.is_none_or(|wanted| wanted == **id));
        Ok(all
            .filter_map(|(alias, id)| Some((alias.clone(), state.collections.get(id)?.name.clone())))
            .collect())
    }

    async fn create_field_index(
        &self,
        name: &str,
        field: JsonPath,
        index: FieldIndex,
        options: WriteOptions,
    ) -> Result<UpdateResult> {
        let (_, collection) = self.find(name).await?;
        let op = SystemOp::CreateFieldIndex { collection: collection.id, field, index };
        let slot = self.change(op, options.timeout).await?.map_err(|e| refused(e, name))?;
        Ok(UpdateResult { operation_id: slot.0, status: UpdateStatus::Completed })
    }

    async fn delete_field_index(
        &self,
        name: &str,
        field: JsonPath,
        options: WriteOptions,
    ) -> Result<UpdateResult> {
        let (_, collection) = self.find(name).await?;
        let op = SystemOp::DeleteFieldIndex { collection: collection.id, field };
        let slot = self.change(op, options.timeout).await?.map_err(|e| refused(e, name))?;
        Ok(UpdateResult { operation_id: slot.0, status: UpdateStatus::Completed })
    }

    async fn update(
        &self,
        name: &str,
        operations: Vec<UpdateOp>,
        options: WriteOptions,
    ) -> Result<Vec<UpdateResult>> {
        let updater = &self.writing()?.updater;
        let deadline = options.timeout.map(|limit| Instant::now() + limit);
        let mut results = Vec::with_capacity(operations.len());
        for operation in operations {
            let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            results.push(updater.apply(name, operation, WriteOptions { timeout, ..options }).await?);
        }
        Ok(results)
    }

    async fn query(
        &self,
        name: &str,
        requests: Vec<QueryRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>> {
        self.query.query(name, requests, options).await
    }

    async fn scroll(&self, name: &str, request: ScrollRequest, options: ReadOptions) -> Result<ScrollPage> {
        self.query.scroll(name, request, options).await
    }

    async fn count(&self, name: &str, request: CountRequest, options: ReadOptions) -> Result<u64> {
        self.query.count(name, request, options).await
    }

    async fn retrieve(
        &self,
        name: &str,
        request: RetrieveRequest,
        options: ReadOptions,
    ) -> Result<Vec<Record>> {
        self.query.retrieve(name, request, options).await
    }

    async fn warm(&self, name: &str, request: WarmRequest, options: ReadOptions) -> Result<Warmth> {
        self.query.warm(name, request, options).await
    }

    async fn warmth(&self, name: &str) -> Result<Warmth> {
        self.query.warmth(name, &WarmRequest::ALL).await
    }

    async fn pin(&self, name: &str, pinned: bool, timeout: Option<Duration>) -> Result<()> {
        self.writing()?;
        let (state, collection) = self.find(name).await?;
        if pinned {
            self.query.check_pin(&state, collection.id)?;
        }
        let op = SystemOp::Pin { collection: collection.id, pinned };
        self.change(op, timeout).await?.map_err(|e| refused(e, name))?;
        self.query.note_pins(&*self.meta.read(Consistency::Eventual).await?);
        Ok(())
    }

    async fn ready(&self) -> Result<()> {
        if self.writing.is_none() {
            // It has read the bucket once; whoever asks for health again and again shall not make it ask the bucket.
            return Ok(());
        }
        self.meta.read(Consistency::Eventual).await.map(|_| ()).map_err(Error::from)
    }

    fn metrics(&self) -> String {
        crate::metrics::render(self)
    }
}
