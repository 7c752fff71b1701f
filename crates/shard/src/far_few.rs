//! Far segments of which a filter leaves few rows, or rows that lie together, as those of a tenant do whose ids follow one another:
//! their vectors are read and compared, all of them, and nothing of the others. Two requests in a row after those that say which rows match:
//!
//! 1. blocks of vectors and what they are checked by, ids, where payloads are
//! 2. the payloads of the answers

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{FutureExt, try_join, try_join_all};
use futures::stream::{self, StreamExt};
use lodestone_segment::{FarPayloads, PartKind, RowBlocks, RowChecks, RowRun, SegmentReader};
use lodestone_store::{Stage, stage};
use lodestone_types::{PointId, Result};
use roaring::RoaringBitmap;

use crate::allowance::Allowance;
use crate::best::{Best, Scored};
use crate::far::{AT_ONCE, FarRead, next_in_time, under_way, unless_excused};
use crate::far_compare::FarHit;
use crate::far_plan::{PAYLOAD_BLOCK, REQUEST_BYTES, runs_within};
use crate::view::ShardView;

/// What a run costs beside its bytes, in bytes of codes: more than a request for these does, as buckets charge for requests. Measured,
/// see `docs/0005-cold-search.md`.
pub(crate) const RUN_COST: u64 = 4 * REQUEST_BYTES;

/// A far segment whose rows that match are read alone.
pub(crate) struct Few<'a> {
    reader: &'a SegmentReader,
    rows: &'a RoaringBitmap,
    blocks: RowBlocks,
    runs: Vec<RowRun>,
}

impl<'a> Few<'a> {
    /// What is to be read if these are the rows that match; `None` where that costs more than what a search by `codes` does at most, or where
    /// not all rows have the vector.
    pub fn of(
        reader: &'a SegmentReader,
        rows: &'a RoaringBitmap,
        using: &str,
        codes: u64,
    ) -> Result<Option<Self>> {
        let Some(blocks) = reader.vector_blocks(using)? else { return Ok(None) };
        if rows.len() * blocks.row_bytes() > codes {
            return Ok(None);
        }
        let few = Self { reader, rows, runs: blocks.runs(rows), blocks };
        Ok((few.cost() < codes).then_some(few))
    }

    /// What reading them costs, in bytes of codes.
    pub fn cost(&self) -> u64 {
        self.bytes() + self.runs.len() as u64 * RUN_COST
    }

    /// Bytes that are read before it is known which rows are near.
    fn bytes(&self) -> u64 {
        let ids = self.reader.meta().part(&PartKind::Ids).filter(|part| !self.reader.is_near(&part.kind));
        let runs: u64 = self.runs.iter().map(RowRun::len).sum();
        runs + self.blocks.checksum_bytes() + ids.map_or(0, |part| part.length)
    }

    /// What vectors are checked by, once ids are here too.
    async fn known(&self) -> Result<Arc<RowChecks>> {
        let ids = self.reader.load(&[PartKind::Ids]);
        Ok(Arc::new(try_join(self.reader.row_checks(&self.blocks), ids).await?.0))
    }
}

