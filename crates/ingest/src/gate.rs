//! Lets blind writes to a shard pass each other, and holds them while a write that depends on a read is made.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use lodestone_manifest::ShardId;
use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// One gate per shard in use.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    by_shard: Mutex<HashMap<ShardId, Weak<RwLock<()>>>>,
}

impl Gates {
    fn gate(&self, shard: ShardId) -> Arc<RwLock<()>> {
        const SWEEP_ABOVE: usize = 1024;
        let mut gates = self.by_shard.lock();
        if let Some(gate) = gates.get(&shard).and_then(Weak::upgrade) {
            return gate;
        }
        if gates.len() > SWEEP_ABOVE {
            gates.retain(|_, gate| gate.strong_count() > 0);
        }
        let gate = Arc::new(RwLock::new(()));
        gates.insert(shard, Arc::downgrade(&gate));
        gate
    }

    /// Passes with others.
    pub(crate) async fn pass(&self, shards: &[ShardId]) -> Vec<OwnedRwLockReadGuard<()>> {
        let mut guards = Vec::with_capacity(shards.len());
        for shard in in_order(shards) {
            guards.push(self.gate(shard).read_owned().await);
        }
        guards
    }

    /// Passes alone, when all before have been decided.
    pub(crate) async fn alone(&self, shards: &[ShardId]) -> Vec<OwnedRwLockWriteGuard<()>> {
        let mut guards = Vec::with_capacity(shards.len());
        for shard in in_order(shards) {
            guards.push(self.gate(shard).write_owned().await);
        }
        guards
    }
}

// One order for all, so that two writes never wait for each other.
fn in_order(shards: &[ShardId]) -> Vec<ShardId> {
    let mut shards = shards.to_vec();
    shards.sort_unstable();
    shards.dedup();
    shards
}
