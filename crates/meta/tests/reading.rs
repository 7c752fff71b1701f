//! Reading the bucket without a leader, beside leaders that write, change, check point and collect.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Attempt, TestClock, bucket, create, exists, lead, options, reserve, state, try_lead, write};
use futures::future::join_all;
use lodestone_manifest::{Applied, NodeId, Nonce, ReserveRequest, ShardId, Slot};
use lodestone_meta::{BucketReader, Consistency, Leader, LeaderOptions, Meta, MetaError, ReaderOptions};
use lodestone_store::{Faults, Latency, Metered, Metrics, MetricsSnapshot, Quantiles, Simulated, Store};
use lodestone_wal::{SlotCache, keys};
use tokio::time::{Instant, sleep};

struct Reading {
    reader: BucketReader,
    metrics: Arc<Metrics>,
}

impl Reading {
    fn of(store: &Arc<dyn Store>) -> Self {
        let metrics = Arc::new(Metrics::default());
        let metered = Arc::new(Metered::new(store.clone(), metrics.clone()));
        let slots = Arc::new(SlotCache::new(1 << 20));
        let clock = Arc::new(TestClock(Instant::now()));
        Self { reader: BucketReader::new(metered, clock, slots, ReaderOptions::default()), metrics }
    }

    /// A strong read shows exactly what this leader has decided.
    async fn agrees(&self, leader: &Leader) {
        let seen = self.reader.read(Consistency::Strong).await.unwrap();
        assert_eq!(*seen, *state(leader));
    }

    /// GETs and LISTs of `work`.
    async fn cost(&self, work: impl Future) -> (u64, u64) {
        let before = self.metrics.snapshot();
        work.await;
        let after = self.metrics.snapshot();
        (after.gets - before.gets, after.lists - before.lists)
    }

    async fn strong(&self) {
        self.reader.read(Consistency::Strong).await.unwrap();
    }

    async fn eventual(&self) {
        self.reader.read(Consistency::Eventual).await.unwrap();
    }
}

