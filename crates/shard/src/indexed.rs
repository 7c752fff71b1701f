//! Search by a segment's vector index: candidates from codes, decided by the vectors themselves.

use lodestone_index::dense::{Candidate, Effort, Filter, Model, ModelHeader, Searcher, Target, VectorIndex};
use lodestone_segment::PartMeta;
use lodestone_types::Result;
use roaring::RoaringBitmap;

use crate::best::Scored;
use crate::nearest::{Index, Part, Scan};

/// Beam width that stands for what the user left open, as in Qdrant.
const DEFAULT_EF: usize = 128;
/// Lists to scan per unit of `hnsw_ef`: where all rows are in two lists, where some are, and where none is.
const LISTS_IF_ALL_SPILLED: usize = 1;
const LISTS_IF_SOME_SPILLED: usize = 2;
const LISTS_IF_NONE_SPILLED: usize = 3;
/// Lists are few of a model's if that has so many times more.
const FEW_OF: usize = 4;
/// What it costs, in picoseconds, to compare a byte of a vector or of a finer code that lies anywhere, and to scan a byte
/// of codes in a row; to look at a list under a filter, at whether a row matches, and at one that lies anywhere. Measured
/// on wordnet-minilm by `benches/filters.py`, but for the last two, which are estimates.
const VECTOR_BYTE: u64 = 60;
const CODE_BYTE: u64 = 30;
const LIST: u64 = 400_000;
const TEST: u64 = 1_000;
const ROW: u64 = 4_000;
/// The same for reading a vector from disk: reads of a batch are under way together.
const DISK_READ: u64 = 15_000_000;
/// Bytes beside the signs of a row.
const FACTORS: usize = 12;
/// Rows that one task searches at most, if there are others to share the work with.
const TASK_ROWS: usize = 400_000;
/// Rows that the scan keeps for each that is to be compared, where users say how many these are.
pub(crate) const KEEP_PER_CANDIDATE: usize = 4;
/// Standard errors by which a row may seem too far and is looked at all the same.
const DOUBT: f32 = 2.0;

/// How many rows a search through indexes of a model looks at, which have so many `rows` in all.
///
/// Of lists that hold more rows than those that the model was made for, fewer are scanned, as many times as is the square root of that: more
/// of all rows still than by a new model, whose lists would be as many more. Not so where the lists that are scanned are many of all, or calibration
/// asks for more than usual: then the share of lists is what counts.
pub fn search_effort(
    limit: usize,
    hnsw_ef: Option<usize>,
    spilled: bool,
    model: &ModelHeader,
    rows: u64,
) -> Effort {
    let ModelHeader { calibration, signs_alone, spill_cost, .. } = *model;
    let ef = hnsw_ef.unwrap_or(DEFAULT_EF).max(limit).saturating_mul(calibration.lists as usize);
    let lists = ef.saturating_mul(match spilled {
        true => LISTS_IF_ALL_SPILLED,
        false if spill_cost > 0.0 => LISTS_IF_SOME_SPILLED,
        false => LISTS_IF_NONE_SPILLED,
    });
    let is_usual = calibration.lists == 1 && lists.saturating_mul(FEW_OF) <= model.lists as usize;
    let grown = if is_usual { model.growth(rows) } else { 1.0 };
    let keep = ef.saturating_add(10 * limit + 50);
    let candidates = match signs_alone {
        true => (4 * limit + 8).saturating_add(ef / 4),
        false => limit + limit / 4 + ef / 32 + 4,
    };
    Effort {
        lists: (lists as f32 / grown.sqrt()).ceil() as usize,
        wanted: limit,
        keep: keep.saturating_mul(calibration.keep as usize),
        candidates: candidates.saturating_mul(calibration.candidates as usize),
        doubt: DOUBT,
    }
}

/// How an index is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Lists are scanned, the nearest first.
    Lists,
    /// The finer codes of all rows that match are ranked.
    Codes,
}

/// What there is to search in a segment.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    pub model: &'a Model,
    pub index: &'a VectorIndex,
    /// How many rows with the vector match.
    pub matching: u64,
    /// Whether rows may not match.
    pub is_filtered: bool,
    pub effort: Effort,
    /// Bytes of a vector.
    pub row_bytes: usize,
    /// Whether vectors are read from disk.
    pub on_disk: bool,
    /// Rows up to which all that match are compared, as the user wishes.
    pub full_scan_rows: u64,
}

