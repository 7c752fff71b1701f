//! Which slots are reserved, and which is decided next: the leader's own bookkeeping, pure.
//!
//! ```text
//! reserve ──▶ Reserved ──written──▶ Written ─┐
//!                │                           ├─▶ taken in the order of slots ──▶ State::apply
//!                └────────resolved───────────┘
//! ```
//!
//! Nothing here is durable: a new leader starts at the first free slot the bucket shows.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::{Epoch, NodeId, Nonce, ShardId, Slot};

/// What an ingest node asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReserveRequest {
    /// Who asks.
    pub node: NodeId,
    /// Its mark for this attempt.
    pub nonce: Nonce,
    /// What it is going to write.
    pub slices: Vec<SliceRequest>,
}

/// One shard that a reservation writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceRequest {
    /// Which.
    pub shard: ShardId,
    /// For operations computed from a read: refuse if another node has reserved here after this slot.
    pub unless_reserved_since: Option<Slot>,
}

/// A slot that belongs to one attempt of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The slot; also the LSN of what is written there.
    pub slot: Slot,
    /// The epoch to write into the object.
    pub epoch: Epoch,
}

/// Why a reservation was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refused {
    /// Another node has reserved in the shard: read again and resolve anew.
    #[error("another node has written to the shard since it was read")]
    Contended(ShardId),
    /// Too many slots are undecided.
    #[error("too many writes are under way")]
    Full,
}

#[derive(Debug)]
struct Pending {
    nonce: Nonce,
    since: Duration,
    record: Option<Record>,
}

/// See the module.
#[derive(Debug)]
pub struct Sequencer {
    epoch: Epoch,
    next: Slot,
    limit: usize,
    pending: BTreeMap<Slot, Pending>,
    // The last slot reserved per shard and by whom; entries at or below the decided slot say nothing that
    // a reader of the decided state does not know, except who wrote it.
    last: HashMap<ShardId, (Slot, NodeId, Slot)>,
    // Of reservations up to here nothing is known: anybody may have made them.
    floor: Slot,
}

impl Sequencer {
    /// A new leader's: `next` is the first free slot, `limit` how many may be undecided at once.
    pub fn new(epoch: Epoch, next: Slot, limit: usize) -> Self {
        let floor = Slot(next.0.saturating_sub(1));
        Self { epoch, next, limit, pending: BTreeMap::new(), last: HashMap::new(), floor }
    }

    /// The slot the next reservation gets.
    pub fn next_slot(&self) -> Slot {
        self.next
    }

    /// How many slots are undecided.
    pub fn undecided(&self) -> usize {
        self.pending.len()
    }

    /// Reserves the next slot.
    pub fn reserve(&mut self, now: Duration, request: &ReserveRequest) -> Result<Reservation, Refused> {
        if self.pending.len() >= self.limit {
            return Err(Refused::Full);
        }
        for slice in &request.slices {
            if let Some(since) = slice.unless_reserved_since
                && self.reserved_by_other(slice.shard, request.node) > since
            {
                return Err(Refused::Contended(slice.shard));
            }
        }
        let slot = self.next;
        self.next = slot.next();
        for slice in &request.slices {
            self.remember(slice.shard, request.node, slot);
        }
        self.pending.insert(slot, Pending { nonce: request.nonce, since: now, record: None });
        Ok(Reservation { slot, epoch: self.epoch })
    }

    fn reserved_by_other(&self, shard: ShardId, node: NodeId) -> Slot {
        match self.last.get(&shard) {
            Some((slot, by, _)) if *by != node => *slot,
            Some((_, _, other)) => *other,
            None => self.floor,
        }
    }

    fn remember(&mut self, shard: ShardId, node: NodeId, slot: Slot) {
        let other = self.reserved_by_other(shard, node);
        self.last.insert(shard, (slot, node, other));
    }

    /// Whether `slot` is reserved with this nonce and undecided.
    pub fn is_pending(&self, slot: Slot, nonce: Nonce) -> bool {
        self.pending.get(&slot).is_some_and(|p| p.nonce == nonce)
    }

    /// The nonce with which `slot` was reserved, if it is undecided.
    pub fn nonce(&self, slot: Slot) -> Option<Nonce> {
        self.pending.get(&slot).map(|p| p.nonce)
    }

    /// The content of `slot` is known. The first to say so wins; `false` if the slot is not pending.
    pub fn resolve(&mut self, slot: Slot, record: Record) -> bool {
        let Some(pending) = self.pending.get_mut(&slot) else { return false };
        pending.record.get_or_insert(record);
        true
    }

