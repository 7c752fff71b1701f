//! Checkpoints, recovery from them, and what is collected.

mod common;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use common::{Fault, Faulty, bucket, create, exists, lead, options, reserve, state, try_lead, write};
use lodestone_manifest::{Applied, Slot, SystemOp};
use lodestone_meta::recover::recover;
use lodestone_meta::{LeaderOptions, Meta, MetaError, Rules};
use lodestone_store::{MemoryStore, ObjectInfo, ObjectMeta, Op, Result, Store, list_all};
use lodestone_wal::keys;
use tokio::time::sleep;

async fn recovered(store: &Arc<dyn Store>) -> lodestone_manifest::State {
    recover(store, Rules::default()).await.unwrap().state
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_where_recovery_starts() {
    let store = bucket();
    let leader = lead(&store).await;
    let shards = create(&leader, &store).await;
    write(&leader, &store, &[(shards[0], 1)]).await;
    leader.checkpoint().await.unwrap();
    let root = state(&leader).slot;
    write(&leader, &store, &[(shards[1], 1)]).await;
    for slot in 1..=root.0 {
        store.delete(&keys::wal(Slot(slot))).await.unwrap();
    }
    assert_eq!(recovered(&store).await, *state(&leader));
}

#[tokio::test(start_paused = true)]
async fn unchanged_pages_are_shared_between_roots() {
    let store = bucket();
    let leader = lead(&store).await;
    create(&leader, &store).await;
    leader.checkpoint().await.unwrap();
    write(&leader, &store, &[]).await;
    leader.checkpoint().await.unwrap();
    let pages = list_all(store.as_ref(), keys::PARTS).await.unwrap();
    assert_eq!(pages.len(), 1, "{pages:?}");
    assert_eq!(list_all(store.as_ref(), keys::CHECKPOINTS).await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn checkpoints_come_by_themselves_under_load_and_when_idle() {
    let store = bucket();
    let idle = LeaderOptions { checkpoint_slots: 5, checkpoint_idle: Duration::from_secs(2), ..options() };
    let leader = try_lead(&store, idle).await.unwrap();
    create(&leader, &store).await;
    sleep(Duration::from_millis(2500)).await;
    let roots = list_all(store.as_ref(), keys::CHECKPOINTS).await.unwrap().len();
    assert!(roots >= 1);
    for _ in 0..6 {
        write(&leader, &store, &[]).await;
    }
    sleep(Duration::from_millis(300)).await;
    assert!(list_all(store.as_ref(), keys::CHECKPOINTS).await.unwrap().len() > roots);
}

#[tokio::test(start_paused = true)]
async fn what_two_roots_do_not_need_goes_after_the_grace() {
    let store = bucket();
    let leader = lead(&store).await;
    let shards = create(&leader, &store).await;
    let needed = write(&leader, &store, &[(shards[0], 1)]).await;
    let useless = write(&leader, &store, &[]).await;
    let orphan = keys::part(leader.epoch(), lodestone_manifest::JobId(999), "seg", 0);
    store.put_new(&orphan, Bytes::from_static(b"x")).await.unwrap();
    for _ in 0..3 {
        leader.checkpoint().await.unwrap();
        write(&leader, &store, &[]).await;
    }
    leader.sweep().await.unwrap();
    assert!(
        exists(&store, &orphan).await && exists(&store, &keys::wal(useless)).await,
        "the grace has begun"
    );
    sleep(options().gc_grace).await;
    leader.sweep().await.unwrap();
    assert!(!exists(&store, &orphan).await && !exists(&store, &keys::wal(useless)).await);
    assert!(exists(&store, &keys::wal(needed)).await, "a tail needs it");
    assert!(exists(&store, &keys::wal(Slot(1))).await, "marks stay");
    assert_eq!(list_all(store.as_ref(), keys::CHECKPOINTS).await.unwrap().len(), 2);
    assert_eq!(recovered(&store).await, *state(&leader));
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_goes_quiet_keeps_nothing_that_only_one_more_root_needs() {
    let store = bucket();
    let idle = LeaderOptions { checkpoint_idle: Duration::from_secs(1), ..options() };
    let leader = try_lead(&store, idle).await.unwrap();
    let shards = create(&leader, &store).await;
    let needed = write(&leader, &store, &[(shards[0], 1)]).await;
    sleep(Duration::from_secs(10)).await;
    assert!(exists(&store, &keys::wal(needed)).await);
    // All that comes before it goes quiet again, as a merge does that takes its time.
    let collection = state(&leader).collection("c").unwrap().id;
    let last = reserve(&leader, vec![SystemOp::DeleteCollection { collection }], &[]).await;
    last.put(&store).await.unwrap();
    last.commit(&leader).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    assert!(!exists(&store, &keys::wal(needed)).await);

    // Then nothing more is asked of the bucket.
    let roots = list_all(store.as_ref(), keys::CHECKPOINTS).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(list_all(store.as_ref(), keys::CHECKPOINTS).await.unwrap(), roots);
    // A write that takes nothing away is one more root, not two.
    write(&leader, &store, &[]).await;
    sleep(Duration::from_secs(20)).await;
    let after = list_all(store.as_ref(), keys::CHECKPOINTS).await.unwrap();
    assert_eq!((after.len(), &after[1]), (2, &roots[0]), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_job_has_written_is_safe_while_it_lives() {
    let store = bucket();
    let leader = lead(&store).await;
    create(&leader, &store).await;
    let job = leader.begin_job().await.unwrap();
    let part = keys::part(job.epoch, job.id, "seg", 0);
    store.put_new(&part, Bytes::from_static(b"x")).await.unwrap();
    for _ in 0..2 {
        leader.checkpoint().await.unwrap();
        write(&leader, &store, &[]).await;
    }
    let sweep_twice = async || {
        for _ in 0..2 {
            leader.sweep().await.unwrap();
            sleep(options().gc_grace).await;
        }
        leader.sweep().await.unwrap();
    };
    sweep_twice().await;
    assert!(exists(&store, &part).await);
    drop(job);
    sweep_twice().await;
    assert!(!exists(&store, &part).await);
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_collects_nothing() {
    let store = bucket();
    let leader = lead(&store).await;
    create(&leader, &store).await;
    let useless = write(&leader, &store, &[]).await;
    for _ in 0..3 {
        leader.checkpoint().await.unwrap();
        write(&leader, &store, &[]).await;
    }
    leader.sweep().await.unwrap();
    sleep(options().gc_grace).await;
    lead(&store).await;
    assert!(matches!(leader.sweep().await, Err(MetaError::Deposed(_))));
    assert!(exists(&store, &keys::wal(useless)).await);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_whose_root_may_have_landed_is_finished_before_another_begins() {
    let store = Faulty::over(bucket());
    let bucket: Arc<dyn Store> = store.clone();
    let leader = lead(&bucket).await;
    create(&leader, &bucket).await;
    // The root lands, nobody hears so, and the same again whenever it is asked for.
    store.set(|op, key| match op {
        Op::PutNew if key.starts_with(keys::CHECKPOINTS) => Some(Fault::LostReply),
        Op::Get if key.starts_with(keys::CHECKPOINTS) => Some(Fault::Failed),
        _ => None,
    });
    assert!(leader.checkpoint().await.is_err());
    store.set(|_, _| None);
    leader.checkpoint().await.expect("the same bytes again are no second history");
    write(&leader, &bucket, &[]).await;
    leader.checkpoint().await.unwrap();
    leader.sweep().await.unwrap();
    sleep(options().gc_grace).await;
    leader.sweep().await.unwrap();
    assert_eq!(recovered(&bucket).await, *state(&leader));
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_root_that_may_still_land_are_not_collected() {
    let store = Faulty::over(bucket());
    let bucket: Arc<dyn Store> = store.clone();
    let leader = lead(&bucket).await;
    let shards = create(&leader, &bucket).await;
    for _ in 0..2 {
        write(&leader, &bucket, &[(shards[0], 1)]).await;
        leader.checkpoint().await.unwrap();
    }
    write(&leader, &bucket, &[(shards[0], 1)]).await;
    store.set(|op, key| (op == Op::PutNew && key.starts_with(keys::CHECKPOINTS)).then_some(Fault::Failed));
    let before: BTreeSet<String> =
        list_all(store.as_ref(), keys::PARTS).await.unwrap().into_iter().map(|o| o.key).collect();
    assert!(leader.checkpoint().await.is_err());
    let page = list_all(store.as_ref(), keys::PARTS).await.unwrap().into_iter().map(|o| o.key);
    let page = page.into_iter().find(|key| !before.contains(key)).expect("a page was written");
    for _ in 0..3 {
        leader.sweep().await.unwrap();
        sleep(options().gc_grace).await;
    }
    assert!(exists(&bucket, &page).await);
}

#[tokio::test(start_paused = true)]
async fn two_histories_of_one_slot_are_an_alarm() {
    let store = bucket();
    let leader = lead(&store).await;
    create(&leader, &store).await;
    store.put_new(&keys::checkpoint(state(&leader).slot), Bytes::from_static(b"another")).await.unwrap();
    assert!(matches!(leader.checkpoint().await, Err(MetaError::Damaged(_))));
    assert!(matches!(leader.failed().await, MetaError::Damaged(_)));
}

#[tokio::test(start_paused = true)]
async fn a_root_without_its_pages_is_damage_and_not_an_empty_bucket() {
    let store = bucket();
    let leader = lead(&store).await;
    create(&leader, &store).await;
    leader.checkpoint().await.unwrap();
    for page in list_all(store.as_ref(), keys::PARTS).await.unwrap() {
        store.delete(&page.key).await.unwrap();
    }
    assert!(matches!(recover(&store, Rules::default()).await, Err(MetaError::Damaged(_))));
}

/// The bucket as somebody sees it who listed and read the newest root long ago.
#[derive(Debug)]
struct LongAgo {
    then: MemoryStore,
    now: Arc<dyn Store>,
    listed: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Store for LongAgo {
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.now.put_new(key, bytes).await
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.now.put(key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        if key.starts_with(keys::WAL) {
            return self.now.get(key).await;
        }
        match self.then.get(key).await {
            Ok(bytes) => Ok(bytes),
            Err(_) => self.now.get(key).await,
        }
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        self.now.get_range(key, range).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        self.now.head(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<ObjectInfo>> {
        let first = !self.listed.swap(true, std::sync::atomic::Ordering::Relaxed);
        if first {
            self.then.list(prefix, after, limit).await
        } else {
            self.now.list(prefix, after, limit).await
        }
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.now.delete(key).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_copy_in_a_collected_slot_fools_no_reader() {
    let store = bucket();
    let leader = lead(&store).await;
    let shards = create(&leader, &store).await;
    leader.checkpoint().await.unwrap();
    let then = MemoryStore::new();
    for prefix in [keys::CHECKPOINTS, keys::PARTS] {
        for object in list_all(store.as_ref(), prefix).await.unwrap() {
            then.put(&object.key, store.get(&object.key).await.unwrap()).await.unwrap();
        }
    }
    // One slot is closed empty, the ones after it hold writes that stay in the tail.
    let late = reserve(&leader, Vec::new(), &[(shards[0], 1)]).await;
    assert_eq!(late.contest(&leader).await.unwrap(), Applied::Void);
    for _ in 0..3 {
        write(&leader, &store, &[(shards[1], 1)]).await;
        leader.checkpoint().await.unwrap();
    }
    write(&leader, &store, &[(shards[1], 1)]).await;
    leader.sweep().await.unwrap();
    sleep(options().gc_grace).await;
    leader.sweep().await.unwrap();
    assert!(!exists(&store, &keys::wal(late.slot)).await, "the empty slot is collected");
    late.put(&store).await.unwrap();
    let reader: Arc<dyn Store> = Arc::new(LongAgo { then, now: store, listed: Default::default() });
    assert_eq!(recovered(&reader).await, *state(&leader));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_slept_through_collections_starts_over() {
    let store = bucket();
    let leader = lead(&store).await;
    create(&leader, &store).await;
    leader.checkpoint().await.unwrap();
    let then = MemoryStore::new();
    for prefix in [keys::CHECKPOINTS, keys::PARTS] {
        for object in list_all(store.as_ref(), prefix).await.unwrap() {
            then.put(&object.key, store.get(&object.key).await.unwrap()).await.unwrap();
        }
    }
    for _ in 0..3 {
        write(&leader, &store, &[]).await;
        leader.checkpoint().await.unwrap();
    }
    leader.sweep().await.unwrap();
    sleep(options().gc_grace).await;
    leader.sweep().await.unwrap();
    let reader: Arc<dyn Store> = Arc::new(LongAgo { then, now: store, listed: Default::default() });
    assert_eq!(recovered(&reader).await, *state(&leader));
}
