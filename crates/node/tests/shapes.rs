//! Vectors of few and many components, of every type and distance, get an index, and it finds what comparing all of them finds.

mod common;

use std::sync::Arc;

use common::*;
use lodestone_node::Node;
use lodestone_store::{MemoryStore, Store};
use lodestone_types::{
    CollectionConfig, CollectionPatch, Datatype, Distance, HnswConfig, NamedVectors, OptimizersConfig, Point,
    PointId, QuantizationSearch, QueryRequest, ReadOptions, ScoredPoint, UpdateMode, UpdateOp, VectorParams,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

const DISTANCES: [Distance; 4] = [Distance::Cosine, Distance::Euclid, Distance::Dot, Distance::Manhattan];
const QUERIES: usize = 20;
/// Fewer lists than there are.
const EF: u64 = 6;

/// Rows about some centres, of whole numbers from 0 to 255 as bytes have.
fn clouds(dim: usize, count: usize, seed: u64) -> Vec<Vec<f32>> {
    const CENTRES: usize = 24;
    let mut rng = StdRng::seed_from_u64(7);
    let centres: Vec<Vec<f32>> =
        (0..CENTRES).map(|_| (0..dim).map(|_| rng.random_range(60.0..190.0)).collect()).collect();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut row = |i: usize| -> Vec<f32> {
        centres[i % CENTRES].iter().map(|x| (x + rng.random_range(-60.0..60.0f32)).round()).collect()
    };
    (0..count).map(&mut row).collect()
}

/// A node without collections.
async fn empty() -> (Node, TempDir) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    (node, local)
}

/// A collection of such vectors, with an index.
async fn indexed(dim: usize, distance: Distance, datatype: Datatype, rows: usize) -> (Node, TempDir) {
    let (node, local) = empty().await;
    let engine = node.engine();
    let vector = VectorParams { datatype: Some(datatype), ..VectorParams::new(dim as u64, distance) };
    let config = CollectionConfig {
        optimizers: OptimizersConfig { indexing_threshold: Some(1), ..OptimizersConfig::default() },
        ..CollectionConfig::new([(String::new(), vector)].into())
    };
    engine.create_collection(NAME, config, None).await.unwrap();
    let points = (0..).zip(clouds(dim, rows, 1)).map(|(id, vector)| Point {
        id: PointId::Num(id),
        vectors: NamedVectors::unnamed(vector),
        payload: Default::default(),
    });
    let points: Vec<Point> = points.collect();
    write(&engine, UpdateOp::Upsert { points, condition: None, mode: UpdateMode::Upsert }).await;
    let info = quiet(&engine, 1).await;
    assert_eq!(info.indexed_vectors_count, rows as u64, "{dim} components, {distance:?}, {datatype:?}");
    (node, local)
}

async fn ask(node: &Node, dim: usize, exact: bool, rescore: Option<bool>) -> Vec<Vec<ScoredPoint>> {
    let quantization = QuantizationSearch { rescore, ..QuantizationSearch::default() };
    let request = |vector| QueryRequest { hnsw_ef: Some(EF), quantization, ..request(vector, exact) };
    let requests = clouds(dim, QUERIES, 2).into_iter().map(request).collect();
    node.engine().query(NAME, requests, ReadOptions::default()).await.unwrap()
}

/// Pairs of what was found and what is known of it, of all queries.
fn known<'a>(
    found: &'a [Vec<ScoredPoint>],
    exact: &'a [Vec<ScoredPoint>],
) -> impl Iterator<Item = (&'a ScoredPoint, &'a ScoredPoint)> {
    found.iter().zip(exact).flat_map(|(found, exact)| {
        found.iter().filter_map(|hit| Some((hit, exact.iter().find(|exact| exact.id == hit.id)?)))
    })
}

/// Whether scores are what codes say.
async fn are_estimated(node: &Node, dim: usize, exact: &[Vec<ScoredPoint>]) -> bool {
    let found = ask(node, dim, false, Some(false)).await;
    known(&found, exact).any(|(hit, exact)| hit.score != exact.score)
}

