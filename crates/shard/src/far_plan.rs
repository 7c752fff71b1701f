//! What a search of far segments reads: as much as a budget says, and no more than the read's [`Allowance`] leaves to it.

use std::ops::{AddAssign, Range};

use lodestone_index::dense::{ColdQuery, ListPlaces, ReadBudget, plan_reads};
use lodestone_segment::PartKind;
use lodestone_types::{Limit, Result};

use crate::allowance::Allowance;
use crate::far::FarRead;
use crate::far_lists::{Group, Segment};

/// What a search of far segments may ask of the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FarBudget {
    /// Requests, as long as the segments are no more than two or three.
    pub requests: usize,
    /// Bytes, as long as segments without an index have not more.
    pub bytes: u64,
    /// How hard to look where the user does not say, 1 being enough.
    pub effort: u32,
    /// Of what the read may still ask ([`Allowance`]), the search takes one part of so many.
    pub shares: u64,
}

impl Default for FarBudget {
    /// For a bucket that is far away, and charges for requests.
    fn default() -> Self {
        Self { requests: 64, bytes: 6_000_000, effort: 1, shares: 1 }
    }
}

impl FarBudget {
    /// For a directory, where a request is a read of a file.
    pub fn of_directory() -> Self {
        Self { requests: 400, bytes: 40_000_000, effort: 4, shares: 1 }
    }
}

/// The `hnsw_ef` that an effort of 1 stands for.
const DEFAULT_EF: usize = 128;
/// Rows that promise less are not worth their bytes, where ten are looked for among all. Measured, see
/// `docs/0005-cold-search.md`.
const LEAST_PROMISE: f32 = 0.0006;
const LOOKED_FOR: f32 = 10.0;
/// Rows that are read whatever they promise.
const LEAST_ROWS: f32 = 2_000.0;
/// These take no more than the bytes of the budget, unless a filter leaves less than one row in so many.
const WITHIN_BUDGET: f32 = 100.0;
/// A request is worth as many rows as have so many bytes.
pub(crate) const REQUEST_BYTES: u64 = 64 << 10;
/// Codes are read until so many rows are among them that match the filter, whatever the bytes of the budget: with fewer, what a
/// narrow filter leaves is not found. Measured, see `docs/0005-cold-search.md`.
const LEAST_MATCHING: u64 = 1_000;
/// Where less of what matches is found than this share of what would be if it were spread evenly, it is elsewhere.
const SPREAD: (u64, u64) = (3, 2);
/// Requests that find out what is newest, beside the first trip.
const STATE_REQUESTS: usize = 1;
/// Bytes of codes that one request asks for at most, as long as there are requests left: what is more comes faster side by side.
pub(crate) const RANGE_BYTES: u64 = 1 << 20;
/// Ranges of codes that are read at least, whatever the budget, and so many more for each segment after the first: with fewer
/// too much is missed.
const LEAST_RANGES: usize = 16;
const RANGES_OF_SEGMENT: usize = 8;
/// What a block of payloads takes, about, where it is not known, with what is read between it and a neighbour.
pub(crate) const PAYLOAD_BLOCK: u64 = 16_000;

/// Bytes of codes that a search reads at most of a segment which has `all`, where so many of its rows match a filter and `share` is
/// its part of the budget's bytes.
pub(crate) fn codes_at_most(all: u64, rows: u64, matching: u64, share: u64) -> u64 {
    let least = (LEAST_MATCHING * rows / matching.max(1)).min(rows);
    (all / rows.max(1) * least).max(share).min(all)
}

/// What the payload of one row takes, about: a block, and half of one that lies between two which are read together.
fn payload_bytes(groups: &[Group]) -> u64 {
    let segments = groups.iter().flat_map(|group| &group.segments);
    let payloads = segments.filter_map(|segment| segment.rows.payloads.as_ref());
    payloads.map(|payloads| payloads.mean_block() * 3 / 2).max().unwrap_or_default()
}

/// What is asked of the bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    pub requests: usize,
    pub bytes: u64,
}

impl Asked {
    /// The same with no more than so many bytes.
    pub fn within(self, bytes: u64) -> Self {
        Self { bytes: self.bytes.min(bytes), ..self }
    }
}

impl AddAssign for Asked {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
    }
}

