//! A collection of random vectors on a node.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use lodestone_api::Engine;
use lodestone_node::{CheckpointOptions, Node, NodeOptions, StoreLocation};
use lodestone_store::{Account, Accounted, MemoryStore, Metrics, Simulated, Store, Usage, charged};
use lodestone_types::{
    CollectionConfig, CollectionInfo, CollectionStatus, Distance, FieldIndex, FieldIndexKind, JsonPath,
    Limit, Limits, NamedVectors, OptimizersConfig, Payload, PayloadSelector, Point, PointId, QueryRequest,
    QueryTarget, ReadOptions, Result, ScoredPoint, UpdateMode, UpdateOp, VectorParams, VectorSelector,
    WriteOptions,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

pub const NAME: &str = "vectors";
pub const DIM: usize = 64;
/// Rows of a segment as it is folded.
pub const FOLD: u64 = 300;

pub fn config(distance: Distance) -> CollectionConfig {
    let vector = VectorParams::new(DIM as u64, distance);
    CollectionConfig {
        optimizers: OptimizersConfig { indexing_threshold: Some(16), ..OptimizersConfig::default() },
        ..CollectionConfig::new([(String::new(), vector)].into())
    }
}

/// Starts a node that folds early and cleans up soon.
pub async fn start(store: &Arc<dyn Store>, local: &tempfile::TempDir, hydrate: bool) -> Node {
    start_within(store, local, hydrate, None).await
}

/// The same, with room for so many bytes in memory.
pub async fn start_within(
    store: &Arc<dyn Store>,
    local: &tempfile::TempDir,
    hydrate: bool,
    memory: Option<u64>,
) -> Node {
    let mut options = options(local, hydrate);
    options.cache.memory = memory;
    start_as(store, options).await
}

pub async fn start_as(store: &Arc<dyn Store>, options: NodeOptions) -> Node {
    Node::start_on(store.clone(), Arc::new(Metrics::default()), options).await.unwrap()
}

pub fn options(local: &tempfile::TempDir, hydrate: bool) -> NodeOptions {
    let mut options = NodeOptions::new(StoreLocation::Directory("unused".into()), local.path().join("cache"));
    options.cache.hydrate = hydrate;
    options.compact.fold_rows = FOLD;
    options.compact.merge_fan_in = 3;
    options.gc.grace = Duration::from_millis(50);
    options.checkpoint = CheckpointOptions { slots: 8, idle: Duration::from_millis(50) };
    options
}

pub fn vectors(count: u64, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count).map(|_| (0..DIM).map(|_| rng.random_range(-1.0..1.0)).collect()).collect()
}

pub async fn write(engine: &Arc<dyn Engine>, op: UpdateOp) {
    engine.update(NAME, vec![op], WriteOptions { wait: true, ..WriteOptions::default() }).await.unwrap();
}