/// Builds an index of such vectors and compares what it finds with what is nearest.
async fn check(dim: usize, distance: Distance, datatype: Datatype, rows: usize) {
    let what = format!("{dim} components, {distance:?}, {datatype:?}");
    let (node, _local) = indexed(dim, distance, datatype, rows).await;
    let exact = ask(&node, dim, true, None).await;
    let found = ask(&node, dim, false, None).await;
    assert!(found.iter().all(|found| found.len() == 10), "{what}");
    assert!(known(&found, &exact).all(|(hit, exact)| hit.score == exact.score), "{what}");
    let right = known(&found, &exact).count();
    assert!(right >= QUERIES * 9, "{what}: {right} of {}", 10 * QUERIES);
    // That tells that it was the index that searched. Codes say nothing of sums of differences.
    assert_eq!(are_estimated(&node, dim, &exact).await, distance != Distance::Manhattan, "{what}");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_few_components_to_many() {
    for (dim, rows) in [(1, 2000), (8, 2000), (1536, 2000), (8192, 1200)] {
        check(dim, Distance::Euclid, Datatype::Float32, rows).await;
    }
    check(8, Distance::Cosine, Datatype::Float32, 2000).await;
    check(8192, Distance::Dot, Datatype::Float32, 1200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_every_type_and_distance() {
    for distance in DISTANCES {
        for datatype in [Datatype::Float32, Datatype::Float16, Datatype::Uint8] {
            check(96, distance, datatype, 2000).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_to_a_threshold_all_are_compared() {
    const DIM: usize = 96;
    let (node, _local) = indexed(DIM, Distance::Euclid, Datatype::Float32, 2048).await;
    let exact = ask(&node, DIM, true, None).await;
    assert!(are_estimated(&node, DIM, &exact).await);
    let kib = 2048 * 4 * DIM as u64 / 1024;
    for (threshold, is_index_asked) in [(kib - 1, true), (kib, false), (0, true)] {
        let hnsw = HnswConfig { full_scan_threshold: Some(threshold), ..HnswConfig::default() };
        let patch = CollectionPatch { hnsw: Some(hnsw), ..CollectionPatch::default() };
        node.engine().update_collection(NAME, patch, None).await.unwrap();
        assert_eq!(are_estimated(&node, DIM, &exact).await, is_index_asked, "{threshold} KiB");
    }
    node.shutdown().await;
}

/// Users may rather miss what would have to be compared row by row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_segments_without_an_index_are_left_out_where_asked() {
    let (node, _local) = empty().await;
    let engine = node.engine();
    let hnsw = HnswConfig { m: Some(0), ..HnswConfig::default() };
    engine.create_collection(NAME, CollectionConfig { hnsw, ..config(Distance::Dot) }, None).await.unwrap();
    write(&engine, points(0..FOLD, 1)).await;
    assert_eq!(quiet(&engine, 1).await.indexed_vectors_count, 0);
    write(&engine, points(FOLD..FOLD + 5, 2)).await;
    let count = async |indexed_only| {
        let request = QueryRequest { limit: 1000, indexed_only, ..request(vectors(1, 3).remove(0), false) };
        found(&engine, vec![request]).await[0].len() as u64
    };
    assert_eq!((count(false).await, count(true).await), (FOLD + 5, 5), "the tail has no index to wait for");
    // A segment of just the threshold is not too large.
    let kib = FOLD * 4 * DIM as u64 / 1024;
    for (threshold, expected) in [(kib - 1, 5), (kib, FOLD + 5)] {
        let optimizers =
            OptimizersConfig { indexing_threshold: Some(threshold), ..OptimizersConfig::default() };
        let patch = CollectionPatch { optimizers: Some(optimizers), ..CollectionPatch::default() };
        engine.update_collection(NAME, patch, None).await.unwrap();
        assert_eq!(count(true).await, expected, "{threshold} KiB");
    }
    node.shutdown().await;
}

/// By sums of differences no score tells whether it was the index that searched; what it misses does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_of_differences_are_searched_by_the_index() {
    const DIM: usize = 1024;
    let (node, _local) = indexed(DIM, Distance::Manhattan, Datatype::Float32, 3000).await;
    let request = |vector, exact| QueryRequest { hnsw_ef: Some(1), limit: 300, ..request(vector, exact) };
    let ask = async |exact| {
        let requests = clouds(DIM, QUERIES, 2).into_iter().map(|vector| request(vector, exact)).collect();
        found(&node.engine(), requests).await
    };
    let (exact, found) = (ask(true).await, ask(false).await);
    let right = overlap(&found, &exact);
    assert!((100 * QUERIES..300 * QUERIES).contains(&right), "few lists do not have all: {right}");
    node.shutdown().await;
}