/// A range of codes to be read.
pub(crate) struct CodeRead<'a, 'g> {
    pub segment: &'g Segment<'a>,
    pub query: &'g ColdQuery,
    pub places: Range<u32>,
}

impl CodeRead<'_, '_> {
    pub fn bytes(&self) -> u64 {
        self.places.len() as u64 * self.segment.index.entry_bytes()
    }
}

/// What of these reads is in none of the places that were read before.
pub(crate) fn unread<'a, 'g>(
    reads: Vec<CodeRead<'a, 'g>>,
    before: &[(&'g Segment<'a>, Range<u32>)],
) -> Vec<CodeRead<'a, 'g>> {
    let of_read = |CodeRead { segment, query, places }: CodeRead<'a, 'g>| {
        let known = before.iter().filter(|(of, _)| std::ptr::eq(*of, segment));
        let left = known.fold(vec![places], |left, (_, known)| {
            left.into_iter().flat_map(|places| outside(&places, known)).collect()
        });
        left.into_iter().map(move |places| CodeRead { segment, query, places })
    };
    reads.into_iter().flat_map(of_read).collect()
}

/// What of a range is before and after another.
fn outside(range: &Range<u32>, other: &Range<u32>) -> impl Iterator<Item = Range<u32>> + use<> {
    let before = range.start..range.end.min(other.start);
    let after = range.start.max(other.end)..range.end;
    [before, after].into_iter().filter(|range| !range.is_empty())
}

impl Segment<'_> {
    /// A range of codes in pieces of [`RANGE_BYTES`], or larger ones, so that there are at most `spare` more than one.
    fn pieces(&self, places: Range<u32>, spare: usize) -> Vec<Range<u32>> {
        let mut most = (RANGE_BYTES / self.index.entry_bytes().max(1)).max(1) as u32;
        loop {
            let pieces = self.index.places().pieces(places.clone(), most);
            if pieces.len() <= spare + 1 {
                return pieces;
            }
            most = most.saturating_mul(2);
        }
    }
}

/// What the second trip may read in all.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    read: ReadBudget,
    /// Of all segments.
    rows: u64,
    /// Of these the answers are.
    matching: u64,
    /// Bytes of one place.
    entry: u64,
    /// Whether a filter may let pass what is elsewhere than what is near, and more was not read yet for that reason.
    may_be_elsewhere: bool,
    /// Bytes that the third trip will take at least, and about.
    third_trip: (u64, u64),
    /// Requests of the second and the third trip together, and those that are set aside for the third.
    requests: (usize, usize),
    shares: u64,
}

impl Plan {
    /// What the other trips leave of the budget, and what the search asks for `beside` the lists. `rows` are compared.
    pub fn new(groups: &[Group], read: FarRead, rows: usize, beside: Asked) -> Self {
        let FarRead { query, scorer, with_payload, budget } = read;
        let row_bytes = scorer.row_bytes() as u64;
        let segments = || groups.iter().flat_map(|group| &group.segments);
        let deletes = |segment: &Segment| segment.rows.reader.meta().part(&PartKind::Deletes).is_some();
        let of_segment = |segment| 1 + usize::from(deletes(segment)) + usize::from(with_payload);
        let first =
            STATE_REQUESTS + beside.requests + groups.len() + segments().map(of_segment).sum::<usize>();
        let set_aside = read.row_requests(rows);
        let left = budget.requests.saturating_sub(first);
        let outlines: u64 = groups.iter().map(|group| group.outline.bytes() as u64).sum();
        let heads: u64 = segments().map(|segment| segment.index.head_bytes()).sum();
        let of_rows = rows as u64 * (row_bytes + payload_bytes(groups));
        let others = outlines + heads + of_rows + beside.bytes;
        let bytes = budget.bytes.saturating_sub(others).max(budget.bytes / 4);
        let entry = segments().map(|segment| segment.index.entry_bytes()).max().unwrap_or(1).max(1);
        let third_trip = |matching: u64| (matching.min(rows as u64) * row_bytes, of_rows);
        let rows: u64 = segments().map(|segment| u64::from(segment.index.rows())).sum();
        let matching: u64 = segments().map(Segment::matching).sum();
        let affordable = (bytes / entry).max((LEAST_MATCHING * rows / matching.max(1)).min(rows));
        let least_ranges = LEAST_RANGES + RANGES_OF_SEGMENT * segments().count().saturating_sub(1);
        let times = groups.iter().map(|group| group.outline.calibration().lists).max().unwrap_or(1);
        let ef = query.method.hnsw_ef.unwrap_or(DEFAULT_EF) as f32 / DEFAULT_EF as f32;
        let effort = budget.effort as f32 * ef * times as f32;
        // Among how many of the nearest rows the answer is: what lists promise falls the slower the more these are.
        let depth = (query.limit as f32 / LOOKED_FOR).max(1.0) * rows as f32 / matching.max(1) as f32;
        let whatever_they_promise = ((bytes / entry) as f32 * (depth / WITHIN_BUDGET).max(1.0)) as usize;
        Self {
            read: ReadBudget {
                places: affordable.max(1) as usize,
                // Of more than these some would wait for others: a trip more.
                ranges: left.saturating_sub(set_aside).max(least_ranges).min(budget.requests),
                least: LEAST_PROMISE / (effort * effort * depth.sqrt()),
                at_least: match matching < LEAST_MATCHING {
                    true => rows as usize,
                    false => ((LEAST_ROWS * effort * depth.sqrt()) as usize).min(whatever_they_promise),
                },
                request: REQUEST_BYTES as f32 / entry as f32,
            },
            rows,
            matching,
            entry,
            may_be_elsewhere: segments().any(Segment::is_filtered),
            third_trip: third_trip(matching),
            requests: (left, set_aside),
            shares: budget.shares.max(1),
        }
    }

