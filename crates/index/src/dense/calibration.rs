//! How hard a search by one model has to look, measured on rows that were held out.
//!
//! The default effort suits vectors that come from models of language or images: near rows are in few lists, and codes tell them
//! apart. Nothing makes other vectors so. Where there is no structure at all, the nearest rows are spread over many lists; where
//! lengths differ a thousandfold, or all rows are close together and far from their mean, signs say little, and now and then
//! finer codes too. So whoever makes a model keeps some rows from it, notes which rows are truly nearest to them while the
//! index is built, and raises what a search does by default until it finds those.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lodestone_kernels::{Element, Metric, Scorer};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::centroids::CentroidCodes;
use super::promise::{Sample, decay, steps};
use super::{Candidate, Effort, Model, Rows, Searcher, Target, VectorIndex};

/// Rows that are held out: with ten neighbours each, a percent of recall is some six of these.
const HELD_OUT: usize = 64;
/// One of so many rows is held out at most.
const SPARED: usize = 16;
/// Neighbours that should be found.
const NEIGHBOURS: usize = 10;
/// Rows that may be as far as the last neighbour; a row with more of those, copies of one another, says nothing.
const TIES: usize = 64;
/// With so much recall the default effort is enough: a user is promised 0.95, of queries that may be stranger than rows.
const ENOUGH: f64 = 0.97;
/// What is asked of each stage where it is not, with all that it leaves compared in the stages after it.
const LISTS_HOLD: f64 = 0.99;
const SIGNS_KEEP: f64 = 0.985;
const CODES_KEEP: f64 = 0.98;
/// Rows that one search keeps at most while it is measured, so that memory is bounded.
const MOST_KEPT: usize = 1 << 19;
/// Rows that are compared with all held out ones at once: as many as stay in the cache of a core.
const BLOCK_ROWS: usize = 64;

/// How many times more than usual a search has to do, stage by stage; 1 each where the usual does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Calibration {
    /// Lists to scan.
    pub lists: u32,
    /// Rows that are handed to the finer codes.
    pub keep: u32,
    /// Candidates to compare.
    pub candidates: u32,
    /// Whether codes are finer than those that were asked for, because these leave too many rows in doubt.
    pub finer: bool,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { lists: 1, keep: 1, candidates: 1, finer: false }
    }
}

/// What a search does by a calibration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// How much more than usual.
    pub calibration: Calibration,
    /// How many candidates it has for ten neighbours, on average: more than usual where codes leave many rows in doubt.
    pub candidates: f64,
}

/// Rows that a model is not made of, and that learn their nearest neighbours as the others are read through them.
pub struct HeldOut<'a> {
    rows: &'a dyn Rows,
    dim: usize,
    metric: Metric,
    held: Vec<Held>,
}

/// One of them.
struct Held {
    number: u32,
    vector: Vec<f32>,
    scorer: Scorer,
    nearest: Mutex<Neighbours>,
}

/// The numbers of the rows that are held out of `count`.
pub(super) fn held_out(count: usize) -> impl Iterator<Item = u32> {
    let held = HELD_OUT.min(count / SPARED);
    // In the middle of equal runs: files often go from topic to topic.
    (0..held).map(move |i| ((2 * i + 1) * count / (2 * held)) as u32)
}

impl<'a> HeldOut<'a> {
    /// Of `count` vectors of `dim` components, which searches compare by `metric`: the model's own distance, or one that it is to
    /// stand for.
    pub fn new(dim: usize, count: usize, rows: &'a dyn Rows, metric: Metric) -> Self {
        let numbers: Vec<u32> = held_out(count).collect();
        let mut vectors = vec![0.0; numbers.len() * dim];
        rows.write(&numbers, &mut vectors);
        let held = |(number, vector): (&u32, &[f32])| Held {
            number: *number,
            vector: vector.to_vec(),
            scorer: Scorer::new(vector, metric, Element::F32),
            nearest: Mutex::default(),
        };
        Self { rows, dim, metric, held: numbers.iter().zip(vectors.chunks_exact(dim)).map(held).collect() }
    }

