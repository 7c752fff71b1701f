//! The rows nearest to a vector: through the index of a segment where it has one and that pays ([`crate::indexed`]), by
//! comparing every row where not.
//!
//! The answer of an exact search is a function of the data alone: among equal scores the lesser id comes first, however
//! the rows are spread over segments and threads.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use lodestone_index::dense::{BoundedCodes, BoundedQuery, Effort, Model, ModelHeader, VectorIndex};
use lodestone_kernels::{Metric, Scorer};
use lodestone_segment::{PartKind, PartMeta, SegmentReader, VectorColumn, Vectors};
use lodestone_types::{Error, PointId, Result};
use rayon::prelude::*;
use roaring::RoaringBitmap;

use crate::best::{Best, Scored};
use crate::cancel::Cancel;
use crate::indexed::{self, Way, Work, cost_of_comparing, search_effort};
use crate::loading::is_pool_taken;
use crate::rows::{RowReader, damaged_row};
use crate::schema::VectorShape;
use crate::selection::Selection;
use crate::tail_vectors::Chunk;
use crate::view::{Found, Place};

/// Bytes of vectors that one task scores: large enough to outweigh handing it out, small enough for all
/// threads to have some and for a cancelled search to stop soon.
const TASK_BYTES: usize = 512 << 10;
/// Rows scored by one call of the kernel.
const BLOCK_ROWS: usize = 128;
/// Rows on disk are read one by one where they are fewer than one of so many: all of them are read faster in a row.
const FEW: u64 = 16;
/// A search that takes no longer than this, in picoseconds, is quick.
const QUICK_PICOSECONDS: u64 = 1_000_000_000;
/// A search that takes no longer than this, in picoseconds, is done by one thread where others have searches of their own.
const SHORT_PICOSECONDS: u64 = 20_000_000_000;
/// So many rows may be asked for.
const QUICK_LIMIT: usize = 256;
/// What a changed row costs beside its vector, in bytes that are compared in that time.
const PATCH_BYTES: usize = 4096;
/// Of so many bytes may a tail be whose payloads a quick search looks at.
const QUICK_PAYLOADS: u64 = 256 << 10;
/// So many rows of the tail may a quick search be the first to see.
const FEW_UNSEEN: usize = 1024;
/// Changed rows per task.
const PATCHED_TASK_ROWS: usize = 1024;

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

impl Nearest<'_> {
    /// Whether a score is within the threshold.
    pub(crate) fn is_near_enough(&self, score: f32, greater_is_nearer: bool) -> bool {
        match self.score_threshold {
            None => true,
            Some(threshold) if greater_is_nearer => score > threshold,
            Some(threshold) => score < threshold,
        }
    }
}

/// Whether and how indexes are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Method {
    /// Compare every row.
    pub exact: bool,
    /// How much an index looks at; a graph's beam width, for users who know Qdrant's.
    pub hnsw_ef: Option<usize>,
    /// Do not rank by codes: compare all rows of the lists that an index looks at.
    pub ignore_codes: bool,
    /// Answer with the scores that codes say, where rows have codes. They are not exact.
    pub estimates: bool,
    /// Compare at least so many rows, if that is more than otherwise.
    pub candidates: Option<usize>,
    /// Leave out segments that have no index and more bytes of vectors, counted as `f32`, than this.
    pub unindexed_bytes: Option<u64>,
}

impl Method {
    /// Whether it asks for nothing of which the costs of a search say nothing.
    fn has_known_cost(&self) -> bool {
        !self.exact && !self.ignore_codes && self.candidates.is_none()
    }
}

/// A segment in a search.
pub(crate) struct Part<'a> {
    pub segment: usize,
    pub column: &'a VectorColumn,
    /// Where vectors are read.
    pub vectors: Vectors<'a>,
    /// The rows that match.
    pub rows: &'a RoaringBitmap,
    /// Whether these are all that the segment has.
    pub all: bool,
    /// A row that is no answer all the same.
    pub except: Option<u32>,
    /// What to search with, where that pays.
    pub index: Option<Index<'a>>,
}

/// The index of a segment.
#[derive(Clone, Copy)]
pub(crate) struct Index<'a> {
    /// Tells one model from another.
    pub model_part: &'a PartMeta,
    pub model: &'a Model,
    pub index: &'a VectorIndex,
    pub way: Way,
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
    shape: VectorShape,
    /// The query as it is compared with coded rows of the tail.
    bounded: BoundedQuery,
    query: &'a Nearest<'a>,
    cancel: &'a Cancel,
    pace: Pace,
}

