//! The state and its transition.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use lodestone_types::{CollectionConfig, FieldIndex, JsonPath};
use serde::{Deserialize, Serialize};

use crate::catalog::{self, CatalogError};
use crate::record::{Batch, Record, Rewrite, SegmentEntry, SliceHeader, SystemOp};
use crate::{CollectionId, Epoch, ShardId, Slot, Tail};

/// Everything that is true after a slot. Cloning is cheap: clones share what did not change.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// The last slot applied; 0 before the first.
    pub slot: Slot,
    /// The epoch of the last claim record; 0 before the first.
    pub epoch: Epoch,
    /// Whether the leader of `epoch` has left a release record.
    pub released: bool,
    /// The id the next collection gets.
    pub next_collection: CollectionId,
    /// By id.
    pub collections: OrdMap<CollectionId, Arc<Collection>>,
    /// Ids by name.
    pub names: OrdMap<String, CollectionId>,
    /// Ids by alias.
    pub aliases: OrdMap<String, CollectionId>,
    /// By id.
    pub shards: OrdMap<ShardId, Arc<Shard>>,
    /// Slots whose objects some shard's tail still needs, with the number of slices that do.
    pub tail: OrdMap<Slot, u32>,
    /// Slots whose objects stay for ever: claim records, and those of deposed leaders.
    pub kept: OrdSet<Slot>,
    /// Collections that processes keep near.
    pub pinned: OrdSet<CollectionId>,
}

/// A collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// Never reused.
    pub id: CollectionId,
    /// Unique among names and aliases.
    pub name: String,
    /// Settings; collections with the same share them, as far as that is easily seen.
    pub config: Arc<CollectionConfig>,
    /// Payload indexes; each with the slot that made it, which tells it from an earlier one of the same name.
    pub fields: OrdMap<JsonPath, (FieldIndex, Slot)>,
}

impl Collection {
    /// The ids of its shards, in order.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        let id = self.id;
        (0..self.config.params.shard_number).map(move |i| ShardId::new(id, i as u16))
    }
}

/// A shard's manifest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Shard {
    /// The last slot with a slice for this shard.
    pub lsn: Slot,
    /// Slices up to this slot are in the segments; later ones are the tail.
    pub folded: Slot,
    /// Rows of the tail's slices.
    pub tail_rows: u64,
    /// Bytes of the tail's slices.
    pub tail_bytes: u64,
    /// In the order they came.
    pub segments: Vec<SegmentEntry>,
    /// In the order of the log.
    pub tail: Tail,
}

/// One slice of a shard's tail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailRange {
    /// The slot that holds or names it.
    pub slot: Slot,
    /// Where its bytes are.
    pub slice: SliceHeader,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Applied {
    /// It counts. Outcomes per slice (whether its collection was still there) and per system operation.
    Committed {
        /// In the order of [`Batch::slices`].
        slices: Vec<bool>,
        /// In the order of [`Batch::system`].
        system: Vec<Result<OpOutcome, CatalogError>>,
    },
    /// It counts for nothing.
    Void,
    /// A claim or release took effect.
    Epoch,
}

/// What a system operation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpOutcome {
    /// It took effect.
    Done,
    /// A collection came to be.
    Created(CollectionId),
}

impl State {
    /// The collection called `name`, by its own name or an alias.
    pub fn collection(&self, name: &str) -> Option<&Arc<Collection>> {
        let id = self.names.get(name).or_else(|| self.aliases.get(name))?;
        self.collections.get(id)
    }

    /// Applies the record of slot `self.slot + 1`.
    ///
    /// A batch of another epoch than the last claim's is void, and its slot is kept: its late writer may
    /// still send copies, which must find the place taken.
    pub fn apply(&mut self, record: &Record) -> Applied {
        self.slot = self.slot.next();
        match record {
            Record::Void => Applied::Void,
            Record::Claim(claim) => {
                self.kept.insert(self.slot);
                if claim.epoch <= self.epoch {
                    return Applied::Void;
                }
                self.epoch = claim.epoch;
                self.released = false;
                Applied::Epoch
            }
            Record::Release { epoch } => {
                if *epoch != self.epoch {
                    self.kept.insert(self.slot);
                    return Applied::Void;
                }
                self.released = true;
                Applied::Epoch
            }
            Record::Batch(batch) if batch.epoch != self.epoch => {
                self.kept.insert(self.slot);
                Applied::Void
            }
            Record::Batch(batch) => self.apply_batch(batch),
        }
    }