/// Writes and makes so many checkpoints that what came before is collected.
async fn collect(leader: &Leader, store: &Arc<dyn Store>, shard: ShardId) {
    for _ in 0..3 {
        write(leader, store, &[(shard, 1)]).await;
        leader.checkpoint().await.unwrap();
    }
    leader.sweep().await.unwrap();
    sleep(options().gc_grace).await;
    leader.sweep().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_empty_bucket_reads_as_one() {
    let store = bucket();
    let reading = Reading::of(&store);
    assert_eq!(*reading.reader.read(Consistency::Eventual).await.unwrap(), Default::default());
    let leader = lead(&store).await;
    reading.agrees(&leader).await;
}

#[tokio::test(start_paused = true)]
async fn a_strong_read_sees_every_write_that_was_acknowledged() {
    let store = bucket();
    let leader = lead(&store).await;
    let reading = Reading::of(&store);
    let shards = create(&leader, &store).await;
    for round in 0..60 {
        write(&leader, &store, &[(shards[round % 2], 1)]).await;
        if round % 7 == 0 {
            leader.checkpoint().await.unwrap();
        }
        if round % 3 != 0 {
            reading.agrees(&leader).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_follows_from_leader_to_leader_past_what_was_burned() {
    let store = bucket();
    let first = lead(&store).await;
    let reading = Reading::of(&store);
    let shards = create(&first, &store).await;
    reading.agrees(&first).await;
    let (_, burned) = (
        reserve(&first, Vec::new(), &[(shards[0], 1)]).await,
        reserve(&first, Vec::new(), &[(shards[0], 1)]).await,
    );
    burned.put(&store).await.unwrap();
    reading.agrees(&first).await;
    let second = lead(&store).await;
    let own: Attempt = reserve(&second, Vec::new(), &[(shards[0], 1)]).await;
    assert_eq!(own.slot, burned.slot);
    assert_eq!(own.contest(&second).await.unwrap(), Applied::Void);
    reading.agrees(&second).await;
    write(&second, &store, &[(shards[1], 2)]).await;
    reading.agrees(&second).await;
    assert!(state(&second).kept.contains(&burned.slot));
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_was_closed_empty_counts_for_nothing() {
    let store = bucket();
    let leader = lead(&store).await;
    let shards = create(&leader, &store).await;
    let reading = Reading::of(&store);
    let silent = reserve(&leader, Vec::new(), &[(shards[0], 5)]).await;
    let after = reserve(&leader, Vec::new(), &[(shards[0], 1)]).await;
    after.put(&store).await.unwrap();
    // Behind a hole nothing is acknowledged, and nothing is read.
    reading.agrees(&leader).await;
    assert_eq!(silent.contest(&leader).await.unwrap(), Applied::Void);
    after.commit(&leader).await.unwrap();
    reading.agrees(&leader).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_slept_through_collections_starts_over() {
    let store = bucket();
    let leader = lead(&store).await;
    let shards = create(&leader, &store).await;
    let reading = Reading::of(&store);
    reading.agrees(&leader).await;
    let useless = write(&leader, &store, &[]).await;
    collect(&leader, &store, shards[0]).await;
    assert!(!exists(&store, &keys::wal(useless)).await);
    reading.agrees(&leader).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_copy_in_a_collected_slot_does_not_fool_it() {
    let store = bucket();
    let leader = lead(&store).await;
    let shards = create(&leader, &store).await;
    let late = reserve(&leader, Vec::new(), &[(shards[0], 1)]).await;
    let reading = Reading::of(&store);
    reading.strong().await;
    assert_eq!(late.contest(&leader).await.unwrap(), Applied::Void);
    collect(&leader, &store, shards[1]).await;
    assert!(!exists(&store, &keys::wal(late.slot)).await, "the empty slot is collected");
    late.put(&store).await.unwrap();
    reading.agrees(&leader).await;
}

#[tokio::test(start_paused = true)]
async fn a_look_costs_one_trip_and_a_listing_a_second_however_many_read() {
    let store = bucket();
    let leader = lead(&store).await;
    let shards = create(&leader, &store).await;
    write(&leader, &store, &[(shards[0], 1)]).await;
    let reading = Reading::of(&store);
    reading.strong().await;
    assert_eq!(reading.cost(reading.strong()).await, (1, 0));
    let many = reading.cost(join_all((0..100).map(|_| reading.strong()))).await;
    assert!(many.0 <= 2 && many.1 == 0, "{many:?}");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(reading.cost(sleep(Duration::from_secs(600))).await, (0, 0), "nothing is asked when idle");
    assert_eq!(reading.cost(reading.strong()).await, (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_eventual_read_is_no_older_than_allowed() {
    let store = bucket();
    let leader = lead(&store).await;
    let shards = create(&leader, &store).await;
    let reading = Reading::of(&store);
    reading.eventual().await;
    write(&leader, &store, &[(shards[0], 1)]).await;
    assert_eq!(reading.cost(reading.eventual()).await, (0, 0));
    sleep(ReaderOptions::default().staleness).await;
    let seen = reading.reader.read(Consistency::Eventual).await.unwrap();
    assert_eq!(*seen, *state(&leader));
}

#[tokio::test(start_paused = true)]
async fn it_writes_nothing_and_says_so() {
    let store = bucket();
    let leader = lead(&store).await;
    create(&leader, &store).await;
    let reading = Reading::of(&store);
    reading.agrees(&leader).await;
    let request = ReserveRequest { node: NodeId(1), nonce: Nonce(1), slices: Vec::new() };
    assert!(matches!(reading.reader.reserve(request).await, Err(MetaError::ReadOnly)));
    assert!(matches!(reading.reader.begin_job().await, Err(MetaError::ReadOnly)));
    let MetricsSnapshot { creates, puts, deletes, .. } = reading.metrics.snapshot();
    assert_eq!((creates, puts, deletes), (0, 0, 0));
}

const TRIP: Duration = Duration::from_millis(63);

/// A leader that has written more since its newest root, which has its page in it, and its bucket far away.
async fn far_away() -> (Arc<dyn Store>, Arc<Leader>, Arc<dyn Store>) {
    let store = bucket();
    let inline = LeaderOptions { inline_page: LeaderOptions::default().inline_page, ..options() };
    let leader = try_lead(&store, inline).await.unwrap();
    let shards = create(&leader, &store).await;
    for _ in 0..2 {
        write(&leader, &store, &[(shards[0], 1)]).await;
        leader.checkpoint().await.unwrap();
    }
    write(&leader, &store, &[(shards[0], 1)]).await;
    let trip = Quantiles { p50: TRIP, p99: TRIP, p999: TRIP };
    let latency = Latency { get: trip, ..Latency::none() };
    let slow: Arc<dyn Store> = Arc::new(Simulated::new(store.clone(), latency, Faults::none(), 1));
    (store, leader, slow)
}

/// Trips that `work` takes one after the other.
async fn trips(work: impl Future) -> f64 {
    let began = Instant::now();
    work.await;
    began.elapsed().as_secs_f64() / TRIP.as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn a_start_takes_two_trips_of_which_one_comes_before_reads_begin() {
    let (_, leader, slow) = far_away().await;
    let reading = Reading::of(&slow);
    assert!(trips(reading.agrees(&leader)).await < 2.5);

    let reading = Reading::of(&slow);
    assert!(trips(reading.reader.begin()).await < 1.5);
    let known = reading.reader.watch().borrow().clone();
    assert!(Slot(0) < known.slot && known.slot < state(&leader).slot, "the newest root, and no more");
    // A read that begins with it is told that there is more.
    let confirmed = reading.reader.confirm(known.clone());
    assert!(trips(async { assert_eq!(*confirmed.await.unwrap(), *state(&leader)) }).await < 1.5);
    // Who begins again takes nothing back.
    reading.reader.begin().await.unwrap();
    assert_eq!(*reading.reader.watch().borrow().clone(), *state(&leader));
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_root_is_believed_only_while_it_is_of_the_newest() {
    let (store, leader, slow) = far_away().await;
    let copy = store.get(keys::NEWEST).await.unwrap();
    let mut damaged = copy.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    leader.checkpoint().await.unwrap();
    let newest = state(&leader);
    for bytes in [Some(copy), Some(damaged.into()), Some(Bytes::new()), None] {
        match bytes {
            Some(bytes) => store.put(keys::NEWEST, bytes).await.unwrap(),
            None => store.delete(keys::NEWEST).await.unwrap(),
        }
        let reading = Reading::of(&slow);
        assert!(trips(reading.reader.begin()).await < 2.5);
        assert_eq!(*reading.reader.watch().borrow().clone(), *newest);
        reading.agrees(&leader).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_pages_of_a_copy_are_not_there_the_root_says_what_is() {
    let (here, elsewhere) = (bucket(), bucket());
    let (leader, other) = (lead(&here).await, lead(&elsewhere).await);
    for (leader, store, rounds) in [(&leader, &here, 1), (&other, &elsewhere, 2)] {
        let shards = create(leader, store).await;
        for _ in 0..rounds {
            write(leader, store, &[(shards[0], 1)]).await;
            leader.checkpoint().await.unwrap();
        }
    }
    // As many slots, and other pages.
    write(&leader, &here, &[]).await;
    leader.checkpoint().await.unwrap();
    assert_eq!(state(&leader).slot, state(&other).slot);
    here.put(keys::NEWEST, elsewhere.get(keys::NEWEST).await.unwrap()).await.unwrap();
    let reading = Reading::of(&here);
    reading.reader.begin().await.unwrap();
    assert_eq!(*reading.reader.watch().borrow().clone(), *state(&leader));
}

#[tokio::test(start_paused = true)]
async fn one_that_began_long_ago_starts_over_where_what_it_knows_was_collected() {
    let store = bucket();
    let leader = lead(&store).await;
    let shards = create(&leader, &store).await;
    leader.checkpoint().await.unwrap();
    let reading = Reading::of(&store);
    reading.reader.begin().await.unwrap();
    let useless = write(&leader, &store, &[]).await;
    collect(&leader, &store, shards[0]).await;
    assert!(!exists(&store, &keys::wal(useless)).await);
    reading.agrees(&leader).await;
}