/// Whether a search is handed out to several threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Whoever asks does all of it: it takes less time than it takes others to wake up.
    Alone,
    /// Whoever has time does some of it.
    Shared,
}

impl Pace {
    /// Does two things.
    fn both<A: Send, B: Send>(self, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
        match self {
            Self::Alone => (a(), b()),
            Self::Shared => rayon::join(a, b),
        }
    }

    /// How many things of a list one thread does at least.
    fn least(self) -> usize {
        match self {
            Self::Alone => usize::MAX,
            Self::Shared => 1,
        }
    }
}

impl Selection {
    /// Whether a search of all these takes so little time that handing it to another thread, and back, would take a good part of
    /// it, as far as is known beforehand. Never so where something has to be read first.
    pub fn are_quick(selections: &[Self], using: &str, limit: usize, method: &Method) -> bool {
        let mut cost = 0u64;
        method.has_known_cost()
            && limit <= QUICK_LIMIT
            && selections.iter().all(|selection| {
                let of_one = selection.cost(using, limit, method);
                cost = cost.saturating_add(of_one.unwrap_or(u64::MAX));
                cost <= QUICK_PICOSECONDS
            })
    }

    /// What a search takes, about, in picoseconds; `None` if that cannot be told in no time, or not all it reads is in memory.
    fn cost(&self, using: &str, limit: usize, method: &Method) -> Option<u64> {
        let (view, shape) = (self.view(), self.view().schema().vector(using).ok()?);
        let memtable = view.memtable();
        let is_open = self.plan().is_some_and(|plan| plan.evaluator().needs_payload());
        let has_payloads = is_open && (memtable.patches() > 0 || memtable.bytes() > QUICK_PAYLOADS);
        // Vectors that live on disk are sent there by searches that may wait for it.
        if shape.on_disk || has_payloads || !self.is_seen() || !self.is_known_soon() {
            return None;
        }
        // Most rows of the tail are coded, a byte per component, where such vectors are.
        let of_row = if shape.metric == Metric::Manhattan { shape.row_bytes() } else { shape.dim };
        let tail = cost_of_comparing(memtable.len() as u64, of_row, false);
        let patches = cost_of_comparing(memtable.patches() as u64, shape.row_bytes() + PATCH_BYTES, false);
        let of_segment = |segment: usize| -> Option<u64> {
            let reader = view.reader(segment);
            let Some(column) = reader.vector(using).ok()? else { return Some(0) };
            if matches!(column.at_hand(), Vectors::Disk(_)) {
                return None;
            }
            let is_filtered = self.plan().is_some();
            let matching = match is_filtered {
                true => {
                    with_vector(&self.narrowed(segment).ok().filter(|rows| rows.is_exact())?.certain, column)
                }
                false => column.len() as u64,
            };
            let row_bytes = shape.row_bytes();
            let Some((model, index)) = reader.vector_index(using).ok()? else {
                return Some(cost_of_comparing(matching, row_bytes, false));
            };
            let (spilled, rows) = (index.shape().spilled, index.rows() as u64);
            let effort = search_effort(limit, method.hnsw_ef, spilled, &model.header(), rows);
            let full_scan_rows = shape.full_scan_rows();
            let work = Work {
                model,
                index,
                matching,
                is_filtered,
                effort,
                row_bytes,
                on_disk: false,
                full_scan_rows,
            };
            Some(work.cheapest().1)
        };
        (0..view.segment_count()).try_fold(tail.saturating_add(patches), |sum, segment| {
            Some(sum.saturating_add(of_segment(segment)?))
        })
    }

    /// Whether few rows of the tail are new to those who search it.
    fn is_seen(&self) -> bool {
        let (view, is_unseen) = (self.view(), |rows| rows > FEW_UNSEEN);
        let memtable = view.memtable();
        let knows_overlays = || (0..view.segment_count()).all(|segment| view.knows_overlay(segment));
        !is_unseen(memtable.unseen_rows(FEW_UNSEEN)) && (!is_unseen(memtable.len()) || knows_overlays())
    }

    /// The nearest rows, nearest first, at most `query.limit`; rows without that vector are no answers. Needs
    /// [`Selection::load`] and [`ShardView::load_vector`](crate::ShardView::load_vector).
    pub fn nearest(&self, query: &Nearest, cancel: &Cancel) -> Result<Vec<Hit>> {
        let pace = if is_pool_taken() && self.is_short(query) { Pace::Alone } else { Pace::Shared };
        self.nearest_at(pace, query, cancel)
    }