    /// Requests of the third trip where the second made so many.
    pub fn requests_for_rows(&self, ranges: usize) -> usize {
        let (left, set_aside) = self.requests;
        left.saturating_sub(ranges).max(set_aside)
    }

    /// What is to be read instead where among `read` places so few rows that match were `found` that what matches is elsewhere than what is
    /// near; `None` where that does not seem so, or there is nothing else.
    ///
    /// Rows that match and are far from the query are about as far as each other, so their nearest are spread over many lists.
    pub fn wider(&self, found: u64, read: u64, limit: usize) -> Option<Self> {
        let asked = self.read.at_least.min(self.read.places) as u64;
        if read >= self.rows || asked >= self.rows {
            return None;
        }
        // As many as if what matches were everywhere.
        let expected = (self.matching as f64 * read as f64 / self.rows as f64) as u64;
        let budget = self.read.places as u64;
        let places = if found < self.matching.min(limit as u64) {
            // Lists are read whole: where as much as may be was asked for, whatever it promises, a little less was read.
            if read < budget && self.read.least > 0.0 { budget } else { self.rows }
        } else if self.may_be_elsewhere && SPREAD.0 * found < SPREAD.1 * expected {
            (2 * read).saturating_mul(expected / found.max(1) + 1)
        } else {
            return None;
        };
        let places = places.min(self.rows) as usize;
        let read = ReadBudget { places, at_least: places, least: 0.0, ..self.read };
        Some(Self { read, may_be_elsewhere: false, ..*self })
    }

