//! How many values each row has and what became of them, whatever the kind of the index.
//!
//! Every row holds none, one or many values by Qdrant's way of counting (a path through `[]` counts in several
//! places, and then a row can be in several of the three). That answers `is_empty`, `is_null` and most
//! `values_count` without a payload.

use bytes::Bytes;
use lodestone_types::{Predicate, Result, ValuesCount};
use roaring::RoaringBitmap;

use super::Taken;
use super::section::{Blob, Section, SectionWriter};
use crate::codec::{bitmap_bytes, read_bitmap};
use crate::matches::Matches;

#[derive(Debug, Default)]
pub(super) struct PresenceBuilder {
    rows: u32,
    none: RoaringBitmap,
    one: RoaringBitmap,
    many: RoaringBitmap,
    null: RoaringBitmap,
    held: RoaringBitmap,
    loose: RoaringBitmap,
    foreign: RoaringBitmap,
}

impl PresenceBuilder {
    pub(super) fn add_counts(&mut self, row: u32, counts: &[u64], is_null: bool) {
        self.rows = self.rows.max(row.saturating_add(1));
        for count in counts {
            match count {
                0 => self.none.insert(row),
                1 => self.one.insert(row),
                _ => self.many.insert(row),
            };
        }
        if is_null {
            self.null.insert(row);
        }
    }

    pub(super) fn add_value(&mut self, row: u32, taken: Taken) {
        match taken {
            Taken::Held => self.held.insert(row),
            Taken::Loose => self.loose.insert(row),
            Taken::Foreign => self.foreign.insert(row),
        };
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    pub(super) fn finish(self, writer: &mut SectionWriter) {
        writer.put(Blob::CountNone, bitmap_bytes(self.none));
        writer.put(Blob::CountOne, bitmap_bytes(self.one));
        writer.put(Blob::CountMany, bitmap_bytes(self.many));
        writer.put(Blob::Null, bitmap_bytes(self.null));
        writer.put(Blob::Held, bitmap_bytes(self.held));
        writer.put(Blob::Loose, bitmap_bytes(self.loose));
        writer.put(Blob::Foreign, bitmap_bytes(self.foreign));
    }
}

#[derive(Debug, Clone)]
pub(super) struct Presence {
    none: Bytes,
    one: Bytes,
    many: Bytes,
    null: Bytes,
    held: Bytes,
    loose: Bytes,
    foreign: Bytes,
}

impl Presence {
    pub(super) fn open(section: &Section) -> Result<Self> {
        Ok(Self {
            none: section.get(Blob::CountNone)?,
            one: section.get(Blob::CountOne)?,
            many: section.get(Blob::CountMany)?,
            null: section.get(Blob::Null)?,
            held: section.get(Blob::Held)?,
            loose: section.get(Blob::Loose)?,
            foreign: section.get(Blob::Foreign)?,
        })
    }

    /// Rows with a value that is in the index.
    pub(super) fn held(&self) -> Result<RoaringBitmap> {
        read_bitmap(&self.held)
    }

    /// Rows with a value that is not in the index and that its predicates may match.
    pub(super) fn loose(&self) -> Result<RoaringBitmap> {
        read_bitmap(&self.loose)
    }

    /// Rows with a value that is not in the index and that its predicates cannot match.
    pub(super) fn foreign(&self) -> Result<RoaringBitmap> {
        read_bitmap(&self.foreign)
    }

    /// Rows with a value that is not in the index.
    pub(super) fn not_held(&self) -> Result<RoaringBitmap> {
        Ok(self.loose()? | self.foreign()?)
    }

    /// Rows that match a predicate on the number of values; `None` for other predicates.
    pub(super) fn rows(&self, predicate: &Predicate) -> Result<Option<Matches>> {
        Ok(Some(match predicate {
            Predicate::IsEmpty(true) => Matches::exact(read_bitmap(&self.none)? - self.not_empty()?),
            Predicate::IsEmpty(false) => Matches::exact(self.not_empty()?),
            Predicate::IsNull(true) => Matches::exact(read_bitmap(&self.null)?),
            Predicate::IsNull(false) => {
                let all = read_bitmap(&self.none)? | self.not_empty()?;
                Matches::exact(all - read_bitmap(&self.null)?)
            }
            Predicate::ValuesCount(range) => self.counted(range)?,
            _ => return Ok(None),
        }))
    }

    fn not_empty(&self) -> Result<RoaringBitmap> {
        Ok(read_bitmap(&self.one)? | read_bitmap(&self.many)?)
    }

    fn counted(&self, range: &ValuesCount) -> Result<Matches> {
        let mut certain = RoaringBitmap::new();
        if range.contains(0) {
            certain |= read_bitmap(&self.none)?;
        }
        if range.contains(1) {
            certain |= read_bitmap(&self.one)?;
        }
        // How many "many" are is not known.
        let admits_all = range.contains(2) && range.contains(u64::MAX);
        let admits_none = range.lt.is_some_and(|n| n <= 2)
            || range.lte.is_some_and(|n| n < 2)
            || range.gt == Some(u64::MAX);
        if admits_none {
            return Ok(Matches::exact(certain));
        }
        let many = read_bitmap(&self.many)?;
        if admits_all {
            return Ok(Matches::exact(certain | many));
        }
        Ok(Matches::with_perhaps(certain, many))
    }
}
