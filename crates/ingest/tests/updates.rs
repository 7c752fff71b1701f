//! User operations: what is blind, what is resolved, and what becomes of those whose callers go away.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{TailReader, apply_op, create, ingest, lead, mark_red, point, updater, upsert};
use lodestone_ingest::{IngestOptions, Updater};
use lodestone_manifest::{ShardId, SliceRequest};
use lodestone_meta::{Leader, Meta};
use lodestone_store::{MemoryStore, Store};
use lodestone_types::{
    Error, ErrorKind, Filter, NamedVectors, Point, PointId, PointSelector, UpdateMode, UpdateOp, WriteOptions,
};
use lodestone_wal::{ObjectBuilder, keys};
use tokio::time::sleep;

struct World {
    store: Arc<dyn Store>,
    leader: Arc<Leader>,
    updater: Arc<Updater>,
}

async fn world() -> World {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    world_on(store).await
}

async fn world_on(store: Arc<dyn Store>) -> World {
    let leader = lead(&store).await;
    let ingest = ingest(&leader, &store, 1, IngestOptions::default());
    create(&ingest).await;
    let updater = Arc::new(updater(&ingest, &store));
    World { store, leader, updater }
}

impl World {
    async fn with_key(&self, key: &str) -> Vec<u64> {
        let rows = TailReader(self.store.clone()).all(&self.leader).await;
        let number = |id: PointId| match id {
            PointId::Num(n) => n,
            PointId::Uuid(_) => panic!("a number"),
        };
        rows.into_iter().filter(|(_, row)| row.contains_key(key)).map(|(id, _)| number(id)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn writes_by_id_and_by_filter_do_what_they_say() {
    let w = world().await;
    apply_op(&w.updater, upsert(&[1, 2, 3], &["red"])).await.unwrap();
    apply_op(&w.updater, upsert(&[2], &["blue"])).await.unwrap();
    apply_op(&w.updater, mark_red("hot")).await.unwrap();
    assert_eq!(w.with_key("hot").await, [1, 3]);
    apply_op(&w.updater, UpdateOp::Delete(PointSelector::Filter(Filter::default()))).await.unwrap();
    assert_eq!(w.with_key("blue").await, [2]);
    assert!(w.with_key("red").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn conditional_upserts_look_before_they_write() {
    let w = world().await;
    apply_op(&w.updater, upsert(&[1], &["first"])).await.unwrap();
    let with = |mode, key| {
        let points = vec![point(1, &[key]), point(2, &[key])];
        UpdateOp::Upsert { points, condition: None, mode }
    };
    apply_op(&w.updater, with(UpdateMode::InsertOnly, "insert")).await.unwrap();
    assert_eq!((w.with_key("first").await, w.with_key("insert").await), (vec![1], vec![2]));
    apply_op(&w.updater, with(UpdateMode::UpdateOnly, "update")).await.unwrap();
    assert_eq!(w.with_key("update").await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn nothing_to_do_writes_nothing() {
    let w = world().await;
    apply_op(&w.updater, upsert(&[1], &["blue"])).await.unwrap();
    let before = w.leader.watch().borrow().slot;
    apply_op(&w.updater, mark_red("hot")).await.unwrap();
    assert_eq!(w.leader.watch().borrow().slot, before);
}

#[tokio::test(start_paused = true)]
async fn a_write_by_filter_finds_what_others_write_all_the_time() {
    let w = world().await;
    let other = ingest(&w.leader, &w.store, 2, IngestOptions::default());
    let other = updater(&other, &w.store);
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let stop = stop.clone();
        async move {
            for id in 0..10_000 {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                apply_op(&other, upsert(&[id], &["red"])).await.unwrap();
            }
        }
    });
    sleep(Duration::from_millis(20)).await;
    let slot = apply_op(&w.updater, mark_red("hot")).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    // Every point that was red in the slots before has the mark; none after.
    let state = w.leader.watch().borrow().clone();
    let before: u64 = state
        .shards
        .values()
        .flat_map(|shard| &shard.tail)
        .filter(|range| range.slot.0 < slot)
        .map(|range| range.slice.rows)
        .sum();
    assert_eq!(w.with_key("hot").await.len() as u64, before);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_was_reserved_first_reads_exactly_what_is_before_it() {
    let w = world().await;
    let ingest = ingest(&w.leader, &w.store, 3, IngestOptions::default());
    let shards: Vec<ShardId> = w.leader.watch().borrow().collection("c").unwrap().shards().collect();
    let requests: Vec<SliceRequest> =
        shards.iter().map(|shard| SliceRequest { shard: *shard, unless_reserved_since: None }).collect();
    let seen = Arc::new(parking_lot::Mutex::new(None));
    let resolve = |state: Arc<lodestone_manifest::State>| {
        let (seen, updater) = (seen.clone(), w.updater.clone());
        async move {
            *seen.lock() = Some(state.slot);
            // Others go on meanwhile, in later slots.
            tokio::spawn(async move { apply_op(&updater, upsert(&[7], &["red"])).await });
            sleep(Duration::from_millis(50)).await;
            Ok(ObjectBuilder::default())
        }
    };
    let (slot, _) = ingest.writer().write_resolved(&requests, resolve).await.unwrap();
    assert_eq!(seen.lock().unwrap().next(), slot);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_leaves_no_hole_in_the_log() {
    let w = world().await;
    let ingest = ingest(&w.leader, &w.store, 3, IngestOptions::default());
    let resolve = |_| async { Err(Error::unavailable("the test says so")) };
    let failed = ingest.writer().write_resolved(&[], resolve).await;
    assert!(failed.is_err());
    apply_op(&w.updater, upsert(&[1], &["red"])).await.unwrap();
    assert_eq!(w.with_key("red").await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_whose_leader_is_deposed_does_not_wait_for_ever() {
    let w = world().await;
    let ingest = ingest(&w.leader, &w.store, 3, IngestOptions::default());
    // Somebody before it never writes, so its turn does not come.
    let request = lodestone_manifest::ReserveRequest {
        node: lodestone_manifest::NodeId(9),
        nonce: lodestone_manifest::Nonce(9),
        slices: Vec::new(),
    };
    w.leader.reserve(request).await.unwrap();
    let resolve = |_| async { Ok(ObjectBuilder::default()) };
    let waiting = ingest.writer().write_resolved(&[], resolve);
    let (outcome, _) = tokio::join!(tokio::time::timeout(Duration::from_secs(30), waiting), lead(&w.store));
    let error: Error = outcome.expect("it hears that nobody leads here").unwrap_err().into();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_does_not_let_others_pass() {
    let slow = Arc::new(lodestone_store::Simulated::latency_only(Arc::new(MemoryStore::new()), 7));
    let w = world_on(slow).await;
    apply_op(&w.updater, upsert(&[1], &["red"])).await.unwrap();
    // The write is on its way when its caller gives up: what comes next must see it all the same.
    let blue = upsert(&[1], &["blue"]);
    let limit = Some(Duration::from_millis(5));
    let options = WriteOptions { timeout: limit, ..WriteOptions::default() };
    let gave_up = w.updater.apply("c", blue, options).await.unwrap_err();
    assert_eq!(gave_up.kind, ErrorKind::OutcomeUnknown);
    apply_op(&w.updater, mark_red("hot")).await.unwrap();
    assert_eq!(w.with_key("blue").await, [1]);
    assert!(w.with_key("hot").await.is_empty(), "the point is blue since before");
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_leader_is_gone_is_unknown_and_not_refused() {
    let slow = Arc::new(lodestone_store::Simulated::latency_only(Arc::new(MemoryStore::new()), 7));
    let w = world_on(slow.clone()).await;
    let sending = tokio::spawn({
        let updater = w.updater.clone();
        async move { apply_op(&updater, upsert(&[1], &["red"])).await }
    });
    let expected = w.leader.watch().borrow().slot.next();
    // Its bytes have landed, the answer is on its way back, and its leader is deposed meanwhile.
    while w.store.head(&keys::wal(expected)).await.is_err() {}
    let claimed = lead(&w.store).await;
    let _ = w.leader.read(lodestone_meta::Consistency::Strong).await;
    match sending.await.unwrap() {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind, ErrorKind::OutcomeUnknown, "{e}"),
    }
    assert_eq!(claimed.watch().borrow().shards.values().map(|s| s.tail.len()).sum::<usize>(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_refused_before_anything_is_written() {
    let w = world().await;
    let before = w.leader.watch().borrow().slot;
    let vectors = NamedVectors::unnamed(vec![1.0]);
    let points = vec![Point { id: PointId::Num(1), vectors, payload: Default::default() }];
    let wrong = UpdateOp::Upsert { points, condition: None, mode: UpdateMode::Upsert };
    assert_eq!(apply_op(&w.updater, wrong).await.unwrap_err().kind, ErrorKind::BadRequest);
    let missing = w.updater.apply("nobody", upsert(&[1], &[]), WriteOptions::default()).await;
    assert_eq!(missing.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(w.leader.watch().borrow().slot, before);
}
