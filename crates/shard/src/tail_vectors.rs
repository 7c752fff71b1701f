//! The vectors of whole rows in the tail, side by side in memory as the kernels read them: a search looks at all of them.
//!
//! Vectors are copied here once, when a search first meets them, into chunks that the views of later LSNs share. A row
//! that was written again or deleted stays in its chunk; that it is out of date is noticed where it seems near, by its
//! LSN. Chunks of which nothing is left in the tail are dropped, and all are made anew where most of their rows are dead.
//! Larger chunks are coded when they are first searched, so that of most rows a quarter of the bytes is read.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use lodestone_index::dense::BoundedCodes;
use lodestone_kernels::{Element, Metric, decode};
use lodestone_types::PointId;

use crate::memtable::Memtable;
use crate::schema::VectorShape;
use crate::tail::TailEntry;

/// Rows of a chunk beyond which no other is joined to it.
const CHUNK_ROWS: usize = 1024;
/// Fewer are compared as quickly as coded.
const LEAST_CODED: usize = 128;

/// By name the vectors of one tail.
#[derive(Debug, Default)]
pub(crate) struct TailVectors {
    chunks: BTreeMap<Arc<str>, Vec<Arc<Chunk>>>,
}

/// Vectors of one name and of one size, in no particular order.
#[derive(Debug)]
pub(crate) struct Chunk {
    row_bytes: usize,
    vectors: Vec<u8>,
    /// Of each vector the point, and the LSN of its row when it was copied.
    rows: Vec<(PointId, u64)>,
    last_lsn: u64,
    /// Made when first asked for; `None` if such vectors are not coded.
    codes: OnceLock<Option<BoundedCodes>>,
    /// Of the first vectors, if they were coded before others joined them.
    earlier_codes: Option<BoundedCodes>,
}

impl TailVectors {
    /// Those of `memtable`.
    pub fn of(memtable: &Memtable) -> Self {
        let mut vectors = Self::default();
        vectors.push(memtable, memtable.iter().map(|(id, _)| id));
        vectors
    }

    /// Those of `memtable`, where these are of an earlier one at `lsn`.
    pub fn after(&self, lsn: u64, memtable: &Memtable) -> Self {
        let mut next = Self { chunks: self.chunks.clone() };
        for chunks in next.chunks.values_mut() {
            chunks.retain(|chunk| chunk.last_lsn > memtable.folded());
        }
        let mut ids: Vec<PointId> = memtable.ids_after(lsn).collect();
        ids.sort_unstable();
        ids.dedup();
        next.push(memtable, ids.into_iter());
        if next.is_outworn(memtable, 0) { Self::of(memtable) } else { next }
    }

    /// Whether, with so many more rows, most would be dead.
    pub fn is_outworn(&self, memtable: &Memtable, more: usize) -> bool {
        let rows = |chunks: &Vec<Arc<Chunk>>| chunks.iter().map(|chunk| chunk.rows.len()).sum();
        let most = 2 * memtable.len() + CHUNK_ROWS;
        self.chunks.values().map(rows).any(|rows: usize| rows + more > most)
    }

    /// The vectors called `name`.
    pub fn named(&self, name: &str) -> &[Arc<Chunk>] {
        self.chunks.get(name).map_or(&[], Vec::as_slice)
    }

    /// Adds those of `ids` that are whole rows.
    fn push(&mut self, memtable: &Memtable, ids: impl Iterator<Item = PointId>) {
        let mut fresh: BTreeMap<Arc<str>, Vec<Chunk>> = BTreeMap::new();
        for id in ids {
            let Some(TailEntry::Row(row)) = memtable.get(id).map(|entry| &**entry) else { continue };
            for (name, bytes) in &row.vectors {
                let chunks = match fresh.get_mut(name) {
                    Some(chunks) => chunks,
                    None => fresh.entry(name.clone()).or_default(),
                };
                let goes_on =
                    chunks.last().is_some_and(|c| c.row_bytes == bytes.len() && c.rows.len() < CHUNK_ROWS);
                if !goes_on {
                    chunks.push(Chunk::new(bytes.len()));
                }
                if let Some(chunk) = chunks.last_mut() {
                    chunk.push(id, row.lsn, bytes);
                }
            }
        }
        for (name, new) in fresh {
            let chunks = self.chunks.entry(name).or_default();
            for chunk in new {
                add(chunks, chunk);
            }
        }
    }
}

/// Adds a chunk, and joins it to those before it that are not much larger: however few rows come at a time, there are few
/// chunks, and each vector is copied a few times only.
fn add(chunks: &mut Vec<Arc<Chunk>>, mut chunk: Chunk) {
    while let Some(before) = chunks.pop_if(|before| before.takes(&chunk)) {
        chunk = before.with(&chunk);
    }
    chunks.push(Arc::new(chunk));
}

impl Chunk {
    fn new(row_bytes: usize) -> Self {
        Self {
            row_bytes,
            vectors: Vec::new(),
            rows: Vec::new(),
            last_lsn: 0,
            codes: OnceLock::new(),
            earlier_codes: None,
        }
    }

    /// All vectors of both.
    fn with(&self, other: &Self) -> Self {
        Self {
            row_bytes: self.row_bytes,
            vectors: [&self.vectors[..], &other.vectors[..]].concat(),
            rows: [&self.rows[..], &other.rows[..]].concat(),
            last_lsn: self.last_lsn.max(other.last_lsn),
            codes: OnceLock::new(),
            earlier_codes: self.codes.get().cloned().flatten().or_else(|| self.earlier_codes.clone()),
        }
    }

