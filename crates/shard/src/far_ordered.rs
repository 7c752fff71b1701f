//! Far segments that have codes of what matches in the order of a field which the filter is about, as those of tenants and of rare values do:
//! they lie together there, and are read instead of those of the nearest lists. All that matches is looked at, so it does not matter where it is.
//!
//! 1. what the model makes of queries, where payloads are
//! 2. the codes of all rows that match, and what they are checked by
//! 3. the vectors of the most promising rows, and their payloads

use bytes::Bytes;
use futures::future::{FutureExt, try_join, try_join_all};
use lodestone_index::dense::ColdQuery;
use lodestone_segment::{PartKind, RowBlocks, RowChecks, RowRun, SegmentReader, TagLayout};
use lodestone_types::{JsonPath, Result};
use rayon::prelude::*;
use roaring::RoaringBitmap;

use crate::allowance::Allowance;
use crate::far::{FarRead, next_in_time, unless_damaged};
use crate::far_compare::{Candidate, RowPlaces};
use crate::far_plan::{Asked, PAYLOAD_BLOCK, REQUEST_BYTES};
use crate::far_runs::{self, Runs};
use crate::loading::on_pool;
use crate::view::ShardView;

/// The orders in which a far segment has codes, of those that a filter's fields have.
pub(crate) struct Orders {
    reader: SegmentReader,
    /// The name of the vectors.
    using: String,
    /// The rows that match.
    rows: RoaringBitmap,
    /// With where the codes are, of as many rows at least.
    fields: Vec<(JsonPath, RowBlocks)>,
    /// What a search by the codes of lists reads at most.
    by_lists: u64,
}

impl Orders {
    /// Those of a segment; `None` where there are none, or what matches is so much that a search by the codes of lists, which costs
    /// `by_lists` bytes at most, reads less.
    pub fn of(
        reader: &SegmentReader,
        rows: &RoaringBitmap,
        using: &str,
        fields: &[JsonPath],
        by_lists: u64,
    ) -> Result<Option<Self>> {
        let mut having = Vec::new();
        for field in fields {
            let blocks = unless_damaged(reader.ordered_blocks(using, field))?.flatten();
            let blocks = blocks.filter(|blocks| u64::from(blocks.rows()) >= rows.len());
            having.extend(blocks.map(|blocks| (field.clone(), blocks)));
        }
        let (reader, using) = (reader.clone(), using.to_owned());
        let orders = Self { reader, using, rows: rows.clone(), fields: having, by_lists };
        Ok((!orders.fields.is_empty() && orders.at_least() < by_lists).then_some(orders))
    }

    /// What reading in one of them costs at least, in bytes, a request counting as some.
    pub fn at_least(&self) -> u64 {
        let bytes = |(_, blocks): &(_, RowBlocks)| cost(blocks, self.rows.len() * blocks.row_bytes(), 1);
        self.fields.iter().map(bytes).min().unwrap_or_default()
    }

    /// Of each segment what is to be read in the order in which that is the least, if it is less than the codes of lists. All rows of the
    /// segments are looked at, so it takes a processor for a while. The indexes of the fields are loaded.
    pub async fn best(all: Vec<Option<Self>>) -> Result<Vec<Option<Ordered>>> {
        if all.iter().all(Option::is_none) {
            return Ok(all.iter().map(|_| None).collect());
        }
        let best = |orders: Option<Self>| orders.map_or(Ok(None), Self::least);
        on_pool(move || all.into_par_iter().map(best).collect()).await?
    }

    fn least(self) -> Result<Option<Ordered>> {
        let mut least: Option<Ordered> = None;
        for (field, blocks) in self.fields {
            let order = unless_damaged(self.reader.ordered_rows(&self.using, &field))?.flatten();
            let Some(order) = order else { continue };
            let places = places_of(&order, &self.rows, self.reader.rows());
            if places.len() as u64 != self.rows.len() {
                // Other values than rare ones match too.
                continue;
            }
            let runs = blocks.runs(places.iter().map(|(place, _)| *place));
            let found = Ordered { places, codes: Runs { reader: self.reader.clone(), blocks, runs } };
            if found.cost() < least.as_ref().map_or(self.by_lists, Ordered::cost) {
                least = Some(found);
            }
        }
        Ok(least)
    }
}

/// A far segment of which the codes of what matches are read, in the order of a field.
pub(crate) struct Ordered {
    /// Where the rows that match are in that order, ascending, and which row each is.
    places: Vec<(u32, u32)>,
    codes: Runs,
}

impl Ordered {
    /// What reading them costs, in bytes, a request counting as some.
    pub fn cost(&self) -> u64 {
        cost(&self.codes.blocks, self.codes.bytes(), self.codes.runs.len() as u64)
    }

    /// What a search asks for because of them until it compares vectors, but for tables of payloads; with the outline of the model of the
    /// vectors called `using`, unless that is known.
    pub fn asked(&self, using: &str, with_outline: bool) -> Result<Asked> {
        let outline = if with_outline { self.codes.reader.outline_bytes(using)? } else { 0 };
        let deletes = usize::from(self.codes.reader.meta().part(&PartKind::Deletes).is_some());
        Ok(Asked {
            requests: self.codes.requests() + usize::from(with_outline) + deletes,
            bytes: self.codes.bytes() + self.codes.blocks.checksum_bytes() + outline,
        })
    }

