//! Claims, proofs, voids and outcomes: one small history each.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{
    Fault, Faulty, bucket, create, exists, is_committed, lead, options, reserve, state, try_lead, write,
};
use lodestone_manifest::{Applied, Epoch, NodeId, Nonce, Refused, ReserveRequest, SliceRequest, Slot};
use lodestone_meta::recover::recover;
use lodestone_meta::{Consistency, Meta, MetaError, Rules};
use lodestone_store::{Op, Store};
use lodestone_wal::keys;
use tokio::time::{Instant, sleep, timeout};

#[tokio::test(start_paused = true)]
async fn a_claim_takes_the_next_number_and_marks_the_log() {
    let store = bucket();
    let first = lead(&store).await;
    assert_eq!(first.epoch(), Epoch(1));
    assert!(exists(&store, &keys::claim(Epoch(1))).await && exists(&store, &keys::wal(Slot(1))).await);
    let second = lead(&store).await;
    assert_eq!((second.epoch(), state(&second).slot), (Epoch(2), Slot(2)));
    assert!(state(&second).kept.contains(&Slot(1)) && state(&second).kept.contains(&Slot(2)));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_starts_from_what_the_bucket_holds() {
    let store = bucket();
    let first = lead(&store).await;
    let shards = create(&first, &store).await;
    write(&first, &store, &[(shards[0], 3), (shards[1], 4)]).await;
    let before = state(&first);
    let second = lead(&store).await;
    let after = state(&second);
    assert_eq!((after.slot, &after.shards), (before.slot.next(), &before.shards));
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_reads_and_commits_nothing() {
    let store = bucket();
    let first = lead(&store).await;
    create(&first, &store).await;
    let late = reserve(&first, Vec::new(), &[]).await;
    let second = lead(&store).await;
    // The claim's record lies where the write wanted to be.
    assert!(late.put(&store).await.unwrap_err().is_already_exists());
    assert!(matches!(late.contest(&first).await, Err(MetaError::Deposed(Epoch(2)))));
    assert!(matches!(first.read(Consistency::Strong).await, Err(MetaError::Deposed(Epoch(2)))));
    assert!(matches!(first.failed().await, MetaError::Deposed(Epoch(2))));
    // It asks the new leader, which knows that this attempt never counts.
    assert_eq!(late.contest(&second).await.unwrap(), Applied::Void);
}

#[tokio::test(start_paused = true)]
async fn what_lands_after_the_claim_is_burned_and_its_place_stays_taken() {
    let store = bucket();
    let first = lead(&store).await;
    let shards = create(&first, &store).await;
    let taken = reserve(&first, Vec::new(), &[(shards[0], 1)]).await;
    let burned = reserve(&first, Vec::new(), &[(shards[0], 1)]).await;
    burned.put(&store).await.unwrap();
    let second = lead(&store).await;
    let own = reserve(&second, Vec::new(), &[(shards[0], 1)]).await;
    assert_eq!((taken.slot, burned.slot), (state(&second).slot, own.slot));
    assert!(own.put(&store).await.unwrap_err().is_already_exists());
    assert_eq!(own.contest(&second).await.unwrap(), Applied::Void);
    assert!(state(&second).kept.contains(&burned.slot));
    assert_eq!(burned.contest(&second).await.unwrap(), Applied::Void);
}

#[tokio::test(start_paused = true)]
async fn strong_reads_share_one_proof_for_a_lease() {
    let store = Faulty::over(bucket());
    let bucket: Arc<dyn Store> = store.clone();
    let leader = lead(&bucket).await;
    leader.read(Consistency::Strong).await.unwrap();
    store.set(|op, _| (op == Op::Head).then_some(Fault::Failed));
    sleep(Duration::from_millis(900)).await;
    leader.read(Consistency::Strong).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    assert!(matches!(leader.read(Consistency::Strong).await, Err(MetaError::Store(_))));
    leader.read(Consistency::Eventual).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_strong_read_gives_up_on_a_bucket_that_is_silent() {
    let store = Faulty::over(bucket());
    let bucket: Arc<dyn Store> = store.clone();
    let leader = lead(&bucket).await;
    sleep(options().lease).await;
    store.set(|_, _| Some(Fault::Silence));
    let began = Instant::now();
    let (a, b) = tokio::join!(leader.read(Consistency::Strong), leader.read(Consistency::Strong));
    for answer in [a, b] {
        assert!(matches!(answer, Err(MetaError::Store(e)) if e.is_retryable()));
    }
    assert!(began.elapsed() <= options().read_patience, "they wait side by side: {:?}", began.elapsed());
    store.set(|_, _| None);
    leader.read(Consistency::Strong).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_acknowledges_when_the_leases_before_it_have_ended() {
    let store = bucket();
    let first = lead(&store).await;
    create(&first, &store).await;
    let began = Instant::now();
    let second = lead(&store).await;
    second.read(Consistency::Strong).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(100), "it reads at once");
    write(&second, &store, &[]).await;
    assert!(began.elapsed() >= Duration::from_millis(1100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn after_a_release_nobody_waits() {
    let store = bucket();
    let first = lead(&store).await;
    create(&first, &store).await;
    first.stop(Duration::from_secs(5)).await.unwrap();
    assert!(matches!(first.read(Consistency::Eventual).await, Err(MetaError::Stopping)));
    let began = Instant::now();
    let second = lead(&store).await;
    write(&second, &store, &[]).await;
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_release_speaks_for_the_leases_before_it_too() {
    let store = bucket();
    let first = lead(&store).await;
    create(&first, &store).await;
    first.read(Consistency::Strong).await.unwrap();
    let began = Instant::now();
    // The second claims and stops at once; the first still has its lease and does not know.
    let second = lead(&store).await;
    second.stop(Duration::from_secs(5)).await.unwrap();
    let third = lead(&store).await;
    write(&third, &store, &[]).await;
    assert!(began.elapsed() >= Duration::from_millis(1000), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_silent_owner_does_not_hold_up_the_log() {
    let store = bucket();
    let leader = lead(&store).await;
    create(&leader, &store).await;
    let silent = reserve(&leader, Vec::new(), &[]).await;
    let began = Instant::now();
    write(&leader, &store, &[]).await;
    assert!(began.elapsed() >= options().patience);
    assert_eq!(store.get(&keys::wal(silent.slot)).await.unwrap().len(), 0);
    // The owner wakes up: its place is taken, and it may write elsewhere.
    assert!(silent.put(&store).await.unwrap_err().is_already_exists());
    assert_eq!(silent.contest(&leader).await.unwrap(), Applied::Void);
}

#[tokio::test(start_paused = true)]
async fn a_contested_slot_counts_for_what_it_holds() {
    let store = bucket();
    let leader = lead(&store).await;
    let shards = create(&leader, &store).await;
    let there = reserve(&leader, Vec::new(), &[(shards[0], 1)]).await;
    there.put(&store).await.unwrap();
    let absent = reserve(&leader, Vec::new(), &[(shards[0], 1)]).await;
    assert!(is_committed(&there.contest(&leader).await.unwrap()));
    assert_eq!(absent.contest(&leader).await.unwrap(), Applied::Void);
    assert_eq!(state(&leader).shards[&shards[0]].tail.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_contested_slot_holds_needs_a_proof() {
    let store = Faulty::over(bucket());
    let bucket: Arc<dyn Store> = store.clone();
    let leader = lead(&bucket).await;
    create(&leader, &bucket).await;
    let attempt = reserve(&leader, Vec::new(), &[]).await;
    attempt.put(&bucket).await.unwrap();
    store.set(|op, _| (op == Op::Head).then_some(Fault::Failed));
    let contested = timeout(Duration::from_secs(20), attempt.contest(&leader)).await;
    assert!(contested.is_err(), "nobody may say anything yet");
    // Nor is the owner's word enough any more.
    assert!(timeout(Duration::from_secs(20), attempt.commit(&leader)).await.is_err());
    store.set(|_, _| None);
    assert!(is_committed(&attempt.commit(&leader).await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_while_a_slot_is_closed_blocks_nobody() {
    let store = Faulty::over(bucket());
    let bucket: Arc<dyn Store> = store.clone();
    let leader = lead(&bucket).await;
    create(&leader, &bucket).await;
    let attempt = reserve(&leader, Vec::new(), &[]).await;
    store.set(|op, _| (op == Op::PutNew).then_some(Fault::Silence));
    assert!(timeout(Duration::from_millis(10), attempt.contest(&leader)).await.is_err());
    store.set(|_, _| None);
    timeout(Duration::from_secs(10), write(&leader, &bucket, &[])).await.expect("the log goes on");
}

#[tokio::test(start_paused = true)]
async fn slots_are_acknowledged_in_order() {
    let store = bucket();
    let leader = lead(&store).await;
    create(&leader, &store).await;
    let (first, second) = (reserve(&leader, Vec::new(), &[]).await, reserve(&leader, Vec::new(), &[]).await);
    second.put(&store).await.unwrap();
    assert!(timeout(Duration::from_millis(500), second.commit(&leader)).await.is_err());
    first.put(&store).await.unwrap();
    assert!(is_committed(&first.commit(&leader).await.unwrap()));
    assert!(is_committed(&second.commit(&leader).await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_replies_are_lost_is_one_claim() {
    let store = Faulty::over(bucket());
    store.set(|op, _| (op == Op::PutNew).then_some(Fault::LostReply));
    let bucket: Arc<dyn Store> = store.clone();
    let leader = lead(&bucket).await;
    assert_eq!((leader.epoch(), state(&leader).slot), (Epoch(1), Slot(1)));
}

#[tokio::test(start_paused = true)]
async fn of_two_that_claim_at_once_one_leads() {
    let store = bucket();
    let (a, b) = tokio::join!(try_lead(&store, options()), try_lead(&store, options()));
    // One may still have a lease, within which the other acknowledges nothing.
    sleep(options().lease).await;
    let mut standing = 0;
    for leader in [a, b].into_iter().flatten() {
        standing += usize::from(leader.read(Consistency::Strong).await.is_ok());
    }
    assert_eq!(standing, 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_by_filter_is_refused_where_others_have_written() {
    let store = bucket();
    let leader = lead(&store).await;
    let shards = create(&leader, &store).await;
    let read = state(&leader).slot;
    write(&leader, &store, &[(shards[0], 1)]).await;
    let since = |shard, slot| ReserveRequest {
        node: NodeId(2),
        nonce: Nonce(99),
        slices: vec![SliceRequest { shard, unless_reserved_since: Some(slot) }],
    };
    let refused = leader.reserve(since(shards[0], read)).await;
    assert!(matches!(refused, Err(MetaError::Refused(Refused::Contended(shard))) if shard == shards[0]));
    assert!(leader.reserve(since(shards[1], read)).await.is_ok());
    // What was read under an earlier leader is not trusted by the next.
    let next = lead(&store).await;
    assert!(matches!(next.reserve(since(shards[1], read)).await, Err(MetaError::Refused(_))));
    assert!(next.reserve(since(shards[1], state(&next).slot)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_reader_without_a_leader_sees_what_was_acknowledged() {
    let store = bucket();
    let leader = lead(&store).await;
    let shards = create(&leader, &store).await;
    for _ in 0..40 {
        write(&leader, &store, &[(shards[0], 1)]).await;
    }
    let recovered = recover(&store, Rules::default()).await.unwrap();
    assert_eq!(recovered.state, *state(&leader));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_slot_stops_whoever_reads_it() {
    let store = bucket();
    let leader = lead(&store).await;
    create(&leader, &store).await;
    let attempt = reserve(&leader, Vec::new(), &[]).await;
    store.put_new(&keys::wal(attempt.slot), bytes::Bytes::from_static(b"LWAL, not")).await.unwrap();
    assert!(matches!(attempt.contest(&leader).await, Err(MetaError::Damaged(_))));
    assert!(matches!(leader.failed().await, MetaError::Damaged(_)));
    assert!(matches!(try_lead(&store, options()).await, Err(MetaError::Damaged(_))));
}