impl Work<'_> {
    /// The way that takes the least time, none if that is to compare all that match, and about how much it takes, in
    /// picoseconds.
    pub fn cheapest(&self) -> (Option<Way>, u64) {
        let all = (None, cost_of_comparing(self.matching, self.row_bytes, self.on_disk));
        if self.matching <= self.full_scan_rows {
            return all;
        }
        let lists = (Some(Way::Lists), self.by_lists());
        let codes = self.by_codes().map(|cost| (Some(Way::Codes), cost));
        let ways = [Some(lists), codes].into_iter().flatten();
        ways.fold(all, |best, way| if way.1 < best.1 { way } else { best })
    }

    /// Lists are scanned until as many rows that match were seen as the effort's lists have.
    fn by_lists(&self) -> u64 {
        let Self { model, index, matching, .. } = *self;
        let share = (matching.max(1) as f64 / index.rows().max(1) as f64).min(1.0);
        let lists = (self.effort.lists as f64 / share).min(f64::from(index.shape().lists));
        let looked_at = lists * index.rows_per_list() as f64;
        let centroids = (lists * 6.0 * model.padded() as f64) as u64 * CODE_BYTE;
        let codes = (looked_at * (model.padded() / 8 + FACTORS) as f64) as u64 * CODE_BYTE;
        let filter = if self.is_filtered { lists as u64 * LIST } else { 0 };
        let seen = (looked_at * share) as u64;
        let finer =
            if model.header().signs_alone { 0 } else { self.ranked(seen.min(self.effort.keep as u64)) };
        let scanned = (model.blocks().len() as u64 * CODE_BYTE).saturating_add(centroids + codes + filter);
        scanned.saturating_add(finer).saturating_add(self.decided(seen))
    }

    /// `None` where there are no finer codes, or all rows match: lists are what the model was calibrated for.
    fn by_codes(&self) -> Option<u64> {
        let is_possible = self.is_filtered && !self.model.header().signs_alone;
        let tests = self.index.rows() as u64 * TEST;
        is_possible.then(|| {
            tests.saturating_add(self.ranked(self.matching)).saturating_add(self.decided(self.matching))
        })
    }

    fn ranked(&self, rows: u64) -> u64 {
        cost_of_comparing(rows, self.index.entry_bytes(), false)
    }

    /// Candidates among so many rows. Some more than the least are compared as a rule.
    fn decided(&self, rows: u64) -> u64 {
        cost_of_comparing(
            rows.min((self.effort.candidates as u64).saturating_mul(2)),
            self.row_bytes,
            self.on_disk,
        )
    }
}

/// What it costs to compare so many rows, each of so many bytes.
pub(crate) fn cost_of_comparing(rows: u64, bytes: usize, on_disk: bool) -> u64 {
    let read = if on_disk { DISK_READ } else { 0 };
    rows.saturating_mul(ROW + bytes as u64 * VECTOR_BYTE + read)
}

/// Segments that are searched together: of one model, in one way, and not too many rows.
pub(crate) fn groups(parts: Vec<Part>) -> Vec<Vec<Part>> {
    let mut groups: Vec<Vec<Part>> = Vec::new();
    for part in parts {
        let rows = |part: &Part| part.index.map_or(0, |index| index.index.rows());
        let joins = |group: &&mut Vec<Part>| {
            let together = group.iter().map(rows).sum::<usize>() + rows(&part);
            group.first().is_some_and(|first| searched_by(first) == searched_by(&part))
                && together <= TASK_ROWS
        };
        match groups.iter_mut().find(joins) {
            Some(group) => group.push(part),
            None => groups.push(vec![part]),
        }
    }
    groups
}

fn searched_by<'a>(part: &Part<'a>) -> Option<(&'a PartMeta, Way)> {
    part.index.map(|index| (index.model_part, index.way))
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

    fn bits(&self) -> Vec<u64> {
        let mut bits = vec![0; self.0.max().map_or(0, |last| last as usize / 64 + 1)];
        self.0.iter().for_each(|row| bits[row as usize / 64] |= 1 << (row % 64));
        bits
    }
}

