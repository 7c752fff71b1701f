//! Which rows of a segment the tail has written over.

use lodestone_segment::SegmentReader;
use lodestone_types::{PointId, Result};
use roaring::RoaringBitmap;

use crate::memtable::Memtable;
use crate::tail::TailEntry;

/// The rows of one segment whose ids the tail knows something about. Deleted rows of the segment may be among
/// them; they count nowhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overlay {
    /// They must not be read as they are.
    masked: RoaringBitmap,
    /// Those of them that are read with changes.
    patched: RoaringBitmap,
}

impl Overlay {
    /// The overlay of the whole tail.
    pub fn new(segment: &SegmentReader, memtable: &Memtable) -> Result<Self> {
        let mut overlay = Self::default();
        if !memtable.is_empty() {
            overlay.update(segment, memtable, memtable.iter().map(|(id, _)| id))?;
        }
        Ok(overlay)
    }

    /// This overlay after operations wrote `ids`.
    pub fn after(
        &self,
        segment: &SegmentReader,
        memtable: &Memtable,
        ids: impl Iterator<Item = PointId>,
    ) -> Result<Self> {
        let mut overlay = self.clone();
        overlay.update(segment, memtable, ids)?;
        Ok(overlay)
    }

    fn update(
        &mut self,
        segment: &SegmentReader,
        memtable: &Memtable,
        ids: impl Iterator<Item = PointId>,
    ) -> Result<()> {
        let column = segment.ids()?;
        for id in ids {
            let (Some(entry), Some(row)) = (memtable.get(id), column.find(id)) else { continue };
            self.masked.insert(row);
            if matches!(**entry, TailEntry::Patched(_)) {
                self.patched.insert(row);
            } else {
                self.patched.remove(row);
            }
        }
        Ok(())
    }

    /// The rows to be read as they are.
    pub fn plain_rows(&self, segment: &SegmentReader) -> Result<RoaringBitmap> {
        let mut rows = RoaringBitmap::new();
        rows.insert_range(0..segment.rows());
        rows -= segment.deletes()?;
        rows -= &self.masked;
        Ok(rows)
    }

    /// The rows to be read with changes.
    pub fn patched_rows(&self, segment: &SegmentReader) -> Result<RoaringBitmap> {
        Ok(&self.patched - segment.deletes()?)
    }

    /// The rows that are not to be read as they are, and are not deleted in the segment itself: what a fold of the
    /// tail deletes there.
    pub fn superseded_rows(&self, segment: &SegmentReader) -> Result<RoaringBitmap> {
        Ok(&self.masked - segment.deletes()?)
    }
}
