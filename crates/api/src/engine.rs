use std::time::Duration;

use async_trait::async_trait;
use lodestone_types::{
    AliasAction, CollectionConfig, CollectionInfo, CollectionPatch, CountRequest, FieldIndex, JsonPath,
    QueryRequest, ReadOptions, Record, Result, RetrieveRequest, ScoredPoint, ScrollPage, ScrollRequest,
    UpdateOp, UpdateResult, WarmRequest, Warmth, WriteOptions,
};

/// What both interfaces call: everything a client can ask for, in our own types.
///
/// `collection` is a name or an alias wherever something is read or written. This crate has checked the
/// shape of a request and the limits that need no collection; the engine checks it against the collection.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Creates a collection. A name or alias that is taken is a `Conflict`.
    async fn create_collection(
        &self,
        name: &str,
        config: CollectionConfig,
        timeout: Option<Duration>,
    ) -> Result<()>;
    /// Changes settings.
    async fn update_collection(
        &self,
        collection: &str,
        patch: CollectionPatch,
        timeout: Option<Duration>,
    ) -> Result<()>;
    /// Deletes a collection and its aliases. `false` if there was none.
    async fn delete_collection(&self, name: &str, timeout: Option<Duration>) -> Result<bool>;
    /// The names of all collections, sorted.
    async fn collections(&self) -> Result<Vec<String>>;
    /// What is known about one.
    async fn collection(&self, collection: &str) -> Result<CollectionInfo>;
    /// Whether it exists.
    async fn collection_exists(&self, collection: &str) -> Result<bool>;
    /// Applies all actions as one.
    async fn update_aliases(&self, actions: Vec<AliasAction>, timeout: Option<Duration>) -> Result<()>;
    /// Pairs of alias and collection, of one collection or of all, sorted.
    async fn aliases(&self, collection: Option<&str>) -> Result<Vec<(String, String)>>;
    /// Creates (or replaces) a payload index; it is built in the background.
    async fn create_field_index(
        &self,
        collection: &str,
        field: JsonPath,
        index: FieldIndex,
        options: WriteOptions,
    ) -> Result<UpdateResult>;
    /// Drops a payload index, if it exists.
    async fn delete_field_index(
        &self,
        collection: &str,
        field: JsonPath,
        options: WriteOptions,
    ) -> Result<UpdateResult>;
    /// Applies operations in order, each whole or not at all; stops at the first that fails.
    async fn update(
        &self,
        collection: &str,
        operations: Vec<UpdateOp>,
        options: WriteOptions,
    ) -> Result<Vec<UpdateResult>>;
    /// Answers several queries; one list of hits each, nearest first.
    async fn query(
        &self,
        collection: &str,
        requests: Vec<QueryRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>>;
    /// One page of points.
    async fn scroll(
        &self,
        collection: &str,
        request: ScrollRequest,
        options: ReadOptions,
    ) -> Result<ScrollPage>;
    /// How many points match.
    async fn count(&self, collection: &str, request: CountRequest, options: ReadOptions) -> Result<u64>;
    /// Points by id.
    async fn retrieve(
        &self,
        collection: &str,
        request: RetrieveRequest,
        options: ReadOptions,
    ) -> Result<Vec<Record>>;
    /// Brings a collection here, and says how much of it that is. Where there is no room an error says so; when the time is up the
    /// error says how much has come, and the rest goes on coming.
    async fn warm(&self, collection: &str, request: WarmRequest, options: ReadOptions) -> Result<Warmth>;
    /// How much of a collection is here.
    async fn warmth(&self, collection: &str) -> Result<Warmth>;
    /// Has every process keep a collection near, or not any more. An error where this one has no room.
    async fn pin(&self, collection: &str, pinned: bool, timeout: Option<Duration>) -> Result<()>;
    /// Whether it can take writes and answer now.
    async fn ready(&self) -> Result<()>;
    /// All metrics in Prometheus' text format.
    fn metrics(&self) -> String;
}
