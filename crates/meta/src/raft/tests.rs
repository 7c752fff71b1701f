//! The stores against openraft's own suite; one voter under a leader; three voters that lose their leader, or their
//! links to each other. Every state machine checks the invariants after every entry here.

mod failover;
mod fixtures;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lodestone_manifest::{Applied, Record, Slot, State};
use lodestone_store::{MemoryStore, Store};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{RaftLogReader, StorageError, Vote};

use self::fixtures::{create, leader_options, record, sample, start_leader};
use super::image::Pieces;
use super::machine::Machine;
use super::replica::Nobody;
use super::wire::encode;
use super::{GroupOptions, MemoryLog, RaftReplica, Rpc, VoterId};
use crate::{LocalReplica, Meta, MetaError, Replica};

struct Builder;

impl StoreBuilder<super::Group, MemoryLog, Machine> for Builder {
    async fn build(&self) -> Result<((), MemoryLog, Machine), StorageError<VoterId>> {
        Ok(((), MemoryLog::default(), Machine::default()))
    }
}

#[test]
fn log_and_state_machine_keep_the_promises_raft_rests_on() {
    Suite::test_all(Builder).unwrap();
}

#[test]
fn a_state_survives_its_pieces_and_damage_is_noticed() {
    let state = sample(3000);
    let pieces = Pieces::of(&state);
    assert!(pieces.pages.len() > 1);
    assert_eq!(pieces.state().unwrap(), state);

    let mut fewer = pieces.clone();
    fewer.pages.pop();
    assert!(fewer.state().is_err());

    let small = Pieces::of(&sample(2));
    for at in 0..small.pages[0].len() {
        let mut flipped = small.clone();
        let mut page = flipped.pages[0].to_vec();
        page[at] ^= 1;
        flipped.pages[0] = page.into();
        assert!(flipped.state().is_err(), "byte {at}");
    }
    for len in 0..small.root.len() {
        let cut = Pieces { root: small.root.slice(..len), ..small.clone() };
        assert!(cut.state().is_err(), "{len} bytes");
    }
}

#[tokio::test]
async fn requests_that_are_none_are_refused() {
    let replica = RaftReplica::single(1).await.unwrap();
    for rpc in Rpc::ALL {
        assert!(replica.answer(rpc, b"").await.is_err());
        assert!(replica.answer(rpc, &[7; 100]).await.is_err());
        // Sound as a message, and no request.
        assert!(replica.answer(rpc, &encode(&(1u64, "hello")).unwrap()).await.is_err());
    }
    let request = |to: VoterId| {
        let vote = openraft::raft::VoteRequest::<VoterId>::new(Vote::new(0, 2), None);
        encode(&(to, vote)).unwrap()
    };
    assert!(replica.answer(Rpc::Vote, &request(1)).await.is_ok());
    let error = replica.answer(Rpc::Vote, &request(2)).await.unwrap_err();
    assert!(error.to_string().contains("not 2"), "{error}");
    let mut damaged = request(1).to_vec();
    damaged[5] ^= 1;
    assert!(replica.answer(Rpc::Vote, &damaged).await.unwrap_err().to_string().contains("damaged"));
}

#[tokio::test]
async fn one_voter_does_what_a_plain_replica_does() {
    let (raft, plain) = (RaftReplica::single(7).await.unwrap(), LocalReplica::default());
    let mut slot = Slot(0);
    for records in [vec![record("a")], vec![Record::Void, record("b")], vec![record("a")]] {
        let first = slot.next();
        slot = Slot(slot.0 + records.len() as u64);
        let expected = plain.apply(first, records.clone()).await.unwrap();
        assert_eq!(raft.apply(first, records).await.unwrap(), expected);
        assert_eq!(*raft.watch().borrow(), *plain.watch().borrow());
    }
    // A slot that does not follow is refused, and changes nothing.
    for first in [Slot(2), slot, Slot(slot.0 + 2)] {
        let refused = raft.apply(first, vec![Record::Void]).await;
        assert!(matches!(refused, Err(MetaError::Held(_))), "{refused:?}");
    }
    assert_eq!(raft.watch().borrow().slot, slot);
    // Installing replaces everything, backwards too.
    let state = sample(2);
    raft.install(state.clone()).await.unwrap();
    assert_eq!(**raft.watch().borrow(), state);
    raft.install(State::default()).await.unwrap();
    assert_eq!(**raft.watch().borrow(), State::default());
}

