//! Windows: how many writes become how many objects, and what their callers hear.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{create, ingest, lead};
use lodestone_ingest::{Ingest, IngestOptions, ShardWrite, Stage, Write};
use lodestone_manifest::{ShardId, Slot};
use lodestone_meta::{Leader, Meta, MetaError};
use lodestone_store::{
    Faults, Latency, MemoryStore, Metered, Metrics, Quantiles, Simulated, Store, list_all,
};
use lodestone_wal::{Op, encode_slice, keys};
use tokio::task::JoinSet;

fn options(window: u64) -> IngestOptions {
    IngestOptions { window: Duration::from_millis(window), max_object: 1000, ..IngestOptions::default() }
}

fn write(shard: ShardId, bytes: usize) -> Write {
    let rows = vec![lodestone_wal::Row {
        id: lodestone_types::PointId::Num(1),
        vectors: vec![(Arc::from(""), vec![0; bytes].into())],
        payload: Bytes::new(),
    }];
    let slice = ShardWrite { shard, rows: 1, slice: encode_slice(&[Op::Put(rows)]).into() };
    Write { slices: vec![slice], ..Write::default() }
}

async fn start(window: u64) -> (Arc<dyn Store>, Arc<Metrics>, Arc<Leader>, Arc<Ingest>, ShardId) {
    let metrics = Arc::new(Metrics::default());
    let store: Arc<dyn Store> = Arc::new(Metered::new(Arc::new(MemoryStore::new()), metrics.clone()));
    let leader = lead(&store).await;
    let ingest = ingest(&leader, &store, 1, options(window));
    create(&ingest).await;
    let shard = leader.watch().borrow().collection("c").unwrap().shards().next().unwrap();
    (store, metrics, leader, ingest, shard)
}