/// A row that was compared.
struct Near {
    id: PointId,
    /// The number of its segment, and its own in that.
    place: (usize, u32),
    vector: Bytes,
}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Near {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Near {}

impl ShardView {
    /// The nearest of these rows, nearest first, at most as many as asked for. Where a part of the answer will do, no more of them
    /// are read than the read's [`Allowance`] leaves to it.
    pub(crate) async fn nearest_of_few(&self, few: &[Few<'_>], read: FarRead<'_>) -> Result<Vec<FarHit>> {
        if few.is_empty() {
            return Ok(Vec::new());
        }
        stage(Stage::Rows, self.hits_of_few(few, read)).await
    }

    async fn hits_of_few(&self, few: &[Few<'_>], read: FarRead<'_>) -> Result<Vec<FarHit>> {
        let payloads = async {
            match read.with_payload {
                true => try_join_all(few.iter().map(|few| few.reader.far_payloads())).await,
                false => Ok(Vec::new()),
            }
        };
        let near = self.nearest_rows(few, read);
        let (payloads, near) = try_join(payloads, near).await?;
        let mut texts = texts_of(few, &payloads, &near).await?;
        let greater = read.scorer.metric().greater_is_nearer();
        let mut hits = Vec::with_capacity(near.len());
        for hit in near {
            let Near { id, place: (segment, row), ref vector } = hit.key;
            let text = match read.with_payload {
                false => None,
                // What an answer shows cannot be left out of it.
                true => match texts.remove(&(segment, row)) {
                    Some(text) => Some(text),
                    None => continue,
                },
            };
            let lsn = few[segment].reader.lsn(row)?;
            hits.push(self.hit(id, hit.score(greater), lsn, vector.clone(), text)?);
        }
        Ok(hits)
    }

    async fn nearest_rows(&self, few: &[Few<'_>], read: FarRead<'_>) -> Result<Vec<Scored<Near>>> {
        let FarRead { query, scorer, with_payload, budget } = read;
        let allowance = Allowance::current();
        let until = allowance.as_ref().and_then(|allowance| allowance.codes_until());
        let shown = few.iter().map(|few| few.rows.len()).sum::<u64>().min(query.limit as u64);
        let payloads = if with_payload { shown * PAYLOAD_BLOCK } else { 0 };
        let known: Vec<_> = few.iter().map(|few| few.known().boxed().shared()).collect();
        let reads = within(allowance.as_deref(), few, payloads, budget.shares)?;
        let reads = reads.into_iter().map(|(number, run)| {
            let (few, known) = (&few[number], known[number].clone());
            async move {
                let _permit = under_way(run.len()).await?;
                let (vectors, bytes) = try_join(known, few.reader.far_run(&few.blocks, run)).await?;
                Ok((number, vectors.of_run(run, &bytes, few.rows.range(run.rows.clone()))?))
            }
        });
        let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        let (greater, mut best) = (scorer.metric().greater_is_nearer(), Best::new(query.limit));
        while let Some((number, rows)) = next_in_time(&mut reads, until).await? {
            for (row, vector) in rows {
                let score = scorer.score(&vector);
                let has_chance =
                    best.bar().is_none_or(|bar: &Scored<Near>| !bar.is_nearer_than(score, greater));
                if !has_chance || !query.is_near_enough(score, greater) {
                    continue;
                }
                let id = few[number].reader.id(row)?;
                if self.may_answer(id, query) {
                    // All that was read with it can go.
                    let vector = Bytes::copy_from_slice(&vector);
                    best.push(Scored::new(score, greater, Near { id, place: (number, row), vector }));
                }
            }
        }
        Ok(best.into_sorted())
    }
}

/// All runs, each with the number of its segment, or as many as the read may ask for beside `payloads` bytes of payloads; an error
/// if it must be all.
fn within<'f>(
    allowance: Option<&Allowance>,
    few: &'f [Few<'_>],
    payloads: u64,
    shares: u64,
) -> Result<Vec<(usize, &'f RowRun)>> {
    let all = few.iter().enumerate().flat_map(|(number, few)| few.runs.iter().map(move |run| (number, run)));
    let others = few.iter().map(|few| few.bytes() - few.runs.iter().map(RowRun::len).sum::<u64>()).sum();
    runs_within(allowance, all.collect(), others, payloads, shares)
}

/// The JSON texts of the payloads of these rows, by segment and row; none where there are no `payloads`, or for one that cannot be
/// read within limits that the answer may be cut short by.
async fn texts_of(
    few: &[Few<'_>],
    payloads: &[FarPayloads],
    near: &[Scored<Near>],
) -> Result<BTreeMap<(usize, u32), Bytes>> {
    let of_segment = few.iter().zip(payloads).enumerate().map(|(number, (few, payloads))| async move {
        let places = near.iter().map(|hit| hit.key.place).filter(|(segment, _)| *segment == number);
        let rows: Vec<u32> = places.map(|(_, row)| row).collect();
        let texts = few.reader.far_payload_texts(payloads, &rows).await?;
        let texts = rows.into_iter().zip(texts);
        texts.map(|(row, text)| Ok(((number, row), unless_excused(text)?))).collect::<Result<Vec<_>>>()
    });
    let texts = try_join_all(of_segment).await?.into_iter().flatten();
    Ok(texts.filter_map(|(place, text)| Some((place, text?))).collect())
}