    /// Whether a search takes so little time, as far as is known, that it loses more by waiting for threads that are at work than by
    /// being done by one.
    fn is_short(&self, query: &Nearest) -> bool {
        let limit = query.limit.min(self.view().most_points());
        query.method.has_known_cost()
            && self.cost(query.using, limit, &query.method).is_some_and(|cost| cost <= SHORT_PICOSECONDS)
    }

    /// As [`Selection::nearest`], by this thread alone, which may be one that drives I/O where it is [quick](Self::are_quick).
    pub fn nearest_alone(&self, query: &Nearest, cancel: &Cancel) -> Result<Vec<Hit>> {
        self.nearest_at(Pace::Alone, query, cancel)
    }

    fn nearest_at(&self, pace: Pace, query: &Nearest, cancel: &Cancel) -> Result<Vec<Hit>> {
        let shape = *self.view().schema().vector(query.using)?;
        shape.check(query.vector)?;
        if query.limit == 0 {
            return Ok(Vec::new());
        }
        // Users may ask for any number. More than there are would only be room for nothing.
        let query = &Nearest { limit: query.limit.min(self.view().most_points()), ..*query };
        let scorer = Scorer::new(query.vector, shape.metric, shape.element);
        let greater = shape.metric.greater_is_nearer();
        let bounded = BoundedQuery::new(&shape.decode(&shape.encode(query.vector)));
        let scan = Scan { scorer, greater, shape, bounded, query, cancel, pace };
        let best = match pace {
            // With what is near in segments known, few rows of the tail have a chance.
            Pace::Alone => self.nearest_in_tail(&scan, self.nearest_in_segments(&scan)?)?,
            Pace::Shared => {
                let in_tail = || self.nearest_in_tail(&scan, scan.best());
                let (segments, tail) = rayon::join(|| self.nearest_in_segments(&scan), in_tail);
                segments?.merge(tail?)
            }
        };
        let hits = best.into_sorted().into_iter();
        Ok(hits.map(|hit| Hit { found: hit.key.0, score: hit.score(scan.greater) }).collect())
    }

    fn nearest_in_segments(&self, scan: &Scan) -> Result<Best<Scored<Ranked>>> {
        let segments = (0..self.view().segment_count()).into_par_iter().with_min_len(scan.pace.least());
        let part = |segment| -> Result<Option<Part>> { self.part(segment, scan) };
        let parts: Vec<Option<Part>> = segments.map(part).collect::<Result<_>>()?;
        let (indexed, others): (Vec<Part>, Vec<Part>) =
            parts.into_iter().flatten().partition(|part| part.index.is_some());
        let groups = indexed::groups(indexed);
        let least = scan.pace.least();
        let (by_index, by_scan) = scan.pace.both(
            || {
                groups
                    .par_iter()
                    .with_min_len(least)
                    .map(|group| self.ranked(scan, scan.by_index(group)?))
                    .try_reduce(|| scan.best(), |a, b| Ok(a.merge(b)))
            },
            || {
                others
                    .par_iter()
                    .with_min_len(least)
                    .map(|part| {
                        self.ranked(
                            scan,
                            scan.rows(part)?.into_sorted().into_iter().map(|hit| (part.segment, hit)),
                        )
                    })
                    .try_reduce(|| scan.best(), |a, b| Ok(a.merge(b)))
            },
        );
        Ok(by_index?.merge(by_scan?))
    }

    /// Hits in segments as hits of points.
    fn ranked(
        &self,
        scan: &Scan,
        hits: impl IntoIterator<Item = (usize, Scored<u32>)>,
    ) -> Result<Best<Scored<Ranked>>> {
        let mut best = scan.best();
        for (segment, hit) in hits {
            best.push(hit.with_key(Ranked(self.view().plain(segment, hit.key)?)));
        }
        Ok(best)
    }

