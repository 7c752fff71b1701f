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
    /// What became of the batches in the slots after the root.
    pub outcomes: BTreeMap<Slot, (Epoch, Nonce, Applied)>,
}

impl Recovered {
    /// The first free slot.
    pub fn next(&self) -> Slot {
        self.state.slot.next()
    }

    pub(crate) fn adopt(&mut self, record: &Record, rules: Rules) {
        let mut record = record.clone();
        if let (false, Record::Batch(batch)) = (rules.epoch_counts(), &mut record) {
            batch.epoch = self.state.epoch;
        }
        let applied = self.state.apply(&record);
        if let Record::Batch(batch) = record {
            self.outcomes.insert(self.state.slot, (batch.epoch, batch.nonce, applied));
        }
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
                return Err(MetaError::Damaged(format!("checkpoint {slot} names an object that is missing: {e}")));
            }
            Err(e) => return Err(e),
        }
    }
}

/// The state of everything decided in the bucket, up to the first free slot.
pub async fn recover(store: &Arc<dyn Store>, rules: Rules) -> Result<Recovered> {
    let mut recovered = from_checkpoint(store.as_ref()).await?;
    loop {
        read_forward(store, &mut recovered, None, rules).await?;
        if !rules.relist_at_end() {
            return Ok(recovered);
        }
        // The slot after the last may be missing because it was collected: then a newer checkpoint says so.
        match bucket::newest_checkpoint(store.as_ref()).await? {
            Some(slot) if slot > recovered.state.slot => recovered = from_checkpoint(store.as_ref()).await?,
            _ => return Ok(recovered),
        }
    }
}

/// Adopts decided slots up to the first that is absent. With `own`, a claim of a higher epoch is an error.
pub async fn read_forward(store: &Arc<dyn Store>, recovered: &mut Recovered, own: Option<Epoch>,
    rules: Rules,
) -> Result<()> {
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
        let record = first.await.map_err(|e| MetaError::Damaged(format!("recovery was interrupted: {e}")))??;
        let Some(record) = record else {
            ahead.iter().for_each(tokio::task::JoinHandle::abort);
            return Ok(());
        };
        if let (Some(own), Record::Claim(claim)) = (own, &record)
            && claim.epoch > own
        {
            return Err(MetaError::Deposed(claim.epoch));
        }
        recovered.adopt(&record, rules);
        width = AHEAD;
    }
}
