//! Search by a segment's vector index: candidates from codes, decided by the vectors themselves.

use lodestone_index::dense::{Effort, Filter, Model, Searcher, VectorIndex};
use lodestone_segment::{ColumnOnDisk, VectorColumn};
use lodestone_types::Result;
use roaring::RoaringBitmap;

use crate::best::{Best, Scored};
use crate::nearest::Scan;

/// Beam width that stands for what the user left open, as in Qdrant.
const DEFAULT_EF: usize = 128;
/// Lists to scan per two units of `hnsw_ef`, where rows are in two lists and where they are in one.
const LISTS_PER_TWO_EF: [usize; 2] = [4, 6];
/// What it costs to compare a byte of a vector that lies anywhere, and to scan a byte of codes in a row, in picoseconds.
/// Measured on wordnet-minilm; only their ratio matters.
const VECTOR_BYTE: u64 = 60;
const CODE_BYTE: u64 = 16;
/// What it costs besides to read a vector from disk, in the same unit: reads of a batch are under way together.
const DISK_READ: u64 = 15_000_000;

/// How many of a segment's rows a search through its index looks at.
pub(crate) fn effort(limit: usize, hnsw_ef: Option<usize>, spilled: bool) -> Effort {
    let ef = hnsw_ef.unwrap_or(DEFAULT_EF).max(limit);
    let lists = ef.saturating_mul(LISTS_PER_TWO_EF[usize::from(!spilled)]) / 2;
    Effort { lists, keep: 10 * limit + ef + 50, candidates: 2 * limit + ef / 8 + 4 }
}

/// Whether comparing all of `matching` rows costs less than going through the index.
pub(crate) fn is_scan_cheaper(
    matching: u64,
    index: &VectorIndex,
    effort: Effort,
    row_bytes: usize,
    on_disk: bool,
) -> bool {
    let rows = index.rows() as u64;
    let share = matching.max(1) as f64 / rows.max(1) as f64;
    let lists = (effort.lists as f64 / share.min(1.0)).min(f64::from(index.shape().lists));
    let codes = lists * index.rows_per_list() as f64 * f64::from(index.shape().padded) / 8.0;
    let vector = row_bytes as u64 * VECTOR_BYTE + if on_disk { DISK_READ } else { 0 };
    matching * vector <= codes as u64 * CODE_BYTE + effort.candidates as u64 * vector
}

/// The rows that are answers.
struct Matching<'a>(&'a RoaringBitmap);

impl Filter for Matching<'_> {
    fn count(&self) -> usize {
        self.0.len() as usize
    }

    fn allows(&self, row: u32) -> bool {
        self.0.contains(row)
    }
}

impl Scan<'_> {
    /// The best of `rows` but `except`, as far as the index finds them; `rows` is `None` where every row is an answer.
    /// Vectors are read in memory, or from `disk`.
    pub(crate) fn by_index(
        &self,
        column: &VectorColumn,
        disk: Option<ColumnOnDisk>,
        (model, index): (&Model, &VectorIndex),
        effort: Effort,
        rows: Option<&RoaringBitmap>,
        except: Option<u32>,
    ) -> Result<Best<Scored<u32>>> {
        let matching = rows.map(Matching);
        let filter = matching.as_ref().map(|matching| matching as &dyn Filter);
        let mut candidates = Vec::new();
        let mut searcher = Searcher::new(model);
        searcher.search(model, index, self.vector(), effort, filter, &mut candidates);
        let mut best = self.best();
        let slots: Vec<(u32, u32)> = candidates
            .iter()
            .filter(|candidate| except != Some(candidate.row))
            .filter_map(|candidate| Some((candidate.row, column.row_to_slot(candidate.row)?)))
            .collect();
        let numbers: Vec<u32> = slots.iter().map(|(_, slot)| *slot).collect();
        let mut scores = vec![0.0; numbers.len()];
        self.score(column, disk, &numbers, &mut scores)?;
        for ((row, _), score) in slots.iter().zip(scores) {
            if self.is_near_enough(score) {
                best.push(Scored::new(score, self.greater(), *row));
            }
        }
        Ok(best)
    }
}