    fn push(&mut self, id: PointId, lsn: u64, vector: &[u8]) {
        self.vectors.extend_from_slice(vector);
        self.rows.push((id, lsn));
        self.last_lsn = self.last_lsn.max(lsn);
    }

    fn takes(&self, other: &Chunk) -> bool {
        self.row_bytes == other.row_bytes
            && self.rows.len() + other.rows.len() <= CHUNK_ROWS
            && self.rows.len() <= 2 * other.rows.len()
    }

    /// Bytes of each vector.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// One vector after another, in their stored form.
    pub fn vectors(&self) -> &[u8] {
        &self.vectors
    }

    /// Codes of the vectors, if there are so many of them and they are of a kind that it pays for.
    pub fn codes(&self, shape: &VectorShape) -> Option<&BoundedCodes> {
        let are_coded = self.rows.len() >= LEAST_CODED
            && self.row_bytes == shape.row_bytes()
            && shape.metric != Metric::Manhattan
            && shape.element != Element::U8;
        let code = || {
            let row = |number: usize, out: &mut [f32]| {
                let mut vector = Vec::with_capacity(shape.dim);
                decode(
                    shape.element,
                    &self.vectors[number * self.row_bytes..][..self.row_bytes],
                    &mut vector,
                );
                out.copy_from_slice(&vector);
            };
            let count = self.rows.len();
            are_coded.then(|| match &self.earlier_codes {
                Some(codes) => codes.up_to(count, &row),
                None => BoundedCodes::of(shape.dim, count, &row),
            })
        };
        self.codes.get_or_init(code).as_ref()
    }

    /// Of each vector its point and the LSN of its row.
    pub fn rows(&self) -> &[(PointId, u64)] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lodestone_wal::{Delta, IdSet, Op, Row};
    use proptest::prelude::*;

    use super::*;

    fn put(ids: &[u64], byte: u8) -> Op {
        let row = |id: &u64| Row {
            id: PointId::Num(*id),
            vectors: vec![("".into(), Bytes::from(vec![byte; 4]))],
            payload: Bytes::new(),
        };
        Op::Put(ids.iter().map(row).collect())
    }

    /// The rows of the chunks that are up to date, by id.
    fn live(vectors: &TailVectors, memtable: &Memtable) -> Vec<(PointId, Vec<u8>)> {
        let mut live = Vec::new();
        for chunk in vectors.named("") {
            for (row, (id, lsn)) in chunk.rows().iter().enumerate() {
                if memtable.row_at(*id, *lsn) {
                    let size = chunk.row_bytes();
                    live.push((*id, chunk.vectors()[row * size..(row + 1) * size].to_vec()));
                }
            }
        }
        live.sort();
        live
    }

    fn expected(memtable: &Memtable) -> Vec<(PointId, Vec<u8>)> {
        let row = |(id, entry): (PointId, &Arc<TailEntry>)| match &**entry {
            TailEntry::Row(row) => row.vector("").map(|bytes| (id, bytes.to_vec())),
            _ => None,
        };
        memtable.iter().filter_map(row).collect()
    }

    proptest! {
        #[test]
        fn each_step_shows_the_tail_as_it_is(
            steps in prop::collection::vec((prop::collection::vec(0u64..60, 1..12), 0u8..4, any::<bool>()), 1..60),
        ) {
            let mut memtable = Memtable::new(0);
            let mut vectors = TailVectors::of(&memtable);
            let mut seen = 0;
            for (lsn, (ids, what, look)) in (1u64..).zip(steps) {
                let set = || ids.iter().map(|id| PointId::Num(*id)).collect::<IdSet>();
                let op = match what {
                    0 => Op::Delete(set()),
                    1 => Op::Patch { ids: set(), delta: Delta::ClearPayload },
                    _ => put(&ids, lsn as u8),
                };
                memtable = memtable.apply(lsn, vec![op, put(&ids[..1], !(lsn as u8))]).unwrap();
                if lsn % 17 == 0 {
                    memtable = memtable.after_fold(lsn - 5).unwrap();
                }
                if look {
                    vectors = vectors.after(seen, &memtable);
                    seen = lsn;
                    prop_assert_eq!(live(&vectors, &memtable), expected(&memtable));
                    let rows: usize = vectors.named("").iter().map(|chunk| chunk.rows.len()).sum();
                    prop_assert!(rows <= 2 * memtable.len() + CHUNK_ROWS);
                }
            }
        }
    }

    #[test]
    fn single_rows_make_few_chunks_that_later_ones_share() {
        let mut memtable = Memtable::new(0);
        let mut vectors = TailVectors::of(&memtable);
        for lsn in 1..=5000 {
            memtable = memtable.apply(lsn, vec![put(&[lsn], 1)]).unwrap();
            vectors = vectors.after(lsn - 1, &memtable);
        }
        let before = vectors.named("").to_vec();
        assert!(before.len() < 20, "{} chunks", before.len());
        assert!(before.iter().all(|chunk| chunk.rows().len() <= CHUNK_ROWS));
        memtable = memtable.apply(5001, vec![put(&[5001], 1)]).unwrap();
        let after = vectors.after(5000, &memtable);
        assert!(Arc::ptr_eq(&before[0], &after.named("")[0]));
        assert_eq!(live(&after, &memtable).len(), 5001);
        let rest = memtable.after_fold(4990).unwrap();
        let rest_vectors = after.after(5001, &rest);
        assert_eq!(live(&rest_vectors, &rest), expected(&rest));
        assert!(rest_vectors.named("").len() < after.named("").len());
    }
}
