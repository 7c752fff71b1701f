//! Search by a segment's vector index: candidates from codes, decided by the vectors themselves.

use lodestone_index::dense::{Candidate, Effort, Filter, Model, ModelHeader, Searcher, Target, VectorIndex};
use lodestone_segment::PartMeta;
use lodestone_types::Result;
use roaring::RoaringBitmap;

use crate::best::Scored;
use crate::nearest::{Part, Scan};

/// Beam width that stands for what the user left open, as in Qdrant.
const DEFAULT_EF: usize = 128;
/// Lists to scan per unit of `hnsw_ef`, where rows are in two lists and where they are in one.
const LISTS_PER_EF: [usize; 2] = [1, 3];
/// What it costs to compare a byte of a vector or of a finer code that lies anywhere, to scan a byte of codes in a row, and to
/// look at a list under a filter, in picoseconds. Measured on wordnet-minilm by `benches/filters.py`; only their ratios matter.
const VECTOR_BYTE: u64 = 60;
const CODE_BYTE: u64 = 30;
const LIST: u64 = 400_000;
/// What it costs besides to read a vector from disk, in the same unit: reads of a batch are under way together.
const DISK_READ: u64 = 15_000_000;
/// Bytes beside the signs of a row.
const FACTORS: usize = 12;
/// Rows that one task searches at most, if there are others to share the work with.
const TASK_ROWS: usize = 400_000;
/// Rows that the scan keeps for each that is to be compared, where users say how many these are.
pub(crate) const KEEP_PER_CANDIDATE: usize = 4;
/// Candidates that signs alone leave for each that finer codes would.
const CANDIDATES_BY_SIGNS: usize = 2;
/// Standard errors by which a row may seem too far and is looked at all the same.
const DOUBT: f32 = 2.0;

/// How many rows a search through indexes of a model looks at.
pub fn search_effort(limit: usize, hnsw_ef: Option<usize>, spilled: bool, model: &ModelHeader) -> Effort {
    let ModelHeader { calibration, signs_alone, .. } = *model;
    let ef = hnsw_ef.unwrap_or(DEFAULT_EF).max(limit).saturating_mul(calibration.lists as usize);
    let (keep, candidates) = (ef.saturating_add(10 * limit + 50), 2 * limit + ef / 8 + 4);
    let candidates = if signs_alone { candidates.saturating_mul(CANDIDATES_BY_SIGNS) } else { candidates };
    Effort {
        lists: ef.saturating_mul(LISTS_PER_EF[usize::from(!spilled)]),
        wanted: limit,
        keep: keep.saturating_mul(calibration.keep as usize),
        candidates: candidates.saturating_mul(calibration.candidates as usize),
        doubt: DOUBT,
    }
}

/// What a search without a filter reads, about. Some candidates more than the least are compared as a rule.
pub(crate) fn bytes_read(model: &Model, index: &VectorIndex, effort: Effort, row_bytes: usize) -> u64 {
    let rows = effort.lists.min(model.lists()).saturating_mul(index.rows_per_list());
    let (keep, candidates) = (effort.keep.min(rows), effort.candidates.saturating_mul(4).min(rows));
    let centroids = effort.lists.min(model.lists()) * 6 * model.padded();
    let scanned = rows.saturating_mul(model.padded() / 8 + FACTORS);
    let closely = finer_bytes(index, keep).saturating_add(candidates.saturating_mul(row_bytes));
    (model.blocks().len() + centroids).saturating_add(scanned).saturating_add(closely) as u64
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
    // No more are compared than are looked at, and of those only the ones that match.
    let looked_at = (lists * index.rows_per_list() as f64 * share.min(1.0)) as u64;
    let finer = finer_bytes(index, effort.keep.min(looked_at as usize)) as u64 * VECTOR_BYTE;
    let through_index = codes as u64 * CODE_BYTE + lists as u64 * LIST + finer;
    matching.saturating_sub((effort.candidates as u64).min(looked_at)) * vector <= through_index
}

/// The bytes of the finer codes of so many rows, if searches look at them.
fn finer_bytes(index: &VectorIndex, rows: usize) -> usize {
    if index.has_levels() { rows.saturating_mul(index.entry_bytes()) } else { 0 }
}

/// Segments that are searched together: of one model, and not too many rows.
pub(crate) fn groups(parts: Vec<Part>) -> Vec<Vec<Part>> {
    let mut groups: Vec<Vec<Part>> = Vec::new();
    for part in parts {
        let rows = |part: &Part| part.index.map_or(0, |index| index.index.rows());
        let joins = |group: &&mut Vec<Part>| {
            let together = group.iter().map(rows).sum::<usize>() + rows(&part);
            group.first().is_some_and(|first| model_part(first) == model_part(&part)) && together <= TASK_ROWS
        };
        match groups.iter_mut().find(joins) {
            Some(group) => group.push(part),
            None => groups.push(vec![part]),
        }
    }
    groups
}

