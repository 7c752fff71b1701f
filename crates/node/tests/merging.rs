//! Indexed segments that are merged: the result has an index at once, and nothing it needs goes with them.

use std::sync::Arc;
use std::time::Duration;

use lodestone_api::Engine;
use lodestone_node::{CheckpointOptions, Node, NodeOptions, StoreLocation, inspect};
use lodestone_store::{MemoryStore, Metrics, Store, list_all};
use lodestone_types::{
    CollectionConfig, CollectionInfo, CollectionParams, CollectionStatus, Distance, HnswConfig, NamedVectors,
    OptimizersConfig, PayloadSelector, Point, PointId, PointSelector, QueryRequest, QueryTarget, ReadOptions,
    UpdateMode, UpdateOp, VectorParams, VectorSelector, WriteOptions,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const NAME: &str = "vectors";
const DIM: usize = 64;
/// Rows of a segment as it is folded.
const FOLD: u64 = 300;

fn config(distance: Distance) -> CollectionConfig {
    let vector = VectorParams {
        size: DIM as u64,
        distance,
        datatype: None,
        hnsw: None,
        on_disk: None,
        quantization: None,
    };
    CollectionConfig {
        params: CollectionParams {
            vectors: [(String::new(), vector)].into(),
            shard_number: 1,
            replication_factor: 1,
            write_consistency_factor: 1,
            on_disk_payload: true,
        },
        hnsw: HnswConfig::default(),
        optimizers: OptimizersConfig { indexing_threshold: Some(16), ..OptimizersConfig::default() },
        quantization: None,
        metadata: None,
        strict_mode: None,
    }
}

async fn start(store: &Arc<dyn Store>, local: &tempfile::TempDir) -> Node {
    let mut options = NodeOptions::new(StoreLocation::Directory("unused".into()), local.path().join("cache"));
    options.compact.fold_rows = FOLD;
    options.compact.merge_fan_in = 3;
    options.gc.grace = Duration::from_millis(50);
    options.checkpoint = CheckpointOptions { slots: 8, idle: Duration::from_millis(50) };
    Node::start_on(store.clone(), Arc::new(Metrics::default()), options).await.unwrap()
}

fn vectors(count: u64, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count).map(|_| (0..DIM).map(|_| rng.random_range(-1.0..1.0)).collect()).collect()
}

async fn write(engine: &Arc<dyn Engine>, op: UpdateOp) {
    engine.update(NAME, vec![op], WriteOptions { wait: true, ..WriteOptions::default() }).await.unwrap();
}

/// Writes the points whose ids leave `remainder` when divided by three, so that segments overlap.
async fn upload(engine: &Arc<dyn Engine>, remainder: u64) {
    let ids = (0..FOLD).map(|i| 3 * i + remainder);
    let points = ids.zip(vectors(FOLD, remainder)).map(|(id, vector)| Point {
        id: PointId::Num(id),
        vectors: NamedVectors::unnamed(vector),
        payload: Default::default(),
    });
    write(engine, UpdateOp::Upsert { points: points.collect(), condition: None, mode: UpdateMode::Upsert })
        .await;
}

/// Waits until nothing is due and there are so many segments.
async fn quiet(engine: &Arc<dyn Engine>, segments: u64) -> CollectionInfo {
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

fn jobs(engine: &Arc<dyn Engine>, kind: &str) -> u64 {
    let metrics = engine.metrics();
    let start = format!("lodestone_compaction_jobs_total{{kind=\"{kind}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

async fn answers(engine: &Arc<dyn Engine>, exact: bool) -> Vec<Vec<PointId>> {
    let request = |vector| QueryRequest {
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
        // Leaves out what has no index.
        indexed_only: !exact,
    };
    let requests = vectors(50, 99).into_iter().map(request).collect();
    let found = engine.query(NAME, requests, ReadOptions::default()).await.unwrap();
    found.into_iter().map(|hits| hits.into_iter().map(|hit| hit.id).collect()).collect()
}

fn assert_alike(found: &[Vec<PointId>], exact: &[Vec<PointId>]) {
    let hits: usize =
        found.iter().zip(exact).map(|(f, e)| f.iter().filter(|id| e.contains(id)).count()).sum();
    assert!(hits >= 495, "{hits} of 500");
}

async fn merge_and_restart(distance: Distance) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local).await;
    let engine = node.engine();
    engine.create_collection(NAME, config(distance), None).await.unwrap();
    for segments in [1, 2] {
        upload(&engine, segments - 1).await;
        let info = quiet(&engine, segments).await;
        assert_eq!((info.indexed_vectors_count, jobs(&engine, "index")), (segments * FOLD, segments));
    }
    let before = list_all(store.as_ref(), "parts/").await.unwrap();
    let models = before.iter().filter(|object| object.key.contains("-model-")).count();
    assert_eq!(models, 1, "the second segment shares the first one's model: {before:?}");

    // Some are deleted, and a third segment makes it time to merge.
    let gone: Vec<PointId> = (0..60).map(|i| PointId::Num(7 * i)).collect();
    write(&engine, UpdateOp::Delete(PointSelector::Ids(gone))).await;
    upload(&engine, 2).await;
    let info = quiet(&engine, 1).await;
    assert_eq!((jobs(&engine, "merge"), jobs(&engine, "index")), (1, 2), "no index was built for it");
    assert_eq!(info.indexed_vectors_count, info.points_count);
    let exact = answers(&engine, true).await;
    assert_alike(&answers(&engine, false).await, &exact);

    // What the merged segment does not need goes; the model stays.
    let mut left = [0; 3];
    for _ in 0..200 {
        let parts = list_all(store.as_ref(), "parts/").await.unwrap();
        left = ["-seg-", "-vec-", "-model-"]
            .map(|what| parts.iter().filter(|object| object.key.contains(what)).count());
        if left == [1, 1, 1] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(left, [1, 1, 1]);
    let found = inspect(&store, None, true).await.unwrap();
    assert!(found.is_sound(), "{found:?}");
    node.shutdown().await;

    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local).await;
    assert_eq!(answers(&node.engine(), true).await, exact);
    assert_alike(&answers(&node.engine(), false).await, &exact);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merged_segment_is_indexed_at_once() {
    for distance in [Distance::Cosine, Distance::Euclid] {
        merge_and_restart(distance).await;
    }
}