    /// What of a segment is to be searched, and how; `None` if nothing.
    fn part(&self, segment: usize, scan: &Scan) -> Result<Option<Part<'_>>> {
        let reader = self.view().reader(segment);
        let Some(column) = reader.vector(scan.query.using)? else { return Ok(None) };
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
        let vectors = match scan.pace {
            Pace::Alone => column.at_hand(),
            Pace::Shared => column.vectors(scan.shape.on_disk)?,
        };
        let is_on_disk = matches!(vectors, Vectors::Disk(_));
        let index = match self.index(segment, column, rows, scan, is_on_disk)? {
            None if scan.leaves_out(reader, column)? => return Ok(None),
            index => index,
        };
        let all = rows.len() == u64::from(reader.rows());
        Ok((!rows.is_empty()).then_some(Part { segment, column, vectors, rows, all, except, index }))
    }

    /// The index of a segment, where that costs less than comparing all rows that match.
    fn index(
        &self,
        segment: usize,
        column: &VectorColumn,
        rows: &RoaringBitmap,
        scan: &Scan,
        on_disk: bool,
    ) -> Result<Option<Index<'_>>> {
        let Nearest { method, using, .. } = *scan.query;
        if method.exact {
            return Ok(None);
        }
        let reader = self.view().reader(segment);
        let model_part = reader.meta().part(&PartKind::Model(using.to_owned()));
        let (Some((model, index)), Some(model_part)) = (reader.vector_index(using)?, model_part) else {
            return Ok(None);
        };
        let effort = scan.effort(index.shape().spilled, &model.header(), index.rows() as u64);
        let work = Work {
            model,
            index,
            matching: with_vector(rows, column),
            is_filtered: rows.len() < u64::from(reader.rows()),
            effort,
            row_bytes: scan.scorer.row_bytes(),
            on_disk,
            full_scan_rows: self.view().schema().vector(using)?.full_scan_rows(),
        };
        let (way, _) = work.cheapest();
        Ok(way.map(|way| Index { model_part, model, index, way }))
    }

    /// The best of `best` and of rows that are not read from a segment as they are. Whether they match is asked of those that are
    /// near only, and the nearer those before them, the fewer are: so a thread takes what it found in one chunk along to the next.
    fn nearest_in_tail(&self, scan: &Scan, best: Best<Scored<Ranked>>) -> Result<Best<Scored<Ranked>>> {
        let chunks = self.view().memtable().vectors().named(scan.query.using);
        let patched = self.view().patched()?;
        let of_chunk = |best, chunk: &Arc<Chunk>| self.nearest_in_chunk(chunk, scan, best);
        let of_patched = |best, rows: &[Found]| self.nearest_of_patched(rows, scan, best);
        if scan.pace == Pace::Alone {
            let best = chunks.iter().try_fold(best, of_chunk)?;
            return patched.chunks(PATCHED_TASK_ROWS).try_fold(best, of_patched);
        }
        let whole = chunks.par_iter().try_fold(|| scan.best(), of_chunk);
        let patched = patched.par_chunks(PATCHED_TASK_ROWS).try_fold(|| scan.best(), of_patched);
        let found = whole.chain(patched).try_reduce(|| scan.best(), |a, b| Ok(a.merge(b)))?;
        Ok(best.merge(found))
    }

    /// The best of `best` and of rows of segments that have other vectors now.
    fn nearest_of_patched(
        &self,
        rows: &[Found],
        scan: &Scan,
        mut best: Best<Scored<Ranked>>,
    ) -> Result<Best<Scored<Ranked>>> {
        scan.cancel.check()?;
        let mut reader = RowReader::new(self.view());
        for found in rows {
            if let Some(bytes) = reader.vector(*found, scan.query.using)? {
                self.consider(*found, scan.scorer.score(&bytes), scan, &mut reader, &mut best)?;
            }
        }
        Ok(best)
    }

    /// The best of `best` and of the rows of a chunk.
    fn nearest_in_chunk(
        &self,
        chunk: &Chunk,
        scan: &Scan,
        best: Best<Scored<Ranked>>,
    ) -> Result<Best<Scored<Ranked>>> {
        scan.cancel.check()?;
        let size = scan.scorer.row_bytes();
        if let Some((id, _)) = chunk.rows().first().filter(|_| chunk.row_bytes() != size) {
            return Err(damaged_row(*id, scan.query.using, chunk.row_bytes(), size));
        }
        match chunk.codes(&scan.shape) {
            Some(codes) => self.nearest_by_bounds(chunk, codes, scan, best),
            None => self.nearest_of_all(chunk, scan, best),
        }
    }

    /// Compares every row.
    fn nearest_of_all(
        &self,
        chunk: &Chunk,
        scan: &Scan,
        mut best: Best<Scored<Ranked>>,
    ) -> Result<Best<Scored<Ranked>>> {
        let mut reader = RowReader::new(self.view());
        let mut scores = [0.0; BLOCK_ROWS];
        let blocks =
            chunk.vectors().chunks(BLOCK_ROWS * chunk.row_bytes()).zip(chunk.rows().chunks(BLOCK_ROWS));
        for (vectors, rows) in blocks {
            let scores = &mut scores[..rows.len()];
            scan.scorer.score_block(vectors, scores);
            for (row, score) in rows.iter().zip(scores) {
                self.consider_row(*row, *score, scan, &mut reader, &mut best)?;
            }
        }
        Ok(best)
    }

    /// Compares the rows that may be near by their codes. The answer is the same.
    fn nearest_by_bounds(
        &self,
        chunk: &Chunk,
        codes: &BoundedCodes,
        scan: &Scan,
        mut best: Best<Scored<Ranked>>,
    ) -> Result<Best<Scored<Ranked>>> {
        let mut reader = RowReader::new(self.view());
        let vectors = chunk.vectors().chunks_exact(chunk.row_bytes());
        for (number, (row, vector)) in chunk.rows().iter().zip(vectors).enumerate() {
            if scan.has_chance(scan.best_score(codes, number), &best) {
                self.consider_row(*row, scan.scorer.score(vector), scan, &mut reader, &mut best)?;
            }
        }
        Ok(best)
    }

    /// Takes a row of a chunk that is near and matches.
    fn consider_row(
        &self,
        (id, lsn): (PointId, u64),
        score: f32,
        scan: &Scan,
        reader: &mut RowReader,
        best: &mut Best<Scored<Ranked>>,
    ) -> Result<()> {
        // A row that was written again is in another chunk too, or no more.
        if scan.has_chance(score, best) && self.view().memtable().row_at(id, lsn) {
            self.consider(Found { id, place: Place::Tail }, score, scan, reader, best)?;
        }
        Ok(())
    }

    /// Takes a row that is near and matches.
    fn consider(
        &self,
        found: Found,
        score: f32,
        scan: &Scan,
        reader: &mut RowReader,
        best: &mut Best<Scored<Ranked>>,
    ) -> Result<()> {
        let hit = Scored::new(score, scan.greater, Ranked(found));
        let is_near = scan.is_near_enough(score) && best.bar().is_none_or(|bar| hit < *bar);
        if is_near && scan.query.except != Some(found.id) && self.matches(reader, found)? {
            best.push(hit);
        }
        Ok(())
    }
}

