//! A shard at one LSN.

use std::sync::{Arc, OnceLock};

use lodestone_segment::SegmentReader;
use lodestone_types::{PointId, Result};
use lodestone_wal::Op;
use roaring::RoaringBitmap;

use crate::allowance::Refused;
use crate::memtable::Memtable;
use crate::overlay::Overlay;
use crate::schema::ShardSchema;
use crate::tail::TailEntry;

/// What a shard holds at one LSN: the rows of its segments, and over them the tail.
///
/// A point is in at most one segment without being deleted there, and what the tail knows about a point is
/// newer than any segment. So a point's row is, in this order: none, if the tail deleted it; the tail's, if
/// the tail has all of it; the segment's with the tail's changes; the segment's.
///
/// A view never changes. [`ShardView::apply`] makes the next one and carries over what was found out about this
/// one. Everything that is not `async` needs no I/O: the parts it reads have to be loaded before, by the
/// `load_*` methods ([`crate::loading`]).
#[derive(Clone)]
pub struct ShardView {
    schema: Arc<ShardSchema>,
    segments: Arc<[SegmentView]>,
    /// Shared by clones, as it keeps what it finds out.
    memtable: Arc<Memtable>,
}

#[derive(Clone)]
pub(crate) struct SegmentView {
    pub reader: SegmentReader,
    /// Found out when first asked for.
    overlay: OnceLock<Arc<Overlay>>,
    /// An overlay of an earlier view over the same segments, and the LSN of that view's tail.
    earlier: Option<(u64, Arc<Overlay>)>,
}

/// Where a row is, within one view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the tail.
    Tail,
    /// In a segment, to be read as it is.
    Segment { segment: usize, row: u32 },
    /// In a segment, to be read with the tail's changes.
    Patched { segment: usize, row: u32 },
}

/// A row of one view. Of no use with another view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its point.
    pub id: PointId,
    pub(crate) place: Place,
}

impl ShardView {
    /// The same rows, with nothing loaded.
    pub fn unloaded(&self) -> Self {
        let segments = self.segments().map(SegmentReader::unloaded).collect();
        Self::new(self.schema().clone(), segments, self.memtable().clone())
    }

    /// The view of `memtable` over the segments that hold everything up to [`Memtable::folded`].
    pub fn new(schema: Arc<ShardSchema>, segments: Vec<SegmentReader>, memtable: Memtable) -> Self {
        let view = |reader| SegmentView { reader, overlay: OnceLock::new(), earlier: None };
        Self { schema, segments: segments.into_iter().map(view).collect(), memtable: Arc::new(memtable) }
    }

    /// The view after the operations with the given LSN.
    pub fn apply(&self, lsn: u64, ops: Vec<Op>) -> Result<Self> {
        let memtable = self.memtable.apply(lsn, ops)?;
        let carry = |segment: &SegmentView| SegmentView {
            reader: segment.reader.clone(),
            overlay: OnceLock::new(),
            earlier: segment.known_overlay(&self.memtable),
        };
        Ok(Self {
            schema: self.schema.clone(),
            segments: self.segments.iter().map(carry).collect(),
            memtable: Arc::new(memtable),
        })
    }

    /// This view, with what an earlier one has found out about those of its segments that are here too. Rows that the tail had
    /// written over by then and that have left it with a fold are deleted in the segment itself, so it is no harm that they stay
    /// masked.
    pub(crate) fn with_overlays_of(mut self, before: &Self) -> Self {
        let known = |segment: &SegmentView| {
            let is_it = |other: &&SegmentView| {
                let (meta, other) = (segment.reader.meta(), other.reader.meta());
                (meta.id, meta.rows) == (other.id, other.rows)
            };
            before.segments.iter().find(is_it)?.known_overlay(&before.memtable)
        };
        let carry = |segment: &SegmentView| SegmentView { earlier: known(segment), ..segment.clone() };
        self.segments = self.segments.iter().map(carry).collect();
        self
    }

    /// The same data under other settings: an index was created or dropped.
    pub fn with_schema(&self, schema: Arc<ShardSchema>) -> Self {
        Self { schema, ..self.clone() }
    }

    /// The same tail over the other segments.
    pub fn without(&self, segments: &[usize]) -> Self {
        let others = self.segments.iter().enumerate().filter(|(number, _)| !segments.contains(number));
        Self { segments: others.map(|(_, segment)| segment.clone()).collect(), ..self.clone() }
    }

    /// The segments that these bytes are of.
    pub fn segments_of(&self, refused: &[Refused]) -> Vec<usize> {
        let is_of = |reader: &SegmentReader| {
            reader.meta().parts.iter().any(|part| {
                let range = part.offset..part.offset.saturating_add(part.length);
                refused.iter().any(|refused| refused.object == part.object && range.contains(&refused.at))
            })
        };
        (0..self.segment_count()).filter(|segment| is_of(self.reader(*segment))).collect()
    }

