//! The rows nearest to a vector: through the index of a segment where it has one and that pays ([`crate::indexed`]), by
//! comparing every row where not.
//!
//! The answer of an exact search is a function of the data alone: among equal scores the lesser id comes first, however
//! the rows are spread over segments and threads.

use std::borrow::Cow;
use std::cmp::Ordering;

use lodestone_index::dense::{Effort, Model, VectorIndex};
use lodestone_kernels::Scorer;
use lodestone_segment::{ColumnOnDisk, SegmentReader, VectorColumn};
use lodestone_types::{Error, PointId, Result};
use rayon::prelude::*;
use roaring::RoaringBitmap;

use crate::best::{Best, Scored};
use crate::cancel::Cancel;
use crate::indexed;
use crate::rows::RowReader;
use crate::selection::Selection;
use crate::view::Found;

/// Bytes of vectors that one task scores: large enough to outweigh handing it out, small enough for all
/// threads to have some and for a cancelled search to stop soon.
const TASK_BYTES: usize = 512 << 10;
/// Rows scored by one call of the kernel.
const BLOCK_ROWS: usize = 128;
/// Rows on disk are read one by one where they are fewer than one of so many: all of them are read faster in a row.
const FEW: u64 = 16;
/// Rows of the tail per task.
const TAIL_TASK_ROWS: usize = 512;

/// A search among the rows of a [`Selection`].
#[derive(Debug, Clone, Copy)]
pub struct Nearest<'a> {
    /// The vector to be near to.
    pub vector: &'a [f32],
    /// Which vector of the rows to compare it with.
    pub using: &'a str,
    /// Only rows nearer than this score; one that is exactly as near does not count.
    pub score_threshold: Option<f32>,
    /// A point that is not an answer: the one that was asked about.
    pub except: Option<PointId>,
    /// How many.
    pub limit: usize,
    /// How to go about it.
    pub method: Method,
}

/// Whether and how indexes are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Method {
    /// Compare every row.
    pub exact: bool,
    /// How much an index looks at; a graph's beam width, for users who know Qdrant's.
    pub hnsw_ef: Option<usize>,
    /// Leave out segments that have no index and more bytes of vectors, counted as `f32`, than this.
    pub unindexed_bytes: Option<u64>,
}

/// A row near to a vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The row.
    pub found: Found,
    /// How near, as users see it.
    pub score: f32,
}

/// What one search has in hand while it scans.
pub(crate) struct Scan<'a> {
    scorer: Scorer,
    greater: bool,
    /// Whether the user wants the vectors on disk.
    on_disk: bool,
    query: &'a Nearest<'a>,
    cancel: &'a Cancel,
}

impl Selection {
    /// The nearest rows, nearest first, at most `query.limit`; rows without that vector are no answers. Needs
    /// [`Selection::load`] and [`ShardView::load_vector`](crate::ShardView::load_vector).
    pub fn nearest(&self, query: &Nearest, cancel: &Cancel) -> Result<Vec<Hit>> {
        let shape = *self.view().schema().vector(query.using)?;
        if query.vector.len() != shape.dim {
            return Err(Error::bad_request(format!(
                "Wrong input: Vector dimension error: expected dim: {}, got {}",
                shape.dim,
                query.vector.len()
            )));
        }
        if query.limit == 0 {
            return Ok(Vec::new());
        }
        let scorer = Scorer::new(query.vector, shape.metric, shape.element);
        let greater = shape.metric.greater_is_nearer();
        let scan = Scan { scorer, greater, on_disk: shape.on_disk, query, cancel };
        let (segments, tail) = rayon::join(
            || {
                let segments = (0..self.view().segment_count()).into_par_iter();
                segments.map(|segment| self.nearest_in_segment(segment, &scan)).collect::<Result<Vec<_>>>()
            },
            || self.nearest_in_tail(&scan),
        );
        let mut best = scan.best();
        segments?.into_iter().flatten().chain(tail?.into_sorted()).for_each(|hit| best.push(hit));
        let hits = best.into_sorted().into_iter();
        Ok(hits.map(|hit| Hit { found: hit.key.0, score: hit.score(scan.greater) }).collect())
    }