/// How many of these rows have the vector.
fn with_vector(rows: &RoaringBitmap, column: &VectorColumn) -> u64 {
    column.present().map_or(rows.len(), |present| present.intersection_len(rows))
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

    /// Scores the vectors in these slots, each read by itself where they are on disk.
    pub(crate) fn score(&self, vectors: &Vectors, slots: &[u32], scores: &mut [f32]) -> Result<()> {
        match vectors {
            Vectors::Memory(bytes) => self.scorer.score_numbered(bytes, slots, scores),
            Vectors::Disk(disk) => {
                let mut vectors = Vec::new();
                disk.read(slots, &mut vectors)?;
                self.scorer.score_block(&vectors, scores);
            }
        }
        Ok(())
    }

    /// Scores the vectors in these slots, which ascend; on disk, what lies between near ones is read too.
    fn score_runs(&self, vectors: &Vectors, slots: &[u32], scores: &mut [f32]) -> Result<()> {
        let Vectors::Disk(disk) = vectors else { return self.score(vectors, slots, scores) };
        let mut runs: Vec<Range<u32>> = Vec::new();
        // Where each is among all that is read.
        let (mut before, mut places) = (0, Vec::with_capacity(slots.len()));
        for slot in slots {
            match runs.last_mut() {
                Some(run) if u64::from(slot - run.end) < FEW => run.end = slot + 1,
                last => {
                    before += last.map_or(0, |run| run.end - run.start);
                    runs.push(*slot..slot + 1);
                }
            }
            places.push(before + slot - runs.last().map_or(*slot, |run| run.start));
        }
        let mut read = Vec::new();
        disk.read_runs(&runs, &mut read)?;
        self.scorer.score_numbered(&read, &places, scores);
        Ok(())
    }

    /// No better score can a row have that is coded like this.
    fn best_score(&self, codes: &BoundedCodes, row: usize) -> f32 {
        match self.scorer.metric() {
            Metric::Dot | Metric::Cosine => self.bounded.most_product(codes, row),
            Metric::Euclid => self.bounded.least_square(codes, row).max(0.0).sqrt(),
            Metric::Manhattan => 0.0,
        }
    }

    /// Whether a segment is not to be searched: it lacks an index and is too large to do without.
    fn leaves_out(&self, reader: &SegmentReader, column: &VectorColumn) -> Result<bool> {
        let bytes = 4 * column.len() as u64 * u64::from(column.spec().dim);
        let too_large = self.query.method.unindexed_bytes.is_some_and(|most| bytes > most);
        Ok(too_large && reader.vector_index(self.query.using)?.is_none())
    }

    /// Whether a row with this score may be among the best, if only by its id.
    fn has_chance<K: Ord>(&self, score: f32, best: &Best<Scored<K>>) -> bool {
        self.is_near_enough(score) && best.bar().is_none_or(|bar| !bar.is_nearer_than(score, self.greater))
    }

    pub(crate) fn is_near_enough(&self, score: f32) -> bool {
        self.query.is_near_enough(score, self.greater)
    }

    /// How much indexes of a model look at that have so many `rows`.
    pub(crate) fn effort(&self, spilled: bool, model: &ModelHeader, rows: u64) -> Effort {
        let Nearest { limit, except, method, .. } = *self.query;
        let limit = limit + usize::from(except.is_some());
        let mut effort = search_effort(limit, method.hnsw_ef, spilled, model, rows);
        let candidates = if method.ignore_codes { usize::MAX } else { method.candidates.unwrap_or_default() };
        effort.candidates = effort.candidates.max(candidates);
        effort.keep = effort.keep.max(candidates.saturating_mul(indexed::KEEP_PER_CANDIDATE));
        effort
    }

    /// Whether scores are what codes say, which say nothing of sums of differences.
    pub(crate) fn estimates(&self) -> bool {
        let Method { estimates, ignore_codes, .. } = self.query.method;
        estimates && !ignore_codes && self.scorer.metric() != Metric::Manhattan
    }

    /// The score that users see, for a distance that an index says; there is none for sums of differences, which are never
    /// [estimates](Self::estimates).
    pub(crate) fn score_of(&self, distance: f32) -> f32 {
        match self.scorer.metric() {
            Metric::Euclid | Metric::Manhattan => distance.max(0.0).sqrt(),
            Metric::Dot => -distance,
            Metric::Cosine => {
                let length = self.vector().iter().map(|x| x * x).sum::<f32>().sqrt();
                if length > 0.0 { -distance / length } else { 0.0 }
            }
        }
    }

    /// The best of the rows of a segment, by comparing each; read from disk if they are few of those there.
    fn rows(&self, part: &Part) -> Result<Best<Scored<u32>>> {
        let column = part.column;
        let mut rows = Cow::Borrowed(part.rows);
        if let Some(row) = part.except {
            rows.to_mut().remove(row);
        }
        if let Some(present) = column.present() {
            *rows.to_mut() &= present;
        }
        let few = rows.len() < column.len() as u64 / FEW;
        let per_task = (TASK_BYTES / self.scorer.row_bytes()).max(BLOCK_ROWS) as u64;
        let tasks = rows.len().div_ceil(per_task);
        (0..tasks as usize)
            .into_par_iter()
            .with_min_len(self.pace.least())
            .map(|task| {
                self.cancel.check()?;
                let first = (task as u64 * per_task) as u32;
                let count = per_task.min(rows.len() - u64::from(first)) as usize;
                self.some_rows(part, few, &rows, first, count)
            })
            .try_reduce(|| self.best(), |a, b| Ok(a.merge(b)))
    }

    /// The best of `count` of `rows`, beginning with the `first`-th. `few`: they are far from each other.
    fn some_rows(
        &self,
        part: &Part,
        few: bool,
        rows: &RoaringBitmap,
        first: u32,
        count: usize,
    ) -> Result<Best<Scored<u32>>> {
        let mut best = self.best();
        let Some(start) = rows.select(first) else { return Ok(best) };
        let mut numbers = rows.range(start..).take(count).peekable();
        let mut slots = Slots::new(part.column, start);
        let mut block = Vec::with_capacity(BLOCK_ROWS);
        let mut block_slots = Vec::with_capacity(BLOCK_ROWS);
        let mut scores = [0.0; BLOCK_ROWS];
        while numbers.peek().is_some() {
            block.clear();
            block.extend(numbers.by_ref().take(BLOCK_ROWS));
            block_slots.clear();
            block_slots.extend(block.iter().map(|row| slots.slot(*row)));
            let scores = &mut scores[..block.len()];
            match few {
                true => self.score(&part.vectors, &block_slots, scores)?,
                false => self.score_runs(&part.vectors, &block_slots, scores)?,
            }
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
