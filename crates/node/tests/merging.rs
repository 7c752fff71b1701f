//! Indexed segments that are merged: the result has an index at once, and nothing it needs goes with them. What changes while jobs run
//! is not undone by them.

mod common;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use common::*;
use lodestone_api::Engine;
use lodestone_index::dense::ModelHeader;
use lodestone_node::{Node, NodeOptions, StoreLocation, inspect};
use lodestone_segment::{PartKind, list_parts};
use lodestone_store::{
    LocalStore, MemoryStore, Metered, Metrics, ObjectInfo, ObjectMeta, Result, Store, list_all,
};
use lodestone_types::{
    CollectionConfig, CollectionPatch, Distance, FieldIndex, FieldIndexKind, NamedVectors, OptimizersConfig,
    Point, PointId, PointSelector, QueryRequest, UpdateMode, UpdateOp, VectorParams, WriteOptions,
};
use tokio::sync::Semaphore;

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

fn jobs(engine: &Arc<dyn Engine>, kind: &str) -> u64 {
    let metrics = engine.metrics();
    let start = format!("lodestone_compaction_jobs_total{{kind=\"{kind}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

async fn answers(engine: &Arc<dyn Engine>, exact: bool) -> Vec<Vec<PointId>> {
    // Leaves out what has no index.
    let request = |vector| QueryRequest { indexed_only: !exact, ..request(vector, exact) };
    found(engine, vectors(50, 99).into_iter().map(request).collect()).await
}

fn assert_alike(found: &[Vec<PointId>], exact: &[Vec<PointId>], least: usize) {
    let hits = overlap(found, exact);
    assert!(hits >= least, "{hits} of 500");
}

/// Users may ask for more than there is.
async fn assert_many(engine: &Arc<dyn Engine>, points: u64) {
    let query = || request(vectors(1, 98).remove(0), false);
    let all = QueryRequest { limit: usize::MAX, ..query() };
    let none = QueryRequest { offset: usize::MAX, ..query() };
    let counts: Vec<usize> = found(engine, vec![all, none]).await.iter().map(Vec::len).collect();
    assert_eq!(counts, [points as usize, 0]);
}

async fn merge_and_restart(distance: Distance, quantization: Option<&str>, least: usize) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    let engine = node.engine();
    let config = CollectionConfig { quantization: quantization.map(Into::into), ..config(distance) };
    engine.create_collection(NAME, config, None).await.unwrap();
    for segments in [1, 2] {
        upload(&engine, segments - 1).await;
        let info = quiet(&engine, segments).await;
        assert_eq!(info.indexed_vectors_count, segments * FOLD);
        // The second one is indexed by the fold that writes it. A job is counted when it has landed.
        until("an index", || jobs(&engine, "index") == 1).await;
    }
    let before = list_all(store.as_ref(), "parts/").await.unwrap();
    let models = before.iter().filter(|object| object.key.contains("-model-")).count();
    assert_eq!(models, 1, "the second segment shares the first one's model: {before:?}");

    // Some are deleted, and a third segment makes it time to merge.
    let gone: Vec<PointId> = (0..60).map(|i| PointId::Num(7 * i)).collect();
    write(&engine, UpdateOp::Delete(PointSelector::Ids(gone))).await;
    upload(&engine, 2).await;
    let info = quiet(&engine, 1).await;
    until("a merge", || jobs(&engine, "merge") == 1).await;
    assert_eq!(jobs(&engine, "index"), 1, "no index was built for it");
    assert_eq!(info.indexed_vectors_count, info.points_count);
    let exact = answers(&engine, true).await;
    assert_alike(&answers(&engine, false).await, &exact, least);
    assert_many(&engine, info.points_count).await;

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
    let node = start(&store, &local, true).await;
    assert_eq!(answers(&node.engine(), true).await, exact);
    assert_alike(&answers(&node.engine(), false).await, &exact, least);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merged_segment_is_indexed_at_once() {
    for distance in [Distance::Cosine, Distance::Euclid] {
        merge_and_restart(distance, None, 485).await;
        // Level codes are a part of their own, and signs alone say less about rows without structure.
        merge_and_restart(distance, Some(r#"{"binary":{}}"#), 450).await;
    }
}

/// A store that holds up some objects until they may go on.
#[derive(Debug)]
struct Gate {
    inner: MemoryStore,
    /// By their name and length.
    holds: fn(&str, usize) -> bool,
    waiting: AtomicU64,
    open: Semaphore,
}

impl Gate {
    fn new(holds: fn(&str, usize) -> bool) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new(),
            holds,
            waiting: AtomicU64::new(0),
            open: Semaphore::new(0),
        })
    }
}

/// Larger than the segments that folds write here.
const LARGE: usize = 2 * FOLD as usize * DIM * 4;

#[async_trait]
impl Store for Gate {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        if (self.holds)(key, bytes.len()) {
            self.waiting.fetch_add(1, Relaxed);
            drop(self.open.acquire().await.unwrap());
        }
        self.inner.put_new(key, bytes).await
    }
    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.inner.put(key, bytes).await
    }
    async fn get(&self, key: &str) -> Result<Bytes> {
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.inner.get_range(key, range).await
    }
    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.inner.head(key).await
    }
    async fn list(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>> {
        self.inner.list(prefix, start_after, limit).await
    }
    async fn delete(&self, key: &str) -> Result<()> {
        self.inner.delete(key).await
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came to {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_keeps_no_fold_waiting_and_takes_over_what_it_deletes() {
    let gate = Gate::new(|key, length| key.contains("-seg-") && length > LARGE);
    let store: Arc<dyn Store> = gate.clone();
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    let engine = node.engine();
    engine.create_collection(NAME, config(Distance::Euclid), None).await.unwrap();
    for segments in [1, 2] {
        write(&engine, points((segments - 1) * FOLD..segments * FOLD, segments)).await;
        quiet(&engine, segments).await;
    }
    write(&engine, points(2 * FOLD..3 * FOLD, 3)).await;
    until("a merge", || gate.waiting.load(Relaxed) == 1).await;

    // Rows of all three go, some become others, and a fold says so of the segments that are being merged.
    let gone: Vec<PointId> = (0..60).map(|i| PointId::Num(15 * i)).collect();
    write(&engine, UpdateOp::Delete(PointSelector::Ids(gone.clone()))).await;
    write(&engine, points((0..40).map(|i| 20 * i + 1), 4)).await;
    write(&engine, points(3 * FOLD..4 * FOLD, 5)).await;
    until("a fold", || jobs(&engine, "fold") == 4).await;
    assert_eq!(jobs(&engine, "merge"), 0);
    let exact = answers(&engine, true).await;
    gate.open.add_permits(1);

    let info = quiet(&engine, 2).await;
    until("a merge", || jobs(&engine, "merge") == 1).await;
    assert_eq!((gate.waiting.load(Relaxed), info.points_count), (1, 4 * FOLD - 60), "it was not done again");
    assert_eq!(answers(&engine, true).await, exact);
    let changed =
        found(&engine, vectors(40, 4).into_iter().map(|vector| request(vector, true)).collect()).await;
    let first: Vec<PointId> = changed.iter().map(|hits| hits[0]).collect();
    assert_eq!(first, (0..40).map(|i| PointId::Num(20 * i + 1)).collect::<Vec<_>>());
    let found = inspect(&store, None, true).await.unwrap();
    assert!(found.is_sound(), "{found:?}");
    node.shutdown().await;

    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    assert_eq!(answers(&node.engine(), true).await, exact);
    assert_eq!(node.engine().collection(NAME).await.unwrap().points_count, 4 * FOLD - 60);
    node.shutdown().await;
}

/// All models in the store.
async fn models(store: &Arc<dyn Store>) -> Vec<ModelHeader> {
    let mut models = Vec::new();
    for object in list_all(store.as_ref(), "parts/").await.unwrap() {
        if object.key.contains("-model-") {
            let parts = list_parts(&object.key, &store.get(&object.key).await.unwrap()).unwrap();
            models.extend(parts.iter().map(|part| part.model_header().unwrap()));
        }
    }
    models
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_not_as_wanted_any_more_does_not_land() {
    let gate = Gate::new(|key, _| key.contains("-vec-"));
    let store: Arc<dyn Store> = gate.clone();
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    let engine = node.engine();
    engine.create_collection(NAME, config(Distance::Euclid), None).await.unwrap();
    write(&engine, points(0..FOLD, 1)).await;
    until("an index", || gate.waiting.load(Relaxed) == 1).await;
    let bits = async || models(&store).await.iter().map(|model| model.level_bits).collect::<Vec<u8>>();
    assert_eq!(bits().await, [4]);

    let quantization = Some(r#"{"scalar":{"type":"int8"}}"#.into());
    let change = CollectionPatch { quantization, ..CollectionPatch::default() };
    engine.update_collection(NAME, change, None).await.unwrap();
    gate.open.add_permits(2);
    let info = quiet(&engine, 1).await;
    assert_eq!(info.indexed_vectors_count, FOLD);
    // A job is counted when it has landed.
    until("another index", || jobs(&engine, "index") == 1).await;
    assert_eq!((jobs(&engine, "stale"), jobs(&engine, "failed")), (1, 0));
    let exact = answers(&engine, true).await;
    assert_alike(&answers(&engine, false).await, &exact, 485);
    node.shutdown().await;
    assert!(bits().await.contains(&8));
}

/// Keeps all processors busy until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn begin() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let is_over = is_over.clone();
            std::thread::spawn(move || while !is_over.load(Relaxed) {});
        }
        Self(is_over)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_is_outgrown_has_a_successor_however_busy_the_processors_are() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, true).await;
    let engine = node.engine();
    engine.create_collection(NAME, config(Distance::Euclid), None).await.unwrap();
    let busy = Busy::begin();
    for fold in 0..20 {
        write(&engine, points(fold * FOLD..(fold + 1) * FOLD, fold)).await;
        until("a fold", || jobs(&engine, "fold") == fold + 1).await;
    }
    // Merges have the model of what they merge.
    let mut rows = 0;
    for _ in 0..500 {
        rows = models(&store).await.iter().map(|model| model.rows).max().unwrap_or(0);
        if rows > 4 * FOLD {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(busy);
    assert!(rows > 4 * FOLD, "{rows}");
    assert_eq!(jobs(&engine, "failed"), 0);
    let exact = answers(&engine, true).await;
    assert_alike(&answers(&engine, false).await, &exact, 450);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_segment_goes_to_the_bucket_and_comes_here_in_pieces() {
    const WIDE: u64 = 4096;
    const ROWS: u64 = 1600;
    let (bucket, metrics) = (tempfile::tempdir().unwrap(), Arc::new(Metrics::default()));
    let local_store = Arc::new(LocalStore::open(bucket.path()).unwrap());
    let store: Arc<dyn Store> = Arc::new(Metered::new(local_store, metrics.clone()));
    let start = async |local: &tempfile::TempDir| {
        let mut options =
            NodeOptions::new(StoreLocation::Directory("unused".into()), local.path().join("cache"));
        (options.compact.fold_rows, options.compact.fold_bytes) = (ROWS, 1 << 30);
        options.compact.merge_fan_in = 3;
        Node::start_on(store.clone(), metrics.clone(), options).await.unwrap()
    };
    let vector = |id: u64| (0..WIDE).map(|i| ((id * 31 + i * 7) % 4999) as f32).collect::<Vec<f32>>();
    let local = tempfile::tempdir().unwrap();
    let node = start(&local).await;
    let engine = node.engine();
    let params = VectorParams::new(WIDE, Distance::Euclid);
    let config = CollectionConfig {
        optimizers: OptimizersConfig { indexing_threshold: Some(0), ..OptimizersConfig::default() },
        ..CollectionConfig::new([(String::new(), params)].into())
    };
    engine.create_collection(NAME, config, None).await.unwrap();
    for (fold, segments) in [(0, 1), (1, 2), (2, 1)] {
        for from in (fold * ROWS..(fold + 1) * ROWS).step_by(200) {
            let points = (from..from + 200).map(|id| Point {
                id: PointId::Num(id),
                vectors: NamedVectors::unnamed(vector(id)),
                payload: Default::default(),
            });
            let points = points.collect();
            write(&engine, UpdateOp::Upsert { points, condition: None, mode: UpdateMode::Upsert }).await;
        }
        quiet(&engine, segments).await;
    }
    let puts = metrics.snapshot().puts;
    assert!(puts >= 6, "{puts}: the merged segment was not sent in pieces");
    let ids = [0, 7, ROWS, 3 * ROWS - 1];
    let asked = || ids.map(|id| QueryRequest { limit: 1, ..request(vector(id), true) }).to_vec();
    let expected = ids.map(|id| vec![PointId::Num(id)]);
    assert_eq!(found(&engine, asked()).await, expected);
    node.shutdown().await;

    let local = tempfile::tempdir().unwrap();
    let node = start(&local).await;
    assert_eq!(found(&node.engine(), asked()).await, expected);
    let sound = inspect(&store, None, true).await.unwrap();
    assert!(sound.is_sound(), "{sound:?}");
    node.shutdown().await;
    assert_eq!(std::fs::read_dir(bucket.path().join(".staging")).unwrap().count(), 0);
}

/// A store with one segment, of which a vector is damaged.
async fn one_damaged() -> Arc<dyn Store> {
    let store = segments(Distance::Euclid, std::iter::once(0..FOLD)).await;
    let objects = list_all(store.as_ref(), "parts/").await.unwrap();
    let object = objects.iter().find(|object| object.key.contains("-seg-")).unwrap();
    let mut bytes = store.get(&object.key).await.unwrap().to_vec();
    let parts = list_parts(&object.key, &bytes).unwrap();
    let vectors = parts.iter().find(|part| matches!(part.kind, PartKind::Vector(_))).unwrap();
    bytes[vectors.offset as usize + 17] ^= 1;
    store.put(&object.key, bytes.into()).await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_cannot_be_merged_keeps_nothing_else_waiting() {
    let store = one_damaged().await;
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, false).await;
    let engine = node.engine();
    for segment in 1..3 {
        write(&engine, points(segment * FOLD..(segment + 1) * FOLD, segment)).await;
        until("a fold", || jobs(&engine, "fold") == segment).await;
    }
    until("a merge that fails", || jobs(&engine, "failed") > 0).await;
    assert_eq!(jobs(&engine, "merge"), 0);
    // What is no merge is done, with the damaged segment too, whose payload is sound.
    let index = FieldIndex { kind: FieldIndexKind::Integer, params: None };
    let before = jobs(&engine, "reindex");
    engine.create_field_index(NAME, path("from"), index, WriteOptions::default()).await.unwrap();
    until("payload indexes", || jobs(&engine, "reindex") == before + 3).await;
    // And so are merges of the others.
    write(&engine, points(3 * FOLD..4 * FOLD, 3)).await;
    until("a merge", || jobs(&engine, "merge") == 1).await;
    assert_eq!(engine.collection(NAME).await.unwrap().segments_count, 2);
    node.shutdown().await;
}