/// Waits until nothing is due and there are so many segments.
pub async fn quiet(engine: &Arc<dyn Engine>, segments: u64) -> CollectionInfo {
    let mut last = None;
    for _ in 0..500 {
        let info = engine.collection(NAME).await.unwrap();
        if info.status == CollectionStatus::Green && info.segments_count == segments {
            return info;
        }
        last = Some((info.status, info.segments_count, info.indexed_vectors_count));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not {segments} segments: {last:?}");
}

/// A search for ten points.
pub fn request(vector: Vec<f32>, exact: bool) -> QueryRequest {
    QueryRequest {
        target: QueryTarget::Vector(vector),
        using: String::new(),
        lookup_from: None,
        filter: None,
        score_threshold: None,
        limit: 10,
        offset: 0,
        with_payload: PayloadSelector::None,
        with_vectors: VectorSelector::None,
        exact,
        hnsw_ef: None,
        indexed_only: false,
        quantization: Default::default(),
    }
}

/// The ids that each request finds.
pub async fn found(engine: &Arc<dyn Engine>, requests: Vec<QueryRequest>) -> Vec<Vec<PointId>> {
    let found = engine.query(NAME, requests, ReadOptions::default()).await.unwrap();
    found.into_iter().map(|hits| hits.into_iter().map(|hit| hit.id).collect()).collect()
}

/// Of so many exact answers how many were found.
pub fn overlap(found: &[Vec<PointId>], exact: &[Vec<PointId>]) -> usize {
    found.iter().zip(exact).map(|(f, e)| f.iter().filter(|id| e.contains(id)).count()).sum()
}

/// Rows of a collection in a far bucket.
pub const ROWS: u64 = 4 * FOLD;

pub fn points(ids: impl Iterator<Item = u64>, seed: u64) -> UpdateOp {
    let ids: Vec<u64> = ids.collect();
    let made = ids.iter().zip(vectors(ids.len() as u64, seed));
    let made = made.map(|(id, vector)| Point {
        id: PointId::Num(*id),
        vectors: NamedVectors::unnamed(vector),
        payload: payload(json!({"id": id, "from": seed})),
    });
    UpdateOp::Upsert { points: made.collect(), condition: None, mode: UpdateMode::Upsert }
}

pub fn path(text: &str) -> JsonPath {
    text.parse().unwrap()
}

pub fn payload(json: serde_json::Value) -> Payload {
    serde_json::from_value(json).unwrap()
}

/// A collection of two segments in a bucket as far away as S3, and a process on it that has nothing here.
pub async fn far(distance: Distance, hydrate: bool) -> (Node, tempfile::TempDir) {
    reopened(two_segments(distance).await, hydrate).await
}

/// A collection of two segments.
pub async fn two_segments(distance: Distance) -> Arc<dyn Store> {
    segments(distance, [0..ROWS / 2, ROWS / 2..ROWS]).await
}

/// A collection with a segment for each of these ranges of ids, all of whose rows are in indexes.
pub async fn segments(
    distance: Distance,
    ranges: impl IntoIterator<Item = std::ops::Range<u64>>,
) -> Arc<dyn Store> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    let engine = node.engine();
    engine.create_collection(NAME, config(distance), None).await.unwrap();
    let index = FieldIndex { kind: FieldIndexKind::Integer, params: None };
    engine.create_field_index(NAME, path("id"), index, WriteOptions::default()).await.unwrap();
    for (segments, ids) in (1..).zip(ranges) {
        let rows = ids.end;
        write(&engine, points(ids, segments)).await;
        assert_eq!(quiet(&engine, segments).await.indexed_vectors_count, rows);
    }
    node.shutdown().await;
    store
}

/// A process on a bucket as far away as S3, that has nothing here.
pub async fn reopened(store: Arc<dyn Store>, hydrate: bool) -> (Node, tempfile::TempDir) {
    reopened_within(store, hydrate, None).await
}

/// The same, with room for so many bytes in memory.
pub async fn reopened_within(
    store: Arc<dyn Store>,
    hydrate: bool,
    memory: Option<u64>,
) -> (Node, tempfile::TempDir) {
    let far: Arc<dyn Store> = Arc::new(Simulated::latency_only(store, 1));
    let far: Arc<dyn Store> = Arc::new(Accounted::new(far));
    let local = tempfile::tempdir().unwrap();
    (start_within(&far, &local, hydrate, memory).await, local)
}

pub fn number(id: PointId) -> u64 {
    match id {
        PointId::Num(number) => number,
        PointId::Uuid(_) => panic!("{id}"),
    }
}

/// Searches within limits: what was found, what that cost, and the limits because of which it is not all.
pub async fn search(
    engine: &Arc<dyn Engine>,
    request: QueryRequest,
    limits: Limits,
) -> (Result<Vec<ScoredPoint>>, Usage, Vec<Limit>) {
    let account = Arc::new(Account::default());
    let options = ReadOptions { limits, ..ReadOptions::default() };
    let found = charged(account.clone(), engine.query(NAME, vec![request], options)).await;
    (found.map(|mut found| found.remove(0)), account.usage(), account.cut_short())
}

/// What there is to be found, by comparing all.
pub async fn exact(engine: &Arc<dyn Engine>, request: QueryRequest) -> Vec<ScoredPoint> {
    let request = QueryRequest { exact: true, ..request };
    engine.query(NAME, vec![request], ReadOptions::default()).await.unwrap().remove(0)
}
