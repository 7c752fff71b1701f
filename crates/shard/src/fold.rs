//! What becomes of the tail when it is folded: rows for a new segment, and rows that old segments lose.

use bytes::Bytes;
use lodestone_segment::{PartKind, SegmentId};
use lodestone_types::{PointId, Result};
use lodestone_wal::RowVectors;
use roaring::RoaringBitmap;

use crate::cancel::Cancel;
use crate::change::payload_text;
use crate::rows::RowReader;
use crate::tail::TailEntry;
use crate::view::{Found, Place, ShardView};

/// How often folding asks whether it should stop.
const CHECK_EVERY: usize = 1024;

/// The tail of a view, resolved against its segments.
#[derive(Debug)]
pub struct Fold {
    /// Everything up to here is in `rows` or was deleted; the tail goes on after it.
    pub lsn: u64,
    /// By id.
    pub rows: Vec<FoldedRow>,
    /// For each segment that loses rows, all its deleted rows: those it had lost before too.
    pub deletes: Vec<(SegmentId, RoaringBitmap)>,
}

/// A row as it goes into a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldedRow {
    /// Its point.
    pub id: PointId,
    /// Of its last change.
    pub lsn: u64,
    /// In their stored form. Only vectors the collection has.
    pub vectors: RowVectors,
    /// JSON text; nothing is an empty object.
    pub payload: Bytes,
}

impl ShardView {
    /// Folds the whole tail. Needs [`ShardView::load_for_fold`]. Segments and tail together stay what they were: a
    /// view of the new segment, the old ones with these deletes, and [`Memtable::after_fold`] of `lsn`
    /// answers as this one does.
    ///
    /// [`Memtable::after_fold`]: crate::Memtable::after_fold
    pub fn fold(&self, cancel: &Cancel) -> Result<Fold> {
        let rows = self.folded_rows(cancel)?.collect::<Result<_>>()?;
        Ok(Fold { lsn: self.lsn(), rows, deletes: self.folded_deletes()? })
    }

    /// The rows of a fold by id, each made when it is asked for: a small tail may change many large rows.
    pub fn folded_rows<'a>(
        &'a self,
        cancel: &'a Cancel,
    ) -> Result<impl Iterator<Item = Result<FoldedRow>> + 'a> {
        let mut overlaid = self.overlaid()?;
        overlaid.sort_unstable_by_key(|found| found.id);
        let mut reader = RowReader::new(self);
        Ok(overlaid.into_iter().enumerate().map(move |(at, found)| {
            if at % CHECK_EVERY == 0 {
                cancel.check()?;
            }
            self.folded_row(&mut reader, found)
        }))
    }

    /// For each segment that loses rows by a fold, all its deleted rows.
    pub fn folded_deletes(&self) -> Result<Vec<(SegmentId, RoaringBitmap)>> {
        let mut deletes = Vec::new();
        for segment in 0..self.segment_count() {
            let segment_reader = self.reader(segment);
            let superseded = self.overlay(segment)?.superseded_rows(segment_reader)?;
            if !superseded.is_empty() {
                deletes.push((segment_reader.meta().id, superseded | segment_reader.deletes()?));
            }
        }
        Ok(deletes)
    }

    fn folded_row(&self, reader: &mut RowReader, found: Found) -> Result<FoldedRow> {
        let payload = match (found.place, self.memtable().get(found.id).map(|entry| &**entry)) {
            (Place::Tail, Some(TailEntry::Row(row))) => row.payload.clone(),
            _ => payload_text(&reader.payload(found)?)?,
        };
        let mut vectors = RowVectors::new();
        for name in self.schema().vectors().keys() {
            if let Some(bytes) = reader.vector(found, name)? {
                vectors.push((name.as_str().into(), bytes));
            }
        }
        Ok(FoldedRow { id: found.id, lsn: reader.version(found)?, vectors, payload })
    }

    /// What [`ShardView::fold`] needs: ids and deletes, and all of the segments whose rows the tail changes.
    pub async fn load_for_fold(&self) -> Result<()> {
        self.load_masks().await?;
        let mut kinds: Vec<PartKind> =
            self.schema().vectors().keys().cloned().map(PartKind::Vector).collect();
        kinds.push(PartKind::Payload);
        let mut loading = Vec::new();
        for segment in 0..self.segment_count() {
            if !self.overlay(segment)?.patched_rows(self.reader(segment))?.is_empty() {
                loading.push(self.reader(segment).load(&kinds));
            }
        }
        futures::future::try_join_all(loading).await?;
        Ok(())
    }
}
