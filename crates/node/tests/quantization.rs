//! Quantization settings choose the codes of an index, and searches may do without them or rely on them.

use std::sync::Arc;
use std::time::Duration;

use lodestone_api::Engine;
use lodestone_index::dense::ModelHeader;
use lodestone_node::{Node, NodeOptions, StoreLocation};
use lodestone_segment::{PartKind, list_parts};
use lodestone_store::{MemoryStore, Metrics, Store, list_all};
use lodestone_types::{
    CollectionConfig, CollectionPatch, CollectionStatus, Distance, NamedVectors, OptimizersConfig,
    PayloadSelector, Point, PointId, QuantizationSearch, QueryRequest, QueryTarget, ReadOptions, ScoredPoint,
    UpdateMode, UpdateOp, VectorParams, VectorParamsPatch, VectorSelector, WriteOptions,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const NAME: &str = "vectors";
const DIM: usize = 64;
const ROWS: u64 = 3000;

fn config(distance: Distance) -> CollectionConfig {
    let vector = VectorParams::new(DIM as u64, distance);
    CollectionConfig {
        optimizers: OptimizersConfig { indexing_threshold: Some(16), ..OptimizersConfig::default() },
        ..CollectionConfig::new([(String::new(), vector)].into())
    }
}

/// Far from the origin and not of unit length, so that mean and length matter.
fn vectors(count: u64, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count).map(|_| (0..DIM).map(|_| rng.random_range(-1.0..2.0)).collect()).collect()
}

async fn filled(
    store: Arc<dyn Store>,
    config: CollectionConfig,
    vectors: Vec<Vec<f32>>,
) -> (Node, Arc<dyn Engine>, tempfile::TempDir) {
    let local = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::new(StoreLocation::Directory("unused".into()), local.path().join("cache"));
    options.compact.fold_rows = ROWS;
    let node = Node::start_on(store, Arc::new(Metrics::default()), options).await.unwrap();
    let engine = node.engine();
    engine.create_collection(NAME, config, None).await.unwrap();
    let points = (0..ROWS).zip(vectors).map(|(id, vector)| Point {
        id: PointId::Num(id),
        vectors: NamedVectors::unnamed(vector),
        payload: Default::default(),
    });
    let op = UpdateOp::Upsert { points: points.collect(), condition: None, mode: UpdateMode::Upsert };
    engine.update(NAME, vec![op], WriteOptions { wait: true, ..WriteOptions::default() }).await.unwrap();
    indexed(&engine, 1).await;
    (node, engine, local)
}

