//! Reserves, commits and voids slots; writes checkpoints and collects garbage in the background.

mod background;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lodestone_manifest::checkpoint::INLINE_BYTES;
use lodestone_manifest::{
    Applied, Batch, Epoch, InstanceId, JobId, Nonce, Record, Reservation, ReserveRequest, Sequencer, Slot,
    State,
};
use lodestone_store::{Op, Store, StoreError, StoreErrorKind};
use lodestone_wal::{keys, object};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use crate::bucket::{self, Created};
use crate::checkpoint::Draft;
use crate::garbage::Sweeper;
use crate::job::Jobs;
use crate::proof::Proofs;
use crate::recover::{Base, Outcomes};
use crate::{Ahead, Clock, Consistency, Job, Meta, MetaError, Replica, Result, Rules, claim};

/// How a leader behaves.
#[derive(Debug, Clone)]
pub struct LeaderOptions {
    /// How long a proof serves reads; a new leader waits as long, and `lease_margin`, before it acknowledges.
    pub lease: Duration,
    /// Allowance for clocks that run at different rates.
    pub lease_margin: Duration,
    /// How long a strong read waits for a proof while the bucket does not answer.
    pub read_patience: Duration,
    /// How long the owner of a slot may be silent.
    pub patience: Duration,
    /// How many slots may be undecided at once.
    pub max_undecided: usize,
    /// Slots after which a checkpoint is written under load; bounds what a start has to read.
    pub checkpoint_slots: u64,
    /// A checkpoint is written when nothing was decided for this long, if there is anything new.
    pub checkpoint_idle: Duration,
    /// Bytes up to which an only page lies in the root.
    pub inline_page: usize,
    /// How long an object stays after nothing needs it; longer than the longest read.
    pub gc_grace: Duration,
    /// Which rules hold.
    pub rules: Rules,
}

impl Default for LeaderOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(1),
            lease_margin: Duration::from_millis(100),
            read_patience: Duration::from_secs(10),
            patience: Duration::from_secs(5),
            max_undecided: 256,
            checkpoint_slots: 256,
            checkpoint_idle: Duration::from_secs(5),
            inline_page: INLINE_BYTES,
            gc_grace: Duration::from_secs(15 * 60),
            rules: Rules::default(),
        }
    }
}

/// How many outcomes are remembered for owners that ask late.
const REMEMBERED_OUTCOMES: usize = 4096;
/// For how many slots it is remembered who reserved in a shard.
const REMEMBERED_RESERVATIONS: u64 = 100_000;

struct Inner {
    sequencer: Sequencer,
    waiters: BTreeMap<Slot, Vec<Waiter>>,
    // Undecided slots that this leader has ever tried to close: of these only it says what they hold.
    contested: BTreeSet<Slot>,
    // Those of them that somebody is at.
    closing: BTreeSet<Slot>,
    // Up to this slot what was decided is applied.
    applied: Slot,
    outcomes: Outcomes,
}

struct Waiter {
    nonce: Nonce,
    sender: oneshot::Sender<Applied>,
}

#[derive(Default)]
struct Roots {
    newest: Option<Base>,
    previous: Option<Base>,
    // Whether the previous one keeps what the newest does not need, once that was looked at.
    keeps_more: Option<bool>,
}

/// Whether the leader serves, and if not, why.
#[derive(Debug, Clone)]
enum Standing {
    Leading,
    Stopping,
    Failed(MetaError),
}

/// The leader of one epoch.
pub struct Leader {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    replica: Arc<dyn Replica>,
    options: LeaderOptions,
    epoch: Epoch,
    // The slot after its claim record.
    first: Slot,
    proofs: Proofs,
    may_decide_from: Duration,
    inner: Mutex<Inner>,
    decided: Notify,
    standing: watch::Sender<Standing>,
    next_job: AtomicU64,
    jobs: Arc<Mutex<Jobs>>,
    roots: Mutex<Roots>,
    sweeper: Mutex<Sweeper>,
    // The checkpoint that is begun and not surely written.
    draft: tokio::sync::Mutex<Option<Draft>>,
}

