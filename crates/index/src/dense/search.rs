//! The rows that may be nearest to a query.

use lodestone_kernels::{Estimate, LevelQuery, SignQuery, prefetch};

use super::model::{ListFinder, cut};
use super::vector_index::LEVEL_FACTORS;
use super::{Distance, Model, VectorIndex};

/// How much a search does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Lists to scan. Under a filter more are, until as many rows that match were seen as so many lists have.
    pub lists: usize,
    /// Rows that the scan hands to the finer codes.
    pub keep: usize,
    /// Candidates that are handed out.
    pub candidates: usize,
}

/// A row that may be near.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Which.
    pub row: u32,
    /// Its distance by its code, up to a constant of the query; less is nearer.
    pub estimate: f32,
}

/// The rows that are answers, where not all are.
pub trait Filter {
    /// How many.
    fn count(&self) -> usize;
    /// Whether `row` is one.
    fn allows(&self, row: u32) -> bool;
}

/// Searches indexes of one model; keeps its memory between queries.
#[derive(Debug)]
pub struct Searcher {
    centred: Vec<f32>,
    turned: Vec<f32>,
    signs: SignQuery,
    levels: LevelQuery,
    lists: ListFinder,
    found: Vec<Estimate>,
}

/// Rows whose codes are on their way while one is compared.
const AHEAD: usize = 8;
/// Rows of a list that are looked at to tell how many of it match.
const SAMPLE: u32 = 16;

impl Searcher {
    /// A searcher for indexes of `model`.
    pub fn new(model: &Model) -> Self {
        Self {
            centred: Vec::new(),
            turned: vec![0.0; model.padded()],
            signs: SignQuery::new(model.padded()),
            levels: LevelQuery::new(model.padded(), model.level_bits()),
            lists: ListFinder::default(),
            found: Vec::new(),
        }
    }

    /// Writes candidates to `out`, likely ones first; with a filter, only rows that it allows. The index has to be one
    /// that [`VectorIndex::fits`] the model.
    pub fn search(
        &mut self,
        model: &Model,
        index: &VectorIndex,
        query: &[f32],
        effort: Effort,
        filter: Option<&dyn Filter>,
        out: &mut Vec<Candidate>,
    ) {
        model.turn_query(query, &mut self.centred, &mut self.turned);
        self.signs.set(&self.turned);
        let lists = match filter {
            None => effort.lists.min(model.lists()),
            Some(filter) => lists_to_order(effort.lists, filter.count(), index, model),
        };
        self.lists.find(model, model.blocks(), model.distance(), &self.signs, &self.turned, lists);
        match filter {
            None => self.scan(index, effort.keep),
            Some(filter) => self.scan_filtered(index, effort, filter),
        }
        // A row in two of the lists was found twice. A place that is none can only come from damage.
        self.found.retain(|found| (found.place as usize) < index.rows());
        self.found.sort_unstable_by_key(|found| found.place);
        self.found.dedup_by_key(|found| found.place);
        self.rank(model, index, effort.candidates, out);
    }

    /// The rows of the lists found that are nearest by their signs.
    fn scan(&mut self, index: &VectorIndex, keep: usize) {
        self.found.clear();
        let mut limit = f32::INFINITY;
        for near in &self.lists.near {
            self.signs.scan(index.list(near.list), near.base, limit, &mut self.found);
            limit = cut(&mut self.found, keep, 2 * keep).unwrap_or(limit);
        }
        cut(&mut self.found, keep, keep);
    }

    /// As [`Searcher::scan`], of the rows that the filter allows, and on until enough of these were seen.
    fn scan_filtered(&mut self, index: &VectorIndex, effort: Effort, filter: &dyn Filter) {
        self.found.clear();
        let (mut limit, mut seen) = (f32::INFINITY, 0.0);
        for near in &self.lists.near {
            let places = index.places(near.list);
            let step = (places.len() as u32).div_ceil(SAMPLE).max(1);
            let sample = places.step_by(step as usize);
            let (mut looked_at, mut matching) = (0u32, 0u32);
            for place in sample {
                looked_at += 1;
                matching += u32::from(filter.allows(index.row(place)));
            }
            let before = self.found.len();
            self.signs.scan(index.list(near.list), near.base, limit, &mut self.found);
            let mut kept = before;
            for at in before..self.found.len() {
                let found = self.found[at];
                if (found.place as usize) < index.rows() && filter.allows(index.row(found.place)) {
                    self.found[kept] = found;
                    kept += 1;
                }
            }
            self.found.truncate(kept);
            limit = cut(&mut self.found, effort.keep, 2 * effort.keep).unwrap_or(limit);
            seen += f64::from(matching) / f64::from(looked_at.max(1));
            if seen >= effort.lists as f64 {
                break;
            }
        }
        cut(&mut self.found, effort.keep, effort.keep);
    }

    /// Ranks what the scan found by finer codes.
    fn rank(&mut self, model: &Model, index: &VectorIndex, candidates: usize, out: &mut Vec<Candidate>) {
        self.levels.set(&self.turned);
        let base = match model.distance() {
            Distance::Euclid => self.turned.iter().map(|x| x * x).sum(),
            Distance::Dot => 0.0,
        };
        self.found.iter().take(AHEAD).for_each(|found| prefetch(index.level(found.place)));
        for at in 0..self.found.len() {
            if let Some(ahead) = self.found.get(at + AHEAD) {
                prefetch(index.level(ahead.place));
            }
            let found = &mut self.found[at];
            let level = index.level(found.place);
            let (code, factors) = level.split_at(level.len() - LEVEL_FACTORS);
            let factor = |bytes: &[u8]| bytes.first_chunk().map_or(0.0, |bytes| f32::from_le_bytes(*bytes));
            let (add, mul) = (factor(factors), factor(&factors[4..]));
            found.value = base + add + mul * self.levels.product(code);
        }
        cut(&mut self.found, candidates, candidates);
        self.found.sort_unstable_by(|a, b| a.value.total_cmp(&b.value));
        out.clear();
        out.extend(self.found.iter().map(|f| Candidate { row: index.row(f.place), estimate: f.value }));
    }
}

/// Lists that have to be in order before a filtered scan: twice what it takes if matches are spread evenly, or all, since
/// nobody knows where those are that are not.
fn lists_to_order(lists: usize, matches: usize, index: &VectorIndex, model: &Model) -> usize {
    if matches * 2 >= index.rows() { (lists * 4).min(model.lists()) } else { model.lists() }
}
