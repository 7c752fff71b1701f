//! Pages of rows in the order of ids, of a payload value, or at random.

use lodestone_types::{Error, PointId, Result};
use rayon::prelude::*;

use crate::best::Best;
use crate::cancel::Cancel;
use crate::order::{Ordered, ValueOrder};
use crate::rows::RowReader;
use crate::selection::Selection;
use crate::view::Found;

/// Rows whose values one task looks up.
const ROWS_PER_TASK: usize = 2048;
/// How often a loop over single rows asks whether it should stop.
const CHECK_EVERY: usize = 1024;

/// A row at one of its values.
pub type FoundAt = Ordered<Found>;

impl Selection {
    /// The first `limit` rows with ids from `offset` on, by id. Only as many rows are decided as it takes.
    pub fn page(&self, offset: Option<PointId>, limit: usize, cancel: &Cancel) -> Result<Vec<Found>> {
        let segments = (0..self.view().segment_count()).into_par_iter();
        let parts = segments.map(|segment| self.page_of_segment(segment, offset, limit, cancel));
        let parts: Vec<Vec<Found>> = parts.collect::<Result<_>>()?;
        let mut page: Vec<Found> = parts.into_iter().flatten().collect();
        page.extend(self.page_of_tail(offset, limit, cancel)?);
        page.sort_unstable_by_key(|found| found.id);
        page.truncate(limit);
        Ok(page)
    }

    fn page_of_segment(
        &self,
        segment: usize,
        offset: Option<PointId>,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Vec<Found>> {
        let matches = self.narrowed(segment)?;
        let ids = self.view().reader(segment).ids()?;
        let start = offset.map_or(0, |id| ids.lower_bound(id));
        let mut reader = RowReader::new(self.view());
        let mut page = Vec::new();
        for (at, row) in matches.possible.range(start..).enumerate() {
            if page.len() == limit {
                break;
            }
            if at % CHECK_EVERY == 0 {
                cancel.check()?;
            }
            let found = self.view().plain(segment, row)?;
            if matches.certain.contains(row) || self.matches(&mut reader, found)? {
                page.push(found);
            }
        }
        Ok(page)
    }

    fn page_of_tail(&self, offset: Option<PointId>, limit: usize, cancel: &Cancel) -> Result<Vec<Found>> {
        let mut rows = self.view().overlaid()?;
        rows.retain(|found| offset.is_none_or(|offset| found.id >= offset));
        rows.sort_unstable_by_key(|found| found.id);
        let mut reader = RowReader::new(self.view());
        let mut page = Vec::new();
        for (at, found) in rows.into_iter().enumerate() {
            if page.len() == limit {
                break;
            }
            if at % CHECK_EVERY == 0 {
                cancel.check()?;
            }
            if self.matches(&mut reader, found)? {
                page.push(found);
            }
        }
        Ok(page)
    }

    /// The first `limit` rows in the order of a payload value; a row comes once for each of its values. Needs
    /// [`ShardView::load_order`](crate::ShardView::load_order) beside [`Selection::load`].
    pub fn page_by_value(&self, order: &ValueOrder, limit: usize, cancel: &Cancel) -> Result<Vec<FoundAt>> {
        let segments = (0..self.view().segment_count()).into_par_iter();
        let segments = segments.map(|segment| match self.view().ordered_index(segment, order)? {
            true => self.best_by_index(segment, order, limit, cancel),
            false => {
                let rows = self.rows(segment, cancel)?;
                let found = rows.iter().map(|row| self.view().plain(segment, row));
                self.best_by_payload(&found.collect::<Result<Vec<_>>>()?, order, limit, cancel)
            }
        });
        let best = segments.try_reduce(|| Best::new(limit), |a, b| Ok(a.merge(b)))?;
        let tail = self.best_by_payload(self.overlaid(cancel)?, order, limit, cancel)?;
        Ok(best.merge(tail).into_sorted())
    }

    /// From the index: values come in order, each of a row once, so it stops at the first value after the last one wanted.
    fn best_by_index(
        &self,
        segment: usize,
        order: &ValueOrder,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Best<FoundAt>> {
        let rows = self.rows(segment, cancel)?;
        let mut best = Best::new(limit);
        let Some(index) = self.view().reader(segment).field_index(order.key())? else { return Ok(best) };
        let Some(values) = index.ordered(order.direction, order.start_from()) else { return Ok(best) };
        for (at, (value, row)) in values.enumerate() {
            if at % CHECK_EVERY == 0 {
                cancel.check()?;
            }
            if best.bar().is_some_and(|bar: &FoundAt| order.is_after(value, bar.value)) {
                break;
            }
            if order.has_started(value) && rows.contains(row) {
                let found = self.view().plain(segment, row)?;
                best.push(order.at(value, found.id, found));
            }
        }
        Ok(best)
    }

    fn best_by_payload(
        &self,
        rows: &[Found],
        order: &ValueOrder,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Best<FoundAt>> {
        let tasks = rows.par_chunks(ROWS_PER_TASK).map(|rows| {
            cancel.check()?;
            let mut reader = RowReader::new(self.view());
            let mut best = Best::new(limit);
            for found in rows {
                let values = match reader.tail_payload(*found)? {
                    Some(payload) => order.values(payload),
                    None => order.values(&reader.payload(*found)?),
                };
                values.into_iter().for_each(|value| best.push(order.at(value, found.id, *found)));
            }
            Ok(best)
        });
        tasks.try_reduce(|| Best::new(limit), |a, b| Ok(a.merge(b)))
    }

    /// At most `limit` rows at random, every set of so many equally likely. `seed` is the chance; samples of several
    /// shards with one seed merge by [`Sampled`]'s order.
    pub fn sample(&self, limit: usize, seed: u64, cancel: &Cancel) -> Result<Vec<Sampled>> {
        let sampled = |found: Found| Sampled { draw: draw(seed, found.id), found };
        let segments = (0..self.view().segment_count()).into_par_iter();
        let segments = segments.map(|segment| {
            let mut best = Best::new(limit);
            for (at, row) in self.rows(segment, cancel)?.iter().enumerate() {
                if at % CHECK_EVERY == 0 {
                    cancel.check()?;
                }
                best.push(sampled(self.view().plain(segment, row)?));
            }
            Ok::<_, Error>(best)
        });
        let mut best = segments.try_reduce(|| Best::new(limit), |a, b| Ok(a.merge(b)))?;
        self.overlaid(cancel)?.iter().for_each(|found| best.push(sampled(*found)));
        Ok(best.into_sorted())
    }
}

/// A row of a sample: those with the least draws are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampled {
    draw: u64,
    /// The row.
    pub found: Found,
}

impl Ord for Sampled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.draw, self.found.id).cmp(&(other.draw, other.found.id))
    }
}

impl PartialOrd for Sampled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A number that looks random, from a seed and an id.
fn draw(seed: u64, id: PointId) -> u64 {
    let (high, low) = match id {
        PointId::Num(number) => (0, number),
        PointId::Uuid(uuid) => uuid.as_u64_pair(),
    };
    mix(mix(mix(seed) ^ high) ^ low)
}

/// Spreads every bit of `x` over all of the result (the finaliser of SplitMix64).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
