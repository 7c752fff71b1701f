//! A leader, an ingest above it, and a reader of what the log holds.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lodestone_ingest::{Ingest, IngestOptions, LogWriter, Reader, Updater};
use lodestone_manifest::{InstanceId, NodeId, OpOutcome, ShardId, State, SystemOp};
use lodestone_meta::{Clock, Leader, LeaderOptions, LocalReplica, Meta, Rules, SystemLog};
use lodestone_store::Store;
use lodestone_types::{
    CollectionConfig, CollectionParams, Error, Filter, NamedVectors, Payload, Point, PointId, PointSelector,
    UpdateMode, UpdateOp, WriteOptions,
};
use lodestone_wal::{Delta, Op, SlotCache, decode_slice, keys, object};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

#[derive(Debug)]
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A leader, and the collection `c` of two shards.
pub async fn lead(store: &Arc<dyn Store>) -> Arc<Leader> {
    let options = LeaderOptions {
        patience: Duration::from_secs(1),
        checkpoint_idle: Duration::from_secs(3600),
        ..LeaderOptions::default()
    };
    let clock = Arc::new(TestClock(Instant::now()));
    Leader::start(store.clone(), clock, Arc::new(LocalReplica::default()), InstanceId(1), "here", options)
        .await
        .unwrap()
}

/// The ingest of a node.
pub fn ingest(
    leader: &Arc<Leader>,
    store: &Arc<dyn Store>,
    node: u64,
    options: IngestOptions,
) -> Arc<Ingest> {
    let slots = Arc::new(SlotCache::new(1 << 20));
    let random = Box::new(StdRng::seed_from_u64(node));
    let writer = LogWriter::new(leader.clone(), store.clone(), NodeId(node), slots, random, Rules::default());
    Ingest::start(writer, options)
}

pub async fn create(ingest: &Ingest) {
    let params = CollectionParams {
        vectors: Default::default(),
        shard_number: 2,
        replication_factor: 1,
        write_consistency_factor: 1,
        on_disk_payload: true,
    };
    let config = CollectionConfig {
        params,
        hnsw: Default::default(),
        optimizers: Default::default(),
        quantization: None,
        metadata: None,
        strict_mode: None,
    };
    let op = SystemOp::CreateCollection { name: "c".into(), config };
    let outcomes = ingest.propose(vec![op]).await.unwrap();
    assert!(matches!(outcomes[..], [Ok(OpOutcome::Created(_))]));
}

pub fn updater(ingest: &Arc<Ingest>, store: &Arc<dyn Store>) -> Updater {
    Updater::new(ingest.clone(), Arc::new(TailReader(store.clone())), 1 << 30)
}

/// Reads the tail. Every filter asks for points whose payload has the key `red`.
pub struct TailReader(pub Arc<dyn Store>);

/// Payloads by id.
pub type Rows = BTreeMap<PointId, serde_json::Map<String, serde_json::Value>>;

impl TailReader {
    pub async fn rows(&self, state: &State, shard: ShardId) -> Rows {
        let mut rows = Rows::new();
        for range in &state.shards[&shard].tail {
            let key = range.slice.side.clone().unwrap_or_else(|| keys::wal(range.slot));
            let bytes = object::slice(&self.0.get(&key).await.unwrap(), &range.slice).unwrap();
            for op in decode_slice(bytes).unwrap() {
                apply(&mut rows, op);
            }
        }
        rows
    }

    pub async fn all(&self, leader: &Leader) -> Rows {
        let state = leader.watch().borrow().clone();
        let mut rows = Rows::new();
        for shard in state.collection("c").unwrap().shards() {
            rows.extend(self.rows(&state, shard).await);
        }
        rows
    }
}

fn apply(rows: &mut Rows, op: Op) {
    match op {
        Op::Put(put) => {
            for row in put {
                let payload = serde_json::from_slice(&row.payload).unwrap_or_default();
                rows.insert(row.id, payload);
            }
        }
        Op::Delete(ids) => ids.as_slice().iter().for_each(|id| drop(rows.remove(id))),
        Op::Patch { ids, delta: Delta::SetPayload { payload, .. } } => {
            let payload: serde_json::Map<_, _> = serde_json::from_slice(&payload).unwrap();
            for id in ids.as_slice() {
                if let Some(row) = rows.get_mut(id) {
                    row.extend(payload.clone());
                }
            }
        }
        other => panic!("{other:?}"),
    }
}

#[async_trait]
impl Reader for TailReader {
    async fn matching(&self, state: &Arc<State>, shard: ShardId, _: &Filter) -> Result<Vec<PointId>, Error> {
        let rows = self.rows(state, shard).await;
        Ok(rows.into_iter().filter(|(_, row)| row.contains_key("red")).map(|(id, _)| id).collect())
    }

    async fn existing(
        &self,
        state: &Arc<State>,
        shard: ShardId,
        ids: &[PointId],
    ) -> Result<HashSet<PointId>, Error> {
        let rows = self.rows(state, shard).await;
        Ok(ids.iter().copied().filter(|id| rows.contains_key(id)).collect())
    }
}

pub fn payload(keys: &[&str]) -> Payload {
    Payload(keys.iter().map(|key| ((*key).to_owned(), true.into())).collect())
}

pub fn point(id: u64, keys: &[&str]) -> Point {
    Point { id: PointId::Num(id), vectors: NamedVectors::default(), payload: payload(keys) }
}

pub fn upsert(ids: &[u64], keys: &[&str]) -> UpdateOp {
    let points = ids.iter().map(|id| point(*id, keys)).collect();
    UpdateOp::Upsert { points, condition: None, mode: UpdateMode::Upsert }
}

pub fn mark_red(key: &str) -> UpdateOp {
    let points = PointSelector::Filter(Filter::default());
    UpdateOp::SetPayload { payload: payload(&[key]), key: None, points }
}

pub async fn apply_op(updater: &Updater, op: UpdateOp) -> lodestone_types::Result<u64> {
    updater.apply("c", op, WriteOptions::default()).await.map(|done| done.operation_id)
}