impl std::fmt::Debug for Leader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leader").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Leader {
    /// Claims the bucket and leads. `address` is where others can ask whether `instance` still runs.
    pub async fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        replica: Arc<dyn Replica>,
        instance: InstanceId,
        address: &str,
        options: LeaderOptions,
    ) -> Result<Arc<Self>> {
        let ahead = Ahead::read(&store, None, options.rules, |_| async { Ok::<(), MetaError>(()) }).await?;
        Self::start_from(ahead, store, clock, replica, instance, address, options).await
    }

    /// As [`Leader::start`], when the bucket has been read already.
    pub async fn start_from(
        ahead: Ahead,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        replica: Arc<dyn Replica>,
        instance: InstanceId,
        address: &str,
        options: LeaderOptions,
    ) -> Result<Arc<Self>> {
        let remembered = replica.watch().borrow().clone();
        let claimed = claim(&store, &clock, instance, address, ahead, &remembered, &options).await?;
        let (epoch, recovered) = (claimed.proofs.epoch(), claimed.recovered);
        let next = recovered.next();
        tracing::info!(%epoch, slot = %recovered.state.slot, collections = recovered.state.collections.len(), "leading");
        replica.install(recovered.state).await?;
        let wait = if claimed.released || !options.rules.lease_wait() {
            Duration::ZERO
        } else {
            options.lease + options.lease_margin
        };
        let leader = Arc::new(Self {
            proofs: claimed.proofs,
            may_decide_from: claimed.since + wait,
            inner: Mutex::new(Inner {
                sequencer: Sequencer::new(epoch, next, options.max_undecided),
                waiters: BTreeMap::new(),
                contested: BTreeSet::new(),
                closing: BTreeSet::new(),
                applied: Slot(next.0 - 1),
                outcomes: recovered.outcomes,
            }),
            decided: Notify::new(),
            standing: watch::Sender::new(Standing::Leading),
            next_job: AtomicU64::new(1),
            jobs: Arc::default(),
            roots: Mutex::new(Roots { newest: recovered.base, ..Roots::default() }),
            sweeper: Mutex::default(),
            draft: tokio::sync::Mutex::new(None),
            first: next,
            store,
            clock,
            replica,
            options,
            epoch,
        });
        background::spawn(&leader);
        Ok(leader)
    }

    /// The epoch it leads.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns when it leads no more, with the reason. A stop that was asked for is no reason.
    pub async fn failed(&self) -> MetaError {
        let mut standing = self.standing.subscribe();
        loop {
            if let Standing::Failed(error) = &*standing.borrow_and_update() {
                return error.clone();
            }
            if standing.changed().await.is_err() {
                return MetaError::Stopping;
            }
        }
    }

    /// Decides what is under way, writes a checkpoint and releases the bucket, so that the next leader need not
    /// wait. Bounded by `limit`; what is undecided then is found out by the next leader.
    ///
    /// A release says that no lease is left, not of this leader and not of any before it; so one that has just claimed
    /// waits for theirs to end.
    pub async fn stop(&self, limit: Duration) -> Result<()> {
        self.standing.send_if_modified(|s| {
            let leading = matches!(s, Standing::Leading);
            if leading {
                *s = Standing::Stopping;
            }
            leading
        });
        let drained = tokio::time::timeout(limit, async {
            while self.inner.lock().sequencer.undecided() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tokio::time::sleep(self.may_decide_from.saturating_sub(self.clock.now())).await;
        });
        if drained.await.is_err() {
            return Err(MetaError::Stopping);
        }
        if let Standing::Failed(e) = &*self.standing.borrow() {
            return Err(e.clone());
        }
        self.checkpoint().await?;
        let slot = self.inner.lock().sequencer.next_slot();
        let release = object::encode_record(&Record::Release { epoch: self.epoch });
        match bucket::create(self.store.as_ref(), &keys::wal(slot), &release).await? {
            Created::Yes => Ok(()),
            Created::Taken(_) => Err(MetaError::Deposed(self.epoch.next())),
        }
    }

    /// Stops serving at once because of `error`.
    fn fail(&self, error: MetaError) {
        self.standing.send_if_modified(|s| {
            let first = !matches!(s, Standing::Failed(_));
            if first {
                tracing::error!(%error, epoch = %self.epoch, "no longer leading");
                *s = Standing::Failed(error);
            }
            first
        });
        // Dropping the senders tells every waiter.
        self.inner.lock().waiters.clear();
    }

    fn leading(&self) -> Result<()> {
        match &*self.standing.borrow() {
            Standing::Leading => Ok(()),
            Standing::Stopping => Err(MetaError::Stopping),
            Standing::Failed(e) => Err(e.clone()),
        }
    }

    fn not_failed(&self) -> Result<()> {
        match &*self.standing.borrow() {
            Standing::Failed(e) => Err(e.clone()),
            _ => Ok(()),
        }
    }

    /// Passes an error on; one that says that this process was deposed, or that the bucket is not as it must be, ends
    /// its leadership.
    fn note<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(e @ (MetaError::Deposed(_) | MetaError::Violation(_) | MetaError::Damaged(_))) = &result {
            self.fail(e.clone());
        }
        result
    }

    fn no_proof(&self) -> MetaError {
        let why = format!("no answer within {:?}", self.options.read_patience);
        let key = keys::claim(self.epoch.next());
        MetaError::Store(StoreError::new(Op::Head, StoreErrorKind::Transient, &key, why))
    }

    fn job(&self) -> Job {
        let id = JobId(self.next_job.fetch_add(1, Ordering::Relaxed));
        Job::new(self.epoch, id, self.jobs.clone())
    }

    /// Registers for what becomes of `slot`, or says it at once.
    fn await_outcome(&self, slot: Slot, epoch: Epoch, nonce: Nonce) -> Result<Waiting> {
        let mut inner = self.inner.lock();
        // Under the lock: `fail` takes it after saying so, to tell whoever waits.
        self.not_failed()?;
        if let Some(outcome) = inner.outcomes.get(&slot) {
            return Ok(Waiting::Known(outcome.of_attempt(epoch, nonce)));
        }
        if epoch == self.epoch && slot > inner.applied && slot < inner.sequencer.next_slot() {
            let (sender, receiver) = oneshot::channel();
            inner.waiters.entry(slot).or_default().push(Waiter { nonce, sender });
            return Ok(Waiting::Until(receiver));
        }
        if epoch < self.epoch && slot >= self.first {
            // After this leader's claim record no earlier epoch counts (rule 5).
            return Ok(Waiting::Known(Applied::Void));
        }
        Err(MetaError::Unknown(slot))
    }

    async fn outcome(&self, slot: Slot, waiting: Waiting) -> Result<Applied> {
        match waiting {
            Waiting::Known(applied) => Ok(applied),
            Waiting::Until(receiver) => match receiver.await {
                Ok(applied) => Ok(applied),
                Err(_) => Err(MetaError::Unknown(slot)),
            },
        }
    }
}

