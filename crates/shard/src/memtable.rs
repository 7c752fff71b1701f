//! The tail: what is in the log and not yet in a segment.

use std::sync::{Arc, OnceLock};

use imbl::OrdMap;
use lodestone_types::{Error, PointId, Result};
use lodestone_wal::{Delta, Op, RowVectors};

use crate::change::Change;
use crate::tail::{Patches, TailEntry, TailRow};
use crate::tail_vectors::TailVectors;

/// What a row costs beside its bytes, roughly: tree nodes, counters, lists.
const ROW_OVERHEAD: u64 = 160;

/// When a tail is due, and when it is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailOptions {
    /// Bytes from which it should be folded.
    pub fold_bytes: u64,
    /// Rows from which it should be folded.
    pub fold_rows: usize,
    /// Bytes from which writes have to wait.
    pub max_bytes: u64,
}

impl Default for TailOptions {
    fn default() -> Self {
        Self { fold_bytes: 16 << 20, fold_rows: 10_000, max_bytes: 256 << 20 }
    }
}

/// The operations of one shard with one LSN, in order.
#[derive(Debug, Clone)]
pub struct TailBatch {
    /// The slot they were written in.
    pub lsn: u64,
    /// What was written.
    pub ops: Vec<Op>,
    bytes: u64,
}

/// The tail of one shard as it was at one LSN. Never changes: [`Memtable::apply`] makes the next one, which
/// shares what did not change, so readers keep what they began with. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Memtable {
    entries: OrdMap<PointId, Arc<TailEntry>>,
    /// Kept, so that after a fold the tail is made anew from what came later.
    batches: imbl::Vector<Arc<TailBatch>>,
    folded: u64,
    lsn: u64,
    bytes: u64,
    /// Rows that operations changed rather than wrote.
    patches: usize,
    /// Gathered when first asked for.
    vectors: OnceLock<Arc<TailVectors>>,
    /// Those of an earlier tail, and its LSN.
    earlier_vectors: Option<(u64, Arc<TailVectors>)>,
}

impl Memtable {
    /// An empty tail on top of segments that hold everything up to `folded`.
    pub fn new(folded: u64) -> Self {
        Self { folded, lsn: folded, ..Self::default() }
    }

    /// This tail after the operations with the given LSN, which has to be greater than all before.
    pub fn apply(&self, lsn: u64, ops: Vec<Op>) -> Result<Self> {
        let bytes = ops.iter().map(op_bytes).sum();
        self.push(Arc::new(TailBatch { lsn, ops, bytes }))
    }

    /// The tail after everything up to `folded` went into segments.
    pub fn after_fold(&self, folded: u64) -> Result<Self> {
        let mut rest = Self::new(folded.max(self.folded));
        rest.earlier_vectors = self.known_vectors();
        for batch in self.batches.iter().filter(|batch| batch.lsn > rest.folded).cloned().collect::<Vec<_>>()
        {
            rest = rest.push(batch)?;
        }
        rest.lsn = rest.lsn.max(self.lsn);
        Ok(rest)
    }

    fn push(&self, batch: Arc<TailBatch>) -> Result<Self> {
        if batch.lsn <= self.lsn {
            return Err(Error::internal(format!(
                "the tail is at LSN {} and was given operations of LSN {}",
                self.lsn, batch.lsn
            )));
        }
        let mut next = self.clone();
        next.earlier_vectors = self.known_vectors();
        next.vectors = OnceLock::new();
        for op in &batch.ops {
            next.apply_op(batch.lsn, op)?;
        }
        next.lsn = batch.lsn;
        next.bytes += batch.bytes;
        next.batches.push_back(batch);
        Ok(next)
    }

    fn apply_op(&mut self, lsn: u64, op: &Op) -> Result<()> {
        match op {
            Op::Put(rows) => {
                for row in rows {
                    let entry = TailRow::new(lsn, row.vectors.clone(), row.payload.clone());
                    self.entries.insert(row.id, Arc::new(TailEntry::Row(entry)));
                }
            }
            Op::Delete(ids) => {
                let deleted = Arc::new(TailEntry::Deleted);
                for id in ids.as_slice() {
                    self.entries.insert(*id, deleted.clone());
                }
            }
            Op::Patch { ids, delta } => self.patch(lsn, ids.as_slice(), delta)?,
            Op::PutVectors(rows) => {
                for row in rows {
                    let change = Arc::new(Change::SetVectors(row.vectors.clone()));
                    self.patch_one(lsn, row.id, &change, None)?;
                }
            }
        }
        Ok(())
    }

    fn patch(&mut self, lsn: u64, ids: &[PointId], delta: &Delta) -> Result<()> {
        let change = Arc::new(Change::of(delta)?);
        // Thousands of ids with the same change and nothing before share one entry.
        let fresh = Arc::new(TailEntry::Patched(Patches { lsn, changes: vec![change.clone()] }));
        for id in ids {
            self.patch_one(lsn, *id, &change, Some(&fresh))?;
        }
        Ok(())
    }