    fn nearest_in_segment(&self, segment: usize, scan: &Scan) -> Result<Vec<Scored<Ranked>>> {
        let reader = self.view().reader(segment);
        let Some(column) = reader.vector(scan.query.using)? else { return Ok(Vec::new()) };
        if column.spec().row_bytes() != scan.scorer.row_bytes() {
            return Err(Error::damaged(format!(
                "segment {} holds vectors '{}' of {} bytes instead of {}",
                reader.meta().id,
                scan.query.using,
                column.spec().row_bytes(),
                scan.scorer.row_bytes()
            )));
        }
        let rows = self.rows(segment, scan.cancel)?;
        let except = match scan.query.except {
            Some(id) => reader.ids()?.find(id).filter(|row| rows.contains(*row)),
            None => None,
        };
        let disk = column.on_disk(scan.on_disk);
        let best = match self.by_index(segment, rows.len(), scan, disk.is_some())? {
            Some((index, effort)) => {
                let rows = (rows.len() < u64::from(reader.rows())).then_some(rows);
                scan.by_index(column, disk, index, effort, rows, except)?
            }
            None if scan.leaves_out(reader, column)? => return Ok(Vec::new()),
            None => {
                let mut rows = Cow::Borrowed(rows);
                if let Some(row) = except {
                    rows.to_mut().remove(row);
                }
                if let Some(present) = column.present() {
                    *rows.to_mut() &= present;
                }
                scan.rows(column, disk, &rows)?
            }
        };
        let best = best.into_sorted().into_iter();
        best.map(|hit| Ok(hit.with_key(Ranked(self.view().plain(segment, hit.key)?)))).collect()
    }

    /// The index of a segment and how much to look at, where that costs less than comparing all rows that match.
    fn by_index(
        &self,
        segment: usize,
        matching: u64,
        scan: &Scan,
        on_disk: bool,
    ) -> Result<Option<((&Model, &VectorIndex), Effort)>> {
        let Nearest { method, limit, using, except, .. } = *scan.query;
        if method.exact {
            return Ok(None);
        }
        let Some((model, index)) = self.view().reader(segment).vector_index(using)? else { return Ok(None) };
        let (limit, spilled) = (limit + usize::from(except.is_some()), index.shape().spilled);
        let effort = indexed::effort(limit, method.hnsw_ef, spilled);
        let row_bytes = scan.scorer.row_bytes();
        let scan_is_cheaper = indexed::is_scan_cheaper(matching, index, effort, row_bytes, on_disk);
        Ok((!scan_is_cheaper).then_some(((model, index), effort)))
    }

    /// Rows that are not read from a segment as they are.
    fn nearest_in_tail(&self, scan: &Scan) -> Result<Best<Scored<Ranked>>> {
        let tasks = self.overlaid(scan.cancel)?.par_chunks(TAIL_TASK_ROWS).map(|rows| {
            scan.cancel.check()?;
            let reader = RowReader::new(self.view());
            let mut best = scan.best();
            for found in rows.iter().filter(|found| scan.query.except != Some(found.id)) {
                let Some(vector) = reader.vector(*found, scan.query.using)? else { continue };
                let score = scan.scorer.score(vector);
                if scan.is_near_enough(score) {
                    best.push(Scored::new(score, scan.greater, Ranked(*found)));
                }
            }
            Ok(best)
        });
        tasks.try_reduce(|| scan.best(), |a, b| Ok(a.merge(b)))
    }
}

