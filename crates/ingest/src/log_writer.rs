//! One object into one slot, whatever the bucket answers (rules 3, 4 and 14).
//!
//! Only the leader decides what became of a slot. This side reads a slot to learn whether its own bytes are there,
//! and writes again only what it has written before, or what the leader has declared void.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lodestone_manifest::{
    Applied, Epoch, NodeId, Nonce, Refused, Reservation, ReserveRequest, SliceRequest, Slot, State,
};
use lodestone_meta::{Consistency, Meta, MetaError, Result, Rules};
use lodestone_store::Store;
use lodestone_wal::{ObjectBuilder, SlotCache, keys, object};
use parking_lot::Mutex;
use rand::RngCore;

use crate::{Stage, Stages};

/// Puts objects into slots.
pub struct LogWriter {
    meta: Arc<dyn Meta>,
    store: Arc<dyn Store>,
    // Changes when this writer loses sight of one of its writes: from then on that one counts as another node's, and
    // nothing that was read before it passes (rule 2).
    node: Mutex<NodeId>,
    cache: Arc<SlotCache>,
    random: Mutex<Box<dyn RngCore + Send>>,
    rules: Rules,
    stages: Stages,
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter").finish_non_exhaustive()
    }
}

/// What became of the attempt to put an object into a slot.
enum Put {
    /// It is there.
    Done,
    /// It is surely not there and will never be: the bucket refused it at the first attempt.
    Refused(MetaError),
    /// Only the leader can tell.
    Unclear,
}

const PUT_ATTEMPTS: u32 = 4;
const SLOT_ATTEMPTS: u32 = 12;

impl LogWriter {
    /// A writer that reserves as `node` and remembers what it wrote in `cache`.
    pub fn new(
        meta: Arc<dyn Meta>,
        store: Arc<dyn Store>,
        node: NodeId,
        cache: Arc<SlotCache>,
        random: Box<dyn RngCore + Send>,
        rules: Rules,
    ) -> Arc<Self> {
        Arc::new(Self {
            meta,
            store,
            node: Mutex::new(node),
            cache,
            random: Mutex::new(random),
            rules,
            stages: Stages::default(),
        })
    }

    /// The meta group it writes through.
    pub fn meta(&self) -> &Arc<dyn Meta> {
        &self.meta
    }

    /// The bucket it writes to.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Where the time of its writes went.
    pub fn stages(&self) -> &Stages {
        &self.stages
    }

    fn nonce(&self) -> Nonce {
        let mut random = self.random.lock();
        Nonce(u128::from(random.next_u64()) << 64 | u128::from(random.next_u64()))
    }

    /// Writes what `fill` puts into a builder, in one slot, and returns the slot and what became of it. A void slot is
    /// tried again in another. `parts` is the epoch under which the objects were written that the slices name, if they
    /// name any: under another leader they are not safe from collection, and nothing is written. `writes` are in it.
    pub async fn write(
        &self,
        slices: &[SliceRequest],
        parts: Option<Epoch>,
        writes: u64,
        fill: impl Fn(&mut ObjectBuilder) + Send + Sync,
    ) -> Result<(Slot, Applied)> {
        let mut last = MetaError::Refused(Refused::Full);
        for _ in 0..SLOT_ATTEMPTS {
            let (reservation, nonce) = self.reserve(slices, writes).await?;
            if parts.is_some_and(|epoch| epoch != reservation.epoch) {
                self.give_up(reservation, nonce);
                return Err(MetaError::Deposed(reservation.epoch));
            }
            let build = || {
                let mut builder = ObjectBuilder::default();
                fill(&mut builder);
                builder
            };
            match self.put_and_commit(reservation, nonce, writes, build).await {
                Ok(Applied::Void) => {}
                Ok(applied) => return Ok((reservation.slot, applied)),
                Err(e @ MetaError::Unknown(_)) if !self.rules.resend_only_void() => last = e,
                Err(e) => return Err(e),
            }
        }
        Err(last)
    }

    /// Writes what is computed from a read: the slot is reserved first, and `resolve` gets the state at exactly the
    /// slot before it (rule 2).
    pub async fn write_resolved<F, R>(&self, slices: &[SliceRequest], resolve: F) -> Result<(Slot, Applied)>
    where
        F: Fn(Arc<State>) -> R + Send + Sync,
        R: Future<Output = lodestone_types::Result<ObjectBuilder>> + Send,
    {
        for _ in 0..SLOT_ATTEMPTS {
            let (reservation, nonce) = self.reserve(slices, 1).await?;
            // A slot that nothing is written to must not hold up the others.
            let resolving = async {
                let state = self.state_before(reservation).await?;
                Some(resolve(state).await)
            };
            let Some(resolved) = self.stages.wait(Stage::Resolve, 1, resolving).await else {
                self.give_up(reservation, nonce);
                continue;
            };
            let builder = match resolved {
                Ok(builder) => builder,
                Err(e) => {
                    self.give_up(reservation, nonce);
                    return Err(MetaError::Resolve(e));
                }
            };
            match self.put_and_commit(reservation, nonce, 1, || builder).await? {
                Applied::Void => {}
                applied => return Ok((reservation.slot, applied)),
            }
        }
        Err(MetaError::Refused(Refused::Full))
    }

