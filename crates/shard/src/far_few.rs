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
use lodestone_segment::{FarPayloads, PartKind, RowChecks, SegmentReader};
use lodestone_store::{Stage, stage};
use lodestone_types::{PointId, Result};
use roaring::RoaringBitmap;

use crate::allowance::Allowance;
use crate::best::{Best, Scored};
use crate::far::{FarRead, next_in_time, unless_excused};
use crate::far_compare::FarHit;
use crate::far_plan::{Asked, PAYLOAD_BLOCK, REQUEST_BYTES};
use crate::far_runs::{self, Runs};
use crate::view::ShardView;

/// What a run costs beside its bytes, in bytes of codes: more than a request for these does, as buckets charge for requests. Measured,
/// see `docs/0005-cold-search.md`.
pub(crate) const RUN_COST: u64 = 4 * REQUEST_BYTES;

/// A far segment whose rows that match are read alone.
pub(crate) struct Few<'a> {
    rows: &'a RoaringBitmap,
    vectors: Runs,
}

impl<'a> Few<'a> {
    /// What is to be read if these are the rows that match; `None` where that costs more than what a search by `codes` does at most, or where
    /// not all rows have the vector.
    pub fn of(
        reader: &SegmentReader,
        rows: &'a RoaringBitmap,
        using: &str,
        codes: u64,
    ) -> Result<Option<Self>> {
        let Some(blocks) = reader.vector_blocks(using)? else { return Ok(None) };
        if rows.len() * blocks.row_bytes() > codes {
            return Ok(None);
        }
        let vectors = Runs { reader: reader.clone(), runs: blocks.runs(rows), blocks };
        let few = Self { rows, vectors };
        Ok((few.cost() < codes).then_some(few))
    }

    /// What reading them costs, in bytes of codes.
    pub fn cost(&self) -> u64 {
        self.vectors.bytes() + self.others() + self.vectors.runs.len() as u64 * RUN_COST
    }

    /// What a search asks for because of them, but for payloads.
    pub fn asked(&self) -> Asked {
        let requests = self.vectors.requests() + usize::from(self.ids() > 0);
        Asked { requests, bytes: self.vectors.bytes() + self.others() }
    }

    /// How many they are.
    pub fn rows(&self) -> u64 {
        self.rows.len()
    }

    /// Their segment.
    pub fn reader(&self) -> &SegmentReader {
        &self.vectors.reader
    }

    /// Bytes of ids, if they are not here.
    fn ids(&self) -> u64 {
        let reader = &self.vectors.reader;
        let ids = reader.meta().part(&PartKind::Ids).filter(|part| !reader.is_near(&part.kind));
        ids.map_or(0, |part| part.length)
    }

    /// Bytes that are read with the runs.
    fn others(&self) -> u64 {
        self.vectors.blocks.checksum_bytes() + self.ids()
    }

    /// What vectors are checked by, once ids are here too.
    async fn known(&self) -> Result<Arc<RowChecks>> {
        let ids = [PartKind::Ids];
        Ok(try_join(self.vectors.checks(), self.vectors.reader.load(&ids)).await?.0)
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
                true => try_join_all(few.iter().map(|few| few.vectors.reader.far_payloads())).await,
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
            let lsn = few[segment].vectors.reader.lsn(row)?;
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
        let segments: Vec<&Runs> = few.iter().map(|few| &few.vectors).collect();
        let others = few.iter().map(Few::others).sum();
        let all = segments.iter().copied();
        let runs = far_runs::within(allowance.as_deref(), all, others, payloads, budget.shares)?;
        let known = few.iter().map(|few| few.known().boxed()).collect();
        let mut reads = far_runs::read(runs, segments, known, |number, run, vectors, bytes| {
            let rows = few[number].rows.range(run.rows.clone());
            Ok((number, vectors.of_run(run, bytes, rows)?))
        });
        let (greater, mut best) = (scorer.metric().greater_is_nearer(), Best::new(query.limit));
        while let Some((number, rows)) = next_in_time(&mut reads, until).await? {
            for (row, vector) in rows {
                let score = scorer.score(&vector);
                let has_chance =
                    best.bar().is_none_or(|bar: &Scored<Near>| !bar.is_nearer_than(score, greater));
                if !has_chance || !query.is_near_enough(score, greater) {
                    continue;
                }
                let id = few[number].vectors.reader.id(row)?;
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
        let texts = few.vectors.reader.far_payload_texts(payloads, &rows).await?;
        let texts = rows.into_iter().zip(texts);
        texts.map(|(row, text)| Ok(((number, row), unless_excused(text)?))).collect::<Result<Vec<_>>>()
    });
    let texts = try_join_all(of_segment).await?.into_iter().flatten();
    Ok(texts.filter_map(|(place, text)| Some((place, text?))).collect())
}