    /// Its segment.
    pub fn reader(&self) -> &SegmentReader {
        &self.codes.reader
    }

    /// The places and rows of a run.
    fn of_run(&self, run: &RowRun) -> &[(u32, u32)] {
        let start = self.places.partition_point(|(place, _)| place < run.rows.start());
        let end = self.places.partition_point(|(place, _)| place <= run.rows.end());
        &self.places[start..end]
    }
}

/// What the first trip brought of a segment.
pub(crate) struct Begun<'o> {
    ordered: &'o Ordered,
    query: ColdQuery,
    tags: TagLayout,
    /// How many more rows than usual codes leave in doubt.
    pub times: u32,
    rows: RowPlaces<'o>,
}

impl<'o> Begun<'o> {
    async fn new(ordered: &'o Ordered, read: FarRead<'_>) -> Result<Self> {
        let (reader, using) = (&ordered.codes.reader, read.query.using);
        let rows = RowPlaces::find(reader, using, read.with_payload);
        let (outline, rows) = try_join(reader.outline(using), rows).await?;
        let query = ColdQuery::new(&outline, read.query.vector);
        let tags = reader.tag_layout(using)?;
        Ok(Self { ordered, query, tags, times: outline.calibration().candidates, rows })
    }

    /// What codes say of the rows of a run that match, once they have come.
    fn candidates<'g>(
        &'g self,
        run: &RowRun,
        checks: &RowChecks,
        bytes: &Bytes,
    ) -> Result<Vec<Candidate<'o, 'g>>> {
        let places = self.ordered.of_run(run);
        let codes = checks.of_run(run, bytes, places.iter().map(|(place, _)| *place))?;
        let candidate = |((_, row), (_, code)): (&(u32, u32), (u32, Bytes))| {
            let row = self.ordered.codes.reader.ordered_candidate(&self.query, &code, self.tags, *row)?;
            Ok(Candidate { rows: &self.rows, row })
        };
        places.iter().zip(codes).map(candidate).collect()
    }
}

/// So many bytes of such blocks, in so many runs, and what they are checked by.
fn cost(blocks: &RowBlocks, bytes: u64, runs: u64) -> u64 {
    bytes + blocks.checksum_bytes() + (runs + 1) * REQUEST_BYTES
}

/// Where in an order, of rows of a segment of so many, these rows are, and which of them is there.
fn places_of(order: &[u32], rows: &RoaringBitmap, segment_rows: u32) -> Vec<(u32, u32)> {
    let mut wanted = vec![false; segment_rows as usize];
    rows.iter().for_each(|row| {
        if let Some(wanted) = wanted.get_mut(row as usize) {
            *wanted = true;
        }
    });
    let places = (0..).zip(order.iter().copied());
    places.filter(|(_, row)| wanted.get(*row as usize) == Some(&true)).collect()
}

impl ShardView {
    /// The first trip.
    pub(crate) async fn begun<'o>(
        &self,
        ordered: &'o [Ordered],
        read: FarRead<'_>,
    ) -> Result<Vec<Begun<'o>>> {
        try_join_all(ordered.iter().map(|ordered| Begun::new(ordered, read))).await
    }

    /// The second trip: rows that are still what their segment says, or have other payloads. Where a part of the answer will do, no
    /// more codes are read than the read's [`Allowance`] leaves to them beside `compared` vectors.
    pub(crate) async fn ordered_candidates<'o, 'g>(
        &self,
        begun: &'g [Begun<'o>],
        compared: usize,
        read: FarRead<'_>,
    ) -> Result<Vec<Candidate<'o, 'g>>> {
        let allowance = Allowance::current();
        let until = allowance.as_ref().and_then(|allowance| allowance.codes_until());
        let codes: Vec<&Runs> = begun.iter().map(|begun| &begun.ordered.codes).collect();
        let checks = codes.iter().map(|codes| codes.blocks.checksum_bytes()).sum();
        let of_row = read.scorer.row_bytes() as u64 + if read.with_payload { PAYLOAD_BLOCK } else { 0 };
        let vectors = compared as u64 * of_row;
        let all = codes.iter().copied();
        let runs = far_runs::within(allowance.as_deref(), all, checks, vectors, read.budget.shares)?;
        let checks = codes.iter().map(|codes| codes.checks().boxed()).collect();
        let mut reads = far_runs::read(runs, codes, checks, |number, run, checks, bytes| {
            begun[number].candidates(run, checks, bytes)
        });
        let mut candidates: Vec<Candidate> = Vec::new();
        while let Some(found) = next_in_time(&mut reads, until).await? {
            let stays = |candidate: &Candidate| self.may_answer(candidate.row.tag.id, read.query);
            candidates.extend(found.into_iter().filter(stays));
        }
        Ok(candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_in_an_order() {
        let places = |rows: &[u32]| places_of(&[4, 0, 2, 3, 1], &rows.iter().copied().collect(), 6);
        assert!(places(&[]).is_empty());
        assert_eq!(places(&[0, 4]), [(0, 4), (1, 0)]);
        assert_eq!(places(&[1, 2, 5, 9]), [(2, 2), (4, 1)], "row 5 is not in order, and there is no row 9");
    }
}