    /// Whether the content of `slot` is still unknown.
    pub fn is_unresolved(&self, slot: Slot) -> bool {
        self.pending.get(&slot).is_some_and(|p| p.record.is_none())
    }

    /// Takes the next slot in order, if its content is known.
    pub fn take_decided(&mut self) -> Option<(Slot, Record)> {
        let entry = self.pending.first_entry()?;
        entry.get().record.as_ref()?;
        let (slot, pending) = entry.remove_entry();
        pending.record.map(|record| (slot, record))
    }

    /// The first undecided slot, if its owner has been silent for `patience`.
    pub fn overdue(&self, now: Duration, patience: Duration) -> Option<Slot> {
        let (slot, pending) = self.pending.first_key_value()?;
        (pending.record.is_none() && now.saturating_sub(pending.since) >= patience).then_some(*slot)
    }

    /// Forgets who reserved where, for shards whose reservations are all decided at `state_slot` and older than
    /// `keep` slots: bounds memory.
    pub fn forget(&mut self, state_slot: Slot, keep: u64) {
        let floor = state_slot.0.saturating_sub(keep);
        self.last.retain(|_, (slot, _, _)| slot.0 > floor);
        self.floor = self.floor.max(Slot(floor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(node: u64, shard: u64, since: Option<u64>) -> ReserveRequest {
        ReserveRequest {
            node: NodeId(node),
            nonce: Nonce(7),
            slices: vec![SliceRequest { shard: ShardId(shard), unless_reserved_since: since.map(Slot) }],
        }
    }

    #[test]
    fn decides_in_the_order_of_slots() {
        let mut s = Sequencer::new(Epoch(1), Slot(5), 8);
        let now = Duration::ZERO;
        assert_eq!(s.reserve(now, &request(1, 1, None)).unwrap().slot, Slot(5));
        assert_eq!(s.reserve(now, &request(1, 1, None)).unwrap().slot, Slot(6));
        assert!(s.resolve(Slot(6), Record::Void));
        assert_eq!(s.take_decided(), None);
        assert!(s.resolve(Slot(5), Record::Void));
        assert_eq!(s.take_decided(), Some((Slot(5), Record::Void)));
        assert_eq!(s.take_decided(), Some((Slot(6), Record::Void)));
        assert!(!s.resolve(Slot(5), Record::Void));
    }

    #[test]
    fn refuses_what_another_node_has_overtaken() {
        let mut s = Sequencer::new(Epoch(1), Slot(1), 8);
        s.reserve(Duration::ZERO, &request(1, 9, None)).unwrap();
        s.reserve(Duration::ZERO, &request(2, 9, None)).unwrap();
        // Node 2 wrote slot 2 itself; node 1's slot 1 counts against it.
        assert_eq!(s.reserve(Duration::ZERO, &request(2, 9, Some(0))), Err(Refused::Contended(ShardId(9))));
        assert!(s.reserve(Duration::ZERO, &request(2, 9, Some(1))).is_ok());
        assert_eq!(s.reserve(Duration::ZERO, &request(1, 9, Some(1))), Err(Refused::Contended(ShardId(9))));
    }

    #[test]
    fn refuses_what_was_read_before_its_own_time() {
        let mut s = Sequencer::new(Epoch(2), Slot(8), 8);
        // Slots 5 to 7 were reserved under an earlier leader, nobody here knows by whom.
        assert_eq!(s.reserve(Duration::ZERO, &request(1, 9, Some(4))), Err(Refused::Contended(ShardId(9))));
        assert_eq!(s.reserve(Duration::ZERO, &request(1, 9, Some(7))).unwrap().slot, Slot(8));
        s.forget(Slot(20), 2);
        assert_eq!(s.reserve(Duration::ZERO, &request(1, 9, Some(17))), Err(Refused::Contended(ShardId(9))));
    }

    #[test]
    fn bounds_what_is_undecided() {
        let mut s = Sequencer::new(Epoch(1), Slot(1), 1);
        s.reserve(Duration::ZERO, &request(1, 9, None)).unwrap();
        assert_eq!(s.reserve(Duration::ZERO, &request(1, 9, None)), Err(Refused::Full));
        assert_eq!(s.overdue(Duration::from_secs(4), Duration::from_secs(5)), None);
        assert_eq!(s.overdue(Duration::from_secs(5), Duration::from_secs(5)), Some(Slot(1)));
    }
}