enum Waiting {
    Known(Applied),
    Until(oneshot::Receiver<Applied>),
}

#[async_trait]
impl Meta for Leader {
    async fn reserve(&self, mut request: ReserveRequest) -> Result<Reservation> {
        if !self.options.rules.contended() {
            request.slices.iter_mut().for_each(|slice| slice.unless_reserved_since = None);
        }
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        // Under the lock: `stop` takes it after saying so, to see what is under way.
        self.leading()?;
        Ok(inner.sequencer.reserve(now, &request)?)
    }

    async fn commit(&self, slot: Slot, batch: Batch) -> Result<Applied> {
        let waiting = self.await_outcome(slot, batch.epoch, batch.nonce)?;
        if matches!(waiting, Waiting::Until(_)) {
            let rules = self.options.rules;
            let mut inner = self.inner.lock();
            let pending = inner.sequencer.is_pending(slot, batch.nonce);
            if pending && !rules.ordered() {
                let applied = Applied::Committed {
                    slices: vec![true; batch.slices.len()],
                    system: batch.system.iter().map(|_| Ok(lodestone_manifest::OpOutcome::Done)).collect(),
                };
                inner.sequencer.resolve(slot, Record::Batch(batch));
                drop(inner);
                self.decided.notify_one();
                return Ok(applied);
            }
            // Once the leader has tried to close the slot, only it says what the slot holds.
            if pending && !(inner.contested.contains(&slot) && rules.void_proof()) {
                inner.sequencer.resolve(slot, Record::Batch(batch));
            }
        }
        self.decided.notify_one();
        self.outcome(slot, waiting).await
    }

    async fn contest(&self, slot: Slot, epoch: Epoch, nonce: Nonce) -> Result<Applied> {
        let waiting = self.await_outcome(slot, epoch, nonce)?;
        if matches!(waiting, Waiting::Until(_)) {
            self.settle(slot).await?;
        }
        self.outcome(slot, waiting).await
    }

    async fn read(&self, consistency: Consistency) -> Result<Arc<State>> {
        self.leading()?;
        if consistency == Consistency::Strong && self.options.rules.read_proof() {
            let proof = tokio::time::timeout(self.options.read_patience, self.proofs.fresh_enough_to_read());
            self.note(proof.await.unwrap_or_else(|_| Err(self.no_proof())))?;
            self.leading()?;
        }
        Ok(self.replica.watch().borrow().clone())
    }

    async fn confirm(&self, known: Arc<State>) -> Result<Arc<State>> {
        // A leader knows everything that it has acknowledged.
        self.read(Consistency::Strong).await.map(|_| known)
    }

    fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.replica.watch()
    }

    async fn begin_job(&self) -> Result<Job> {
        self.leading()?;
        Ok(self.job())
    }
}
