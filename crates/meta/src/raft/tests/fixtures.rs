//! Records, states and leaders to test with, and links between voters that can be cut.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::select_all;
use lodestone_manifest::{
    Applied, Batch, Claim, Epoch, InstanceId, NodeId, Nonce, Record, ReserveRequest, State, SystemOp,
};
use lodestone_store::Store;
use lodestone_types::{CollectionConfig, CollectionParams};
use lodestone_wal::keys;
use lodestone_wal::object::ObjectBuilder;
use parking_lot::Mutex;

use crate::raft::{GroupOptions, MemoryLog, RaftReplica, RaftTransport, Rpc, TransportError, VoterId};
use crate::{BootClock, Leader, LeaderOptions, Meta, Replica, Result};

fn operation(name: &str) -> SystemOp {
    let params = CollectionParams {
        vectors: BTreeMap::default(),
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
    SystemOp::CreateCollection { name: name.into(), config }
}

/// Creates a collection, before any claim.
pub fn record(name: &str) -> Record {
    Record::Batch(Batch { epoch: Epoch(0), nonce: Nonce(1), slices: vec![], system: vec![operation(name)] })
}

/// A state of so many collections.
pub fn sample(collections: usize) -> State {
    let mut state = State::default();
    let system = (0..collections).map(|n| operation(&format!("c{n}"))).collect();
    state.apply(&Record::Batch(Batch { epoch: Epoch(0), nonce: Nonce(1), slices: vec![], system }));
    let claim = Claim { epoch: Epoch(1), instance: InstanceId(1), address: String::new() };
    state.apply(&Record::Claim(claim));
    assert_eq!(state.collections.len(), collections);
    state
}

pub fn leader_options() -> LeaderOptions {
    LeaderOptions {
        lease: Duration::from_millis(20),
        lease_margin: Duration::from_millis(5),
        ..LeaderOptions::default()
    }
}

pub async fn start_leader(
    store: &Arc<dyn Store>,
    replica: Arc<RaftReplica>,
    options: LeaderOptions,
) -> Arc<Leader> {
    let replica: Arc<dyn Replica> = replica;
    Leader::start(store.clone(), Arc::new(BootClock), replica, InstanceId(9), "", options).await.unwrap()
}

/// Creates a collection as ingest would.
pub async fn create(leader: &Leader, store: &Arc<dyn Store>, name: &str) -> Result<Applied> {
    static NONCE: AtomicU64 = AtomicU64::new(1);
    let nonce = Nonce(NONCE.fetch_add(1, Ordering::Relaxed).into());
    let reserved = leader.reserve(ReserveRequest { node: NodeId(1), nonce, slices: vec![] }).await?;
    let mut object = ObjectBuilder::default();
    object.push_system(operation(name));
    let (bytes, batch) = object.finish(reserved.epoch, nonce);
    store.put_new(&keys::wal(reserved.slot), bytes).await?;
    leader.commit(reserved.slot, batch).await
}

/// The links between the voters of a group, within this process.
#[derive(Debug, Default)]
pub struct Links {
    voters: Mutex<HashMap<String, Weak<RaftReplica>>>,
    cut: Mutex<HashSet<String>>,
    /// How many snapshots were sent.
    pub snapshots: AtomicUsize,
}

impl Links {
    /// Cuts a voter off from the others.
    pub fn cut(&self, voter: VoterId) {
        self.cut.lock().insert(voter.to_string());
    }

    /// Undoes [`Self::cut`].
    pub fn mend(&self, voter: VoterId) {
        self.cut.lock().remove(&voter.to_string());
    }

    fn find(&self, address: &str) -> Option<Arc<RaftReplica>> {
        self.voters.lock().get(address)?.upgrade()
    }
}

#[derive(Debug)]
struct Link {
    from: String,
    links: Arc<Links>,
}

#[async_trait]
impl RaftTransport for Link {
    async fn call(
        &self,
        address: &str,
        rpc: Rpc,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, TransportError> {
        let is_cut = || {
            let cut = self.links.cut.lock();
            cut.contains(&self.from) || cut.contains(address)
        };
        let gone = || TransportError("cut".into());
        if is_cut() {
            return Err(gone());
        }
        let voter = self.links.find(address).ok_or_else(gone)?;
        if rpc == Rpc::Snapshot {
            self.links.snapshots.fetch_add(1, Ordering::Relaxed);
        }
        let answer = tokio::time::timeout(limit, voter.answer(rpc, &body)).await.map_err(|_| gone())??;
        if is_cut() { Err(gone()) } else { Ok(answer) }
    }
}

/// Three voters, numbered from 1.
pub async fn three() -> (Arc<Links>, Vec<Arc<RaftReplica>>) {
    let links = Arc::new(Links::default());
    let addresses: BTreeMap<VoterId, String> = (1..=3).map(|id| (id, id.to_string())).collect();
    let mut voters = Vec::new();
    for (id, address) in &addresses {
        let options = GroupOptions {
            heartbeat: Duration::from_millis(300),
            patience: Duration::from_secs(4),
            ..GroupOptions::new(*id, addresses.clone())
        };
        let link = Arc::new(Link { from: address.clone(), links: links.clone() });
        let voter = Arc::new(RaftReplica::group(MemoryLog::default(), link, options).await.unwrap());
        links.voters.lock().insert(address.clone(), Arc::downgrade(&voter));
        voters.push(voter);
    }
    (links, voters)
}

/// The position of the first of `voters` that leads.
pub async fn elected(voters: &[Arc<RaftReplica>]) -> usize {
    let leading = select_all(voters.iter().map(|v| Box::pin(v.until_leading())));
    let (led, at, _) =
        tokio::time::timeout(Duration::from_secs(20), leading).await.expect("nobody is elected");
    led.unwrap();
    at
}

/// Waits until a voter holds what `expected` says.
pub async fn reaches(voter: &RaftReplica, expected: impl Fn(&State) -> bool) {
    let mut watch = voter.watch();
    let reached = watch.wait_for(|state| expected(state));
    tokio::time::timeout(Duration::from_secs(20), reached).await.expect("the voter does not follow").unwrap();
}