/// Waits until nothing is due and so many indexes were built.
async fn indexed(engine: &Arc<dyn Engine>, builds: u64) {
    let start = "lodestone_compaction_jobs_total{kind=\"index\"} ";
    for _ in 0..1000 {
        let metrics = engine.metrics();
        let built: u64 = metrics.lines().find_map(|line| line.strip_prefix(start)).unwrap().parse().unwrap();
        assert!(built <= builds, "{built} builds instead of {builds}");
        let info = engine.collection(NAME).await.unwrap();
        if built == builds && info.status == CollectionStatus::Green && info.indexed_vectors_count == ROWS {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no index was built");
}

async fn answers(
    engine: &Arc<dyn Engine>,
    exact: bool,
    ef: u64,
    quantization: QuantizationSearch,
) -> Vec<Vec<ScoredPoint>> {
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
        hnsw_ef: Some(ef),
        indexed_only: false,
        quantization,
    };
    let requests = vectors(40, 2).into_iter().map(request).collect();
    engine.query(NAME, requests, ReadOptions::default()).await.unwrap()
}

/// Of the answers the share that is among the exact ones, and by how much their scores are off at most, as a share of
/// the score.
fn compare(found: &[Vec<ScoredPoint>], all: &[Vec<ScoredPoint>]) -> (f64, f32) {
    let (mut hits, mut off) = (0, 0.0f32);
    for (found, exact) in found.iter().zip(all) {
        assert_eq!(found.len(), 10);
        for hit in found {
            if let Some(exact) = exact.iter().find(|exact| exact.id == hit.id) {
                hits += 1;
                off = off.max((hit.score - exact.score).abs() / exact.score.abs());
            }
        }
    }
    (f64::from(hits) / (10 * found.len()) as f64, off)
}

async fn check(distance: Distance) {
    let store = Arc::new(MemoryStore::new());
    let (node, engine, _local) = filled(store, config(distance), vectors(ROWS, 1)).await;
    let exact = answers(&engine, true, 64, QuantizationSearch::default()).await;
    let estimates = QuantizationSearch { rescore: Some(false), ..QuantizationSearch::default() };
    let (recall, off) = compare(&answers(&engine, false, 64, QuantizationSearch::default()).await, &exact);
    assert!(recall >= 0.85 && off == 0.0, "{distance:?}: {recall}, scores off by {off}");
    let (recall, coarse) = compare(&answers(&engine, false, 64, estimates).await, &exact);
    assert!(recall >= 0.7 && 0.0 < coarse && coarse < 0.06, "{distance:?}: {recall}, scores off by {coarse}");

    // With few lists, only more rows of these can be compared.
    let few = |quantization| answers(&engine, false, 10, quantization);
    let (plain, _) = compare(&few(QuantizationSearch::default()).await, &exact);
    let ignore = QuantizationSearch { ignore: true, ..estimates };
    let (all, off) = compare(&few(ignore).await, &exact);
    assert!(all >= plain && off == 0.0, "{distance:?}: {all} and {plain}, scores off by {off}");
    let more = QuantizationSearch { oversampling: Some(30.0), ..QuantizationSearch::default() };
    let (oversampled, off) = compare(&few(more).await, &exact);
    assert!((plain..=all).contains(&oversampled) && off == 0.0, "{distance:?}: {plain} {oversampled} {all}");

    // Other settings, other codes.
    let change =
        |text: &str| CollectionPatch { quantization: Some(text.into()), ..CollectionPatch::default() };
    engine.update_collection(NAME, change(r#"{"scalar":{"type":"int8"}}"#), None).await.unwrap();
    indexed(&engine, 2).await;
    let (recall, fine) = compare(&answers(&engine, false, 64, estimates).await, &exact);
    assert!(
        recall >= 0.85 && fine < coarse / 4.0,
        "{distance:?}: {recall}, scores off by {fine} and {coarse}"
    );
    engine.update_collection(NAME, change(r#"{"binary":{"always_ram":true}}"#), None).await.unwrap();
    indexed(&engine, 3).await;
    let (recall, off) = compare(&answers(&engine, false, 64, QuantizationSearch::default()).await, &exact);
    assert!(recall >= 0.85 && off == 0.0, "{distance:?}: {recall}, scores off by {off}");
    let vector =
        VectorParamsPatch { quantization: Some("\"Disabled\"".into()), ..VectorParamsPatch::default() };
    let back = CollectionPatch { vectors: [(String::new(), vector)].into(), ..CollectionPatch::default() };
    engine.update_collection(NAME, back, None).await.unwrap();
    indexed(&engine, 4).await;
    let vector = VectorParamsPatch { on_disk: Some(true), ..VectorParamsPatch::default() };
    let disk = CollectionPatch { vectors: [(String::new(), vector)].into(), ..CollectionPatch::default() };
    engine.update_collection(NAME, disk, None).await.unwrap();
    indexed(&engine, 5).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_choose_codes_and_searches_use_them_as_told() {
    for distance in [Distance::Cosine, Distance::Euclid, Distance::Dot] {
        check(distance).await;
    }
}

/// A few clouds of many rows: how near two of them are decides what codes of 4 bits, which refer to the mean of all, cannot tell.
fn clouds() -> Vec<Vec<f32>> {
    let centres = vectors(3, 5);
    let noise = vectors(ROWS, 6);
    let point = |(i, noise): (usize, Vec<f32>)| {
        noise.iter().zip(&centres[i % 3]).map(|(noise, centre)| 20.0 * centre + noise).collect()
    };
    noise.into_iter().enumerate().map(point).collect()
}

/// How the rows of the only model in the store are coded.
async fn model(store: &Arc<dyn Store>) -> ModelHeader {
    let objects = list_all(store.as_ref(), "parts/").await.unwrap();
    let key = &objects.iter().find(|object| object.key.contains("-model-")).unwrap().key;
    let parts = list_parts(key, &store.get(key).await.unwrap()).unwrap();
    parts.iter().find(|part| matches!(part.kind, PartKind::Model(_))).unwrap().model_header().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_are_finer_where_others_leave_many_rows_in_doubt() {
    for binary in [false, true] {
        // Rows without structure are too much for signs alone; clouds are not, as signs refer to what is near.
        for (vectors, finer) in [(vectors(ROWS, 1), binary), (clouds(), !binary)] {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let mut config = config(Distance::Euclid);
            config.quantization = binary.then(|| r#"{"binary":{}}"#.into());
            let (node, ..) = filled(store.clone(), config, vectors).await;
            let ModelHeader { level_bits, signs_alone, calibration, .. } = model(&store).await;
            assert_eq!(calibration.finer, finer);
            assert_eq!((level_bits, signs_alone), (if finer && !binary { 8 } else { 4 }, binary && !finer));
            node.shutdown().await;
        }
    }
}
