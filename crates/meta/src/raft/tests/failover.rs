//! Three voters.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lodestone_manifest::{Applied, Record, Slot, State};
use lodestone_store::{MemoryStore, Store};

use super::fixtures::{create, elected, leader_options, reaches, sample, start_leader, three};
use crate::{MetaError, Replica};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_voters_outlive_their_leader() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (links, mut voters) = three().await;

    let at = elected(&voters).await;
    let old_voter = voters.remove(at);
    let old_leader = start_leader(&store, old_voter.clone(), leader_options()).await;
    for n in 0..20 {
        create(&old_leader, &store, &format!("before-{n}")).await.unwrap();
    }
    let before = State::clone(&old_voter.watch().borrow());
    for voter in &voters {
        reaches(voter, |state| *state == before).await;
    }

    links.cut(at as u64 + 1);
    old_voter.stop().await;
    let at = elected(&voters).await;
    let new_leader = start_leader(&store, voters[at].clone(), leader_options()).await;
    assert_eq!(new_leader.epoch(), old_leader.epoch().next());
    assert_eq!(voters[at].watch().borrow().names, before.names);
    for n in 0..20 {
        let applied = create(&new_leader, &store, &format!("after-{n}")).await.unwrap();
        assert!(matches!(applied, Applied::Committed { .. }));
    }
    let after = State::clone(&voters[at].watch().borrow());
    assert_eq!(after.collections.len(), 40);
    reaches(&voters[1 - at], |state| *state == after).await;
    assert!(create(&old_leader, &store, "too late").await.is_err());

    // What the bucket says is what the voters hold.
    new_leader.stop(Duration::from_secs(5)).await.unwrap();
    let recovered = crate::recover::recover(&store, crate::Rules::default()).await.unwrap().state;
    assert_eq!((recovered.names, recovered.shards), (after.names, after.shards));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_cut_off_follows_again() {
    let (links, voters) = three().await;
    let old = elected(&voters).await;
    voters[old].install(sample(10)).await.unwrap();

    links.cut(old as u64 + 1);
    let first = voters[old].watch().borrow().slot.next();
    // Nobody follows this entry; it must not count later.
    let alone = voters[old].apply(first, vec![super::record("lost")]).await;
    assert!(matches!(alone, Err(MetaError::Held(_))), "{alone:?}");

    let others: Vec<_> = (0..3).filter(|n| *n != old).map(|n| voters[n].clone()).collect();
    let new = elected(&others).await;
    // A state of several pages, then one that is followed by more entries than a log keeps.
    let large = sample(3000);
    others[new].install(large.clone()).await.unwrap();
    reaches(&others[1 - new], |state| *state == large).await;
    let state = sample(5);
    others[new].install(state.clone()).await.unwrap();
    for n in 1..=2000 {
        others[new].apply(Slot(state.slot.0 + n), vec![Record::Void]).await.unwrap();
    }
    let expected = State::clone(&others[new].watch().borrow());
    assert_eq!(expected.slot.0, state.slot.0 + 2000);
    reaches(&others[1 - new], |state| *state == expected).await;
    assert_eq!(links.snapshots.load(Ordering::Relaxed), 0);

    links.mend(old as u64 + 1);
    reaches(&voters[old], |state| *state == expected).await;
    assert!(links.snapshots.load(Ordering::Relaxed) > 0);
    tokio::time::timeout(Duration::from_secs(5), voters[old].until_not_leading()).await.unwrap().unwrap();
    let refused = voters[old].apply(expected.slot.next(), vec![Record::Void]).await;
    assert!(matches!(refused, Err(MetaError::Held(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_unfinished_start_left_does_not_count() {
    let (_links, voters) = three().await;
    let at = elected(&voters).await;
    let pieces = crate::raft::Pieces::of(&sample(5));
    let replica = &voters[at];
    replica.install(sample(3)).await.unwrap();
    // A leader that was lost while it installed.
    replica.write(crate::raft::Command::InstallRoot(pieces.root)).await.unwrap();
    replica.install(sample(4)).await.unwrap();
    for voter in &voters {
        reaches(voter, |state| *state == sample(4)).await;
    }
    let end = replica.write(crate::raft::Command::InstallEnd).await.unwrap();
    assert!(matches!(end, crate::raft::Answer::Refused(_)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_starts_without_its_first_voter_and_takes_it_in_later() {
    let (links, voters) = three().await;
    links.cut(1);
    let others = voters[1..].to_vec();
    let at = elected(&others).await;
    others[at].install(sample(3)).await.unwrap();
    reaches(&others[1 - at], |state| *state == sample(3)).await;
    links.mend(1);
    reaches(&voters[0], |state| *state == sample(3)).await;
}