    /// What a search of `index` has to do to find the neighbours, all rows having been read. `name`: the row of the index that a
    /// number is; `effort`: what a search for so many rows does under a calibration.
    pub fn calibrate(
        &self,
        model: &Model,
        index: &VectorIndex,
        name: &(dyn Fn(u32) -> u32 + Sync),
        effort: &(dyn Fn(usize, Calibration) -> Effort + Sync),
    ) -> Measured {
        let search = |calibration: Calibration| {
            // Itself is found too.
            self.search(model, index, name, effort(NEIGHBOURS + 1, calibration))
        };
        let recall = |calibration: Calibration| search(calibration).recall;
        let usual = effort(NEIGHBOURS + 1, Calibration::default());
        let measured = |calibration, found: Found| Measured { calibration, candidates: found.candidates };
        let at_usual = search(Calibration::default());
        if at_usual.recall >= ENOUGH {
            return measured(Calibration::default(), at_usual);
        }
        let times = |usual: usize, all: usize| all.div_ceil(usual.max(1)).clamp(1, u32::MAX as usize) as u32;
        let all = index.rows();
        let lists = times(usual.lists, model.lists());
        let (keep, candidates) = (times(usual.keep, all), times(usual.candidates, all));
        let mut found = Calibration { keep, candidates, ..Calibration::default() };
        found.lists = least(lists, LISTS_HOLD, |lists| recall(Calibration { lists, ..found }));
        found.keep = least(keep, SIGNS_KEEP, |keep| recall(Calibration { keep, ..found }));
        found.candidates =
            least(candidates, CODES_KEEP, |candidates| recall(Calibration { candidates, ..found }));
        measured(found, search(found))
    }

    /// How fast what lists promise falls with how far they are, all rows having been read; `None` if that cannot be told. `name`: as
    /// for [`HeldOut::calibrate`].
    pub fn decay(
        &self,
        model: &Model,
        index: &VectorIndex,
        name: &(dyn Fn(u32) -> u32 + Sync),
    ) -> Option<f32> {
        let nearest = |held: &Held| {
            let nearest = held.nearest();
            let rows = nearest.wanted().unwrap_or(0);
            nearest.rows[..rows].iter().map(|(_, number)| name(*number)).collect()
        };
        let nearest: Vec<Vec<u32>> = self.held.iter().map(nearest).collect();
        let mut list_of: HashMap<u32, Option<u32>> =
            nearest.iter().flatten().map(|row| (*row, None)).collect();
        for list in 0..model.lists() as u32 {
            for place in index.places(list) {
                if let Some(of) = list_of.get_mut(&index.row(place)) {
                    *of = Some(list);
                }
            }
        }
        let centroids = CentroidCodes::of(model);
        let sample = |(held, rows): (&Held, Vec<u32>)| {
            let (mut centred, mut turned) = (Vec::new(), vec![0.0; model.padded()]);
            model.turn_query(&held.vector, &mut centred, &mut turned);
            let steps = steps(centroids.distances(&turned, model.level_bits(), model.lists()), model.lists());
            let lists = rows.iter().filter_map(|row| *list_of.get(row)?);
            Sample { nearest: lists.map(|list| steps[list as usize]).collect(), steps }
        };
        let samples: Vec<Sample> = self.held.par_iter().zip(nearest).map(sample).collect();
        let sizes: Vec<f32> = (0..model.lists() as u32).map(|list| index.places(list).len() as f32).collect();
        decay(&samples, &sizes)
    }

    /// Looks for the neighbours of all held out rows.
    fn search(
        &self,
        model: &Model,
        index: &VectorIndex,
        name: &(dyn Fn(u32) -> u32 + Sync),
        mut effort: Effort,
    ) -> Found {
        if effort.keep > MOST_KEPT {
            (effort.keep, effort.doubt) = (MOST_KEPT, 0.0);
        }
        effort.candidates = effort.candidates.min(MOST_KEPT);
        let counts = self.held.par_iter().map(|held| {
            let nearest = held.nearest();
            let Some(wanted) = nearest.wanted().filter(|_| self.rows.is_wanted()) else { return [0; 4] };
            let mut candidates = Vec::new();
            let target = Target { index, filter: None };
            Searcher::new(model).search(model, &[target], &held.vector, effort, &mut candidates);
            [nearest.among(&candidates, name).min(wanted), wanted, candidates.len(), 1]
        });
        let add = |a: [usize; 4], b: [usize; 4]| std::array::from_fn(|i| a[i] + b[i]);
        let [found, wanted, candidates, searches] = counts.reduce(|| [0; 4], add);
        let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
        Found {
            recall: if wanted == 0 { 1.0 } else { share(found, wanted) },
            candidates: share(candidates, searches),
        }
    }
}

/// What searches with one effort found.
struct Found {
    /// The share of neighbours that are candidates; 1 where there are none.
    recall: f64,
    /// Candidates of a search, on average.
    candidates: f64,
}

/// The least power of two for which `recall` is at least `target`, or `most`.
fn least(most: u32, target: f64, recall: impl Fn(u32) -> f64) -> u32 {
    let mut times = 1;
    while times < most && recall(times) < target {
        times = times.saturating_mul(2).min(most);
    }
    times
}