impl Scan<'_> {
    pub(crate) fn vector(&self) -> &[f32] {
        self.query.vector
    }

    pub(crate) fn greater(&self) -> bool {
        self.greater
    }

    pub(crate) fn best<K: Ord>(&self) -> Best<Scored<K>> {
        Best::new(self.query.limit)
    }

    /// Scores the vectors in these slots, in memory or read from `disk`.
    pub(crate) fn score(
        &self,
        column: &VectorColumn,
        disk: Option<ColumnOnDisk>,
        slots: &[u32],
        scores: &mut [f32],
    ) -> Result<()> {
        let Some(disk) = disk else {
            self.scorer.score_numbered(column.raw(), slots, scores);
            return Ok(());
        };
        let mut vectors = Vec::new();
        disk.read(slots, &mut vectors)?;
        self.scorer.score_block(&vectors, scores);
        Ok(())
    }

    /// Whether a segment is not to be searched: it lacks an index and is too large to do without.
    fn leaves_out(&self, reader: &SegmentReader, column: &VectorColumn) -> Result<bool> {
        let bytes = 4 * column.len() as u64 * u64::from(column.spec().dim);
        let too_large = self.query.method.unindexed_bytes.is_some_and(|most| bytes > most);
        Ok(too_large && reader.vector_index(self.query.using)?.is_none())
    }

    pub(crate) fn is_near_enough(&self, score: f32) -> bool {
        match self.query.score_threshold {
            None => true,
            Some(threshold) if self.greater => score > threshold,
            Some(threshold) => score < threshold,
        }
    }

    /// The best of `rows`, all of which have a vector in `column`; read from `disk` if they are few of those there.
    fn rows(
        &self,
        column: &VectorColumn,
        disk: Option<ColumnOnDisk>,
        rows: &RoaringBitmap,
    ) -> Result<Best<Scored<u32>>> {
        let few = disk.filter(|_| rows.len() < column.len() as u64 / FEW);
        let per_task = (TASK_BYTES / self.scorer.row_bytes()).max(BLOCK_ROWS) as u64;
        let tasks = rows.len().div_ceil(per_task);
        (0..tasks)
            .into_par_iter()
            .map(|task| {
                self.cancel.check()?;
                let first = (task * per_task) as u32;
                let count = per_task.min(rows.len() - u64::from(first)) as usize;
                self.some_rows(column, few, rows, first, count)
            })
            .try_reduce(|| self.best(), |a, b| Ok(a.merge(b)))
            .inspect(|_| {
                if let (Some(disk), None) = (disk, few) {
                    disk.forget_map();
                }
            })
    }

    /// The best of `count` of `rows`, beginning with the `first`-th.
    fn some_rows(
        &self,
        column: &VectorColumn,
        disk: Option<ColumnOnDisk>,
        rows: &RoaringBitmap,
        first: u32,
        count: usize,
    ) -> Result<Best<Scored<u32>>> {
        let mut best = self.best();
        let Some(start) = rows.select(first) else { return Ok(best) };
        let mut numbers = rows.range(start..).take(count).peekable();
        let mut slots = Slots::new(column, start);
        let mut block = Vec::with_capacity(BLOCK_ROWS);
        let mut block_slots = Vec::with_capacity(BLOCK_ROWS);
        let mut scores = [0.0; BLOCK_ROWS];
        while numbers.peek().is_some() {
            block.clear();
            block.extend(numbers.by_ref().take(BLOCK_ROWS));
            block_slots.clear();
            block_slots.extend(block.iter().map(|row| slots.slot(*row)));
            let scores = &mut scores[..block.len()];
            self.score(column, disk, &block_slots, scores)?;
            for (row, score) in block.iter().zip(scores.iter()) {
                if self.is_near_enough(*score) {
                    best.push(Scored::new(*score, self.greater, *row));
                }
            }
        }
        Ok(best)
    }
}

/// The slots of ascending rows of a column, all of which have one.
struct Slots<'a> {
    present: Option<std::iter::Peekable<roaring::bitmap::Iter<'a>>>,
    next: u32,
}

impl<'a> Slots<'a> {
    fn new(column: &'a VectorColumn, start: u32) -> Self {
        let present = column.present().map(|present| present.range(start..).peekable());
        Self { present, next: column.row_to_slot(start).unwrap_or_default() }
    }

    /// The slot of `row`, which is not before a row that was asked for earlier.
    fn slot(&mut self, row: u32) -> u32 {
        let Some(present) = &mut self.present else { return row };
        while present.next_if(|with_vector| *with_vector < row).is_some() {
            self.next += 1;
        }
        self.next
    }
}

/// A row in the order of ties: by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ranked(Found);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
