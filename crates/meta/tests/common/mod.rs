//! A bucket, leaders on it, and writes made by hand.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lodestone_manifest::{
    Applied, Batch, InstanceId, NodeId, Nonce, Reservation, ReserveRequest, ShardId, SliceRequest, Slot,
    State, SystemOp,
};
use lodestone_meta::{Clock, Leader, LeaderOptions, LocalReplica, Meta, Result};
use lodestone_store::{MemoryStore, ObjectInfo, ObjectMeta, Op, Store, StoreError, StoreErrorKind};
use lodestone_types::{CollectionConfig, CollectionParams};
use lodestone_wal::{ObjectBuilder, keys};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Tokio's clock, which tests pause.
#[derive(Debug)]
pub struct TestClock(pub Instant);

impl Clock for TestClock {
    fn now(&self) -> Duration {
        Duration::from_secs(50) + self.0.elapsed()
    }
}

pub fn bucket() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

pub fn options() -> LeaderOptions {
    LeaderOptions {
        patience: Duration::from_secs(1),
        checkpoint_idle: Duration::from_secs(3600),
        gc_grace: Duration::from_secs(2),
        inline_page: 0,
        ..LeaderOptions::default()
    }
}

pub async fn try_lead(store: &Arc<dyn Store>, options: LeaderOptions) -> Result<Arc<Leader>> {
    static INSTANCE: AtomicU64 = AtomicU64::new(1);
    let instance = InstanceId(INSTANCE.fetch_add(1, Ordering::Relaxed).into());
    let clock = Arc::new(TestClock(Instant::now()));
    Leader::start(store.clone(), clock, Arc::new(LocalReplica::default()), instance, "here", options).await
}

pub async fn lead(store: &Arc<dyn Store>) -> Arc<Leader> {
    try_lead(store, options()).await.unwrap()
}

/// A reserved slot and what is to be written there.
pub struct Attempt {
    pub slot: Slot,
    pub nonce: Nonce,
    pub batch: Batch,
    pub bytes: Bytes,
}

impl Attempt {
    pub async fn put(&self, store: &Arc<dyn Store>) -> lodestone_store::Result<()> {
        store.put_new(&keys::wal(self.slot), self.bytes.clone()).await
    }

    pub async fn commit(&self, leader: &Leader) -> Result<Applied> {
        leader.commit(self.slot, self.batch.clone()).await
    }

    pub async fn contest(&self, leader: &Leader) -> Result<Applied> {
        leader.contest(self.slot, self.batch.epoch, self.nonce).await
    }
}

pub async fn reserve(leader: &Leader, system: Vec<SystemOp>, slices: &[(ShardId, u64)]) -> Attempt {
    static NONCE: AtomicU64 = AtomicU64::new(1);
    let nonce = Nonce(NONCE.fetch_add(1, Ordering::Relaxed).into());
    let requests =
        slices.iter().map(|(shard, _)| SliceRequest { shard: *shard, unless_reserved_since: None });
    let request = ReserveRequest { node: NodeId(1), nonce, slices: requests.collect() };
    let Reservation { slot, epoch } = leader.reserve(request).await.unwrap();
    let mut object = ObjectBuilder::default();
    system.into_iter().for_each(|op| object.push_system(op));
    slices.iter().for_each(|(shard, rows)| object.push_slice(*shard, *rows, b"a slice"));
    let (bytes, batch) = object.finish(epoch, nonce);
    Attempt { slot, nonce, batch, bytes }
}

/// Writes in one go.
pub async fn write(leader: &Leader, store: &Arc<dyn Store>, slices: &[(ShardId, u64)]) -> Slot {
    let attempt = reserve(leader, Vec::new(), slices).await;
    attempt.put(store).await.unwrap();
    assert!(is_committed(&attempt.commit(leader).await.unwrap()));
    attempt.slot
}

/// Creates the collection `c` and returns its shards.
pub async fn create(leader: &Leader, store: &Arc<dyn Store>) -> Vec<ShardId> {
    let op = SystemOp::CreateCollection { name: "c".into(), config: config() };
    let attempt = reserve(leader, vec![op], &[]).await;
    attempt.put(store).await.unwrap();
    assert!(is_committed(&attempt.commit(leader).await.unwrap()));
    state(leader).collection("c").unwrap().shards().collect()
}

pub fn is_committed(applied: &Applied) -> bool {
    matches!(applied, Applied::Committed { .. })
}

pub fn state(leader: &Leader) -> Arc<State> {
    leader.watch().borrow().clone()
}

pub async fn exists(store: &Arc<dyn Store>, key: &str) -> bool {
    store.head(key).await.is_ok()
}

fn config() -> CollectionConfig {
    CollectionConfig {
        params: CollectionParams {
            vectors: Default::default(),
            shard_number: 2,
            replication_factor: 1,
            write_consistency_factor: 1,
            on_disk_payload: true,
        },
        hnsw: Default::default(),
        optimizers: Default::default(),
        quantization: None,
        metadata: None,
        strict_mode: None,
    }
}

/// What happens to a request.
pub enum Fault {
    /// It is carried out, and the answer is lost.
    LostReply,
    /// It is not carried out.
    Failed,
    /// Nobody ever answers.
    Silence,
}

type Rule = Box<dyn Fn(Op, &str) -> Option<Fault> + Send + Sync>;

/// A bucket whose requests go wrong as a test wants it.
pub struct Faulty {
    pub inner: Arc<dyn Store>,
    rule: Mutex<Rule>,
}

impl Faulty {
    pub fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, rule: Mutex::new(Box::new(|_, _| None)) })
    }

    pub fn set(&self, rule: impl Fn(Op, &str) -> Option<Fault> + Send + Sync + 'static) {
        *self.rule.lock() = Box::new(rule);
    }

    async fn ask<T>(
        &self,
        op: Op,
        key: &str,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let fault = self.rule.lock()(op, key);
        let lost = StoreError::new(op, StoreErrorKind::Timeout, key, "the test says so");
        match fault {
            None => request.await,
            Some(Fault::Failed) => Err(lost),
            Some(Fault::LostReply) => request.await.and(Err(lost)),
            Some(Fault::Silence) => std::future::pending().await,
        }
    }
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl Store for Faulty {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.ask(Op::PutNew, key, self.inner.put_new(key, bytes)).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.ask(Op::Put, key, self.inner.put(key, bytes)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.ask(Op::Get, key, self.inner.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.ask(Op::GetRange, key, self.inner.get_range(key, range)).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.ask(Op::Head, key, self.inner.head(key)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, StoreError> {
        self.ask(Op::List, prefix, self.inner.list(prefix, after, limit)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.ask(Op::Delete, key, self.inner.delete(key)).await
    }
}
