//! Where decided slots are applied: here in memory, or through Raft on every voter.

use std::sync::Arc;

use async_trait::async_trait;
use lodestone_manifest::{Applied, Record, Slot, State};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{MetaError, Result};

/// A copy of the state that takes decided slots in order.
#[async_trait]
pub trait Replica: Send + Sync + std::fmt::Debug {
    /// Starts over from a state that was recovered from the bucket.
    async fn install(&self, state: State) -> Result<()>;

    /// Applies the records of the slots after the last applied one, in order, and says what became of each.
    async fn apply(&self, first: Slot, records: Vec<Record>) -> Result<Vec<Applied>>;

    /// The state as it is applied.
    fn watch(&self) -> watch::Receiver<Arc<State>>;
}

/// A replica without followers.
#[derive(Debug)]
pub struct LocalReplica {
    state: Mutex<()>,
    sender: watch::Sender<Arc<State>>,
}

impl Default for LocalReplica {
    fn default() -> Self {
        Self { state: Mutex::new(()), sender: watch::Sender::new(Arc::default()) }
    }
}

#[async_trait]
impl Replica for LocalReplica {
    async fn install(&self, state: State) -> Result<()> {
        self.sender.send_replace(Arc::new(state));
        Ok(())
    }

    async fn apply(&self, first: Slot, records: Vec<Record>) -> Result<Vec<Applied>> {
        let _one_at_a_time = self.state.lock();
        let mut state = State::clone(&self.sender.borrow());
        if state.slot.next() != first {
            let newer =
                format!("slot {first} does not follow slot {}: a newer leader has started over", state.slot);
            return Err(MetaError::Held(newer));
        }
        let applied = records.iter().map(|record| state.apply(record)).collect();
        self.sender.send_replace(Arc::new(state));
        Ok(applied)
    }

    fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.sender.subscribe()
    }
}
