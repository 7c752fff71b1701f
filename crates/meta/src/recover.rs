//! How the bucket becomes a state: the newest root, then the slots after it (rules 10 and 11).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use lodestone_manifest::checkpoint::PageRef;
use lodestone_manifest::{Applied, Epoch, Nonce, Record, Slot, State};
use lodestone_store::Store;

use crate::{MetaError, Result, Rules, bucket};

/// The newest root that was found, as the base of the next checkpoint and for garbage collection.
#[derive(Debug, Clone)]
pub struct Base {
    /// The state it holds.
    pub state: Arc<State>,
    /// Its pages.
    pub pages: Vec<Option<PageRef>>,
}

/// What the bucket says.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// After every decided slot.
    pub state: State,
    /// The newest root, if there is one.
    pub base: Option<Base>,
    /// What became of the slots after the root.
    pub outcomes: Outcomes,
}

/// What became of slots.
pub type Outcomes = BTreeMap<Slot, Outcome>;

/// What became of a slot, and whose attempt it holds: none where it holds no batch.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The attempt in the slot.
    pub attempt: Option<(Epoch, Nonce)>,
    /// What it did.
    pub applied: Applied,
}

impl Outcome {
    /// What became of an attempt at this slot. Where another one or none is in the slot, it never counts.
    pub fn of_attempt(&self, epoch: Epoch, nonce: Nonce) -> Applied {
        if self.attempt == Some((epoch, nonce)) { self.applied.clone() } else { Applied::Void }
    }
}

/// Whose attempt a record is.
pub(crate) fn attempt(record: &Record) -> Option<(Epoch, Nonce)> {
    match record {
        Record::Batch(batch) => Some((batch.epoch, batch.nonce)),
        _ => None,
    }
}

impl Recovered {
    /// The first free slot.
    pub fn next(&self) -> Slot {
        self.state.slot.next()
    }

    /// The slot of the root it started from.
    fn root(&self) -> Slot {
        self.base.as_ref().map_or(Slot(0), |base| base.state.slot)
    }

    pub(crate) fn adopt(&mut self, record: Record, rules: Rules) {
        let attempt = attempt(&record);
        let applied = self.state.apply(&rules.as_read(self.state.epoch, record));
        self.outcomes.insert(self.state.slot, Outcome { attempt, applied });
    }
}

/// Reads the newest root; an empty state if there is none.
pub async fn from_checkpoint(store: &dyn Store) -> Result<Recovered> {
    loop {
        let Some(slot) = bucket::newest_checkpoint(store).await? else {
            return Ok(Recovered { state: State::default(), base: None, outcomes: BTreeMap::new() });
        };
        match bucket::read_checkpoint(store, slot).await {
            Ok((root, state)) => {
                let base = Base { state: Arc::new(state.clone()), pages: root.pages };
                return Ok(Recovered { state, base: Some(base), outcomes: BTreeMap::new() });
            }
            // A newer root may have come and this one's pages gone; anything else is damage.
            Err(e) if bucket::is_absent(&e) && bucket::newest_checkpoint(store).await? != Some(slot) => {}
            Err(e) if bucket::is_absent(&e) => {
                return Err(MetaError::Damaged(format!(
                    "checkpoint {slot} names an object that is missing: {e}"
                )));
            }
            Err(e) => return Err(e),
        }
    }
}

/// The state of everything decided in the bucket, up to the first free slot.
pub async fn recover(store: &Arc<dyn Store>, rules: Rules) -> Result<Recovered> {
    loop {
        let mut recovered = from_checkpoint(store.as_ref()).await?;
        if read_to_end(store, &mut recovered, rules).await? {
            return Ok(recovered);
        }
    }
}

/// Adopts decided slots up to the first free one. `false` if a newer root than the one it started from has come: then
/// what it met may not be what was decided. The slot at its end may be missing because it was collected; and one that
/// it passed may hold a copy that landed late where the decided object was collected, however far it came after that.
pub(crate) async fn read_to_end(
    store: &Arc<dyn Store>,
    recovered: &mut Recovered,
    rules: Rules,
) -> Result<bool> {
    read_forward(store, recovered, rules).await?;
    if !rules.relist_at_end() {
        return Ok(true);
    }
    let newest = bucket::newest_checkpoint(store.as_ref()).await?.unwrap_or_default();
    Ok(newest <= recovered.root())
}

/// Adopts slots up to the first that is absent.
async fn read_forward(store: &Arc<dyn Store>, recovered: &mut Recovered, rules: Rules) -> Result<()> {
    const AHEAD: usize = 16;
    type Fetch = BoxFuture<'static, Result<Option<Record>>>;
    let fetch = |slot: Slot| -> Fetch {
        let store = store.clone();
        async move { bucket::read_slot(store.as_ref(), slot).await }.boxed()
    };
    // The first slot is read alone: most often nothing follows, and asking for sixteen would cost fifteen.
    let mut ahead: VecDeque<tokio::task::JoinHandle<Result<Option<Record>>>> = VecDeque::new();
    let mut width = 1;
    let mut next_fetch = recovered.next();
    loop {
        while ahead.len() < width {
            ahead.push_back(tokio::spawn(fetch(next_fetch)));
            next_fetch = next_fetch.next();
        }
        let Some(first) = ahead.pop_front() else { return Ok(()) };
        let record =
            first.await.map_err(|e| MetaError::Damaged(format!("recovery was interrupted: {e}")))??;
        let Some(record) = record else {
            ahead.iter().for_each(tokio::task::JoinHandle::abort);
            return Ok(());
        };
        recovered.adopt(record, rules);
        width = AHEAD;
    }
}