    /// The state of everything before a slot, while the slot itself is undecided. `None` once it is decided without
    /// its owner, or its leader leads no more.
    async fn state_before(&self, reservation: Reservation) -> Option<Arc<State>> {
        const ASK_AGAIN: Duration = Duration::from_secs(1);
        loop {
            let mut states = self.meta.watch();
            let state = states.borrow_and_update().clone();
            if state.slot >= reservation.slot || state.epoch > reservation.epoch {
                return None;
            }
            if state.slot.next() == reservation.slot && state.epoch == reservation.epoch {
                return Some(state);
            }
            let changed = tokio::time::timeout(ASK_AGAIN, states.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                self.meta.read(Consistency::Eventual).await.ok()?;
            }
        }
    }

    /// The leader closes the slot as soon as the bucket allows it; nothing was or will be written to it from here.
    fn give_up(&self, reservation: Reservation, nonce: Nonce) {
        let meta = self.meta.clone();
        tokio::spawn(async move { meta.contest(reservation.slot, reservation.epoch, nonce).await });
    }

    async fn reserve(&self, slices: &[SliceRequest], writes: u64) -> Result<(Reservation, Nonce)> {
        self.stages.wait(Stage::Reserve, writes, self.slot_for(slices)).await
    }

    async fn slot_for(&self, slices: &[SliceRequest]) -> Result<(Reservation, Nonce)> {
        const PATIENCE: u32 = 200;
        let mut tries = 0;
        loop {
            let nonce = self.nonce();
            let node = *self.node.lock();
            let request = ReserveRequest { node, nonce, slices: slices.to_vec() };
            match self.meta.reserve(request).await {
                Ok(reservation) => return Ok((reservation, nonce)),
                Err(MetaError::Refused(Refused::Full)) if tries < PATIENCE => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(e) => return Err(e),
            }
        }
    }

    async fn put_and_commit(
        &self,
        reservation: Reservation,
        nonce: Nonce,
        writes: u64,
        build: impl FnOnce() -> ObjectBuilder + Send,
    ) -> Result<Applied> {
        let Reservation { slot, epoch } = reservation;
        let putting = async {
            let (bytes, batch) = build().finish(epoch, nonce);
            (self.put(slot, nonce, &bytes).await, bytes, batch)
        };
        let (put, bytes, batch) = self.stages.wait(Stage::Put, writes, putting).await;
        let decided = match put {
            Put::Done => self.meta.commit(slot, batch),
            Put::Unclear => self.meta.contest(slot, epoch, nonce),
            Put::Refused(e) => {
                self.give_up(reservation, nonce);
                return Err(e);
            }
        };
        let answer = self.stages.wait(Stage::Commit, writes, decided).await;
        let applied = answer.map_err(|error| {
            // The bytes are on their way: why the leader did not answer says nothing about what becomes of them.
            tracing::warn!(%error, %slot, "a write's outcome is not known");
            *self.node.lock() = NodeId(self.random.lock().next_u64());
            MetaError::Unknown(slot)
        })?;
        if matches!(applied, Applied::Committed { .. }) {
            self.cache.insert(slot, bytes);
        }
        Ok(applied)
    }

    async fn put(&self, slot: Slot, nonce: Nonce, bytes: &Bytes) -> Put {
        let key = keys::wal(slot);
        for attempt in 0..PUT_ATTEMPTS {
            let put = if self.rules.create_only() {
                self.store.put_new(&key, bytes.clone()).await
            } else {
                self.store.put(&key, bytes.clone()).await
            };
            match put {
                Ok(()) => return Put::Done,
                Err(e) if e.is_already_exists() || e.outcome_unknown() => {}
                Err(e) if attempt == 0 => return Put::Refused(e.into()),
                Err(_) => return Put::Unclear,
            }
            match self.store.get(&key).await {
                Ok(found) if holds(&found, nonce) => return Put::Done,
                Ok(_) => return Put::Unclear,
                Err(e) if e.is_not_found() || e.is_retryable() => {
                    tokio::time::sleep(Duration::from_millis(10 << attempt)).await;
                }
                Err(_) => return Put::Unclear,
            }
        }
        Put::Unclear
    }
}

fn holds(object: &Bytes, nonce: Nonce) -> bool {
    matches!(object::decode_object(object), Ok(lodestone_manifest::Record::Batch(b)) if b.nonce == nonce)
}
