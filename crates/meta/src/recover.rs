//! How the bucket becomes a state: the newest root, then the slots after it (rules 10 and 11).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join;
use lodestone_manifest::checkpoint::PageRef;
use lodestone_manifest::{Applied, Epoch, Nonce, Record, Slot, State};
use lodestone_store::Store;
use lodestone_wal::{SlotCache, keys};

use crate::forward::Forward;
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
    pub(crate) fn root(&self) -> Slot {
        self.base.as_ref().map_or(Slot(0), |base| base.state.slot)
    }

    pub(crate) fn adopt(&mut self, record: Record, rules: Rules) {
        let attempt = attempt(&record);
        let applied = self.state.apply(&rules.as_read(self.state.epoch, record));
        self.outcomes.insert(self.state.slot, Outcome { attempt, applied });
    }
}

/// How many slots after a root are asked for together with it. Most often none or one is there.
pub(crate) const AFTER_ROOT: usize = 3;

/// The newest root, and the slots after it on their way.
pub(crate) struct Start {
    /// Of the root; an empty state if there is none.
    pub recovered: Recovered,
    /// From the slot after it on.
    pub forward: Forward,
}

impl Start {
    /// Reads the newest root, and has what follows it under way.
    pub async fn read(store: &Arc<dyn Store>, slots: Option<&Arc<SlotCache>>) -> Result<Self> {
        let (forward, recovered) =
            newest_root(store, |root| Forward::from(store, slots, root.next(), AFTER_ROOT)).await?;
        Ok(Self { recovered, forward })
    }
}

/// The newest root, or an empty state if there is none: a listing and the copy of a root side by side, and a second trip where
/// that is not the newest, and where its pages are objects of their own. `beside` begins what may go on beside that trip, once it is
/// known of which slot the root is.
pub(crate) async fn newest_root<T>(
    store: &Arc<dyn Store>,
    beside: impl Fn(Slot) -> T,
) -> Result<(T, Recovered)> {
    let (mut copied, newest) =
        join(bucket::copied_root(store.as_ref()), bucket::newest_checkpoint(store.as_ref())).await;
    let mut newest = newest?;
    loop {
        let begun = beside(newest.unwrap_or_default());
        let Some(slot) = newest else {
            let recovered = Recovered { state: State::default(), base: None, outcomes: BTreeMap::new() };
            return Ok((begun, recovered));
        };
        let copy = copied.take().filter(|root| root.slot == slot);
        let is_copy = copy.is_some();
        let read = match copy {
            Some(root) => bucket::read_pages(store.as_ref(), keys::NEWEST, root).await,
            None => bucket::read_checkpoint(store.as_ref(), slot).await,
        };
        match read {
            Ok((root, state)) => {
                let base = Base { state: Arc::new(state.clone()), pages: root.pages };
                return Ok((begun, Recovered { state, base: Some(base), outcomes: BTreeMap::new() }));
            }
            // Then the root itself has to say so.
            Err(e) if is_copy => tracing::debug!(error = %e, "the copy of a root cannot be read"),
            Err(e) if bucket::is_absent(&e) => {
                // A newer root may have come and this one's pages gone; anything else is damage.
                let listed = bucket::newest_checkpoint(store.as_ref()).await?;
                if listed == newest {
                    return Err(MetaError::Damaged(format!(
                        "checkpoint {slot} names an object that is missing: {e}"
                    )));
                }
                newest = listed;
            }
            Err(e) => return Err(e),
        }
    }
}

/// The state of everything decided in the bucket, up to the first free slot.
pub async fn recover(store: &Arc<dyn Store>, rules: Rules) -> Result<Recovered> {
    loop {
        let recovered = read_once(store, None, rules).await?;
        if is_newest(store, &recovered, rules).await? {
            return Ok(recovered);
        }
    }
}

/// The newest root and the slots after it, up to the first free one. It is what was decided only if no newer root is
/// listed afterwards.
pub(crate) async fn read_once(
    store: &Arc<dyn Store>,
    slots: Option<&Arc<SlotCache>>,
    rules: Rules,
) -> Result<Recovered> {
    let Start { mut recovered, forward } = Start::read(store, slots).await?;
    adopt_all(&mut recovered, forward, rules).await?;
    Ok(recovered)
}

/// Adopts decided slots up to the first free one. `false` if a newer root than the one it started from has come: then
/// what it met may not be what was decided. The slot at its end may be missing because it was collected; and one that
/// it passed may hold a copy that landed late where the decided object was collected, however far it came after that.
pub(crate) async fn read_to_end(
    store: &Arc<dyn Store>,
    recovered: &mut Recovered,
    rules: Rules,
) -> Result<bool> {
    // The first slot is read alone: most often nothing follows.
    adopt_all(recovered, Forward::from(store, None, recovered.next(), 1), rules).await?;
    is_newest(store, recovered, rules).await
}

/// Adopts slots up to the first that is absent.
async fn adopt_all(recovered: &mut Recovered, mut forward: Forward, rules: Rules) -> Result<()> {
    while let Some(record) = forward.next().await? {
        recovered.adopt(record, rules);
    }
    Ok(())
}

/// Whether no root is listed that is newer than the one it started from.
pub(crate) async fn is_newest(store: &Arc<dyn Store>, recovered: &Recovered, rules: Rules) -> Result<bool> {
    if !rules.relist_at_end() {
        return Ok(true);
    }
    let newest = bucket::newest_checkpoint(store.as_ref()).await?.unwrap_or_default();
    Ok(newest <= recovered.root())
}