    /// Settings.
    pub fn schema(&self) -> &Arc<ShardSchema> {
        &self.schema
    }

    /// The tail.
    pub fn memtable(&self) -> &Memtable {
        &self.memtable
    }

    /// The LSN of the last operation in it.
    pub fn lsn(&self) -> u64 {
        self.memtable.lsn()
    }

    /// The segments.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentReader> {
        self.segments.iter().map(|segment| &segment.reader)
    }

    pub(crate) fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// No more points than this.
    pub(crate) fn most_points(&self) -> usize {
        self.segments().map(|reader| reader.rows() as usize).sum::<usize>() + self.memtable().len()
    }

    pub(crate) fn reader(&self, segment: usize) -> &SegmentReader {
        &self.segments[segment].reader
    }

    pub(crate) fn overlay(&self, segment: usize) -> Result<&Arc<Overlay>> {
        self.segments[segment].overlay(&self.memtable)
    }

    /// Whether what the tail has written over in a segment is known, or was at an earlier LSN.
    pub(crate) fn knows_overlay(&self, segment: usize) -> bool {
        self.segments[segment].known_overlay(&self.memtable).is_some()
    }

    /// The rows of a segment that are read as they are.
    pub(crate) fn plain_rows(&self, segment: usize) -> Result<RoaringBitmap> {
        self.overlay(segment)?.plain_rows(self.reader(segment))
    }

    /// The row of `id`, if the shard has one. Needs ids and deletes.
    pub fn find(&self, id: PointId) -> Result<Option<Found>> {
        let patched = match self.memtable.get(id).map(|entry| &**entry) {
            Some(TailEntry::Row(_)) => return Ok(Some(Found { id, place: Place::Tail })),
            Some(TailEntry::Deleted) => return Ok(None),
            Some(TailEntry::Patched(_)) => true,
            None => false,
        };
        for (segment, view) in self.segments.iter().enumerate() {
            if let Some(row) = view.reader.ids()?.find(id)
                && !view.reader.deletes()?.contains(row)
            {
                let place =
                    if patched { Place::Patched { segment, row } } else { Place::Segment { segment, row } };
                return Ok(Some(Found { id, place }));
            }
        }
        Ok(None)
    }

    /// The rows of those of `ids` that the shard has, in the order asked, each once. Needs ids and deletes.
    pub fn find_all(&self, ids: &[PointId]) -> Result<Vec<Found>> {
        let mut seen = std::collections::HashSet::with_capacity(ids.len());
        let fresh = ids.iter().filter(|id| seen.insert(**id));
        fresh.filter_map(|id| self.find(*id).transpose()).collect()
    }

    /// A row that is read from a segment as it is.
    pub(crate) fn plain(&self, segment: usize, row: u32) -> Result<Found> {
        Ok(Found { id: self.reader(segment).id(row)?, place: Place::Segment { segment, row } })
    }

    /// All rows that are not read from a segment as they are: whole rows of the tail, and rows with changes.
    pub(crate) fn overlaid(&self) -> Result<Vec<Found>> {
        let whole = |(id, entry): (PointId, &Arc<TailEntry>)| {
            matches!(**entry, TailEntry::Row(_)).then_some(Found { id, place: Place::Tail })
        };
        let mut found: Vec<Found> = self.memtable.iter().filter_map(whole).collect();
        found.extend(self.patched()?);
        Ok(found)
    }

    /// All rows of segments that the tail has changes of.
    pub(crate) fn patched(&self) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for (segment, view) in self.segments.iter().enumerate() {
            for row in self.overlay(segment)?.patched_rows(&view.reader)? {
                found.push(Found { id: view.reader.id(row)?, place: Place::Patched { segment, row } });
            }
        }
        Ok(found)
    }
}

impl SegmentView {
    /// What is known of the overlay of a view with this tail, or of one before it, and the LSN of that view's tail.
    fn known_overlay(&self, memtable: &Memtable) -> Option<(u64, Arc<Overlay>)> {
        let known = self.overlay.get().map(|overlay| (memtable.lsn(), overlay.clone()));
        known.or_else(|| self.earlier.clone())
    }

    fn overlay(&self, memtable: &Memtable) -> Result<&Arc<Overlay>> {
        if let Some(overlay) = self.overlay.get() {
            return Ok(overlay);
        }
        let overlay = match &self.earlier {
            Some((lsn, earlier)) => {
                // Ids written since then are few as a rule; with none the overlay is the same one.
                let mut ids = memtable.ids_after(*lsn).peekable();
                match ids.peek() {
                    None => earlier.clone(),
                    Some(_) => Arc::new(earlier.after(&self.reader, memtable, ids)?),
                }
            }
            None => Arc::new(Overlay::new(&self.reader, memtable)?),
        };
        Ok(self.overlay.get_or_init(|| overlay))
    }
}