impl Scan<'_> {
    /// The best rows of segments with indexes of one model, as far as these find them, with their segments.
    pub(crate) fn by_index(&self, group: &[Part]) -> Result<Vec<(usize, Scored<u32>)>> {
        let Some(Index { model, way, .. }) = group.iter().find_map(|part| part.index) else {
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
        let rows = targets.iter().map(|target| target.index.rows() as u64).sum();
        let effort = self.effort(spilled, &model.header(), rows);
        match way {
            Way::Codes => searcher.rank_all(model, &targets, self.vector(), effort, &mut candidates),
            Way::Lists => searcher.search(model, &targets, self.vector(), effort, &mut candidates),
        }
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
    use lodestone_index::dense::{BuildOptions, Calibration, Distance, TrainOptions, build};
    use lodestone_kernels::LevelBits;

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
        decay: None,
        spill_cost: 0.0,
    };

    #[test]
    fn any_ef_is_an_effort() {
        for spilled in [true, false] {
            let most = search_effort(1_000_001, Some(usize::MAX), spilled, &MODEL, MODEL.rows);
            assert_eq!((most.lists, most.keep), (usize::MAX, usize::MAX));
            assert!(
                search_effort(10, Some(0), spilled, &MODEL, MODEL.rows).lists > 0,
                "at least what the limit asks for"
            );
        }
    }

    #[test]
    fn the_fewer_rows_are_in_two_lists_the_more_lists_are_scanned() {
        let lists = |spilled, spill_cost| {
            search_effort(10, None, spilled, &ModelHeader { spill_cost, ..MODEL }, MODEL.rows).lists
        };
        assert_eq!([lists(true, 1.5), lists(false, 1.5), lists(false, 0.0)], [128, 256, 384]);
    }

    #[test]
    fn few_rows_are_compared_some_ranked_and_most_looked_for_in_lists() {
        let (count, dim) = (6_000, 128);
        let row = |i: usize, out: &mut [f32]| {
            out.iter_mut().enumerate().for_each(|(d, x)| *x = ((i * 31 + d * 17) % 97) as f32 - 48.0);
        };
        let options = TrainOptions {
            distance: Distance::Dot,
            list_rows: 20,
            sample_rows: 6_000,
            level_bits: LevelBits::Four,
            seed: 1,
        };
        let mut model = Model::train(dim, count, &row, options);
        let index = build(&model, count, &row, &|row| row, BuildOptions { spill: true });
        let row_bytes = 4 * dim;
        let work = |model: &Model, matching: u64, on_disk| {
            let is_filtered = matching < count as u64;
            let effort = search_effort(10, None, true, &model.header(), count as u64);
            let work = Work {
                model,
                index: &index,
                matching,
                is_filtered,
                effort,
                row_bytes,
                on_disk,
                full_scan_rows: 0,
            };
            work.cheapest()
        };
        let way = |model: &Model, matching: u64, on_disk| work(model, matching, on_disk).0;
        assert_eq!(way(&model, 20, false), None);
        assert_eq!(way(&model, 20, true), None);
        assert_eq!(way(&model, 500, false), Some(Way::Codes));
        assert_eq!(way(&model, 500, true), Some(Way::Codes));
        assert_eq!(way(&model, count as u64, false), Some(Way::Lists));
        let cost = |matching: u64| work(&model, matching, false).1;
        assert!(cost(20) < cost(500) && cost(20) < cost(count as u64));
        let effort = search_effort(10, Some(usize::MAX), true, &model.header(), count as u64);
        let hard = Work {
            model: &model,
            index: &index,
            matching: 500,
            is_filtered: true,
            effort,
            row_bytes,
            on_disk: true,
            full_scan_rows: 0,
        };
        assert_eq!(hard.cheapest().0, None, "all are compared either way");
        // What is quicker does not matter where the user says how many are compared.
        let effort = search_effort(10, None, true, &model.header(), count as u64);
        let wished = |full_scan_rows| Work { on_disk: false, effort, full_scan_rows, ..hard }.cheapest().0;
        assert_eq!((wished(499), wished(500)), (Some(Way::Codes), None));
        // Where there are no finer codes in memory, none are ranked.
        model.note_signs_alone(true);
        assert_ne!(way(&model, 500, false), Some(Way::Codes));
    }

    #[test]
    fn of_lists_that_have_grown_fewer_are_scanned() {
        let model = ModelHeader { lists: 1_000, ..MODEL };
        let lists = |model: &ModelHeader, rows| search_effort(10, None, true, model, rows).lists;
        assert_eq!([0, 10_000, 40_000, u64::MAX].map(|rows| lists(&model, rows)), [128, 128, 64, 64]);
        assert_eq!(lists(&MODEL, 40_000), 128, "they are most of all lists");
        let calibration = Calibration { lists: 2, ..model.calibration };
        assert_eq!(
            lists(&ModelHeader { calibration, ..model }, 40_000),
            256,
            "the rows have little structure"
        );
    }

    #[test]
    fn a_calibration_asks_for_more_whatever_the_user_asks_for() {
        let calibration = Calibration { lists: 4, keep: 8, candidates: 2, finer: false };
        let more = ModelHeader { calibration, ..MODEL };
        for (limit, ef) in [(10, None), (10, Some(64)), (1000, None)] {
            let usual = search_effort(limit, ef, true, &MODEL, MODEL.rows);
            let calibrated = search_effort(limit, ef, true, &more, more.rows);
            assert_eq!(calibrated.lists, 4 * usual.lists);
            assert!(calibrated.keep >= 8 * usual.keep && calibrated.candidates >= 2 * usual.candidates);
        }
    }
}