    fn patch_one(
        &mut self,
        lsn: u64,
        id: PointId,
        change: &Arc<Change>,
        fresh: Option<&Arc<TailEntry>>,
    ) -> Result<()> {
        self.patches += 1;
        let entry = match (self.entries.get(&id), fresh) {
            (Some(entry), _) => match entry.changed(lsn, change)? {
                Some(entry) => {
                    if let TailEntry::Row(row) = &entry {
                        self.bytes += row.payload.len() as u64;
                    }
                    Arc::new(entry)
                }
                None => return Ok(()),
            },
            (None, Some(fresh)) => fresh.clone(),
            (None, None) => Arc::new(TailEntry::Patched(Patches { lsn, changes: vec![change.clone()] })),
        };
        self.entries.insert(id, entry);
        Ok(())
    }

    /// The LSN up to which everything is in segments.
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// The LSN of the last operation, or [`Memtable::folded`].
    pub fn lsn(&self) -> u64 {
        self.lsn
    }

    /// Points it knows something about.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the operations in it, and what keeping them costs.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it should be folded.
    pub fn is_due(&self, options: &TailOptions) -> bool {
        self.bytes >= options.fold_bytes || self.len() >= options.fold_rows
    }

    /// Whether writes have to wait until it was folded.
    pub fn is_full(&self, options: &TailOptions) -> bool {
        self.bytes >= options.max_bytes
    }

    /// What it knows about `id`.
    pub fn get(&self, id: PointId) -> Option<&Arc<TailEntry>> {
        self.entries.get(&id)
    }

    /// Whether it has all of the row of `id`, last changed at `lsn`.
    pub(crate) fn row_at(&self, id: PointId, lsn: u64) -> bool {
        matches!(self.get(id).map(|entry| &**entry), Some(TailEntry::Row(row)) if row.lsn == lsn)
    }

    /// The vectors of whole rows.
    pub(crate) fn vectors(&self) -> &TailVectors {
        self.vectors.get_or_init(|| {
            Arc::new(match &self.earlier_vectors {
                Some((lsn, earlier)) => earlier.after(*lsn, self),
                None => TailVectors::of(self),
            })
        })
    }

    /// How many times rows were changed rather than written.
    pub(crate) fn patches(&self) -> usize {
        self.patches
    }

    /// Rows whose vectors have yet to be gathered, of which more than `enough` are not counted.
    pub(crate) fn unseen_rows(&self, enough: usize) -> usize {
        match (self.vectors.get(), &self.earlier_vectors) {
            (Some(_), _) => 0,
            (None, Some((lsn, earlier))) => {
                let fresh = self.ids_after(*lsn).take(enough + 1).count();
                if earlier.is_outworn(self, fresh) { self.len() } else { fresh }
            }
            (None, None) => self.len(),
        }
    }

    fn known_vectors(&self) -> Option<(u64, Arc<TailVectors>)> {
        let known = self.vectors.get().map(|vectors| (self.lsn, vectors.clone()));
        known.or_else(|| self.earlier_vectors.clone())
    }

    /// All it knows, by id.
    pub fn iter(&self) -> impl Iterator<Item = (PointId, &Arc<TailEntry>)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// What it knows about `from` and later ids.
    pub fn iter_from(&self, from: Option<PointId>) -> impl Iterator<Item = (PointId, &Arc<TailEntry>)> {
        let from = from.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Included);
        self.entries.range((from, std::ops::Bound::Unbounded)).map(|(id, entry)| (*id, entry))
    }

    /// The operations in it.
    pub fn batches(&self) -> impl Iterator<Item = &Arc<TailBatch>> {
        self.batches.iter()
    }

    /// The ids that operations after `lsn` wrote, some perhaps more than once.
    pub fn ids_after(&self, lsn: u64) -> impl Iterator<Item = PointId> {
        let later = self.batches.iter().rev().take_while(move |batch| batch.lsn > lsn);
        later.flat_map(|batch| &batch.ops).flat_map(op_ids)
    }
}

fn op_ids(op: &Op) -> Box<dyn Iterator<Item = PointId> + '_> {
    match op {
        Op::Put(rows) => Box::new(rows.iter().map(|row| row.id)),
        Op::Delete(ids) | Op::Patch { ids, .. } => Box::new(ids.as_slice().iter().copied()),
        Op::PutVectors(rows) => Box::new(rows.iter().map(|row| row.id)),
    }
}

fn op_bytes(op: &Op) -> u64 {
    let vectors = |vectors: &RowVectors| -> u64 { vectors.iter().map(|(_, v)| v.len() as u64 + 64).sum() };
    let data: u64 = match op {
        Op::Put(rows) => rows.iter().map(|row| vectors(&row.vectors) + row.payload.len() as u64).sum(),
        Op::PutVectors(rows) => rows.iter().map(|row| vectors(&row.vectors)).sum(),
        Op::Delete(_) => 0,
        Op::Patch { delta: Delta::SetPayload { payload, .. } | Delta::OverwritePayload(payload), .. } => {
            payload.len() as u64
        }
        Op::Patch { .. } => 64,
    };
    data + op.rows() * ROW_OVERHEAD
}