impl Rows for HeldOut<'_> {
    fn write(&self, numbers: &[u32], out: &mut [f32]) {
        self.rows.write(numbers, out);
        let mut bytes = Vec::with_capacity(4 * BLOCK_ROWS * self.dim);
        let mut scores = [0.0; BLOCK_ROWS];
        for (numbers, rows) in numbers.chunks(BLOCK_ROWS).zip(out.chunks(BLOCK_ROWS * self.dim)) {
            bytes.clear();
            bytes.extend(rows.iter().flat_map(|x| x.to_le_bytes()));
            for held in &self.held {
                let scores = &mut scores[..numbers.len()];
                held.scorer.score_block(&bytes, scores);
                if self.metric.greater_is_nearer() {
                    scores.iter_mut().for_each(|score| *score = -*score);
                }
                held.meet(numbers, scores);
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.rows.is_wanted()
    }
}

impl Held {
    fn nearest(&self) -> MutexGuard<'_, Neighbours> {
        self.nearest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meet(&self, numbers: &[u32], distances: &[f32]) {
        let mut nearest = self.nearest();
        for (number, distance) in numbers.iter().zip(distances) {
            if *number != self.number {
                nearest.meet(*distance, *number);
            }
        }
    }
}

/// The nearest rows that were met, and others as far as the last of those.
#[derive(Default)]
struct Neighbours {
    /// The nearest first.
    rows: Vec<(f32, u32)>,
}

impl Neighbours {
    fn bar(&self) -> f32 {
        self.rows.get(NEIGHBOURS - 1).map_or(f32::INFINITY, |last| last.0)
    }

    fn meet(&mut self, distance: f32, number: u32) {
        // Not so for NaN.
        if distance <= self.bar() {
            let at = self.rows.partition_point(|row| row.0 <= distance);
            self.rows.insert(at, (distance, number));
            let bar = self.bar();
            let within = self.rows.partition_point(|row| row.0 <= bar);
            self.rows.truncate(within.min(NEIGHBOURS + TIES));
        }
    }

    /// How many are to be found; `None` if too many are as far as the last of them.
    fn wanted(&self) -> Option<usize> {
        (self.rows.len() < NEIGHBOURS + TIES).then_some(self.rows.len().min(NEIGHBOURS))
    }

    /// How many of them are candidates.
    fn among(&self, candidates: &[Candidate], name: &dyn Fn(u32) -> u32) -> usize {
        let mut rows: Vec<u32> = self.rows.iter().map(|(_, number)| name(*number)).collect();
        rows.sort_unstable();
        candidates.iter().filter(|candidate| rows.binary_search(&candidate.row).is_ok()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_rows_are_held_out() {
        for (count, expected) in [(0, 0), (15, 0), (16, 1), (160, 10), (5_000, 64), (4_000_000_000, 64)] {
            let numbers: Vec<u32> = held_out(count).collect();
            assert_eq!(numbers.len(), expected, "{count}");
            assert!(numbers.is_sorted_by(|a, b| a < b), "{count}");
            assert!(numbers.iter().all(|number| (*number as usize) < count), "{count}");
        }
    }

    #[test]
    fn the_nearest_are_kept_with_what_is_as_far() {
        let mut nearest = Neighbours::default();
        // Ten times each distance from 99 down to 0, but 0 three times.
        for distance in (0..100u32).rev() {
            for copy in 0..if distance == 0 { 3 } else { 10 } {
                nearest.meet(distance as f32, 10 * distance + copy);
            }
        }
        nearest.meet(f32::NAN, 7777);
        let rows: Vec<u32> = nearest.rows.iter().map(|row| row.1).collect();
        assert_eq!(rows, (0..3).chain(10..20).collect::<Vec<u32>>());
        assert_eq!(nearest.wanted(), Some(10));
        let candidates = [1, 15, 19, 20, 7777].map(|row| Candidate { target: 0, row, estimate: 0.0 });
        assert_eq!(nearest.among(&candidates, &|number| number), 3);

        let mut crowded = Neighbours::default();
        (0..1000).for_each(|number| crowded.meet(1.0, number));
        assert_eq!(crowded.wanted(), None);
        // What is nearer makes room.
        (0..10).for_each(|number| crowded.meet(0.5, number));
        assert_eq!(crowded.wanted(), Some(10));
    }

    #[test]
    fn doubles_until_it_is_enough() {
        let recall = |times: u32| f64::from(times) / 10.0;
        assert_eq!(least(100, 0.1, recall), 1);
        assert_eq!(least(100, 0.5, recall), 8);
        assert_eq!(least(6, 0.9, recall), 6);
        assert_eq!(least(0, 0.9, recall), 1);
    }
}
