//! Reads the log forward, several slots at once.

use std::collections::VecDeque;
use std::sync::Arc;

use lodestone_manifest::{Record, Slot};
use lodestone_store::Store;
use lodestone_wal::SlotCache;
use tokio::task::JoinHandle;

use crate::{MetaError, Result, bucket};

/// How many slots are asked for at once at most; a slot object has at most 16 MiB.
const AHEAD: usize = 32;
/// How many more are asked for with each that is found: where few follow, few are asked for in vain.
const MORE: usize = 2;

/// The slots from one on, in order. Requests are under way from the start.
pub(crate) struct Forward {
    store: Arc<dyn Store>,
    slots: Option<Arc<SlotCache>>,
    next: Slot,
    width: usize,
    ahead: VecDeque<JoinHandle<Result<Option<Record>>>>,
}

impl Forward {
    /// Reads from `first` on; `width` slots at once until one is found, then more. What is read is left in `slots`, if there is
    /// such a place.
    pub fn from(store: &Arc<dyn Store>, slots: Option<&Arc<SlotCache>>, first: Slot, width: usize) -> Self {
        let mut forward =
            Self { store: store.clone(), slots: slots.cloned(), next: first, width, ahead: VecDeque::new() };
        forward.ask();
        forward
    }

    fn ask(&mut self) {
        while self.ahead.len() < self.width {
            let (store, slots, slot) = (self.store.clone(), self.slots.clone(), self.next);
            self.ahead.push_back(tokio::spawn(async move {
                bucket::read_slot(store.as_ref(), slots.as_deref(), slot).await
            }));
            self.next = slot.next();
        }
    }

    /// The next slot's record, or `None` at the first that is absent; nothing is to be asked after that.
    pub async fn next(&mut self) -> Result<Option<Record>> {
        self.ask();
        let Some(first) = self.ahead.pop_front() else { return Ok(None) };
        let record = first
            .await
            .map_err(|e| MetaError::Damaged(format!("reading the log was interrupted: {e}")))??;
        if record.is_some() {
            self.width = (self.width + MORE).min(AHEAD);
        }
        Ok(record)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.ahead.iter().for_each(JoinHandle::abort);
    }
}