#[tokio::test(start_paused = true)]
async fn writes_of_one_window_share_an_object() {
    let (_, metrics, _, ingest, shard) = start(100).await;
    let before = metrics.snapshot().creates;
    let mut writes = JoinSet::new();
    for _ in 0..20 {
        let ingest = ingest.clone();
        writes.spawn(async move { ingest.write(write(shard, 4)).await.unwrap().slot });
    }
    let slots: std::collections::BTreeSet<Slot> = writes.join_all().await.into_iter().collect();
    let objects = metrics.snapshot().creates - before;
    assert!(slots.len() <= 2 && objects <= 2, "{slots:?} {objects}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_ingest_writes_at_once_and_a_busy_one_keeps_the_mean_gap() {
    let (_, metrics, _, ingest, shard) = start(100).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = tokio::time::Instant::now();
    ingest.write(write(shard, 4)).await.unwrap();
    ingest.write(write(shard, 4)).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(10));
    let before = metrics.snapshot().creates;
    while began.elapsed() < Duration::from_secs(10) {
        ingest.write(write(shard, 4)).await.unwrap();
    }
    let puts = metrics.snapshot().creates - before;
    assert!((98..=103).contains(&puts), "{puts} in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn each_stage_of_a_write_is_counted() {
    let took = Duration::from_millis(80);
    let latency = Latency { put: Quantiles { p50: took, p99: took, p999: took }, ..Latency::none() };
    let memory = Arc::new(MemoryStore::new());
    let slow: Arc<dyn Store> = Arc::new(Simulated::new(memory, latency, Faults::none(), 1));
    let leader = lead(&slow).await;
    let ingest = ingest(&leader, &slow, 1, options(100));
    create(&ingest).await;
    let shard = leader.watch().borrow().collection("c").unwrap().shards().next().unwrap();
    let stages = ingest.writer().stages();
    let before = stages.spent(Stage::Put);
    let (a, b) = tokio::join!(ingest.write(write(shard, 4)), ingest.write(write(shard, 4)));
    assert!(a.is_ok() && b.is_ok());
    let after = stages.spent(Stage::Put);
    assert_eq!(after.0 - before.0, 2);
    let both = (after.1 - before.1).as_secs_f64();
    assert!((0.16..0.17).contains(&both), "{both}");
    for stage in [Stage::Room, Stage::Window, Stage::Reserve, Stage::Commit] {
        assert_eq!(stages.spent(stage).0, after.0, "{stage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_window_makes_way_for_the_next() {
    let (_, _, leader, ingest, shard) = start(10).await;
    let (a, b, c) = (write(shard, 600), write(shard, 600), write(shard, 600));
    let (a, b, c) = tokio::join!(ingest.write(a), ingest.write(b), ingest.write(c));
    let slots: std::collections::BTreeSet<Slot> = [a, b, c].into_iter().map(|w| w.unwrap().slot).collect();
    assert_eq!(slots.len(), 3);
    assert_eq!(leader.watch().borrow().shards[&shard].tail.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_lies_beside_the_slot() {
    let (store, _, leader, ingest, shard) = start(10).await;
    ingest.write(write(shard, 5000)).await.unwrap();
    let sides = list_all(store.as_ref(), keys::PARTS).await.unwrap();
    assert_eq!(sides.len(), 1);
    let state = leader.watch().borrow().clone();
    let range = state.shards[&shard].tail.front().unwrap();
    assert_eq!(range.slice.side.as_deref(), Some(sides[0].key.as_str()));
    let bytes = store.get(&sides[0].key).await.unwrap();
    assert!(lodestone_wal::object::check_slice(bytes, &range.slice).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_gone_takes_nothing_and_the_rest_counts() {
    let (_, _, leader, ingest, shard) = start(10).await;
    let gone = ShardId(999 << 16);
    let mut both = write(shard, 4);
    both.slices.extend(write(gone, 4).slices);
    assert_eq!(ingest.write(both).await.unwrap().slices, [true, false]);
    assert_eq!(leader.watch().borrow().shards[&shard].tail.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_what_depends_on_a_read_is_refused_where_others_wrote() {
    let (store, _, leader, mine, shard) = start(50).await;
    let read = leader.watch().borrow().slot;
    let others = ingest(&leader, &store, 2, options(50));
    others.write(write(shard, 4)).await.unwrap();
    let dependent = Write { read: vec![(shard, read)], ..write(shard, 4) };
    let (refused, done) = tokio::join!(mine.write(dependent), mine.write(write(shard, 4)));
    assert!(matches!(refused, Err(MetaError::Refused(_))));
    assert!(done.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_bad_network_loses_and_doubles_nothing() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let faults =
        Faults { timeout: Duration::from_millis(300), latest: Duration::from_secs(5), ..Faults::evenly(0.3) };
    let store: Arc<dyn Store> = Arc::new(Simulated::new(memory.clone(), Latency::s3(), faults, 5));
    let retrying: Arc<dyn Store> = Arc::new(lodestone_store::Retrying::new(store, Default::default(), 6));
    let leader = lead(&retrying).await;
    let ingest = ingest(&leader, &retrying, 1, options(20));
    create(&ingest).await;
    let shard = leader.watch().borrow().collection("c").unwrap().shards().next().unwrap();
    let mut writes = JoinSet::new();
    for _ in 0..60 {
        let ingest = ingest.clone();
        writes.spawn(async move { ingest.write(write(shard, 300)).await });
    }
    let outcomes = writes.join_all().await;
    assert!(outcomes.iter().all(Result::is_ok), "one healthy leader always finds out: {outcomes:?}");
    assert_eq!(leader.watch().borrow().shards[&shard].tail.len(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_full_store_refuses_and_the_log_goes_on_when_there_is_room() {
    let store = Arc::new(FullStore::default());
    let bucket: Arc<dyn Store> = store.clone();
    let leader = lead(&bucket).await;
    let ingest = ingest(&leader, &bucket, 1, options(10));
    create(&ingest).await;
    let shard = leader.watch().borrow().collection("c").unwrap().shards().next().unwrap();
    store.full.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(ingest.write(write(shard, 4)).await, Err(MetaError::Store(_))));
    store.full.store(false, std::sync::atomic::Ordering::Relaxed);
    let done = tokio::time::timeout(Duration::from_secs(30), ingest.write(write(shard, 4))).await;
    assert!(done.unwrap().is_ok());
    assert_eq!(leader.watch().borrow().shards[&shard].tail.len(), 1);
}

/// A store that has no room when it is told so.
#[derive(Debug, Default)]
struct FullStore {
    inner: MemoryStore,
    full: std::sync::atomic::AtomicBool,
}

#[async_trait::async_trait]
impl Store for FullStore {
    async fn put_new(&self, key: &str, bytes: Bytes) -> lodestone_store::Result<()> {
        use lodestone_store::{Op, StoreError, StoreErrorKind};
        if self.full.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(StoreError::new(Op::PutNew, StoreErrorKind::Full, key, "the test says so"));
        }
        self.inner.put_new(key, bytes).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> lodestone_store::Result<()> {
        self.inner.put(key, bytes).await
    }

    async fn get(&self, key: &str) -> lodestone_store::Result<Bytes> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &str, range: std::ops::Range<u64>) -> lodestone_store::Result<Bytes> {
        self.inner.get_range(key, range).await
    }

    async fn head(&self, key: &str) -> lodestone_store::Result<lodestone_store::ObjectMeta> {
        self.inner.head(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> lodestone_store::Result<Vec<lodestone_store::ObjectInfo>> {
        self.inner.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &str) -> lodestone_store::Result<()> {
        self.inner.delete(key).await
    }
}