    /// The codes of the nearest lists.
    pub fn reads<'a, 'g>(&self, groups: &'g [Group<'a>], queries: &'g [ColdQuery]) -> Vec<CodeRead<'a, 'g>> {
        let mut reads = Vec::new();
        for (group, query) in groups.iter().zip(queries) {
            let places: Vec<&ListPlaces> =
                group.segments.iter().map(|segment| segment.index.places()).collect();
            let budget = self.share(group);
            let ranges = plan_reads(&query.promises(&group.outline), &places, budget);
            let mut spare = budget.ranges.saturating_sub(ranges.len());
            for (number, places) in ranges {
                let segment = &group.segments[number];
                let pieces = segment.pieces(places, spare);
                spare -= pieces.len().saturating_sub(1);
                reads.extend(pieces.into_iter().map(|places| CodeRead { segment, query, places }));
            }
        }
        reads
    }

    /// `reads`, or fewer of them if the read may not ask for so much; an error if it must be all.
    pub fn within<'a, 'g>(
        self,
        allowance: &Allowance,
        groups: &'g [Group<'a>],
        queries: &'g [ColdQuery],
        reads: Vec<CodeRead<'a, 'g>>,
    ) -> Result<Vec<CodeRead<'a, 'g>>> {
        let Some(left) = allowance.left() else { return Ok(reads) };
        let bytes: u64 = reads.iter().map(CodeRead::bytes).sum();
        let (third_at_least, third) = self.third_trip;
        if !allowance.takes_parts() {
            allowance.require(bytes.saturating_add(third_at_least))?;
            return Ok(reads);
        }
        let left = left / self.shares;
        let room = left.saturating_sub(third).max(left / 2);
        if bytes <= room {
            return Ok(reads);
        }
        allowance.reach(Limit::Bytes);
        let places = (room / self.entry) as usize;
        let fewer = Self { read: ReadBudget { places, ..self.read }, ..self };
        let mut taken = 0;
        let mut reads = fewer.reads(groups, queries);
        // The nearest list is planned in any case.
        reads.retain(|read| {
            let fits = read.bytes() <= room - taken;
            taken += if fits { read.bytes() } else { 0 };
            fits
        });
        Ok(reads)
    }

    /// What of it is for a group: in proportion to its rows.
    fn share(&self, group: &Group) -> ReadBudget {
        let rows: u64 = group.segments.iter().map(|segment| u64::from(segment.index.rows())).sum();
        let share = |all: usize| (all as u64 * rows).div_ceil(self.rows.max(1)) as usize;
        let ReadBudget { places, ranges, at_least, .. } = self.read;
        ReadBudget {
            places: share(places),
            ranges: share(ranges),
            at_least: share(at_least.min(places)),
            ..self.read
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(matching: u64, places: usize) -> Plan {
        Plan {
            read: ReadBudget { places, ranges: 40, least: 0.001, at_least: 2_000, request: 100.0 },
            rows: 100_000,
            matching,
            entry: 200,
            may_be_elsewhere: true,
            third_trip: (0, 0),
            requests: (60, 20),
            shares: 1,
        }
    }

    #[test]
    fn requests_that_ranges_leave_are_for_rows() {
        let left = |ranges| plan(6_000, 25_000).requests_for_rows(ranges);
        assert_eq!((left(10), left(40), left(99)), (50, 20, 20));
    }

    #[test]
    fn more_is_read_where_what_matches_is_elsewhere() {
        let plan = plan(6_000, 25_000);
        let places = |found, read| plan.wider(found, read, 10).map(|wider| wider.read.places);
        assert_eq!(places(1_200, 20_000), None, "as many as if it were everywhere");
        assert_eq!(places(900, 20_000), None, "or nearly");
        assert_eq!(places(700, 20_000), Some(80_000));
        assert_eq!(places(300, 20_000), Some(100_000), "all there is");
        assert_eq!(places(9, 20_000), Some(25_000), "fewer than the answer has");
        assert_eq!(places(9, 25_000), Some(100_000));
        assert_eq!(places(9, 100_000), None);
        // Once is enough, unless too few are found.
        let wider = plan.wider(700, 20_000, 10).unwrap();
        assert!(wider.wider(700, 80_000, 10).is_none());
        assert_eq!(wider.wider(7, 80_000, 10).map(|wider| wider.read.places), Some(100_000));
        assert!(self::plan(3, 25_000).wider(3, 20_000, 10).is_none(), "all that match were found");
        // Whole lists never fill a budget, and that is no reason to ask for the same for ever.
        let whole = plan.wider(9, 20_000, 10).unwrap();
        let all = whole.wider(9, 24_950, 10).unwrap();
        assert_eq!((whole.read.places, all.read.places), (25_000, 100_000));
        assert!(all.wider(9, 99_950, 10).is_none());
    }

    #[test]
    fn what_was_read_before_is_not_read_again() {
        let left = |known: Range<u32>| -> Vec<(u32, u32)> {
            outside(&(10..20), &known).map(|range| (range.start, range.end)).collect()
        };
        assert_eq!(left(0..10), [(10, 20)]);
        assert_eq!(left(20..30), [(10, 20)]);
        assert_eq!(left(12..15), [(10, 12), (15, 20)]);
        assert_eq!(left(5..15), [(15, 20)]);
        assert_eq!(left(15..25), [(10, 15)]);
        assert_eq!(left(5..25), []);
    }
}