#[tokio::test]
async fn a_stopped_voter_says_so() {
    let replica = RaftReplica::single(1).await.unwrap();
    replica.stop().await;
    assert!(matches!(replica.apply(Slot(1), vec![Record::Void]).await, Err(MetaError::Stopping)));
    assert!(matches!(replica.install(State::default()).await, Err(MetaError::Stopping)));
    assert!(matches!(replica.until_leading().await, Err(MetaError::Stopping)));
}

#[tokio::test]
async fn a_leader_over_one_voter_writes_and_starts_again() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut before = State::default();
    for start in 0..3u64 {
        let begun = Instant::now();
        let replica = Arc::new(RaftReplica::single(1).await.unwrap());
        eprintln!("one voter started in {:?}", begun.elapsed());
        let leader = start_leader(&store, replica.clone(), leader_options()).await;
        assert_eq!(leader.epoch().0, start + 1);
        let state = State::clone(&replica.watch().borrow());
        assert_eq!((&state.names, &state.shards), (&before.names, &before.shards));
        for n in 0..5 {
            let applied = create(&leader, &store, &format!("{start}-{n}")).await.unwrap();
            assert!(
                matches!(&applied, Applied::Committed { system, .. } if system[0].is_ok()),
                "{applied:?}"
            );
        }
        before = State::clone(&replica.watch().borrow());
        // The second one ends without a word: its slots are found in the bucket all the same.
        if start != 1 {
            leader.stop(Duration::from_secs(5)).await.unwrap();
        }
    }
    assert_eq!(before.collections.len(), 15);
}

#[tokio::test]
async fn a_leader_ends_when_its_voter_does() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let replica = Arc::new(RaftReplica::single(1).await.unwrap());
    let leader = start_leader(&store, replica.clone(), leader_options()).await;
    create(&leader, &store, "a").await.unwrap();
    replica.stop().await;
    // The slot is in the bucket; what it did nobody here can say.
    let outcome = create(&leader, &store, "b").await;
    assert!(matches!(outcome, Err(MetaError::Unknown(_))), "{outcome:?}");
    assert!(matches!(leader.failed().await, MetaError::Stopping));
    assert!(leader.begin_job().await.is_err());

    let replica = Arc::new(RaftReplica::single(1).await.unwrap());
    let leader = start_leader(&store, replica.clone(), leader_options()).await;
    assert_eq!(leader.watch().borrow().collections.len(), 2);
}

#[tokio::test]
async fn the_log_of_one_voter_stays_short_and_its_latency_low() {
    let mut log = MemoryLog::default();
    let options = GroupOptions {
        heartbeat: Duration::from_secs(3600),
        ..GroupOptions::new(1, BTreeMap::from([(1, String::new())]))
    };
    let replica = RaftReplica::group(log.clone(), Arc::new(Nobody), options).await.unwrap();
    replica.until_leading().await.unwrap();
    replica.install(sample(1)).await.unwrap();
    let first = replica.watch().borrow().slot.0 + 1;
    let mut times = Vec::new();
    for slot in first..first + 3000 {
        let begun = Instant::now();
        replica.apply(Slot(slot), vec![Record::Void]).await.unwrap();
        times.push(begun.elapsed());
    }
    times.sort();
    let (median, tail) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    eprintln!("apply: median {median:?}, 99th percentile {tail:?}");
    assert!(median < Duration::from_millis(5), "{median:?}");
    let kept = log.try_get_log_entries(..).await.unwrap().len();
    assert!(kept < 2000, "{kept} entries are kept");
}
