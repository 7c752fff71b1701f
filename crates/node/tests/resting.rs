//! A tail that rests is folded once, however small it is, and segments of about one size become one; where writes come again and
//! again all is left alone.

use std::sync::Arc;
use std::time::Duration;

use lodestone_api::Engine;
use lodestone_node::{Node, NodeOptions, StoreLocation};
use lodestone_store::{MemoryStore, Metrics, Store, list_all};
use lodestone_types::{
    CollectionConfig, CollectionStatus, Point, PointId, PointSelector, UpdateMode, UpdateOp, WriteOptions,
};

/// Enough to be folded one after the other.
const COLLECTIONS: usize = 40;
const IDLE: Duration = Duration::from_millis(400);

async fn start(store: &Arc<dyn Store>, local: &tempfile::TempDir, idle: Duration) -> Node {
    let mut options = NodeOptions::new(StoreLocation::Directory("unused".into()), local.path().join("cache"));
    options.compact.idle = idle;
    options.jobs.idle_rows = 1;
    Node::start_on(store.clone(), Arc::new(Metrics::default()), options).await.unwrap()
}

fn name(number: usize) -> String {
    format!("c{number}")
}

async fn create(engine: &Arc<dyn Engine>, name: &str) {
    let config = CollectionConfig::new(Default::default());
    engine.create_collection(name, config, None).await.unwrap();
}

async fn write(engine: &Arc<dyn Engine>, name: &str, op: UpdateOp) {
    engine.update(name, vec![op], WriteOptions { wait: true, ..WriteOptions::default() }).await.unwrap();
}

async fn put(engine: &Arc<dyn Engine>, name: &str, id: u64) {
    let point = Point { id: PointId::Num(id), vectors: Default::default(), payload: Default::default() };
    let op = UpdateOp::Upsert { points: vec![point], condition: None, mode: UpdateMode::Upsert };
    write(engine, name, op).await;
}

fn folds(engine: &Arc<dyn Engine>) -> usize {
    let start = "lodestone_compaction_jobs_total{kind=\"fold\"} ";
    engine.metrics().lines().find_map(|line| line.strip_prefix(start)).unwrap().parse().unwrap()
}

/// Whether it holds, at once or within ten seconds.
async fn eventually(mut holds: impl AsyncFnMut() -> bool) -> bool {
    for _ in 0..500 {
        if holds().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

async fn wait_for_folds(engine: &Arc<dyn Engine>, count: usize) {
    assert!(eventually(async || folds(engine) >= count).await, "{} of {count} folds", folds(engine));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_rest_is_folded_once() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, IDLE).await;
    let engine = node.engine();
    for number in 0..COLLECTIONS {
        create(&engine, &name(number)).await;
        put(&engine, &name(number), 1).await;
    }
    create(&engine, "empty").await;
    wait_for_folds(&engine, COLLECTIONS).await;
    for number in 0..COLLECTIONS {
        let info = engine.collection(&name(number)).await.unwrap();
        assert_eq!((info.status, info.segments_count), (CollectionStatus::Green, 1));
    }
    // Writes that come again and again are no rest, whoever looks meanwhile.
    for id in 2..12 {
        put(&engine, &name(0), id).await;
        tokio::time::sleep(IDLE / 8).await;
    }
    assert_eq!(folds(&engine), COLLECTIONS);
    write(&engine, &name(1), UpdateOp::Delete(PointSelector::Ids(vec![PointId::Num(1)]))).await;
    wait_for_folds(&engine, COLLECTIONS + 2).await;
    tokio::time::sleep(2 * IDLE).await;
    assert_eq!(folds(&engine), COLLECTIONS + 2, "nothing is folded twice");
    let segments = list_all(store.as_ref(), "parts/").await.unwrap();
    assert_eq!(segments.iter().filter(|object| object.key.contains("-seg-")).count(), COLLECTIONS + 1);
    let counts = [engine.collection(&name(0)).await.unwrap(), engine.collection(&name(1)).await.unwrap()];
    assert_eq!(
        counts.map(|info| (info.points_count, info.status)),
        [(11, CollectionStatus::Green), (0, CollectionStatus::Green)]
    );
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_that_rest_become_one() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, IDLE).await;
    let engine = node.engine();
    create(&engine, "c").await;
    for (rest, ids) in [1..4, 4..9, 9..40].into_iter().enumerate() {
        let point =
            |id| Point { id: PointId::Num(id), vectors: Default::default(), payload: Default::default() };
        let points = ids.map(point).collect();
        write(&engine, "c", UpdateOp::Upsert { points, condition: None, mode: UpdateMode::Upsert }).await;
        wait_for_folds(&engine, rest + 1).await;
    }
    let one_less = eventually(async || {
        let info = engine.collection("c").await.unwrap();
        info.segments_count == 2 && info.status == CollectionStatus::Green
    });
    assert!(one_less.await);
    let info = engine.collection("c").await.unwrap();
    assert_eq!(
        (info.segments_count, info.points_count),
        (2, 39),
        "3 and 5 rows are one segment, 31 are too many more"
    );
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_was_there_at_the_start_is_folded_too() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let local = tempfile::tempdir().unwrap();
    let node = start(&store, &local, Duration::ZERO).await;
    create(&node.engine(), "c").await;
    put(&node.engine(), "c", 1).await;
    tokio::time::sleep(2 * IDLE).await;
    assert_eq!(folds(&node.engine()), 0, "zero is never");
    node.shutdown().await;
    let node = start(&store, &local, IDLE).await;
    wait_for_folds(&node.engine(), 1).await;
    assert_eq!(node.engine().collection("c").await.unwrap().points_count, 1);
    node.shutdown().await;
}
