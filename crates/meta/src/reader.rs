//! Reads what was decided from the bucket alone: no leader, no claim, nothing is written.
//!
//! Every acknowledged write is in the contiguous prefix of the log, so who looks past the last slot it knows, after a
//! read began, has everything that this read must see. A **look** asks for the slot after the last known one, and goes
//! on while there is one: one trip where nothing is new. Reads that come while a look is under way share the next.
//! Nothing is asked while nobody reads.
//!
//! A slot that is absent ends the log only if it was not collected (rule 11), and one that is there is what was decided
//! only if it was not collected and filled again. Both are collected only when roots are past them, and only
//! `gc.grace` after such roots came. So what is read past a state is right if no root newer than that state was listed,
//! and either the listing began after the reading, or the reading was over well within the grace after the listing
//! began. Then the state reached is as good as a root, and the next look starts from there. Else it starts over from the
//! newest root.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join;
use lodestone_manifest::{Applied, Batch, Epoch, Nonce, Reservation, ReserveRequest, Slot, State};
use lodestone_store::{Op, Store, StoreError, StoreErrorKind};
use lodestone_wal::{SlotCache, keys};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::forward::Forward;
use crate::recover::{AFTER_ROOT, Start, newest_root};
use crate::{Clock, Consistency, Job, Meta, MetaError, Result, Rules, bucket};

/// How a reader behaves.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    /// How long one listing of the roots serves; at most half of the shortest `gc.grace` of any leader.
    pub trust: Duration,
    /// How old a state may be that answers an eventual read.
    pub staleness: Duration,
    /// How long a read waits for the bucket.
    pub patience: Duration,
    /// Which rules hold.
    pub rules: Rules,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            trust: Duration::from_secs(1),
            staleness: Duration::from_secs(5),
            patience: Duration::from_secs(10),
            rules: Rules::default(),
        }
    }
}

/// A meta group's port over the bucket alone. Whatever would write is refused.
pub struct BucketReader {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    slots: Arc<SlotCache>,
    options: ReaderOptions,
    states: watch::Sender<Arc<State>>,
    looking: tokio::sync::Mutex<()>,
    // Looks that have begun.
    begun: AtomicU64,
    seen: Mutex<Seen>,
}

/// What is known of the state's age, on the reader's clock.
#[derive(Debug, Default)]
struct Seen {
    // The newest look that came to an end, and when it began; looks are counted from 1.
    look: u64,
    looked: Duration,
    // When a listing began that showed no root newer than the state.
    listed: Option<Duration>,
}

impl std::fmt::Debug for BucketReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BucketReader").field("slot", &self.states.borrow().slot).finish_non_exhaustive()
    }
}

