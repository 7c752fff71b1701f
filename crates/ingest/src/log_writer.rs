//! One object into one slot, whatever the bucket answers (rules 3, 4 and 14).
//!
//! Only the leader decides what became of a slot. This side reads a slot to learn whether its own bytes are there,
//! and writes again only what it has written before, or what the leader has declared void.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lodestone_manifest::{Applied, Batch, NodeId, Nonce, Reservation, ReserveRequest, SliceRequest, Slot, State};
use lodestone_meta::{Meta, MetaError, Result, Rules};
use lodestone_store::Store;
use lodestone_wal::{ObjectBuilder, SlotCache, keys, object};
use parking_lot::Mutex;
use rand::RngCore;

/// Puts objects into slots.
pub struct LogWriter {
    meta: Arc<dyn Meta>,
    store: Arc<dyn Store>,
    node: NodeId,
    cache: Arc<SlotCache>,
    random: Mutex<Box<dyn RngCore + Send>>,
    rules: Rules,
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter").field("node", &self.node).finish_non_exhaustive()
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
        Arc::new(Self { meta, store, node, cache, random: Mutex::new(random), rules })
    }

    /// The meta group it writes through.
    pub fn meta(&self) -> &Arc<dyn Meta> {
        &self.meta
    }

    /// The bucket it writes to.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn nonce(&self) -> Nonce {
        let mut random = self.random.lock();
        Nonce(u128::from(random.next_u64()) << 64 | u128::from(random.next_u64()))
    }

    /// Writes what `fill` puts into a builder, in one slot, and returns the slot and what became of it. A void slot is
    /// tried again in another.
    pub async fn write(
        &self,
        slices: &[SliceRequest],
        fill: impl Fn(&mut ObjectBuilder) + Send + Sync,
    ) -> Result<(Slot, Applied)> {
        let mut last = MetaError::Stopping;
        for _ in 0..SLOT_ATTEMPTS {
            let (reservation, nonce) = self.reserve(slices).await?;
            let mut builder = ObjectBuilder::default();
            fill(&mut builder);
            let (bytes, batch) = builder.finish(reservation.epoch, nonce);
            match self.put_and_commit(reservation.slot, nonce, bytes, batch).await {
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
            let (reservation, nonce) = self.reserve(slices).await?;
            let built = async { resolve(self.state_before(reservation.slot).await?).await.map_err(Failed::Resolve) };
            match built.await {
                Ok(builder) => {
                    let (bytes, batch) = builder.finish(reservation.epoch, nonce);
                    match self.put_and_commit(reservation.slot, nonce, bytes, batch).await? {
                        Applied::Void => {}
                        applied => return Ok((reservation.slot, applied)),
                    }
                }
                Err(failed) => {
                    // The slot must not hold up the others; nothing was or will be written to it.
                    let _ = self.meta.contest(reservation.slot, reservation.epoch, nonce).await;
                    return Err(failed.into());
                }
            }
        }
        Err(MetaError::Stopping)
    }

    async fn state_before(&self, slot: Slot) -> Result<Arc<State>, Failed> {
        let mut states = self.meta.watch();
        loop {
            let state = states.borrow_and_update().clone();
            if state.slot.next() == slot {
                return Ok(state);
            }
            if state.slot >= slot || states.changed().await.is_err() {
                return Err(Failed::Meta(MetaError::Unknown(slot)));
            }
        }
    }

    async fn reserve(&self, slices: &[SliceRequest]) -> Result<(Reservation, Nonce)> {
        const PATIENCE: u32 = 200;
        let mut tries = 0;
        loop {
            let nonce = self.nonce();
            let request = ReserveRequest { node: self.node, nonce, slices: slices.to_vec() };
            match self.meta.reserve(request).await {
                Ok(reservation) => return Ok((reservation, nonce)),
                Err(MetaError::Refused(lodestone_manifest::Refused::Full)) if tries < PATIENCE => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(e) => return Err(e),
            }
        }
    }

    async fn put_and_commit(&self, slot: Slot, nonce: Nonce, bytes: Bytes, batch: Batch) -> Result<Applied> {
        let epoch = batch.epoch;
        let applied = match self.put(slot, nonce, &bytes).await {
            Put::Done => self.meta.commit(slot, batch).await?,
            Put::Unclear => self.meta.contest(slot, epoch, nonce).await?,
            Put::Refused(e) => {
                // Nothing was written. The leader closes the slot as soon as the bucket allows it.
                let meta = self.meta.clone();
                tokio::spawn(async move { meta.contest(slot, epoch, nonce).await });
                return Err(e);
            }
        };
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

/// Why a resolved write did not come about.
enum Failed {
    Meta(MetaError),
    Resolve(lodestone_types::Error),
}

impl From<Failed> for MetaError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Meta(e) => e,
            Failed::Resolve(e) => MetaError::Resolve(e),
        }
    }
}