    fn apply_batch(&mut self, batch: &Batch) -> Applied {
        let slices = batch.slices.iter().map(|slice| self.append(slice)).collect();
        let system = batch.system.iter().map(|op| self.apply_system(op)).collect();
        Applied::Committed { slices, system }
    }

    fn append(&mut self, slice: &SliceHeader) -> bool {
        let slot = self.slot;
        let Some(shard) = self.shards.get_mut(&slice.shard) else { return false };
        let shard = Arc::make_mut(shard);
        shard.lsn = slot;
        shard.tail_rows += slice.rows;
        shard.tail_bytes += slice.len;
        shard.tail.push_back(TailRange { slot, slice: slice.clone() });
        *self.tail.entry(slot).or_default() += 1;
        true
    }

    fn apply_system(&mut self, op: &SystemOp) -> Result<OpOutcome, CatalogError> {
        match op {
            SystemOp::Rewrite(rewrite) => self.rewrite(rewrite).map(|()| OpOutcome::Done),
            other => catalog::apply(self, other),
        }
    }

    fn rewrite(&mut self, rewrite: &Rewrite) -> Result<(), CatalogError> {
        if rewrite.epoch != self.epoch {
            return Err(CatalogError::Stale("the job ran under an earlier leader".into()));
        }
        let shard = self.shards.get(&rewrite.shard).ok_or(CatalogError::NoCollection)?;
        for (id, revision) in &rewrite.read {
            if !shard.segments.iter().any(|s| s.id == *id && s.revision == *revision) {
                return Err(CatalogError::Stale("a segment the job read has changed".into()));
            }
        }
        if let Some((from, to)) = rewrite.fold
            && (shard.folded != from || to > self.slot)
        {
            return Err(CatalogError::Stale("the tail the job read has been folded".into()));
        }
        let mut shard = Shard::clone(shard);
        shard.segments.retain(|s| !rewrite.remove.contains(&s.id));
        for entry in &rewrite.put {
            match shard.segments.iter_mut().find(|s| s.id == entry.id) {
                Some(old) => *old = entry.clone(),
                None => shard.segments.push(entry.clone()),
            }
        }
        if let Some((_, to)) = rewrite.fold {
            self.drop_tail(&mut shard, to);
        }
        self.shards.insert(rewrite.shard, Arc::new(shard));
        Ok(())
    }

    /// Forgets the tail of `shard` up to `to`.
    fn drop_tail(&mut self, shard: &mut Shard, to: Slot) {
        while let Some(range) = shard.tail.front()
            && range.slot <= to
        {
            shard.tail_rows -= range.slice.rows;
            shard.tail_bytes -= range.slice.len;
            self.release_slot(range.slot);
            shard.tail.pop_front();
        }
        shard.folded = shard.folded.max(to);
    }

    fn release_slot(&mut self, slot: Slot) {
        match self.tail.get_mut(&slot) {
            Some(uses) if *uses > 1 => *uses -= 1,
            _ => drop(self.tail.remove(&slot)),
        }
    }

    /// Removes a shard with its tail and segments.
    pub(crate) fn drop_shard(&mut self, id: ShardId) {
        let Some(shard) = self.shards.remove(&id) else { return };
        for range in &shard.tail {
            self.release_slot(range.slot);
        }
    }

    /// Every object below `parts/` that this state names.
    pub fn objects(&self) -> impl Iterator<Item = &str> {
        self.shards.values().flat_map(|shard| {
            let parts = shard.segments.iter().flat_map(|s| &s.objects);
            let sides = shard.tail.iter().filter_map(|r| r.slice.side.as_ref());
            parts.chain(sides).map(String::as_str)
        })
    }
}