impl BucketReader {
    /// Reads nothing yet: [`BucketReader::begin`] does, or else the first read, whatever its consistency. Slots that are read are left in `slots`, where
    /// tails find them.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        slots: Arc<SlotCache>,
        options: ReaderOptions,
    ) -> Self {
        Self {
            store,
            clock,
            slots,
            options,
            states: watch::Sender::new(Arc::default()),
            looking: tokio::sync::Mutex::default(),
            begun: AtomicU64::new(0),
            seen: Mutex::default(),
        }
    }

    /// Reads the newest root, unless anything was read: so reads find a state to begin with while their looks are under way. One
    /// trip, or two where no copy of that root is there, and one more where its pages are objects of their own.
    pub async fn begin(&self) -> Result<()> {
        let _one_at_a_time = self.looking.lock().await;
        if self.seen.lock().look > 0 {
            return Ok(());
        }
        let listed = self.clock.now();
        let ((), recovered) = newest_root(&self.store, |_| ()).await?;
        self.states.send_replace(Arc::new(recovered.state));
        self.seen.lock().listed = Some(listed);
        Ok(())
    }

    /// Sees to it that the state holds what was decided when this was called.
    pub async fn look(&self) -> Result<()> {
        let before = self.begun.load(Ordering::SeqCst);
        let _one_at_a_time = self.looking.lock().await;
        let Seen { look: last, listed, .. } = *self.seen.lock();
        if last > before {
            return Ok(());
        }
        let look = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let began = self.clock.now();
        let knows_nothing = last == 0 && listed.is_none();
        let mut reached = if knows_nothing { None } else { self.follow().await? };
        let state = loop {
            match reached {
                Some(state) => break state,
                None => reached = self.start_over().await?,
            }
        };
        // Whoever watches hears only of what is new.
        if knows_nothing || state.slot > self.states.borrow().slot {
            self.states.send_replace(Arc::new(state));
        }
        let mut seen = self.seen.lock();
        (seen.look, seen.looked) = (look, began);
        Ok(())
    }

    /// Reads on from the known state; `None` if a newer root has come.
    async fn follow(&self) -> Result<Option<State>> {
        let known = self.states.borrow().clone();
        let began = self.clock.now();
        let Seen { look, listed, .. } = *self.seen.lock();
        let listed = listed.filter(|at| self.is_trusted(*at));
        let list = async {
            match listed {
                // Newer than the state of then there was none, and the state has only grown.
                Some(at) => Ok((at, Slot(0))),
                None => Ok((began, self.newest_root().await?)),
            }
        };
        // It begins at a root, or most often at the newest slot.
        let width = if look == 0 { AFTER_ROOT } else { 1 };
        let forward = Forward::from(&self.store, Some(&self.slots), known.slot.next(), width);
        let (reached, (listed, newest)) =
            try_join(self.adopt_all(State::clone(&known), forward), list).await?;
        self.verified(known.slot, reached, listed, newest).await
    }

    /// Reads on from the newest root; `None` if a newer one came meanwhile.
    async fn start_over(&self) -> Result<Option<State>> {
        let listed = self.clock.now();
        let Start { recovered, forward } = Start::read(&self.store, Some(&self.slots)).await?;
        let from = recovered.state.slot;
        let reached = self.adopt_all(recovered.state, forward).await?;
        self.verified(from, reached, listed, from).await
    }

    async fn adopt_all(&self, mut state: State, mut forward: Forward) -> Result<State> {
        while let Some(record) = forward.next().await? {
            state.apply(&self.options.rules.as_read(state.epoch, record));
        }
        Ok(state)
    }

    /// What was `reached` from the state of slot `from`, if nothing on the way was collected. A listing that began at
    /// `listed` had `newest` as its newest root.
    async fn verified(
        &self,
        from: Slot,
        reached: State,
        mut listed: Duration,
        mut newest: Slot,
    ) -> Result<Option<State>> {
        if !self.options.rules.relist_at_end() {
            return Ok(Some(reached));
        }
        if newest <= from && !self.is_trusted(listed) {
            listed = self.clock.now();
            newest = self.newest_root().await?;
        }
        let right = newest <= from;
        self.seen.lock().listed = right.then_some(listed);
        Ok(right.then_some(reached))
    }

    /// Whether nothing can have been collected yet that no root listed then was past.
    fn is_trusted(&self, listed: Duration) -> bool {
        self.clock.now().saturating_sub(listed) < self.options.trust
    }

    async fn newest_root(&self) -> Result<Slot> {
        Ok(bucket::newest_checkpoint(self.store.as_ref()).await?.unwrap_or_default())
    }

    fn is_fresh(&self) -> bool {
        let seen = self.seen.lock();
        seen.look > 0 && self.clock.now().saturating_sub(seen.looked) < self.options.staleness
    }

    fn no_answer(&self) -> MetaError {
        let why = format!("no answer within {:?}", self.options.patience);
        MetaError::Store(StoreError::new(Op::Get, StoreErrorKind::Transient, keys::WAL, why))
    }
}

#[async_trait]
impl Meta for BucketReader {
    async fn reserve(&self, _: ReserveRequest) -> Result<Reservation> {
        Err(MetaError::ReadOnly)
    }

    async fn commit(&self, _: Slot, _: Batch) -> Result<Applied> {
        Err(MetaError::ReadOnly)
    }

    async fn contest(&self, _: Slot, _: Epoch, _: Nonce) -> Result<Applied> {
        Err(MetaError::ReadOnly)
    }

    async fn read(&self, consistency: Consistency) -> Result<Arc<State>> {
        if consistency == Consistency::Strong || !self.is_fresh() {
            let look = tokio::time::timeout(self.options.patience, self.look());
            look.await.unwrap_or_else(|_| Err(self.no_answer()))?;
        }
        Ok(self.states.borrow().clone())
    }

    fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.states.subscribe()
    }

    async fn begin_job(&self) -> Result<Job> {
        Err(MetaError::ReadOnly)
    }
}