fn model_part<'a>(part: &Part<'a>) -> Option<&'a PartMeta> {
    part.index.map(|index| index.model_part)
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
    /// The best rows of segments with indexes of one model, as far as these find them, with their segments.
    pub(crate) fn by_index(&self, group: &[Part]) -> Result<Vec<(usize, Scored<u32>)>> {
        let Some(model) = group.iter().find_map(|part| part.index.map(|index| index.model)) else {
            return Ok(Vec::new());
        };
        let filters: Vec<Matching> = group.iter().map(|part| Matching(part.rows)).collect();
        let targets: Vec<Target> = group
            .iter()
            .zip(&filters)
            .filter_map(|(part, filter)| {
                let filter = (!part.all).then_some(filter as &dyn Filter);
                Some(Target { index: part.index?.index, filter })
            })
            .collect();
        let mut candidates = Vec::new();
        let mut searcher = Searcher::new(model);
        let spilled = targets.iter().all(|target| target.index.shape().spilled);
        let effort = self.effort(spilled, &model.header());
        searcher.search(model, &targets, self.vector(), effort, &mut candidates);
        candidates.sort_unstable_by_key(|candidate| candidate.target);
        let mut hits = Vec::with_capacity(candidates.len());
        let shift = model.shift(self.vector());
        for candidates in candidates.chunk_by(|a, b| a.target == b.target) {
            let part = &group[candidates[0].target as usize];
            if self.estimates() {
                hits.extend(self.estimated(part, candidates, shift));
            } else {
                hits.extend(self.rescored(part, candidates)?);
            }
        }
        Ok(hits)
    }

    /// Candidates of one segment with the scores that their codes say.
    fn estimated(&self, part: &Part, candidates: &[Candidate], shift: f32) -> Vec<(usize, Scored<u32>)> {
        let others = candidates.iter().filter(|candidate| part.except != Some(candidate.row));
        let scored = others.map(|found| (found.row, self.score_of(found.estimate - shift)));
        let near = scored.filter(|(_, score)| self.is_near_enough(*score));
        near.map(|(row, score)| (part.segment, Scored::new(score, self.greater(), row))).collect()
    }

    /// Candidates of one segment with their scores.
    fn rescored(&self, part: &Part, candidates: &[Candidate]) -> Result<Vec<(usize, Scored<u32>)>> {
        let rows = candidates.iter().map(|candidate| candidate.row).filter(|row| part.except != Some(*row));
        let slots: Vec<(u32, u32)> =
            rows.filter_map(|row| Some((row, part.column.row_to_slot(row)?))).collect();
        let numbers: Vec<u32> = slots.iter().map(|(_, slot)| *slot).collect();
        let mut scores = vec![0.0; numbers.len()];
        self.score(&part.vectors, &numbers, &mut scores)?;
        let scored = slots.iter().zip(scores).filter(|(_, score)| self.is_near_enough(*score));
        let hit = |row: u32, score| (part.segment, Scored::new(score, self.greater(), row));
        Ok(scored.map(|((row, _), score)| hit(*row, score)).collect())
    }
}

#[cfg(test)]
mod tests {
    use lodestone_index::dense::{Calibration, Distance};

    use super::*;

    const MODEL: ModelHeader = ModelHeader {
        distance: Distance::Dot,
        level_bits: 4,
        dim: 128,
        lists: 100,
        seed: 1,
        rows: 10_000,
        spread: 1.0,
        row_length: 1.0,
        calibration: Calibration { lists: 1, keep: 1, candidates: 1, finer: false },
        signs_alone: false,
    };

    #[test]
    fn any_ef_is_an_effort() {
        for spilled in [true, false] {
            let most = search_effort(1_000_001, Some(usize::MAX), spilled, &MODEL);
            assert_eq!((most.lists, most.keep), (usize::MAX, usize::MAX));
            assert!(
                search_effort(10, Some(0), spilled, &MODEL).lists > 0,
                "at least what the limit asks for"
            );
        }
    }

    #[test]
    fn a_calibration_asks_for_more_whatever_the_user_asks_for() {
        let calibration = Calibration { lists: 4, keep: 8, candidates: 2, finer: false };
        let more = ModelHeader { calibration, ..MODEL };
        for (limit, ef) in [(10, None), (10, Some(64)), (1000, None)] {
            let usual = search_effort(limit, ef, true, &MODEL);
            let calibrated = search_effort(limit, ef, true, &more);
            assert_eq!(calibrated.lists, 4 * usual.lists);
            assert!(calibrated.keep >= 8 * usual.keep && calibrated.candidates >= 2 * usual.candidates);
        }
    }
}
